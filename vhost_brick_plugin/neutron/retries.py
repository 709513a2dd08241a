# SPDX-License-Identifier: Apache-2.0
"""What failed, and when to try it again: later and later.  Pure; for one thread."""

from __future__ import annotations

FIRST_S = 2.0
LAST_S = 60.0


class Retries:
    """Names with a time and a delay, in seconds."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._delay: dict[str, float] = {}

    def soon(self, name: str) -> None:
        """Try *name* again at the next opportunity: it was not its fault."""
        self._due[name] = 0.0

    def later(self, name: str, now: float) -> None:
        """Try *name* again after a while, twice as long as the last time."""
        delay = self._delay.get(name, FIRST_S)
        self._due[name] = now + delay
        self._delay[name] = min(2 * delay, LAST_S)

    def due(self, now: float) -> set[str]:
        """Return, once, what to try again now."""
        due = {name for name, when in self._due.items() if when <= now}
        for name in due:
            del self._due[name]
        return due

    def forget(self, name: str) -> None:
        """It has worked, or has gone."""
        self._due.pop(name, None)
        self._delay.pop(name, None)
