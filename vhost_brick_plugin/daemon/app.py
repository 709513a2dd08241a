# SPDX-License-Identifier: Apache-2.0
"""The daemon once its ports are served: control socket, events, retries, signs of life."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon import notify, server
from vhost_brick_plugin.daemon.boot import Booted
from vhost_brick_plugin.daemon.dispatch import Dispatcher
from vhost_brick_plugin.daemon.service import Service
from vhost_brick_plugin.daemon.timeline import Timeline
from vhost_brick_plugin.daemon.watchers import Hub, Subscription
from vhost_brick_plugin.version import version

LOG = logging.getLogger(__name__)

RETRY_TICK_S = 1.0
STALL_S = 2.0
"""A thread of the datapath without a sign of life for so long is stuck."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class App:
    """Runs until it is told to stop.

    Belongs to the event loop's thread; the service runs on ``booted.thread``.
    """

    def __init__(self, booted: Booted, config: methods.ConfigResult, timeline: Timeline) -> None:
        self._booted = booted
        self._config = config
        self._timeline = timeline
        self._started = time.monotonic()
        self._version = version()
        self._hub = Hub()
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._facts: Mapping[str, str] = {}
        self._service = Service(
            booted.settings,
            booted.store,
            booted.engine,
            booted.datapath,
            booted.desired,
            self._emit,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then take everything down in order."""
        settings = self._booted.settings
        self._facts = await self._on_thread(self._booted.datapath.info)
        control = server.Server(settings.api_socket, self._dispatcher(), self._hub)
        await control.start(server.listen(settings.api_socket, settings.api_access))
        self._catch_signals()
        tasks = [self._in_background(self._retry()), self._in_background(self._watchdog())]
        self._watch_events()
        self._announce()
        await self._stop.wait()
        LOG.info("Stopping")
        notify.notify("STOPPING=1")
        for task in tasks:
            task.cancel()
        self._loop.remove_reader(self._booted.datapath.event_fd())
        await control.stop()
        await self._on_thread(self._booted.datapath.stop)

    # -- answers that need not wait ------------------------------------------

    def _dispatcher(self) -> Dispatcher:
        quick: dict[str, Callable[[Any], Any]] = {
            methods.Hello.name: self._hello,
            methods.ConfigDump.name: self._config_dump,
            methods.Watch.name: self._subscribe,
        }
        return Dispatcher(quick, self._service.handlers, self._booted.thread)

    def _hello(self, _request: methods.Hello) -> methods.HelloResult:
        return methods.HelloResult(
            api_version=methods.API_VERSION,
            version=self._version,
            pid=os.getpid(),
            uptime_s=time.monotonic() - self._started,
            datapath=self._booted.settings.datapath,
            datapath_info=self._facts,
            methods=tuple(sorted(methods.METHODS)),
            startup_ms={**self._timeline.parts_ms, "total": self._timeline.total_ms},
        )

    def _config_dump(self, _request: methods.ConfigDump) -> methods.ConfigResult:
        return self._config

    def _subscribe(self, request: methods.Watch) -> Subscription:
        return self._hub.subscribe(request.port)

    # -- events --------------------------------------------------------------

    def _emit(self, event: methods.Event) -> None:
        """Publish *event*; called on the datapath's thread."""
        self._loop.call_soon_threadsafe(self._hub.publish, event)

    def _watch_events(self) -> None:
        self._loop.add_reader(self._booted.datapath.event_fd(), self._events_ready)

    def _events_ready(self) -> None:
        # The descriptor stays readable until the datapath's thread gets to it.
        self._loop.remove_reader(self._booted.datapath.event_fd())
        draining = self._loop.run_in_executor(self._booted.thread, self._service.drain_events)
        draining.add_done_callback(self._drained)

    def _drained(self, done: asyncio.Future[None]) -> None:
        if error := done.exception():
            LOG.error("Reading the datapath's events failed", exc_info=error)
        if not self._stop.is_set():
            self._watch_events()

    # -- periodic work -------------------------------------------------------

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(RETRY_TICK_S)
            if self._booted.engine.setbacks:
                await self._on_thread(self._service.retry)

    async def _watchdog(self) -> None:
        """Give signs of life as long as the datapath does.

        A stuck one gives none and is restarted by the supervisor: guests
        recover from a dead backend, and freeze on a hung one.
        """
        interval = notify.watchdog_interval()
        while interval is not None:
            stuck = await self._on_thread(self._booted.datapath.stalled, STALL_S)
            if stuck:
                LOG.critical("No sign of life from %s: waiting to be restarted", stuck)
            else:
                notify.notify("WATCHDOG=1")
            await asyncio.sleep(interval)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        task.add_done_callback(_log_failure)
        return task

    # -- the rest ------------------------------------------------------------

    async def _on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._booted.thread, function, *args)

    def _catch_signals(self) -> None:
        for number in SIGNALS:
            self._loop.add_signal_handler(number, self._stop.set)
        # main() blocked them until there was somebody to handle them.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _announce(self) -> None:
        self._timeline.mark("ready")
        notify.notify("READY=1")
        parts = ", ".join(f"{name} {ms:g}" for name, ms in self._timeline.parts_ms.items())
        LOG.info(
            "Ready: %d of %d ports restored; start took %g ms (%s)",
            len(self._booted.engine.actual.ports),
            len(self._booted.desired.ports),
            self._timeline.total_ms,
            parts,
        )


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        LOG.critical("Background work ended by an error", exc_info=error)
