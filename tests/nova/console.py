# SPDX-License-Identifier: Apache-2.0
"""A guest's serial console, on which the pinger of the lab's guest takes commands."""

from __future__ import annotations

import itertools
import json
import os
import select
import time
import xml.etree.ElementTree as ET
from typing import Any

ANSWER_TIMEOUT_S = 30.0
ASK_AGAIN_S = 3.0


class Console:
    """The host's end of the line, open while the ``with`` block runs.

    QEMU looks once a second whether anybody has it open, and what the guest says before
    may be lost.

    :param domain: a ``libvirt.virDomain`` that runs.
    """

    def __init__(self, domain: Any) -> None:
        source = ET.fromstring(domain.XMLDesc()).find("./devices/serial/source")
        assert source is not None
        self._path = str(source.get("path"))
        self._rest = b""

    def __enter__(self) -> Console:
        self._fd = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def send(self, command: str) -> None:
        """Give the pinger a command."""
        os.write(self._fd, f"{command}\n".encode())

    def wait_guest(self, timeout: float) -> None:
        """Wait until the pinger takes commands.

        :raises TimeoutError: it did not, within *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        for number in itertools.count():
            # Answers to the ones before may still come: it is the last one that counts.
            self.send(f"sh echo asked {number}")
            try:
                while f"asked {number}" not in self.wait_event("sh", ASK_AGAIN_S)["output"]:
                    pass
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def shell(self, command: str) -> str:
        """Run a command in the guest; return what it printed.

        :raises TimeoutError: no answer in time.
        """
        self.send(f"sh {command}")
        answer = self.wait_event("sh", ANSWER_TIMEOUT_S)
        assert answer["status"] == 0, answer
        return str(answer["output"])

    def wait_event(self, name: str, timeout: float) -> dict[str, Any]:
        """Wait until the pinger tells of an event, such as its "sh", and return it.

        :raises TimeoutError: it did not, within *timeout* seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            line = self._read_line(deadline)
            if line.startswith(b"{") and (event := json.loads(line)).get("event") == name:
                return dict(event)

    def _read_line(self, deadline: float) -> bytes:
        while b"\n" not in self._rest:
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._fd], [], [], left)[0]:
                raise TimeoutError(f"nothing on {self._path}; so far {self._rest!r}")
            self._rest += os.read(self._fd, 4096)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.strip()
