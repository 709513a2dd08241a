# SPDX-License-Identifier: Apache-2.0
"""Guest memory that is none, that does not fit, or that goes away under our hands."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import struct
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.protocol import (
    LOG_RING,
    Disconnected,
    Feature,
    ProtocolError,
    Region,
    Request,
)
from tests.frontend.ring import GUEST_BASE, MEMFD_NAME, PAGE, USER_BASE
from tests.frontend.vhost_user import WANTED
from tests.functional.exchange import frame
from tests.functional.hostile.guest import HEADER, Descriptor, Guest, chained
from tests.functional.hostile.stage import WITNESS_NUMBER, Stage
from tests.functional.hostile.test_bad_messages import wrong_fd
from tests.functional.waiting import TIMEOUT, wait_until

MEGA = 1 << 20

Tables = Callable[[Guest], list[Region]]


@contextlib.contextmanager
def memfd(size: int, flags: int = 0) -> Iterator[int]:
    fd = os.memfd_create(MEMFD_NAME, os.MFD_CLOEXEC | flags)
    os.ftruncate(fd, size)
    yield fd
    os.close(fd)


def ready(guest: Guest) -> None:
    """Do all that comes before the memory table."""
    guest.open()
    guest.negotiate()
    guest.enable(1)
    guest.peer.set_features(guest.acked)


def change(g: Guest, **changes: int) -> list[Region]:
    return [dataclasses.replace(g.memory.region(), **changes)]


def halves(g: Guest, **changes: int) -> list[Region]:
    """Return the memory in two regions, the second one changed."""
    region, half = g.memory.region(), g.memory.size // PAGE // 2 * PAGE
    second = Region(
        region.guest_address + half,
        region.size - half,
        region.user_address + half,
        half,
        region.fd,
    )
    return [
        dataclasses.replace(region, size=half),
        dataclasses.replace(second, **changes),
    ]


TABLES: dict[str, tuple[Tables, str]] = {
    "no_region": (lambda g: [], "bad_message"),
    "size_0": (lambda g: change(g, size=0), "bad_message"),
    "size_that_wraps_guest_addresses": (
        lambda g: change(g, guest_address=2**64 - PAGE),
        "bad_message",
    ),
    "size_that_wraps_user_addresses": (
        lambda g: change(g, user_address=2**64 - PAGE),
        "bad_message",
    ),
    "size_and_offset_that_wrap": (
        lambda g: change(g, size=2**64 - PAGE, offset=2 * PAGE),
        "bad_message",
    ),
    "offset_that_wraps": (lambda g: change(g, offset=2**64 - PAGE), "bad_message"),
    "size_2_to_the_63": (lambda g: change(g, size=1 << 63), "memory_unusable"),
    "one_page_beyond_the_file": (
        lambda g: change(g, size=g.memory.size + PAGE),
        "memory_unusable",
    ),
    "offset_of_one_page": (lambda g: change(g, offset=PAGE), "memory_unusable"),
    "offset_of_the_files_size": (lambda g: change(g, offset=g.memory.size), "memory_unusable"),
    "offset_far_beyond_the_file": (lambda g: change(g, offset=1 << 62), "memory_unusable"),
    "overlap_in_guest_addresses": (
        lambda g: halves(g, guest_address=GUEST_BASE + PAGE),
        "bad_message",
    ),
    "overlap_in_user_addresses": (
        lambda g: halves(g, user_address=USER_BASE + PAGE),
        "bad_message",
    ),
    "the_same_twice": (lambda g: [g.memory.region()] * 2, "bad_message"),
}


@pytest.mark.parametrize(("make", "fault"), TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("confirmed", [True, False], ids=["confirmed", "unconfirmed"])
def test_bad_table(stage: Stage, make: Tables, fault: str, confirmed: bool) -> None:
    with stage.attack() as port:
        guest = port.guest()
        ready(guest)
        _refused(guest, lambda: guest.peer.set_mem_table(make(guest)), confirmed)
        port.wait_fault(fault)
        assert port.faults() == [fault]


def test_bad_tables_without_end(stage: Stage) -> None:
    """Each is refused, and said so in the log; a frontend may stay for some of them only."""
    with stage.attack() as port:
        guest = port.guest()
        ready(guest)
        table = change(guest, size=guest.memory.size + PAGE)

        def refused() -> bool:
            try:
                guest.peer.set_mem_table(table)
            except Disconnected:
                return False
            except ProtocolError:
                return True
            raise AssertionError("the table was taken")

        assert 1 < len(list(itertools.takewhile(lambda _: refused(), range(100)))) < 100
        port.wait_fault("memory_unusable")


@pytest.mark.parametrize("count", [9, 64, 2**32 - 1])
def test_more_regions_than_a_table_holds(stage: Stage, count: int) -> None:
    with stage.attack() as port:
        guest = port.guest()
        ready(guest)
        region = guest.memory.region()
        payload = struct.pack("<II", count, 0) + region.pack() * min(count, 9)
        guest.peer.send_raw(Request.SET_MEM_TABLE, payload, [region.fd] * min(count, 9))
        guest.wait_disconnect()
        port.wait_fault("bad_message")


@pytest.mark.parametrize(
    ("says", "has"), [(1, 2), (2, 1), (2**32 - 1, 1)], ids=["fewer", "more", "endless"]
)
def test_table_of_another_length_than_it_says(stage: Stage, says: int, has: int) -> None:
    with stage.attack() as port:
        guest = port.guest()
        ready(guest)
        region = guest.memory.region()
        payload = struct.pack("<II", says, 0) + region.pack() * has
        guest.peer.send_raw(Request.SET_MEM_TABLE, payload, [region.fd] * has)
        guest.wait_disconnect()
        port.wait_fault("bad_message")


@pytest.mark.parametrize("kind", ["directory", "pipe", "/dev/null"])
def test_memory_of_the_wrong_kind(stage: Stage, kind: str) -> None:
    with stage.attack() as port, wrong_fd(kind) as fd:
        guest = port.guest()
        ready(guest)
        _refused(guest, lambda: guest.peer.set_mem_table(change(guest, fd=fd)), confirmed=True)
        port.wait_fault("memory_unusable")


def test_memory_that_may_only_be_read(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.guest()
        ready(guest)
        fd = os.open(f"/proc/self/fd/{guest.memory.fd}", os.O_RDONLY)
        _refused(guest, lambda: guest.peer.set_mem_table(change(guest, fd=fd)), confirmed=True)
        os.close(fd)
        port.wait_fault("memory_unusable")


def _refused(guest: Guest, message: Callable[[], None], confirmed: bool) -> None:
    """Send a message that must not be taken."""
    guest.peer.reply_ack = confirmed
    if confirmed:
        with pytest.raises(Exception, match=r"was refused|closed|reset"):
            message()
        return
    with contextlib.suppress(Disconnected):
        message()
    guest.wait_disconnect()


def test_memory_in_two_regions(stage: Stage) -> None:
    """Legal: a buffer that reaches from one region into the next, and rings in both."""
    with stage.attack() as port:
        guest = port.guest()
        guest.regions = lambda: halves(guest)  # type: ignore[method-assign]
        guest.connect()
        port.exchange(guest)
        border = halves(guest)[1].guest_address
        wanted = guest.frame(b"across the border", WITNESS_NUMBER)
        data = HEADER + wanted
        begin = border - GUEST_BASE - 20
        guest.memory.bytes[begin : begin + len(data)] = data
        guest.post(Descriptor(border - 20, len(data)))
        port.wait_witness(wanted)
        assert port.drops() == {}


# -- it goes away --------------------------------------------------------------

SHRUNK = "memory_shrunk"


def _shrink(guest: Guest, size: int) -> None:
    """Truncate the memory; nothing beyond *size* may be touched from here any more."""
    os.ftruncate(guest.memory.fd, -(-size // PAGE) * PAGE)


def _last_page_frame(guest: Guest) -> int:
    """Put a frame into the last page of the memory; return its guest address."""
    data = HEADER + guest.frame(b"in the last page", WITNESS_NUMBER)
    offset = guest.memory.size - PAGE
    guest.memory.bytes[offset : offset + len(data)] = data
    return GUEST_BASE + offset


def whole(guest: Guest) -> None:
    """The rings go."""
    _shrink(guest, 0)


def transmit_buffer(guest: Guest) -> None:
    address = _last_page_frame(guest)
    _shrink(guest, guest.memory.size - PAGE)
    guest.post(Descriptor(address, 72))


def end_of_transmit_buffer(guest: Guest) -> None:
    address = _last_page_frame(guest)
    _shrink(guest, guest.memory.size - PAGE)
    guest.post(Descriptor(address - 36, 72))


def header(guest: Guest) -> None:
    address = _last_page_frame(guest)
    _shrink(guest, guest.memory.size - PAGE)
    guest.post(*chained((address, 12), (guest.at + 12, 60)))


def indirect_table(guest: Guest) -> None:
    entry = guest.table(
        [Descriptor(guest.at, guest.size)], guest.memory.size - PAGE - guest.scratch
    )
    _shrink(guest, guest.memory.size - PAGE)
    guest.post(entry)


def receive_buffers(guest: Guest) -> None:
    """All of them; the frames of the witness want to go there."""
    _shrink(guest, guest.pairs[0].rx_buffers)


SHRINK: list[Callable[[Guest], None]] = [
    whole,
    transmit_buffer,
    end_of_transmit_buffer,
    header,
    indirect_table,
    receive_buffers,
]


@pytest.mark.parametrize("shrink", SHRINK, ids=lambda f: f.__name__)
def test_memory_is_truncated_under_traffic(stage: Stage, shrink: Callable[[Guest], None]) -> None:
    with stage.attack() as port:
        guest = port.connect(sealed=False, features=WANTED | Feature.INDIRECT_DESC)
        port.exchange(guest)
        shrink(guest)

        def noticed() -> bool:
            stage.witness.send(frame(port.number, WITNESS_NUMBER, b"into the void"))
            return SHRUNK in port.faults()

        wait_until(noticed, f"the fault {SHRUNK}")
        guest.wait_disconnect()


def test_memory_that_can_be_sealed_is(stage: Stage) -> None:
    """Then nobody can make it smaller any more."""
    with stage.attack() as port, memfd(MEGA, os.MFD_ALLOW_SEALING) as fd:
        guest = port.guest()
        ready(guest)
        guest.peer.set_mem_table([Region(GUEST_BASE, MEGA, USER_BASE, 0, fd)])
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)


def test_memory_is_truncated_before_the_rings_start(stage: Stage) -> None:
    with stage.attack() as port:
        guest = port.guest(sealed=False)
        ready(guest)
        guest.peer.set_mem_table(guest.regions())
        _shrink(guest, 0)
        with contextlib.suppress(Exception):
            for i in range(2):
                guest.peer.set_vring_num(i, 256)
                guest.peer.set_vring_base(i, 0)
                guest.peer.set_vring_addr(i, USER_BASE, USER_BASE + 8192, USER_BASE + 16384)
                guest.peer.set_vring_kick(i, guest.pairs[0].fds()[2 * i])
        port.wait_fault(SHRUNK)


# -- the log of dirty pages ----------------------------------------------------


LOGS: dict[str, tuple[int, int]] = {
    "size_0": (0, 0),
    "size_0_at_an_offset": (0, PAGE),
    "size_beyond_the_file": (2 * MEGA, 0),
    "offset_beyond_the_file": (MEGA, MEGA),
    "offset_and_size_beyond_the_file": (PAGE, MEGA - PAGE + 1),
    "size_that_wraps": (2**64 - PAGE, 2 * PAGE),
    "offset_that_wraps": (PAGE, 2**64 - PAGE),
    "size_2_to_the_63": (1 << 63, 0),
}


@pytest.mark.parametrize(("size", "offset"), LOGS.values(), ids=LOGS)
def test_log_that_does_not_fit_its_file(stage: Stage, size: int, offset: int) -> None:
    with stage.attack() as port, memfd(MEGA) as fd:
        guest = port.connect()
        payload = struct.pack("<QQ", size, offset)
        guest.peer.send_raw(Request.SET_LOG_BASE, payload, [fd])
        _ends(guest)
        port.wait_fault("bad_message")


@pytest.mark.parametrize("kind", ["directory", "pipe", "/dev/null", "/dev/zero"])
def test_log_of_the_wrong_kind(stage: Stage, kind: str) -> None:
    with stage.attack() as port, wrong_fd(kind) as fd:
        guest = port.connect()
        guest.peer.send_raw(Request.SET_LOG_BASE, struct.pack("<QQ", PAGE, 0), [fd])
        _ends(guest)
        port.wait_fault("bad_message")


def _ends(guest: Guest) -> None:
    """Wait for the end of the connection, whatever comes before it."""
    with contextlib.suppress(Disconnected):
        while True:
            guest.peer.receive()


def _log_ring(guest: Guest, index: int, log: int) -> None:
    ring = (guest.rx, guest.tx)[index]
    guest.peer.set_vring_addr(
        index,
        USER_BASE + ring.descriptors,
        USER_BASE + ring.used,
        USER_BASE + ring.avail,
        log=log,
        flags=LOG_RING,
    )


@pytest.mark.parametrize("log", [1 << 45, 2**64 - PAGE, 2**64 - 1])
def test_log_that_ends_before_the_memory(stage: Stage, log: int) -> None:
    """Pages beyond the log have no bit: nothing is written behind it, and frames pass."""
    with stage.attack() as port, memfd(PAGE) as fd:
        guest = port.connect()
        with contextlib.suppress(Disconnected):
            guest.peer.set_log_base(PAGE, fd)
            guest.peer.set_features(guest.acked | Feature.LOG_ALL)
            for index in range(2):
                _log_ring(guest, index, log)
            port.exchange(guest)
        assert set(port.faults()) <= {"bad_message"}


def test_log_is_truncated_under_traffic(stage: Stage) -> None:
    with stage.attack() as port:
        size = (GUEST_BASE + 64 * MEGA) // PAGE // 8
        guest = port.connect()
        with memfd(size) as fd:
            guest.peer.set_log_base(size, fd)
            guest.peer.set_features(guest.acked | Feature.LOG_ALL)
            for index, ring in enumerate((guest.rx, guest.tx)):
                _log_ring(guest, index, GUEST_BASE + ring.used)
            port.exchange(guest)
            os.ftruncate(fd, 0)

            def noticed() -> bool:
                guest.post_frame(guest.frame(b"logged nowhere"))
                return SHRUNK in port.faults()

            wait_until(noticed, f"the fault {SHRUNK}", TIMEOUT)
        guest.wait_disconnect()
