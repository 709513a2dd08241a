# SPDX-License-Identifier: Apache-2.0
"""The control API's client: blocking, standard library only.

It runs inside nova-compute, under native threads as well as under eventlet, so
it uses plain sockets with one monotonic deadline a call.  A connection lasts
one call: nothing to repair after the daemon was restarted, nothing to share
between threads.  A :class:`Client` may be used from any thread.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.probes import TracedPacket

DEFAULT_SOCKET = "/run/vhost-brick/api.sock"
DEFAULT_TIMEOUT = 5.0

BACKLOG_RETRY_S = 0.01
"""Between two tries to connect to a daemon that is there and has many callers waiting."""

R = TypeVar("R")
E = TypeVar("E")


class Client:
    """Calls a daemon.

    ``client.call(methods.PortShow(id="p"))`` is typed;
    ``client.port_show(id="p")`` is the same call for people in a hurry.

    :param path: the daemon's API socket.
    :param timeout: seconds a call may take, connecting included.
    """

    def __init__(self, path: str = DEFAULT_SOCKET, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.path = path
        self.timeout = timeout

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = methods.METHODS.get(name)
        if method is None:
            raise AttributeError(name)

        def call(**params: Any) -> Any:
            return self.call(codec.from_json(method, codec.to_json(params), name))

        return functools.update_wrapper(call, method, updated=())

    def call(self, request: methods.Method[R]) -> R:
        """Send *request* and return the daemon's answer.

        :raises errors.DaemonUnreachable: nobody listens, or the socket may not be opened.
        :raises errors.DaemonTimeout: no whole answer in time; whether the call
            took effect is unknown, and repeating it is safe.
        :raises errors.VhostBrickError: what the daemon answered, by its class.
        """
        deadline = time.monotonic() + self.timeout
        with self._connect(deadline) as sock:
            self._send(sock, request, deadline)
            line, _ = self._read_line(sock, bytearray(), deadline)
        return self._result(request, line)

    def watch(self, port: str | None = None) -> Iterator[methods.Event]:
        """Return the events that happen from now on, until the daemon goes away.

        :raises errors.DaemonUnreachable: at once, or from the iterator when the daemon ends.
        """
        sock, _, rest = self._begin(methods.Watch(port=port))
        return self._events(sock, rest, methods.Event)

    def trace(
        self, request: methods.Trace, seconds: float | None = None
    ) -> tuple[methods.Tracing, Iterator[TracedPacket]]:
        """Return what *request* follows, and its packets as they come.

        :param seconds: they end after so long, however many there were; None: never.
        :raises errors.VhostBrickError: as :meth:`call`; and from the iterator what ends it
            before its time: the daemon goes away (DaemonUnreachable), or the brick.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        sock, answer, rest = self._begin(request)
        packets = self._events(sock, rest, TracedPacket, deadline)
        return answer, itertools.islice(packets, request.packets)

    def capture(
        self, request: methods.CaptureStart
    ) -> tuple[methods.CaptureStarted, socket.socket, bytes]:
        """Start a capture; return a blocking socket, the caller's, that its file comes from.

        See :class:`.methods.CaptureStart` for its end.

        :return: beside them, the first bytes of the file.
        :raises errors.VhostBrickError: as :meth:`call`.
        """
        sock, answer, rest = self._begin(request)
        sock.settimeout(None)
        return answer, sock, bytes(rest)

    def _begin(self, request: methods.Method[R]) -> tuple[socket.socket, R, bytearray]:
        """Send *request*; return its connection, the answer, and what was read beyond that."""
        deadline = time.monotonic() + self.timeout
        sock = self._connect(deadline)
        try:
            self._send(sock, request, deadline)
            line, rest = self._read_line(sock, bytearray(), deadline)
            return sock, self._result(request, line), rest
        except BaseException:
            sock.close()
            raise

    def _result(self, request: methods.Method[R], line: bytes) -> R:
        # A newer daemon may say more than we know of: see methods.API_VERSION.
        return codec.from_json(request.result, wire.decode_answer(line), request.name, newer=True)

    def _events(
        self, sock: socket.socket, rest: bytearray, kind: type[E], deadline: float | None = None
    ) -> Iterator[E]:
        with sock, contextlib.suppress(errors.DaemonTimeout):
            while True:
                line, rest = self._read_line(sock, rest, deadline)
                yield codec.from_json(kind, wire.decode_answer(line), "event", newer=True)

    def _send(self, sock: socket.socket, request: methods.Method[Any], deadline: float) -> None:
        # What is left open is left out: an older daemon may not know of it yet.
        params = {name: v for name, v in codec.to_json(request).items() if v is not None}
        line = wire.encode_request(1, request.name, params)
        try:
            sock.settimeout(self._left(deadline))
            sock.sendall(line)
        except TimeoutError:
            raise self._timed_out() from None
        except OSError as e:
            raise self._unreachable(e) from e

    def _connect(self, deadline: float) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._connect_within(sock, deadline)
        except TimeoutError:
            sock.close()
            raise self._timed_out() from None
        except OSError as e:
            sock.close()
            raise self._unreachable(e) from e
        except errors.DaemonTimeout:
            sock.close()
            raise
        return sock

    def _connect_within(self, sock: socket.socket, deadline: float) -> None:
        while True:
            sock.settimeout(self._left(deadline))
            try:
                return sock.connect(self.path)
            except BlockingIOError:
                # A full backlog is no waiting matter for the kernel, but it is for us.
                time.sleep(BACKLOG_RETRY_S)

    def _read_line(
        self, sock: socket.socket, buffer: bytearray, deadline: float | None
    ) -> tuple[bytes, bytearray]:
        """Return the next line and what was read beyond it."""
        seen = 0
        while (end := buffer.find(b"\n", seen)) < 0:
            seen = len(buffer)
            if seen > wire.MAX_RESPONSE:
                raise errors.InvalidRequest(f"answer of more than {wire.MAX_RESPONSE} bytes")
            try:
                sock.settimeout(None if deadline is None else self._left(deadline))
                chunk = sock.recv(65536)
            except TimeoutError:
                raise self._timed_out() from None
            except OSError as e:
                raise self._unreachable(e) from e
            if not chunk:
                raise errors.DaemonUnreachable(
                    f"vhost-brickd closed the connection on {self.path} before it answered"
                )
            buffer += chunk
        return bytes(buffer[:end]), buffer[end + 1 :]

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._timed_out()
        return left

    def _timed_out(self) -> errors.DaemonTimeout:
        return errors.DaemonTimeout(
            f"vhost-brickd at {self.path} did not answer within {self.timeout:g} s"
        )

    def _unreachable(self, error: OSError) -> errors.DaemonUnreachable:
        return errors.DaemonUnreachable(
            f"cannot reach vhost-brickd at {self.path}: {error.strerror or error}"
        )
