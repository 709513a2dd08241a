# SPDX-License-Identifier: Apache-2.0
"""Drives ``out/vuser``: virtio-user ports as a VM would have them.

One :class:`VUser` is one process and stands for one VM or a few.  Ports come
and go while it runs; each has a stream that it sends and a check of what it
receives::

    with VUser(tmp_path) as vm:
        vm.add("p0", "/run/x.sock", server=True, queues=4, mac="52:54:00:00:00:0a")
        vm.wait_link("p0")
        vm.start("p0", dst="52:54:00:00:00:0b", rate=10_000)
        ...
        assert vm.stats("p0").lost == 0
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BINARY = HERE / "out" / "vuser"
DEADLINE = 20.0
"""Seconds a command may take; only a hung backend or a bug takes that long."""


class VUserError(Exception):
    """The program refused a command, died, or did not answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What one run of one stream looks like to its receiver."""

    id: int
    mac: str
    rx: int
    lost: int
    reordered: int
    duplicate: int


@dataclasses.dataclass(frozen=True, slots=True)
class PortStats:
    """Counters of a port since it was added or reset.

    :ivar tx: frames the rings took; the backend may still have to fetch them.
    :ivar tx_full: times a ring took less than it was given.
    :ivar rx_bad: frames of ours that were damaged on the way.
    :ivar rx_other: frames that are not ours.
    :ivar silence_us: longest time between two received frames of ours.
    :ivar quiet_us: time since the last one.
    """

    name: str
    tx: int
    tx_full: int
    sending: bool
    rx: int
    rx_bytes: int
    rx_bad: int
    rx_other: int
    silence_us: float
    quiet_us: float
    latency_median_us: float
    latency_p99_us: float
    sources: tuple[Source, ...]

    @property
    def lost(self) -> int:
        return sum(s.lost for s in self.sources)

    @property
    def reordered(self) -> int:
        return sum(s.reordered for s in self.sources)

    @property
    def duplicate(self) -> int:
        return sum(s.duplicate for s in self.sources)

    @classmethod
    def from_json(cls, obj: dict[str, Any]) -> PortStats:
        return cls(**(obj | {"sources": tuple(Source(**s) for s in obj["sources"])}))


@dataclasses.dataclass(frozen=True, slots=True)
class Stats:
    """All counters, read between two polls.

    :ivar time_us: when, on a clock of the program's own.
    """

    time_us: float
    polls: int
    idle_polls: int
    ports: dict[str, PortStats]


def build() -> Path:
    """Build the program if a source is newer; return its path."""
    subprocess.run(["make", "-s", "-C", str(HERE)], check=True, stdin=subprocess.DEVNULL)
    return BINARY


def eal_args(memory_mb: int, lcores: str, prefix: str) -> list[str]:
    """Return EAL options that need neither hugepages nor privileges."""
    return [
        "--no-huge",
        "--no-shconf",
        "--no-pci",
        "--no-telemetry",
        "--single-file-segments",
        "--iova-mode=va",
        f"--file-prefix={prefix}",
        f"--lcores={lcores}",
        "-m",
        str(memory_mb),
    ]


class VUser:
    """One running program.

    :param workdir: for its log.
    :param lcores: EAL's ``--lcores``; by default it floats over all cores.
    :param idle_us: how long to sleep after a round without a packet.  0 polls
        without pause: right for benchmarks, unfriendly on a small machine.
    :param wrap: words to put before the command, such as ``["setpriv", ...]``.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        name: str = "vuser",
        memory_mb: int = 64,
        lcores: str | None = None,
        idle_us: int = 100,
        wrap: Sequence[str] = (),
    ) -> None:
        self.log_path = workdir / f"{name}.log"
        self._answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._ended = False
        floating = f"0@({','.join(map(str, sorted(os.sched_getaffinity(0))))})"
        prefix = f"vuser-{os.getpid()}-{id(self):x}"
        command = [*wrap, str(BINARY), *eal_args(memory_mb, lcores or floating, prefix)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--", f"--idle-us={idle_us}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self.wait_event(lambda e: e["event"] == "ready", "its start")
        except VUserError:
            self.kill()
            raise

    def __enter__(self) -> VUser:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_process()

    # -- ports ---------------------------------------------------------------

    def add(
        self,
        name: str,
        path: str | Path,
        *,
        server: bool = False,
        queues: int = 1,
        queue_size: int = 256,
        mac: str = "52:54:00:00:00:01",
        retry_ms: int = 0,
        devargs: str = "",
    ) -> None:
        """Begin to attach a port; :meth:`wait_link` tells when it is done.

        A server-mode port waits for its backend.  Until that has come, no other
        port of this process attaches or detaches: the driver does one at a time.

        :param server: the driver listens, as QEMU does for Nova.
        :param retry_ms: with ``server=False``: connect again so often until it
            works, and after the backend went away.  0 gives up at once.
        :param devargs: more arguments of the driver, parted by commas.
        """
        more = {"devargs": devargs.replace(",", ";")} if devargs else {}
        self._command(
            "add",
            name=name,
            path=path,
            server=int(server),
            queues=queues,
            queue_size=queue_size,
            mac=mac,
            retry=retry_ms,
            **more,
        )

    def remove(self, name: str) -> None:
        """Detach a port as a VM's shutdown does; also while it still waits."""
        self._command("del", name)

    def link(self, name: str) -> tuple[str, bool]:
        """Return the port's state (attaching, attached or closed) and whether its link is up."""
        (port,) = self._command("link", name)["ports"]
        return port["state"], port["link"]

    def wait_link(self, name: str, up: bool = True, timeout: float = DEADLINE) -> None:
        """Wait until the link of *name* is up or down."""

        def seen() -> bool:
            state, link = self.link(name)
            if up and state == "closed":
                raise VUserError(f"port {name} has given up; see {self.log_path}")
            return link == up

        self._wait(seen, f"the link of {name} to go {'up' if up else 'down'}", timeout)

    # -- traffic -------------------------------------------------------------

    def start(self, name: str, **how: Any) -> int:
        """Send without end; return the id of the source.

        :param how: dst, src, size, queue, flows (UDP source ports), macs
            (source MACs), rate (frames a second), count.
        """
        return int(self._command("start", name, **how)["source"])

    def stop(self, name: str) -> None:
        self._command("stop", name)

    def send(self, name: str, count: int = 1, timeout: float = 5.0, **how: Any) -> int:
        """Send *count* frames; return once the rings have taken them all."""
        answer = self._command("send", name, count=count, timeout=int(timeout * 1000), **how)
        return int(answer["source"])

    def all_stats(self) -> Stats:
        return self._stats(self._command("stats"))

    def stats(self, name: str) -> PortStats:
        return self._stats(self._command("stats", name)).ports[name]

    def reset(self, name: str | None = None) -> None:
        """Set the counters of one port or of all to zero."""
        self._command("reset", *([name] if name else []))

    @staticmethod
    def _stats(answer: dict[str, Any]) -> Stats:
        ports = {p["name"]: PortStats.from_json(p) for p in answer["ports"]}
        return Stats(answer["time_us"], answer["polls"], answer["idle_polls"], ports)

    # -- the process ---------------------------------------------------------

    def wait_event(
        self, match: Callable[[dict[str, Any]], bool], what: str, timeout: float = DEADLINE
    ) -> dict[str, Any]:
        """Return the first event that matches, and forget it and those before it."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for i, event in enumerate(self._events):
                    if match(event):
                        del self._events[: i + 1]
                        return event
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    raise self._trouble(f"waited in vain for {what}")
                self._news.wait(left)

    def stop_process(self, timeout: float = DEADLINE) -> None:
        """End the program: ports detach first; SIGKILL after *timeout*."""
        if self.process.poll() is None and self.process.stdin:
            self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End the program by SIGKILL, as a VM that crashes."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe and not pipe.closed:
                pipe.close()

    def _command(self, word: str, *names: str, **pairs: Any) -> dict[str, Any]:
        line = " ".join([word, *names, *(f"{k}={v}" for k, v in pairs.items())])
        assert self.process.stdin
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self._answers.get(timeout=DEADLINE + pairs.get("timeout", 0) / 1000)
        except (OSError, queue.Empty):
            answer = None
        if answer is None:
            raise self._trouble(f"no answer to {line!r}")
        if not answer["ok"]:
            raise VUserError(f"{line!r}: {answer['error']}")
        return answer

    def _wait(self, seen: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not seen():
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._trouble(f"waited {timeout:g} s in vain for {what}")
            with self._news:
                # An event is why to look again; without one look now and then.
                self._news.wait(min(left, 0.1))

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            message = json.loads(line)
            if "ok" in message:
                self._answers.put(message)
                continue
            with self._news:
                self._events.append(message)
                self._news.notify_all()
        self._answers.put(None)
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _trouble(self, what: str) -> VUserError:
        code = self.process.poll()
        state = "runs" if code is None else f"ended with {code}"
        tail = self.log_path.read_text(errors="replace")[-2000:]
        return VUserError(f"vuser {state}: {what}\n{tail}")
