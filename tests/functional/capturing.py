# SPDX-License-Identifier: Apache-2.0
"""The real command ``vhost-brick capture``, in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Self

from tests.functional.daemon import Daemon
from vhost_brick_plugin.cli.pcapng import Totals

TIMEOUT = 20.0

_TOTALS = re.compile(r"^(\d+) packets captured, (\d+) lost for want of room .*, (\d+) seen$", re.M)


class Capture:
    """One that runs, from when packets are captured on.

    :param to: the file, or "-".
    :param stdout: where "-" leads.
    """

    def __init__(
        self,
        daemon: Daemon,
        port: str,
        to: Path | str,
        *words: str,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
    ) -> None:
        self.path = Path(to)
        self.process = subprocess.Popen(
            [*command(daemon), "capture", port, "-w", str(to), *words],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr
        begin = self.process.stderr.readline().decode()
        if not begin.startswith("capturing at "):
            raise AssertionError(begin + self.wait())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()

    def wait(self, status: int | None = None) -> str:
        """Wait for its end; return what it said after its beginning."""
        assert self.process.stderr
        said = self.process.stderr.read().decode()
        assert self.process.wait(TIMEOUT) == status or status is None, said
        return said

    def end(self, number: int = signal.SIGINT) -> Totals:
        """End it as an operator would; return what it says."""
        self.process.send_signal(number)
        return self.totals()

    def totals(self) -> Totals:
        """Wait for its end, which is in order; return what it says."""
        said = self.wait(0)
        found = _TOTALS.fullmatch(said.strip())
        assert found, said
        captured, lost, seen = map(int, found.groups())
        return Totals(seen=seen, lost=lost, captured=captured)


def command(daemon: Daemon) -> list[str]:
    """Return the words before those of a command of ``vhost-brick``."""
    return [
        *(sys.executable, "-m", "vhost_brick_plugin.cli.main"),
        *("--api-socket", str(daemon.api_socket), "--timeout", "20"),
    ]
