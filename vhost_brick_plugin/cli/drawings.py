# SPDX-License-Identifier: Apache-2.0
"""Pictures of the packet graph: in Graphviz' language, and as a tree of text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from vhost_brick_plugin.cli.picture import Edge, Node, Picture
from vhost_brick_plugin.cli.words import si

SHAPES = {
    "switch": "ellipse",
    "vhost": "box",
    "antispoof": "octagon",
    "tap": "house",
    "nic": "house",
    "vxlan": "cds",
    "vlan": "trapezium",
}

_WIDTH = 1000
"""Characters of a line, so that none is broken."""


# -- Graphviz ----------------------------------------------------------------


def to_dot(picture: Picture) -> str:
    """Return *picture* in Graphviz' language, each network in a frame of its own."""
    lines = ["graph bricks {", "  layout=dot; rankdir=LR;", "  node [fontname=sans];"]
    lines += ["  edge [fontname=sans, fontsize=10];"]
    for network in sorted({node.network for node in picture.nodes}):
        nodes = [f"  {_node(node)}" for node in picture.nodes if node.network == network]
        lines += _framed(network, nodes) if network else nodes
    lines += [f"  {_edge(edge)}" for edge in picture.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _framed(network: str, nodes: list[str]) -> list[str]:
    return [
        f"  subgraph {_quoted('cluster ' + network)} {{",
        f"    label={_quoted(network)};",
        *(f"  {node}" for node in nodes),
        "  }",
    ]


def _node(node: Node) -> str:
    shape = SHAPES.get(node.kind, "box")
    label = ""
    if node.drops:
        label = f", label={_quoted(node.name, _drops(node.drops))}, color=red"
    return f"{_quoted(node.name)} [shape={shape}, tooltip={_quoted(node.kind)}{label}];"


def _edge(edge: Edge) -> str:
    lines = [f"{edge.count} sessions"] if edge.count > 1 else []
    if flow := edge.flow:
        lines.append(f"-> {_rate(flow.a_to_b_packets, flow.a_to_b_bits)}")
        lines.append(f"<- {_rate(flow.b_to_a_packets, flow.b_to_a_bits)}")
    label = f" [label={_quoted(*lines)}]" if lines else ""
    return f"{_quoted(edge.a)} -- {_quoted(edge.b)}{label};"


def _quoted(*lines: str) -> str:
    """Return *lines* as one string of Graphviz'."""
    return '"' + "\\n".join(t.replace("\\", "\\\\").replace('"', '\\"') for t in lines) + '"'


# -- a tree ------------------------------------------------------------------


def to_tree(picture: Picture) -> str:
    """Return *picture* as text: what hangs on each network's switch, directly or not."""
    out = io.StringIO()
    console = Console(file=out, width=_WIDTH, color_system=None, highlight=False)
    for node in picture.nodes:
        if node.kind == "switch":
            tree = Tree(Text(_line(node, None)))
            _grow(tree, node.name, _Joined(picture), {node.name})
            for line in _unconnected(picture, node.network):
                tree.add(Text(line))
            console.print(tree)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


class _Joined:
    """Who is joined to whom."""

    def __init__(self, picture: Picture) -> None:
        self._nodes = {node.name: node for node in picture.nodes}
        self._edges = picture.edges

    def to(self, name: str) -> Iterator[tuple[Node, Edge]]:
        """Yield the bricks that the one called *name* is joined to."""
        for edge in self._edges:
            if name in (edge.a, edge.b):
                yield self._nodes[edge.b if name == edge.a else edge.a], edge


def _grow(tree: Tree, name: str, joined: _Joined, seen: set[str]) -> None:
    for node, edge in joined.to(name):
        # Networks that share a trunk have a tree each.
        if node.name not in seen and node.kind != "switch":
            seen.add(node.name)
            _grow(tree.add(Text(_line(node, edge))), node.name, joined, seen)


def _unconnected(picture: Picture, network: str) -> Iterator[str]:
    ends = {name for edge in picture.edges for name in (edge.a, edge.b)}
    for node in picture.nodes:
        if node.kind == "vhost" and node.network == network and node.name not in ends:
            yield f"{node.name}  no session"


def _line(node: Node, edge: Edge | None) -> str:
    """Return a brick in words, with what flows over the *edge* that leads to it."""
    parts = [node.name]
    if edge is not None and edge.count > 1 and node.kind == "vhost":
        parts.append(f"{edge.count} sessions")
    if edge is not None and (flow := edge.flow):
        ways = (
            _rate(flow.a_to_b_packets, flow.a_to_b_bits),
            _rate(flow.b_to_a_packets, flow.b_to_a_bits),
        )
        came, went = ways if node.name == edge.a else reversed(ways)
        parts += [f"from {came}", f"to {went}"]
    if node.drops:
        parts.append(_drops(node.drops))
    return "  ".join(parts)


# -- both --------------------------------------------------------------------


def _rate(packets: float, bits: float) -> str:
    return f"{si(packets)} pkt/s, {si(bits)} bit/s"


def _drops(drops: Mapping[str, float]) -> str:
    return "drops/s: " + ", ".join(f"{reason} {si(rate)}" for reason, rate in drops.items())
