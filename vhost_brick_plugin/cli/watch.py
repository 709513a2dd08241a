# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick watch``: what happens, as it happens."""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator

from vhost_brick_plugin import errors
from vhost_brick_plugin.api.methods import Event, PortShow
from vhost_brick_plugin.cli import base, numbers
from vhost_brick_plugin.cli.columns import detail_text, exact_moment
from vhost_brick_plugin.codec import to_json

RETRY_S = 0.1
"""Between two tries to reach a daemon that went away: its restart takes no longer."""


class Watch(base.Command):
    """Print events as they happen, one a line: connects, faults, changes, hand-overs.

    Goes on over restarts of vhost-brickd, until it is interrupted.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--port", metavar="NAME", help="only the events of this port")
        parser.add_argument(
            "--count", type=numbers.count, metavar="N", help="end after so many events"
        )
        parser.add_argument(
            "--json", action="store_true", help="each event as a JSON object, one a line"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        line = json_line if parsed_args.json else text_line
        self._tell_if_missing(parsed_args.port)
        for event in itertools.islice(self._events(parsed_args.port), parsed_args.count):
            print(line(event), file=self.app.stdout, flush=True)

    def _tell_if_missing(self, port: str | None) -> None:
        """Say that there is no such port: it may come, or the name may be wrong."""
        if port is not None:
            try:
                self.client.call(PortShow(id=port))
            except errors.PortNotFound as error:
                self.tell(f"{error.message} yet; waiting for it")

    def _events(self, port: str | None) -> Iterator[Event]:
        """Yield events for ever; only a daemon that is not there at first is an error."""
        events = self.client.watch(port)
        while True:
            try:
                yield from events
            except errors.DaemonUnreachable:
                self.tell(f"vhost-brickd at {self.client.path} went away; waiting for it")
            events = self._again(port)
            self.tell("vhost-brickd is there again; what happened meanwhile was not seen")

    def _again(self, port: str | None) -> Iterator[Event]:
        while True:
            try:
                return self.client.watch(port)
            except errors.DaemonUnreachable:
                time.sleep(RETRY_S)


def json_line(event: Event) -> str:
    """Return *event* as the API has it."""
    return json.dumps(to_json(event))


def text_line(event: Event) -> str:
    """Return *event* in words: when, to whom, what, and more about it."""
    what, more = event.kind.replace("_", " "), detail_text(event.detail, leave_out=("network",))
    return f"{exact_moment(event.time)}  {_whom(event)}  {what}  {more}".rstrip()


def _whom(event: Event) -> str:
    if event.port:
        return f"port {event.port}"
    if event.uplink:
        return f"uplink {event.uplink}"
    return f"network {event.detail['network']}" if "network" in event.detail else "daemon"
