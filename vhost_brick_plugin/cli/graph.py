# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick graph``: the packet graph as the workers run it."""

from __future__ import annotations

import argparse
import json

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.report import GraphNode, GraphResult

SHAPES = {
    "switch": "ellipse",
    "vhost": "box",
    "antispoof": "octagon",
    "tap": "house",
    "nic": "house",
    "vxlan": "cds",
    "vlan": "trapezium",
}


class Graph(base.Command):
    """Print the packet graph.

    Make a picture of it with: vhost-brick graph | dot -Tsvg > graph.svg
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "-f", "--format", choices=("dot", "json"), default="dot", help="default: %(default)s"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        graph = self.client.call(methods.Graph())
        if parsed_args.format == "json":
            text = json.dumps(to_json(graph), indent=2) + "\n"
        else:
            text = to_dot(graph)
        self.app.stdout.write(text)


def to_dot(graph: GraphResult) -> str:
    """Return *graph* in Graphviz' language, each network in a frame of its own."""
    lines = ["graph bricks {", "  layout=dot; rankdir=LR;", "  node [fontname=sans];"]
    for network in sorted({node.network for node in graph.nodes}):
        nodes = [f"  {_node(node)}" for node in graph.nodes if node.network == network]
        lines += _framed(network, nodes) if network else nodes
    lines += [f"  {_quoted(edge.a)} -- {_quoted(edge.b)};" for edge in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _framed(network: str, nodes: list[str]) -> list[str]:
    return [
        f"  subgraph {_quoted('cluster ' + network)} {{",
        f"    label={_quoted(network)};",
        *(f"  {node}" for node in nodes),
        "  }",
    ]


def _node(node: GraphNode) -> str:
    shape = SHAPES.get(node.kind, "box")
    return f"{_quoted(node.name)} [shape={shape}, tooltip={_quoted(node.kind)}];"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
