# SPDX-License-Identifier: Apache-2.0
"""A process that does what a line on its stdin says and answers by a line on its stdout."""

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEADLINE_S = 30.0
"""For a start or an answer; only what hangs or fails takes that long."""


class TalkError(Exception):
    """The process did not do what was asked; the message ends with its log."""


class Process:
    """A process with a log of its own, in use from its making to :meth:`end`.

    :param log: gets what it says on stderr, and on stdout unless *talks*.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        cores: Sequence[int] = (),
        talks: bool = True,
        env: dict[str, str] | None = None,
    ) -> None:
        self.log = log
        self._said = b""
        # It ends when we do, however that happens.
        words = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
        if cores:
            words = ["taskset", "--cpu-list", ",".join(map(str, cores)), *words]
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else file,
                stderr=file,
                env=env,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def freeze(self) -> None:
        """Let it use no core until :meth:`thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill it; safe to call twice."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    # -- talk

    def say(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise self.error(f"could not be told {line!r}") from None

    def hear(self, until: bytes = b"\n", timeout: float = DEADLINE_S) -> str:
        """Return what it says up to *until*."""
        assert self._process.stdout
        fd = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while until not in self._said:
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            news = os.read(fd, 65536) if ready else b""
            if not news:
                raise self.error("has ended" if ready else f"no word for {timeout:g} s")
            self._said += news
        heard, _, self._said = self._said.partition(until)
        return heard.decode(errors="replace")

    def ask(self, line: str, timeout: float = DEADLINE_S) -> dict[str, Any]:
        """Return the answer to *line*, which is JSON."""
        self.say(line)
        answer: dict[str, Any] = json.loads(self.hear(timeout=timeout))
        if "error" in answer:
            raise self.error(f"{line!r}: {answer['error']}")
        return answer

    def wait_ready(self) -> dict[str, Any]:
        """Wait for its first line of JSON; what other lines there are belongs to the log."""
        while True:
            line = self.hear()
            if line.startswith("{"):
                ready: dict[str, Any] = json.loads(line)
                return ready
            with self.log.open("a") as log:
                log.write(line + "\n")

    def error(self, what: str) -> TalkError:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
        return TalkError(f"{self.log.stem}: {what}\n{tail}")
