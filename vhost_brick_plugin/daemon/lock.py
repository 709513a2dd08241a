# SPDX-License-Identifier: Apache-2.0
"""Locks that keep two daemons apart.

flock(2) locks: the kernel lets go of them when their holder dies, however it
dies, so none is ever stale.  The files stay; only the locks on them matter.
"""

from __future__ import annotations

import fcntl
import os

from vhost_brick_plugin import errors


class Lock:
    """Holds the file *path* until :meth:`release` or the end of the process.

    :param what: what the lock stands for, in an operator's words.
    :raises errors.StateError: another process holds it, or the file cannot be made.
    """

    def __init__(self, path: str, what: str) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as e:
            raise errors.StateError(
                f"cannot lock {what}: {path}: {e.strerror}",
                hint="Check that the directory exists and may be written to.",
            ) from e
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            self.release()
            raise errors.StateError(
                f"another vhost-brickd (process {holder or 'unknown'}) uses {what}",
                hint="Stop it first, or give each daemon its own [daemon] state_dir and "
                "api_socket.",
            ) from e
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of it; safe to call twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
