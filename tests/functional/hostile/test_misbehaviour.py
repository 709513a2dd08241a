# SPDX-License-Identifier: Apache-2.0
"""Guests that go on and on, and guests that change what is being read.

The first are put aside, with growing pauses, until they behave.  For the second a
process of its own (``scribble.py``) rewrites the guest's memory while the backend reads
it, as fast as it can.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.frontend.protocol import Feature
from tests.frontend.ring import GUEST_BASE, INDIRECT, NEXT, WRITE
from tests.frontend.vhost_user import NET_HEADER, WANTED
from tests.functional.exchange import frame
from tests.functional.hostile.guest import HEADER, Descriptor, Guest, chained
from tests.functional.hostile.stage import WITNESS_NUMBER, Stage
from tests.functional.waiting import wait_until

MISBEHAVES = "guest_misbehaves"

SCRIBBLE = Path(__file__).with_name("scribble.py")

ROUNDS = 40
RING = 512
"""Each round offers a whole ring of chains, which are read while they change."""


# -- on and on -----------------------------------------------------------------


def test_guest_that_offers_nothing_else(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        guest.tx.write_descriptor(0, guest.at, guest.size, NEXT, 0)

        def put_aside() -> bool:
            for _ in range(guest.tx.size):
                guest.offer(0)
            guest.settle()
            return MISBEHAVES in port.faults()

        wait_until(put_aside, f"the fault {MISBEHAVES}")
        assert port.drops().keys() == {"desc_chain"}


def test_guest_that_receives_nowhere_else(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.connect(stock=False)
        port.exchange(guest, receive=False)
        guest.rx.write_descriptor(0, guest.end, 2048, WRITE)
        for _ in range(guest.rx.size):
            guest.offer(0, guest.rx)

        def put_aside() -> bool:
            for _ in range(100):
                stage.witness.send(frame(port.number, WITNESS_NUMBER, b"nowhere to go"))
            return MISBEHAVES in port.faults()

        wait_until(put_aside, f"the fault {MISBEHAVES}")
        assert port.drops().keys() <= {"desc_memory", "no_ring", "ring_full"}


def test_guest_that_behaves_again(stage: Stage) -> None:
    """The same session, once its pause is over."""
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        guest.tx.write_descriptor(0, guest.at, guest.size, NEXT, 0)

        def put_aside() -> bool:
            if guest.tx.avail_index == guest.tx.used_index:
                for _ in range(guest.tx.size):
                    guest.offer(0)
            return MISBEHAVES in port.faults()

        wait_until(put_aside, f"the fault {MISBEHAVES}")
        guest.settle()
        port.exchange(guest)
        wait_until(lambda: port.status().fault is None, "the fault to clear")
        assert guest.connected


def test_one_bad_chain_now_and_then_is_no_fault(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        for _ in range(3):
            guest.post(Descriptor(guest.at, guest.size, NEXT, 0))
            guest.settle()
            port.reach(guest)
        assert port.faults() == []


# -- values that change --------------------------------------------------------


@contextlib.contextmanager
def scribbling(guest: Guest, places: dict[int, list[bytes]]) -> Iterator[None]:
    """Write, at each offset of the memory, one value after the other without end."""
    words = [f"{at}:{','.join(v.hex() for v in values)}" for at, values in places.items()]
    command = [sys.executable, str(SCRIBBLE), str(guest.memory.fd), *words]
    with subprocess.Popen(command, pass_fds=[guest.memory.fd], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"scribbling\n"
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()


def u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def entry(guest: Guest, index: int = 0) -> int:
    """Return the offset of a transmit descriptor."""
    return guest.tx.descriptors + 16 * index


Scene = Callable[[Guest], tuple[list[Descriptor], dict[int, list[bytes]]]]


def address(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    bad = [g.end - 8, 2**64 - 8, 0]
    return [Descriptor(g.at, g.size)], {entry(g): [u64(a) for a in (g.at, *bad)]}


def length(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    values = [g.size, 2**32 - 1, 13, g.size, 0, 70000]
    return [Descriptor(g.at, g.size)], {entry(g) + 8: [u32(v) for v in values]}


def flags(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    values = [0, NEXT, WRITE, INDIRECT, NEXT | INDIRECT]
    return [Descriptor(g.at, g.size)], {entry(g) + 12: [u16(v) for v in values]}


def next_index(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    values = [1, 0, g.tx.size, 65535]
    return chained((g.at, 12), (g.at + 12, g.size - 12)), {entry(g) + 14: [u16(v) for v in values]}


def table_length(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    """No length is good: too short for the chain, or for a table, or outside the memory."""
    table = g.table([Descriptor(g.at, g.size, NEXT, 1), Descriptor(g.at, g.size)])
    values = [16, 2**32 - 16, 15, 0]
    return [table._replace(length=16)], {entry(g) + 8: [u32(v) for v in values]}


def table_address(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    table = g.table([Descriptor(g.at, g.size)])
    return [table], {entry(g): [u64(a) for a in (table.address, g.end - 8, 2**64 - 8)]}


def table_content(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    table = g.table([Descriptor(g.at, g.size, NEXT, 1), Descriptor(g.at, 1)])
    at = table.address - GUEST_BASE
    return [table], {
        at: [u64(a) for a in (g.at, g.end - 8)],
        at + 8: [u32(n) for n in (g.size, 2**32 - 1)],
        at + 12: [u16(f) + u16(n) for f, n in ((NEXT, 1), (NEXT, 0), (NEXT, 2), (INDIRECT, 0))],
    }


def header(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    values = [
        HEADER,
        NET_HEADER.pack(1, 0, 0, 0, 65535, 65535, 0),
        NET_HEADER.pack(0, 1, 65535, 0, 0, 0, 0),
        NET_HEADER.pack(0xFF, 0xFF, 65535, 65535, 65535, 65535, 65535),
    ]
    return [Descriptor(g.at, g.size)], {g.scratch: values}


def available_entry(g: Guest) -> tuple[list[Descriptor], dict[int, list[bytes]]]:
    slots = range(g.tx.size)
    return [Descriptor(g.at, g.size)], {
        g.tx.avail + 4 + 2 * slot: [u16(0), u16(g.tx.size), u16(65535)] for slot in slots
    }


SCENES: list[Scene] = [
    address,
    length,
    flags,
    next_index,
    table_length,
    table_address,
    table_content,
    header,
    available_entry,
]
NEVER_GOOD = [table_length]
"""Whose chain is bad whichever of the values is read, if each is read once."""


@pytest.mark.parametrize("scene", SCENES, ids=lambda f: f.__name__)
def test_values_that_change_between_two_reads(stage: Stage, scene: Scene) -> None:
    """Whatever is read, each chain is one packet, and passes or is dropped."""
    with stage.attack() as port:
        guest = port.connect(features=WANTED | Feature.INDIRECT_DESC, ring_size=RING)
        port.exchange(guest)
        chain, places = scene(guest)
        for index, descriptor in enumerate(chain):
            guest.tx.write_descriptor(index, *descriptor)
        for slot in range(RING):
            guest.tx.write_avail(slot, 0)
        before = port.status().counters.from_peer_packets
        with scribbling(guest, places):
            for _ in range(ROUNDS):
                # Its record is clean again, or it would soon be put aside for seconds.
                guest.connect()
                guest.tx.avail_index += RING
                guest.kick(guest.tx)
                guest.settle()
        assert port.status().counters.from_peer_packets == before + ROUNDS * RING
        if scene in NEVER_GOOD:
            assert sum(port.drops().values()) == ROUNDS * RING


@pytest.mark.parametrize("part", ["address", "length", "flags", "next"])
def test_receive_buffers_that_change(stage: Stage, part: str) -> None:
    """What the witness sends is written where it may be, or nowhere."""
    with stage.attack() as port:
        guest = port.connect(stock=False, ring_size=RING)
        port.exchange(guest, receive=False)
        at, values = {
            "address": (0, [u64(a) for a in (guest.at, guest.end - 8, 2**64 - 8)]),
            "length": (8, [u32(n) for n in (2048, 2**32 - 1, 5, 0)]),
            "flags": (12, [u16(f) for f in (WRITE, 0, WRITE | NEXT, INDIRECT)]),
            "next": (14, [u16(n) for n in (1, 0, guest.rx.size, 65535)]),
        }[part]
        more = NEXT if part == "next" else 0
        guest.rx.write_descriptor(0, guest.at, 2048, WRITE | more, 1)
        guest.rx.write_descriptor(1, guest.at + 2048, 2048, WRITE)

        def seen() -> int:
            return sum(port.drops().values()) + port.status().counters.to_peer_packets

        def send() -> None:
            stage.witness.send(frame(port.number, WITNESS_NUMBER, b"aimed at nowhere"))

        with scribbling(guest, {guest.rx.descriptors + at: values}):
            for _ in range(ROUNDS):
                guest.connect()
                guest.rx.avail_index = guest.rx.used_index + RING
                before = seen()
                # Between two connections there is no edge that they could go to.
                wait_until(lambda before=before: send() or seen() > before, "a frame to arrive")
                for _ in range(50):
                    send()
                wait_until(lambda before=before: seen() > before + 50, "the frames to arrive")


def test_available_index_that_changes(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        guest.tx.write_descriptor(0, guest.at, guest.size)
        for slot in range(guest.tx.size):
            guest.tx.write_avail(slot, 0)
        values = [u16(v) for v in (guest.tx.avail_index, 0, 0x8000, 0xFFFF, 17)]
        with scribbling(guest, {guest.tx.avail + 2: values}):
            wait_until(lambda: port.drops().get("avail_jump", 0) > 0, "an avail_jump")
