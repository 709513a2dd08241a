# SPDX-License-Identifier: Apache-2.0
"""Which bricks networks, uplinks and ports are made of, what they are called and how joined.

Every datapath has this shape, whatever it moves packets with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from vhost_brick_plugin import errors
from vhost_brick_plugin.model import Uplink, UplinkKind
from vhost_brick_plugin.report import GraphEdge, GraphNode, GraphResult

WITH_PEER = frozenset({"vhost", *(kind.value for kind in UplinkKind)})
"""Kinds of bricks with a host's side: those of ports and uplinks."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortShape:
    """A port in the graph.

    :ivar edges: its sessions that the workers serve.
    """

    id: str
    network: str
    edges: int


def switch(network: str) -> str:
    """Return the name of a network's brick."""
    return f"switch/{network}"


def device(uplink: Uplink) -> str:
    """Return the name of the brick that sends and receives for *uplink*."""
    return f"{uplink.kind.value}/{uplink.name}"


def trunk(uplink: Uplink) -> str:
    """Return the name of the brick that parts the VLANs of *uplink*'s device."""
    return f"vlan/{uplink.name}"


def vhost(port: str) -> str:
    """Return the name of the brick with a port's socket."""
    return f"vhost/{port}"


def antispoof(port: str) -> str:
    """Return the name of the brick that keeps a port's security."""
    return f"antispoof/{port}"


def check_has_peer(graph: GraphResult, brick: str) -> None:
    """Raise BrickNotFound unless *graph* has *brick* and it has a host's side."""
    kind = next((node.kind for node in graph.nodes if node.name == brick), None)
    if kind is None:
        raise errors.BrickNotFound(f"the graph has no brick {brick}")
    if kind not in WITH_PEER:
        raise errors.BrickNotFound(
            f"{brick} has no host's side",
            hint=f"Name a port, or an uplink's brick: {', '.join(sorted(WITH_PEER))}.",
        )


def graph(
    networks: Iterable[str],
    uplinks: Iterable[tuple[str, Uplink]],
    ports: Iterable[PortShape],
) -> GraphResult:
    """Return the graph of *networks* with their *uplinks*, each with its network's name."""
    nodes = {
        switch(name): GraphNode(name=switch(name), kind="switch", network=name)
        for name in networks
    }
    edges: list[GraphEdge] = []
    for network, uplink in uplinks:
        for node in _uplink_nodes(network, uplink):
            if node.name not in nodes and node.kind == "vlan":
                edges.append(GraphEdge(a=device(uplink), b=node.name))
            nodes[node.name] = node
        last = device(uplink) if uplink.vlan is None else trunk(uplink)
        edges.append(GraphEdge(a=last, b=switch(network)))
    for port in ports:
        guard, socket = antispoof(port.id), vhost(port.id)
        nodes[guard] = GraphNode(name=guard, kind="antispoof", network=port.network)
        nodes[socket] = GraphNode(name=socket, kind="vhost", network=port.network)
        for _ in range(port.edges):
            edges.append(GraphEdge(a=socket, b=guard))
            edges.append(GraphEdge(a=guard, b=switch(port.network)))
    return GraphResult(
        nodes=tuple(sorted(nodes.values(), key=lambda node: node.name)),
        edges=tuple(sorted(edges, key=lambda edge: (edge.a, edge.b))),
    )


def _uplink_nodes(network: str, uplink: Uplink) -> Iterator[GraphNode]:
    whole = uplink.vlan is None
    yield GraphNode(name=device(uplink), kind=uplink.kind.value, network=network if whole else "")
    if not whole:
        yield GraphNode(name=trunk(uplink), kind="vlan", network="")
