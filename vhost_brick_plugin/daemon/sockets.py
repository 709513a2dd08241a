# SPDX-License-Identifier: Apache-2.0
"""What the file system says about socket paths, and who may open a socket.

Two rules: a path that is QEMU's (client mode) is never created, changed or
removed; of our own (server mode) only a socket that nobody answers on is.
"""

from __future__ import annotations

import errno
import os
import socket
import stat

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon.settings import Access
from vhost_brick_plugin.model import Mode

DIRECTORY_MODE = 0o2770
"""QEMU, in the group, makes sockets here too, and they get the group."""

PARENT_MODE = 0o755


def check(path: str, mode: Mode) -> None:
    """Raise an error unless a port in *mode* can use *path* now.  Changes nothing.

    :raises errors.InvalidSocketPath: its directory is missing, or something
        that is no socket is in the way.
    :raises errors.SocketPathInUse: server mode, and somebody listens there.
    """
    _check_directory(os.path.dirname(path))
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as e:
        raise errors.InvalidSocketPath(f"socket path {path!r}: {e.strerror}") from e
    _check_kind(path, kind)
    if mode is Mode.SERVER and _answers(path):
        raise errors.SocketPathInUse(
            f"another program listens on {path!r}",
            hint="Stop it, or use client mode if it is QEMU that listens.",
        )


def prepare(path: str, mode: Mode) -> None:
    """As :func:`check`, and remove a stale socket that is in the way of a server-mode port."""
    check(path, mode)
    if mode is Mode.SERVER:
        _unlink(path)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as e:
        raise errors.InvalidSocketPath(
            f"cannot remove the stale socket {path!r}: {e.strerror}",
            hint="Remove it by hand, or give the daemon the right to.",
        ) from e


def grant(path: str, access: Access) -> None:
    """Give the socket that we made at *path* its owner, group and mode.

    The directory may be writable by QEMU, so the path is opened first and
    checked to be a socket: a link put in its place must not lend our rights.

    :raises errors.DatapathError: that is not possible.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                raise errors.DatapathError(f"{path!r} was replaced while the port started")
            # chown and chmod take no O_PATH descriptor, but follow its link in /proc.
            own = f"/proc/self/fd/{fd}"
            os.chown(own, access.uid, access.gid)
            os.chmod(own, access.mode)
        finally:
            os.close(fd)
    except OSError as e:
        raise errors.DatapathError(
            f"cannot set owner, group and mode of the socket {path!r}: {e.strerror}",
            hint="Make the daemon's user a member of [vhost] socket_group. Only root can give "
            "sockets to a [vhost] socket_owner.",
        ) from e


def make_directory(path: str, mode: int, access: Access) -> None:
    """Make the directory *path* and its parents; one that exists stays as it is.

    :param access: its owner and group; *mode* is used in place of its mode.
    :raises errors.ConfigError: that is not possible.
    """
    if os.path.isdir(path):
        return
    make_directory(os.path.dirname(path), PARENT_MODE, Access())
    try:
        os.mkdir(path, mode=0o700)
        os.chown(path, access.uid, access.gid)
        os.chmod(path, mode)
    except OSError as e:
        raise errors.ConfigError(
            f"cannot make the directory {path!r}: {e.strerror}",
            hint="Make it by hand for the daemon's user, or name another one in the config file.",
        ) from e


def same(a: str, b: str) -> bool:
    """Tell whether two paths name one socket, looking through links between directories."""
    if os.path.basename(a) != os.path.basename(b):
        return False
    return os.path.realpath(os.path.dirname(a)) == os.path.realpath(os.path.dirname(b))


def _check_directory(directory: str) -> None:
    if not os.path.isdir(directory):
        raise errors.InvalidSocketPath(
            f"the directory {directory!r} does not exist",
            hint="Make it first, writable for the daemon and for QEMU.",
        )


def _check_kind(path: str, kind: int) -> None:
    if stat.S_ISSOCK(kind):
        return
    what = {stat.S_IFLNK: "a symbolic link", stat.S_IFREG: "a regular file"}
    what[stat.S_IFDIR] = "a directory"
    raise errors.InvalidSocketPath(
        f"socket path {path!r} is {what.get(stat.S_IFMT(kind), 'a special file')}, not a socket",
        hint="Remove it, or give the port another path.",
    )


def _answers(path: str) -> bool:
    """Tell whether anybody has a listening socket at *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        # Only a refusal is proof that nobody listens: a full backlog (EAGAIN) or
        # another type of socket (EPROTOTYPE) belongs to somebody.
        return sock.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)
