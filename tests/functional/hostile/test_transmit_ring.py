# SPDX-License-Identifier: Apache-2.0
"""What a guest may write into its transmit ring, and what becomes of it.

One chain that must not pass is one packet from the peer, of no bytes, and one drop under
its reason; it is given back, and the next frame of the same guest arrives.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.frontend.protocol import Feature
from tests.frontend.ring import INDIRECT, NEXT, WRITE
from tests.frontend.vhost_user import NET_HEADER, WANTED
from tests.functional.exchange import frame
from tests.functional.hostile.guest import HEADER, Descriptor, Guest, chained
from tests.functional.hostile.stage import WITNESS_NUMBER, Stage
from tests.functional.tcp import EVERYTHING, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, Segment, payload
from tests.functional.waiting import wait_until

Chain = Callable[[Guest], list[Descriptor]]

TABLE = 4096
"""Where indirect tables are, from the start of a guest's scratch memory."""

RING = 256
"""Descriptors of each ring."""


def good(g: Guest) -> Descriptor:
    return Descriptor(g.at, g.size)


def with_header(g: Guest, flags: int = 0, gso: int = 0, *lengths: int) -> list[Descriptor]:
    """Return the frame behind a header of *lengths*: hdr_len, gso_size, csum start, offset."""
    values = (*lengths, 0, 0, 0, 0)[:4]
    g.write(NET_HEADER.pack(flags, gso, *values, 0))
    return [good(g)]


def bare_table(g: Guest, size: int, address: int | None = None) -> list[Descriptor]:
    """Return an indirect descriptor of *size* bytes, of a table whose descriptors are good."""
    entry = g.table([good(g)] * 8, TABLE)
    return [entry._replace(length=size, address=entry.address if address is None else address)]


def inside(g: Guest, *descriptors: Descriptor, **changes: int) -> list[Descriptor]:
    return [g.table(list(descriptors), TABLE)._replace(**changes)]


DIRECT: dict[str, tuple[Chain, str]] = {
    "next_just_outside_the_ring": (
        lambda g: [Descriptor(g.at, g.size, NEXT, g.tx.size)],
        "desc_index",
    ),
    "next_65535": (lambda g: [Descriptor(g.at, g.size, NEXT, 65535)], "desc_index"),
    "self_loop": (lambda g: [Descriptor(g.at, g.size, NEXT, 0)], "desc_chain"),
    "self_loop_of_nothing": (lambda g: [Descriptor(g.at, 0, NEXT, 0)], "desc_chain"),
    "loop_of_two": (
        lambda g: [Descriptor(g.at, 12, NEXT, 1), Descriptor(g.at, 1, NEXT, 0)],
        "desc_chain",
    ),
    "loop_behind_a_good_start": (
        lambda g: [*chained((g.at, 12), (g.at, 60))[:1], Descriptor(g.at, 1, NEXT, 1)],
        "desc_chain",
    ),
    "buffer_below_the_memory": (lambda g: [Descriptor(0, g.size)], "desc_memory"),
    "buffer_above_the_memory": (lambda g: [Descriptor(g.end, g.size)], "desc_memory"),
    "buffer_at_the_end_of_addresses": (lambda g: [Descriptor(2**64 - 1, g.size)], "desc_memory"),
    "buffer_that_wraps": (lambda g: [Descriptor(2**64 - 4096, 8192)], "desc_memory"),
    "buffer_that_wraps_to_zero": (lambda g: [Descriptor(2**64 - 4096, 4096)], "desc_memory"),
    "buffer_that_wraps_into_the_memory": (
        lambda g: [Descriptor(g.at, 12, NEXT, 1), Descriptor(2**64 - 64, 128)],
        "desc_memory",
    ),
    "buffer_across_the_end": (lambda g: [Descriptor(g.end - 60, 61)], "desc_memory"),
    "second_buffer_across_the_end": (
        lambda g: chained((g.at, 12), (g.end - 60, 61)),
        "desc_memory",
    ),
    "longest_buffer": (lambda g: [Descriptor(g.at, 2**32 - 1)], "desc_memory"),
    "user_address_for_a_guest_address": (
        lambda g: [Descriptor(g.memory.region().user_address + g.scratch, g.size)],
        "desc_memory",
    ),
    "write_only": (lambda g: [Descriptor(g.at, g.size, WRITE)], "desc_direction"),
    "write_only_behind_a_good_start": (
        lambda g: [Descriptor(g.at, 12, NEXT, 1), Descriptor(g.at + 12, 60, WRITE)],
        "desc_direction",
    ),
    "nothing": (lambda g: [Descriptor(g.at, 0)], "header_only"),
    "many_times_nothing": (lambda g: chained(*[(g.at, 0)] * g.tx.size), "header_only"),
    "one_byte": (lambda g: [Descriptor(g.at, 1)], "header_only"),
    "header_cut_short": (lambda g: [Descriptor(g.at, 11)], "header_only"),
    "header_only": (lambda g: [Descriptor(g.at, 12)], "header_only"),
    "header_only_in_pieces": (lambda g: chained((g.at, 5), (g.at + 5, 7)), "header_only"),
    "header_only_and_nothing": (lambda g: chained((g.at, 12), (g.at, 0)), "header_only"),
    "frame_of_70000_bytes": (lambda g: [Descriptor(g.at, 12 + 70000)], "frame_too_long"),
    "frame_of_70000_bytes_in_pieces": (
        lambda g: chained((g.at, 12), *[(g.at, 35000)] * 2),
        "frame_too_long",
    ),
    "all_of_memory_again_and_again": (
        lambda g: chained(*[(g.at, g.end - g.at)] * g.tx.size),
        "frame_too_long",
    ),
    "lengths_whose_sum_wraps": (
        lambda g: chained((g.at, 72), *[(g.at, 1 << 19)] * 200),
        "frame_too_long",
    ),
    "indirect_not_negotiated": (lambda g: inside(g, good(g)), "desc_indirect"),
    "indirect_not_negotiated_outside_memory": (
        lambda g: bare_table(g, 16, g.end),
        "desc_indirect",
    ),
    "gso_not_negotiated": (lambda g: with_header(g, 0, GSO_TCPV4, 54, 1000), "bad_gso"),
    "gso_of_size_0": (lambda g: with_header(g, 0, GSO_TCPV4, 54, 0), "bad_gso"),
    "gso_of_an_unknown_type": (lambda g: with_header(g, 0, 0x7F, 54, 1000), "bad_gso"),
    "gso_ecn_alone": (lambda g: with_header(g, 0, 0x80, 54, 1000), "bad_gso"),
    "csum_not_negotiated": (lambda g: with_header(g, NEEDS_CSUM, 0, 0, 0, 34, 16), "bad_csum"),
    "csum_outside_the_frame": (
        lambda g: with_header(g, NEEDS_CSUM, 0, 0, 0, 65535, 65535),
        "bad_csum",
    ),
}


def segment(
    g: Guest,
    *,
    version: int = 4,
    udp: bool = False,
    size: int = 1000,
    length: int = 3000,
    cut: int | None = None,
    pokes: dict[int, int] | None = None,
    **header: int,
) -> list[Descriptor]:
    """Return a long frame that asks for segments, as an honest driver's but for what is said.

    :param length: of the payload.
    :param cut: the frame ends there.
    :param pokes: bytes, by their place in the frame.
    :param header: fields of the virtio header.
    """
    honest = Segment(version, payload(length), size, g.number, WITNESS_NUMBER, udp)
    frame = bytearray(honest.frame[:cut])
    for at, byte in (pokes or {}).items():
        frame[at] = byte
    data = NET_HEADER.pack(*honest.header._replace(**header)) + frame
    return [Descriptor(g.at, g.write(data))]


OFFLOADED: dict[str, tuple[Chain, str]] = {
    "gso_of_size_0": (lambda g: segment(g, gso_size=0), "bad_gso"),
    "gso_of_513_segments": (lambda g: segment(g, length=2565, gso_size=5), "bad_gso"),
    "gso_of_an_unknown_type": (lambda g: segment(g, gso_type=0x7F), "bad_gso"),
    "gso_of_udp": (lambda g: segment(g, version=6, gso_type=3), "bad_gso"),
    "gso_ecn": (lambda g: segment(g, gso_type=0x81), "bad_gso"),
    "gso_without_csum": (lambda g: segment(g, flags=0), "bad_gso"),
    "gso_tcpv6_of_ipv4": (lambda g: segment(g, gso_type=GSO_TCPV6), "bad_gso"),
    "gso_tcpv4_of_ipv6": (lambda g: segment(g, version=6, gso_type=GSO_TCPV4), "bad_gso"),
    "gso_of_a_udp_packet": (lambda g: segment(g, udp=True), "bad_gso"),
    "gso_longer_than_ip_can_say": (
        lambda g: segment(g, version=6, length=65500, gso_size=65490),
        "bad_gso",
    ),
    "gso_of_no_packet": (lambda g: segment(g, cut=14), "bad_gso"),
    "gso_ip_header_cut": (lambda g: segment(g, cut=33), "bad_gso"),
    "gso_ipv6_header_cut": (lambda g: segment(g, version=6, cut=53), "bad_gso"),
    "gso_tcp_header_cut": (lambda g: segment(g, cut=53), "bad_gso"),
    "gso_ip_header_of_16_bytes": (
        lambda g: segment(g, pokes={14: 0x44, 42: 0x50}, csum_start=30),
        "bad_gso",
    ),
    "gso_tcp_header_of_16_bytes": (lambda g: segment(g, pokes={46: 0x40}), "bad_gso"),
    "gso_tcp_header_beyond_the_frame": (lambda g: segment(g, pokes={46: 0xF0}, cut=93), "bad_gso"),
    "gso_ipv6_of_version_4": (lambda g: segment(g, version=6, pokes={14: 0x40}), "bad_gso"),
    "gso_ipv4_of_version_6": (lambda g: segment(g, pokes={14: 0x65}), "bad_gso"),
    "gso_of_a_fragment": (lambda g: segment(g, pokes={20: 0x20}), "bad_gso"),
    "gso_extension_header_beyond_the_frame": (
        lambda g: segment(g, version=6, pokes={20: 60}, cut=61),
        "bad_gso",
    ),
    "csum_outside_the_frame": (
        lambda g: segment(g, csum_start=65535, csum_offset=65535),
        "bad_csum",
    ),
    "csum_from_the_end_of_the_frame": (lambda g: segment(g, csum_start=3054), "bad_csum"),
    "csum_from_elsewhere": (lambda g: segment(g, csum_start=32), "bad_csum"),
    "csum_into_the_source_address": (
        lambda g: segment(g, size=0, csum_start=14, csum_offset=12),
        "bad_csum",
    ),
    "csum_into_the_port": (lambda g: segment(g, size=0, csum_offset=0), "bad_csum"),
    "csum_of_a_frame_that_is_not_ip": (
        lambda g: with_header(g, NEEDS_CSUM, 0, 0, 0, 34, 16),
        "bad_csum",
    ),
    "csum_with_a_tcp_header_beyond_the_frame": (
        lambda g: segment(g, size=0, pokes={46: 0xF0}, cut=93),
        "bad_csum",
    ),
    "csum_of_arp": (lambda g: segment(g, version=6, size=0, pokes={12: 8, 13: 6}), "bad_csum"),
    "csum_of_icmp": (lambda g: segment(g, size=0, pokes={23: 1}, csum_offset=6), "bad_csum"),
    "csum_into_a_udp_header_cut": (
        lambda g: segment(g, size=0, udp=True, cut=41),
        "bad_csum",
    ),
}

INDIRECTLY: dict[str, tuple[Chain, str]] = {
    "nested": (
        lambda g: inside(g, g.table([good(g)], 2 * TABLE)),
        "desc_indirect",
    ),
    "nested_in_itself": (
        lambda g: inside(g, Descriptor(g.at + TABLE, 16, INDIRECT)),
        "desc_indirect",
    ),
    "with_a_next": (
        lambda g: [*inside(g, good(g), flags=INDIRECT | NEXT, next=1), good(g)],
        "desc_indirect",
    ),
    "behind_a_direct_one_with_a_next": (
        lambda g: [
            Descriptor(g.at, 12, NEXT, 1),
            *inside(g, good(g), flags=INDIRECT | NEXT, next=2),
            good(g),
        ],
        "desc_indirect",
    ),
    "table_of_nothing": (lambda g: bare_table(g, 0), "desc_indirect"),
    "table_of_8_bytes": (lambda g: bare_table(g, 8), "desc_indirect"),
    "table_of_17_bytes": (lambda g: bare_table(g, 17), "desc_indirect"),
    "table_of_4_GiB": (lambda g: bare_table(g, 2**32 - 16), "desc_memory"),
    "table_longer_than_the_ring": (
        lambda g: inside(g, *chained(*[(g.at, 0)] * (g.tx.size + 1))),
        "desc_chain",
    ),
    "table_outside_memory": (lambda g: bare_table(g, 16, g.end), "desc_memory"),
    "table_across_the_end": (lambda g: bare_table(g, 32, g.end - 16), "desc_memory"),
    "table_that_wraps": (lambda g: bare_table(g, 32, 2**64 - 16), "desc_memory"),
    "next_just_outside_the_table": (
        lambda g: inside(g, Descriptor(g.at, g.size, NEXT, 1)),
        "desc_index",
    ),
    "next_65535": (lambda g: inside(g, Descriptor(g.at, g.size, NEXT, 65535)), "desc_index"),
    "loop_in_the_table": (
        lambda g: inside(g, Descriptor(g.at, 12, NEXT, 1), Descriptor(g.at, 1, NEXT, 0)),
        "desc_chain",
    ),
    "self_loop_of_nothing": (lambda g: inside(g, Descriptor(g.at, 0, NEXT, 0)), "desc_chain"),
    "buffer_outside_memory": (lambda g: inside(g, Descriptor(g.end, 72)), "desc_memory"),
    "buffer_across_the_end": (lambda g: inside(g, Descriptor(g.end - 60, 61)), "desc_memory"),
    "write_only": (lambda g: inside(g, Descriptor(g.at, g.size, WRITE)), "desc_direction"),
    "header_only": (lambda g: inside(g, Descriptor(g.at, 12)), "header_only"),
    "frame_of_70000_bytes": (
        lambda g: inside(g, *chained((g.at, 12), *[(g.at, 35000)] * 2)),
        "frame_too_long",
    ),
}


def _refused(stage: Stage, chain: Chain, drop: str, features: int) -> None:
    with stage.attack() as port:
        guest = port.connect(features=features)
        port.exchange(guest)
        before = port.status().counters
        guest.post(*chain(guest))
        port.wait_drops(drop)
        after = port.status().counters
        assert after.from_peer_packets == before.from_peer_packets + 1
        assert after.from_peer_bytes == before.from_peer_bytes
        guest.settle()
        port.reach(guest)


@pytest.mark.parametrize(("chain", "drop"), DIRECT.values(), ids=DIRECT)
def test_bad_chain(stage: Stage, chain: Chain, drop: str) -> None:
    _refused(stage, chain, drop, WANTED)


@pytest.mark.parametrize(("chain", "drop"), INDIRECTLY.values(), ids=INDIRECTLY)
def test_bad_indirect_table(stage: Stage, chain: Chain, drop: str) -> None:
    _refused(stage, chain, drop, WANTED | Feature.INDIRECT_DESC)


@pytest.mark.parametrize(("chain", "drop"), OFFLOADED.values(), ids=OFFLOADED)
def test_bad_offload(stage: Stage, chain: Chain, drop: str) -> None:
    _refused(stage, chain, drop, EVERYTHING)


@pytest.mark.parametrize(
    ("missing", "version", "size", "drop"),
    [
        (Feature.HOST_TSO4, 4, 1000, "bad_gso"),
        (Feature.HOST_TSO6, 6, 1000, "bad_gso"),
        (Feature.CSUM, 4, 1000, "bad_gso"),
        (Feature.CSUM, 4, 0, "bad_csum"),
    ],
    ids=["HOST_TSO4", "HOST_TSO6", "CSUM", "CSUM_alone"],
)
def test_offload_that_was_offered_and_not_accepted(
    stage: Stage, missing: Feature, version: int, size: int, drop: str
) -> None:
    features = EVERYTHING & ~missing
    _refused(stage, lambda g: segment(g, version=version, size=size), drop, features)


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (3000, {}),
        (3000, {"hdr_len": 0}),
        (3000, {"hdr_len": 65535}),
        (1000, {}),
        (1000, {"gso_size": 65535}),
        (5120, {"gso_size": 10}),
    ],
    ids=["honest", "hdr_len_0", "hdr_len_65535", "one_segment", "size_beyond_the_frame", "tiny"],
)
def test_legal_offload(stage: Stage, length: int, header: dict[str, int]) -> None:
    """The witness has agreed to nothing and gets segments."""
    with stage.attack() as port:
        guest = port.connect(features=EVERYTHING)
        port.exchange(guest)
        guest.post(*segment(guest, length=length, **header))
        size = header.get("gso_size", 1000)
        wanted = Segment(4, payload(length), size, guest.number, WITNESS_NUMBER).finished()
        # More frames than the witness's ring has room for come as they may.
        for frame in wanted if len(wanted) < RING else wanted[:32]:
            port.wait_witness(frame)
        guest.settle()
        assert port.drops() == {}


def test_chain_longer_than_any(stage: Stage) -> None:
    """The ring would have it; more than 256 pieces nobody needs."""
    with stage.attack() as port:
        guest = port.connect(ring_size=2 * RING)
        port.exchange(guest)
        guest.post(*chained(*[(guest.at + i, 1) for i in range(2 * RING)]))
        port.wait_drops("desc_chain")
        guest.settle()
        port.reach(guest)


# -- unusual, and legal --------------------------------------------------------


def byte_by_byte(g: Guest) -> list[Descriptor]:
    assert g.size == g.tx.size
    return chained(*[(g.at + i, 1) for i in range(g.size)])


LEGAL: dict[str, Chain] = {
    "header_byte_by_byte": lambda g: chained(
        *[(g.at + i, 1) for i in range(12)], (g.at + 12, g.size - 12)
    ),
    "as_long_as_the_ring": byte_by_byte,
    "header_and_a_bit_of_frame_together": lambda g: chained((g.at, 13), (g.at + 13, g.size - 13)),
    "pieces_of_nothing": lambda g: chained(
        (g.at, 0), (g.at, 12), (g.at, 0), (g.at + 12, g.size - 12), (g.at, 0)
    ),
    "from_the_last_bytes_of_memory": lambda g: _at_the_end(g),
    "next_of_the_last_is_absurd": lambda g: [Descriptor(g.at, g.size, 0, 65535)],
    "unknown_flags": lambda g: [Descriptor(g.at, g.size, 0xFFF8)],
    "hdr_len_absurd": lambda g: with_header(g, 0, 0, 65535),
    "gso_size_without_a_type": lambda g: with_header(g, 0, 0, 0, 65535),
    "csum_places_without_the_flag": lambda g: with_header(g, 0, 0, 0, 0, 65535, 65535),
}

LEGAL_INDIRECTLY: dict[str, Chain] = {
    "table_of_one": lambda g: inside(g, good(g)),
    "table_as_long_as_the_ring": lambda g: inside(g, *byte_by_byte(g)),
    "table_longer_than_the_chain": lambda g: inside(
        g, *chained((g.at, 12), (g.at + 12, g.size - 12)), *[Descriptor(g.end, 1)] * 6
    ),
    "table_at_the_end_of_memory": lambda g: _table_at_the_end(g),
    "unaligned_table": lambda g: [g.table([good(g)], TABLE + 1)],
    "behind_a_direct_one": lambda g: [
        Descriptor(g.at, 12, NEXT, 1),
        *inside(g, Descriptor(g.at + 12, g.size - 12)),
    ],
    "next_without_the_flag": lambda g: inside(g, good(g), next=65535),
    "table_marked_writable": lambda g: inside(g, good(g), flags=INDIRECT | WRITE),
}


def _at_the_end(g: Guest) -> list[Descriptor]:
    data = bytes(g.memory.bytes[g.scratch : g.scratch + g.size])
    g.memory.bytes[g.memory.size - g.size :] = data
    return [Descriptor(g.end - g.size, g.size)]


def _table_at_the_end(g: Guest) -> list[Descriptor]:
    return [g.table([good(g)], g.memory.size - g.scratch - 16)]


def _taken(stage: Stage, chain: Chain, features: int) -> None:
    with stage.attack() as port:
        guest = port.connect(features=features)
        port.exchange(guest)
        wanted = guest.frame(bytes(range(RING - 26)), WITNESS_NUMBER)
        guest.size = guest.write(HEADER + wanted)
        guest.post(*chain(guest))
        port.wait_witness(wanted)
        guest.settle()
        assert port.drops() == {}


@pytest.mark.parametrize("chain", LEGAL.values(), ids=LEGAL)
def test_legal_chain(stage: Stage, chain: Chain) -> None:
    _taken(stage, chain, WANTED)


@pytest.mark.parametrize("chain", LEGAL_INDIRECTLY.values(), ids=LEGAL_INDIRECTLY)
def test_legal_indirect_table(stage: Stage, chain: Chain) -> None:
    _taken(stage, chain, WANTED | Feature.INDIRECT_DESC)


# -- frames that are none ------------------------------------------------------


@pytest.mark.parametrize("size", [1, 6, 13])
def test_frame_shorter_than_its_header(stage: Stage, size: int) -> None:
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        before = stage.network_drops().get("too_short", 0)
        guest.post(Descriptor(guest.at, 12 + size))

        def dropped() -> bool:
            ours = port.drops().get("too_short", 0)
            return ours + stage.network_drops().get("too_short", 0) - before == 1

        wait_until(dropped, "the frame to be dropped as too_short")
        guest.settle()
        port.reach(guest)


def test_frame_of_14_bytes(stage: Stage) -> None:
    """The shortest there can be: no payload."""
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        wanted = frame(WITNESS_NUMBER, guest.number, b"")[:14]
        guest.post_frame(wanted)
        port.wait_witness(wanted)


# -- the available ring --------------------------------------------------------


def test_head_outside_the_ring(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        for head in (guest.tx.size, 65535):
            guest.offer(head)
        port.wait_drops("desc_index", 2)
        port.reach(guest)


@pytest.mark.parametrize("jump", ["ring_and_one", "half_of_all", "back_by_one"])
def test_available_index_jumps(stage: Stage, jump: str) -> None:
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        ahead = {"ring_and_one": guest.tx.size + 1, "half_of_all": 0x8000, "back_by_one": -1}
        guest.tx.avail_index += ahead[jump]
        guest.kick(guest.tx)
        wait_until(lambda: port.drops().get("avail_jump", 0) > 0, "an avail_jump")
        assert set(port.drops()) == {"avail_jump"}


def test_whole_ring_at_once(stage: Stage) -> None:
    """The index may be ahead by all the ring holds, with one chain as often as one likes."""
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        before = port.status().counters
        for slot in range(guest.tx.size):
            guest.tx.write_avail(guest.tx.avail_index + slot, 0)
        guest.tx.write_descriptor(0, *good(guest))
        guest.tx.avail_index += guest.tx.size
        guest.kick(guest.tx)
        guest.settle()
        after = port.status().counters
        assert after.from_peer_packets == before.from_peer_packets + guest.tx.size
        port.reach(guest)


def test_used_ring_is_scribbled_over(stage: Stage) -> None:
    """The backend does not believe its own words once a guest could change them."""
    with stage.attack() as port:
        guest = port.connect()
        port.exchange(guest)
        ring, memory = guest.tx, guest.memory
        for round in range(50):
            before = port.status().counters.from_peer_packets
            memory.bytes[ring.used : ring.used + 4 + 8 * ring.size] = bytes([round * 5 + 1]) * (
                4 + 8 * ring.size
            )
            guest.post_frame(guest.frame(b"%d" % round))

            def taken(before: int = before) -> bool:
                return port.status().counters.from_peer_packets == before + 1

            wait_until(taken, "the frame to be taken")
        assert port.drops() == {}


@pytest.mark.parametrize("value", [0x7FFF, 0x8000, 0xFFFF])
def test_event_index_is_absurd(stage: Stage, value: int) -> None:
    with stage.attack() as port:
        guest = port.connect(features=WANTED | Feature.EVENT_IDX)
        # used_event lies behind the available entries.
        for ring in (guest.rx, guest.tx):
            guest.memory.words[ring.avail // 2 + 2 + ring.size] = value
        for _ in range(5):
            port.reach(guest)
        assert port.drops() == {}
