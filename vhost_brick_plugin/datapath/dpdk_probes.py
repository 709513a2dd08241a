# SPDX-License-Identifier: Apache-2.0
"""Captures and traces in the DPDK datapath: numbers for C's handles."""

from __future__ import annotations

import errno
import itertools
import os
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import dpdk_c
from vhost_brick_plugin.datapath.dpdk_c import ffi, lib
from vhost_brick_plugin.probes import (
    CaptureOptions,
    Direction,
    Filter,
    Traced,
    TracedPacket,
    Visit,
)

HINTS = {
    errno.EINVAL: "The filter is no valid BPF program for Ethernet frames.",
    errno.EBUSY: "Wait for the end of the trace that is there, or end it.",
    errno.ENOMEM: "Ask for a smaller buffer.",
}

READ_AT_ONCE = 16


class Probes:
    """Keeps to the text of :class:`.base.Datapath`."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._captures: dict[int, Any] = {}
        self._traces: dict[int, Any] = {}

    def clear(self) -> None:
        """End all."""
        for number in list(self._captures):
            self.capture_stop(number)
        for number in list(self._traces):
            self.trace_stop(number)

    def capture_start(self, name: str, brick: Any, options: CaptureOptions) -> int:
        filter = _filter(options.filter)
        config = dpdk_c.keeping(ffi.new("struct vb_capture_config *"), filter)
        config.filter = filter[0]
        config.from_peer = options.direction is not Direction.TO_PEER
        config.to_peer = options.direction is not Direction.FROM_PEER
        config.snaplen = min(options.snaplen, 2**32 - 1)
        config.max_packets = min(options.packets, 2**64 - 1)
        config.max_ns = min(int(options.seconds * 1e9), 2**64 - 1)
        config.buffer = options.buffer
        out = ffi.new("struct vb_capture **")
        dpdk_c.check(lib.vb_capture_start(brick, config, out), f"capturing {name}", hints=HINTS)
        number = next(self._numbers)
        self._captures[number] = out[0]
        return number

    def capture_deliver(self, number: int, fd: int) -> None:
        if number not in self._captures:
            os.close(fd)
            raise errors.DatapathError(f"there is no capture {number}")
        result = lib.vb_capture_deliver(self._captures[number], fd)
        dpdk_c.check(result, f"delivering capture {number}")

    def capture_stop(self, number: int) -> bool:
        if number not in self._captures:
            return False
        lib.vb_capture_stop(self._captures.pop(number))
        return True

    def trace_start(self, name: str, brick: Any, packets: int, filter: Filter) -> int:
        out = ffi.new("struct vb_trace **")
        result = lib.vb_trace_start(brick, packets, _filter(filter), out)
        dpdk_c.check(result, f"tracing {name}", hints=HINTS)
        number = next(self._numbers)
        self._traces[number] = out[0]
        return number

    def trace_read(self, number: int) -> Traced:
        raw = ffi.new("struct vb_traced[]", READ_AT_ONCE)
        ended = ffi.new("bool *")
        count = lib.vb_trace_read(self._trace(number), raw, len(raw), ended)
        return Traced(packets=tuple(map(_packet, raw[0:count])), ended=ended[0])

    def trace_stop(self, number: int) -> bool:
        if number not in self._traces:
            return False
        lib.vb_trace_stop(self._traces.pop(number))
        return True

    def _trace(self, number: int) -> Any:
        if number not in self._traces:
            raise errors.DatapathError(f"there is no trace {number}")
        return self._traces[number]


def _filter(filter: Filter) -> Any:
    """Return *filter* as C takes it."""
    insns = ffi.new("struct vb_filter_insn[]", len(filter))
    for raw, instruction in zip(insns, filter, strict=True):
        raw.code, raw.k = instruction.code, instruction.k
        raw.jt, raw.jf = instruction.jt, instruction.jf
    struct = dpdk_c.keeping(ffi.new("struct vb_filter *"), insns)
    struct.insns, struct.nb_insns = insns, len(filter)
    return struct


def _packet(raw: Any) -> TracedPacket:
    return TracedPacket(
        time=raw.time / 1e9,
        worker=raw.worker if raw.worker < lib.VB_WORKERS_MAX else None,
        length=raw.length,
        head=bytes(raw.head[0 : raw.nb_head]).hex(),
        visits=tuple(map(_visit, raw.visits[0 : raw.nb_visits])),
        untold=raw.nb_untold,
    )


def _visit(raw: Any) -> Visit:
    drop, decision = raw.drop, raw.decision
    return Visit(
        brick=dpdk_c.text(raw.brick),
        depth=raw.depth,
        decision=dpdk_c.DECISIONS[decision],
        delivered=raw.delivered,
        dropped=raw.dropped,
        drop=dpdk_c.DROPS[drop] if raw.dropped else "",
        meaning=dpdk_c.DROP_MEANINGS[drop] if raw.dropped else dpdk_c.DECISION_MEANINGS[decision],
    )
