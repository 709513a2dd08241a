# SPDX-License-Identifier: Apache-2.0
"""Drives native/generator.c: two VMs that send to each other as fast as they can."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.talk import DEADLINE_S, Process

NATIVE = Path(__file__).parent / "native"
RING_SIZE = 256
"""QEMU's own, which Nova leaves as it is."""

MACS = ("52:54:00:00:00:0a", "52:54:00:00:00:0b")
MEMORY_MB = 256

EAL = (
    "--no-huge",
    "--no-shconf",
    "--no-pci",
    "--no-telemetry",
    "--iova-mode=va",
    "--log-level=*:warning",
)
"""Neither hugepages nor privileges: all systems are measured without."""


def build() -> None:
    """Build the native programs if a source is newer."""
    subprocess.run(["make", "-s", "-C", str(NATIVE)], check=True, stdin=subprocess.DEVNULL)


@dataclass(frozen=True)
class Counters:
    """Frames since the start, of both VMs together."""

    time_s: float
    sent: int
    received: int


@dataclass(frozen=True)
class Latency:
    """How long single frames were on their way."""

    lost: int
    median_us: float
    p99_us: float


class Generator:
    """The two VMs of one system, at *sockets*, where they listen.  In use until :meth:`end`.

    :ivar tsc_hz: known when they are ready.
    """

    def __init__(
        self, directory: Path, sockets: Sequence[Path], *, queues: int, core: int
    ) -> None:
        self.tsc_hz = 0.0
        devices = [
            # Rings that are used in order make the driver twice as fast, and no system
            # does anything else for them.
            f"--vdev=net_virtio_user{i},path={path},server=1,queues={queues},"
            f"queue_size={RING_SIZE},mac={mac},in_order=1,mrg_rxbuf=1"
            for i, (path, mac) in enumerate(zip(sockets, MACS, strict=True))
        ]
        self.process = Process(
            [
                NATIVE / "out" / "generator",
                *EAL,
                "--single-file-segments",
                f"--file-prefix={directory.name}-generator",
                f"--lcores=0@{core}",
                "-m",
                str(MEMORY_MB),
                *devices,
                *("--", str(queues), str(RING_SIZE)),
            ],
            directory / "generator.log",
            cores=[core],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait_ready(self) -> None:
        """Wait until both VMs are connected."""
        self.tsc_hz = float(self.process.wait_ready()["tsc_hz"])

    def start(self, *, frame: int, flows: int, both: bool, fresh: bool) -> None:
        """Send from now on; for *fresh* see the C file."""
        self.process.ask(f"traffic {frame} {flows} {both:d} {fresh:d}")

    def stop(self) -> None:
        self.process.ask("stop")

    def counters(self) -> Counters:
        answer = self.process.ask("counters")
        return Counters(
            answer["tsc_s"],
            sum(port["tx"] for port in answer["ports"]),
            sum(port["rx"] for port in answer["ports"]),
        )

    def latency(self, count: int, gap_us: int) -> Latency:
        """Send single frames, *gap_us* after each has come."""
        timeout = DEADLINE_S + count * gap_us / 1e6
        return Latency(**self.process.ask(f"latency {count} {gap_us}", timeout))

    def end(self) -> None:
        self.process.end()
