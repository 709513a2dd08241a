# SPDX-License-Identifier: Apache-2.0
"""What is measured side by side: our brick, and its peers.

Each serves the same vhost-user sockets as a client, polls on one core, and forwards what
the first VM sends to the second one and back.
"""

import abc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.generator import EAL, NATIVE
from bench.talk import Process

MEMORY_MB = 256
MBUFS = 16384


class Missing(Exception):
    """A system cannot be run here; the message is the reason."""


@dataclass(frozen=True)
class Place:
    """Where a system runs.

    :ivar directory: its own, for sockets and logs; a short path.
    :ivar sockets: of its ports; at all of them a VM listens.
    :ivar queues: pairs of each.
    """

    directory: Path
    sockets: tuple[Path, ...]
    queues: int
    worker_core: int
    control_core: int


@dataclass(frozen=True)
class Cost:
    """What packets have cost the worker since :meth:`System.measure`.

    :ivar mean: TSC cycles a packet, of polls that found one.
    :ivar median: of polls that carried a full burst; None: the system does not tell.
    :ivar busy_cycles: TSC cycles in polls that found a packet.
    :ivar full: the share of packets that came in full bursts; None as above.
    """

    mean: float
    median: float | None
    busy_cycles: float
    full: float | None


class System(abc.ABC):
    """One of them, which runs from :meth:`start` to :meth:`end`."""

    name: ClassVar[str]
    text: ClassVar[str]
    max_ports: ClassVar[int] = 64

    def __init__(self, place: Place) -> None:
        self.place = place
        self.processes: list[Process] = []

    @property
    def worker_pid(self) -> int:
        """The process to which the polling thread belongs."""
        return self.processes[-1].pid

    @abc.abstractmethod
    def start(self) -> None:
        """Start it without waiting for VMs.

        :raises Missing: it cannot be had.
        """

    @abc.abstractmethod
    def measure(self) -> None:
        """Begin to count anew."""

    @abc.abstractmethod
    def read(self) -> Cost:
        """Return what was counted."""

    def freeze(self) -> None:
        """Leave the core to others until :meth:`thaw`."""
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        for process in self.processes:
            process.thaw()

    def end(self) -> None:
        for process in reversed(self.processes):
            process.end()

    def _log(self) -> Path:
        return self.place.directory / f"{self.name}.log"

    def _eal(self) -> list[str]:
        where = self.place
        return [
            *EAL,
            f"--file-prefix={where.directory.name}",
            f"--lcores=0@{where.control_core},1@{where.worker_core}",
            "-m",
            str(MEMORY_MB),
        ]


class Counting(System):
    """A program of ours that counts by native/core/cost.h."""

    @abc.abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return what to run."""

    def start(self) -> None:
        cores = (self.place.control_core, self.place.worker_core)
        self.processes.append(Process(self.command(), self._log(), cores=cores))
        self.processes[0].wait_ready()

    def measure(self) -> None:
        self.processes[0].ask("measure")

    def read(self) -> Cost:
        told = self.processes[0].ask("read")
        packets = max(told["packets"], 1)
        return Cost(
            mean=told["cycles"] / packets,
            median=told["median"] or None,
            busy_cycles=told["cycles"],
            full=told["full_packets"] / packets,
        )


class Brick(Counting):
    name = "brick"
    text = "VM -> antispoof -> learning switch -> antispoof -> VM, with counters"

    def command(self) -> Sequence[str | Path]:
        where = self.place
        return [
            sys.executable,
            Path(__file__).with_name("brick_host.py"),
            f"--worker-core={where.worker_core}",
            f"--control-core={where.control_core}",
            f"--memory-mb={MEMORY_MB}",
            f"--mbufs={MBUFS}",
            f"--queues={where.queues}",
            *where.sockets,
        ]


class Library(Counting):
    name = "library"
    text = "librte_vhost alone: dequeue, enqueue, free"

    def command(self) -> Sequence[str | Path]:
        return [
            NATIVE / "out" / "crossconnect",
            *self._eal(),
            "--",
            str(self.place.queues),
            *self.place.sockets,
        ]


SYSTEMS: dict[str, type[System]] = {cls.name: cls for cls in (Brick, Library)}
