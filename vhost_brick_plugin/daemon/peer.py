# SPDX-License-Identifier: Apache-2.0
"""Who is at the other end of a control connection, and whether they may be."""

from __future__ import annotations

import dataclasses
import errno
import os
import socket
import stat
import struct

from vhost_brick_plugin import errors

_CREDENTIALS = struct.Struct("iII")
_SO_PEERGROUPS = 59
_MOST = 1024
"""Bytes that Python lets getsockopt return: 256 groups."""


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """What the kernel says of the process that connected.

    :ivar groups: its group and its supplementary groups; None: too many to tell.
    """

    pid: int
    uid: int
    groups: frozenset[int] | None

    def __str__(self) -> str:
        return f"process {self.pid} (user {self.uid})"


def identify(sock: socket.socket) -> Peer:
    """Return who connected *sock*; :raises OSError: the kernel does not say."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(data)
    more = _supplementary(sock)
    return Peer(pid, uid, None if more is None else frozenset({gid, *more}))


def _supplementary(sock: socket.socket) -> tuple[int, ...] | None:
    try:
        data = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST)
    except OSError as e:
        if e.errno == errno.ERANGE:
            return None
        raise
    return struct.unpack(f"{len(data) // 4}I", data)


def check(peer: Peer, path: str) -> None:
    """Raise NotPermitted unless *peer* may write to the socket at *path*.

    The kernel has checked that at connect(2); this holds as well when the
    mode was wider for a moment, or the descriptor was handed on.
    """
    if peer.uid in (0, os.geteuid()):
        return
    status = os.stat(path)
    mode = status.st_mode
    if peer.uid == status.st_uid:
        allowed = bool(mode & stat.S_IWUSR)
    elif peer.groups is None or status.st_gid in peer.groups:
        allowed = bool(mode & stat.S_IWGRP)
    else:
        allowed = bool(mode & stat.S_IWOTH)
    if not allowed:
        raise errors.NotPermitted(f"{peer} may not use the control socket {path}")
