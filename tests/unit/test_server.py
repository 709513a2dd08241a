# SPDX-License-Identifier: Apache-2.0
"""The control socket: framing, limits, answers, streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.daemon import peer, server
from vhost_brick_plugin.daemon.dispatch import Dispatcher
from vhost_brick_plugin.daemon.lines import LineReader
from vhost_brick_plugin.daemon.server import Server
from vhost_brick_plugin.daemon.settings import Access
from vhost_brick_plugin.daemon.watchers import Hub

LIMIT = 10.0
"""Seconds that nothing here takes; a test that reaches it has failed."""

EVENT = methods.Event(time=1.0, kind="port_added", port="p")


class Peer:
    """The client's end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> dict[str, Any]:
        line = await self.reader.readline()
        assert line.endswith(b"\n"), f"no whole line: {line!r}"
        found: dict[str, Any] = json.loads(line)
        return found

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        await self.send(wire.encode_request(1, method, params))
        return await self.answer()

    async def ended(self) -> bool:
        """Wait until the server closes; True if it had nothing more to say."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True


class Rig:
    """A server in this event loop."""

    def __init__(self, path: Path, **kwargs: Any) -> None:
        self.path = path
        self.hub = Hub(backlog=kwargs.pop("backlog", 16))
        self.seen: list[tuple[peer.Peer, wire.Request]] = []
        handler = kwargs.pop("handler", self._handle)
        kwargs.setdefault("patience", LIMIT)
        self.server = Server(str(path), handler, **kwargs)

    async def _handle(self, who: peer.Peer, request: wire.Request) -> Any:
        self.seen.append((who, request))
        if request.method == "watch":
            return self.hub.subscribe(request.params.get("port"))
        if request.method == "bug":
            raise ZeroDivisionError("oops")
        if request.method == "refuse":
            raise errors.PortNotFound("there is no port p")
        return request.params

    async def __aenter__(self) -> Rig:
        await self.server.start(server.listen(str(self.path), Access()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    @contextlib.asynccontextmanager
    async def connect(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()


@pytest.fixture
def run(short_dir: Path) -> Callable[..., None]:
    """Return a function that runs a test's coroutine with a server."""

    def run(test: Callable[[Rig], Coroutine[Any, Any, None]], **kwargs: Any) -> None:
        async def main() -> None:
            async with asyncio.timeout(LIMIT), Rig(short_dir / "api", **kwargs) as rig:
                await test(rig)

        asyncio.run(main())

    return run


def test_requests_are_answered_in_turn(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            assert await client.call("echo", a=1) == {
                "jsonrpc": "2.0",
                "id": 1,
                "result": {"a": 1},
            }
            two = wire.encode_request("x", "echo", {}) + wire.encode_request(2, "echo", {})
            await client.send(two[:10])
            await client.send(two[10:])
            assert (await client.answer())["id"] == "x"
            assert (await client.answer())["id"] == 2

    run(test)


def test_the_caller_is_known(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            await client.call("echo")
        who, _ = rig.seen[0]
        assert (who.pid, who.uid) == (os.getpid(), os.getuid())
        assert who.groups is not None
        assert os.getgid() in who.groups

    run(test)


BAD_LINES = {
    "no JSON": (b"hello\n", "parse_error", None),
    "no UTF-8": (b"\xff\xfe\n", "parse_error", None),
    "empty": (b"\n", "parse_error", None),
    "deep": (b"[" * 60000 + b"\n", "parse_error", None),
    "a list": (b"[]\n", "invalid_request", None),
    "no version": (b'{"id": 7, "method": "echo"}\n', "invalid_request", 7),
    "no id": (b'{"jsonrpc": "2.0", "method": "echo"}\n', "invalid_request", None),
    "list of params": (
        b'{"jsonrpc": "2.0", "id": 7, "method": "echo", "params": []}\n',
        "invalid_request",
        7,
    ),
    "refused": (b'{"jsonrpc": "2.0", "id": 7, "method": "refuse"}\n', "port_not_found", 7),
    "bug": (b'{"jsonrpc": "2.0", "id": 7, "method": "bug"}\n', "internal", 7),
}


@pytest.mark.parametrize("name", list(BAD_LINES))
def test_a_bad_line_is_answered_and_the_connection_lives_on(
    run: Callable[..., None], name: str
) -> None:
    line, slug, id = BAD_LINES[name]

    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            await client.send(line)
            answer = await client.answer()
            assert (answer["error"]["data"]["slug"], answer["id"]) == (slug, id)
            assert answer["error"]["data"]["hint"]
            assert (await client.call("echo"))["result"] == {}

    run(test)


@pytest.mark.parametrize("size", [wire.MAX_REQUEST, wire.MAX_REQUEST + 1, 64 * wire.MAX_REQUEST])
def test_an_oversized_request_is_answered_and_ends_the_connection(
    run: Callable[..., None], size: int
) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            await client.send(b" " * size + b"\n")
            assert (await client.answer())["error"]["data"]["slug"] == "request_too_large"
            assert await client.ended()
        assert rig.seen == []
        async with rig.connect() as client:
            assert (await client.call("echo"))["result"] == {}

    run(test)


def test_a_request_of_the_largest_size_is_taken(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        line = wire.encode_request(1, "echo", {})
        async with rig.connect() as client:
            await client.send(line[:-1] + b" " * (wire.MAX_REQUEST - len(line)) + b"\n")
            assert (await client.answer())["result"] == {}

    run(test)


def test_a_client_that_sends_without_end_is_cut_off(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async def send_without_end(client: Peer) -> None:
            while True:
                await client.send(b"x" * 65536)

        async with rig.connect() as client:
            with pytest.raises(ConnectionError):
                await send_without_end(client)

    run(test, patience=0.2)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"x" * (3 * wire.MAX_REQUEST)],
        [b"x" * wire.MAX_REQUEST + b"\n"],
        [b"x" * (wire.MAX_REQUEST - 10), b"x" * 20 + b"\n"],
    ],
    ids=["no end", "all at once", "in pieces"],
)
def test_the_limit_holds_however_a_line_comes(chunks: list[bytes]) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        lines = LineReader(reader, patience=LIMIT)
        reading = asyncio.create_task(lines.next())
        for chunk in chunks:
            reader.feed_data(chunk)
            await asyncio.sleep(0)
        with pytest.raises(errors.RequestTooLarge):
            await reading

    asyncio.run(main())


def test_half_a_request_at_the_end_is_answered(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            await client.send(b'{"jsonrpc": "2.0", "id": 1')
            client.writer.write_eof()
            error = (await client.answer())["error"]
            assert error["data"]["slug"] == "parse_error"
            assert "half a request" in error["message"]
            assert await client.ended()

    run(test)


def test_half_a_request_that_does_not_go_on_is_answered(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            await client.send(b'{"jsonrpc": "2.0", "id": 1')
            error = (await client.answer())["error"]
            assert "half a request" in error["message"]
            assert await client.ended()

    run(test, patience=0.1)


def test_an_idle_connection_is_closed_without_a_word(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            assert await client.ended()

    run(test, patience=0.1)


def test_too_many_connections_are_refused(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as first, rig.connect() as second:
            await first.call("echo")
            await second.call("echo")
            async with rig.connect() as third:
                assert (await third.answer())["error"]["data"]["slug"] == "overloaded"
                assert await third.ended()
            assert (await first.call("echo"))["result"] == {}

    run(test, max_connections=2)


def test_who_may_not_is_told(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(who: peer.Peer, path: str) -> None:
        raise errors.NotPermitted("not you")

    monkeypatch.setattr(peer, "check", refuse)

    async def test(rig: Rig) -> None:
        async with rig.connect() as client:
            assert (await client.call("echo"))["error"]["data"]["slug"] == "not_permitted"
        assert rig.seen == []

    run(test)


@pytest.mark.parametrize(
    ("uid", "groups", "mode", "allowed"),
    [
        (0, set(), 0o600, True),
        (os.geteuid(), set(), 0o000, True),
        (4711, {4712}, 0o660, False),
        (4711, {4713}, 0o660, True),
        (4711, {4713}, 0o600, False),
        (4711, None, 0o660, True),
        (4711, {4712}, 0o666, True),
    ],
)
def test_who_may(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    groups: set[int] | None,
    mode: int,
    allowed: bool,
) -> None:
    path = tmp_path / "api"
    path.touch()
    fields = list(path.stat())
    fields[0], fields[5] = stat.S_IFSOCK | mode, 4713
    monkeypatch.setattr(peer.os, "stat", lambda _: os.stat_result(fields))
    who = peer.Peer(1, uid, None if groups is None else frozenset(groups))
    if allowed:
        peer.check(who, str(path))
    else:
        with pytest.raises(errors.NotPermitted, match=f"user {uid}"):
            peer.check(who, str(path))


def test_the_socket_has_its_mode_and_replaces_a_stale_one(short_dir: Path) -> None:
    path = short_dir / "api"
    for _ in range(2):
        sock = server.listen(str(path), Access(mode=0o640))
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        sock.close()
    assert [p.name for p in short_dir.iterdir()] == ["api"]


def test_a_socket_that_cannot_be_is_a_config_error(short_dir: Path) -> None:
    with pytest.raises(errors.ConfigError, match="control socket"):
        server.listen(str(short_dir / "nowhere" / "api"), Access())


def test_stop_lets_a_running_request_finish(short_dir: Path) -> None:
    async def main() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def handler(who: peer.Peer, request: wire.Request) -> Any:
            begun.set()
            await go_on.wait()
            return "done"

        rig = Rig(short_dir / "api", handler=handler)
        await rig.__aenter__()
        async with asyncio.timeout(LIMIT), rig.connect() as busy, rig.connect() as idle:
            await busy.send(wire.encode_request(1, "slow", {}))
            await begun.wait()
            stopping = asyncio.create_task(rig.server.stop())
            assert await idle.ended()
            assert not rig.path.exists()
            assert not stopping.done()
            go_on.set()
            assert (await busy.answer())["result"] == "done"
            assert await busy.ended()
            await stopping

    asyncio.run(main())


# -- streams -----------------------------------------------------------------


def test_a_watcher_gets_its_events(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        async with rig.connect() as everything, rig.connect() as one:
            assert (await everything.call("watch"))["result"] == {"port": None}
            assert (await one.call("watch", port="q"))["result"] == {"port": "q"}
            other = methods.Event(time=2.0, kind="port_removed", port="q")
            rig.hub.publish(EVENT)
            rig.hub.publish(other)
            kinds = [(await everything.answer())["params"]["kind"] for _ in range(2)]
            assert kinds == ["port_added", "port_removed"]
            assert (await one.answer())["params"]["kind"] == "port_removed"

    run(test)


def test_a_watcher_that_leaves_is_forgotten(run: Callable[..., None]) -> None:
    async def test(rig: Rig) -> None:
        dropped = asyncio.Event()
        drop = rig.hub.drop
        rig.hub.drop = lambda s: (drop(s), dropped.set())  # type: ignore[method-assign]
        async with rig.connect() as client:
            await client.call("watch")
        await dropped.wait()
        assert rig.hub._subscriptions == []

    run(test)


def test_a_watcher_that_does_not_read_is_dropped_and_costs_nobody_else(
    run: Callable[..., None],
) -> None:
    async def test(rig: Rig) -> None:
        bulky = methods.Event(time=1.0, kind="x", port="p", detail={"a": "b" * 32768})
        async with rig.connect() as slow, rig.connect() as quick:
            await slow.call("watch")
            await quick.call("watch")
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            while len(rig.hub._subscriptions) == 2:
                rig.hub.publish(bulky)
                assert (await quick.answer())["params"]["kind"] == "x"
            slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
            while await slow.reader.readline():
                pass

    run(test, backlog=4)


# -- dispatch ----------------------------------------------------------------


class DispatchRig:
    """A dispatcher whose slow thread can be held up."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1)
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.dispatcher = Dispatcher(
            {"hello": lambda _: "hello"},
            {"port_show": self._show, "stats": self._stats},
            self.thread,
        )

    def _show(self, request: methods.PortShow) -> str:
        self.entered.set()
        assert self.gate.wait(LIMIT)
        return f"{request.id} on {threading.current_thread().name}"

    def _stats(self, _request: methods.Stats) -> str:
        raise errors.DatapathError("it broke")

    def call(self, method: str, **params: Any) -> Awaitable[Any]:
        who = peer.Peer(1, 0, frozenset())
        return self.dispatcher(who, wire.Request(1, method, params))


def test_hello_is_answered_while_the_datapath_is_busy() -> None:
    async def main() -> None:
        rig = DispatchRig()
        slow = asyncio.ensure_future(rig.call("port_show", id="p"))
        await asyncio.to_thread(rig.entered.wait, LIMIT)
        assert await rig.call("hello") == "hello"
        assert not slow.done()
        rig.gate.set()
        assert (await slow).startswith("p on ThreadPoolExecutor")

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "params", "error"),
    [
        ("nope", {}, errors.MethodNotFound),
        ("port_show", {}, errors.InvalidParams),
        ("port_show", {"id": 1}, errors.InvalidParams),
        ("port_show", {"id": "p", "x": 1}, errors.InvalidParams),
        ("hello", {"x": 1}, errors.InvalidParams),
        ("stats", {}, errors.DatapathError),
    ],
)
def test_dispatch_refuses(
    method: str, params: dict[str, Any], error: type[errors.VhostBrickError]
) -> None:
    async def main() -> None:
        with pytest.raises(error):
            await DispatchRig().call(method, **params)

    asyncio.run(main())
