# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick trace``: where packets go, and why they end where they do."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil
import textwrap
from collections.abc import Iterator

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base, frames, numbers, probing
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.probes import MAX_TRACED, TracedPacket, Visit

TO_HOST = ("tap/", "vxlan/")
"""Bricks whose packets the host thread takes over, of which a trace sees no more."""

INDENT = "  "
NO_BREAK = "\N{NO-BREAK SPACE}"


class Trace(base.Command):
    """Follow the next packets that a guest sends, or an uplink receives.

    Prints each packet, and below it the bricks that it came to, each below the one that
    sent it there, with what became of it: where the switch sent it, whether it was
    delivered, or why it was dropped.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        probing.add_options(parser)
        parser.add_argument(
            *("-c", "--count"),
            type=numbers.count,
            metavar="N",
            default=10,
            help=f"end after so many packets, {MAX_TRACED} at most (default: %(default)s)",
        )
        parser.add_argument(
            "--json", action="store_true", help="each packet as a JSON object, one a line"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        count: int = parsed_args.count
        request = methods.Trace(
            port=parsed_args.port,
            packets=count,
            filter=probing.filter_of(parsed_args),
        )
        tracing, packets = self.client.trace(request, parsed_args.seconds)
        self.tell(f"waiting for packets from {tracing.brick}, up to {count}; Ctrl-C ends it")
        self._print(packets, count, as_json=parsed_args.json)

    def _print(self, packets: Iterator[TracedPacket], count: int, *, as_json: bool) -> None:
        seen = 0
        try:
            for packet in packets:
                seen += 1
                line = json.dumps(to_json(packet)) if as_json else text(packet)
                print(line, file=self.app.stdout, flush=True)
        except KeyboardInterrupt:
            pass  # That is how one ends it.
        except errors.DaemonUnreachable:
            raise errors.DaemonUnreachable(
                f"vhost-brickd at {self.client.path} went away, and the trace with it",
                hint="Start the trace again when it is back.",
            ) from None
        finally:
            if seen < count:
                self.tell(f"{seen} of {count} packets were seen")


def text(packet: TracedPacket) -> str:
    """Return *packet* and its way in words, as wide as the terminal."""
    moment = f"{datetime.datetime.fromtimestamp(packet.time):%H:%M:%S.%f}  "
    what = f"{frames.summary(bytes.fromhex(packet.head))}  {packet.length} bytes"
    # Folded between what belongs together: there are two spaces.
    whole = re.sub(r"(?<! ) (?! )", NO_BREAK, what)
    lines = [
        _folded(moment, whole, " " * len(moment)).replace(NO_BREAK, " "),
        *map(_visit_text, packet.visits),
    ]
    if packet.untold:
        lines.append(f"{INDENT}... and {packet.untold} visits more")
    return "\n".join(lines)


def _visit_text(visit: Visit) -> str:
    indent = INDENT * (visit.depth + 1)
    return _folded(indent, f"{visit.brick}  {_deed(visit)}", indent + 2 * INDENT)


def _deed(visit: Visit) -> str:
    """Return what the brick did with the packet; empty: it passed it on."""
    deeds = []
    if visit.decision:
        deeds.append(f"{visit.decision}: {visit.meaning}")
    if visit.delivered:
        deeds.append(f"delivered{_segments(visit.delivered)}")
    if visit.dropped:
        deeds.append(f"dropped{_segments(visit.dropped)}: {visit.drop} ({visit.meaning})")
    if not deeds and visit.brick.startswith(TO_HOST):
        deeds.append("handed to the host thread")
    return ", ".join(deeds)


def _segments(packets: int) -> str:
    return f" as {packets} packets" if packets > 1 else ""


def _folded(start: str, line: str, indent: str) -> str:
    """Return *line* after *start*, gone on with at *indent* if the terminal is too narrow."""
    return textwrap.fill(
        line,
        shutil.get_terminal_size().columns,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
