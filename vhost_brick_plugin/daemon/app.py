# SPDX-License-Identifier: Apache-2.0
"""The daemon once its ports are served: control socket, events, retries, signs of life."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from vhost_brick_plugin import codec
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon import notify, server, watchdog
from vhost_brick_plugin.daemon.boot import Booted
from vhost_brick_plugin.daemon.dispatch import Dispatcher
from vhost_brick_plugin.daemon.handover import Handover
from vhost_brick_plugin.daemon.probes import Probes
from vhost_brick_plugin.daemon.service import Service
from vhost_brick_plugin.daemon.watchers import Hub, Subscription

LOG = logging.getLogger(__name__)

RETRY_TICK_S = 1.0
NEWS_S = 60.0
"""So long a take-over is news to those who come to watch."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class App:
    """Runs until it is told to stop, or hands over.

    Belongs to the event loop's thread; the service runs on ``booted.thread``.

    :param stop: set when it shall stop.
    """

    def __init__(
        self, booted: Booted, config: methods.ConfigResult, version: str, stop: asyncio.Event
    ) -> None:
        self._booted = booted
        self._config = config
        self._timeline = booted.timeline
        self._started = time.monotonic()
        self._started_at = time.time()
        self._version = version
        self._hub = Hub()
        self._stop = stop
        self._leave = asyncio.Event()
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
        self._listener = _listen(booted)
        self._handover = Handover(
            booted, version, self._service.wanted, self._listener, self._emit
        )

    async def run(self) -> bool:
        """Serve; return whether another daemon goes on serving.

        If none does, everything is taken down in order.
        """
        settings = self._booted.settings
        self._facts = await self._on_thread(self._booted.datapath.info)
        control = server.Server(settings.api_socket, self._dispatcher())
        await control.start(self._listener)
        works = (self._retry(), watchdog.show_life(self._booted.thread))
        tasks = [self._in_background(work) for work in works]
        self._watch_events()
        self._handover.start()
        self._announce()
        hand_over = await self._until_told_to_end()
        LOG.info("Handing over" if hand_over else "Stopping")
        notify.notify("STOPPING=1")
        for task in tasks:
            task.cancel()
        self._loop.remove_reader(self._booted.datapath.event_fd())
        await control.stop(keep_socket=hand_over)
        self._handover.stop()
        await self._on_thread(self._let_go if hand_over else self._booted.datapath.stop)
        return hand_over

    # -- the end -------------------------------------------------------------

    async def _until_told_to_end(self) -> bool:
        """Wait for a signal or a request to end; return whether the standby shall serve."""
        while True:
            await _any(self._stop, self._leave)
            if await self._on_thread(self._handover.successor) is not None:
                return True
            if self._stop.is_set():
                return False
            # It has gone since it was asked for.
            self._leave.clear()

    def _hand_over(self, _request: methods.Handover) -> methods.HandoverResult:
        """Have the standby serve, once the answer is sent; on the datapath's thread."""
        standby = self._handover.check()
        self._loop.call_soon_threadsafe(self._leave.set)
        return methods.HandoverResult(
            pid=os.getpid(),
            version=self._version,
            standby_pid=standby.pid,
            standby_version=standby.version,
        )

    def _let_go(self) -> None:
        """Let the standby take over; on the datapath's thread."""
        self._booted.datapath.let_go()
        # It need not wait until this process is gone.
        for lock in self._booted.locks:
            lock.release()

    # -- answers that need not wait ------------------------------------------

    def _dispatcher(self) -> Dispatcher:
        quick: dict[str, Callable[[Any], Any]] = {
            methods.Hello.name: self._hello,
            methods.ConfigDump.name: self._config_dump,
            methods.Watch.name: self._subscribe,
        }
        probes = Probes(self._booted.datapath, self._booted.thread)
        slow = {
            **self._service.handlers,
            **probes.handlers,
            methods.Handover.name: self._hand_over,
        }
        return Dispatcher(quick, slow, self._booted.thread)

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
            standby=self._handover.status(),
            took_over=self._booted.took_over,
            started=self._started_at,
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

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        task.add_done_callback(_log_failure)
        return task

    # -- the rest ------------------------------------------------------------

    async def _on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._booted.thread, function, *args)

    def _announce(self) -> None:
        self._timeline.mark("ready")
        notify.notify("READY=1\nSTATUS=Serving")
        how = self._booted.took_over
        if how is not None:
            self._announce_take_over(how)
        served, wanted = len(self._booted.engine.actual.ports), len(self._booted.desired.ports)
        done, took = ("restored", "start") if how is None else ("taken over", "that")
        LOG.info(
            "Ready: %d of %d ports %s; %s took %s", served, wanted, done, took, self._timeline
        )

    def _announce_take_over(self, how: methods.TookOver) -> None:
        LOG.info(
            "Process %d (version %s) is gone: %d of its sessions go on, %d have to connect again",
            how.from_pid,
            how.from_version or "unknown",
            how.adopted,
            how.closed,
        )
        detail = {name: str(value) for name, value in codec.to_json(how).items()}
        self._hub.greet_with(methods.Event(time=how.time, kind="took_over", detail=detail))
        self._loop.call_later(NEWS_S, self._hub.greet_with, None)
        # What a start does when it loads the state, and guests need not wait for.
        self._in_background(self._on_thread(self._service.settle))


def catch_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set from now on."""
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # main() blocked them until there was somebody to handle them.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return stop


def _listen(booted: Booted) -> socket.socket:
    path, access = booted.settings.api_socket, booted.settings.api_access
    if booted.listener is None:
        return server.listen(path, access)
    return server.resume(booted.listener, path, access)


async def _any(*events: asyncio.Event) -> None:
    """Wait until one of *events* is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        LOG.critical("Background work ended by an error", exc_info=error)
