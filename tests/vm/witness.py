# SPDX-License-Identifier: Apache-2.0
"""A third end of a network: hears what is flooded, and sends to a guest all the time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.frontend.vhost_user import Frontend
from tools.lab import datagrams

ARP, RARP = b"\x08\x06", b"\x80\x35"

MAC = bytes.fromhex("525400fffffe")
ADDRESS = "10.0.0.254"

PACE_S = 0.002
"""From one datagram to the next: some thousand while a guest is migrated, and keeper has
room for them all."""


def announces(frame: bytes, address: str) -> bool:
    """Tell whether *frame* is an ARP request for the address that it comes from."""
    wanted = socket.inet_aton(address)
    return frame[12:14] == ARP and frame[28:32] == wanted == frame[38:42]


class Witness:
    """One frontend, which a thread sends and listens by while :meth:`sending`."""

    def __init__(self, path: Path) -> None:
        self._frontend = Frontend(path, listen=True)
        self._heard: list[bytes] = []
        self._next = 0
        self._stop = threading.Event()

    def __enter__(self) -> Witness:
        self._frontend.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self._frontend.close()

    @property
    def sent(self) -> int:
        """Datagrams sent, in all its life: the number of the next."""
        return self._next

    @contextmanager
    def sending(self, mac: bytes, address: str) -> Iterator[None]:
        """Send datagrams to a guest while the block runs, and hear what comes."""
        headers = datagrams.headers(mac, MAC, *map(socket.inet_aton, (address, ADDRESS)))
        self._stop.clear()
        thread = threading.Thread(target=self._run, args=(headers,))
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self, headers: bytes) -> None:
        while not self._stop.wait(PACE_S):
            if not self._frontend.connected:
                self._frontend.connect()
            self._frontend.send(headers + datagrams.payload(self._next))
            self._next += 1
            self._heard += self._frontend.receive_all()

    def heard(self) -> list[bytes]:
        """Return the frames heard since the last call; not while :meth:`sending`."""
        found = self._heard + self._frontend.receive_all()
        self._heard = []
        return found
