# SPDX-License-Identifier: Apache-2.0
"""Messages that a frontend may not send: each ends its connection, under a name.

They are sent by a frontend whose rings run, where most is at stake, and by one that has
just connected.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.protocol import (
    MAX_FDS,
    NO_FD,
    VERSION,
    Disconnected,
    Feature,
    ProtocolFeature,
    Request,
)
from tests.frontend.ring import USER_BASE
from tests.frontend.vhost_user import WANTED
from tests.functional.hostile.guest import Guest
from tests.functional.hostile.stage import Stage

Attack = Callable[[Guest], None]

STATES = pytest.mark.parametrize("running", [True, False], ids=["running", "fresh"])

QUEUES = 1
RINGS = 2 * QUEUES

PAYLOADS: dict[Request, bytes] = {
    Request.GET_FEATURES: b"",
    Request.SET_FEATURES: struct.pack("<Q", WANTED),
    Request.SET_OWNER: b"",
    Request.RESET_OWNER: b"",
    Request.SET_LOG_BASE: struct.pack("<QQ", 4096, 0),
    Request.SET_VRING_NUM: struct.pack("<II", 0, 256),
    Request.SET_VRING_ADDR: struct.pack("<IIQQQQ", 0, 0, *[USER_BASE] * 3, 0),
    Request.SET_VRING_BASE: struct.pack("<II", 0, 0),
    Request.GET_VRING_BASE: struct.pack("<II", 0, 0),
    Request.SET_VRING_KICK: struct.pack("<Q", 0),
    Request.SET_VRING_CALL: struct.pack("<Q", 0),
    Request.SET_VRING_ERR: struct.pack("<Q", 0),
    Request.GET_PROTOCOL_FEATURES: b"",
    Request.SET_PROTOCOL_FEATURES: struct.pack("<Q", 0),
    Request.GET_QUEUE_NUM: b"",
    Request.SET_VRING_ENABLE: struct.pack("<II", 0, 1),
    Request.SEND_RARP: bytes(8),
    Request.NET_SET_MTU: struct.pack("<Q", 1500),
}
"""Good payloads of the requests that have a size of their own."""

WITH_FD = {
    Request.SET_LOG_BASE,
    Request.SET_VRING_KICK,
    Request.SET_VRING_CALL,
    Request.SET_VRING_ERR,
}

INDEXED = {
    Request.SET_VRING_NUM,
    Request.SET_VRING_ADDR,
    Request.SET_VRING_BASE,
    Request.GET_VRING_BASE,
    Request.SET_VRING_KICK,
    Request.SET_VRING_CALL,
    Request.SET_VRING_ERR,
    Request.SET_VRING_ENABLE,
}

NOT_OFFERED = {
    Request.SET_LOG_FD: 0,
    Request.SET_SLAVE_REQ_FD: 8,
    Request.IOTLB_MSG: 40,
    Request.SET_VRING_ENDIAN: 8,
    Request.GET_CONFIG: 12 + 60,
    Request.SET_CONFIG: 12 + 60,
    Request.CREATE_CRYPTO_SESSION: 8,
    Request.CLOSE_CRYPTO_SESSION: 8,
    Request.POSTCOPY_ADVISE: 0,
    Request.POSTCOPY_LISTEN: 0,
    Request.POSTCOPY_END: 0,
    Request.GET_INFLIGHT_FD: 24,
    Request.SET_INFLIGHT_FD: 24,
    Request.GPU_SET_SOCKET: 0,
    Request.RESET_DEVICE: 0,
    Request.VRING_KICK: 8,
    Request.GET_MAX_MEM_SLOTS: 0,
    Request.ADD_MEM_REG: 40,
    Request.REM_MEM_REG: 40,
    Request.SET_STATUS: 8,
    Request.GET_STATUS: 0,
    Request.GET_SHARED_OBJECT: 16,
    Request.SET_DEVICE_STATE_FD: 8,
    Request.CHECK_DEVICE_STATE: 0,
}
"""Bytes of payload of requests that belong to features we do not offer."""


def name(value: object) -> str | None:
    """Return the id of a parameter that is a request; pytest makes those of others."""
    return value.name if isinstance(value, Request) else None


@contextlib.contextmanager
def some_fds(count: int) -> Iterator[list[int]]:
    fds = [os.eventfd(0, os.EFD_CLOEXEC) for _ in range(count)]
    yield fds
    for fd in fds:
        os.close(fd)


@contextlib.contextmanager
def wrong_fd(kind: str) -> Iterator[int]:
    """Open something that is neither memory nor an eventfd."""
    with contextlib.ExitStack() as stack:
        if kind == "pipe":
            fds = os.pipe()
            stack.callback(os.close, fds[0])
            fd = fds[1]
        elif kind == "directory":
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        else:
            fd = os.open(kind, os.O_RDWR)
        yield fd
        os.close(fd)


def refused(
    stage: Stage, attack: Attack, fault: str = "bad_message", running: bool = True
) -> None:
    """Let a guest attack: its connection must end, and the port get the fault."""
    with stage.attack(queues=QUEUES) as port:
        guest = port.guest()
        if running:
            guest.connect()
            port.exchange(guest)
        else:
            guest.open()
        with contextlib.suppress(Disconnected):
            attack(guest)
        guest.wait_disconnect()
        port.wait_fault(fault)
        assert port.faults() == [fault]


def raw(request: int, payload: bytes = b"", size: int | None = None) -> Attack:
    return lambda g: g.peer.send_raw(request, payload, size=size)


# -- requests and sizes --------------------------------------------------------


@STATES
@pytest.mark.parametrize("request_number", [0, 45, 255, 0x10000, 2**32 - 1])
def test_unknown_request(stage: Stage, request_number: int, running: bool) -> None:
    refused(stage, raw(request_number), running=running)


@pytest.mark.parametrize(("request_number", "size"), NOT_OFFERED.items(), ids=name)
def test_request_that_is_not_offered(stage: Stage, request_number: Request, size: int) -> None:
    refused(stage, raw(request_number, bytes(size)))


@pytest.mark.parametrize("size", [4096, 65536, 2**31, 2**32 - 1])
@pytest.mark.parametrize(
    "request_number", [Request.SET_MEM_TABLE, Request.GET_FEATURES, 99], ids=name
)
def test_size_larger_than_any_payload(stage: Stage, request_number: int, size: int) -> None:
    """Refused by the header: no such payload is ever waited for, or read."""
    refused(stage, raw(request_number, size=size))


@STATES
@pytest.mark.parametrize("more", [-1, 1, 8], ids=["short", "long", "8_too_long"])
@pytest.mark.parametrize("request_number", PAYLOADS, ids=name)
def test_size_wrong_for_the_request(
    stage: Stage, request_number: Request, more: int, running: bool
) -> None:
    payload = PAYLOADS[request_number]
    if not payload and more < 0:
        payload, more = b"x" * 12, 0
    payload = payload[:more] if more < 0 else payload + bytes(more)

    def attack(g: Guest) -> None:
        with some_fds(1) as fds:
            g.peer.send_raw(request_number, payload, fds if request_number in WITH_FD else [])

    refused(stage, attack, running=running)


@pytest.mark.parametrize("flags", [0, 2, VERSION | 0x4, 0xFFFFFFFF])
def test_flags_of_another_version_or_of_an_answer(stage: Stage, flags: int) -> None:
    refused(stage, lambda g: g.peer.send_raw(Request.GET_FEATURES, flags=flags))


# -- descriptors ---------------------------------------------------------------


@STATES
@pytest.mark.parametrize("request_number", [r for r in PAYLOADS if r not in WITH_FD], ids=name)
def test_fd_that_is_not_due(stage: Stage, request_number: Request, running: bool) -> None:
    def attack(g: Guest) -> None:
        with some_fds(1) as fds:
            g.peer.send_raw(request_number, PAYLOADS[request_number], fds)

    refused(stage, attack, running=running)


@pytest.mark.parametrize("count", [2, MAX_FDS, MAX_FDS + 1, 253])
@pytest.mark.parametrize(
    "request_number",
    [Request.SET_VRING_CALL, Request.SET_VRING_KICK, Request.SET_LOG_BASE, Request.GET_FEATURES],
    ids=name,
)
def test_too_many_fds(stage: Stage, request_number: Request, count: int) -> None:
    def attack(g: Guest) -> None:
        with some_fds(count) as fds:
            g.peer.send_raw(request_number, PAYLOADS[request_number], fds)

    refused(stage, attack)


@pytest.mark.parametrize("count", [0, 2, MAX_FDS, MAX_FDS + 1])
def test_memory_table_with_too_many_or_few_fds(stage: Stage, count: int) -> None:
    """One region, and not one descriptor."""

    def attack(g: Guest) -> None:
        region = g.memory.region()
        g.peer.send_raw(
            Request.SET_MEM_TABLE, struct.pack("<II", 1, 0) + region.pack(), [region.fd] * count
        )

    refused(stage, attack)


def test_full_memory_table_with_one_fd_more(stage: Stage) -> None:
    """As many regions as there may be, and descriptors for one more."""

    def attack(g: Guest) -> None:
        part = g.memory.size // MAX_FDS // 4096 * 4096
        whole = g.memory.region()
        regions = b"".join(
            struct.pack("<QQQQ", whole.guest_address + at, part, whole.user_address + at, at)
            for at in range(0, part * MAX_FDS, part)
        )
        payload = struct.pack("<II", MAX_FDS, 0) + regions
        g.peer.send_raw(Request.SET_MEM_TABLE, payload, [whole.fd] * (MAX_FDS + 1))

    refused(stage, attack, running=False)


@pytest.mark.parametrize("request_number", sorted(WITH_FD), ids=name)
def test_no_fd_where_one_is_due(stage: Stage, request_number: Request) -> None:
    refused(stage, raw(request_number, PAYLOADS[request_number]))


@pytest.mark.parametrize(
    "request_number",
    [Request.SET_VRING_KICK, Request.SET_VRING_CALL, Request.SET_VRING_ERR],
    ids=name,
)
def test_fd_where_none_is_announced(stage: Stage, request_number: Request) -> None:
    def attack(g: Guest) -> None:
        with some_fds(1) as fds:
            g.peer.send_raw(request_number, struct.pack("<Q", NO_FD), fds)

    refused(stage, attack)


@pytest.mark.parametrize("kind", ["directory", "pipe", "/dev/null", "/dev/zero"])
@pytest.mark.parametrize(
    "request_number", [Request.SET_VRING_KICK, Request.SET_VRING_CALL], ids=name
)
def test_ring_fd_of_the_wrong_kind(stage: Stage, request_number: Request, kind: str) -> None:
    def attack(g: Guest) -> None:
        with wrong_fd(kind) as fd:
            g.peer.send_raw(request_number, struct.pack("<Q", 0), [fd])

    refused(stage, attack)


def test_fds_apart_from_their_message(stage: Stage) -> None:
    """They come with a later byte of the message, which is none of the frontend's ways."""

    def attack(g: Guest) -> None:
        with some_fds(2) as fds:
            message = struct.pack("<IIIQ", Request.SET_VRING_CALL, VERSION, 8, 0)
            g.peer.send_bytes(message[:12], fds[:1])
            g.peer.send_bytes(message[12:], fds[1:])

    refused(stage, attack)


# -- rings ---------------------------------------------------------------------


@STATES
@pytest.mark.parametrize("index", [RINGS, 255, 256, 2**32 - 1])
@pytest.mark.parametrize("request_number", sorted(INDEXED), ids=name)
def test_ring_beyond_the_ports_queues(
    stage: Stage, request_number: Request, index: int, running: bool
) -> None:
    payload = PAYLOADS[request_number]
    if request_number in WITH_FD:
        # The index has 8 bits here; what is above them is no index, but not zero either.
        payload = struct.pack("<Q", index if index < 256 else index << 9)
    else:
        payload = struct.pack("<I", index) + payload[4:]

    def attack(g: Guest) -> None:
        with some_fds(1) as fds:
            g.peer.send_raw(request_number, payload, fds if request_number in WITH_FD else [])

    refused(stage, attack, running=running)


@STATES
@pytest.mark.parametrize("size", [0, 3, 255, 257, 32767, 32769, 65536, 2**31, 2**32 - 1])
def test_ring_size(stage: Stage, size: int, running: bool) -> None:
    refused(stage, raw(Request.SET_VRING_NUM, struct.pack("<II", 0, size)), running=running)


CHANGES: dict[str, Attack] = {
    "size": raw(Request.SET_VRING_NUM, struct.pack("<II", 0, 128)),
    "base": raw(Request.SET_VRING_BASE, struct.pack("<II", 0, 0)),
    "features": raw(Request.SET_FEATURES, struct.pack("<Q", WANTED & ~Feature.MRG_RXBUF)),
}


@pytest.mark.parametrize("attack", CHANGES.values(), ids=CHANGES)
def test_change_of_a_ring_that_runs(stage: Stage, attack: Attack) -> None:
    refused(stage, attack)


@pytest.mark.parametrize("value", [2, 2**32 - 1])
def test_enabled_by_half(stage: Stage, value: int) -> None:
    refused(stage, raw(Request.SET_VRING_ENABLE, struct.pack("<II", 0, value)))


@STATES
@pytest.mark.parametrize("base", [0x10000, 2**31, 2**32 - 1])
def test_ring_base_beyond_16_bits(stage: Stage, base: int, running: bool) -> None:
    refused(stage, raw(Request.SET_VRING_BASE, struct.pack("<II", 0, base)), running=running)


ADDRESSES: dict[str, Callable[[Guest], dict[str, int]]] = {
    "descriptors_at_zero": lambda g: {"descriptors": 0},
    "descriptors_below": lambda g: {"descriptors": USER_BASE - 16},
    "descriptors_above": lambda g: {"descriptors": USER_BASE + g.memory.size},
    "descriptors_across_the_end": lambda g: {"descriptors": USER_BASE + g.memory.size - 4080},
    "descriptors_that_wrap": lambda g: {"descriptors": 2**64 - 16},
    "descriptors_unaligned": lambda g: {"descriptors": USER_BASE + 8},
    "avail_above": lambda g: {"avail": USER_BASE + g.memory.size},
    "avail_across_the_end": lambda g: {"avail": USER_BASE + g.memory.size - 514},
    "avail_that_wraps": lambda g: {"avail": 2**64 - 2},
    "avail_unaligned": lambda g: {"avail": USER_BASE + 1},
    "used_above": lambda g: {"used": USER_BASE + g.memory.size},
    "used_across_the_end": lambda g: {"used": USER_BASE + g.memory.size - 2048},
    "used_that_wraps": lambda g: {"used": 2**64 - 4},
    "used_unaligned": lambda g: {"used": USER_BASE + 2},
    "guest_addresses": lambda g: {
        "descriptors": 1 << 32,
        "avail": (1 << 32) + 4096,
        "used": (1 << 32) + 8192,
    },
}


@pytest.mark.parametrize("change", ADDRESSES.values(), ids=ADDRESSES)
@pytest.mark.parametrize("order", ["running", "size_first", "addresses_first"])
def test_ring_outside_memory(
    stage: Stage, change: Callable[[Guest], dict[str, int]], order: str
) -> None:
    """Found out at the latest when the ring is started."""

    def attack(g: Guest) -> None:
        ring, c = g.tx, g.peer
        c.reply_ack = False
        places = {
            "descriptors": USER_BASE + ring.descriptors,
            "avail": USER_BASE + ring.avail,
            "used": USER_BASE + ring.used,
        }
        if order != "running":
            c.get_vring_base(1)
        if order == "size_first":
            c.set_vring_num(1, ring.size)
        c.set_vring_addr(1, **(places | change(g)))
        if order == "addresses_first":
            c.set_vring_num(1, ring.size)
        if order != "running":
            c.set_vring_kick(1, g.pairs[0].tx_kick)

    refused(stage, attack)


# -- features ------------------------------------------------------------------


@STATES
@pytest.mark.parametrize(
    "feature",
    [
        Feature.CTRL_GUEST_OFFLOADS,
        Feature.HOST_ECN,
        Feature.HOST_UFO,
        Feature.RING_PACKED,
        1 << 33,
        1 << 63,
    ],
    ids=[
        "CTRL_GUEST_OFFLOADS",
        "HOST_ECN",
        "HOST_UFO",
        "RING_PACKED",
        "ACCESS_PLATFORM",
        "bit_63",
    ],
)
def test_feature_that_was_not_offered(stage: Stage, feature: int, running: bool) -> None:
    payload = struct.pack("<Q", WANTED | feature)
    refused(stage, raw(Request.SET_FEATURES, payload), "feature_refused", running)


@STATES
@pytest.mark.parametrize("bit", [6, 9, 12, 63], ids=lambda bit: f"bit_{bit}")
def test_protocol_feature_that_was_not_offered(stage: Stage, bit: int, running: bool) -> None:
    """Those of crypto, configuration space, inflight, and of nobody."""
    payload = struct.pack("<Q", ProtocolFeature.REPLY_ACK | 1 << bit)
    refused(stage, raw(Request.SET_PROTOCOL_FEATURES, payload), "feature_refused", running)
