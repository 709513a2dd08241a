# SPDX-License-Identifier: Apache-2.0
"""Captures and traces: what is streamed to whoever asked for one.

A capture's bytes never come through here: the datapath writes them to the connection.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.daemon.stream import Stream
from vhost_brick_plugin.datapath import shape
from vhost_brick_plugin.datapath.base import Datapath
from vhost_brick_plugin.probes import MAX_TRACED, CaptureOptions, check_filter

LOG = logging.getLogger(__name__)

LOOK_S = 0.05
"""So often a trace is asked for news: workers tell nobody of them."""


class Probes:
    """Answers requests; on the datapath's thread, but for what the streams do.

    :param thread: the datapath's.
    """

    def __init__(self, datapath: Datapath, thread: Executor) -> None:
        self._datapath = datapath
        self._thread = thread
        self.handlers: dict[str, Callable[[Any], Any]] = {
            methods.CaptureStart.name: self.capture_start,
            methods.CaptureStop.name: self.capture_stop,
            methods.Trace.name: self.trace,
        }

    def capture_start(self, request: methods.CaptureStart) -> Stream:
        """Start a capture; it is delivered once the answer is sent."""
        names = (field.name for field in dataclasses.fields(CaptureOptions))
        options = CaptureOptions(**{name: getattr(request, name) for name in names})
        brick = _brick(request.port)
        number = self._datapath.capture_start(brick, options)
        answer = methods.CaptureStarted(number=number, brick=brick)
        return _Capture(self._datapath, self._thread, answer)

    def capture_stop(self, request: methods.CaptureStop) -> methods.Done:
        """End a capture, whoever started it."""
        return methods.Done(existed=self._datapath.capture_stop(request.number))

    def trace(self, request: methods.Trace) -> Stream:
        """Start a trace."""
        check_filter(request.filter)
        if not 1 <= request.packets <= MAX_TRACED:
            raise errors.InvalidParams(
                f"packets must be from 1 to {MAX_TRACED}",
                hint="Filter for those that matter, or start another trace after this one.",
            )
        brick = _brick(request.port)
        number = self._datapath.trace_start(brick, request.packets, request.filter)
        return _Trace(self._datapath, self._thread, number, brick, request.packets)


def _brick(port: str) -> str:
    """Return the brick that a request means: only bricks' names have a slash."""
    return port if "/" in port else shape.vhost(port)


class _Probe(Stream):
    """What both have: they call the datapath on its thread."""

    def __init__(self, datapath: Datapath, thread: Executor) -> None:
        self._datapath = datapath
        self._thread = thread

    async def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        # Also when nobody waits for it any more: what is in the arguments may be its to free.
        return await asyncio.shield(loop.run_in_executor(self._thread, function, *args))


class _Capture(_Probe):
    def __init__(
        self, datapath: Datapath, thread: Executor, answer: methods.CaptureStarted
    ) -> None:
        super().__init__(datapath, thread)
        self._answer = answer

    @property
    def answer(self) -> methods.CaptureStarted:
        return self._answer

    async def send(self, writer: asyncio.StreamWriter) -> None:
        # The answer has to be out before anybody else writes.
        writer.transport.set_write_buffer_limits(0)
        await writer.drain()
        fd = os.dup(writer.get_extra_info("socket").fileno())
        try:
            await self._call(self._datapath.capture_deliver, self._answer.number, fd)
        except errors.VhostBrickError as e:
            # Who reads it takes for packets whatever else is sent.
            LOG.error("A capture cannot be delivered: %s", e)
            return
        # The datapath shuts the connection down, and the reader leaves.
        await asyncio.Future()

    async def end(self) -> None:
        await self._call(self._datapath.capture_stop, self._answer.number)


class _Trace(_Probe):
    def __init__(
        self, datapath: Datapath, thread: Executor, number: int, brick: str, packets: int
    ) -> None:
        super().__init__(datapath, thread)
        self._number = number
        self._brick = brick
        self._left = packets

    @property
    def answer(self) -> methods.Tracing:
        return methods.Tracing(brick=self._brick)

    async def send(self, writer: asyncio.StreamWriter) -> None:
        while not await self._send_news(writer):
            await asyncio.sleep(LOOK_S)
        if self._left > 0:
            raise errors.BrickNotFound(f"{self._brick} is gone, and the trace with it")

    async def _send_news(self, writer: asyncio.StreamWriter) -> bool:
        """Send all that there is, and return whether there will be no more."""
        while True:
            traced = await self._call(self._datapath.trace_read, self._number)
            for packet in traced.packets:
                writer.write(wire.encode_event(codec.to_json(packet)))
            await writer.drain()
            self._left -= len(traced.packets)
            if traced.ended or not traced.packets:
                return bool(traced.ended)

    async def end(self) -> None:
        await self._call(self._datapath.trace_stop, self._number)
