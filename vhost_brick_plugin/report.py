# SPDX-License-Identifier: Apache-2.0
"""What there is to report: counters, the graph's shape, faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from vhost_brick_plugin.codec import param


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Traffic of a port or a brick since the datapath started.

    Over all bricks, those included that are no more, what came from peers and what was
    made is what went to peers and what was dropped, but for what is on its way.
    """

    from_peer_packets: int = param("Packets taken from the guest (or the kernel interface).")
    from_peer_bytes: int = param("Bytes in them.")
    to_peer_packets: int = param("Packets given to the guest (or the kernel interface).")
    to_peer_bytes: int = param("Bytes in them.")
    made_packets: int = param(
        "Packets that bricks made themselves: further copies of flooded ones, announcements.",
        default=0,
    )
    drops: Mapping[str, int] = param("Packets dropped, by the reason's name; zeros left out.")


NO_TRAFFIC = Counters(
    from_peer_packets=0, from_peer_bytes=0, to_peer_packets=0, to_peer_bytes=0, drops={}
)


def total_drops(parts: Iterable[Counters]) -> dict[str, int]:
    """Return the drops of all *parts* together."""
    total: dict[str, int] = {}
    for part in parts:
        for reason, count in part.drops.items():
            total[reason] = total.get(reason, 0) + count
    return total


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Something in the life of a port."""

    time: float = param("Seconds since the epoch.")
    what: str = param("As events call it: session_connected, fault ...")
    detail: Mapping[str, str] = param("What belongs to it: session, features, fault ...")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BrickStats:
    """Counters of one brick."""

    brick: str = param("The brick's name.")
    kind: str = param("vhost, switch, tap ...")
    network: str = param("The network it belongs to; empty: part of a trunk, which many share.")
    counters: Counters = param("Its counters.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BufferStats:
    """The packet buffers that all bricks share."""

    total: int = param("As [dpdk] mbufs says.", default=0)
    in_use: int = param("Those that hold a packet, or wait for one.", default=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStats:
    """What a poll worker did."""

    worker: int = param("The worker's number, from 0.")
    core: int = param("The core it is pinned to.")
    polls: int = param("Rounds over its poll list.")
    busy_polls: int = param("Rounds that found a packet.")
    busy_cycles: int = param("TSC cycles spent in rounds that found a packet.")
    cycles: int = param("TSC cycles in all.")
    sleeps: int = param("Times it went to sleep, having nothing to do.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """A brick in the graph."""

    name: str = param("The brick's name.")
    kind: str = param("vhost, switch, tap ...")
    network: str = param("The network it belongs to; empty: part of a trunk, which many share.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """Two joined bricks."""

    a: str = param("A brick's name.")
    b: str = param("The other's.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GraphResult:
    """The packet graph as the workers run it now."""

    nodes: tuple[GraphNode, ...] = param("The bricks.")
    edges: tuple[GraphEdge, ...] = param("Their edges.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something is wrong with a port or network, by a stable name."""

    name: str = param("The fault's name, the same in metrics and docs.")
    message: str = param("What was seen.")
    hint: str = param("What to do about it.")
    since: float = param("Seconds since the epoch when it was first seen.")
