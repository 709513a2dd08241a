# SPDX-License-Identifier: Apache-2.0
"""Guest memory that the brick cannot work with: noticed, told, and no harm to others.

What the frontends do here was seen with QEMU 7.2, see ``native/bricks/vhost_memory.c``.
"""

from __future__ import annotations

import dataclasses
import mmap
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.protocol import ProtocolError, Region
from tests.frontend.ring import GUEST_BASE, USER_BASE
from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port, frame, pass_frame
from tests.functional.waiting import TIMEOUT, wait_until
from vhost_brick_plugin.api.methods import Event

MODES = pytest.mark.parametrize("mode", ["client", "server"])

HUGEPAGE = 2 << 20

NOT_SHARED = "memory_not_shared"
UNUSABLE = "memory_unusable"

MakeFrontend = Callable[..., Frontend]


@pytest.fixture
def neighbours(daemon: Daemon, make_frontend: MakeFrontend) -> list[Frontend]:
    """Two VMs whose memory is as it should be."""
    vms = [
        make_frontend(ensure_port(daemon, f"good{i}", "client", 10 + i), listen=True)
        for i in range(2)
    ]
    for vm in vms:
        vm.connect()
    return vms


@pytest.fixture
def huge_fd(hugepages: Callable[[int], None]) -> Iterator[int]:
    """A hugepage in a file: nobody has written to it yet."""
    hugepages(1)
    fd = os.memfd_create("vhost-user-test", os.MFD_CLOEXEC | os.MFD_HUGETLB)
    os.ftruncate(fd, HUGEPAGE)
    yield fd
    os.close(fd)


def start_without_memory(vm: Frontend) -> None:
    """Do what QEMU does as the guest's driver starts, up to the table it cannot make."""
    vm.open()
    vm.negotiate()
    vm.enable(1)
    vm.peer.set_features(vm.acked)


def fault_of(daemon: Daemon, port: str) -> str:
    fault = daemon.client.port_show(id=port).fault
    return fault.name if fault else ""


def wait_fault(daemon: Daemon, port: str, name: str) -> None:
    wait_until(lambda: fault_of(daemon, port) == name, f"{port} to be in the fault {name!r}")


# -- memory with no file behind it -------------------------------------------


@MODES
def test_memory_that_never_comes(
    daemon: Daemon, make_frontend: MakeFrontend, neighbours: list[Frontend], mode: str
) -> None:
    vm = make_frontend(ensure_port(daemon, "bad", mode, 0), listen=mode == "client")
    start_without_memory(vm)
    wait_fault(daemon, "bad", NOT_SHARED)
    status = daemon.client.port_show(id="bad")
    assert status.state == "fault"
    assert status.fault is not None
    for remedy in ("hw:mem_page_size", "file_backed_memory", "<access mode='shared'/>"):
        assert remedy in status.fault.hint
    assert f"Port bad: {NOT_SHARED}: " in daemon.log_tail()

    # The guest is stopped and started again, as the hint says.
    vm.connect()
    wait_fault(daemon, "bad", "")
    pass_frame(vm, neighbours[0], frame(10, 0, b"shared now"))


def test_fault_is_in_the_event_stream(daemon: Daemon, make_frontend: MakeFrontend) -> None:
    seen: list[Event] = []

    def read() -> None:
        for event in daemon.client.watch():
            seen.append(event)
            if event.kind == "fault_cleared":
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    def heard() -> bool:
        """Make events until the watcher, which may be late, hears of one."""
        daemon.client.port_remove(id="bad")
        ensure_port(daemon, "bad", "client", 0)
        return bool(seen)

    path = ensure_port(daemon, "bad", "client", 0)
    wait_until(heard, "the watcher")
    vm = make_frontend(path, listen=True)
    start_without_memory(vm)
    wait_fault(daemon, "bad", NOT_SHARED)
    vm.connect()
    reader.join(TIMEOUT)
    faults = [(e.port, e.detail["fault"]) for e in seen if e.kind == "fault"]
    assert faults == [("bad", NOT_SHARED)]
    assert seen[-1].kind == "fault_cleared"


def test_only_a_started_driver_is_waited_for(
    daemon: Daemon, make_frontend: MakeFrontend, neighbours: list[Frontend]
) -> None:
    """Frontends that agree on features long before their guest runs are left in peace."""
    early = make_frontend(ensure_port(daemon, "early", "client", 0), listen=True)
    early.open()
    early.negotiate()
    early.peer.set_features(early.acked)
    bare = make_frontend(ensure_port(daemon, "bare", "client", 1), listen=True)
    bare.open()
    bare.negotiate()
    bare.enable(1)
    late = make_frontend(ensure_port(daemon, "late", "client", 2), listen=True)
    start_without_memory(late)
    wait_fault(daemon, "late", NOT_SHARED)
    assert [fault_of(daemon, port) for port in ("early", "bare", "good0")] == ["", "", ""]


def test_guest_that_starts_its_driver_again(
    daemon: Daemon, make_frontend: MakeFrontend, neighbours: list[Frontend]
) -> None:
    """A reboot: QEMU stops the rings, and hands over the same memory as before."""
    vm = make_frontend(ensure_port(daemon, "vm", "client", 0), listen=True)
    vm.connect()
    for _ in range(3):
        vm.stop()
        vm.start()
        pass_frame(vm, neighbours[0], frame(10, 0, b"again"))
    # The clock of its first start has run down when that of a later one has.
    start_without_memory(make_frontend(ensure_port(daemon, "bad", "client", 1), listen=True))
    wait_fault(daemon, "bad", NOT_SHARED)
    assert fault_of(daemon, "vm") == ""


# -- hugepages that the guest has mapped for itself --------------------------


def test_hugepages_without_a_page(
    daemon: Daemon, make_frontend: MakeFrontend, huge_fd: int
) -> None:
    vm = make_frontend(ensure_port(daemon, "bad", "client", 0), listen=True)
    hugepage = [Region(GUEST_BASE, HUGEPAGE, USER_BASE, 0, huge_fd)]
    # After a restart it is found again, because nothing has touched the file.
    for restart in (False, True):
        if restart:
            daemon.restart()
        start_without_memory(vm)
        with pytest.raises(ProtocolError, match="SET_MEM_TABLE was refused"):
            vm.peer.set_mem_table(hugepage)
        wait_fault(daemon, "bad", NOT_SHARED)


def test_hugepages_that_a_guest_has_written_to(
    daemon: Daemon, make_frontend: MakeFrontend, huge_fd: int
) -> None:
    vm = make_frontend(ensure_port(daemon, "vm", "client", 0), listen=True)
    with mmap.mmap(huge_fd, HUGEPAGE) as memory:
        memory[0] = 1
    start_without_memory(vm)
    vm.peer.set_mem_table([Region(GUEST_BASE, HUGEPAGE, USER_BASE, 0, huge_fd)])
    assert fault_of(daemon, "vm") == ""


def test_hugepages_that_no_guest_has_had_the_time_to_write_to(
    daemon: Daemon, make_frontend: MakeFrontend, huge_fd: int
) -> None:
    vm = make_frontend(ensure_port(daemon, "early", "client", 0), listen=True)
    vm.open()
    vm.negotiate()
    vm.peer.set_features(vm.acked)
    vm.peer.set_mem_table([Region(GUEST_BASE, HUGEPAGE, USER_BASE, 0, huge_fd)])
    assert fault_of(daemon, "early") == ""


# -- a table that does not fit the files behind it ---------------------------


@MODES
@pytest.mark.parametrize("more", [{"size": 4096}, {"offset": 4096}], ids=["size", "offset"])
def test_table_that_ends_beyond_its_file(
    daemon: Daemon,
    make_frontend: MakeFrontend,
    neighbours: list[Frontend],
    mode: str,
    more: dict[str, int],
) -> None:
    vm = make_frontend(ensure_port(daemon, "bad", mode, 0), listen=mode == "client")
    region = vm.memory.region()
    changes = {name: getattr(region, name) + value for name, value in more.items()}
    # More often than frontends may leave before that is the fault.
    for _ in range(5):
        start_without_memory(vm)
        with pytest.raises(ProtocolError, match="SET_MEM_TABLE was refused"):
            vm.peer.set_mem_table([dataclasses.replace(region, **changes)])
        wait_fault(daemon, "bad", UNUSABLE)
    pass_frame(*neighbours, frame(11, 10, b"undisturbed"))
    vm.connect()
    wait_fault(daemon, "bad", "")


@pytest.mark.parametrize("message", ["addresses", "kick"])
def test_rings_in_memory_that_was_refused(
    daemon: Daemon, make_frontend: MakeFrontend, neighbours: list[Frontend], message: str
) -> None:
    """A frontend that goes on all the same would make us touch what is not there."""
    vm = make_frontend(ensure_port(daemon, "bad", "client", 0), listen=True)
    start_without_memory(vm)
    region = vm.memory.region()
    with pytest.raises(ProtocolError):
        vm.peer.set_mem_table([dataclasses.replace(region, size=region.size + (1 << 30))])
    vm.peer.set_vring_num(0, 256)
    beyond = USER_BASE + region.size

    def go_on() -> None:
        if message == "kick":
            vm.peer.set_vring_kick(0, vm.pairs[0].rx_kick)
        else:
            vm.peer.set_vring_addr(0, beyond, beyond + 65536, beyond + 131072)

    with pytest.raises(ProtocolError, match="was refused"):
        go_on()
    pass_frame(*neighbours, frame(11, 10, b"undisturbed"))


@pytest.mark.parametrize("confirmed", [True, False])
def test_table_of_what_is_no_memory(
    daemon: Daemon, make_frontend: MakeFrontend, neighbours: list[Frontend], confirmed: bool
) -> None:
    vm = make_frontend(ensure_port(daemon, "bad", "client", 0), listen=True)
    start_without_memory(vm)
    vm.peer.reply_ack = confirmed
    eventfd = dataclasses.replace(vm.memory.region(), fd=vm.pairs[0].rx_kick)
    if confirmed:
        with pytest.raises(ProtocolError, match="SET_MEM_TABLE was refused"):
            vm.peer.set_mem_table([eventfd])
    else:
        vm.peer.set_mem_table([eventfd])
        vm.wait_disconnect()
    wait_fault(daemon, "bad", UNUSABLE)
    pass_frame(*neighbours, frame(11, 10, b"undisturbed"))
