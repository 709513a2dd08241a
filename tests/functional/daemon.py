# SPDX-License-Identifier: Apache-2.0
"""Runs the real ``vhost-brickd`` in a directory of its own."""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.functional.waiting import wait_until
from vhost_brick_plugin.api.client import Client

START_TIMEOUT = 20.0
STOP_TIMEOUT = 20.0

RSS_SLACK_KB = 4096
"""What malloc may keep for itself without being called a leak."""

VMA_SLACK = 8
"""Malloc's heaps split and merge: two more or less from round to round. A leak under a
thousand reconnects or ports shows by hundreds."""

Config = Mapping[str, Mapping[str, object]]


class DaemonFailed(Exception):
    """The daemon did not do what it was started for; the message ends with its log."""


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What the process holds.

    :ivar vma: mappings.
    """

    fds: int
    vma: int
    rss_kb: int

    def grown(self, before: Usage) -> list[str]:
        """Name what is more than *before*, malloc's own reserve aside."""
        found = []
        if self.fds > before.fds:
            found.append(f"fds {before.fds} -> {self.fds}")
        if self.vma > before.vma + VMA_SLACK:
            found.append(f"mappings {before.vma} -> {self.vma}")
        if self.rss_kb > before.rss_kb + RSS_SLACK_KB:
            found.append(f"VmRSS {before.rss_kb} -> {self.rss_kb} kB")
        return found


class Daemon:
    """One daemon, which may be killed and started again as often as a test likes.

    :param directory: short, because sockets are in it.
    :param datapath: ``dpdk`` or ``fake``.
    :param config: options by group, over the defaults of :meth:`_config`.
    :param wrap: words to put before the command, such as ``["nsenter", "--net=..."]``;
        they must exec it, so that the process stays the same.
    :param beside: another daemon, whose state, sockets and control socket it shares.
    :param program: what to run instead of the installed command.
    """

    def __init__(
        self,
        directory: Path,
        datapath: str = "dpdk",
        config: Config | None = None,
        wrap: Sequence[str] = (),
        beside: Daemon | None = None,
        program: Sequence[str] | None = None,
    ) -> None:
        self.directory = directory
        self.datapath = datapath
        self.wrap = list(wrap)
        self.program = list(program or self.command())
        shared = beside.directory if beside else directory
        self.state_dir = shared / "state"
        self.socket_dir = shared / "s"
        self.api_socket = shared / "api"
        self.config_path = directory / "vhost-brick.conf"
        self.log_path = directory / "vhost-brickd.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._notify_path = directory / "notify"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self._notify_path))
        for made in (self.state_dir, self.socket_dir):
            made.mkdir(exist_ok=beside is not None)
        self.configure(config or {})

    # -- configuration -------------------------------------------------------

    def configure(self, config: Config) -> None:
        """Write the config file; the next start reads it."""
        parser = configparser.ConfigParser(interpolation=None)
        for source in (self._config(), config):
            for group, options in source.items():
                if not parser.has_section(group):
                    parser.add_section(group)
                for name, value in options.items():
                    parser.set(group, name, str(value))
        with self.config_path.open("w") as file:
            parser.write(file)

    def _config(self) -> Config:
        return {
            "daemon": {
                "datapath": self.datapath,
                "state_dir": self.state_dir,
                "api_socket": self.api_socket,
            },
            "dpdk": {"hugepages": "off", "memory_mb": 128},
            "vhost": {"socket_dir": self.socket_dir},
        }

    def socket_path(self, port: str) -> Path:
        """Return where the socket of *port* is if the port names no path."""
        return self.socket_dir / port

    # -- the process ---------------------------------------------------------

    def start(self) -> Daemon:
        """Start the daemon and wait until it says that it is ready."""
        self.spawn()
        self.wait_ready()
        return self

    def spawn(self) -> None:
        """Start the daemon without waiting."""
        self._drain_notify()
        env = os.environ | {"NOTIFY_SOCKET": str(self._notify_path)}
        command = [*self.wrap, *self.program, "--config-file", str(self.config_path)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )

    @staticmethod
    def command() -> list[str]:
        """Return the installed command, or its function where nothing is installed."""
        script = Path(sys.executable).parent / "vhost-brickd"
        if script.exists():
            return [str(script)]
        call = "import sys; from vhost_brick_plugin.daemon.prelude import main; sys.exit(main())"
        return [shutil.which("python3") or sys.executable, "-c", call]

    def wait_ready(self, timeout: float = START_TIMEOUT) -> None:
        """Wait for the daemon's own word; fail at once if it ends instead."""
        deadline = time.monotonic() + timeout
        with contextlib.closing(_PidFd(self.pid)) as ended:
            poller = select.poll()
            poller.register(self._notify, select.POLLIN)
            poller.register(ended, select.POLLIN)
            while True:
                ready = poller.poll(max(0, 1000 * (deadline - time.monotonic())))
                fds = [fd for fd, _ in ready]
                if self._notify.fileno() in fds:
                    if b"READY=1" in self._notify.recv(4096).splitlines():
                        return
                elif fds:
                    raise self.failure(f"ended with {self.wait()} before it was ready")
                else:
                    raise self.failure(f"not ready within {timeout:g} s")

    def kill9(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill9()
        self.start()

    def stop(self) -> int:
        """End it in good order and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait for its end and return its exit status."""
        assert self.process
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"still there after {timeout:g} s") from None

    def cleanup(self) -> None:
        """End it if it runs, by force if need be."""
        if self.running:
            try:
                self.stop()
            except DaemonFailed:
                self.kill9()
        self._notify.close()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process
        self.process.send_signal(number)

    def _drain_notify(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._notify.recv(4096, socket.MSG_DONTWAIT)

    # -- looking at it -------------------------------------------------------

    @property
    def client(self) -> Client:
        return Client(str(self.api_socket), timeout=20.0)

    def usage(self) -> Usage:
        """Return what the process holds now."""
        proc = Path(f"/proc/{self.pid}")
        status = (proc / "status").read_text()
        rss = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return Usage(
            fds=len(os.listdir(proc / "fd")),
            vma=len((proc / "maps").read_text().splitlines()),
            rss_kb=int(rss.split()[1]),
        )

    def check_flat(self, before: Usage) -> None:
        """Fail unless it holds no more than *before*, once it had time to let go."""

        def grown() -> list[str]:
            return self.usage().grown(before)

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not grown(), "the daemon to let go", timeout=5)
        if left := grown():
            raise AssertionError(f"the daemon grew: {', '.join(left)}")

    def log_tail(self, size: int = 8000) -> str:
        """Return the end of its log."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_bytes()[-size:].decode(errors="replace")

    def failure(self, what: str) -> DaemonFailed:
        return DaemonFailed(f"vhost-brickd: {what}\n{self.log_tail()}")


class _PidFd:
    """A file descriptor that is readable once the process has ended."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)
