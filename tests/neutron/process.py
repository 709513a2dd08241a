# SPDX-License-Identifier: Apache-2.0
"""A program that the stand runs, with a log of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_TIMEOUT = 20.0

MORTAL = ["setpriv", "--pdeathsig", "KILL"]
"""Words before a command that shall not outlive the tests, however they end."""


class ProcessFailed(Exception):
    """A program did not do what it was started for; the message ends with its log."""


class Process:
    """One program, which may be killed and started again as often as a test likes.

    It leads a process group: what it forks ends with it.  To be started from the main
    thread, with which it dies.

    :param log: grows over restarts.
    :param env: beside this process's own environment.
    :param pass_fds: stay open in it, under the same numbers.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.command = [*MORTAL, *command]
        self.log_path = log
        self.env = os.environ | (env or {})
        self.pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, without waiting for anything."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.env,
                pass_fds=self.pass_fds,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill9(self) -> None:
        """End it and what it forked as a crash would, and wait until it is gone."""
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        """End it in good order if it runs; by force where that takes too long."""
        if self._process:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
            self.kill9()

    def check(self) -> None:
        """Raise ProcessFailed if it has ended."""
        if not self.running:
            raise self.failure("ended")

    def failure(self, what: str) -> ProcessFailed:
        return ProcessFailed(f"{self.name}: {what}\n{self.log_tail()}")

    def log_tail(self, size: int = 8000) -> str:
        """Return the end of its log."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[-size:].decode(errors="replace")
