# SPDX-License-Identifier: Apache-2.0
"""What bench/forward.py makes of its measurements."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any, cast
from xml.etree import ElementTree

import pytest

from bench import figures, forward, machine, picture, quiet
from bench.figures import Empty, Round, Scenario, Shape, Worker
from bench.generator import Latency
from bench.machine import Sample, Share
from bench.quiet import LatencyRound, Pause
from bench.systems import Library, Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"

ALONE = Share(worker=1.0, waited=0.0, generator=1.0, stolen=0.0)
STOLEN = Share(worker=1.0, waited=0.0, generator=1.0, stolen=0.03)
CUT_SHORT = Share(worker=0.5, waited=0.0, generator=1.0, stolen=0.0)
SLOW_VMS = Share(worker=1.0, waited=0.0, generator=0.5, stolen=0.0)

SHARED = Scenario(64, ports=4, shared_cores=True, one_receiver=True)
SMALL, LARGE = Scenario(64), Scenario(1518, both=True, queues=4, flows=64)


def measured(median: float | None = 100.0, share: Share = ALONE, **changes: Any) -> Round:
    values: dict[str, Any] = {
        "mean": 110.0,
        "median": median,
        "mpps": 10.0,
        "busy": 0.99,
        "full": 1.0,
        "empty": None,
        "lost": 0.0,
        "distance_ns": 50.0,
        "share": share,
    }
    return Round(**(values | changes))


def rows(*systems: tuple[str, Round], scenario: Scenario = SMALL) -> list[dict[str, Any]]:
    made = [figures.row(name, scenario, [one]) for name, one in systems]
    figures.add_ratios(made)
    return made


# ---- which rounds count


@pytest.mark.parametrize(
    ("share", "reason"),
    [
        (STOLEN, "3.0% of the time was stolen"),
        (CUT_SHORT, "the worker had 50% of its core"),
        (SLOW_VMS, "the generator had 50% of its core"),
    ],
)
def test_a_disturbed_round_says_why(share: Share, reason: str) -> None:
    assert measured(share=share).disturbed == reason


def test_an_undisturbed_round_counts() -> None:
    assert measured().disturbed == ""


def test_shares_are_those_of_the_time_between_two_samples() -> None:
    before = Sample(wall_s=10, stolen_s=1, worker_s=3, waited_s=0.3, generator_s=4)
    after = Sample(wall_s=12, stolen_s=1.1, worker_s=5, waited_s=0.5, generator_s=5)
    assert Share.between(before, after) == Share(
        worker=1.0, waited=pytest.approx(0.1), generator=0.5, stolen=pytest.approx(0.05)
    )


def test_disturbed_rounds_are_repeated_but_not_for_ever() -> None:
    good, bad = measured(), measured(share=STOLEN)
    assert figures.wants_more([], 2)
    assert figures.wants_more([good], 2)
    assert not figures.wants_more([good, good], 2)
    assert figures.wants_more([good, bad], 2)
    assert figures.wants_more([bad, bad, good], 2)
    assert not figures.wants_more([bad, bad, bad, bad], 2)


def test_disturbed_rounds_are_thrown_away() -> None:
    made = figures.row(
        "brick", SMALL, [measured(100), measured(900, STOLEN), measured(102), measured(104)]
    )
    assert made["cycles_per_packet_median"] == 102
    assert (made["rounds"], made["thrown_away"], made["note"]) == (3, 1, "")


def test_if_all_were_disturbed_the_row_says_so() -> None:
    made = figures.row("brick", SMALL, [measured(300, STOLEN), measured(100, CUT_SHORT)])
    assert made["cycles_per_packet_median"] == 200
    assert (made["rounds"], made["thrown_away"]) == (0, 2)
    assert made["note"] == figures.NO_GOOD_ROUND


def test_a_worker_that_waits_is_told_of_and_so_are_lost_frames() -> None:
    made = figures.row("brick", SMALL, [measured(busy=0.6, lost=0.05)])
    assert made["note"] == "waited for the generator: busy for 60%; 5.0% lost"


def test_a_worker_with_idle_ports_may_have_been_with_them() -> None:
    made = figures.row("library", Scenario(64, ports=64), [measured(busy=0.6)])
    assert made["note"] == "waited for the generator, or polled idle ports: busy for 60%"


def test_a_row_tells_if_cores_were_moved() -> None:
    stayed = figures.row("brick", SMALL, [measured(), measured(distance_ns=70.0)])
    assert (stayed["distance_ns"], stayed["note"]) == (60, "")
    moved = figures.row("brick", SMALL, [measured(), measured(distance_ns=80.0)])
    assert moved["note"] == "cores were near at times and far at others"
    alike = figures.row("brick", SMALL, [measured(), measured(share=STOLEN, distance_ns=80.0)])
    assert alike["note"] == ""
    unknown = figures.row("brick", SMALL, [measured(), measured(distance_ns=None)])
    assert (unknown["distance_ns"], unknown["note"]) == (50, "")


# ---- polls that find nothing


def test_empty_polls_are_told_each_and_by_the_round() -> None:
    empty = Empty(polls=400, cycles=6000, rounds=200)
    made = figures.row("brick", SMALL, [measured(empty=empty)])
    assert made["empty_poll_cycles"] == 15.0
    assert made["empty_polls_per_round"] == 2.0
    assert made["empty_cycles_per_round"] == 30.0


def test_a_worker_that_has_not_polled_has_no_cost_of_empty_polls() -> None:
    made = figures.row("brick", SMALL, [measured(empty=Empty(polls=0, cycles=0, rounds=0))])
    assert (made["empty_poll_cycles"], made["empty_cycles_per_round"]) == (0.0, 0.0)


def test_a_system_that_does_not_tell_of_empty_polls_has_none() -> None:
    made = figures.row("ovs", SMALL, [measured()])
    assert made["empty_poll_cycles"] is None
    assert made["empty_polls_per_round"] is None
    assert made["empty_cycles_per_round"] is None


def test_the_table_of_idle_ports_has_those_who_tell_and_have_some() -> None:
    empty = measured(empty=Empty(polls=640, cycles=9600, rounds=320))
    many = Scenario(64, ports=64)
    made = rows(("brick", empty)) + rows(
        ("brick", empty), ("library", empty), ("ovs", measured()), scenario=many
    )
    lines = figures.idle_table(made).splitlines()
    assert lines[2] == "64 bytes, one way, 64 ports"
    assert [line.split() for line in lines[3:]] == [
        ["brick", "15.0", "2.0", "30", "99%"],
        ["library", "15.0", "2.0", "30", "99%"],
    ]
    assert figures.idle_table(rows(("brick", empty))) == ""


# ---- rows and ratios


def test_a_row_tells_what_was_sent() -> None:
    made = figures.row("brick", LARGE, [measured()])
    told = {key: made[key] for key in figures.SAME}
    assert told == {
        "frame": 1518,
        "directions": 2,
        "queues": 4,
        "ports": 2,
        "flows": 64,
        "fresh": False,
        "shared_cores": False,
        "one_receiver": False,
    }
    assert figures.scenario_of(made) == LARGE


def test_the_ratio_is_that_of_medians() -> None:
    brick, library = rows(("brick", measured(80)), ("library", measured(100)))
    assert (brick["ratio_to_library"], brick["ratio_of"]) == (0.8, "median")
    assert library["ratio_to_library"] == 1.0


def test_without_a_median_the_means_are_compared() -> None:
    _, ovs = rows(("library", measured(100)), ("ovs", measured(None, mean=330.0)))
    assert ovs["cycles_per_packet_median"] is None
    assert (ovs["ratio_to_library"], ovs["ratio_of"]) == (3.0, "mean")


def test_without_the_library_there_is_no_ratio() -> None:
    (brick,) = rows(("brick", measured()))
    assert (brick["ratio_to_library"], brick["ratio_of"]) == (None, None)


def test_only_the_same_scenario_compares() -> None:
    made = [
        figures.row("brick", dataclasses.replace(SMALL, fresh=True), [measured()]),
        figures.row("library", SMALL, [measured()]),
    ]
    figures.add_ratios(made)
    assert made[0]["ratio_to_library"] is None


# ---- workers that share the cores with the load


def shared_rows(scenario: Scenario = SHARED, **changes: Any) -> list[dict[str, Any]]:
    one = measured(100, workers=(Worker(100, 1.0),))
    two = measured(110, workers=(Worker(112, 0.6), Worker(108, 0.4)), **changes)
    made = [figures.row("brick", scenario, [one]), figures.row("brick", scenario, [two, two], 2)]
    made.append(figures.row("library", scenario, [measured(200)]))
    figures.add_ratios(made)
    return made


def test_a_scenario_is_found_again_in_its_row() -> None:
    assert [figures.scenario_of(made) for made in shared_rows()] == [SHARED] * 3


def test_two_workers_are_compared_with_one_of_the_same_system_and_with_the_library() -> None:
    one, two, library = shared_rows()
    assert (one["workers"], two["workers"]) == (1, 2)
    assert one["ratio_to_one_worker"] is None
    assert two["ratio_to_one_worker"] == 1.1
    assert two["ratio_to_library"] == 0.55
    assert library["ratio_to_one_worker"] is None


def test_a_row_tells_of_each_worker() -> None:
    one, two, library = shared_rows()
    assert (one["workers_median"], one["workers_packets"]) == ([100], [1.0])
    assert (two["workers_median"], two["workers_packets"]) == ([112, 108], [0.6, 0.4])
    assert (library["workers_median"], library["workers_packets"]) == ([], [])


def test_workers_are_not_compared_in_silence_if_cores_moved_in_between() -> None:
    _, two, _ = shared_rows(distance_ns=300.0)
    assert two["note"] == figures.NOT_AS_FAR


def test_workers_that_leave_the_cores_to_the_load_do_not_wait_for_it() -> None:
    assert figures.row("brick", SHARED, [measured(busy=0.1)])["note"] == ""


def test_the_cores_of_workers_are_those_of_both_where_they_share_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = {(1, 0): [10], (1, 1): [11], (2, 0): [20], (2, 1): [21]}
    ran_s = {10: 3.0, 11: 4.0, 20: 2.0, 21: 1.0}
    monkeypatch.setattr(machine, "pinned", lambda pid, core: threads[pid, core])
    monkeypatch.setattr(machine, "schedule_s", lambda _pid, tid: (ran_s[tid], 0.0))
    made = machine.shared_sample(1, (0, 1), 2)
    assert (made.worker_s, made.waited_s, made.generator_s) == (5.0, 0.0, 5.0)
    assert machine.shared_sample(1, (1,), 2).worker_s == 5.0


def test_the_table_of_workers_has_those_who_share_cores() -> None:
    lines = figures.workers_table(rows(("brick", measured())) + shared_rows()).splitlines()
    assert lines[2] == str(SHARED) == "64 bytes, one way, 4 ports, shared cores, one receiver"
    assert [line.split() for line in lines[3:]] == [
        ["brick", "100", "100", "100%", "-"],
        ["brick", "x2", "110", "112", "108", "60%", "40%", "1.10"],
        ["library", "200", "-"],
    ]
    assert figures.workers_table(rows(("brick", measured()))) == ""


def test_idle_ports_are_not_told_of_where_none_is_idle() -> None:
    empty = measured(empty=Empty(polls=640, cycles=9600, rounds=320))
    assert figures.idle_table(rows(("brick", empty), scenario=SHARED)) == ""


def test_the_picture_says_how_many_workers_there_were() -> None:
    root = ElementTree.fromstring(picture.draw(shared_rows()))
    assert {"100", "110 (2 workers)"} <= {t.text for t in root.iter(f"{SVG}text")}


# ---- what is shown


def test_the_table_has_a_block_for_each_scenario() -> None:
    made = rows(("brick", measured(80)), ("ovs", measured(None)), ("library", measured(100)))
    made += rows(("brick", measured(share=STOLEN)), scenario=LARGE)
    lines = figures.table(made).splitlines()
    assert lines[2] == "64 bytes, one way"
    alike = ["110.0", "10.00", "99%", "100%", "0.0%", "50", "1"]
    assert lines[3].split() == ["brick", "80", *alike, "0.80"]
    assert lines[4].split() == ["ovs", "-", *alike, "1.00~"]
    assert lines[6] == "1518 bytes, both ways, 4 queue pairs, 64 flows"
    assert lines[7].split()[-6:] == ["0-1", "-", *figures.NO_GOOD_ROUND.split()]


def test_the_picture_has_a_bar_for_each_row_as_long_as_its_cycles() -> None:
    made = rows(("brick", measured(50)), ("library", measured(100)), ("ovs", measured(None)))
    root = ElementTree.fromstring(picture.draw(made))
    bars = [r for r in root.iter(f"{SVG}rect") if float(r.get("x", 0)) == picture.LEFT]
    lengths = [float(r.attrib["width"]) for r in bars]
    assert [r.get("fill") for r in bars] == [picture.COLOURS[row["system"]] for row in made]
    assert lengths == pytest.approx(
        [lengths[2] * 50 / 110, lengths[2] * 100 / 110, lengths[2]], abs=0.1
    )
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {"64 bytes, one way", "50", "100", "110 (mean)", "brick"} <= set(texts)


def test_the_picture_of_nothing_is_one_all_the_same() -> None:
    assert ElementTree.fromstring(picture.draw([])).tag == f"{SVG}svg"


# ---- little traffic


def test_a_worker_that_sleeps_does_not_spoil_latency_but_one_that_waits_does() -> None:
    latency = Latency(lost=0, median_us=2.0, p99_us=5.0)
    assert LatencyRound(latency, CUT_SHORT).disturbed == ""
    waiting = dataclasses.replace(CUT_SHORT, waited=0.1)
    reason = "the worker waited for its core for 10% of the time"
    assert LatencyRound(latency, waiting).disturbed == reason
    assert LatencyRound(latency, SLOW_VMS).disturbed != ""


def test_latency_is_the_median_of_rounds_that_count() -> None:
    rounds = [
        LatencyRound(Latency(lost=0, median_us=2.0, p99_us=5.0), ALONE),
        LatencyRound(Latency(lost=1, median_us=4.0, p99_us=7.0), ALONE),
        LatencyRound(Latency(lost=9, median_us=90.0, p99_us=900.0), STOLEN),
    ]
    assert quiet.latency_row("brick", Pause(100, 10), rounds) == {
        "kind": "latency",
        "system": "brick",
        "gap_us": 100,
        "median_us": 3.0,
        "p99_us": 6.0,
        "lost": 1,
        "rounds": 2,
        "thrown_away": 1,
    }


def test_memory_is_that_of_one_more_port() -> None:
    held = {"brick": {2: 1000, 64: 7200}, "ovs": {2: 9000}}
    assert quiet.memory_rows(held) == [
        {"kind": "memory", "system": "brick", "ports": 64, "kb_a_port": 100.0}
    ]


def test_little_traffic_has_a_block_for_each_kind() -> None:
    made = [
        quiet.latency_row(
            "brick",
            Pause(100, 10),
            [LatencyRound(Latency(lost=0, median_us=2.0, p99_us=5.0), ALONE)],
        ),
        *quiet.memory_rows({"brick": {2: 1000, 64: 7200}}),
        {"kind": "idle", "system": "vhost-brickd", "ports": 64, "cores": 0.015},
    ]
    lines = quiet.table(made).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "Latency of single frames, 100 us apart:",
        "Memory of one more port with its VM:",
        "Idle, all its ports connected:",
    ]
    assert lines[3].split() == ["brick", "100.0", "kB,", "64", "ports"]


# ---- what is measured when


class Started:
    """Stands in for forward.Bench: notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    @contextlib.contextmanager
    def stands(self, shape: Shape) -> Iterator[list[Any]]:
        self.calls.append(("stands", shape))
        yield []

    def forward(self, _stands: list[Any], scenario: Scenario) -> list[dict[str, Any]]:
        self.calls.append(("forward", scenario.shape))
        return []

    def latency(self, _stands: list[Any], pause: Pause) -> list[dict[str, Any]]:
        self.calls.append(("latency", pause))
        return []

    def idle(self, _stands: list[Any]) -> list[dict[str, Any]]:
        self.calls.append(("idle", None))
        return []


def measured_when(quietly: bool) -> list[tuple[str, Any]]:
    bench = Started()
    forward.measure(cast("forward.Bench", bench), forward.SCENARIOS, quietly)
    return bench.calls


def test_systems_are_started_once_for_each_shape() -> None:
    calls = measured_when(quietly=False)
    shapes = [shape for what, shape in calls if what == "stands"]
    assert len(shapes) == len(set(shapes))
    assert [what for what, _ in calls].count("forward") == len(forward.SCENARIOS)
    for i, (what, shape) in enumerate(calls):
        if what == "stands":
            current = shape
        else:
            assert (what, shape) == ("forward", current), i


def test_little_traffic_is_measured_with_few_ports_and_idleness_with_many() -> None:
    current, when = None, []
    for what, of in measured_when(quietly=True):
        if what == "stands":
            current = of
        elif what != "forward":
            when.append((what, current))
    few, many = Shape(1, figures.BUSY_PORTS), Shape(1, forward.MANY_PORTS)
    assert when == [("latency", few)] * len(quiet.PAUSES) + [("idle", many)]


def test_only_shared_cores_have_more_than_one_worker() -> None:
    shared = Shape(1, forward.SHARED_PORTS, shared_cores=True)
    assert list(forward.workers_of("brick", Shape(1, 2))) == [1]
    assert list(forward.workers_of("brick", shared)) == [1, 2]
    assert list(forward.workers_of("library", shared)) == [1]
    assert list(forward.workers_of("ovs", shared)) == []


def test_the_library_gets_senders_beside_their_receivers(tmp_path: Path) -> None:
    sockets = tuple(tmp_path / f"p{i}" for i in range(4))
    place = Place(tmp_path, sockets, 1, (1,), 0, shared=True)
    told = [str(word) for word in Library(place).command()]
    assert told[-4:] == [str(sockets[i]) for i in (0, 2, 1, 3)]


@pytest.mark.parametrize(("workers", "senders"), [((1,), [0, 0]), ((1, 0), [0, 1])])
def test_frames_come_from_the_other_core_than_their_workers(
    workers: tuple[int, ...], senders: list[int]
) -> None:
    assert forward.sender_cores(workers, 2) == senders
