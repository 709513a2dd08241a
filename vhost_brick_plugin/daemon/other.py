# SPDX-License-Identifier: Apache-2.0
"""The other daemon's process: whether it lives, and its end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import weakref


class Other:
    """A process, by a pidfd: never another one that got its number.

    :raises ProcessLookupError: there is none.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._fd)

    def fileno(self) -> int:
        """Return a descriptor that is readable when it has ended, all its threads included."""
        return self._fd

    def wait(self, seconds: float) -> bool:
        """Wait for its end, so long at most; tell whether it has ended."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(1000 * seconds))

    def kill(self) -> None:
        """End it, whatever it does."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
