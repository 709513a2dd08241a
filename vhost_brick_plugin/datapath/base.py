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

from vhost_brick_plugin.model import Network, Offer, Port, Session, Uplink
from vhost_brick_plugin.report import BrickStats, Counters, GraphResult, WorkerStats


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a datapath needs to start: the ``[dpdk]`` group, resolved.

    :ivar worker_cores: one poll worker on each; empty means one worker, unpinned.
    :ivar control_cores: where everything else runs; empty means anywhere.
    :ivar memory_mb: memory for packet buffers and DPDK itself.
    :ivar hugepages: whether that memory comes from hugepages; decided, not ``auto``.
    :ivar mbufs: packet buffers in the pool.
    :ivar runtime_dir: a directory on a tmpfs for what should outlive the process,
        but not the host; empty: nothing is kept.
    """

    worker_cores: tuple[int, ...] = ()
    control_cores: tuple[int, ...] = ()
    memory_mb: int = 256
    hugepages: bool = False
    extra_eal_args: tuple[str, ...] = ()
    mbufs: int = 16384
    mac_table_size: int = 4096
    mac_ageing_s: int = 300
    runtime_dir: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in the datapath.

    :ivar kind: ``session_connected``, ``session_running``, ``session_stopped``,
        ``session_closed``, ``queues_changed``, ``fault``, ``fault_cleared`` or ``lost``
        (events were dropped: read the state again).
    :ivar detail: ``features``, ``queues`` ... as text; of a fault ``fault`` (its
        name), ``message`` and ``hint``.
    """

    time: float
    kind: str
    port: str
    session: int = 0
    detail: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkInfo:
    """Live facts of a network."""

    macs_learned: int
    drops: Mapping[str, int]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortInfo:
    """Live facts of a port."""

    sessions: tuple[Session, ...]
    fault: str
    """The name of its fault, or empty."""
    counters: Counters


class Datapath(abc.ABC):
    """A packet graph with networks and ports.

    Every method may raise :class:`~vhost_brick_plugin.errors.DatapathError`
    (or a more exact error), and then has changed nothing.
    """

    @abc.abstractmethod
    def start(self, options: Options) -> None:
        """Start the workers with an empty graph.  Once in the life of a process."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Remove everything and end the workers; client sockets are left to their owner."""

    @abc.abstractmethod
    def info(self) -> Mapping[str, str]:
        """Return facts for ``hello`` and ``status``: versions, memory, workers."""

    @abc.abstractmethod
    def offer(self, port: Port) -> Offer:
        """Return what a new *port* would be offered.  Changes nothing."""

    @abc.abstractmethod
    def network_add(self, network: Network) -> None:
        """Add *network* without its uplinks.  Its name must be new."""

    @abc.abstractmethod
    def network_update(self, network: Network) -> None:
        """Take over a new MTU for *network*'s uplinks; its ports are not disturbed."""

    @abc.abstractmethod
    def network_remove(self, name: str) -> None:
        """Remove a network that has neither ports nor uplinks."""

    @abc.abstractmethod
    def uplink_add(self, network: str, uplink: Uplink) -> None:
        """Join *uplink*'s interface, which exists, to *network*."""

    @abc.abstractmethod
    def uplink_remove(self, network: str, uplink: Uplink) -> None:
        """Part it again; the interface itself stays."""

    @abc.abstractmethod
    def port_add(self, port: Port, offer: Offer) -> None:
        """Serve *port*, offering exactly *offer*; its id and path must be new.

        A server-mode port listens when this returns.  A client-mode port is
        being retried from now on.

        :raises errors.DatapathError: also when *offer* has what this datapath
            cannot do.
        """

    @abc.abstractmethod
    def port_remove(self, id: str) -> None:
        """Close its sessions and forget *id*."""

    @abc.abstractmethod
    def port_update(self, port: Port) -> None:
        """Take over new metadata of a port; its traffic is not disturbed."""

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
        """Return counters of all bricks since :meth:`start`."""

    @abc.abstractmethod
    def worker_stats(self) -> tuple[WorkerStats, ...]:
        """Return counters of all workers since :meth:`start`."""

    @abc.abstractmethod
    def graph(self) -> GraphResult:
        """Return the graph that the workers run."""

    @abc.abstractmethod
    def stalled(self, seconds: float) -> Sequence[str]:
        """Name the threads (workers, vhost events) without a sign of life for so long."""
