# SPDX-License-Identifier: Apache-2.0
"""What QEMU asks of a backend when a guest is migrated, or suspended to disk.

While the guest still runs QEMU hands over a log and turns LOG_ALL on, and the backend
sets a bit for each page it writes to: pages without one are not sent again.  At the
destination QEMU announces the guest, by the backend if the guest cannot do it itself.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.protocol import LOG_PAGE, LOG_RING, Feature, ProtocolFeature
from tests.frontend.ring import GUEST_BASE, USER_BASE, SplitRing
from tests.frontend.vhost_user import BUFFER, Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port, frame, pass_frame
from tests.functional.waiting import wait_until

RARP = b"\x80\x35"
MAC = bytes.fromhex("525400000001")


class Log:
    """A dirty log: a bit for each page below the end of guest memory."""

    def __init__(self, end: int) -> None:
        self.size = -(-end // (LOG_PAGE * 8 * mmap.PAGESIZE)) * mmap.PAGESIZE
        self.fd = os.memfd_create("dirty-log", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, self.size)
        self._bits = mmap.mmap(self.fd, self.size)

    def close(self) -> None:
        self._bits.close()
        os.close(self.fd)

    def clear(self) -> None:
        self._bits[:] = bytes(self.size)

    def pages(self, base: int, size: int) -> set[int]:
        """Return the numbers of the dirty pages in *size* bytes from *base*, from 0 up."""
        first, last = base // LOG_PAGE, (base + size - 1) // LOG_PAGE
        return {p - first for p in range(first, last + 1) if self._bits[p // 8] >> p % 8 & 1}


@pytest.fixture
def vms(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> list[Frontend]:
    """Two VMs that talk."""
    made = []
    for i in range(2):
        vm = make_frontend(ensure_port(daemon, f"vm{i}", "client", i), listen=True)
        vm.connect()
        made.append(vm)
    pass_frame(made[0], made[1], frame(1, 0, b"before"))
    return made


@pytest.fixture
def log(vms: list[Frontend]) -> Iterator[Log]:
    """The log of the second VM's pages, while it is being migrated."""
    log = Log(GUEST_BASE + vms[1].memory.size)
    begin_migration(vms[1], log)
    yield log
    log.close()


def begin_migration(vm: Frontend, log: Log) -> None:
    """Turn logging on under traffic, in the order of QEMU's ``vhost_migration_log``."""
    vm.peer.set_log_base(log.size, log.fd)
    vm.peer.set_features(vm.acked | Feature.LOG_ALL)
    for index, ring in enumerate((vm.pairs[0].rx, vm.pairs[0].tx)):
        vm.peer.set_vring_addr(
            index,
            USER_BASE + ring.descriptors,
            USER_BASE + ring.used,
            USER_BASE + ring.avail,
            log=GUEST_BASE + ring.used,
            flags=LOG_RING,
        )


def used_page(ring: SplitRing) -> int:
    return ring.used // LOG_PAGE


def test_offer_allows_migration(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> None:
    vm = make_frontend(ensure_port(daemon, "vm", "client", 0), listen=True)
    peer = vm.open()
    assert peer.get_features() & Feature.LOG_ALL
    wanted = ProtocolFeature.LOG_SHMFD | ProtocolFeature.RARP
    assert peer.get_protocol_features() & wanted == wanted


def test_received_frames_make_pages_dirty(vms: list[Frontend], log: Log) -> None:
    sender, vm = vms
    payload = b"while it is migrated"
    pass_frame(sender, vm, frame(1, 0, payload))
    dirty = log.pages(GUEST_BASE, vm.memory.size)
    pair = vm.pairs[0]
    place = vm.memory.bytes.find(payload, pair.rx_buffers, pair.rx_buffers + 256 * BUFFER)
    assert {place // LOG_PAGE, used_page(pair.rx)} <= dirty
    # Nothing else of the guest's is sent again for nothing.
    assert pair.rx.descriptors // LOG_PAGE not in dirty
    assert not log.pages(GUEST_BASE + pair.tx_buffers, 256 * BUFFER)


def test_sent_frames_make_the_used_ring_dirty(vms: list[Frontend], log: Log) -> None:
    receiver, vm = vms
    pass_frame(vm, receiver, frame(0, 1, b"while it is migrated"))
    wait_until(vm.tx_done, "the ring to be empty")
    assert used_page(vm.pairs[0].tx) in log.pages(GUEST_BASE, vm.memory.size)


def test_migration_that_is_given_up(vms: list[Frontend], log: Log) -> None:
    sender, vm = vms
    vm.peer.set_features(vm.acked)
    pass_frame(sender, vm, frame(1, 0, b"before the log is cleared"))
    log.clear()
    pass_frame(sender, vm, frame(1, 0, b"stays after all"))
    assert not log.pages(GUEST_BASE, vm.memory.size)


def test_guest_that_qemu_announces(vms: list[Frontend]) -> None:
    """QEMU has the backend do it for guests without GUEST_ANNOUNCE."""
    others, vm = vms
    vm.peer.send_rarp(MAC)
    found = wait_until(lambda: [f for f in others.receive_all() if is_rarp(f)], "a RARP")
    assert found[0][:14] == b"\xff" * 6 + MAC + RARP


def is_rarp(received: bytes) -> bool:
    return received[12:14] == RARP
