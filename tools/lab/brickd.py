# SPDX-License-Identifier: Apache-2.0
"""vhost-brickd under a supervisor that brings it back at once when it dies.

What systemd does on a host (``Type=notify``, ``Restart=always``), without
systemd: readiness comes by sd_notify, death by a pidfd; nothing is polled. The
times of each life of the daemon are kept, since they are parts of an outage.
"""

import os
import selectors
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0

_UCRED = struct.Struct("iII")


class BrickdError(Exception):
    """The daemon did not do what was asked; the message ends with its log."""


@dataclass(frozen=True)
class Life:
    """One process of the daemon; times are :func:`time.monotonic`'s, 0: not yet."""

    pid: int
    executed: float
    """When its program was running."""
    ready: float = 0.0
    killed: float = 0.0
    """When :meth:`Brickd.kill` struck."""
    died: float = 0.0
    """When the supervisor knew."""
    status: int = 0


class Brickd:
    """A daemon that is kept running between :meth:`start` and :meth:`stop`.

    A life that ends before it was ready is not followed by another one.

    :param command: what to run; it ends when this process does, however that happens.
    :param directory: gets the log and the notification socket; a short path.
    """

    def __init__(self, command: Sequence[str | Path], directory: Path) -> None:
        self.log_path = directory / "vhost-brickd.log"
        self._command = ["setpriv", "--pdeathsig", "TERM", *command]
        self._notify_path = directory / "notify"
        self._changed = threading.Condition()
        self._lives: list[Life] = []
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- its life

    def start(self, timeout: float = START_TIMEOUT_S) -> Life:
        """Start it and wait until it is ready."""
        self._stopping = False
        self._error = None
        lives = len(self.lives)  # counted before the thread can add one
        # The process belongs to the thread: it would die with it.
        self._thread = threading.Thread(target=self._run, name="brickd", daemon=True)
        self._thread.start()
        try:
            return self.wait_ready(lives, timeout)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> Life:
        """Kill it by SIGKILL and wait for the end; returns the life that ended."""
        with self._changed:
            number = len(self._lives) - 1
            self._update(killed=time.monotonic())
            os.kill(self._lives[number].pid, signal.SIGKILL)
            if not self._changed.wait_for(lambda: self._lives[number].died, STOP_TIMEOUT_S):
                raise self.error("SIGKILL did not end it")
            return self._lives[number]

    def wait_ready(self, lives: int = 0, timeout: float = START_TIMEOUT_S) -> Life:
        """Wait until it is ready, in a life that comes after the first *lives*."""

        def settled() -> bool:
            ready = len(self._lives) > lives and self._lives[-1].ready > 0
            return ready or self._thread is None or not self._thread.is_alive()

        with self._changed:
            if not self._changed.wait_for(settled, timeout):
                raise self.error(f"not ready within {timeout:g} s")
            if len(self._lives) <= lives or not self._lives[-1].ready or self._lives[-1].died:
                raise self.error(f"it does not run: {self._error or 'stopped'}")
            return self._lives[-1]

    def stop(self, timeout: float = STOP_TIMEOUT_S) -> None:
        """End it in good order; safe to call twice."""
        thread = self._thread
        if thread is None:
            return
        with self._changed:
            self._stopping = True
            if self.running:
                os.kill(self._lives[-1].pid, signal.SIGTERM)
        thread.join(timeout)
        if thread.is_alive():
            os.kill(self._lives[-1].pid, signal.SIGKILL)
            thread.join()
            raise self.error(f"still there {timeout:g} s after SIGTERM")
        self._thread = None

    # -- what is known of it

    @property
    def lives(self) -> list[Life]:
        """All of them, the present one last."""
        with self._changed:
            return list(self._lives)

    @property
    def running(self) -> bool:
        return bool(self._lives) and not self._lives[-1].died

    def log_tail(self, lines: int = 30) -> str:
        """The end of its log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def error(self, what: str) -> BrickdError:
        return BrickdError(f"vhost-brickd: {what}\n{self.log_tail()}")

    # -- the thread

    def _run(self) -> None:
        try:
            with self._listen() as notify, self.log_path.open("ab") as log:
                while not self._stopping and self._live(notify, log.fileno()):
                    pass
        except OSError as error:
            self._error = error
        with self._changed:
            self._thread = None if self._stopping else self._thread
            self._changed.notify_all()

    def _listen(self) -> socket.socket:
        self._notify_path.unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Who sent it: a word of the life before must not count for this one.
        notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        notify.bind(str(self._notify_path))
        return notify

    def _live(self, notify: socket.socket, log: int) -> bool:
        """Run it once, from its start to its end; true if it had been ready."""
        env = os.environ | {"NOTIFY_SOCKET": str(self._notify_path)}
        # A session of its own: Ctrl-C at a terminal is ours to handle.
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
        )
        with self._changed:
            self._lives.append(Life(process.pid, time.monotonic()))
            if self._stopping:  # stop() came before there was anything to stop
                process.terminate()
        fd = os.pidfd_open(process.pid)
        try:
            self._watch(process.pid, fd, notify)
        finally:
            os.close(fd)
        died = time.monotonic()
        status = process.wait()
        with self._changed:
            self._update(died=died, status=status)
            ready = self._lives[-1].ready > 0
            if not ready:
                self._error = BrickdError(f"it ended with status {status} before it was ready")
        return ready

    def _watch(self, pid: int, pidfd: int, notify: socket.socket) -> None:
        """Take its notifications until it ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(pidfd, selectors.EVENT_READ)
            selector.register(notify, selectors.EVENT_READ)
            while True:
                fds = [key.fd for key, _events in selector.select()]
                if notify.fileno() in fds and _receive(notify, pid):
                    with self._changed:
                        self._update(ready=time.monotonic())
                if pidfd in fds:
                    return

    def _update(self, **values: float) -> None:
        """Change the present life; with the lock held."""
        last = self._lives[-1]
        self._lives[-1] = Life(**{**vars(last), **values})
        self._changed.notify_all()


def _receive(notify: socket.socket, pid: int) -> bool:
    """Read a notification; true if *pid* says that it is ready."""
    text, ancillary, _flags, _address = notify.recvmsg(4096, socket.CMSG_SPACE(_UCRED.size))
    senders = [
        _UCRED.unpack(data)[0]
        for level, kind, data in ancillary
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
    ]
    return senders == [pid] and b"READY=1" in text.splitlines()
