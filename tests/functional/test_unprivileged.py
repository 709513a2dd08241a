# SPDX-License-Identifier: Apache-2.0
"""The daemon as a user of its own, with no more rights than its unit file gives it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.frontend.vuser import VUser
from tests.functional.daemon import Config, Daemon
from tests.functional.exchange import NETWORK, ensure_port, mac, wait_traffic
from tests.functional.netns import NetNs
from tests.functional.pair import STANDBY, Pair
from tests.functional.waiting import TIMEOUT
from tests.functional.wire import ETH_P_ALL
from vhost_brick_plugin.model import Uplink, UplinkKind

USER = 4711
QEMU = 4712
"""The group that QEMU's sockets have, of which the daemon's user is a member."""

CAP_NET_ADMIN = 1 << 12
TAP = "vbu0"
RATE = 2000
MEMORY_MB = 64

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def _become(*capabilities: str) -> list[str]:
    """Return words before a command that then has *capabilities* and nothing else."""
    only = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return [
        "setpriv",
        f"--reuid={USER}",
        f"--regid={USER}",
        f"--groups={QEMU}",
        "--no-new-privs",
        f"--inh-caps={only}",
        f"--ambient-caps={only}",
        f"--bounding-set={only}",
    ]


@pytest.fixture(scope="module", autouse=True)
def _readable() -> None:
    """Skip where the user cannot even read the code, as in a checkout below /root."""
    command = [
        *_become(),
        sys.executable,
        "-c",
        "import oslo_config, vhost_brick_plugin.datapath._native",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"user {USER} cannot run the code here: {done.stderr.strip()[-200:]}")


@pytest.fixture
def netns() -> Iterator[NetNs]:
    with NetNs(f"vbu-{os.getpid()}") as ns:
        yield ns


@pytest.fixture
def prepare(
    short_dir: Path, show_log: Callable[[Daemon], None]
) -> Iterator[Callable[..., Daemon]]:
    """Return a function that makes a daemon of the user, with its directories, not started."""
    made: list[Daemon] = []
    short_dir.chmod(0o755)
    # As libvirt lets QEMU have it.
    umask = os.umask(0o002)

    def make(config: Config, wrap: Sequence[str] = (), beside: Daemon | None = None) -> Daemon:
        directory = short_dir / f"u{len(made)}"
        directory.mkdir(mode=0o755)
        access = {"daemon": {"api_socket_group": QEMU}, "vhost": {"socket_group": QEMU}}
        both = {
            group: {**access.get(group, {}), **config.get(group, {})}
            for group in {*access, *config}
        }
        daemon = Daemon(directory, config=both, wrap=wrap, beside=beside)
        made.append(daemon)
        show_log(daemon)
        (directory / "notify").chmod(0o777)
        if beside is None:
            for owned in (directory, daemon.state_dir):
                os.chown(owned, USER, USER)
            # The daemon makes it itself, and QEMU's group has to be able to use it.
            daemon.socket_dir.rmdir()
        return daemon

    yield make
    os.umask(umask)
    for daemon in made:
        daemon.cleanup()


def _plug(daemon: Daemon, vm: VUser, *modes: str) -> list[tuple[VUser, str]]:
    """Make two ports in these modes, whose frontends send to each other."""
    for i, port in enumerate("ab"):
        path = ensure_port(daemon, port, modes[i], i)
        vm.add(port, path, server=modes[i] == "client", mac=mac(i))
    for i, port in enumerate("ab"):
        vm.wait_link(port)
        vm.start(port, dst=mac(1 - i), rate=RATE)
    return [(vm, port) for port in "ab"]


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _check_rights(daemon: Daemon, capabilities: int) -> None:
    status = _status(daemon.pid)
    assert status["Uid"].split() == [str(USER)] * 4
    assert status["Groups"].split() == [str(QEMU)]
    assert status["NoNewPrivs"] == "1"
    for which in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[which], 16) == capabilities
    # No core file of any kind: neither the limit nor the process lets it be.
    limits = Path(f"/proc/{daemon.pid}/limits").read_text().splitlines()
    core = next(line for line in limits if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
    assert Path(f"/proc/{daemon.pid}/mem").stat().st_uid == 0


def test_it_serves_guests_without_any_capability(
    prepare: Callable[..., Daemon], make_vuser: Callable[..., VUser]
) -> None:
    daemon = prepare({}, _become()).start()
    _check_rights(daemon, 0)
    found = daemon.socket_dir.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (USER, QEMU, 0o2770)
    ends = _plug(daemon, make_vuser(), "client", "client")
    wait_traffic(ends)
    daemon.restart()
    wait_traffic(ends)


def test_it_listens_for_qemu(
    prepare: Callable[..., Daemon], make_vuser: Callable[..., VUser]
) -> None:
    daemon = prepare({}, _become()).start()
    wait_traffic(_plug(daemon, make_vuser(), "server", "server"))
    for port in "ab":
        found = daemon.socket_path(port).stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (USER, QEMU, 0o660)


def test_it_serves_guests_from_hugepages(
    prepare: Callable[..., Daemon],
    make_vuser: Callable[..., VUser],
    hugepages: Callable[[int], None],
) -> None:
    hugepages(MEMORY_MB // 2)
    # No hugetlbfs is mounted for it: it needs none.
    options = {"hugepages": "on", "memory_mb": MEMORY_MB, "mbufs": 8192}
    daemon = prepare({"dpdk": options}, _become()).start()
    assert "of hugepages" in daemon.client.hello().datapath_info["memory"]
    ends = _plug(daemon, make_vuser(), "client", "client")
    wait_traffic(ends)
    daemon.restart()
    wait_traffic(ends)


def test_a_tap_takes_one_capability(
    prepare: Callable[..., Daemon], make_vuser: Callable[..., VUser], netns: NetNs
) -> None:
    daemon = prepare({}, [*netns.exec, *_become("net_admin")]).start()
    _check_rights(daemon, CAP_NET_ADMIN)
    uplink = Uplink(kind=UplinkKind.TAP, name=TAP)
    daemon.client.network_ensure(network=NETWORK, uplinks=(uplink,))
    vm = make_vuser()
    _plug(daemon, vm, "client", "client")
    sender = bytes.fromhex(mac(0).replace(":", ""))
    with netns.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.settimeout(TIMEOUT)
        wire.bind((TAP, ETH_P_ALL))
        vm.start("a", dst="ff:ff:ff:ff:ff:ff", rate=RATE)
        while wire.recv(65536)[6:12] != sender:
            pass


def test_one_takes_over_from_the_other(
    prepare: Callable[..., Daemon], make_vuser: Callable[..., VUser]
) -> None:
    first = prepare(STANDBY, _become()).start()
    pair = Pair(first, prepare(STANDBY, _become(), beside=first))
    pair.start_standby()
    ends = _plug(pair.serving, make_vuser(), "client", "server")
    wait_traffic(ends)
    pair.kill()
    wait_traffic(ends)
