# SPDX-License-Identifier: Apache-2.0
"""All that is stored, held ready by one that does not serve, and how it wakes.

Networks, ports and rules are in the datapath, and follow every change of the
state file.  What one process alone can have (uplinks, listening sockets) waits.

Everything that a take-over needs is imported, read and built before; its order
puts first what guests wait for.  What is here is called on the datapath's
thread, but for :func:`prepare`.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from vhost_brick_plugin import errors, netlink
from vhost_brick_plugin.api.methods import TookOver
from vhost_brick_plugin.daemon import checks
from vhost_brick_plugin.daemon.boot import Booted, datapath_thread, lock_standby, start_datapath
from vhost_brick_plugin.daemon.engine import Engine
from vhost_brick_plugin.daemon.lock import Lock
from vhost_brick_plugin.daemon.other import Other
from vhost_brick_plugin.daemon.settings import Settings
from vhost_brick_plugin.daemon.state import State
from vhost_brick_plugin.daemon.store import Store
from vhost_brick_plugin.daemon.timeline import Timeline
from vhost_brick_plugin.daemon.view import View
from vhost_brick_plugin.datapath.base import Datapath

LOG = logging.getLogger(__name__)

EXIT_S = 1.0
"""So long a process that died may take to let go of its taps."""


@dataclasses.dataclass(frozen=True, slots=True)
class Leader:
    """The daemon that serves.

    :ivar control: its control socket, listening.
    """

    process: Other
    version: str
    control: socket.socket | None

    def __str__(self) -> str:
        return f"process {self.process.pid} (version {self.version})"


class Dormant:
    """See the module.

    :ivar lock: what keeps a second standby away.
    :ivar thread: the datapath's.
    """

    def __init__(
        self,
        settings: Settings,
        lock: Lock,
        thread: ThreadPoolExecutor,
        datapath: Datapath,
        view: View,
        store: Store,
    ) -> None:
        self.settings = settings
        self.lock = lock
        self.thread = thread
        self.datapath = datapath
        self.view = view
        self.abilities = datapath.abilities()
        self._store = store
        self._engine = Engine(datapath, netlink, settings.port_access, dormant=True)
        self._state = State()

    def begin(self) -> None:
        """Have what is stored.

        :raises errors.StateError: it cannot be read.
        :raises errors.StandbyRefused: some of it cannot be had here.
        """
        self._follow(self.view.look() or State())

    def catch_up(self) -> None:
        """Have what is stored now.

        :raises errors.StandbyRefused: some of it cannot be had here, so nothing shall be
            taken over.
        """
        try:
            state = self.view.look()
        except errors.StateError as e:
            # Whoever serves has it in memory, and stores it again with the next change.
            LOG.error("The stored state cannot be followed at present: %s", e)
        else:
            if state is not None:
                self._follow(state)

    def take_over(
        self, lock: Callable[[], Lock], leader: Leader | None, timeline: Timeline
    ) -> Booted:
        """Serve: whoever did is dead, or past all that it did.

        :param lock: waits for the lock on the state.
        :param leader: who was met last; None: nobody.
        :raises errors.DatapathError: that is not possible.
        """
        moment = time.time()
        self._look_once_more()
        timeline.mark("state")
        result = self.datapath.take_over()
        timeline.mark("sessions")
        # What guests wait for is done, and the rest is for who has the lock.
        held = lock()
        self.lock.release()
        timeline.mark("lock")
        if leader is not None and leader.process.pid != held.previous:
            leader = None  # Somebody served after that one, and has not been met.
        self._engine.wake()
        timeline.mark("sockets")
        if leader is not None and not leader.process.wait(EXIT_S):
            LOG.warning("%s is dead and has not let go of everything yet", leader)
        timeline.mark("exit")
        self._engine.restore(self._state)
        timeline.mark("uplinks")
        # The kernel takes its time for that, and nobody shall wait for it.
        self.thread.submit(self.view.close)
        return Booted(
            settings=self.settings,
            locks=(held,),
            thread=self.thread,
            datapath=self.datapath,
            engine=self._engine,
            store=self._store,
            desired=self._state,
            timeline=timeline,
            listener=leader.control if leader else None,
            took_over=TookOver(
                time=moment,
                from_pid=leader.process.pid if leader else 0,
                from_version=leader.version if leader else "",
                adopted=result.adopted,
                closed=result.closed,
            ),
        )

    def _follow(self, state: State) -> None:
        try:
            checks.check_offers(state, self.abilities, "this daemon")
        except errors.OfferShrinks as e:
            raise errors.StandbyRefused(f"cannot stand by: {e.message}", hint=e.hint) from e
        self._have(state)
        for subject, setback in self._engine.setbacks.items():
            fault = setback.fault
            raise errors.StandbyRefused(
                f"cannot stand by: {subject}: {fault.message}", hint=fault.hint
            )

    def _look_once_more(self) -> None:
        # Nobody else is left to serve, so whatever is wrong is the ports' that it is wrong with.
        try:
            state = self.view.look()
        except errors.StateError as e:
            LOG.error("Taking over what was stored before: %s", e)
        else:
            if state is not None:
                self._have(state)

    def _have(self, state: State) -> None:
        self._state = state
        self._engine.restore(state.without_uplinks())


def prepare(settings: Settings, timeline: Timeline) -> Dormant:
    """Have all that is stored, dormant.

    :raises errors.StandbyRefused: there is a standby already, or this one is not fit.
    :raises errors.StateError: what is stored cannot be read.
    :raises errors.DatapathError: the datapath does not start.
    """
    lock = _lock(settings)
    thread = datapath_thread()
    options = dataclasses.replace(settings.options, standby=True)
    starting = thread.submit(start_datapath, settings.datapath_class, options)
    netlink.load()
    store = Store(settings.state_dir, settings.api_access.gid)
    view = View(store, settings.state_dir)
    datapath = starting.result()
    timeline.mark("datapath")
    dormant = thread.submit(Dormant, settings, lock, thread, datapath, view, store).result()
    thread.submit(dormant.begin).result()
    timeline.mark("ports")
    return dormant


def _lock(settings: Settings) -> Lock:
    try:
        return lock_standby(settings)
    except errors.StateInUse as e:
        raise errors.StandbyRefused(
            f"{e.message} as the standby, beside the one that serves",
            hint="Two daemons are enough: stop one of them, or give this one a [daemon] "
            "state_dir and api_socket of its own.",
        ) from e
