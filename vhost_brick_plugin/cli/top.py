# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick top``: what ports, uplinks and workers do in a second."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods, options
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.cli import base, numbers, rates
from vhost_brick_plugin.cli.rates import Rates
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.model import UplinkKind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A port, or an uplink (without state and instance)."""

    name: str
    network: str
    state: str
    instance: str
    rates: Rates


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker.

    :ivar busy: the share of time, 0 to 1, that it had packets.
    """

    worker: int
    core: int
    busy: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What there is to see at one time.

    :ivar time: seconds since the epoch.
    :ivar seconds: the time that the rates are of.
    """

    time: float
    seconds: float
    workers: tuple[Worker, ...]
    ports: tuple[Row, ...]
    uplinks: tuple[Row, ...]


Output = tuple[Callable[[View], None], Callable[[str], None]]
"""What shows a view, and what tells why there is none."""

Order = Callable[[Row], Any]

ORDERS: dict[str, Order] = {
    "traffic": lambda row: -(row.rates.from_peer_packets + row.rates.to_peer_packets),
    "bits": lambda row: -(row.rates.from_peer_bits + row.rates.to_peer_bits),
    "from": lambda row: -row.rates.from_peer_packets,
    "to": lambda row: -row.rates.to_peer_packets,
    "drops": lambda row: -row.rates.all_drops,
    "ring_full": lambda row: -row.rates.drops.get("ring_full", 0.0),
    "name": lambda row: row.name,
    "network": lambda row: row.network,
}


class Top(base.Command):
    """Show what ports, uplinks and workers do, again and again, until it is interrupted."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--sort",
            choices=tuple(ORDERS),
            default="traffic",
            help="what comes first: the most packets, bits, packets from the guest, to it, drops, "
            "drops for a full ring; or by name or network (default: %(default)s)",
        )
        parser.add_argument(
            "--interval",
            type=options.seconds,
            metavar="SECONDS",
            default=2.0,
            help="time between two readings (default: %(default)g)",
        )
        parser.add_argument(
            "--count", type=numbers.count, metavar="N", help="end after so many tables"
        )
        parser.add_argument(
            "--json", action="store_true", help="each table as a JSON object, one a line"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        order = ORDERS[parsed_args.sort]
        with self._output(parsed_args.json) as (show, tell):
            seen = views(self.client, parsed_args.interval, order, tell)
            for one in itertools.islice(seen, parsed_args.count):
                show(one)

    def _output(self, as_json: bool) -> AbstractContextManager[Output]:
        if as_json:
            return nullcontext((self._show_json, self.tell))
        # Its import takes a while.
        from vhost_brick_plugin.cli import screen

        return screen.tables(self.app.stdout, self.tell)

    def _show_json(self, one: View) -> None:
        print(json.dumps(to_json(one)), file=self.app.stdout, flush=True)


def views(
    client: Client, interval: float, order: Order, tell: Callable[[str], None]
) -> Iterator[View]:
    """Yield what there is to see, every *interval* seconds.

    While a daemon that was there is not, there is nothing; *tell* is told once.

    :raises errors.DaemonUnreachable: it is not there at first.
    """
    before: rates.Reading | None = rates.read(client)
    away = False
    while True:
        time.sleep(interval)
        try:
            after, ports = rates.read(client), client.call(methods.PortListCall()).ports
        except errors.DaemonUnreachable as error:
            if not away:
                tell(f"{error.message}; waiting for it")
            before, away = None, True
            continue
        if before is not None:
            yield view(rates.Change(before, after), ports, order)
        before, away = after, False


def view(change: rates.Change, ports: tuple[methods.PortStatus, ...], order: Order) -> View:
    """Return what there is to see of a *change*, in *order*; what is alike, by name."""
    stats = change.after.stats
    shares = change.workers()
    rows = [*_port_rows(change, ports)], [*_uplink_rows(change)]
    for part in rows:
        part.sort(key=lambda row: (order(row), row.name))
    return View(
        time=stats.time,
        seconds=change.seconds,
        workers=tuple(
            Worker(worker=w.worker, core=w.core, busy=shares[w.worker]) for w in stats.workers
        ),
        ports=tuple(rows[0]),
        uplinks=tuple(rows[1]),
    )


def _port_rows(change: rates.Change, ports: tuple[methods.PortStatus, ...]) -> Iterator[Row]:
    of_ports = change.ports()
    for status in ports:
        port = status.port
        # One that was made after the counters were read has its turn the next time.
        if port.id in of_ports:
            yield Row(
                name=port.id,
                network=port.network,
                state=status.state if status.fault is None else status.fault.name,
                instance=port.metadata.get("instance_name", ""),
                rates=of_ports[port.id],
            )


def _uplink_rows(change: rates.Change) -> Iterator[Row]:
    of_bricks = change.bricks()
    for brick in change.after.stats.bricks:
        if brick.kind in list(UplinkKind):
            yield Row(
                name=brick.brick,
                network=brick.network,
                state="",
                instance="",
                rates=of_bricks[brick.brick],
            )
