# SPDX-License-Identifier: Apache-2.0
"""What a packet from VM to VM costs through the brick, and through its peers beside it.

All systems run at once, each with two VMs of its own, but all are stopped (SIGSTOP) except
the one that is being measured: so rounds can take turns, and a disturbance of the machine
hits all of them alike. Each one polls on the same core; the VMs (native/generator.c) and
everything else have another one. A round in which others used the two cores is thrown away
and repeated.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import figures, generator, machine
from bench.crowd import Crowd
from bench.figures import Round, Scenario
from bench.generator import Generator
from bench.peers import NoPeer
from bench.systems import SYSTEMS, Place, System
from bench.talk import TalkError
from tools.lab.stand import work_dir

RESULTS = Path(__file__).parent / "results" / "forward.json"

GENERATOR_CORE, WORKER_CORE = 0, 1

SETTLE_S = 0.2
"""After a start of traffic, until caches and rings are as they will be."""

QUICK = tuple(Scenario(frame, fresh=fresh) for fresh in (False, True) for frame in (64, 1518))
SCENARIOS = (
    *(Scenario(frame, both=both) for both in (False, True) for frame in (64, 512, 1518)),
    *(Scenario(frame, fresh=True) for frame in (64, 512, 1518)),
    Scenario(64, flows=64),
    Scenario(64, flows=64, queues=4),
    Scenario(1518, flows=64, queues=4),
    Scenario(64, ports=64),
)

BUSY_PORTS = 2


@dataclasses.dataclass(frozen=True)
class Stand:
    """A system that serves its VMs, frozen unless it is being measured."""

    system: System
    vms: Generator

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        self.system.thaw()
        self.vms.process.thaw()
        try:
            yield
        finally:
            self.vms.process.freeze()
            self.system.freeze()


class Bench:
    """Measures systems by turns, in one shape of queues and ports.

    :ivar missing: the reasons of those that cannot be run, by name.
    """

    def __init__(self, systems: Sequence[str], rounds: int, seconds: float) -> None:
        self._systems = systems
        self._rounds = rounds
        self._seconds = seconds
        self.missing: dict[str, str] = {}

    def measure(self, scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
        """Return a row for each scenario and system; all have the same queues and ports."""
        with self._stands(scenarios[0].queues, scenarios[0].ports) as stands:
            return [row for s in scenarios for row in self._by_turns(stands, s)]

    def _by_turns(self, stands: list[Stand], scenario: Scenario) -> list[dict[str, Any]]:
        print(f"{scenario}:", flush=True)
        rounds: dict[str, list[Round]] = {stand.system.name: [] for stand in stands}
        while behind := [
            s for s in stands if figures.wants_more(rounds[s.system.name], self._rounds)
        ]:
            for stand in behind:
                try:
                    rounds[stand.system.name].append(self._round(stand, scenario))
                except (TalkError, OSError) as error:
                    self._note_missing(stand.system.name, scenario.ports, str(error))
                    stands.remove(stand)
        return [figures.row(name, scenario, had) for name, had in rounds.items() if had]

    def _round(self, stand: Stand, scenario: Scenario) -> Round:
        with stand.awake():
            made = one_round(stand, scenario, self._seconds)
        print(
            f"  {stand.system.name:<9}"
            f"{figures.number(made.median, '{:.0f}'):>8}{made.mean:>9.1f} cycles"
            f"{made.mpps:>8.2f} Mpps"
            + (f"  thrown away: {made.disturbed}" if made.disturbed else ""),
            flush=True,
        )
        return made

    @contextlib.contextmanager
    def _stands(self, queues: int, ports: int) -> Iterator[list[Stand]]:
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(work_dir("vb-fwd"))
            stands = []
            for name in self._systems:
                own = contextlib.ExitStack()
                try:
                    stands.append(start(own, directory / name, name, queues, ports))
                except (NoPeer, TalkError) as error:
                    own.close()
                    self._note_missing(name, ports, str(error))
                else:
                    stack.push(own)
            yield stands

    def _note_missing(self, name: str, ports: int, reason: str) -> None:
        what = name if ports == BUSY_PORTS else f"{name}, {ports} ports"
        self.missing[what] = reason
        print(f"{what}: missing: {reason}", flush=True)


def start(
    stack: contextlib.ExitStack, directory: Path, name: str, queues: int, ports: int
) -> Stand:
    """Start a system with its VMs, and freeze it."""
    cls = SYSTEMS[name]
    if ports > cls.max_ports:
        raise NoPeer(f"it can have {cls.max_ports} ports at most")
    directory.mkdir()
    sockets = tuple(directory / f"p{i}" for i in range(ports))
    if ports > BUSY_PORTS:
        stack.enter_context(Crowd({str(path): "client" for path in sockets[BUSY_PORTS:]}))
    vms = stack.enter_context(
        Generator(directory, sockets[:BUSY_PORTS], queues=queues, core=GENERATOR_CORE)
    )
    system = cls(Place(directory, sockets, queues, WORKER_CORE, GENERATOR_CORE))
    stack.callback(system.end)
    system.start()
    vms.wait_ready()
    stand = Stand(system, vms)
    with stand.awake():
        pass
    return stand


def one_round(stand: Stand, scenario: Scenario, seconds: float) -> Round:
    system, vms = stand.system, stand.vms
    pids = (system.worker_pid, WORKER_CORE, vms.process.pid)
    vms.start(frame=scenario.frame, flows=scenario.flows, both=scenario.both, fresh=scenario.fresh)
    time.sleep(SETTLE_S)
    system.measure()
    before, had = vms.counters(), machine.sample(*pids)
    time.sleep(seconds)
    after, has = vms.counters(), machine.sample(*pids)
    cost = system.read()
    vms.stop()
    wall_s = after.time_s - before.time_s
    received = after.received - before.received
    return Round(
        mean=cost.mean,
        median=cost.median,
        mpps=received / wall_s / 1e6,
        busy=cost.busy_cycles / vms.tsc_hz / wall_s,
        full=cost.full,
        # What is on its way at either end may make it a little more than was sent.
        lost=max(0.0, 1 - received / max(1, after.sent - before.sent)),
        share=machine.Share.between(had, has),
    )


# ---- the command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="only frames of 64 and 1518 bytes, one way"
    )
    parser.add_argument(
        "--system", action="append", choices=SYSTEMS, help="only this one; may be repeated"
    )
    parser.add_argument(
        "--frame", type=int, action="append", metavar="BYTES", help="only this size; as above"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="of a round; default: %(default)s",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=RESULTS, help="default: %(default)s"
    )
    return parser.parse_args()


def describe() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "hugepages": False,
        "load_1min_before": os.getloadavg()[0],
        "ring_size": generator.RING_SIZE,
        "worker_core": WORKER_CORE,
        "generator_core": GENERATOR_CORE,
    }


def main() -> int:
    options = arguments()
    # Everything but the workers, and what we start has to say so.
    os.sched_setaffinity(0, {GENERATOR_CORE})
    generator.build()
    host = describe()
    chosen = [
        s
        for s in (QUICK if options.quick else SCENARIOS)
        if options.frame is None or s.frame in options.frame
    ]
    bench = Bench(options.system or list(SYSTEMS), options.rounds, options.seconds)
    rows: list[dict[str, Any]] = []
    for shape in dict.fromkeys((s.queues, s.ports) for s in chosen):
        rows += bench.measure([s for s in chosen if (s.queues, s.ports) == shape])
    figures.add_ratios(rows)
    print(f"\n{figures.table(rows)}")
    for name, reason in bench.missing.items():
        print(f"\n{name}: missing: {reason}")
    options.json.parent.mkdir(exist_ok=True)
    results = {"machine": host, "missing": bench.missing, "rows": rows}
    options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
