# SPDX-License-Identifier: Apache-2.0
"""Many more VMs on a datapath: they connect, and connect again, and are quiet.

A process of its own, run by :class:`Crowd`.  Each member is a vhost-user frontend in
Python, with rings and memory.  One whose backend listens looks for it once a second when
it is gone, as QEMU does.
"""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.frontend.protocol import ProtocolError
from tests.frontend.vhost_user import Frontend

RECONNECT_S = 1.0
RING_SIZE = 64


class Crowd:
    """The process.  In use until the end of ``with``.

    :param members: the brick's mode of each port, by the path of its socket.
    """

    def __init__(self, members: Mapping[str, str]) -> None:
        self._members = dict(members)
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._say(self._members)
        self._hear()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.communicate()

    def wait_connected(self) -> int:
        """Wait until all are connected; return how often one has been cut off so far."""
        self._say("connected?")
        return int(self._hear())

    def _say(self, what: object) -> None:
        assert self._process
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the crowd has ended")
        return line


class Member:
    """One frontend."""

    def __init__(self, path: str, listens: bool) -> None:
        self.vm = Frontend(path, listen=listens, ring_size=RING_SIZE)
        self.listens = listens
        self.due = 0.0

    @property
    def away(self) -> bool:
        return self.vm.connection is None

    def fileno(self) -> int:
        """What to wait on: for its end where it is connected, for the brick where it listens."""
        if self.away:
            assert self.vm._listener
            return self.vm._listener.fileno()
        return self.vm.peer.sock.fileno()


class Members:
    """All of them, in one loop."""

    def __init__(self, members: Mapping[str, str]) -> None:
        self._all = [Member(path, mode == "client") for path, mode in members.items()]
        self._cut_off = 0
        self._asked = False

    def run(self) -> None:
        print("here", flush=True)
        while True:
            with selectors.DefaultSelector() as selector:
                selector.register(sys.stdin, selectors.EVENT_READ)
                for member in self._all:
                    if member.listens or not member.away:
                        selector.register(member, selectors.EVENT_READ, member)
                ready = selector.select(self._pause())
            if any(key.data is None for key, _ in ready) and not sys.stdin.readline():
                os._exit(0)
            self._asked |= any(key.data is None for key, _ in ready)
            for key, _ in ready:
                if key.data is not None:
                    self._step(key.data)
            for member in self._all:
                if member.away and not member.listens and member.due <= time.monotonic():
                    self._connect(member)
            if self._asked and not any(member.away for member in self._all):
                print(self._cut_off, flush=True)
                self._asked = False

    def _pause(self) -> float | None:
        due = [m.due for m in self._all if m.away and not m.listens]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _step(self, member: Member) -> None:
        if member.away:
            self._connect(member)
        elif not member.vm.connected:
            member.vm.disconnect()
            member.due = time.monotonic()
            self._cut_off += 1

    def _connect(self, member: Member) -> None:
        try:
            member.vm.connect(timeout=0)
        except (OSError, ProtocolError):
            member.vm.disconnect()
            member.due = time.monotonic() + RECONNECT_S


if __name__ == "__main__":
    Members(json.loads(sys.stdin.readline())).run()
