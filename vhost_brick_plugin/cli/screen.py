# SPDX-License-Identifier: Apache-2.0
"""The tables of ``vhost-brick top`` on a terminal, or in a file one after the other."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vhost_brick_plugin.cli.words import si

if TYPE_CHECKING:
    from vhost_brick_plugin.cli.top import Output, Row, View

RING_FULL = "ring_full"
"""The drop reason that has a column of its own: the receiver is too slow."""

WIDTH = 160
"""Characters of a line where neither a terminal nor $COLUMNS tells."""

HEIGHT = 25
"""Lines, of which it needs none."""

BUSY = 0.9
"""From this share of time on, a worker is hardly able to do more."""


@contextlib.contextmanager
def tables(out: TextIO, tell: Callable[[str], None]) -> Iterator[Output]:
    """Return what shows views on *out*: in place of one another where it can do that.

    :param tell: tells why there is none, where that has no place on *out*.
    """
    console = Console(file=out, highlight=False)
    # On a terminal that cannot go back, Live would show nothing before its end.
    if not console.is_terminal or console.is_dumb_terminal:
        console.size = shutil.get_terminal_size((WIDTH, HEIGHT))
        yield lambda view: console.print(page(view)), tell
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        live.update(Text("Reading counters ..."), refresh=True)
        yield (
            lambda view: live.update(page(view), refresh=True),
            lambda line: live.update(Text(line), refresh=True),
        )


def page(view: View) -> Group:
    """Return all of *view*."""
    moment = time.strftime("%H:%M:%S", time.localtime(view.time))
    head = Text(
        f"{moment}   ports: {len(view.ports)}, rates of {view.seconds:.1f} s", style="bold"
    )
    parts: list[Text | Table] = [head, _workers(view)]
    if view.ports:
        parts.append(_rows("port", "guest", view.ports, of_ports=True))
    if view.uplinks:
        parts.append(_rows("uplink", "outside", view.uplinks, of_ports=False))
    return Group(*parts)


def _workers(view: View) -> Text:
    """Return all workers on one line, which may be broken."""
    line = Text("workers busy:")
    for worker in view.workers:
        core = f" (core {worker.core})" if worker.core >= 0 else ""
        style = "red" if worker.busy >= BUSY else ""
        line.append(f"  {worker.worker}{core} ").append(f"{worker.busy:.1%}", style=style)
    return line


def _rows(title: str, peer: str, rows: Sequence[Row], *, of_ports: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    # Where there is little room, it is the names that are cut, and never a number.
    about = {title: [row.name for row in rows], "network": [row.network for row in rows]}
    if of_ports:
        about |= {
            "instance": [row.instance for row in rows],
            "state": [row.state for row in rows],
        }
    # Without Nova no port has an instance.
    about = {name: texts for name, texts in about.items() if any(texts)}
    for name in about:
        table.add_column(f"\n{name}")
    for way in ("from", "to"):
        table.add_column(f"{way} {peer}\npkt/s", justify="right", no_wrap=True)
        table.add_column("\nbit/s", justify="right", no_wrap=True)
    table.add_column("ring full\npkt/s", justify="right", no_wrap=True)
    table.add_column("other drops\npkt/s" if any(map(_others, rows)) else "")
    for texts, row in zip(zip(*about.values(), strict=True), rows, strict=True):
        table.add_row(*map(_plain, texts), *_numbers(row))
    return table


def _numbers(row: Row) -> tuple[Text, ...]:
    rates = row.rates
    return (
        Text(si(rates.from_peer_packets)),
        Text(si(rates.from_peer_bits)),
        Text(si(rates.to_peer_packets)),
        Text(si(rates.to_peer_bits)),
        Text(si(rates.drops.get(RING_FULL, 0.0)), style="red" if RING_FULL in rates.drops else ""),
        Text(_others(row), style="yellow"),
    )


def _others(row: Row) -> str:
    """Return all drops but those that have a column of their own."""
    drops = row.rates.drops.items()
    return ", ".join(f"{name} {si(rate)}" for name, rate in drops if name != RING_FULL)


def _plain(text: str) -> Text:
    """Return *text* as it is: no markup, and nothing that a terminal would obey."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return Text(shown, no_wrap=True, overflow="ellipsis")
