# SPDX-License-Identifier: Apache-2.0
"""Traces of a real daemon, and what is to be said of them."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

from tests.functional.daemon import Daemon
from tests.functional.waiting import TIMEOUT
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.probes import TracedPacket

Way = list[tuple[int, str, str]]
"""Of each visit: its depth, the brick, and what came of it there."""

DELIVERED = "delivered"
PASSED = ""
"""A brick with no choice, or one whose packets the host thread takes over."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """One that has begun: what is sent from now on is in it."""

    packets: Iterator[TracedPacket]

    @classmethod
    def of(cls, daemon: Daemon, port: str, packets: int = 1, **request: Any) -> Self:
        call = methods.Trace(port=port, packets=packets, **request)
        return cls(daemon.client.trace(call, TIMEOUT)[1])

    @classmethod
    def unlimited(cls, daemon: Daemon, port: str, packets: int) -> Self:
        """Return one with all that the daemon sends, were it more than was asked for."""
        sock, _, rest = daemon.client._begin(methods.Trace(port=port, packets=packets))
        sent = daemon.client._events(sock, rest, TracedPacket, time.monotonic() + TIMEOUT)
        return cls(_until_closed(sent))

    def next(self) -> TracedPacket:
        """Wait for the next packet."""
        packet = next(self.packets, None)
        assert packet is not None, f"no packet within {TIMEOUT} s"
        return packet

    def next_way(self) -> Way:
        return way(self.next())


def _until_closed(packets: Iterator[TracedPacket]) -> Iterator[TracedPacket]:
    with contextlib.suppress(errors.DaemonUnreachable):
        yield from packets


def way(packet: TracedPacket) -> Way:
    """Return where *packet* went."""
    return [
        (visit.depth, visit.brick, visit.drop or visit.decision or DELIVERED * visit.delivered)
        for visit in packet.visits
    ]


def to_port(depth: int, port: str, fate: str = DELIVERED) -> Way:
    """Return the way that leads from a switch to a port's guest."""
    return [(depth, f"antispoof/{port}", PASSED), (depth + 1, f"vhost/{port}", fate)]


def from_port(port: str, network: str, decision: str) -> Way:
    """Return the way that leads from a port's guest up to the switch."""
    return [(0, f"antispoof/{port}", PASSED), (1, f"switch/{network}", decision)]


class Command:
    """The real command ``vhost-brick trace``, in a process of its own, that has begun."""

    def __init__(self, daemon: Daemon, *words: str) -> None:
        main = [sys.executable, "-m", "vhost_brick_plugin.cli.main"]
        self.process = subprocess.Popen(
            [*main, "--api-socket", str(daemon.api_socket), "trace", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        begin = self.process.stderr.readline()
        assert begin.startswith("waiting for"), begin + self.process.stderr.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """Wait for the next line that it prints."""
        assert self.process.stdout
        return self.process.stdout.readline()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> tuple[int, str, Sequence[str]]:
        """Wait for its end; return its status, what else it prints, and lines of errors."""
        assert self.process.stdout
        assert self.process.stderr
        # Not communicate(), which knows nothing of what line() has read ahead.
        out, err = self.process.stdout.read(), self.process.stderr.read()
        return self.process.wait(TIMEOUT), out, err.splitlines()
