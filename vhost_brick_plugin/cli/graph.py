# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick graph``: the packet graph as the workers run it."""

from __future__ import annotations

import argparse
import json
import subprocess
import time

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods, options
from vhost_brick_plugin.cli import base, rates
from vhost_brick_plugin.cli.picture import picture
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.report import GraphResult


class Graph(base.Command):
    """Print the packet graph, with what flows in it by "--rates".

    As a tree of text, in Graphviz' language, drawn by Graphviz, or as JSON.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            *("-f", "--format"),
            choices=("dot", "svg", "json", "tree"),
            default="dot",
            help="default: %(default)s",
        )
        parser.add_argument(
            "--rates",
            type=options.seconds,
            metavar="SECONDS",
            help="measure for so long what flows, and what is dropped",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        change = None
        if parsed_args.rates is not None:
            before = rates.read(self.client)
            time.sleep(parsed_args.rates)
            change = rates.Change(before, rates.read(self.client))
        graph = self.client.call(methods.Graph())
        self.app.stdout.write(_written(parsed_args.format, graph, change))


def _written(format: str, graph: GraphResult, change: rates.Change | None) -> str:
    if format == "json":
        # Without rates it is the API's own answer.
        return json.dumps(to_json(picture(graph, change) if change else graph), indent=2) + "\n"
    # Its import takes a while.
    from vhost_brick_plugin.cli import drawings

    drawn = picture(graph, change)
    if format == "tree":
        return drawings.to_tree(drawn)
    dot = drawings.to_dot(drawn)
    return to_svg(dot) if format == "svg" else dot


def to_svg(dot: str) -> str:
    """Return the picture that *dot* describes, drawn by Graphviz.

    :raises errors.ProgramError: Graphviz is not there, or failed.
    """
    try:
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input=dot.encode(), capture_output=True, check=True
        )
    except OSError as error:
        raise errors.ProgramError(
            f"cannot run 'dot' to draw the graph: {error.strerror}",
            hint="Install Graphviz, or draw the output of '--format dot' where it is installed.",
        ) from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.decode(errors="replace").strip()
        raise errors.ProgramError(f"'dot -Tsvg' failed: {reason}") from None
    return drawn.stdout.decode()
