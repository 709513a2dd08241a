# SPDX-License-Identifier: Apache-2.0
"""The client's side of the control socket, against servers good and bad."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.api.client import Client

LIMIT = 10.0
Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(path: Path, script: Script) -> Iterator[None]:
    """Let *script* talk to the one who connects."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(LIMIT)
                script(peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join(LIMIT)
            assert not thread.is_alive()


def read_request(peer: socket.socket) -> wire.Request:
    with peer.makefile("rb") as file:
        return wire.decode_request(file.readline())


def answer(line: bytes) -> Script:
    def script(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(line)

    return script


def wait_for_the_end(peer: socket.socket) -> None:
    """Say nothing until the client gives up."""
    while peer.recv(65536):
        pass


DONE = wire.encode_result(1, codec.to_json(methods.Done(existed=True)))


def test_a_call_is_typed_both_ways(short_dir: Path) -> None:
    seen: list[wire.Request] = []

    def script(peer: socket.socket) -> None:
        seen.append(read_request(peer))
        peer.sendall(DONE)

    with serving(short_dir / "api", script):
        result = Client(str(short_dir / "api")).port_remove(id="p")
    assert result == methods.Done(existed=True)
    assert seen == [wire.Request(1, "port_remove", {"id": "p"})]


@pytest.mark.parametrize("method", methods.METHODS.values(), ids=methods.METHODS.keys())
def test_what_is_left_out_is_what_null_means(method: type[methods.Method[Any]]) -> None:
    """So that the client need not send what an older daemon may not know."""
    hints = typing.get_type_hints(method)
    for field in dataclasses.fields(method):  # type: ignore[arg-type]
        if type(None) in typing.get_args(hints[field.name]):
            assert field.default is None, field.name


def test_a_newer_daemon_may_say_more(short_dir: Path) -> None:
    line = wire.encode_result(1, {"existed": True, "more": {"than": "we know"}})
    with serving(short_dir / "api", answer(line)):
        client = Client(str(short_dir / "api"), LIMIT)
        assert client.port_remove(id="p") == methods.Done(existed=True)


def test_an_answer_may_come_in_pieces(short_dir: Path) -> None:
    def script(peer: socket.socket) -> None:
        read_request(peer)
        for i in range(len(DONE)):
            peer.sendall(DONE[i : i + 1])

    with serving(short_dir / "api", script):
        assert Client(str(short_dir / "api")).port_remove(id="p").existed


def test_the_daemons_error_is_raised_again(short_dir: Path) -> None:
    line = wire.encode_error(1, errors.DuplicateMac("m is taken", hint="take another"))
    with (
        serving(short_dir / "api", answer(line)),
        pytest.raises(errors.DuplicateMac) as caught,
    ):
        Client(str(short_dir / "api")).port_remove(id="p")
    assert (caught.value.message, caught.value.hint) == ("m is taken", "take another")


def test_nobody_there(short_dir: Path) -> None:
    with pytest.raises(errors.DaemonUnreachable, match="No such file"):
        Client(str(short_dir / "api")).hello()


def test_a_stale_socket(short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(short_dir / "api"))
    with pytest.raises(errors.DaemonUnreachable, match="refused"):
        Client(str(short_dir / "api")).hello()


def test_a_daemon_that_hangs_is_a_time_out(short_dir: Path) -> None:
    with (
        serving(short_dir / "api", wait_for_the_end),
        pytest.raises(errors.DaemonTimeout, match=r"within 0\.1 s"),
    ):
        Client(str(short_dir / "api"), timeout=0.1).hello()


def test_a_trickle_does_not_extend_the_time(short_dir: Path) -> None:
    def script(peer: socket.socket) -> None:
        read_request(peer)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                peer.sendall(b" ")

    with serving(short_dir / "api", script), pytest.raises(errors.DaemonTimeout):
        Client(str(short_dir / "api"), timeout=0.1).hello()


def test_a_daemon_that_never_accepts_is_a_time_out(short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as stack:
        listener.bind(str(short_dir / "api"))
        listener.listen(0)
        while True:
            caller = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            )
            if caller.connect_ex(str(short_dir / "api")) != 0:
                break
        with pytest.raises(errors.DaemonTimeout):
            Client(str(short_dir / "api"), timeout=0.1).hello()


def test_a_daemon_that_dies_within_a_call(short_dir: Path) -> None:
    with (
        serving(short_dir / "api", answer(DONE[:-5])),
        pytest.raises(errors.DaemonUnreachable, match="before it answered"),
    ):
        Client(str(short_dir / "api")).port_remove(id="p")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"hello\n", errors.ParseError),
        (b'{"jsonrpc": "2.0", "id": 1}\n', errors.InvalidRequest),
        (wire.encode_result(1, {"surprise": 1}), errors.InvalidParams),
    ],
)
def test_an_answer_that_is_none(
    short_dir: Path, line: bytes, error: type[errors.VhostBrickError]
) -> None:
    with serving(short_dir / "api", answer(line)), pytest.raises(error):
        Client(str(short_dir / "api")).port_remove(id="p")


def test_an_unknown_method_is_no_method() -> None:
    with pytest.raises(AttributeError, match="port_creat"):
        _ = Client("x").port_creat


def test_wrong_parameters_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(errors.InvalidParams, match="port_remove has no parameter 'name'"):
        Client("/nowhere").port_remove(name="p")


def test_too_large_a_request_is_refused_before_it_is_sent(short_dir: Path) -> None:
    big = {"a": "x" * wire.MAX_REQUEST}
    with serving(short_dir / "api", wait_for_the_end), pytest.raises(errors.RequestTooLarge):
        Client(str(short_dir / "api")).port_ensure(id="p", network="n", metadata=big)


def test_watch_yields_events_until_the_daemon_ends(short_dir: Path) -> None:
    events = [methods.Event(time=float(i), kind="port_added", port="p") for i in range(3)]

    def script(peer: socket.socket) -> None:
        request = read_request(peer)
        assert request.params == {"port": "p"}
        lines = [wire.encode_result(1, request.params)]
        lines += [wire.encode_event(codec.to_json(e)) for e in events]
        peer.sendall(b"".join(lines))

    with serving(short_dir / "api", script):
        stream = Client(str(short_dir / "api")).watch("p")
        assert [next(stream) for _ in events] == events
        with pytest.raises(errors.DaemonUnreachable):
            next(stream)


def test_watch_fails_at_once_where_nobody_is(short_dir: Path) -> None:
    with pytest.raises(errors.DaemonUnreachable):
        Client(str(short_dir / "api")).watch()


# -- the wire itself ---------------------------------------------------------


@pytest.mark.parametrize("cls", list(methods.METHODS.values()), ids=lambda c: c.name)
def test_every_method_is_declared_in_full(cls: type[methods.Method]) -> None:
    assert cls.__doc__
    assert isinstance(cls.result, type)
    for field in codec.dataclasses.fields(cls):
        assert field.metadata.get("help"), field.name
    for field in codec.dataclasses.fields(cls.result):
        assert field.metadata.get("help"), field.name


@pytest.mark.parametrize("id", ["x", 0, 7])
def test_a_request_comes_out_as_it_went_in(id: wire.Id) -> None:
    line = wire.encode_request(id, "m", {"a": [1]})
    assert line.count(b"\n") == 1
    assert wire.decode_request(line) == wire.Request(id, "m", {"a": [1]})


def test_text_with_newlines_stays_one_line() -> None:
    line = wire.encode_result(1, "a\nb\u2028")
    assert line.count(b"\n") == 1
    assert wire.decode_answer(line) == "a\nb\u2028"


@pytest.mark.parametrize("id", [None, True, 1.5, [], {}])
def test_an_id_that_is_none(id: object) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": id, "method": "m"}).encode()
    with pytest.raises(errors.InvalidRequest, match="'id'"):
        wire.decode_request(line)
    assert wire.request_id(line) is None
