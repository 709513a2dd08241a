# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of cores and threads: who had how much of them."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
AUTOGROUP = PROC / "self/autogroup"
MOST_URGENT = -20


DISTANCE = Path(__file__).parent / "native" / "out" / "distance"
DISTANCE_MAX_NS = 5000.0
"""No two cores are farther from each other; the scheduler's slices are longer."""


@dataclass(frozen=True)
class Sample:
    """Seconds up to now: on the clock, stolen by the hypervisor, and of the watched threads.

    :ivar waited_s: that the worker could have run and did not, since others had its core.
    """

    wall_s: float
    stolen_s: float
    worker_s: float
    waited_s: float
    generator_s: float


@dataclass(frozen=True)
class Share:
    """What each had of its core between two samples; *stolen* is of all cores together."""

    worker: float
    waited: float
    generator: float
    stolen: float

    @classmethod
    def between(cls, before: Sample, after: Sample) -> "Share":
        wall = after.wall_s - before.wall_s
        return cls(
            worker=(after.worker_s - before.worker_s) / wall,
            waited=(after.waited_s - before.waited_s) / wall,
            generator=(after.generator_s - before.generator_s) / wall,
            stolen=(after.stolen_s - before.stolen_s) / wall,
        )


def sample(worker_pid: int, worker_core: int, generator_pid: int) -> Sample:
    worker = [schedule_s(worker_pid, tid) for tid in pinned(worker_pid, worker_core)]
    return Sample(
        wall_s=time.monotonic(),
        stolen_s=stolen_s(),
        worker_s=sum(ran_s for ran_s, _ in worker),
        waited_s=sum(waited_s for _, waited_s in worker),
        generator_s=schedule_s(generator_pid, generator_pid)[0],
    )


def shared_sample(worker_pid: int, worker_cores: Sequence[int], generator_pid: int) -> Sample:
    """As :func:`sample`, where the two take turns: what they have of the workers' cores is one
    figure, which is that of both.
    """
    had_s = [
        schedule_s(pid, tid)[0]
        for core in worker_cores
        for pid in (worker_pid, generator_pid)
        for tid in pinned(pid, core)
    ]
    each_s = sum(had_s) / len(worker_cores)
    return Sample(time.monotonic(), stolen_s(), each_s, 0.0, each_s)


def distance_ns(one_core: int, other_core: int) -> float | None:
    """Return how long a cache line takes from one core to the other and back.

    Nobody else of ours may run on them.  None: others did, all the time.
    """
    command = [str(DISTANCE), str(one_core), str(other_core)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    distance = float(done.stdout)
    return distance if distance < DISTANCE_MAX_NS else None


def stolen_s() -> float:
    """Return what the hypervisor has taken from all cores."""
    ticks = [
        int(line.split()[8])
        for line in (PROC / "stat").read_text().splitlines()
        if line.startswith("cpu") and not line.startswith("cpu ")
    ]
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def schedule_s(pid: int, tid: int) -> tuple[float, float]:
    """Return the seconds that a thread has run, and those that it waited for a core."""
    ran_ns, waited_ns, _times = (PROC / f"{pid}/task/{tid}/schedstat").read_text().split()
    return int(ran_ns) / 1e9, int(waited_ns) / 1e9


def pinned(pid: int, core: int) -> list[int]:
    """Return the threads of a process that may run on *core* only."""
    found = []
    for task in (PROC / f"{pid}/task").iterdir():
        status = (task / "status").read_text()
        if f"\nCpus_allowed_list:\t{core}\n" in status:
            found.append(int(task.name))
    return found


def cpu_s(pid: int) -> float:
    """Return the seconds that all threads of a process have run."""
    return sum(schedule_s(pid, int(task.name))[0] for task in (PROC / f"{pid}/task").iterdir())


def own_kb(pid: int) -> int:
    """Return the memory that is a process's alone: guests' memory, which is theirs too, is not."""
    for line in (PROC / f"{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1])
    raise ValueError("no Private_Dirty in smaps_rollup")


@contextlib.contextmanager
def urgent() -> Iterator[None]:
    """Have nearly all of the machine, whoever else wants it; what is started inherits it.

    The kernel shares cores between sessions first (sched_autogroup), and goes by the
    niceness of processes only within one.
    """
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    group = AUTOGROUP.read_text().split()[-1] if AUTOGROUP.exists() else ""
    os.setpriority(os.PRIO_PROCESS, 0, MOST_URGENT)
    if group:
        AUTOGROUP.write_text(str(MOST_URGENT))
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        if group:
            AUTOGROUP.write_text(group)
