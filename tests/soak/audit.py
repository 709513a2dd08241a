# SPDX-License-Identifier: Apache-2.0
"""Looks at a daemon at rest: whether its counters add up, and whether it has let go of all.

At rest nobody sends and nothing is on its way, so that what came in and was made must be
what went out and was dropped, to the packet: each frame that was lost has a name.  Then
the residents send a number of frames that is known, and the daemon and they must agree
on each of them.  What the process holds is compared with what it held half its life ago,
with the same ports and frontends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.frontend.vuser import PortStats
from tests.functional.daemon import Daemon
from tests.functional.exchange import mac
from tests.functional.waiting import wait_until
from tests.soak.guests import PORT, Resident
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.report import Counters, total_drops

SAMPLE = 300
"""Frames of the known number, of each resident."""

ANON_SLACK_KB = 3072
MAPS_SLACK = 8
"""While the events double.  Malloc's heaps grow, split and merge, ever more slowly; a leak
grows with the events."""

TROUBLE = re.compile(r" (ERROR|CRITICAL) |Traceback \(most recent")

# -- sums -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Sums:
    """All packets of a daemon's life, up to now."""

    came: int
    made: int
    went: int
    drops: Mapping[str, int]

    @property
    def missing(self) -> int:
        """Packets that ended without a name; below zero: that came from nowhere."""
        return self.came + self.made - self.went - sum(self.drops.values())


def sums(stats: methods.StatsResult) -> Sums:
    parts: list[Counters] = [stats.gone, *(brick.counters for brick in stats.bricks)]
    return Sums(
        came=sum(part.from_peer_packets for part in parts),
        made=sum(part.made_packets for part in parts),
        went=sum(part.to_peer_packets for part in parts),
        drops=total_drops(parts),
    )


def rest(daemon: Daemon) -> methods.StatsResult:
    """Return all counters once they stand still: rings are empty, and nothing is on its way."""
    seen = [daemon.client.stats()]

    def still() -> bool:
        seen.append(daemon.client.stats())
        # A round that began before the first look may not have seen every ring; a later has.
        rounds = zip(seen[-2].workers, seen[-1].workers, strict=True)
        looked = all(now.polls >= before.polls + 2 for before, now in rounds)
        if not looked:
            seen[-1] = seen[-2]
        return looked and seen[-1].buffers.in_use == 0 and sums(seen[-1]) == sums(seen[-2])

    # What keeps buffers for good is told by who looks at the counters.
    with contextlib.suppress(AssertionError):
        wait_until(still, "the daemon to come to rest", interval=0.02)
    return seen[-1]


def check_sums(stats: methods.StatsResult) -> list[str]:
    found, total = [], sums(stats)
    if total.missing:
        found.append(f"{total.missing} packets without a name: {total}; {_shown(stats)}")
    if stats.buffers.in_use:
        found.append(f"{stats.buffers.in_use} packet buffers are not given back")
    return found


def _shown(stats: methods.StatsResult) -> str:
    rows = {brick.brick: to_json(brick.counters) for brick in stats.bricks}
    return json.dumps({"gone": to_json(stats.gone), **rows})


def check_sample(daemon: Daemon, residents: list[Resident]) -> list[str]:
    """Send known numbers of frames and compare what everybody says of them."""
    found = []
    for sender, receiver in zip(residents[::2], residents[1::2], strict=True):
        for one, other in ((sender, receiver), (receiver, sender)):
            found += _check_way(daemon, one, other)
    return found


def _check_way(daemon: Daemon, sender: Resident, receiver: Resident) -> list[str]:
    before, tx, rx = daemon.client.stats(), sender.stats().tx, receiver.stats()
    sender.vm.send(PORT, count=SAMPLE, dst=mac(receiver.number), size=64, rate=20_000)
    after, sent = rest(daemon), sender.stats().tx - tx
    fetched = _of(after, sender).from_peer_packets - _of(before, sender).from_peer_packets
    given = _of(after, receiver).to_peer_packets - _of(before, receiver).to_peer_packets
    dropped = sum(sums(after).drops.values()) - sum(sums(before).drops.values())
    wait_until(lambda: _taken(rx, receiver.stats()) >= given, f"{receiver.name} to look")
    taken = _taken(rx, receiver.stats())
    if sent == fetched == given + dropped and given == taken:
        return []
    return [
        f"{sent} frames from {sender.name} to {receiver.name}: {fetched} came, {given} were "
        f"given and {dropped} dropped, {taken} received"
    ]


def _taken(before: PortStats, now: PortStats) -> int:
    return now.rx + now.rx_other - before.rx - before.rx_other


def _of(stats: methods.StatsResult, resident: Resident) -> Counters:
    name = f"vhost/{resident.name}"
    return next(brick.counters for brick in stats.bricks if brick.brick == name)


# -- what a process holds -----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Held:
    """What a process holds; memory is what it has for itself, without guests' and DPDK's."""

    fds: int
    threads: int
    maps: int
    anon_kb: int

    @classmethod
    def by(cls, pid: int) -> Held:
        proc = Path(f"/proc/{pid}")
        status = dict(
            line.split(":", 1)
            for line in (proc / "status").read_text().splitlines()
            if ":" in line
        )
        return cls(
            fds=len(os.listdir(proc / "fd")),
            threads=int(status["Threads"]),
            maps=len((proc / "maps").read_text().splitlines()),
            anon_kb=int(status["RssAnon"].split()[0]),
        )

    def more_than(self, before: Held) -> list[str]:
        """Name what is more than it was."""
        slack = {"fds": 0, "threads": 0, "maps": MAPS_SLACK, "anon_kb": ANON_SLACK_KB}
        return [
            f"{name} {getattr(before, name)} -> {getattr(self, name)}"
            for name, allowed in slack.items()
            if getattr(self, name) > getattr(before, name) + allowed
        ]


def check_held(pid: int, before: Held) -> list[str]:
    """Compare once it had time to let go."""

    def more() -> list[str]:
        return Held.by(pid).more_than(before)

    try:
        wait_until(lambda: not more(), "it to let go", timeout=5, interval=0.1)
    except AssertionError:
        return [f"process {pid} grew: {', '.join(more())}"]
    return []


# -- logs --------------------------------------------------------------------------


def check_log(path: Path, expected: Iterable[str]) -> list[str]:
    """Return the lines of trouble in a log that none of the patterns *expected* explains."""
    patterns = [re.compile(pattern) for pattern in expected]
    return [
        f"{path.name}: {line}"
        for line in path.read_text(errors="replace").splitlines()
        if TROUBLE.search(line) and not any(p.search(line) for p in patterns)
    ]
