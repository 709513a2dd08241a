# SPDX-License-Identifier: Apache-2.0
"""Drives native/generator.c: VMs that send to each other as fast as they can."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.talk import DEADLINE_S, Process

NATIVE = Path(__file__).parent / "native"
RING_SIZE = 256
"""QEMU's own, which Nova leaves as it is."""

LARGE_RING_SIZE = 1024
"""The largest that QEMU can be asked for."""

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
    """Frames since the start, of all VMs together."""

    time_s: float
    sent: int
    received: int


@dataclass(frozen=True)
class Latency:
    """How long single frames were on their way."""

    lost: int
    median_us: float
    p99_us: float


def mac(port: int) -> str:
    """Return the MAC of a system's port, which its VM has."""
    return f"52:54:00:00:00:{0x0A + port:02x}"


class Generator:
    """The VMs of one system, at *sockets*, where they listen.  In use until :meth:`end`.

    :param cores: one, or those that it shares with workers.
    :ivar tsc_hz: known when they are ready.
    """

    def __init__(
        self,
        directory: Path,
        sockets: Sequence[Path],
        *,
        queues: int,
        cores: Sequence[int],
        ring_size: int = RING_SIZE,
    ) -> None:
        self._cores = cores
        self.tsc_hz = 0.0
        devices = [
            # Rings that are used in order make the driver twice as fast, and no system
            # does anything else for them.
            f"--vdev=net_virtio_user{i},path={path},server=1,queues={queues},"
            f"queue_size={ring_size},mac={mac(i)},in_order=1,mrg_rxbuf=1"
            for i, path in enumerate(sockets)
        ]
        self.process = Process(
            [
                NATIVE / "out" / "generator",
                *EAL,
                "--single-file-segments",
                f"--file-prefix={directory.name}-generator",
                "--lcores=" + ",".join(f"{i}@{core}" for i, core in enumerate(cores)),
                "-m",
                str(MEMORY_MB),
                *devices,
                *("--", str(queues), str(ring_size)),
            ],
            directory / "generator.log",
            cores=cores,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait_ready(self) -> None:
        """Wait until all VMs are connected."""
        self.tsc_hz = float(self.process.wait_ready()["tsc_hz"])

    def start(self, *, frame: int, flows: int, both: bool, fresh: bool) -> None:
        """Send from now on; for *fresh* see the C file."""
        self.process.ask(f"traffic {frame} {flows} {both:d} {fresh:d}")

    def share(
        self, *, frame: int, fresh: bool, one_receiver: bool, sender_cores: Sequence[int]
    ) -> None:
        """Send from now on, sharing the cores with workers; see the C file.

        :param sender_cores: on which of the cores each sender is.
        """
        senders = " ".join(str(self._cores.index(core)) for core in sender_cores)
        self.process.ask(f"share {frame} {fresh:d} {one_receiver:d} {senders}")

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
