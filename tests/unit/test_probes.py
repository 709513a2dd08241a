# SPDX-License-Identifier: Apache-2.0
"""Captures from the control socket to the datapath: one without packets of its own."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import captured
from vhost_brick_plugin import errors, model
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.cli.pcapng import Totals, totals
from vhost_brick_plugin.codec import to_json
from vhost_brick_plugin.daemon import probes
from vhost_brick_plugin.daemon.dispatch import Dispatcher
from vhost_brick_plugin.daemon.server import Server, listen
from vhost_brick_plugin.daemon.settings import Access
from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.datapath.fake import FakeDatapath
from vhost_brick_plugin.model import Mode, Network, Port
from vhost_brick_plugin.probes import (
    MAX_BUFFER,
    MAX_INSTRUCTIONS,
    CaptureOptions,
    Direction,
    Instruction,
)

LIMIT = 10.0
"""Seconds that nothing here takes; a test that reaches it has failed."""

FROM, TO = Direction.FROM_PEER, Direction.TO_PEER
FRAMES = ((b"from " * 12, FROM), (b"to it " * 12, TO), (b"again " * 11, FROM))

RETURN = Instruction(code=0x06, jt=0, jf=0, k=0)


class Rig:
    """A server in an event loop, with a port "p" behind it, and a client in other threads."""

    def __init__(self, path: Path) -> None:
        self.datapath = FakeDatapath()
        self.datapath.start(Options())
        self.datapath.network_add(Network(name="n"))
        port = Port(
            id="p",
            network="n",
            mode=Mode.SERVER,
            socket_path=str(path.with_name("p")),
            mac=model.default_mac("p"),
            mtu=1500,
            queues=1,
            security=model.OPEN,
        )
        self.datapath.port_add(port, self.datapath.offer(port))
        self.thread = ThreadPoolExecutor(1)
        self.path = path
        handlers = probes.Probes(self.datapath, self.thread).handlers
        self.server = Server(str(path), Dispatcher({}, handlers, self.thread))
        self.client = Client(str(path), timeout=LIMIT)

    async def __aenter__(self) -> Rig:
        await self.server.start(listen(str(self.path), Access()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()
        self.thread.shutdown()
        self.datapath.stop()

    async def call(self, request: methods.Method[Any]) -> Any:
        return await asyncio.to_thread(self.client.call, request)

    async def capture(self, **changes: Any) -> Reader:
        request = methods.CaptureStart(port="p", **changes)
        return Reader(*await asyncio.to_thread(self.client.capture, request))

    def pass_frames(self) -> None:
        for frame, direction in FRAMES:
            self.datapath.pass_frame("vhost/p", frame, direction)


class Reader:
    """Who gets a capture."""

    def __init__(self, answer: methods.CaptureStarted, sock: socket.socket, begin: bytes) -> None:
        self.answer = answer
        self._socket = sock
        self._begin = begin
        sock.settimeout(LIMIT)

    def leave(self) -> None:
        self._socket.close()

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def all(self) -> bytes:
        """Return the file, up to its end."""
        return await asyncio.to_thread(self._all)

    def _all(self) -> bytes:
        with self._socket, self._socket.makefile("rb") as rest:
            return self._begin + rest.read()


@pytest.fixture
def run(short_dir: Path) -> Callable[[Callable[[Rig], Coroutine[Any, Any, None]]], None]:
    """Return a function that runs a test's coroutine with a server."""

    def run(test: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT), Rig(short_dir / "api") as rig:
                await test(rig)

        asyncio.run(main())

    return run


def passed_in(data: bytes) -> list[tuple[bytes, Direction]]:
    return [(packet.data, packet.direction) for packet in captured.read(data)]


def test_a_capture_and_its_end(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        reader = await rig.capture()
        assert reader.answer.brick == "vhost/p"
        rig.pass_frames()
        reader.end()
        data = await reader.all()
        assert passed_in(data) == list(FRAMES)
        assert totals(data) == Totals(seen=3, lost=0, captured=3)

    run(test)


def test_its_options(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        reader = await rig.capture(direction=FROM, snaplen=7)
        rig.pass_frames()
        reader.end()
        packets = captured.read(await reader.all())
        wanted = [frame for frame, direction in FRAMES if direction is FROM]
        assert [packet.data for packet in packets] == [frame[:7] for frame in wanted]
        assert [packet.length for packet in packets] == [len(frame) for frame in wanted]

    run(test)


def test_it_ends_by_number(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        reader = await rig.capture(packets=2)
        rig.pass_frames()
        assert passed_in(await reader.all()) == list(FRAMES[:2])

    run(test)


def test_somebody_else_ends_it(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        reader = await rig.capture()
        stop = methods.CaptureStop(number=reader.answer.number)
        assert (await rig.call(stop)).existed
        assert totals(await reader.all()) is not None
        assert not (await rig.call(stop)).existed

    run(test)


def test_the_server_ends(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        reader = await rig.capture()
        rig.pass_frames()
        await rig.server.stop()
        assert passed_in(await reader.all()) == list(FRAMES)

    run(test)


def test_a_reader_that_leaves_ends_it(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        stopped = asyncio.Event()
        loop, stop = asyncio.get_running_loop(), rig.datapath.capture_stop

        def noted_stop(number: int) -> bool:
            loop.call_soon_threadsafe(stopped.set)
            return stop(number)

        rig.datapath.capture_stop = noted_stop  # type: ignore[method-assign]
        reader = await rig.capture()
        reader.leave()
        await stopped.wait()

    run(test)


def test_a_reader_that_ends_it_before_the_datapath_has_come_to_it(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(rig: Rig) -> None:
        gate, ending = threading.Event(), asyncio.Event()
        start, end = rig.datapath.capture_start, probes._Capture.end

        def start_and_be_busy(brick: str, options: CaptureOptions) -> int:
            # Before its delivery, which is asked for after this returns.
            rig.thread.submit(gate.wait, LIMIT)
            return start(brick, options)

        async def noted_end(self: probes._Capture) -> None:
            ending.set()
            await end(self)

        rig.datapath.capture_start = start_and_be_busy  # type: ignore[method-assign]
        monkeypatch.setattr(probes._Capture, "end", noted_end)
        reader = await rig.capture()
        rig.pass_frames()
        reader.end()
        await ending.wait()
        gate.set()
        assert passed_in(await reader.all()) == list(FRAMES)

    run(test)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"port": "q"}, errors.BrickNotFound, "no brick vhost/q"),
        ({"port": "switch/n"}, errors.BrickNotFound, "no host's side"),
        ({"snaplen": -1}, errors.InvalidParams, "snaplen must be from 0"),
        ({"packets": -1}, errors.InvalidParams, "packets must be from 0"),
        ({"seconds": -0.1}, errors.InvalidParams, "seconds must be from 0"),
        ({"seconds": math.nan}, errors.InvalidParams, "seconds must be from 0"),
        ({"seconds": math.inf}, errors.InvalidParams, "seconds must be from 0"),
        ({"buffer": 0}, errors.InvalidParams, "buffer must be from 1"),
        ({"buffer": MAX_BUFFER + 1}, errors.InvalidParams, "buffer must be from 1"),
        ({"filter": (RETURN,) * (MAX_INSTRUCTIONS + 1)}, errors.InvalidParams, "are possible"),
    ],
)
def test_what_is_refused(
    run: Callable[..., None],
    changes: dict[str, Any],
    error: type[errors.VhostBrickError],
    said: str,
) -> None:
    async def test(rig: Rig) -> None:
        with pytest.raises(error, match=said):
            await rig.call(methods.CaptureStart(**({"port": "p"} | changes)))

    run(test)


@pytest.mark.parametrize(
    ("name", "value"), [("code", 1 << 16), ("jt", 256), ("jf", -1), ("k", -1)]
)
def test_an_instruction_has_its_bits(name: str, value: int) -> None:
    with pytest.raises(errors.InvalidParams, match=f"a filter's {name} has"):
        Instruction(**{"code": 0, "jt": 0, "jf": 0, "k": 0, name: value})


def test_the_longest_filter_fits_into_a_request() -> None:
    longest = (Instruction(code=0xFFFF, jt=255, jf=255, k=0xFFFFFFFF),) * MAX_INSTRUCTIONS
    request = methods.CaptureStart(port="p" * 255, filter=longest)
    wire.encode_request(1, request.name, to_json(request))
