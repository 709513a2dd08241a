# SPDX-License-Identifier: Apache-2.0
"""Who wants to hear of events, and the news that waits for each of them.

Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from vhost_brick_plugin import codec
from vhost_brick_plugin.api import wire
from vhost_brick_plugin.api.methods import Event, Watching
from vhost_brick_plugin.daemon.stream import Stream

LOG = logging.getLogger(__name__)

BACKLOG = 1024
"""Events that may wait for one watcher."""


class Subscription(Stream):
    """The news for one watcher.

    :param drop: ends it at the hub.
    :ivar on_overrun: called once when the watcher is too slow.
    """

    def __init__(
        self, port: str | None, backlog: int, drop: Callable[[Subscription], None]
    ) -> None:
        self.port = port
        self.on_overrun: Callable[[], None] = lambda: None
        self._drop = drop
        self._queue: asyncio.Queue[Event] = asyncio.Queue(backlog)

    @property
    def answer(self) -> Watching:
        return Watching(port=self.port)

    async def send(self, writer: asyncio.StreamWriter) -> None:
        def overrun() -> None:
            LOG.warning("A watcher of events is dropped: it does not keep up reading them")
            writer.transport.abort()

        self.on_overrun = overrun
        while True:
            event = await self.next()
            writer.write(wire.encode_event(codec.to_json(event)))
            await writer.drain()

    async def end(self) -> None:
        self._drop(self)

    async def next(self) -> Event:
        """Wait for the next event."""
        return await self._queue.get()

    def put(self, event: Event) -> bool:
        """Take *event* if it is wanted; return False if there is no room for it."""
        if self.port not in (None, event.port):
            return True
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            return False
        return True


class Hub:
    """Passes events on to subscriptions."""

    def __init__(self, backlog: int = BACKLOG) -> None:
        self._backlog = backlog
        self._subscriptions: list[Subscription] = []
        self._greeting: Event | None = None

    def greet_with(self, event: Event | None) -> None:
        """Have every new subscription begin with *event*, or with nothing.

        For news from before there was anybody to hear them.
        """
        self._greeting = event

    def subscribe(self, port: str | None) -> Subscription:
        """Start collecting the events of *port* (None: all)."""
        subscription = Subscription(port, self._backlog, self.drop)
        if self._greeting is not None:
            subscription.put(self._greeting)
        self._subscriptions.append(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Stop collecting; safe to call twice."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def publish(self, event: Event) -> None:
        """Give *event* to all; a watcher without room for it is dropped."""
        for subscription in tuple(self._subscriptions):
            if not subscription.put(event):
                self.drop(subscription)
                subscription.on_overrun()
