# SPDX-License-Identifier: Apache-2.0
"""The packet graph with what flows in it.  Pure.

What flows is counted where packets come from a peer or go to one: at the brick of a socket,
tap, NIC or tunnel.  So the edges of these have rates, and others have none.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from vhost_brick_plugin.cli.rates import Change, Rates
from vhost_brick_plugin.model import UplinkKind
from vhost_brick_plugin.report import GraphResult

_WITH_PEER = ("vhost", *UplinkKind)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What flows over an edge in a second."""

    a_to_b_packets: float
    a_to_b_bits: float
    b_to_a_packets: float
    b_to_a_bits: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A brick.

    :ivar drops: packets a second, by the reason's name; null: not measured.
    """

    name: str
    kind: str
    network: str
    drops: Mapping[str, float] | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Two joined bricks.

    :ivar count: how many times they are joined: the sessions of a port.
    :ivar flow: over all of these together; null: not measured.
    """

    a: str
    b: str
    count: int
    flow: Flow | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The packet graph.

    :ivar seconds: the time that rates are of; null: there are none.
    """

    seconds: float | None
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def picture(graph: GraphResult, change: Change | None = None) -> Picture:
    """Return the picture of *graph*, with the rates of *change* if there is one."""
    rates = change.bricks() if change else {}
    kinds = {node.name: node.kind for node in graph.nodes}
    counts = Counter((edge.a, edge.b) for edge in graph.edges)
    return Picture(
        seconds=change.seconds if change else None,
        nodes=tuple(
            Node(
                name=node.name,
                kind=node.kind,
                network=node.network,
                drops=rates[node.name].drops if node.name in rates else None,
            )
            for node in graph.nodes
        ),
        edges=tuple(
            Edge(a=a, b=b, count=count, flow=_flow(a, b, kinds, rates))
            for (a, b), count in counts.items()
        ),
    )


def _flow(a: str, b: str, kinds: Mapping[str, str], rates: Mapping[str, Rates]) -> Flow | None:
    for device, is_a in ((a, True), (b, False)):
        if kinds.get(device) in _WITH_PEER and device in rates:
            one = rates[device]
            came = one.from_peer_packets, one.from_peer_bits
            went = one.to_peer_packets, one.to_peer_bits
            there, back = (came, went) if is_a else (went, came)
            return Flow(
                a_to_b_packets=there[0],
                a_to_b_bits=there[1],
                b_to_a_packets=back[0],
                b_to_a_bits=back[1],
            )
    return None
