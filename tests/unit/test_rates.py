# SPDX-License-Identifier: Apache-2.0
"""Rates of two readings, restarts in between included."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.stub_daemon import counters
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import rates
from vhost_brick_plugin.cli.rates import Change, Reading
from vhost_brick_plugin.report import NO_TRAFFIC, BrickStats, Counters, WorkerStats

BEFORE = counters(
    from_peer_packets=100,
    from_peer_bytes=6000,
    to_peer_packets=10,
    to_peer_bytes=600,
    drops={"ring_full": 5, "too_big": 1},
)
AFTER = counters(
    from_peer_packets=200,
    from_peer_bytes=12000,
    to_peer_packets=11,
    to_peer_bytes=700,
    drops={"ring_full": 9, "too_big": 1, "no_ring": 2},
)


def worker(cycles: int, busy_cycles: int, number: int = 0) -> WorkerStats:
    return WorkerStats(
        worker=number,
        core=number,
        polls=0,
        busy_polls=0,
        busy_cycles=busy_cycles,
        cycles=cycles,
        sleeps=0,
    )


def reading(
    moment: float,
    bricks: dict[str, Counters],
    workers: tuple[WorkerStats, ...] = (),
    pid: int = 1,
) -> Reading:
    made = tuple(
        BrickStats(brick=name, kind=name.partition("/")[0], network="n", counters=value)
        for name, value in bricks.items()
    )
    stats = methods.StatsResult(time=0.0, bricks=made, workers=workers)
    return Reading(pid=pid, moment=moment, stats=stats)


def test_rates_are_differences_by_time() -> None:
    assert rates.rates(BEFORE, AFTER, 2.0) == rates.Rates(
        from_peer_packets=50.0,
        from_peer_bits=24000.0,
        to_peer_packets=0.5,
        to_peer_bits=400.0,
        drops={"ring_full": 2.0, "no_ring": 1.0},
    )


def test_nothing_happened() -> None:
    seen = rates.rates(AFTER, AFTER, 1.0)
    assert seen == rates.rates(NO_TRAFFIC, NO_TRAFFIC, 1.0)
    assert (seen.from_peer_packets, seen.drops, seen.all_drops) == (0.0, {}, 0)


@pytest.mark.parametrize(
    "lower",
    [
        {"from_peer_packets": 99},
        {"from_peer_bytes": 5999},
        {"to_peer_packets": 9},
        {"to_peer_bytes": 599},
        {"drops": {"ring_full": 4, "too_big": 1}},
        {"drops": {"ring_full": 5}},
    ],
)
def test_what_went_backwards_began_at_zero(lower: dict[str, Any]) -> None:
    values = {name: getattr(AFTER, name) for name in ("from_peer_packets", "from_peer_bytes")}
    values |= {name: getattr(AFTER, name) for name in ("to_peer_packets", "to_peer_bytes")}
    after = counters(**{**values, "drops": AFTER.drops, **lower})
    assert rates.rates(BEFORE, after, 2.0) == rates.rates(NO_TRAFFIC, after, 2.0)
    assert min(rates.rates(BEFORE, after, 2.0).drops.values()) > 0


def test_another_process_began_at_zero() -> None:
    before = reading(1.0, {"vhost/a": BEFORE}, (worker(100, 50),))
    after = reading(3.0, {"vhost/a": AFTER}, (worker(400, 100),), pid=2)
    change = Change(before, after)
    assert change.seconds == 2.0
    assert change.bricks() == {"vhost/a": rates.rates(NO_TRAFFIC, AFTER, 2.0)}
    assert change.workers() == {0: 0.25}


def test_a_brick_that_is_new_began_at_zero() -> None:
    change = Change(reading(1.0, {"vhost/a": BEFORE}), reading(2.0, {"tap/b": AFTER}))
    assert change.bricks() == {"tap/b": rates.rates(NO_TRAFFIC, AFTER, 1.0)}


def test_a_port_has_the_drops_of_all_its_bricks() -> None:
    spoofed = counters(
        from_peer_packets=0,
        from_peer_bytes=0,
        to_peer_packets=0,
        to_peer_bytes=0,
        drops={"spoofed_mac": 3, "ring_full": 1},
    )
    before = reading(0.0, {"vhost/a": BEFORE, "antispoof/a": NO_TRAFFIC, "switch/n": BEFORE})
    after = reading(1.0, {"vhost/a": AFTER, "antispoof/a": spoofed, "switch/n": AFTER})
    (seen,) = Change(before, after).ports().values()
    assert seen.from_peer_packets == 100.0
    assert seen.drops == {"ring_full": 5.0, "no_ring": 2.0, "spoofed_mac": 3.0}
    assert seen.all_drops == 10.0


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        (worker(100, 50), worker(200, 75), 0.25),
        (worker(100, 50), worker(100, 50), 0.0),
        (None, worker(200, 50), 0.25),
        (worker(500, 50), worker(200, 50), 0.25),
        (worker(100, 60), worker(200, 50), 0.25),
        (worker(100, 50), worker(200, 151), 1.0),
    ],
)
def test_the_share_a_worker_is_busy(
    before: WorkerStats | None, after: WorkerStats, share: float
) -> None:
    assert rates.busy(before, after) == share
