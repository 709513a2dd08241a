# SPDX-License-Identifier: Apache-2.0
"""The side of the daemon that serves in a hand-over: who its standby is, and whether it is fit.

Belongs to the event loop's thread, but for what says that it is called on the
datapath's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon import checks, handshake
from vhost_brick_plugin.daemon.boot import Booted
from vhost_brick_plugin.daemon.handshake import Introduction, Welcome
from vhost_brick_plugin.daemon.other import Other
from vhost_brick_plugin.daemon.state import State
from vhost_brick_plugin.datapath.base import Abilities

LOG = logging.getLogger(__name__)

TICK_S = 0.5
"""Between two looks at whether the standby keeps up."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Standby:
    process: Other
    version: str
    abilities: Abilities
    in_sync: bool = False
    since: float

    def __str__(self) -> str:
        return f"the standby (process {self.process.pid}, version {self.version})"


class Handover:
    """See the module.

    :param state: returns what is wanted; called on the datapath's thread.
    :param control: the listening control socket; the standby gets a copy, so that nobody
        who calls while it takes over is turned away.
    :param emit: takes the events that happen; called on the datapath's thread.
    """

    def __init__(
        self,
        booted: Booted,
        version: str,
        state: Callable[[], State],
        control: socket.socket,
        emit: Callable[[methods.Event], None],
    ) -> None:
        self._booted = booted
        self._datapath = booted.datapath
        self._version = version
        self._state = state
        self._control = control
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._standby: _Standby | None = None
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Wait for a standby.  That none can come is no reason not to serve."""
        state_dir = self._booted.settings.state_dir
        try:
            self._listener = handshake.listen(state_dir)
        except OSError as e:
            LOG.error("No standby can join: %s in %s: %s", handshake.SOCKET, state_dir, e.strerror)
            return
        self._loop.add_reader(self._listener, self._accept)
        self._in_background(self._watch())

    def stop(self) -> None:
        """Have nothing more to do with standbys; one that is there stays."""
        for task in self._tasks:
            task.cancel()
        if self._standby is not None:
            self._loop.remove_reader(self._standby.process)
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            handshake.unlink(self._booted.settings.state_dir)

    def status(self) -> methods.Standby | None:
        """Return how the standby is doing; None: there is none."""
        known = self._standby
        if known is None:
            return None
        return methods.Standby(
            pid=known.process.pid, version=known.version, in_sync=known.in_sync, since=known.since
        )

    def check(self) -> methods.Standby:
        """Return the standby, which may take over now.  On the datapath's thread.

        :raises errors.NoStandby: there is none.
        :raises errors.StandbyBehind: some guest would notice.
        :raises errors.OfferShrinks: some guest would lose what it was offered.
        """
        known, status = self._standby, self.status()
        if known is None or status is None:
            raise errors.NoStandby("there is no standby to hand over to")
        if not self._datapath.leading():
            raise errors.StandbyBehind(f"{known} does not know every session yet")
        checks.check_offers(self._state(), known.abilities, str(known))
        return status

    def successor(self) -> methods.Standby | None:
        """As :meth:`check`, but return None for one that is not fit."""
        if self._standby is None:
            return None
        try:
            return self.check()
        except errors.VhostBrickError as e:
            LOG.info("Not handed over: %s", e)
            return None

    # -- joining -------------------------------------------------------------

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # It has given up already.
        self._in_background(self._meet(sock))

    async def _meet(self, sock: socket.socket) -> None:
        """Welcome or refuse whoever connected."""
        try:
            sock.settimeout(handshake.PATIENCE_S)
            process = Other(handshake.check_peer(sock))
            said, _ = await asyncio.to_thread(handshake.receive, sock, Introduction)
            await self._on_thread(self._admit, sock, said)
        except (errors.VhostBrickError, OSError) as e:
            LOG.warning("A standby could not join: %s", e)
            sock.close()
        else:
            self._joined(process, said)

    def _admit(self, sock: socket.socket, said: Introduction) -> None:
        """Lead whoever introduced itself as *said*; raise an error to refuse it.

        On the datapath's thread, so that no port can come in between.
        """
        welcome = Welcome(version=self._version, pid=os.getpid())
        try:
            self._check(said)
        except errors.VhostBrickError as e:
            welcome = dataclasses.replace(welcome, refused=errors.to_wire(e))
            handshake.send(sock, welcome)
            raise
        handshake.send(sock, welcome, self._control.fileno())
        sock.setblocking(True)
        self._datapath.lead(sock.detach())

    def _check(self, said: Introduction) -> None:
        settings = self._booted.settings
        who = f"the standby (process {said.pid}, version {said.version})"
        if said.handover != handshake.VERSION:
            raise errors.StandbyRefused(
                f"{who} hands over in another way ({said.handover}) than version "
                f"{self._version} ({handshake.VERSION})",
                hint="Restart the daemon instead: its ports are restored.",
            )
        if said.datapath != settings.datapath:
            raise errors.StandbyRefused(
                f"{who} has the datapath {said.datapath}, not {settings.datapath}",
                hint="Give both daemons the same [daemon] datapath.",
            )
        if said.api_socket != settings.api_socket:
            raise errors.StandbyRefused(
                f"{who} has the control socket {said.api_socket}, not {settings.api_socket}",
                hint="Give both daemons the same [daemon] api_socket.",
            )
        checks.check_offers(self._state(), said.abilities, who)

    def _joined(self, process: Other, said: Introduction) -> None:
        self._forget()
        self._standby = _Standby(
            process=process, version=said.version, abilities=said.abilities, since=time.time()
        )
        LOG.info("Process %d (version %s) stands by", process.pid, said.version)
        self._loop.add_reader(process, self._gone)
        self._in_background(self._look())

    # -- keeping up ----------------------------------------------------------

    def _gone(self) -> None:
        known = self._standby
        self._forget()
        if known is not None:
            LOG.warning("Lost %s: it has ended", known)
            self._tell("standby_lost", known)

    def _forget(self) -> None:
        known, self._standby = self._standby, None
        if known is not None:
            self._loop.remove_reader(known.process)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await self._look()

    async def _look(self) -> None:
        known = self._standby
        if known is None:
            return
        in_sync = await self._on_thread(self._datapath.leading)
        if known is not self._standby or in_sync == known.in_sync:
            return
        self._standby = dataclasses.replace(known, in_sync=in_sync, since=time.time())
        LOG.log(
            logging.INFO if in_sync else logging.WARNING,
            "%s is %s",
            known,
            "in sync" if in_sync else "no longer in sync",
        )
        self._tell("standby_in_sync" if in_sync else "standby_lost", known)

    def _tell(self, kind: str, known: _Standby) -> None:
        detail = {"pid": str(known.process.pid), "version": known.version}
        self._emit(methods.Event(time=time.time(), kind=kind, detail=detail))

    # -- the rest ------------------------------------------------------------

    async def _on_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self._loop.run_in_executor(self._booted.thread, function, *args)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            LOG.critical("Background work ended by an error", exc_info=error)
