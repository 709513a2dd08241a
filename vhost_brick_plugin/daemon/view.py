# SPDX-License-Identifier: Apache-2.0
"""The stored state as it changes, seen by one who may only look.

The daemon that serves replaces the file by renaming, and inotify tells of
that.  What is read is always a whole version of it, though some may be missed.
"""

from __future__ import annotations

import ctypes
import os

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon.state import State
from vhost_brick_plugin.daemon.store import Store

_IN_MOVED_TO = 0x80
_EVENTS = 65536
"""Bytes: far more than one event has."""


class View:
    """See the module.

    :param directory: where the files of *store* are.
    :raises errors.StateError: it cannot be watched.
    """

    def __init__(self, store: Store, directory: str) -> None:
        self._store = store
        self._seen: tuple[int, ...] | None = None
        self._fd = _watch(directory)

    def fileno(self) -> int:
        """Return a descriptor that is readable when there may be something new to see."""
        return self._fd

    def look(self) -> State | None:
        """Return the stored state; None if it is the one of the last look.

        :raises errors.StateError: nothing readable is there.
        """
        # Before the file is looked at: what comes later will wake us again.
        self._forget_events()
        present = self._signature()
        if present == self._seen:
            return None
        state = self._store.peek()
        self._seen = present
        return state

    def close(self) -> None:
        """Watch no more."""
        os.close(self._fd)

    def _forget_events(self) -> None:
        try:
            os.read(self._fd, _EVENTS)
        except BlockingIOError:
            return

    def _signature(self) -> tuple[int, ...]:
        """Return something that is another with every version of the file."""
        try:
            status = os.stat(self._store.path)
        except OSError:
            return ()
        return (status.st_ino, status.st_mtime_ns, status.st_size)


def _watch(directory: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd >= 0 and libc.inotify_add_watch(fd, os.fsencode(directory), _IN_MOVED_TO) >= 0:
        return fd
    reason = os.strerror(ctypes.get_errno())
    if fd >= 0:
        os.close(fd)
    raise errors.StateError(
        f"cannot watch {directory} for changes: {reason}",
        hint="Raise the sysctls fs.inotify.max_user_instances and max_user_watches.",
    )
