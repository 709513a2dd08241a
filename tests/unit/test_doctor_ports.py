# SPDX-License-Identifier: Apache-2.0
"""What ``vhost-brick doctor`` finds of daemons, ports and their sockets."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.doctor_support import DOWN, NOBODY, make_site, only, served, write
from tests.unit.stub_daemon import hello, network_status, port_status
from tests.unit.support import vxlan
from vhost_brick_plugin import errors, netlink
from vhost_brick_plugin.api.methods import Standby
from vhost_brick_plugin.doctor import processes, sockets, traffic
from vhost_brick_plugin.doctor.site import is_elsewhere
from vhost_brick_plugin.finding import Level
from vhost_brick_plugin.model import Mode, Offer, Uplink, UplinkKind
from vhost_brick_plugin.report import Fault

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes groups")

# -- daemons -----------------------------------------------------------------


def process(pid: int, *words: str) -> dict[str, str]:
    return {f"{pid}/cmdline": "\0".join(words) + "\0"}


BRICKD = ("/usr/bin/python3", "/usr/bin/vhost-brickd", "--config-file", "/etc/a.conf")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A host with daemon 42, which is what stub daemons say they are."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "lock").touch()
    files = {**process(42, *BRICKD), **process(7, "vim", "/x", "vhost-brickd"), "locks": ""}
    return write(tmp_path / "proc", files)


def lock(proc: Path, pid: int) -> None:
    inode = (proc.parent / "state" / "lock").stat().st_ino
    lines = f"1: POSIX  ADVISORY  WRITE 9 00:1b:{inode} 0 EOF\n"
    (proc / "locks").write_text(lines + f"2: FLOCK  ADVISORY  WRITE {pid} 00:1b:{inode} 0 EOF\n")


def test_one_daemon(tmp_path: Path, proc: Path) -> None:
    lock(proc, 42)
    found = only(processes.check_daemons(served(tmp_path), proc))
    assert (found.level, found.text) == (Level.OK, "process 42 is the only one that serves here")


def test_another_daemon_holds_the_state(tmp_path: Path, proc: Path) -> None:
    lock(proc, 43)
    found = only(processes.check_daemons(served(tmp_path), proc))
    assert found.level is Level.FAIL
    assert f"process 43 holds [daemon] state_dir {tmp_path}/state" in found.text
    assert "kill 43" in found.fix


def test_another_daemon_beside(tmp_path: Path, proc: Path) -> None:
    lock(proc, 42)
    write(proc, process(43, *BRICKD))
    found = only(processes.check_daemons(served(tmp_path), proc))
    assert (found.level, f"43 ({' '.join(BRICKD)})" in found.text) == (Level.WARN, True)
    standby = Standby(pid=43, version="1", in_sync=True, since=1.0)
    known = served(tmp_path, introduced=hello(standby=standby))
    assert only(processes.check_daemons(known, proc)).level is Level.OK


def test_a_daemon_that_does_not_answer(tmp_path: Path, proc: Path) -> None:
    down = make_site(tmp_path, DOWN)
    found = only(processes.check_daemons(down, proc))
    assert (found.level, "there run: 42" in found.text) == (Level.WARN, True)
    lock(proc, 42)
    found = only(processes.check_daemons(down, proc))
    assert (found.level, "kill -9 42" in found.fix) == (Level.FAIL, True)


def test_no_daemon_at_all(tmp_path: Path) -> None:
    assert list(processes.check_daemons(make_site(tmp_path, DOWN), tmp_path)) == []


def test_a_real_lock_is_seen(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    site = served(tmp_path)
    with (tmp_path / "state" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = only(processes.check_daemons(site))
        assert f"process {os.getpid()} holds" in found.text
    assert all("holds" not in f.text for f in processes.check_daemons(site))


@pytest.mark.parametrize(
    ("in_sync", "wanted", "level"),
    [
        (True, "True", Level.OK),
        (False, "True", Level.WARN),
        (None, "True", Level.WARN),
        (None, "False", None),
    ],
)
def test_standby(tmp_path: Path, in_sync: bool | None, wanted: str, level: Level | None) -> None:
    standby = None
    if in_sync is not None:
        standby = Standby(pid=43, version="1", in_sync=in_sync, since=1.0)
    site = served(tmp_path, introduced=hello(standby=standby), daemon__standby=wanted)
    assert [f.level for f in processes.check_standby(site)] == ([level] if level else [])
    assert list(processes.check_standby(make_site(tmp_path, DOWN, daemon__standby=wanted))) == []


# -- faults and MTU ----------------------------------------------------------

FAULT = Fault(name="feature_refused", message="it insists", hint="Stop the VM.", since=1.0)


def test_faults(tmp_path: Path) -> None:
    assert list(traffic.check_faults(make_site(tmp_path, DOWN))) == []
    good, network = port_status("p1"), network_status()
    assert (
        only(traffic.check_faults(served(tmp_path, good, networks=(network,)))).level is Level.OK
    )
    bad, lame = port_status("p2", fault=FAULT), network_status("n2", fault=FAULT)
    found = list(traffic.check_faults(served(tmp_path, good, bad, networks=(network, lame))))
    assert [(f.check, f.level) for f in found] == [
        ("port p2", Level.FAIL),
        ("network n2", Level.FAIL),
    ]
    assert found[0].text == "feature_refused: it insists"
    assert found[0].fix == "Stop the VM."


def test_a_datapath_for_trials(tmp_path: Path) -> None:
    found = only(traffic.check_datapath(served(tmp_path, introduced=hello(datapath="fake"))))
    assert found.level is Level.WARN
    assert list(traffic.check_datapath(served(tmp_path, introduced=hello(datapath="dpdk")))) == []
    assert list(traffic.check_datapath(make_site(tmp_path))) == []


@pytest.mark.parametrize(
    ("port", "offer", "network", "words"),
    [
        (1500, 1500, 1500, ""),
        (9000, 9000, 1500, "larger frames of its guest are dropped"),
        (1500, 1500, 9000, "larger never reach its guest"),
        (1500, 9000, 1500, "was made with MTU 9000 and has 1500 now"),
    ],
)
def test_mtu_of_ports(tmp_path: Path, port: int, offer: int, network: int, words: str) -> None:
    status = port_status("p1", mtu=port, offer=Offer(features=0, queues=1, mtu=offer))
    site = served(tmp_path, status, networks=(network_status("net1", mtu=network),))
    found = only(traffic.check_mtu(site, tmp_path))
    assert (found.level, words in found.text) == (Level.WARN if words else Level.OK, True), found


def test_mtu_of_uplinks(tmp_path: Path) -> None:
    tap = Uplink(kind=UplinkKind.TAP, name="tap0")
    nic = Uplink(kind=UplinkKind.NIC, name="phys0")
    site = served(tmp_path, networks=(network_status(mtu=9000, uplinks=(tap, nic)),))
    for mtu, level in ((1500, Level.WARN), (9000, Level.OK)):
        write(tmp_path, {"tap0/mtu": mtu, "phys0/mtu": 1500})
        found = only(traffic.check_mtu(site, tmp_path))
        assert found.level is level
    assert list(traffic.check_mtu(make_site(tmp_path, DOWN))) == []


@pytest.mark.parametrize(
    ("local", "interface", "level", "words"),
    [
        ("192.0.2.1", ("eth0", 1550), Level.OK, "agree"),
        ("192.0.2.1", ("eth0", 1549), Level.WARN, "needs MTU 1550 on eth0, which has 1549"),
        ("fd00::1", ("eth0", 1550), Level.WARN, "needs MTU 1570 on eth0, which has 1550"),
        ("192.0.2.1", None, Level.FAIL, "no interface here has its local address 192.0.2.1"),
    ],
)
def test_mtu_of_tunnels(
    tmp_path: Path, local: str, interface: tuple[str, int] | None, level: Level, words: str
) -> None:
    site = served(tmp_path, networks=(network_status(uplinks=(vxlan(7, local=local),)),))
    found = only(traffic.check_mtu(site, tmp_path, lambda _address: interface))
    assert (found.level, words in found.text) == (level, True), found


def test_a_kernel_that_does_not_tell_of_addresses(tmp_path: Path) -> None:
    def refuse(_address: str) -> None:
        raise errors.UplinkError("no netlink")

    site = served(tmp_path, networks=(network_status(uplinks=(vxlan(7),)),))
    found = only(traffic.check_mtu(site, tmp_path, refuse))
    assert (found.level, found.text) == (Level.WARN, "not checked: no netlink")


def test_who_has_an_address() -> None:
    name, mtu = netlink.interface_of("127.0.0.1") or ("", 0)
    assert (name, mtu) == ("lo", int(Path("/sys/class/net/lo/mtu").read_text()))
    assert netlink.interface_of("192.0.2.77") is None


def test_a_daemon_in_another_network_namespace(tmp_path: Path) -> None:
    for pid, inode in (("self", 1), ("42", 2), ("43", 1)):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns" / "net").symlink_to(f"net:[{inode}]")
    assert [is_elsewhere(pid, tmp_path) for pid in (42, 43, 44)] == [True, False, False]
    site = dataclasses.replace(served(tmp_path), elsewhere=True)
    for check in (traffic.check_mtu, sockets.check_sockets):
        found = only(check(site))
        assert (found.level, "nsenter --net=/proc/42/ns/net" in found.fix) == (Level.WARN, True)


# -- sockets -----------------------------------------------------------------


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    """A socket that somebody listens on, and beside it one that nobody does: ``stale``."""
    directory = tmp_path / "sockets"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(directory / "stale"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "open"))
        listener.listen()
        yield directory / "open"


def port(path: Path, mode: Mode = Mode.SERVER, fault: Fault | None = None) -> object:
    return port_status(path.name, socket_path=str(path), mode=mode, fault=fault)


def test_sockets_that_belong_to_nobody(tmp_path: Path, listening: Path) -> None:
    (listening.parent / "no-socket").touch()
    found = list(sockets.check_sockets(served(tmp_path)))
    assert [f.level for f in found] == [Level.WARN, Level.WARN]
    assert f"somebody listens on {listening}, and no port has it" in found[0].text
    assert found[1].text.startswith(f"{listening.parent / 'stale'} is stale: nobody listens")
    assert found[1].fix == f"rm {listening.parent / 'stale'}"


def test_sockets_of_ports(tmp_path: Path, listening: Path) -> None:
    # QEMU's socket is left behind when it is killed; the next one replaces it.
    stale = port(listening.parent / "stale", Mode.CLIENT)
    found = only(sockets.check_sockets(served(tmp_path, port(listening), stale)))
    assert (found.level, found.text) == (Level.OK, "none is stale; 1 of 2 are open")


def test_server_mode_ports_that_cannot_be_reached(tmp_path: Path, listening: Path) -> None:
    deaf = port(listening.parent / "stale")
    found = only(sockets.check_sockets(served(tmp_path, deaf, port(listening))))
    assert (found.level, "port stale: vhost-brickd does not listen" in found.text) == (
        Level.FAIL,
        True,
    )
    listening.unlink()
    (listening.parent / "stale").unlink()
    found = only(sockets.check_sockets(served(tmp_path, port(listening))))
    assert "port open: the file was removed" in found.text


def test_a_fault_says_more_than_a_deaf_socket(tmp_path: Path, listening: Path) -> None:
    deaf = port(listening.parent / "stale", fault=FAULT)
    assert only(sockets.check_sockets(served(tmp_path, deaf, port(listening)))).level is Level.OK


def test_sockets_that_cannot_be_checked(tmp_path: Path) -> None:
    assert list(sockets.check_sockets(make_site(tmp_path, DOWN))) == []
    found = only(sockets.check_sockets(served(tmp_path), tmp_path / "missing"))
    assert (found.level, "not checked" in found.text) == (Level.WARN, True)


@needs_root
@pytest.mark.parametrize(
    ("group", "mode", "may"),
    [(65534, 0o660, True), (0, 0o660, False), (65534, 0o640, False), (0, 0o666, True)],
)
def test_rights_of_sockets(
    tmp_path: Path, listening: Path, group: int, mode: int, may: bool
) -> None:
    os.chown(listening, 0, group)
    listening.chmod(mode)
    client = port(listening.parent / "stale", Mode.CLIENT)
    found = list(sockets.check_rights(served(tmp_path, client, port(listening)), NOBODY))
    assert len(found) == (not may)
    if not may:
        assert f"may not open {listening}" in found[0].text
        assert "socket_group" in found[0].fix
    assert list(sockets.check_rights(served(tmp_path, port(listening)), None)) == []
