# SPDX-License-Identifier: Apache-2.0
"""Buffers in which no frame can be received, and what becomes of the frame.

The witness sends one frame; it is dropped at the attacker's port, once, under the name
of what is wrong with the buffer.  The buffer is given back, and honest ones work.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.frontend.protocol import Feature
from tests.frontend.ring import NEXT, WRITE
from tests.frontend.vhost_user import NET_HEADER, WANTED
from tests.functional.exchange import frame
from tests.functional.hostile.guest import Descriptor, Guest, chained
from tests.functional.hostile.stage import WITNESS_NUMBER, Stage, Target
from tests.functional.waiting import wait_until

Post = Callable[[Guest], None]

MERGEABLE = pytest.mark.parametrize(
    "features", [WANTED, WANTED & ~Feature.MRG_RXBUF], ids=["mergeable", "whole"]
)


def one(*chain: Descriptor) -> Post:
    """Return what posts a single buffer, relative to the scratch memory."""
    return lambda g: g.post(*(d._replace(address=g.at + d.address) for d in chain), ring=g.rx)


def absolute(make: Callable[[Guest], list[Descriptor]]) -> Post:
    return lambda g: g.post(*make(g), ring=g.rx)


BAD: dict[str, tuple[Post, str]] = {
    "read_only": (one(Descriptor(0, 2048)), "desc_direction"),
    "read_only_behind_a_good_start": (
        one(Descriptor(0, 12, WRITE | NEXT, 1), Descriptor(12, 2048)),
        "desc_direction",
    ),
    "nothing": (one(Descriptor(0, 0, WRITE)), "runt_buffer"),
    "one_byte": (one(Descriptor(0, 1, WRITE)), "runt_buffer"),
    "eleven_bytes": (one(Descriptor(0, 11, WRITE)), "runt_buffer"),
    "eleven_bytes_in_pieces": (one(*chained((0, 5), (5, 6), flags=WRITE)), "runt_buffer"),
    "many_times_nothing": (one(*chained(*[(0, 0)] * 256, flags=WRITE)), "runt_buffer"),
    "above_the_memory": (absolute(lambda g: [Descriptor(g.end, 2048, WRITE)]), "desc_memory"),
    "below_the_memory": (absolute(lambda g: [Descriptor(0, 2048, WRITE)]), "desc_memory"),
    "across_the_end": (absolute(lambda g: [Descriptor(g.end - 64, 65, WRITE)]), "desc_memory"),
    "wraps": (absolute(lambda g: [Descriptor(2**64 - 64, 128, WRITE)]), "desc_memory"),
    "longest": (one(Descriptor(0, 2**32 - 1, WRITE)), "desc_memory"),
    "second_piece_above_the_memory": (
        absolute(lambda g: chained((g.at, 12), (g.end, 2048), flags=WRITE)),
        "desc_memory",
    ),
    "next_just_outside_the_ring": (one(Descriptor(0, 20, WRITE | NEXT, 256)), "desc_index"),
    "self_loop": (one(Descriptor(0, 12, WRITE | NEXT, 0)), "desc_chain"),
    "self_loop_of_nothing": (one(Descriptor(0, 0, WRITE | NEXT, 0)), "desc_chain"),
    "loop_of_two": (
        one(Descriptor(0, 1, WRITE | NEXT, 1), Descriptor(1, 1, WRITE | NEXT, 0)),
        "desc_chain",
    ),
    "indirect_not_negotiated": (
        absolute(lambda g: [g.table([Descriptor(g.at, 2048, WRITE)])]),
        "desc_indirect",
    ),
    "head_outside_the_ring": (lambda g: g.offer(256, g.rx), "desc_index"),
}


def _start(port: Target, features: int) -> Guest:
    """Return a guest whose address is known to the network, and which has no buffers."""
    guest = port.connect(features=features, stock=False)
    port.exchange(guest, receive=False)
    return guest


def _send(port: Target, size: int = 60) -> bytes:
    """Let the witness send one frame of *size* bytes."""
    wanted = frame(port.number, WITNESS_NUMBER, bytes(range(256)) * 6)[:size]
    port.stage.witness.send(wanted)
    return wanted


def _works_again(port: Target, guest: Guest) -> None:
    guest.stock(guest.pairs[0])
    guest.kick(guest.rx)
    port.exchange(guest)


@MERGEABLE
@pytest.mark.parametrize(("post", "drop"), BAD.values(), ids=BAD)
def test_bad_buffer(stage: Stage, post: Post, drop: str, features: int) -> None:
    with stage.attack() as port:
        guest = _start(port, features)
        post(guest)
        _send(port)
        port.wait_drops(drop)
        guest.settle(guest.rx)
        assert port.status().counters.to_peer_packets == 0
        _works_again(port, guest)


@pytest.mark.parametrize(
    ("second", "drop"),
    [
        (Descriptor(0, 0, WRITE), "runt_buffer"),
        (Descriptor(0, 2048), "desc_direction"),
        (Descriptor(1 << 40, 2048, WRITE), "desc_memory"),
        (Descriptor(0, 2048, WRITE | NEXT, 256), "desc_index"),
        (Descriptor(0, 16, WRITE | NEXT, 1), "desc_chain"),
    ],
    ids=["nothing", "read_only", "above_the_memory", "next_outside_the_ring", "self_loop"],
)
def test_bad_second_buffer(stage: Stage, second: Descriptor, drop: str) -> None:
    """Of a frame that takes two buffers no half may arrive."""
    with stage.attack() as port:
        guest = _start(port, WANTED)
        guest.post(Descriptor(guest.at, 40, WRITE), ring=guest.rx)
        second = second._replace(address=guest.at + 40 + second.address)
        guest.post(second, ring=guest.rx, head=1)
        _send(port)
        port.wait_drops(drop)
        assert port.status().counters.to_peer_packets == 0


def test_indirect_buffers_that_are_bad(stage: Stage) -> None:
    features = WANTED | Feature.INDIRECT_DESC
    cases: list[tuple[Post, str]] = [
        (absolute(lambda g: [g.table([Descriptor(g.at, 2048)])]), "desc_direction"),
        (absolute(lambda g: [g.table([Descriptor(g.end, 2048, WRITE)])]), "desc_memory"),
        (absolute(lambda g: [g.table([])._replace(length=15)]), "desc_indirect"),
        (
            absolute(lambda g: [g.table([Descriptor(g.at, 20, WRITE | NEXT, 1)])]),
            "desc_index",
        ),
        (
            absolute(lambda g: [g.table([Descriptor(g.at, 20, WRITE | NEXT, 0)])]),
            "desc_chain",
        ),
    ]
    with stage.attack() as port:
        guest = _start(port, features)
        for i, (post, drop) in enumerate(cases):
            post(guest)
            _send(port)

            def dropped(drop: str = drop) -> bool:
                return drop in port.drops()

            wait_until(dropped, f"case {i}: {drop}")
            guest.settle(guest.rx)
        assert port.drops() == {drop: 1 for _, drop in cases}
        _works_again(port, guest)


def test_buffer_too_small_for_the_frame(stage: Stage) -> None:
    """Without mergeable buffers a frame has to fit one."""
    with stage.attack() as port:
        guest = _start(port, WANTED & ~Feature.MRG_RXBUF)
        guest.post(Descriptor(guest.at, 71, WRITE), ring=guest.rx)
        _send(port)
        port.wait_drops("too_big")
        guest.settle(guest.rx)
        _works_again(port, guest)


@pytest.mark.parametrize("jump", ["ring_and_one", "half_of_all", "back_by_one"])
def test_available_index_jumps(stage: Stage, jump: str) -> None:
    with stage.attack() as port:
        guest = _start(port, WANTED)
        ahead = {"ring_and_one": guest.rx.size + 1, "half_of_all": 0x8000, "back_by_one": -1}
        guest.rx.avail_index += ahead[jump]
        _send(port)
        port.wait_drops("avail_jump")


def test_buffers_that_all_are_bad(stage: Stage) -> None:
    """A ring full of them costs a frame no more than one look at each."""
    with stage.attack() as port:
        guest = _start(port, WANTED)
        for i in range(guest.rx.size):
            guest.post(Descriptor(guest.end, 2048, WRITE), ring=guest.rx, head=i)
        sent = 0

        def used_up() -> bool:
            nonlocal sent
            _send(port)
            sent += 1
            return guest.rx.used_index == guest.rx.avail_index

        wait_until(used_up, "the ring to be used up")
        wait_until(lambda: sum(port.drops().values()) == sent, "every frame to be dropped")
        assert set(port.drops()) <= {"desc_memory", "ring_full"}
        guest.settle(guest.rx)
        _works_again(port, guest)


def test_frame_over_more_pieces_than_any(stage: Stage) -> None:
    """Each buffer is good, and together they are more than 256 pieces."""
    with stage.attack() as port:
        guest = _start(port, WANTED)
        guest.post(*chained(*[(guest.at + i, 1) for i in range(12)], flags=WRITE), ring=guest.rx)
        for _ in range(126):
            guest.offer(0, guest.rx)
        _send(port, 1500)
        port.wait_drops("desc_chain")


def test_buffers_of_nothing_but_work(stage: Stage) -> None:
    """32768 descriptors for one frame, nearly all of them empty: so long we do not look."""
    with stage.attack() as port:
        guest = _start(port, WANTED)
        pieces = [*[(guest.at, 0)] * 255, (guest.at, 12)]
        guest.post(*chained(*pieces, flags=WRITE), ring=guest.rx)
        for _ in range(127):
            guest.offer(0, guest.rx)
        _send(port, 1514)
        port.wait_drops("desc_chain")


# -- unusual, and legal --------------------------------------------------------

LEGAL: dict[str, list[tuple[int, int]]] = {
    "header_apart": [(0, 12), (12, 1514)],
    "header_byte_by_byte": [*[(i, 1) for i in range(12)], (12, 1514)],
    "pieces_of_nothing": [(0, 0), (0, 20), (20, 0), (20, 1506), (0, 0)],
    "as_long_as_the_ring": [*[(i, 1) for i in range(255)], (255, 1514)],
}


@MERGEABLE
@pytest.mark.parametrize("pieces", LEGAL.values(), ids=LEGAL)
@pytest.mark.parametrize("indirect", [False, True], ids=["direct", "indirect"])
def test_legal_buffer(
    stage: Stage, pieces: list[tuple[int, int]], features: int, indirect: bool
) -> None:
    with stage.attack() as port:
        guest = _start(port, features | (Feature.INDIRECT_DESC if indirect else 0))
        chain = chained(*[(guest.at + at, size) for at, size in pieces], flags=WRITE)
        guest.post(*([guest.table(chain)] if indirect else chain), ring=guest.rx)
        _arrives(guest, _send(port, 1514), buffers=1)
        assert port.drops() == {}
        _works_again(port, guest)


@pytest.mark.parametrize("size", [12, 13, 64, 255])
@pytest.mark.parametrize("length", [60, 1514])
def test_frame_over_many_small_buffers(stage: Stage, size: int, length: int) -> None:
    """From the size of the header up; a frame may take as many as there are."""
    with stage.attack() as port:
        guest = _start(port, WANTED)
        buffers = -(-(12 + length) // size)
        for i in range(buffers):
            guest.post(Descriptor(guest.at + i * size, size, WRITE), ring=guest.rx, head=i)
        _arrives(guest, _send(port, length), buffers)
        assert port.drops() == {}
        _works_again(port, guest)


def _arrives(guest: Guest, wanted: bytes, buffers: int) -> None:
    """Wait for *wanted* in the scratch memory, which all buffers fill without a gap."""
    total = 12 + len(wanted)
    wait_until(lambda: guest.rx.used_count() == buffers, f"{buffers} buffers to be used")
    assert sum(guest.rx.peek_used(i)[1] for i in range(buffers)) == total
    data = guest.memory.bytes[guest.scratch : guest.scratch + total]
    assert data[12:] == wanted
    assert NET_HEADER.unpack(data[:12])[-1] == buffers
    guest.settle(guest.rx)
