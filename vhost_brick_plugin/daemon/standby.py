# SPDX-License-Identifier: Apache-2.0
"""The life of a standby: it follows the daemon that serves, until it is its turn.

It tells that one what it is, and then its datapath learns of all sessions
(:mod:`.handshake`), while :mod:`.dormant` follows what is stored.

Its turn comes when the kernel says that no thread of that process will touch a
guest again (the datapath's ``ended_fd``), or gives it the lock on the state, which
one that hands over releases.  To kernel and guests there never are two that serve:
the lock of a process that died comes too, when the kernel has taken the process
apart, and nobody else takes it while there is a standby.  One that hangs is killed.

A standby that cannot do all that the other one does is none: it says why, and
ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon import handshake, notify, watchdog
from vhost_brick_plugin.daemon.boot import Booted, lock_api, lock_state
from vhost_brick_plugin.daemon.dormant import Dormant, Leader
from vhost_brick_plugin.daemon.handshake import Introduction, Welcome
from vhost_brick_plugin.daemon.lock import Lock
from vhost_brick_plugin.daemon.other import Other
from vhost_brick_plugin.daemon.timeline import Timeline

LOG = logging.getLogger(__name__)

TICK_S = 0.25

HUNG_S = 2.0
"""A daemon without a sign of life for so long serves nobody."""


class Standby:
    """See the module.  Belongs to the event loop's thread, but for what says otherwise.

    :param stop: set when it shall end.
    """

    def __init__(self, dormant: Dormant, version: str, stop: asyncio.Event) -> None:
        self._dormant = dormant
        self._datapath = dormant.datapath
        self._settings = dormant.settings
        self._version = version
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._leader: Leader | None = None
        self._ended_fd = -1
        self._turn: Future[Booted] = Future()
        self._my_turn = threading.Event()
        self._silent = False
        self._status = ""

    async def wait(self, timeline: Timeline) -> Booted | None:
        """Stand by; return what serves when it is this one's turn, or None if told to stop.

        :param timeline: of the start, which ends here.
        :raises errors.StandbyRefused: this one is not fit to stand by, or no longer.
        """
        stop = self._loop.create_task(self._stop.wait())
        turn = asyncio.wrap_future(self._turn)
        works = (self._mind(timeline), self._follow(), watchdog.show_life(self._dormant.thread))
        duties = [self._loop.create_task(work) for work in works]
        self._ended_fd = await self._on_thread(self._datapath.ended_fd)
        threading.Thread(target=self._wait_for_turn, name="turn", daemon=True).start()
        try:
            await _first(turn, stop, *duties[:2])
            if self._my_turn.is_set():
                # Whatever else has happened, the guests wait for us.
                await _first(turn, stop)
        finally:
            for task in (stop, *duties):
                task.cancel()
        if self._stop.is_set():
            await self._end()
            return None
        for failed in duties[:2]:
            if failed.done() and not turn.done():
                failed.result()
        return await turn

    async def _end(self) -> None:
        LOG.info("Stopping")
        notify.notify("STOPPING=1")
        await self._on_thread(self._datapath.stop)

    # -- the turn ------------------------------------------------------------

    def _wait_for_turn(self) -> None:
        """Wait for the end of the other one and take over; a thread of its own."""
        try:
            self._turn.set_result(self._take_turn())
        except BaseException as e:
            self._turn.set_exception(e)

    def _take_turn(self) -> Booted:
        dormant = self._dormant
        lock, locked = Future[Lock](), os.eventfd(0, os.EFD_CLOEXEC)
        threading.Thread(
            target=self._wait_for_lock, args=(lock, locked), name="lock", daemon=True
        ).start()
        _wait_readable(self._ended_fd, locked)
        timeline = Timeline(from_now=True)
        self._my_turn.set()
        booted = dormant.thread.submit(
            dormant.take_over, lock.result, self._leader, timeline
        ).result()
        api = lock_api(self._settings, wait=True)
        return dataclasses.replace(booted, locks=(*booted.locks, api))

    def _wait_for_lock(self, lock: Future[Lock], locked: int) -> None:
        """Wait for the lock on the state, and tell when it is here; a thread of its own."""
        try:
            lock.set_result(lock_state(self._settings, wait=True))
        except BaseException as e:
            lock.set_exception(e)
        os.eventfd_write(locked, 1)

    # -- the daemon that serves ----------------------------------------------

    async def _mind(self, timeline: Timeline) -> None:
        await self._look()
        timeline.mark("ready")
        LOG.info("Standing by; start took %s", timeline)
        # All that is here stays, so no collection shall look at it during a take-over.
        gc.collect()
        gc.freeze()
        notify.notify("READY=1")
        while True:
            await asyncio.sleep(TICK_S)
            await self._look()

    async def _look(self) -> None:
        """Join the daemon that serves, or look how it is doing."""
        followed = await self._on_thread(self._datapath.followed)
        if followed.silence_s is None:
            await self._join()
            return
        assert self._leader is not None, "somebody is followed"
        self._tell(f"Standing by for {self._leader}, {'' if followed.in_sync else 'not '}in sync")
        silent = followed.silence_s > HUNG_S
        # Twice: a silence may be this process's own, if the whole machine stood still.
        if silent and self._silent:
            LOG.critical(
                "%s has given no sign of life for %.1f s: it is killed, to take over",
                self._leader,
                followed.silence_s,
            )
            self._leader.process.kill()
        self._silent = silent

    async def _join(self) -> None:
        try:
            sock = await asyncio.to_thread(self._meet)
        except OSError as e:
            self._tell(f"Standing by; nobody lets this daemon join: {e.strerror or e}")
        else:
            await self._on_thread(self._datapath.follow, sock.detach())

    def _meet(self) -> socket.socket:
        """Return a connection to the daemon that serves, which has welcomed this one.

        Any thread; may take a while.

        :raises OSError: it is not there, or says nothing.
        :raises errors.StandbyRefused: it does not want this one.
        """
        sock = handshake.connect(self._settings.state_dir)
        try:
            process = Other(handshake.check_peer(sock))
            handshake.send(sock, self._introduction())
            # It is alive when it answers, so the process is the right one.
            welcome, control = handshake.receive(sock, Welcome)
        except BaseException:
            sock.close()
            raise
        listener = None if control is None else socket.socket(fileno=control)
        leader = Leader(process, welcome.version, listener)
        if welcome.refused is not None:
            sock.close()
            reason = errors.from_wire(dict(welcome.refused))
            raise errors.StandbyRefused(
                f"{leader} refuses this daemon as its standby: {reason.message}",
                hint=reason.hint,
            )
        self._leader = leader
        sock.setblocking(True)
        return sock

    def _introduction(self) -> Introduction:
        return Introduction(
            handover=handshake.VERSION,
            version=self._version,
            pid=os.getpid(),
            datapath=self._settings.datapath,
            api_socket=self._settings.api_socket,
            abilities=self._dormant.abilities,
        )

    def _tell(self, status: str) -> None:
        if status != self._status and not self._my_turn.is_set():
            LOG.info("%s", status)
            notify.notify(f"STATUS={status}")
        self._status = status

    # -- what is stored ------------------------------------------------------

    async def _follow(self) -> None:
        changed = asyncio.Event()
        while True:
            self._loop.add_reader(self._dormant.view, changed.set)
            try:
                await changed.wait()
            finally:
                self._loop.remove_reader(self._dormant.view)
            changed.clear()
            await self._on_thread(self._dormant.catch_up)

    # -- the rest ------------------------------------------------------------

    async def _on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._dormant.thread, function, *args)


def _wait_readable(*fds: int) -> None:
    """Wait until one of *fds* is readable."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll()


async def _first(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of *futures* is done."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
