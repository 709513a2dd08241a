# SPDX-License-Identifier: Apache-2.0
"""What the rounds of bench/forward.py come to: which count, medians, ratios, the table."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from bench.machine import Share

STOLEN_MAX = 0.02
SHARE_MIN = 0.95
"""Of its core, for a worker or the generator: others had the rest."""

WAITED_MAX = 0.02
"""Of the time, for a worker that wanted to run."""

BUSY_MIN = 0.9
"""A worker that is less busy waits for the generator."""

LOST_MAX = 0.01
"""Frames that are dropped cost less than those that arrive."""

MOVED_MIN = 1.5
"""Cores whose distance changes by such a factor were moved about by the hypervisor."""

BUSY_PORTS = 2
"""Others are idle."""

NOT_AS_FAR = "cores were not as far from each other for one worker"
NO_GOOD_ROUND = "no round was undisturbed"


class Shape(NamedTuple):
    """What systems are started with; see :class:`Scenario`."""

    queues: int
    ports: int
    shared_cores: bool = False


@dataclass(frozen=True)
class Scenario:
    """What is sent.

    :ivar both: both ways, not only from the first VM to the second one.
    :ivar queues: pairs of each port.
    :ivar ports: two that are busy, and the others idle; all are busy where cores are shared.
    :ivar fresh: VMs write all of a frame that they send, and read all that they receive.
    :ivar shared_cores: the load and the workers have the cores in turn, all at once; half of
        the ports send.
    :ivar one_receiver: all of them to the same port, and not each to one of its own.
    """

    frame: int
    both: bool = False
    queues: int = 1
    ports: int = 2
    flows: int = 1
    fresh: bool = False
    shared_cores: bool = False
    one_receiver: bool = False

    @property
    def shape(self) -> Shape:
        return Shape(self.queues, self.ports, self.shared_cores)

    def __str__(self) -> str:
        parts = [f"{self.frame} bytes", "both ways" if self.both else "one way"]
        parts += [f"{self.queues} queue pairs"] * (self.queues > 1)
        parts += [f"{self.ports} ports"] * (self.ports > 2)
        parts += [f"{self.flows} flows"] * (self.flows > 1)
        parts += ["fresh frames"] * self.fresh
        parts += ["shared cores"] * self.shared_cores
        parts += ["one receiver"] * self.one_receiver
        return ", ".join(parts)


@dataclass(frozen=True)
class Empty:
    """Polls of a worker that found no packet.

    :ivar cycles: of them all.
    :ivar rounds: of the worker through its ports, whether they found packets or not.
    """

    polls: int
    cycles: int
    rounds: int

    @property
    def each(self) -> float:
        """Cycles of one."""
        return self.cycles / max(self.polls, 1)

    @property
    def polls_a_round(self) -> float:
        return self.polls / max(self.rounds, 1)

    @property
    def cycles_a_round(self) -> float:
        return self.cycles / max(self.rounds, 1)


@dataclass(frozen=True)
class Worker:
    """One of the workers of a system.

    :ivar median: None: it had no full burst.
    :ivar share: of all packets.
    """

    median: float | None
    share: float


@dataclass(frozen=True)
class Round:
    """One measurement of one system; cycles are the TSC's.

    :ivar median: None where the system does not tell; so with *full* and *empty*.
    :ivar busy: the share of time in polls that found a packet: the mean of all workers.
    :ivar lost: the share of frames that did not arrive.
    :ivar distance_ns: between the cores: a cache line's way to the other one and back; None:
        not known.
    """

    mean: float
    median: float | None
    mpps: float
    busy: float
    full: float | None
    empty: Empty | None
    lost: float
    distance_ns: float | None
    share: Share
    workers: tuple[Worker, ...] = ()

    @property
    def disturbed(self) -> str:
        """Why it does not count, or empty."""
        return disturbed(self.share)

    def __str__(self) -> str:
        return (
            f"{number(self.median, '{:.0f}'):>6} median {self.mean:>7.1f} mean "
            f"{self.mpps:>6.2f} Mpps, cores {number(self.distance_ns, '{:.0f}')} ns apart"
        )


class Judged(Protocol):
    """A measurement that may not count."""

    @property
    def disturbed(self) -> str: ...


def disturbed(share: Share, *, worker: bool = True) -> str:
    """Return why a measurement does not count, or empty.

    :param worker: whether a worker that slept is a reason.
    """
    if share.stolen > STOLEN_MAX:
        return f"{share.stolen:.1%} of the time was stolen"
    if worker and share.worker < SHARE_MIN:
        return f"the worker had {share.worker:.0%} of its core"
    if not worker and share.waited > WAITED_MAX:
        return f"the worker waited for its core for {share.waited:.0%} of the time"
    if share.generator < SHARE_MIN:
        return f"the generator had {share.generator:.0%} of its core"
    return ""


def wants_more(rounds: Sequence[Judged], wanted: int) -> bool:
    """Whether to measure once more: twice the wanted rounds are tried at most."""
    good = sum(not r.disturbed for r in rounds)
    return good < wanted and len(rounds) < 2 * wanted


def row(
    system: str, scenario: Scenario, rounds: Sequence[Round], workers: int = 1
) -> dict[str, Any]:
    """Return the medians of the rounds that count; of all, and saying so, if none does."""
    good = [r for r in rounds if not r.disturbed]
    used = good or rounds
    empty = [r.empty for r in used if r.empty]
    by_worker = list(zip(*(r.workers for r in used), strict=False))
    made: dict[str, Any] = {
        "kind": "forward",
        "system": system,
        "workers": workers,
        "frame": scenario.frame,
        "directions": 2 if scenario.both else 1,
        "queues": scenario.queues,
        "ports": scenario.ports,
        "flows": scenario.flows,
        "fresh": scenario.fresh,
        "shared_cores": scenario.shared_cores,
        "one_receiver": scenario.one_receiver,
        "cycles_per_packet_median": middle((r.median for r in used), 0),
        "cycles_per_packet_mean": middle((r.mean for r in used), 1),
        "workers_median": [middle((w.median for w in had), 0) for had in by_worker],
        "workers_packets": [middle((w.share for w in had), 3) for had in by_worker],
        "mpps": middle((r.mpps for r in used), 3),
        "busy": middle((r.busy for r in used), 3),
        "full_bursts": middle((r.full for r in used), 3),
        "empty_poll_cycles": middle((e.each for e in empty), 1),
        "empty_polls_per_round": middle((e.polls_a_round for e in empty), 2),
        "empty_cycles_per_round": middle((e.cycles_a_round for e in empty), 1),
        "lost": middle((r.lost for r in used), 4),
        "distance_ns": middle((r.distance_ns for r in used), 0),
        "cores_moved": moved(r.distance_ns for r in used),
        "worker_share": middle((r.share.worker for r in used), 3),
        "rounds": len(good),
        "thrown_away": len(rounds) - len(good),
    }
    return made | {"note": note(made)}


def middle(values: Iterable[float | None], digits: int) -> float | None:
    known = [v for v in values if v is not None]
    return round(statistics.median(known), digits) if known else None


def moved(distances: Iterable[float | None]) -> bool:
    known = [d for d in distances if d is not None]
    return bool(known) and max(known) > MOVED_MIN * min(known)


def note(made: dict[str, Any]) -> str:
    """Return what a reader of a row must know."""
    notes = []
    if not made["rounds"]:
        notes.append(NO_GOOD_ROUND)
    elif made["busy"] < BUSY_MIN and not made["shared_cores"]:
        reason = "waited for the generator"
        if made["ports"] > BUSY_PORTS:
            reason += ", or polled idle ports"
        notes.append(f"{reason}: busy for {made['busy']:.0%}")
    if made["cores_moved"]:
        notes.append("cores were near at times and far at others")
    if made["lost"] > LOST_MAX:
        notes.append(f"{made['lost']:.1%} lost")
    return "; ".join(notes)


SAME = (
    *("frame", "directions", "queues", "ports", "flows", "fresh"),
    *("shared_cores", "one_receiver"),
)
"""What two rows that compare have in common."""


def add_ratios(rows: Sequence[dict[str, Any]]) -> None:
    """Set each row's cost beside the library's: of medians, or of means if it has no median.

    And that of more than one worker beside the cost of one, of the same system.
    """
    libraries = {tuple(r[k] for k in SAME): r for r in rows if r["system"] == "library"}
    alone = {(r["system"], *(r[k] for k in SAME)): r for r in rows if r["workers"] == 1}
    for made in rows:
        library = libraries.get(tuple(made[k] for k in SAME))
        by = "median" if made["cycles_per_packet_median"] is not None else "mean"
        key = f"cycles_per_packet_{by}"
        limit = library[key] if library else None
        made["ratio_to_library"] = round(made[key] / limit, 3) if limit else None
        made["ratio_of"] = by if limit else None
        one = alone.get((made["system"], *(made[k] for k in SAME)))
        base = one[key] if one else None
        made["ratio_to_one_worker"] = None
        if one and base and made["workers"] > 1:
            made["ratio_to_one_worker"] = round(made[key] / base, 3)
            if moved([one["distance_ns"], made["distance_ns"]]):
                made["note"] = "; ".join(filter(None, [made["note"], NOT_AS_FAR]))


# ---- the table

LINE = "  {:<9}{:>8}{:>8}{:>8}{:>7}{:>7}{:>7}{:>7}{:>8}{:>8}  {}"


def scenario_of(made: dict[str, Any]) -> Scenario:
    return Scenario(
        frame=made["frame"],
        both=made["directions"] == 2,
        queues=made["queues"],
        ports=made["ports"],
        flows=made["flows"],
        fresh=made["fresh"],
        shared_cores=made["shared_cores"],
        one_receiver=made["one_receiver"],
    )


def label(system: str, workers: int) -> str:
    return f"{system} x{workers}" if workers > 1 else system


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of packets as text, a block for each scenario."""
    lines = [
        "Cycles a packet (TSC), from its dequeueing to its being freed:",
        LINE.format(
            *("", "median", "mean", "Mpps", "busy", "core", "lost", "ns", "rounds", "ratio"), ""
        ),
    ]
    last = None
    for made in rows:
        scenario = scenario_of(made)
        if scenario != last:
            lines.append(str(scenario))
        last = scenario
        thrown = f"-{made['thrown_away']}" if made["thrown_away"] else ""
        lines.append(
            LINE.format(
                label(made["system"], made["workers"]),
                number(made["cycles_per_packet_median"], "{:.0f}"),
                number(made["cycles_per_packet_mean"], "{:.1f}"),
                number(made["mpps"], "{:.2f}"),
                number(made["busy"], "{:.0%}"),
                number(made["worker_share"], "{:.0%}"),
                number(made["lost"], "{:.1%}"),
                number(made["distance_ns"], "{:.0f}"),
                f"{made['rounds']}{thrown}",
                number(made["ratio_to_library"], "{:.2f}")
                + ("~" if made["ratio_of"] == "mean" else ""),
                made["note"],
            ).rstrip()
        )
    return "\n".join(lines)


IDLE_LINE = "  {:<9}{:>12}{:>16}{:>16}{:>7}  {}"


def idle_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what idle ports cost beside busy ones, as text; empty: no row tells."""
    told = [
        r
        for r in rows
        if r["ports"] > BUSY_PORTS and not r["shared_cores"] and r["empty_poll_cycles"] is not None
    ]
    if not told:
        return ""
    lines = [
        "Cycles (TSC) in polls that found no packet, in a round of the worker through its ports:",
        IDLE_LINE.format("", "each poll", "polls a round", "cycles a round", "busy", "").rstrip(),
    ]
    for made in told:
        lines += [str(scenario_of(made))] * (str(scenario_of(made)) not in lines)
        lines.append(
            IDLE_LINE.format(
                made["system"],
                number(made["empty_poll_cycles"], "{:.1f}"),
                number(made["empty_polls_per_round"], "{:.1f}"),
                number(made["empty_cycles_per_round"], "{:.0f}"),
                number(made["busy"], "{:.0%}"),
                made["note"],
            ).rstrip()
        )
    return "\n".join(lines)


WORKERS_LINE = "  {:<9}{:>8}{:>16}{:>16}{:>18}"


def workers_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return, as text, what workers cost that share the cores with the load; or nothing."""
    shared = [r for r in rows if r["shared_cores"]]
    if not shared:
        return ""
    lines = [
        "Workers that share the cores with the load, one by one:",
        WORKERS_LINE.format("", "median", "of each", "packets", "to one worker"),
    ]
    for made in shared:
        lines += [str(scenario_of(made))] * (str(scenario_of(made)) not in lines)
        lines.append(
            WORKERS_LINE.format(
                label(made["system"], made["workers"]),
                number(made["cycles_per_packet_median"], "{:.0f}"),
                " ".join(number(m, "{:.0f}") for m in made["workers_median"]),
                " ".join(number(share, "{:.0%}") for share in made["workers_packets"]),
                number(made["ratio_to_one_worker"], "{:.2f}"),
            ).rstrip()
        )
    return "\n".join(lines)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
