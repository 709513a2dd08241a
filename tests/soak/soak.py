# SPDX-License-Identifier: Apache-2.0
"""The soak: events for a given time, and what became of it.

The first half is one life of the daemon, to see whether it lets go of what it takes; in
the second half it is killed again and again as well.  Every so many events the world
comes to rest, and everything is looked at (:mod:`tests.soak.audit`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import statistics
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.functional.daemon import Config
from tests.soak import audit, chaos
from tests.soak.guests import Frames
from tests.soak.keeper import Keeper, Turns
from tests.soak.world import World

EVENTS_BETWEEN_AUDITS = 13
WARM_UP_AUDITS = 2
"""Before what is held is noted: Python and malloc have by then seen every kind of event."""


@dataclasses.dataclass
class Life:
    """One process that served, as far as it was looked at.

    :ivar before: what it held after *events_before*, when its events were half as many.
    """

    pid: int
    audits: int = 0
    events: int = 0
    sums: audit.Sums | None = None
    first: audit.Held | None = None
    before: audit.Held | None = None
    events_before: int = 0
    last: audit.Held | None = None


@dataclasses.dataclass
class Outcome:
    """What a soak has seen.

    :ivar seconds: of each event, by its kind: until everybody was well.
    """

    keeper: str
    seed: int
    duration_s: float = 0.0
    problems: list[str] = dataclasses.field(default_factory=list)
    seconds: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    lives: list[Life] = dataclasses.field(default_factory=list)
    frames: dict[str, Frames] = dataclasses.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        events = {
            kind: {
                "count": len(taken),
                "median_s": round(statistics.median(taken), 3),
                "max_s": round(max(taken), 3),
            }
            for kind, taken in sorted(self.seconds.items())
        }
        return {
            "ok": self.ok,
            "keeper": self.keeper,
            "seed": self.seed,
            "duration_s": round(self.duration_s, 1),
            "problems": self.problems,
            "events": events,
            "lives": [dataclasses.asdict(life) for life in self.lives],
            "frames": {name: dataclasses.asdict(frames) for name, frames in self.frames.items()},
        }


class Soak:
    """One run in a world."""

    def __init__(self, world: World, outcome: Outcome, seconds: float) -> None:
        self._world = world
        self._outcome = outcome
        self._rng = random.Random(outcome.seed)
        self._seconds = seconds

    def run(self) -> None:
        began = time.monotonic()
        try:
            self._world.settle()
            # What is held is compared once at least, however slow the machine is.
            least = (WARM_UP_AUDITS + 1) * EVENTS_BETWEEN_AUDITS
            self._phase(chaos.CHURN, began + self._seconds / 2, least)
            self._phase((*chaos.CHURN, *self._kills()), began + self._seconds)
        except Exception:
            self._outcome.problems.append(traceback.format_exc())
        self._outcome.duration_s = time.monotonic() - began

    def _kills(self) -> tuple[chaos.Event, ...]:
        both = isinstance(self._world.keeper, Turns)
        return (*chaos.KILLS, *chaos.TURNS) if both else chaos.KILLS

    def _phase(self, kinds: tuple[chaos.Event, ...], end: float, least: int = 0) -> None:
        """Let each kind happen once, *least* events in all, and go on until the time is over."""
        events = chaos.deck(self._rng, kinds)
        for number in itertools.count(1):
            self._happen(next(events))
            if number % EVENTS_BETWEEN_AUDITS == 0:
                self._audit()
            if number >= max(len(kinds), least) and time.monotonic() > end:
                break
        self._audit()

    def _happen(self, event: chaos.Event) -> None:
        name = event.__name__
        began = time.monotonic()
        try:
            event(self._world, self._rng)
            self._world.settle()
        except Exception as e:
            raise AssertionError(f"after {name}: {e}") from e
        self._outcome.seconds.setdefault(name, []).append(time.monotonic() - began)
        self._life().events += 1

    def _life(self) -> Life:
        lives, pid = self._outcome.lives, self._world.keeper.serving.pid
        if not lives or lives[-1].pid != pid:
            lives.append(Life(pid))
        return lives[-1]

    def _audit(self) -> None:
        """Bring the world to rest, and back to what it was at first, and look at it."""
        life = self._life()
        self._world.dismiss_all()
        life.sums, found = self._world.audit()
        life.audits += 1
        life.last = audit.Held.by(life.pid)
        if life.before is not None:
            found += audit.check_held(life.pid, life.before)
        if life.audits >= WARM_UP_AUDITS and life.events >= 2 * life.events_before:
            life.first = life.first or life.last
            life.before, life.events_before = life.last, life.events
        self._outcome.problems += found
        self._world.settle()


def soak(
    directory: Path,
    keeper: type[Keeper],
    seconds: float,
    seed: int,
    config: Config = MappingProxyType({}),
) -> Outcome:
    """Run a soak.

    :param directory: empty, with a short path.
    :param config: options of the daemon.
    """
    outcome = Outcome(keeper.name, seed)
    with World(directory, keeper, config) as world:
        Soak(world, outcome, seconds).run()
        logs = dict(world.keeper.logs)
        outcome.problems += ending(world)
        outcome.frames = {r.name: r.total for r in world.residents}
    for log in logs.values():
        outcome.problems += audit.check_log(log, chaos.EXPECTED_TROUBLE)
    return outcome


def ending(world: World) -> list[str]:
    """End the daemon in good order, with all frontends connected."""
    for resident in world.residents:
        with contextlib.suppress(Exception):  # One that hangs was told of already.
            resident.total.add(resident.stats())
    return world.keeper.stop()


# -- what is shown ------------------------------------------------------------------


def table(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of a summary for people."""
    shown = outcome.to_json()
    verdict = "all is well" if outcome.ok else f"{len(outcome.problems)} PROBLEMS"
    yield (
        f"{outcome.keeper}: {shown['duration_s']:.0f} s, seed {outcome.seed}, "
        f"{sum(e['count'] for e in shown['events'].values())} events: {verdict}"
    )
    yield ""
    yield f"{'event':28}{'times':>6}{'median':>9}{'longest':>9}"
    for kind, event in shown["events"].items():
        name = kind.replace("_", " ")
        yield f"{name:28}{event['count']:6}{event['median_s']:7.2f} s{event['max_s']:7.2f} s"
    yield ""
    yield from _lives(outcome)
    yield ""
    yield f"{'frames of':12}{'sent':>10}{'received':>10}{'gaps':>8}{'twice':>7}{'damaged':>9}"
    for name, f in outcome.frames.items():
        yield f"{name:12}{f.tx:10}{f.rx:10}{f.lost:8}{f.duplicate:7}{f.bad:9}"
    for problem in outcome.problems:
        yield ""
        yield f"PROBLEM: {problem}"


def _lives(outcome: Outcome) -> Iterator[str]:
    looked_at = [life for life in outcome.lives if life.sums]
    yield f"{len(outcome.lives)} lives of the daemon, {len(looked_at)} of them looked at:"
    head = f"{'events':>7}{'audits':>7}{'came':>11}{'made':>9}{'went':>11}"
    yield f"{head}{'dropped':>9}{'missing':>9}"
    for life in looked_at:
        s = life.sums
        assert s
        dropped = sum(s.drops.values())
        yield (
            f"{life.events:7}{life.audits:7}{s.came:11}{s.made:9}{s.went:11}{dropped:9}{s.missing:9}"
        )
    held = [life for life in looked_at if life.first and life.last]
    for life in held:
        assert life.first
        assert life.last
        parts = [
            f"{name} {getattr(life.first, name)} -> {getattr(life.last, name)}"
            for name in ("fds", "threads", "maps", "anon_kb")
        ]
        yield f"process {life.pid} over {life.events} events: {', '.join(parts)}"
    drops: dict[str, int] = {}
    for life in looked_at:
        assert life.sums
        for reason, count in life.sums.drops.items():
            drops[reason] = drops.get(reason, 0) + count
    yield "dropped: " + ", ".join(f"{count} {reason}" for reason, count in sorted(drops.items()))
