# SPDX-License-Identifier: Apache-2.0
"""What the daemon asks of a datapath, whatever it is made of.

One suite (``tests/contract``) holds every implementation to this text.

Thread rule: one thread calls; only :meth:`Datapath.event_fd` may be waited on
elsewhere.  No method waits for a guest.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.model import Network, Offer, Port, Session, Uplink
from vhost_brick_plugin.probes import CaptureOptions, Filter, Traced
from vhost_brick_plugin.report import (
    BrickStats,
    BufferStats,
    Counters,
    GraphResult,
    WorkerStats,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a datapath needs to start: the ``[dpdk]`` group, resolved.

    :ivar worker_cores: one poll worker on each; empty means one worker, unpinned.
    :ivar control_cores: where everything else runs; empty means anywhere.
    :ivar idle_sleep_us: a worker without a packet for so long sleeps; 0: never.
    :ivar memory_mb: memory for packet buffers and DPDK itself.
    :ivar hugepages: whether that memory comes from hugepages; decided, not ``auto``.
    :ivar mbufs: packet buffers in the pool.
    :ivar nics: DPDK's devargs of each nic, by its name.
    :ivar watchdog_s: seconds that a thread which guests depend on may take for one piece of
        work before the process ends itself; 0: any number.
    :ivar core_dumps: whether a process that dies may leave a core file.
    :ivar runtime_dir: a directory on a tmpfs for what should outlive the process,
        but not the host; empty: nothing is kept.
    :ivar peer_uids: users whose processes may be at the other end of a vhost-user socket;
        empty: the socket's rights decide.
    :ivar standby: start as one that follows another process, until it takes over.
    """

    worker_cores: tuple[int, ...] = ()
    control_cores: tuple[int, ...] = ()
    idle_sleep_us: int = 500
    memory_mb: int = 256
    hugepages: bool = False
    extra_eal_args: tuple[str, ...] = ()
    mbufs: int = 16384
    nics: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mac_table_size: int = 4096
    mac_ageing_s: int = 300
    watchdog_s: int = 2
    core_dumps: bool = False
    runtime_dir: str = ""
    peer_uids: tuple[int, ...] = ()
    standby: bool = False

    def devargs(self, nic: str) -> str:
        """Return the devargs of *nic*; raise UplinkError if the configuration has none."""
        if nic not in self.nics:
            known = ", ".join(self.nics) or "none"
            raise errors.UplinkError(
                f"there is no nic {nic}", hint=f"Describe it under [dpdk] nic; known: {known}."
            )
        return self.nics[nic]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in the datapath, to a port, to an uplink or (``lost``) to all.

    :ivar kind: ``session_connected``, ``session_adopted`` (from the process that served
        before), ``session_negotiated`` (its features), ``session_running``,
        ``session_stopped``, ``session_closed``, ``queues_changed``, ``fault``,
        ``fault_cleared`` or ``lost`` (events were dropped: read the state again).
    :ivar port: its id, or empty.
    :ivar uplink: the name of its interface, or empty.
    :ivar detail: ``features``, ``queues``, ``pid`` ... as text; of a fault ``fault`` (its
        name), ``message`` and ``hint``.
    """

    time: float
    kind: str
    port: str = ""
    uplink: str = ""
    session: int = 0
    detail: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """Live facts of a network.

    :ivar drops: by its switch and the uplinks that it has for itself; those of a trunk
        are nobody's in particular, and in :meth:`Datapath.brick_stats`.
    """

    macs_learned: int
    drops: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortInfo:
    """Live facts of a port."""

    sessions: tuple[Session, ...]
    fault: str
    """The name of its fault, or empty."""
    counters: Counters
    """Its traffic; drops are those of all its bricks."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """The most that a port may have been offered for a datapath to serve it.

    :ivar features: virtio feature bits.
    :ivar queues: queue pairs.
    """

    features: int
    queues: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """How a standby is doing.

    :ivar in_sync: it knows every session of the one it follows.
    :ivar silence_s: seconds since that one gave a sign of life; None: it follows nobody.
    :ivar sessions: those it knows.
    """

    in_sync: bool
    silence_s: float | None
    sessions: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """What became of the sessions that a standby knew.

    :ivar adopted: their frontends have noticed nothing.
    :ivar closed: they could not be kept; their frontends will connect again.
    """

    adopted: int
    closed: int


class Datapath(abc.ABC):
    """A packet graph with networks and ports.

    One that was started with ``standby`` has networks and ports too, but no uplinks,
    and nobody outside notices it: sockets are neither made nor connected, and sessions
    are those that it is told of (:meth:`follow`).  From :meth:`take_over` on it is as
    any other.

    Every method may raise :class:`~vhost_brick_plugin.errors.DatapathError`
    (or a more exact error), and then has changed nothing.
    """

    @staticmethod
    def prelude(options: Options) -> Mapping[str, Any] | None:
        """Return what the next process can begin with before it imports a datapath, as JSON.

        None: nothing.  See :mod:`.prelude`.
        """
        return None

    @abc.abstractmethod
    def start(self, options: Options) -> None:
        """Start the workers with an empty graph.  Once in the life of a process."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Remove everything and end the workers; client sockets are left to their owner."""

    @abc.abstractmethod
    def info(self) -> Mapping[str, str]:
        """Return facts for ``hello`` and ``status``: versions, memory, workers.

        Among them ``uplinks`` and ``nics``: see :class:`.methods.HelloResult`.
        """

    @abc.abstractmethod
    def offer(self, port: Port) -> Offer:
        """Return what a new *port* would be offered.  Changes nothing."""

    @abc.abstractmethod
    def network_add(self, network: Network) -> None:
        """Add *network* without its uplinks.  Its name must be new."""

    @abc.abstractmethod
    def network_update(self, network: Network) -> None:
        """Take over a new MTU for *network*'s uplinks; its ports are not disturbed.

        A trunk has the greatest MTU of its networks.

        :raises errors.UplinkError: an uplink cannot take such frames, or not while it runs.
        """

    @abc.abstractmethod
    def network_remove(self, name: str) -> None:
        """Remove a network that has neither ports nor uplinks."""

    @abc.abstractmethod
    def uplink_add(self, network: str, uplink: Uplink) -> None:
        """Join *uplink* to *network*.  A tap's interface exists.

        Of several uplinks with VLANs and one name the first brings the trunk with it.

        :raises errors.UplinkError: it cannot be had, or clashes with one that is there.
        """

    @abc.abstractmethod
    def uplink_update(self, network: str, uplink: Uplink) -> None:
        """Take over other remote hosts of a tunnel; no other traffic is disturbed.

        :raises errors.UplinkError: *network* has none at *uplink*'s place.
        """

    @abc.abstractmethod
    def uplink_remove(self, network: str, uplink: Uplink) -> None:
        """Part *network* from its uplink at *uplink*'s place.

        A tap's interface itself stays.  A trunk goes with its last network.

        :raises errors.UplinkError: *network* has none there.
        """

    @abc.abstractmethod
    def port_add(self, port: Port, offer: Offer) -> None:
        """Serve *port*, offering exactly *offer*; its id and path must be new.

        Its security is the one in force from the first packet, and never null here.
        A server-mode port listens when this returns.  A client-mode port is
        being retried from now on.  In a standby neither is.

        :raises errors.DatapathError: also when *offer* has what this datapath
            cannot do.
        """

    @abc.abstractmethod
    def port_remove(self, id: str) -> None:
        """Close its sessions and forget *id*."""

    @abc.abstractmethod
    def port_update(self, port: Port) -> None:
        """Take over new metadata and another security (never null) of a port.

        Its sessions are not disturbed, and when this returns no packet passes that only
        the old security let through.
        """

    @abc.abstractmethod
    def event_fd(self) -> int:
        """Return a file descriptor that is readable while :meth:`events` has news."""

    @abc.abstractmethod
    def events(self) -> Sequence[Event]:
        """Return and forget the events since the last call; never blocks."""

    @abc.abstractmethod
    def port_info(self, id: str) -> PortInfo:
        """Return live facts of a port."""

    @abc.abstractmethod
    def network_info(self, name: str) -> NetworkInfo:
        """Return live facts of a network."""

    @abc.abstractmethod
    def brick_stats(self) -> tuple[BrickStats, ...]:
        """Return counters of all bricks since each was made."""

    @abc.abstractmethod
    def gone_stats(self) -> Counters:
        """Return the counters that bricks which are no more had, all together."""

    @abc.abstractmethod
    def buffer_stats(self) -> BufferStats:
        """Return how many packet buffers there are, and are in use."""

    @abc.abstractmethod
    def worker_stats(self) -> tuple[WorkerStats, ...]:
        """Return counters of all workers since :meth:`start`."""

    @abc.abstractmethod
    def graph(self) -> GraphResult:
        """Return the graph that the workers run."""

    # -- seeing packets --------------------------------------------------------
    #
    # At a brick of the graph with a host's side: that of a port or of an uplink.  No packet
    # is lost by it, and what is not looked at is not slowed down.

    @abc.abstractmethod
    def capture_start(self, brick: str, options: CaptureOptions) -> int:
        """Capture what passes at *brick* from now on; return the capture's number.

        It is kept in memory until :meth:`capture_deliver`.  A packet that finds no room is
        not captured.

        :raises errors.BrickNotFound: there is none of that name with a host's side.
        :raises errors.DatapathError: also when the filter is no program.
        """

    @abc.abstractmethod
    def capture_deliver(self, number: int, fd: int) -> None:
        """Write it to *fd* as pcapng, until it ends; once.

        It ends by its options, when the brick goes, when *fd* is closed at its other end, or
        by :meth:`capture_stop`.  A socket is shut down for writing then.

        :param fd: a socket or pipe; consumed, also by an error, and made non-blocking.
        """

    @abc.abstractmethod
    def capture_stop(self, number: int) -> bool:
        """End a capture if it has not ended, and forget its number.

        What it has is still delivered, to who takes it.

        :return: whether there was one.
        """

    @abc.abstractmethod
    def trace_start(self, brick: str, packets: int, filter: Filter) -> int:
        """Follow the next *packets* from the host's side of *brick*; return a number.

        :param packets: 1 to :data:`~vhost_brick_plugin.probes.MAX_TRACED`.
        :raises errors.BrickNotFound: as for :meth:`capture_start`.
        :raises errors.DatapathError: also when *brick* is being traced, and as there.
        """

    @abc.abstractmethod
    def trace_read(self, number: int) -> Traced:
        """Return what it has seen since the last call; never blocks."""

    @abc.abstractmethod
    def trace_stop(self, number: int) -> bool:
        """Follow no more, and forget its number; return whether there was one."""

    # -- two processes ---------------------------------------------------------

    @abc.abstractmethod
    def abilities(self) -> Abilities:
        """Return what ports may have been offered elsewhere to be served here."""

    @abc.abstractmethod
    def lead(self, fd: int) -> None:
        """Tell whoever is at the other end of *fd* of all sessions, now and from now on.

        :param fd: a connected SOCK_SEQPACKET socket; consumed, also by an error.  Another
            one replaces the first.
        """

    @abc.abstractmethod
    def leading(self) -> bool:
        """Tell whether somebody follows and knows every session."""

    @abc.abstractmethod
    def follow(self, fd: int) -> None:
        """Standby: learn the sessions of whoever leads at the other end of *fd*.

        Those of ports that are not there yet are kept for them.

        :param fd: as for :meth:`lead`; another one makes it forget what the first told.
        """

    @abc.abstractmethod
    def ended_fd(self) -> int:
        """Standby, before :meth:`follow`: return a descriptor, the datapath's.

        Once it is readable the process that leads is dead, and past all use of sessions.
        It need not become so: the lock on the state tells the same, later.
        """

    @abc.abstractmethod
    def followed(self) -> Followed:
        """Standby: tell how the following goes."""

    @abc.abstractmethod
    def take_over(self) -> TakeOver:
        """Standby, once: adopt the known sessions, and serve.

        The process that served must be past all use of them.  Ports without a session
        connect or listen as after :meth:`port_add`; a server-mode port that finds a socket
        on its path that nobody answers on replaces it.
        """

    @abc.abstractmethod
    def let_go(self) -> None:
        """Leave all rings at once and for ever, with every socket as it is.

        Nothing but the end of the process may follow: the one who follows takes over.
        """
