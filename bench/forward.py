# SPDX-License-Identifier: Apache-2.0
"""What a packet from VM to VM costs through the brick, and through its peers beside it.

All systems run at once, each with two VMs of its own, but all are stopped (SIGSTOP) except
the one that is being measured: so rounds can take turns, and a disturbance of the machine
hits all of them alike. Each one polls on the same core; the VMs (native/generator.c) and
everything else have another one. Two workers share both cores with the VMs. A round in
which others used the two cores is thrown away and repeated.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import figures, generator, machine, picture, quiet
from bench.crowd import Crowd
from bench.figures import BUSY_PORTS, Scenario, Shape
from bench.generator import Generator
from bench.peers import NoPeer
from bench.quiet import PAUSES, LatencyRound, Pause
from bench.systems import SYSTEMS, Place, System
from bench.talk import TalkError
from tests.functional.daemon import DaemonFailed
from tools.lab.stand import work_dir

RESULTS = Path(__file__).parent / "results" / "forward.json"
PICTURE = Path(__file__).parent.parent / "doc" / "source" / "_static" / "forward.svg"
PARTLY = "or beside this file if not all is measured"

GENERATOR_CORE, WORKER_CORE = 0, 1

SETTLE_S = 0.2
"""After a start of traffic, until caches and rings are as they will be."""

SHARED_CORES = (GENERATOR_CORE, WORKER_CORE)
MANY_PORTS, SHARED_PORTS = 64, 4

SHARED = Scenario(64, ports=SHARED_PORTS, shared_cores=True)
QUICK = (
    *(Scenario(frame, fresh=fresh) for fresh in (False, True) for frame in (64, 1518)),
    SHARED,
    dataclasses.replace(SHARED, one_receiver=True),
)
SCENARIOS = (
    *(Scenario(frame, both=both) for both in (False, True) for frame in (64, 512, 1518)),
    *(Scenario(frame, fresh=True) for frame in (64, 512, 1518)),
    Scenario(64, flows=64),
    Scenario(64, flows=64, queues=4),
    Scenario(1518, flows=64, queues=4),
    # With large frames the brick need not wait for the load, and no round finds nothing.
    *(Scenario(frame, ports=MANY_PORTS) for frame in (64, 1518)),
    SHARED,
    dataclasses.replace(SHARED, frame=1518, fresh=True),
    dataclasses.replace(SHARED, one_receiver=True),
)


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


Round = TypeVar("Round", bound=figures.Judged)


class Bench:
    """Measures systems by turns, in one shape of queues and ports after the other.

    :ivar missing: the reasons of those that cannot be run, by name.
    :ivar held_kb: memory that each held, by name and by number of ports.
    """

    def __init__(self, systems: Sequence[str], rounds: int, seconds: float) -> None:
        self._systems = systems
        self._rounds = rounds
        self._seconds = seconds
        self.missing: dict[str, str] = {}
        self.held_kb: dict[str, dict[int, int]] = {}

    @contextlib.contextmanager
    def stands(self, shape: Shape) -> Iterator[list[Stand]]:
        """Have all systems ready, but those that cannot be run."""
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(work_dir("vb-fwd"))
            stands = []
            for name in self._systems:
                for workers in workers_of(name, shape):
                    own = contextlib.ExitStack()
                    where = directory / f"{name}{workers}"
                    try:
                        stands.append(start(own, where, name, shape, workers))
                    except (NoPeer, TalkError, OSError) as error:
                        own.close()
                        self._note_missing(figures.label(name, workers), shape.ports, str(error))
                    else:
                        stack.push(own)
            if not shape.shared_cores:
                self._note_memory(stands, shape.ports)
            yield stands

    def forward(self, stands: list[Stand], scenario: Scenario) -> list[dict[str, Any]]:
        """Return a row for each system."""
        able = [s for s in stands if s.system.by_address or not scenario.one_receiver]
        others = [s for s in stands if s not in able]
        # With shared cores half as long will do: tens of thousands of full polls.
        seconds = self._seconds / 2 if scenario.shared_cores else self._seconds
        had = self._by_turns(
            able, str(scenario), lambda stand: one_round(stand, scenario, seconds)
        )
        stands[:] = able + others
        return [
            figures.row(system.name, scenario, rounds, len(system.place.worker_cores))
            for system, rounds in had
        ]

    def latency(self, stands: list[Stand], pause: Pause) -> list[dict[str, Any]]:
        """Return a row for each system."""
        had = self._by_turns(
            stands,
            f"single frames, {pause.gap_us} us apart",
            lambda stand: latency_round(stand, pause),
        )
        return [quiet.latency_row(system.name, pause, rounds) for system, rounds in had]

    def idle(self, stands: list[Stand]) -> list[dict[str, Any]]:
        """Return a row for each system."""
        rows = []
        for stand in stands:
            with stand.awake():
                pids = [process.pid for process in stand.system.processes]
                ports = len(stand.system.place.sockets)
                rows.append(quiet.idle_row(stand.system.name, ports, pids))
        return rows

    def _by_turns(
        self, stands: list[Stand], what: str, measure: Callable[[Stand], Round]
    ) -> list[tuple[System, list[Round]]]:
        """Measure each until it has enough rounds; one that fails leaves *stands*."""
        print(f"{what}:", flush=True)
        rounds: dict[System, list[Round]] = {stand.system: [] for stand in stands}
        while behind := [s for s in stands if figures.wants_more(rounds[s.system], self._rounds)]:
            for stand in behind:
                name = stand.system.label
                try:
                    made = measure(stand)
                except (NoPeer, TalkError, OSError) as error:
                    self._note_missing(name, len(stand.system.place.sockets), str(error))
                    stands.remove(stand)
                    continue
                rounds[stand.system].append(made)
                thrown = f"  thrown away: {made.disturbed}" if made.disturbed else ""
                print(f"  {name:<9}{made}{thrown}", flush=True)
        return [(system, had) for system, had in rounds.items() if had]

    def _note_memory(self, stands: Sequence[Stand], ports: int) -> None:
        for stand in stands:
            held = machine.own_kb(stand.system.worker_pid)
            self.held_kb.setdefault(stand.system.name, {}).setdefault(ports, held)

    def _note_missing(self, name: str, ports: int, reason: str) -> None:
        what = name if ports == BUSY_PORTS else f"{name}, {ports} ports"
        self.missing[what] = reason
        print(f"{what}: missing: {reason}", flush=True)


def workers_of(name: str, shape: Shape) -> Sequence[int]:
    """Return with how many workers a system is measured: on shared cores with one, and more."""
    return range(1, SYSTEMS[name].workers_max + 1) if shape.shared_cores else (1,)


def start(
    stack: contextlib.ExitStack, directory: Path, name: str, shape: Shape, workers: int
) -> Stand:
    """Start a system with its VMs, and freeze it."""
    cls = SYSTEMS[name]
    queues, ports, shared = shape
    if ports > cls.max_ports:
        raise NoPeer(f"it can have {cls.max_ports} ports at most")
    directory.mkdir()
    sockets = tuple(directory / f"p{i}" for i in range(ports))
    busy = SHARED_PORTS if shared else BUSY_PORTS
    crowd = stack.enter_context(Crowd({str(p): "client" for p in sockets[busy:]}))
    vms = stack.enter_context(
        Generator(
            directory,
            sockets[:busy],
            queues=queues,
            cores=SHARED_CORES if shared else (GENERATOR_CORE,),
            ring_size=generator.LARGE_RING_SIZE if shared else generator.RING_SIZE,
        )
    )
    cores = (WORKER_CORE, GENERATOR_CORE)[:workers]
    system = cls(Place(directory, sockets, queues, cores, GENERATOR_CORE, shared))
    stack.callback(system.end)
    system.start()
    vms.wait_ready()
    crowd.wait_connected()
    stand = Stand(system, vms)
    with stand.awake():
        pass
    return stand


def sample(stand: Stand) -> machine.Sample:
    system, vms = stand.system, stand.vms.process
    if system.place.shared:
        return machine.shared_sample(system.worker_pid, system.place.worker_cores, vms.pid)
    return machine.sample(system.worker_pid, WORKER_CORE, vms.pid)


def send(stand: Stand, scenario: Scenario) -> None:
    """Start the traffic."""
    frame, fresh = scenario.frame, scenario.fresh
    if not scenario.shared_cores:
        stand.vms.start(frame=frame, flows=scenario.flows, both=scenario.both, fresh=fresh)
        return
    stand.vms.share(
        frame=frame,
        fresh=fresh,
        one_receiver=scenario.one_receiver,
        sender_cores=sender_cores(stand.system.place.worker_cores, scenario.ports // 2),
    )


def sender_cores(worker_cores: Sequence[int], senders: int) -> list[int]:
    """Return the other core than its worker's for each sender: guests' frames come from there.

    Ports are connected, and given to workers, one after the other.
    """
    others = [sum(SHARED_CORES) - core for core in worker_cores]
    return [others[i % len(others)] for i in range(senders)]


def latency_round(stand: Stand, pause: Pause) -> LatencyRound:
    with stand.awake():
        had = sample(stand)
        latency = stand.vms.latency(pause.count, pause.gap_us)
        return LatencyRound(latency, machine.Share.between(had, sample(stand)))


def one_round(stand: Stand, scenario: Scenario, seconds: float) -> figures.Round:
    system, vms = stand.system, stand.vms
    distance_ns = machine.distance_ns(GENERATOR_CORE, WORKER_CORE)
    with stand.awake():
        send(stand, scenario)
        time.sleep(SETTLE_S)
        system.measure()
        before, had = vms.counters(), sample(stand)
        time.sleep(seconds)
        after, has = vms.counters(), sample(stand)
        cost = system.read()
        vms.stop()
    wall_s = after.time_s - before.time_s
    received = after.received - before.received
    return figures.Round(
        mean=cost.mean,
        median=cost.median,
        mpps=received / wall_s / 1e6,
        busy=cost.busy_cycles / vms.tsc_hz / wall_s,
        full=cost.full,
        empty=cost.empty,
        # What is on its way at either end may make it a little more than was sent.
        lost=max(0.0, 1 - received / max(1, after.sent - before.sent)),
        distance_ns=distance_ns,
        share=machine.Share.between(had, has),
        workers=cost.workers,
    )


# ---- the command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="only 64 and 1518 bytes, one way, and two workers"
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
        "--urgent",
        action="store_true",
        help="take the cores from whoever else uses the machine: they nearly stand still",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"default: {RESULTS}, {PARTLY}")
    parser.add_argument("--svg", type=Path, metavar="FILE", help=f"default: {PICTURE}, {PARTLY}")
    options = parser.parse_args()
    options.whole = not (options.quick or options.system or options.frame)
    here = Path(__file__)
    options.json = options.json or (RESULTS if options.whole else here.with_suffix(".json"))
    options.svg = options.svg or (PICTURE if options.whole else here.with_suffix(".svg"))
    return options


def describe() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "dpdk": subprocess.run(
            ["pkg-config", "--modversion", "libdpdk"], check=True, capture_output=True, text=True
        ).stdout.strip(),
        "systems": {name: cls.text for name, cls in SYSTEMS.items()},
        "hugepages": False,
        "load_1min_before": os.getloadavg()[0],
        "ring_size": generator.RING_SIZE,
        "shared_cores_ring_size": generator.LARGE_RING_SIZE,
        "worker_core": WORKER_CORE,
        "generator_core": GENERATOR_CORE,
    }


def measure(bench: Bench, chosen: Sequence[Scenario], quietly: bool) -> list[dict[str, Any]]:
    """Return all rows, those of one shape of queues and ports after the other.

    :param quietly: measure what little traffic costs, too.
    """
    rows: list[dict[str, Any]] = []
    for shape in dict.fromkeys(scenario.shape for scenario in chosen):
        with bench.stands(shape) as stands:
            for scenario in chosen:
                if scenario.shape == shape:
                    rows += bench.forward(stands, scenario)
            if quietly and shape == Shape(1, BUSY_PORTS):
                rows += [row for pause in PAUSES for row in bench.latency(stands, pause)]
            if quietly and shape == Shape(1, MANY_PORTS):
                rows += bench.idle(stands)
    return rows


def daemon_idle(bench: Bench) -> list[dict[str, Any]]:
    with work_dir("vb-fwd") as directory:
        try:
            return [quiet.daemon_row(directory / "d", MANY_PORTS, WORKER_CORE, GENERATOR_CORE)]
        except DaemonFailed as error:
            bench.missing["vhost-brickd"] = str(error)
            return []


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Wait until no other one of us runs on this machine, and keep others waiting."""
    with Path("/tmp/vhost-brick-bench.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    options = arguments()
    # Everything but the workers; what has one says so.
    os.sched_setaffinity(0, {GENERATOR_CORE})
    generator.build()
    with alone(), machine.urgent() if options.urgent else contextlib.nullcontext():
        host = describe() | {"urgent": options.urgent}
        sizes = options.frame
        scenarios = QUICK if options.quick else SCENARIOS
        chosen = [s for s in scenarios if sizes is None or s.frame in sizes]
        bench = Bench(options.system or list(SYSTEMS), options.rounds, options.seconds)
        rows = measure(bench, chosen, quietly=options.whole)
        rows += quiet.memory_rows(bench.held_kb)
        if options.whole:
            rows += daemon_idle(bench)
    forwarded = [row for row in rows if row["kind"] == "forward"]
    figures.add_ratios(forwarded)
    tables = (
        figures.table(forwarded),
        figures.workers_table(forwarded),
        figures.idle_table(forwarded),
        quiet.table(rows),
    )
    for table in filter(None, tables):
        print(f"\n{table}")
    for name, reason in bench.missing.items():
        print(f"\n{name}: missing: {reason}")
    results = {"machine": host, "missing": bench.missing, "rows": rows}
    for path, text in (
        (options.json, json.dumps(results, indent=2) + "\n"),
        (options.svg, picture.draw(forwarded)),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(f"\nwritten to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
