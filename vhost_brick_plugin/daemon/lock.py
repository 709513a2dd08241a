# SPDX-License-Identifier: Apache-2.0
"""Locks that keep two daemons apart.

flock(2) locks: the kernel lets go of them when their holder dies, however it
dies, so none is ever stale.  The files stay; only the locks on them matter.

Linux closes the files of a dead process from the highest descriptor down, and to
free the packet buffers' memory, which is such a file too, takes tens of
milliseconds.  So a lock has a high descriptor: who waits for it need not wait for that.
"""

from __future__ import annotations

import fcntl
import os

from vhost_brick_plugin import errors

_HIGH = 4096
"""Above what is opened early; higher still would cost memory for the table of descriptors."""


class Lock:
    """Holds the file *path* until :meth:`release` or the end of the process.

    :param what: what the lock stands for, in an operator's words.
    :param wait: wait for it, however long that takes.
    :ivar previous: the process that held it last; 0: unknown.
    :raises errors.StateInUse: another process holds it.
    :raises errors.StateError: the file cannot be made.
    """

    def __init__(self, path: str, what: str, *, wait: bool = False) -> None:
        try:
            self._fd = _raised(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as e:
            raise errors.StateError(
                f"cannot lock {what}: {path}: {e.strerror}",
                hint="Check that the directory exists, and that the daemon's user may write to "
                "it and to the file.",
            ) from e
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            holder = self._read()
            self.release()
            raise errors.StateInUse(
                f"another vhost-brickd (process {holder or 'unknown'}) uses {what}"
            ) from e
        self.previous = self._read()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of it; safe to call twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _read(self) -> int:
        text = os.pread(self._fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0


def _raised(fd: int) -> int:
    """Return a copy of *fd* with a high number in its place, or itself if there can be none."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError:
        return fd
    os.close(fd)
    return high
