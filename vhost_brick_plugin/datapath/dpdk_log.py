# SPDX-License-Identifier: Apache-2.0
"""DPDK's log lines, taken from a pipe into Python's logging.

C never calls Python, and must not stall where it logs: it writes into a pipe
that does not block, and a thread of ours reads the other end.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import prelude

LOG = logging.getLogger("vhost_brick_plugin.dpdk")

LINES_PER_SECOND = 50

_ERROR, _WARNING, _DEBUG = 4, 5, 8  # rte_log.h: RTE_LOG_ERR, _WARNING, _DEBUG


def _level(number: int) -> int:
    if number <= _ERROR:
        return logging.ERROR
    if number == _WARNING:
        return logging.WARNING
    return logging.DEBUG if number >= _DEBUG else logging.INFO


class _Budget:
    """Lets so many lines a second through, and counts the others.

    A guest must not be able to fill the disk by what the vhost library says of it.
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._second = 0
        self._used = 0

    def spend(self) -> tuple[bool, int]:
        """Return whether a line may pass, and how many did not in a second that is over."""
        suppressed = 0
        now = int(self._clock())
        if now != self._second:
            suppressed = max(0, self._used - self._per_second)
            self._second, self._used = now, 0
        self._used += 1
        return self._used <= self._per_second, suppressed


class LogPipe:
    """A pipe whose read end a daemon thread empties into the log, until exit.

    :ivar write_fd: what to hand to ``vb_log_to()``.
    """

    def __init__(self) -> None:
        self._read_fd, self.write_fd = prelude.log_pipe or prelude.make_log_pipe()
        self._errors: deque[str] = deque(maxlen=3)
        self._budget = _Budget(LINES_PER_SECOND)
        self._marks = threading.Event()
        threading.Thread(target=self._run, name="dpdk-log", daemon=True).start()

    def last_errors(self) -> list[str]:
        """Return the latest error lines, all that was written so far considered."""
        self._marks.clear()
        os.write(self.write_fd, b"mark\n")
        self._marks.wait(timeout=1.0)
        return list(self._errors)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Add to an error of the block what DPDK said meanwhile."""
        self.last_errors()
        self._errors.clear()
        try:
            yield
        except errors.VhostBrickError as e:
            if said := "; ".join(self.last_errors()):
                raise type(e)(f"{e.message} (DPDK: {said})", hint=e.hint) from None
            raise

    def _run(self) -> None:
        with os.fdopen(self._read_fd, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._take(line.rstrip("\n"))

    def _take(self, line: str) -> None:
        number, _, text = line.partition(" ")
        if line == "mark":
            self._marks.set()
        elif text and number.isdigit():
            level = _level(int(number))
            if level >= logging.ERROR:
                self._errors.append(text)
            passes, suppressed = self._budget.spend()
            if suppressed:
                LOG.warning("%d more lines of DPDK were left out: it said too much", suppressed)
            if passes:
                LOG.log(level, "%s", text)
