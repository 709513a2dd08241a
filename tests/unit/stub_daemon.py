# SPDX-License-Identifier: Apache-2.0
"""A daemon that answers what a test tells it to, over a real socket.

For tests of what is on the caller's side.  It speaks through ``api.wire`` and
``api.methods``, so a request that the real daemon would refuse is refused.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.model import OPEN, Mode, Network, Offer, Port
from vhost_brick_plugin.report import Counters

Answers = Mapping[type[methods.Method[Any]], Any]
"""By method: the answer, an error to raise, or a function of the request."""


class StubDaemon:
    """Listens on *path* until the end of ``with``.

    :ivar calls: the requests that came, in order.
    :ivar streams: events for each watcher in turn, whose connection is closed after them.
    :ivar captures: what each capture in turn consists of; the same.
    """

    def __init__(self, path: Path, answers: Answers | None = None) -> None:
        self.path = str(path)
        self.answers: dict[type[methods.Method[Any]], Any] = dict(answers or {})
        self.calls: list[methods.Method[Any]] = []
        self.streams: list[list[methods.Event]] = []
        self.captures: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> StubDaemon:
        self._socket.bind(self.path)
        self._socket.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        Path(self.path).unlink()

    def calls_of(self, method: type[methods.Method[Any]]) -> list[Any]:
        return [call for call in self.calls if isinstance(call, method)]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines, contextlib.suppress(OSError):
                for line in lines:
                    connection.sendall(self._answer(line))
                    if isinstance(self.calls[-1], methods.Watch):
                        self._stream(connection)
                        break
                    if isinstance(self.calls[-1], methods.CaptureStart) and self.captures:
                        connection.sendall(self.captures.pop(0))
                        break

    def _stream(self, connection: socket.socket) -> None:
        for event in self.streams.pop(0):
            connection.sendall(wire.encode_event(codec.to_json(event)))

    def _answer(self, line: bytes) -> bytes:
        request = wire.decode_request(line)
        try:
            cls = methods.METHODS[request.method]
            call = codec.from_json(cls, request.params, request.method)
            self.calls.append(call)
            result = self._result(call)
        except errors.VhostBrickError as error:
            return wire.encode_error(request.id, error)
        assert isinstance(result, call.result)
        return wire.encode_result(request.id, codec.to_json(result))

    def _result(self, call: methods.Method[Any]) -> Any:
        answer = self.answers[type(call)]
        if isinstance(answer, errors.VhostBrickError):
            raise answer
        return answer(call) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]


@contextlib.contextmanager
def silent_daemon(path: Path) -> Iterator[None]:
    """Listen on *path* and never answer: a daemon that hangs."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        yield


# -- answers -----------------------------------------------------------------


def port_status(id: str = "p1", **changes: Any) -> methods.PortStatus:
    """Return the status of a port; *changes* are fields of Port, PortStatus or the offer."""
    port = {
        "network": "net1",
        "mode": Mode.CLIENT,
        "socket_path": f"/run/s/{id}",
        "mac": "52:54:00:00:00:01",
        "mtu": 1500,
        "queues": 4,
    }
    port |= {k: changes.pop(k) for k in list(changes) if k in (*port, "metadata")}
    status: dict[str, Any] = {
        "state": "running",
        "sessions": (),
        "security": OPEN,
        "counters": counters(),
        "offer": Offer(features=0x130000000, queues=4, mtu=1500),
    }
    return methods.PortStatus(port=Port(id=id, **port), **(status | changes))


def counters(**changes: Any) -> Counters:
    values: dict[str, Any] = {
        "from_peer_packets": 1,
        "from_peer_bytes": 60,
        "to_peer_packets": 2,
        "to_peer_bytes": 120,
        "drops": {},
    }
    return Counters(**(values | changes))


def network_status(name: str = "net1", **changes: Any) -> methods.NetworkStatus:
    own = ("mtu", "uplinks", "implicit", "guarded")
    network = {k: changes.pop(k) for k in list(changes) if k in own}
    status: dict[str, Any] = {"ports": ("p1", "p2"), "macs_learned": 2, "drops": {}}
    return methods.NetworkStatus(network=Network(name=name, **network), **(status | changes))


def hello(**changes: Any) -> methods.HelloResult:
    values: dict[str, Any] = {
        "api_version": methods.API_VERSION,
        "version": "1.2",
        "pid": 42,
        "uptime_s": 90061.5,
        "datapath": "fake",
        "datapath_info": {"workers": "1"},
        "methods": tuple(methods.METHODS),
        "startup_ms": {"total": 12.5},
    }
    return methods.HelloResult(**(values | changes))
