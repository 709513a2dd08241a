# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick graph``: the packet graph as the workers run it."""

from __future__ import annotations

import argparse
import json
import subprocess

from vhost_brick_plugin import errors
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
    """Print the packet graph; as a picture, with Graphviz, by "--format svg"."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            *("-f", "--format"),
            choices=tuple(WRITERS),
            default="dot",
            help="default: %(default)s",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        graph = self.client.call(methods.Graph())
        self.app.stdout.write(WRITERS[parsed_args.format](graph))


def _to_json(graph: GraphResult) -> str:
    """Return *graph* in JSON."""
    return json.dumps(to_json(graph), indent=2) + "\n"


def to_svg(graph: GraphResult) -> str:
    """Return a picture of *graph*, drawn by Graphviz.

    :raises errors.ProgramError: Graphviz is not there, or failed.
    """
    try:
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input=to_dot(graph), capture_output=True, text=True, check=True
        )
    except OSError as error:
        raise errors.ProgramError(
            f"cannot run 'dot' to draw the graph: {error.strerror}",
            hint="Install Graphviz, or draw the output of '--format dot' where it is installed.",
        ) from None
    except subprocess.CalledProcessError as error:
        raise errors.ProgramError(f"'dot -Tsvg' failed: {error.stderr.strip()}") from None
    return drawn.stdout


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


WRITERS = {"dot": to_dot, "svg": to_svg, "json": _to_json}
