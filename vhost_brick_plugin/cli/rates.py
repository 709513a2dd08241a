# SPDX-License-Identifier: Apache-2.0
"""From two readings of counters to rates.

Counters that went backwards, or that another process had, began at zero in between: so no
rate is ever negative, nor the difference of two processes' counters.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.report import (
    NO_TRAFFIC,
    BrickStats,
    Counters,
    WorkerStats,
    total_drops,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a brick, or a port, does in a second.

    :ivar drops: packets by the reason's name; reasons that did not occur are left out.
    """

    from_peer_packets: float
    from_peer_bits: float
    to_peer_packets: float
    to_peer_bits: float
    drops: Mapping[str, float]

    @property
    def all_drops(self) -> float:
        """Packets dropped in a second, for whatever reason."""
        return sum(self.drops.values())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All counters at one time.

    :ivar pid: the daemon whose they are.
    :ivar moment: seconds, on a clock that only grows.
    """

    pid: int
    moment: float
    stats: methods.StatsResult


def read(client: Client) -> Reading:
    """Return the counters as they are now."""
    # After a hand-over in between, the counters are those of the next process: they went
    # backwards, so the wrong pid misleads nobody.
    pid = client.call(methods.Hello()).pid
    stats = client.call(methods.Stats())
    return Reading(pid=pid, moment=time.monotonic(), stats=stats)


class Change:
    """What happened between two readings.

    :ivar seconds: the time between them.
    """

    def __init__(self, before: Reading, after: Reading) -> None:
        self.after = after
        self.seconds = after.moment - before.moment
        same = before.pid == after.pid
        self._bricks = {b.brick: b.counters for b in before.stats.bricks} if same else {}
        self._workers = {w.worker: w for w in before.stats.workers} if same else {}

    def bricks(self) -> dict[str, Rates]:
        """Return the rates of all bricks that are there now, by name."""
        return {brick.brick: self._of([brick]) for brick in self.after.stats.bricks}

    def ports(self) -> dict[str, Rates]:
        """Return the rates of all ports by id; their drops are those of all their bricks."""
        parts: dict[str, list[BrickStats]] = {}
        for brick in self.after.stats.bricks:
            if brick.kind in ("vhost", "antispoof"):
                parts.setdefault(brick.brick.partition("/")[2], []).append(brick)
        return {id: self._of(bricks) for id, bricks in parts.items()}

    def workers(self) -> dict[int, float]:
        """Return the share of time, 0 to 1, that each worker had packets."""
        return {w.worker: busy(self._workers.get(w.worker), w) for w in self.after.stats.workers}

    def _of(self, bricks: Iterable[BrickStats]) -> Rates:
        """Return the rates of *bricks*, of which one at most has a peer, together."""
        bricks = list(bricks)
        now = _together(brick.counters for brick in bricks)
        then = _together(self._bricks.get(brick.brick, NO_TRAFFIC) for brick in bricks)
        return rates(then, now, self.seconds)


def _together(parts: Iterable[Counters]) -> Counters:
    parts = list(parts)
    return Counters(
        from_peer_packets=sum(part.from_peer_packets for part in parts),
        from_peer_bytes=sum(part.from_peer_bytes for part in parts),
        to_peer_packets=sum(part.to_peer_packets for part in parts),
        to_peer_bytes=sum(part.to_peer_bytes for part in parts),
        drops=total_drops(parts),
    )


def rates(before: Counters, after: Counters, seconds: float) -> Rates:
    """Return how fast *before* became *after* in so many seconds (more than 0)."""
    if _went_back(before, after):
        before = NO_TRAFFIC
    return Rates(
        from_peer_packets=(after.from_peer_packets - before.from_peer_packets) / seconds,
        from_peer_bits=8 * (after.from_peer_bytes - before.from_peer_bytes) / seconds,
        to_peer_packets=(after.to_peer_packets - before.to_peer_packets) / seconds,
        to_peer_bits=8 * (after.to_peer_bytes - before.to_peer_bytes) / seconds,
        drops={
            reason: (count - before.drops.get(reason, 0)) / seconds
            for reason, count in after.drops.items()
            if count > before.drops.get(reason, 0)
        },
    )


def _went_back(before: Counters, after: Counters) -> bool:
    return (
        after.from_peer_packets < before.from_peer_packets
        or after.from_peer_bytes < before.from_peer_bytes
        or after.to_peer_packets < before.to_peer_packets
        or after.to_peer_bytes < before.to_peer_bytes
        or any(after.drops.get(reason, 0) < count for reason, count in before.drops.items())
    )


def busy(before: WorkerStats | None, after: WorkerStats) -> float:
    """Return the share of cycles, 0 to 1, in rounds that found a packet."""
    if before is None or after.cycles < before.cycles or after.busy_cycles < before.busy_cycles:
        cycles, busy_cycles = after.cycles, after.busy_cycles
    else:
        cycles = after.cycles - before.cycles
        busy_cycles = after.busy_cycles - before.busy_cycles
    # The two are not read at one instant.
    return min(busy_cycles / cycles, 1.0) if cycles else 0.0
