# SPDX-License-Identifier: Apache-2.0
"""Captures and traces in the datapath without packets: they see what a test lets pass."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import struct
import threading
import time

from vhost_brick_plugin import errors
from vhost_brick_plugin.probes import (
    CaptureOptions,
    Direction,
    Filter,
    Traced,
    TracedPacket,
)


class _Capture:
    """Keeps packets until it is delivered, and then writes them from a thread of its own.

    Filters are not run: every packet passes.
    """

    def __init__(self, brick: str, options: CaptureOptions) -> None:
        self.brick = brick
        self._options = options
        self._changed = threading.Condition()
        self._ended = False
        self._seen = 0
        self._frames: list[tuple[bytes, Direction, int]] = []

    def take(self, frame: bytes, direction: Direction) -> None:
        if self._options.direction not in (Direction.BOTH, direction):
            return
        with self._changed:
            self._seen += 1
            self._frames.append((frame, direction, time.time_ns()))
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()

    def deliver(self, fd: int) -> None:
        threading.Thread(target=self._write, args=(socket.socket(fileno=fd),), daemon=True).start()

    def _write(self, sock: socket.socket) -> None:
        limit, deadline = self._options.packets, self._deadline()
        written = 0
        # A reader who has left misses nothing.
        with sock, contextlib.suppress(OSError):
            sock.sendall(_begin(self.brick, self._options.snaplen))
            while not limit or written < limit:
                frame = self._next(deadline)
                if frame is None:
                    break
                sock.sendall(_packet(*frame, self._options.snaplen))
                written += 1
            sock.sendall(_totals(self._seen, written))
            sock.shutdown(socket.SHUT_WR)

    def _deadline(self) -> float | None:
        return time.monotonic() + self._options.seconds if self._options.seconds else None

    def _next(self, deadline: float | None) -> tuple[bytes, Direction, int] | None:
        with self._changed:
            while not self._frames and not self._ended:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            return self._frames.pop(0) if self._frames else None


class _Trace:
    def __init__(self, brick: str, packets: int) -> None:
        self.brick = brick
        self.left = packets
        self.ended = False
        self.news: list[TracedPacket] = []


class Probes:
    """Keeps to the text of :class:`.base.Datapath`; names have been checked."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._captures: dict[int, _Capture] = {}
        self._traces: dict[int, _Trace] = {}

    # -- the contract --------------------------------------------------------

    def capture_start(self, brick: str, options: CaptureOptions) -> int:
        _check(f"capturing {brick}", options.filter)
        number = next(self._numbers)
        self._captures[number] = _Capture(brick, options)
        return number

    def capture_deliver(self, number: int, fd: int) -> None:
        if number not in self._captures:
            os.close(fd)
            raise errors.DatapathError(f"there is no capture {number}")
        self._captures[number].deliver(fd)

    def capture_stop(self, number: int) -> bool:
        capture = self._captures.pop(number, None)
        if capture is not None:
            capture.end()
        return capture is not None

    def trace_start(self, brick: str, packets: int, filter: Filter) -> int:
        _check(f"tracing {brick}", filter)
        if any(trace.brick == brick and not trace.ended for trace in self._traces.values()):
            raise errors.DatapathError(f"tracing {brick}: it is being traced")
        number = next(self._numbers)
        self._traces[number] = _Trace(brick, packets)
        return number

    def trace_read(self, number: int) -> Traced:
        trace = self._traces.get(number)
        if trace is None:
            raise errors.DatapathError(f"there is no trace {number}")
        news, trace.news = tuple(trace.news), []
        return Traced(packets=news, ended=trace.ended or trace.left == 0)

    def trace_stop(self, number: int) -> bool:
        return self._traces.pop(number, None) is not None

    # -- what happens to bricks ----------------------------------------------

    def gone(self, brick: str) -> None:
        """End what looks at *brick*, which is removed."""
        for capture in self._captures.values():
            if capture.brick == brick:
                capture.end()
        for trace in self._traces.values():
            trace.ended |= trace.brick == brick

    def capture(self, brick: str, frame: bytes, direction: Direction) -> None:
        """Let *frame* pass at *brick*."""
        for capture in self._captures.values():
            if capture.brick == brick:
                capture.take(frame, direction)

    def trace(self, brick: str, packet: TracedPacket) -> None:
        """Let *packet* go its way from *brick*."""
        for trace in self._traces.values():
            if trace.brick == brick and trace.left > 0:
                trace.left -= 1
                trace.news.append(packet)


def _check(what: str, filter: Filter) -> None:
    """Refuse what is certainly no program: one that does not end with a return."""
    if filter and filter[-1].code & 0x07 != 0x06:
        raise errors.DatapathError(f"{what}: {os.strerror(22)}", hint="The filter is no program.")


# -- pcapng, as native/probe/pcapng.c writes it --------------------------------


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _time(ns: int) -> bytes:
    return struct.pack("=II", ns >> 32, ns & 0xFFFFFFFF)


_END = struct.pack("=I", 0)


def _begin(name: str, snaplen: int) -> bytes:
    section = struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1) + _END
    options = _option(2, name.encode()) + _option(9, bytes([9])) + _END
    return _block(0x0A0D0D0A, section) + _block(1, struct.pack("=HHI", 1, 0, snaplen) + options)


def _packet(frame: bytes, direction: Direction, when: int, snaplen: int) -> bytes:
    kept = frame[:snaplen] if snaplen else frame
    head = struct.pack("=I", 0) + _time(when) + struct.pack("=II", len(kept), len(frame))
    flags = struct.pack("=I", 1 if direction is Direction.FROM_PEER else 2)
    return _block(6, head + _padded(kept) + _option(2, flags) + _END)


def _totals(seen: int, written: int) -> bytes:
    counts = ((4, seen), (5, 0), (6, seen), (8, written))
    options = b"".join(_option(code, struct.pack("=Q", n)) for code, n in counts)
    return _block(5, struct.pack("=I", 0) + _time(time.time_ns()) + options + _END)
