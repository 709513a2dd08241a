# SPDX-License-Identifier: Apache-2.0
"""How a standby and the daemon that serves get to know each other.

The one that serves listens at ``handover.sock`` in the state directory.  One
datagram each way, in JSON: the standby says what it is, and is welcomed, with
the listening control socket, or refused.  From then on the connection is the
datapaths' alone, and tells each side whether the other lives.

The versions may differ, so what is not known is overlooked, and what the words
mean has a number of its own.  Nobody but the same user is listened to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.daemon import peer
from vhost_brick_plugin.datapath.base import Abilities

SOCKET = "handover.sock"
"""In the state directory."""

VERSION = 2
"""Raised when the two datapaths, or the two sides here, would misunderstand each other."""

PATIENCE_S = 5.0
_MESSAGE_MAX = 65536

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """What a standby says of itself.

    :ivar handover: its :data:`VERSION`.
    """

    handover: int
    version: str
    pid: int
    datapath: str
    api_socket: str
    abilities: Abilities


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What the daemon that serves answers.

    :ivar refused: why not, as an error on the wire; None: welcome.
    """

    version: str
    pid: int
    refused: Mapping[str, Any] | None = None


@contextlib.contextmanager
def path_in(directory: str) -> Iterator[str]:
    """Yield a path of the socket in *directory* that is short enough for any socket."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET}"
    finally:
        os.close(fd)


def connect(state_dir: str) -> socket.socket:
    """Return a connection to the daemon that serves.

    :raises OSError: nobody listens.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.settimeout(PATIENCE_S)
        with path_in(state_dir) as path:
            sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def listen(state_dir: str) -> socket.socket:
    """Return the listening socket, in place of a dead daemon's.

    :raises OSError: that is not possible.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        with path_in(state_dir) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            sock.bind(path)
            os.chmod(path, 0o600)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def unlink(state_dir: str) -> None:
    """Remove the socket."""
    with contextlib.suppress(OSError), path_in(state_dir) as path:
        os.unlink(path)


def check_peer(sock: socket.socket) -> int:
    """Return the process at the other end.

    :raises errors.NotPermitted: it is another user's.
    """
    who = peer.identify(sock)
    if who.uid != os.geteuid():
        raise errors.NotPermitted(
            f"{who} may not take part in a hand-over",
            hint="Run both daemons as the same user.",
        )
    return who.pid


def send(sock: socket.socket, message: Introduction | Welcome, fd: int | None = None) -> None:
    """Send *message*, and *fd* with it.

    :raises OSError: the other end is gone.
    """
    data = json.dumps(codec.to_json(message)).encode()
    socket.send_fds(sock, [data], [] if fd is None else [fd])


def receive(sock: socket.socket, cls: type[T]) -> tuple[T, int | None]:
    """Return the *cls* that the other end sent, and the descriptor with it, if any.

    :raises OSError: the other end is gone, or does not speak in time.
    :raises errors.InvalidParams: it does not speak our language.
    """
    data, fds, _, _ = socket.recv_fds(sock, _MESSAGE_MAX, 1)
    fd = fds[0] if fds else None
    try:
        if fd is not None:
            os.set_inheritable(fd, False)
        if not data:
            raise ConnectionResetError("the connection was closed")
        return codec.from_json(cls, _parsed(data), newer=True), fd
    except Exception:
        if fd is not None:
            os.close(fd)
        raise


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as e:
        raise errors.InvalidParams(f"no JSON: {e}") from e
