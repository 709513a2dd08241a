# SPDX-License-Identifier: Apache-2.0
"""The control API, declared once.

Each method is a dataclass of its parameters; its docstring is its
documentation and ``result`` the type of its answer.  Server dispatch,
validation, client, reference docs and CLI completion all come from here.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from vhost_brick_plugin.codec import param
from vhost_brick_plugin.model import Mode, Network, Offer, Port, PortSecurity, Session, Uplink
from vhost_brick_plugin.probes import BUFFER, Direction, Filter
from vhost_brick_plugin.report import (
    NO_TRAFFIC,
    BrickStats,
    BufferStats,
    Counters,
    Fault,
    GraphResult,
    Happening,
    WorkerStats,
)

API_VERSION = 1
"""Raised when an old client could misread a new daemon; additions do not raise it."""


# -- what comes back ---------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """The daemon that takes over when the one that answers dies or hands over."""

    pid: int = param("Its process id.")
    version: str = param("Its software version.")
    in_sync: bool = param("Whether it knows every session, so that no guest would notice.")
    since: float = param("Seconds since the epoch when that became so.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TookOver:
    """How the daemon that answers came to serve: it was another one's standby."""

    time: float = param("Seconds since the epoch when the other one was gone.")
    from_pid: int = param("The process id of the other one; 0: unknown.")
    from_version: str = param("The software version of the other one; empty: unknown.")
    adopted: int = param("Sessions that went on without noticing.")
    closed: int = param("Sessions that could not be kept, and had to connect again.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HelloResult:
    """Who answers: see :class:`Hello`."""

    api_version: int = param("The daemon's API version.")
    version: str = param("The daemon's software version.")
    pid: int = param("The daemon's process id.")
    uptime_s: float = param("Seconds since the daemon started.")
    datapath: str = param("The datapath in use: dpdk or fake.")
    datapath_info: Mapping[str, str] = param(
        "Facts about it: DPDK version, hugepages, workers; by 'uplinks' the kinds of uplinks it "
        "has, and by 'nics' the names under [dpdk] nic, both parted by ', '."
    )
    methods: tuple[str, ...] = param("The methods this daemon has.")
    startup_ms: Mapping[str, float] = param(
        "Milliseconds each part of its start, or of its take-over, took, and in total.",
        default_factory=dict,
    )
    standby: Standby | None = param("Its standby; null: none.", default=None)
    took_over: TookOver | None = param("Null: it was started to serve.", default=None)
    started: float = param(
        "Seconds since the epoch when it began to serve; 0: it does not tell.", default=0.0
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HandoverResult:
    """Who serves from now on: see :class:`Handover`."""

    pid: int = param("The process id of the daemon that answers, and ends.")
    version: str = param("Its software version.")
    standby_pid: int = param("The process id of the one that takes over.")
    standby_version: str = param("Its software version.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The answer of a removal.

    Removing what is not there succeeds, so that a caller may repeat itself.
    """

    existed: bool = param("Whether there was anything to remove.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortStatus:
    """A port, what it offered, and how it is doing."""

    port: Port = param("What was asked for.")
    offer: Offer = param("What the VM was offered, unchanged until the port is deleted.")
    state: str = param("waiting, connected, running or fault.")
    security: PortSecurity = param("What it lets through: its own, or its network's default.")
    sessions: tuple[Session, ...] = param("The connected frontends.")
    fault: Fault | None = param("What is wrong, if anything is.", default=None)
    counters: Counters = param("Its traffic, all sessions together.")
    life: tuple[Happening, ...] = param(
        "What happened to it, the oldest first; of port_show alone.", default=()
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkStatus:
    """A network and what is on it."""

    network: Network = param("What was asked for.")
    ports: tuple[str, ...] = param("The ids of its ports.")
    macs_learned: int = param("Entries in its switch's MAC table.")
    drops: Mapping[str, int] = param(
        "Packets that its switch and the uplinks of its own dropped, by the reason's name."
    )
    fault: Fault | None = param("What is wrong with it or an uplink, if anything.", default=None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StatsResult:
    """All counters, read at one time."""

    time: float = param("Seconds since the epoch.")
    bricks: tuple[BrickStats, ...] = param("Counters by brick.")
    workers: tuple[WorkerStats, ...] = param("Counters by worker.")
    gone: Counters = param("Counters of all bricks that are no more.", default=NO_TRAFFIC)
    buffers: BufferStats = param("Packet buffers.", default=BufferStats())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ConfigResult:
    """The configuration in force."""

    options: Mapping[str, str] = param("Values by group.option.")
    files: tuple[str, ...] = param("The files they were read from.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortList:
    """All ports."""

    ports: tuple[PortStatus, ...] = param("Sorted by id.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkList:
    """All networks."""

    networks: tuple[NetworkStatus, ...] = param("Sorted by name.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened; sent as a notification of method ``event`` after ``watch``.

    Kinds: those of :class:`vhost_brick_plugin.datapath.base.Event`, and
    ``port_added``, ``port_changed``, ``port_removed``, ``network_added``,
    ``network_changed``, ``network_removed``, ``standby_in_sync``, ``standby_lost`` and
    ``took_over``.
    """

    time: float = param("Seconds since the epoch.")
    kind: str = param("What happened, such as session_connected: see the docs for the list.")
    port: str = param("The port it happened to, or empty.", default="")
    uplink: str = param("The name of the uplink it happened to, or empty.", default="")
    detail: Mapping[str, str] = param("More about it.", default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """The answer of ``watch``: events follow on the same connection."""

    port: str | None = param("The port whose events follow, or null for all.", default=None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CaptureStarted:
    """The answer of ``capture_start``: a pcapng file follows on the same connection."""

    number: int = param("The capture's number, for capture_stop.")
    brick: str = param("The brick whose packets follow.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """The answer of ``trace``.

    On the same connection follow notifications of method ``event``, one a packet, with what
    :class:`~vhost_brick_plugin.probes.TracedPacket` has, and the connection's end.
    """

    brick: str = param("The brick whose packets follow.")


# -- what can be asked -------------------------------------------------------


R = TypeVar("R")


class Method(Generic[R]):
    """Base of all declarations: parameters are the dataclass fields, R the answer's type."""

    name: ClassVar[str]
    result: ClassVar[type]

    def __init_subclass__(cls) -> None:
        (cls.result,) = typing.get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hello(Method[HelloResult]):
    """Tell API version and capabilities."""

    name = "hello"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkEnsure(Method[NetworkStatus]):
    """Make a network exist as described; the same call again changes nothing."""

    name = "network_ensure"

    network: str = param("The network's name.")
    mtu: int = param("Bytes of payload in a frame.", default=1500)
    uplinks: tuple[Uplink, ...] = param(
        "All the uplinks it shall have; those that stay are not disturbed.", default=()
    )
    guarded: bool = param(
        "Ports pass nothing until their security is set: for networks that Neutron manages.",
        default=False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkRemove(Method[Done]):
    """Remove a network without ports."""

    name = "network_remove"

    network: str = param("The network's name.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkListCall(Method[NetworkList]):
    """List networks."""

    name = "network_list"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortEnsure(Method[PortStatus]):
    """Make a port exist as described; the same call again disturbs no traffic.

    Returns once the port is stored and being served; never waits for the guest.
    A parameter left out (null) keeps the port's present value, or takes the
    configured default where the port is new.
    """

    name = "port_ensure"

    id: str = param("The port's id.")
    network: str = param("The network to join.")
    mode: Mode | None = param("Who listens: server is the brick, client is QEMU.", default=None)
    socket_path: str | None = param(
        "Where the socket is; default: [vhost] socket_dir, then the id.", default=None
    )
    mac: str | None = param("The guest's MAC; default: made from the id.", default=None)
    mtu: int | None = param("Default: the network's.", default=None)
    queues: int | None = param("Queue pairs on offer; default: [vhost] max_queues.", default=None)
    security: PortSecurity | None = param(
        "What it lets through; default: everything, or nothing on a guarded network.", default=None
    )
    metadata: Mapping[str, str] | None = param("Free text for operators.", default=None)
    create_network: bool = param(
        "Make a missing network too, and remove it with its last port.", default=False
    )
    must_exist: bool = param(
        "Change the port if it is there, and fail rather than make it.", default=False
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortRemove(Method[Done]):
    """Remove a port; one that is not there counts as removed."""

    name = "port_remove"

    id: str = param("The port's id.")
    metadata: Mapping[str, str] | None = param(
        "Remove it only if its metadata says all of this: it is somebody else's otherwise.",
        default=None,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortListCall(Method[PortList]):
    """List ports."""

    name = "port_list"

    network: str | None = param("Only those of this network.", default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortShow(Method[PortStatus]):
    """Tell everything about one port."""

    name = "port_show"

    id: str = param("The port's id.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stats(Method[StatsResult]):
    """Read all counters."""

    name = "stats"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Graph(Method[GraphResult]):
    """Read the packet graph."""

    name = "graph"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watch(Method[Watching]):
    """Stream events on this connection until it is closed."""

    name = "watch"

    port: str | None = param("Only events of this port.", default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptureStart(Method[CaptureStarted]):
    """Stream a port's packets as pcapng on this connection, until a limit or its end.

    Who has enough shuts the connection down for writing, and reads on: the file's last block
    tells what was captured and what was not.  Closing it ends the capture, too.
    """

    name = "capture_start"

    port: str = param(
        "The port's id, or the brick of an uplink as graph names it, such as tap/blue0."
    )
    # Not in the log: hundreds of numbers that nobody reads.
    filter: Filter = param("Which packets, as classic BPF; default: all.", default=(), repr=False)
    direction: Direction = param("Which way.", default=Direction.BOTH)
    snaplen: int = param("Bytes of each packet to keep; 0: all.", default=0)
    packets: int = param("End with so many; 0: any number.", default=0)
    seconds: float = param("End after so long; 0: never.", default=0.0)
    buffer: int = param("Bytes of memory for packets that wait for the reader.", default=BUFFER)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaptureStop(Method[Done]):
    """End a capture, whoever started it; its reader gets what it has, and the end."""

    name = "capture_stop"

    number: int = param("As capture_start told it.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trace(Method[Tracing]):
    """Follow the next packets from a port through the graph, and stream where each one went."""

    name = "trace"

    port: str = param(
        "The port's id, or the brick of an uplink as graph names it, such as tap/blue0."
    )
    packets: int = param("So many, up to 1000.", default=10)
    # Not in the log: hundreds of numbers that nobody reads.
    filter: Filter = param("Which packets, as classic BPF; default: all.", default=(), repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfigDump(Method[ConfigResult]):
    """Tell the configuration in force."""

    name = "config_dump"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handover(Method[HandoverResult]):
    """Let the standby serve and end; refused unless no guest would notice."""

    name = "handover"


METHODS: dict[str, type[Method[Any]]] = {cls.name: cls for cls in Method.__subclasses__()}
