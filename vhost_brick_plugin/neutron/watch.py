# SPDX-License-Identifier: Apache-2.0
"""Listens to the daemon's events in a thread of its own, and remembers what to look at."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable

from vhost_brick_plugin import errors
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.api.methods import Event

LOG = logging.getLogger(__name__)

RETRY_S = 0.1
"""Between two tries to reach the daemon: its own restart takes no longer."""

PORT_EVENTS = frozenset({"port_added", "port_changed", "port_removed"})


@dataclasses.dataclass
class News:
    """What to look at again.

    :ivar all: everything.
    :ivar ports: else these ports.
    """

    all: bool = False
    ports: set[str] = dataclasses.field(default_factory=set)


class Watcher:
    """Collects news of a daemon and survives its restarts.

    :meth:`take` and :meth:`give_back` may be called from any thread.

    :param wake: called, from the watcher's thread, when there is news.
    """

    def __init__(self, client: Client, wake: Callable[[], None]) -> None:
        self._client = client
        self._wake = wake
        self._lock = threading.Lock()
        self._news = News()
        self._stopped = threading.Event()
        self._error: errors.VhostBrickError | None = errors.DaemonUnreachable(
            f"vhost-brickd at {client.path} has not been reached yet"
        )

    def start(self) -> None:
        """Start listening, in a thread that ends with the process if not before."""
        threading.Thread(target=self._run, name="vhost-brickd-watch", daemon=True).start()

    def stop(self) -> None:
        """Do not connect again, and say nothing more."""
        self._stopped.set()

    def take(self) -> News:
        """Return the news and forget them.

        :raises errors.DaemonUnreachable: nobody is there; the news are kept.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            news, self._news = self._news, News()
            return news

    def give_back(self, news: News) -> None:
        """Have *news* taken again: they could not be looked at."""
        with self._lock:
            self._news.all |= news.all
            self._news.ports |= news.ports

    @property
    def problem(self) -> str:
        """Why the daemon is not listened to; empty: it is."""
        error = self._error
        return str(error) if error else ""

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                events = self._client.watch()
                self._begin()
                for event in events:
                    self._note(event)
            except errors.VhostBrickError as error:
                self._end(error)
            self._stopped.wait(RETRY_S)

    def _begin(self) -> None:
        """Take note that the daemon is there, and that anything may have happened before."""
        with self._lock:
            self._error = None
            self._news.all = True
        LOG.info("Connected to vhost-brickd at %s", self._client.path)
        self._wake()

    def _end(self, error: errors.VhostBrickError) -> None:
        with self._lock:
            first, self._error = self._error is None, error
        if first and not self._stopped.is_set():
            LOG.warning("%s. What Neutron changes is applied when it is back.", error)

    def _note(self, event: Event) -> None:
        with self._lock:
            if event.kind in PORT_EVENTS:
                self._news.ports.add(event.port)
            elif event.kind == "lost":
                self._news.all = True
            else:
                return
        self._wake()
