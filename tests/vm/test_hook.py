# SPDX-License-Identifier: Apache-2.0
"""A domain whose port comes and goes with it, by libvirt's hook and plain ``virsh start``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.waiting import wait_until
from tools.lab.lab import Guest
from tools.lab.pair import BOOT_TIMEOUT_S
from tools.lab.stand import NETWORK, Host, Stand, work_dir

NAME = "hooked"
VIRSH_TIMEOUT_S = 60


@pytest.fixture(scope="module")
def stand(logged: Callable[[Stand], None]) -> Iterator[Stand]:
    """Return a running daemon, and a libvirt that has our hook."""
    with work_dir("vb-hook") as directory, Stand(Host.probe(), directory, hook=True) as stand:
        logged(stand)
        stand.create_network()
        yield stand


@pytest.fixture
def guest(stand: Stand) -> Iterator[Guest]:
    """Return a guest that nobody has defined yet."""
    guest = stand.guest(NAME)
    yield guest
    guest.destroy()
    guest.undefine()


@pytest.fixture(params=["client", "server"])
def defined(request: pytest.FixtureRequest, stand: Stand, guest: Guest, tmp_path: Path) -> Guest:
    """Define it, with a port of its own that does not exist yet."""
    define(stand, guest, tmp_path, request.param)
    return guest


def define(stand: Stand, guest: Guest, directory: Path, mode: str) -> None:
    file = directory / "domain.xml"
    file.write_text(guest.xml())
    options = ("--port", NAME, "--network", NETWORK, "--mode", mode)
    stand.run("domain", "define", str(file), *options)
    guest.expect()
    guest.adopt()
    assert ports(stand) == {}


def virsh(stand: Stand, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["virsh", "-c", stand.libvirt.uri, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=VIRSH_TIMEOUT_S)


def start(stand: Stand, guest: Guest) -> None:
    done = virsh(stand, "start", NAME)
    assert done.returncode == 0, done.stderr
    guest.wait_report(timeout=BOOT_TIMEOUT_S)


def ports(stand: Stand) -> dict[str, Any]:
    return {port["id"]: port for port in stand.show("port", "list")}


def test_plain_virsh_makes_the_port_and_removes_it(stand: Stand, defined: Guest) -> None:
    start(stand, defined)
    assert ports(stand)[NAME]["state"] == "running"
    assert virsh(stand, "destroy", NAME).returncode == 0
    assert ports(stand) == {}

    defined.expect()
    assert virsh(stand, "start", NAME).returncode == 0
    os.kill(defined.pid, signal.SIGKILL)
    wait_until(lambda: ports(stand) == {}, "libvirt to notice", interval=0.2)


def test_no_network_no_start(stand: Stand, guest: Guest, tmp_path: Path) -> None:
    file = tmp_path / "domain.xml"
    file.write_text(guest.xml())
    stand.run("domain", "define", str(file), "--port", NAME, "--network", "nowhere")
    guest.adopt()
    done = virsh(stand, "start", NAME)
    assert done.returncode != 0
    for text in (done.stderr, (stand.libvirt.work_dir / "log/libvirtd.log").read_text()):
        assert f"vhost-brick: domain {NAME}: port {NAME}: there is no network 'nowhere'" in text
    assert ports(stand) == {}


def test_a_card_that_is_plugged_in_has_a_port_as_long_as_it_is_there(
    stand: Stand, guest: Guest, tmp_path: Path
) -> None:
    define(stand, guest, tmp_path, "client")
    start(stand, guest)
    stand.run("domain", "attach", NAME, "more", "--network", NETWORK, "--mode", "client")
    assert set(ports(stand)) == {NAME, "more"}
    stand.run("domain", "detach", NAME, "more")
    assert set(ports(stand)) == {NAME}

    # And the hook knows of it if it is there at the end.
    stand.run("domain", "attach", NAME, "more", "--network", NETWORK, "--mode", "client", "--live")
    assert virsh(stand, "destroy", NAME).returncode == 0
    assert ports(stand) == {}


def test_a_guest_outlives_a_libvirtd_that_starts_anew_without_the_daemon(
    stand: Stand, guest: Guest, tmp_path: Path
) -> None:
    """libvirt calls the hook for each guest that it finds; if that failed it would kill it."""
    define(stand, guest, tmp_path, "client")
    start(stand, guest)
    pid = guest.pid
    stand.brickd.stop()
    stand.libvirt.restart()
    guest.adopt()
    assert guest.domain.isActive()
    assert guest.pid == pid
    stand.brickd.start()
    wait_until(lambda: ports(stand)[NAME]["state"] == "running", "the port to run", interval=0.2)
    assert virsh(stand, "destroy", NAME).returncode == 0
    assert ports(stand) == {}


def test_what_a_host_without_power_leaves_is_removed(
    stand: Stand, guest: Guest, tmp_path: Path
) -> None:
    define(stand, guest, tmp_path, "client")
    start(stand, guest)
    stand.run("domain", "reconcile")
    assert set(ports(stand)) == {NAME}, "its domain runs"

    number = len(stand.brickd.lives)
    stand.libvirt.stop()  # First libvirtd, then QEMU: nobody calls a hook.
    stand.brickd.kill()
    stand.brickd.wait_ready(number)
    stand.libvirt.start()
    with contextlib.ExitStack() as stack:
        stack.callback(guest.let_go)  # This libvirt knows no domains.
        assert set(ports(stand)) == {NAME}, "it was stored"
        assert stand.run("domain", "reconcile") == f"removed port {NAME} of domain {NAME}\n"
        assert ports(stand) == {}
