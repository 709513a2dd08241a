# SPDX-License-Identifier: Apache-2.0
"""Files that make those wait who touch them: nobody does, because the others would, too."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.frontend.protocol import HEADER, VERSION, Request
from tests.functional.exchange import frame
from tests.functional.hostile.stage import WITNESS_NUMBER, Stage

LINGER_S = 30

BUSY = HEADER.pack(Request.NET_SET_MTU, VERSION, 8) + struct.pack("<Q", 1500)
BUSY *= 2000
"""Something to do for some milliseconds."""


@contextlib.contextmanager
def lingering_socket() -> Iterator[socket.socket]:
    """Yield a TCP socket whose last close() waits for a peer that never reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sender = socket.create_connection(server.getsockname())
        with server.accept()[0]:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.send(bytes(65536))
            sender.setblocking(True)
            linger = struct.pack("ii", 1, LINGER_S)
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            yield sender
            # Closed by now, or this would wait.
            assert sender.fileno() < 0


@pytest.mark.parametrize(
    ("request_number", "payload"),
    [
        (Request.GET_FEATURES, b""),
        (Request.SET_VRING_KICK, struct.pack("<Q", 0)),
        (Request.SET_LOG_BASE, struct.pack("<QQ", 4096, 0)),
    ],
    ids=["not_due", "as_a_kick", "as_a_log"],
)
def test_socket_that_lingers(stage: Stage, request_number: Request, payload: bytes) -> None:
    with stage.attack() as port:
        guest = port.connect()
        with lingering_socket() as sock:
            guest.peer.send_bytes(BUSY)
            guest.peer.send_raw(request_number, payload, [sock.fileno()])
            # The message holds it open, and whoever comes to read that has the last close().
            os.close(sock.detach())
            guest.wait_disconnect()
            stage.newcomer()


FULL = 2**64 - 2
"""The greatest number of an eventfd: a write() waits until somebody reads it."""


def fill(eventfd: int) -> None:
    """Make the next write() wait, whatever the backend has set on the file, and has written."""
    os.set_blocking(eventfd, False)
    filled = False
    while not filled:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(eventfd)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_write(eventfd, FULL)
            filled = True
    os.set_blocking(eventfd, True)


@pytest.mark.parametrize("when", ["before", "after"])
def test_interrupt_that_would_block(stage: Stage, when: str) -> None:
    """The eventfd is full when it is handed over, or later: it makes nobody wait for long."""
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        call = os.eventfd(0, os.EFD_CLOEXEC)
        if when == "before":
            fill(call)
        guest.peer.set_vring_call(0, call)
        fill(call)
        for _ in range(10):
            stage.witness.send(frame(port.number, WITNESS_NUMBER, b"worth an interrupt"))
        port.wait_fault("guest_misbehaves")
        port.reach(guest)
        stage.check_victims()
        stage.newcomer()
        os.close(call)
