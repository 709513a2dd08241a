# SPDX-License-Identifier: Apache-2.0
"""Frontends that are slow, or never come to an end: nobody waits for them."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.frontend.protocol import HEADER, VERSION, Connection, Disconnected, Request
from tests.frontend.ring import USER_BASE
from tests.functional.hostile.guest import Guest
from tests.functional.hostile.stage import Stage
from tests.functional.waiting import TIMEOUT

PATIENCE_S = 2.0
"""How long the backend waits for the rest of a message, or for its answers to be read."""

STALLS = "frontend_stalls"

FLOOD = 20_000
"""Messages."""

UNFINISHED: dict[str, bytes] = {
    "one_byte": HEADER.pack(Request.GET_FEATURES, VERSION, 0)[:1],
    "half_a_header": HEADER.pack(Request.GET_FEATURES, VERSION, 0)[:6],
    "header_only": HEADER.pack(Request.SET_FEATURES, VERSION, 8),
    "half_a_payload": HEADER.pack(Request.SET_FEATURES, VERSION, 8) + bytes(4),
    "all_but_one_byte": HEADER.pack(Request.SET_MEM_TABLE, VERSION, 40) + bytes(39),
}


@pytest.mark.parametrize("data", UNFINISHED.values(), ids=UNFINISHED)
def test_message_that_is_not_finished(stage: Stage, data: bytes) -> None:
    with stage.attack() as port:
        guest = port.connect()
        began = time.monotonic()
        guest.peer.send_bytes(data)
        stage.newcomer()
        guest.wait_disconnect()
        # Not at once: a busy frontend may need its time.
        assert time.monotonic() - began > PATIENCE_S / 2
        port.wait_fault(STALLS)


def test_many_unfinished_messages_at_once(stage: Stage) -> None:
    with stage.attack() as port, contextlib.ExitStack() as stack:
        guests = [stack.enter_context(Guest(port.path, port.number)) for _ in range(32)]
        for guest in guests:
            guest.open().send_bytes(UNFINISHED["header_only"])
        stage.newcomer()
        for guest in guests:
            guest.wait_disconnect()
        port.wait_fault(STALLS)


def test_trickle_is_no_way_around_the_limit(stage: Stage) -> None:
    """The time runs from the first byte of a message, not from its last."""
    with stage.attack() as port:
        guest = port.guest()
        connection = guest.open()
        connection.send_bytes(HEADER.pack(Request.SET_MEM_TABLE, VERSION, 40))
        poller = select.poll()
        poller.register(connection.sock, select.POLLRDHUP)
        with contextlib.suppress(Disconnected):
            for _ in range(39):
                connection.send_bytes(b"\0")
                if poller.poll(PATIENCE_S * 1000 / 4):
                    break
        port.wait_fault(STALLS, timeout=1)


def _send_for_ever(connection: Connection, data: bytes) -> None:
    while True:
        connection.send_bytes(data)


def test_answers_that_are_never_read(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.connect()
        questions = HEADER.pack(Request.GET_FEATURES, VERSION, 0) * 64
        guest.peer.sock.settimeout(TIMEOUT)
        with pytest.raises(Disconnected):
            _send_for_ever(guest.peer, questions)
        port.wait_fault(STALLS)
        stage.newcomer()


# -- slow or busy, and legal ---------------------------------------------------


class Trickle(Connection):
    """Sends each message a byte at a time, its descriptors with the first."""

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        super().send_bytes(data[:1], fds)
        for i in range(1, len(data)):
            super().send_bytes(data[i : i + 1])


def test_messages_a_byte_at_a_time(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.guest()
        guest.connection_class = Trickle
        guest.connect()
        port.exchange(guest)
        assert port.faults() == []


def test_many_messages_in_one_piece(stage: Stage) -> None:
    """What arrives together is worked through, message by message."""
    with stage.attack() as port:
        guest = port.connect()
        question = HEADER.pack(Request.GET_QUEUE_NUM, VERSION, 0)
        guest.peer.sock.sendall(question * 50)
        for _ in range(50):
            assert guest.peer.receive().payload == struct.pack("<Q", 1)
        port.exchange(guest)
        assert port.faults() == []


FLOODS: dict[str, bytes] = {
    "enable": HEADER.pack(Request.SET_VRING_ENABLE, VERSION, 8) + struct.pack("<II", 0, 1),
    "disable_and_enable": b"".join(
        HEADER.pack(Request.SET_VRING_ENABLE, VERSION, 8) + struct.pack("<II", 0, on)
        for on in (0, 1)
    ),
    "mtu": HEADER.pack(Request.NET_SET_MTU, VERSION, 8) + struct.pack("<Q", 1500),
    "ring_address": HEADER.pack(Request.SET_VRING_ADDR, VERSION, 40)
    + struct.pack("<IIQQQQ", 0, 0, USER_BASE, USER_BASE + 2 * 4096, USER_BASE + 4096, 0),
    "rarp": HEADER.pack(Request.SEND_RARP, VERSION, 8) + bytes.fromhex("5254000000100000"),
}


@pytest.mark.parametrize("message", FLOODS.values(), ids=FLOODS)
def test_flood_of_legal_messages(stage: Stage, message: bytes) -> None:
    with stage.attack() as port:
        guest = port.connect()
        with _flood(guest.peer.sock, message):
            stage.newcomer()
        # All were legal: the same connection still works.
        assert guest.peer.get_queue_num() == 1
        port.exchange(guest)


def test_flood_of_questions(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.connect()
        question = HEADER.pack(Request.GET_FEATURES, VERSION, 0)
        guest.peer.sock.settimeout(TIMEOUT)
        answers = 0
        for _ in range(FLOOD // 100):
            guest.peer.sock.sendall(question * 100)
            for _ in range(100):
                guest.peer.receive()
                answers += 1
            if answers == FLOOD // 2:
                stage.newcomer()
        port.exchange(guest)
        assert port.faults() == []


@contextlib.contextmanager
def _flood(sock: socket.socket, message: bytes) -> Iterator[None]:
    """Send *message* all the time while the block runs, and :data:`FLOOD` times at least."""
    stop = threading.Event()
    done: list[int] = []

    def run() -> None:
        sent = 0
        while sent < FLOOD or not stop.is_set():
            sock.sendall(message * 100)
            sent += 100
        done.append(sent)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join(TIMEOUT)
    assert done, "the flood did not get through"
