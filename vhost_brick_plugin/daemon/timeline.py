# SPDX-License-Identifier: Apache-2.0
"""How long each part of a start, or of a take-over, took: this is the outage."""

from __future__ import annotations

import os
import time


class Timeline:
    """Cuts the time since the process was started into named parts.

    :param from_now: since now instead.
    """

    def __init__(self, *, from_now: bool = False) -> None:
        self.parts_ms: dict[str, float] = {}
        self._start = self._last = _now() if from_now else _process_start()

    def mark(self, part: str) -> None:
        """End a part here; what follows belongs to the next one."""
        now = _now()
        self.parts_ms[part] = round((now - self._last) * 1000, 1)
        self._last = now

    @property
    def total_ms(self) -> float:
        """Milliseconds from the beginning to the last mark."""
        return round((self._last - self._start) * 1000, 1)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {ms:g}" for name, ms in self.parts_ms.items())
        return f"{self.total_ms:g} ms ({parts})"


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _process_start() -> float:
    """Return the start of this process in CLOCK_BOOTTIME; the kernel tells it to 10 ms."""
    with open("/proc/self/stat", "rb") as file:
        # The second field may hold spaces, but it is the last with a parenthesis.
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
