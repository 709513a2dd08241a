# SPDX-License-Identifier: Apache-2.0
"""A dozen common faults, each provoked: what an operator reads names cause and remedy.

What the commands and the log print is looked at, not exceptions.  Where only the real
datapath can have the fault it is the one that runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.frontend.protocol import Disconnected, Request
from tests.frontend.vhost_user import WANTED, Frontend
from tests.functional.daemon import Daemon, DaemonFailed
from tests.functional.disk import fill, mounted
from tests.functional.waiting import wait_until
from vhost_brick_plugin.cli import main as cli
from vhost_brick_plugin.libvirt.domain import Hypervisor

MakeDaemon = Callable[..., Daemon]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts take root")

NO_OFFER = 1 << 63

CAPABILITIES = """<capabilities><host><secmodel><model>dac</model>
<baselabel type='kvm'>+4711:+4712</baselabel></secmodel></host></capabilities>"""

SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"


class Operator:
    """Somebody with a shell on the host of a daemon.

    :ivar daemon: the daemon.
    """

    def __init__(self, daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
        self.daemon = daemon
        self._capsys = capsys

    def run(self, *words: str) -> str:
        """Run ``vhost-brick`` and return all that it prints."""
        self._capsys.readouterr()
        cli.main(["--api-socket", str(self.daemon.api_socket), "--timeout", "10", *words])
        return "".join(self._capsys.readouterr())

    def create(self, port: str, *words: str) -> str:
        return self.run("port", "create", port, "--network", "blue", *words)

    def doctor(self) -> str:
        """Return each finding that is not ok and its fix, a line each."""
        rows = json.loads(self.run("doctor", "--json", "--connect", "test:///default"))
        return "\n".join(f"{r['finding']}: {r['fix']}" for r in rows if r["result"] != "ok")

    def socket(self, port: str) -> Path:
        return self.daemon.socket_path(port)


@pytest.fixture
def operator(fake_daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Operator:
    """An operator of a daemon with the network blue and the port p."""
    operator = Operator(fake_daemon, capsys)
    operator.run("network", "create", "blue")
    operator.create("p")
    return operator


def line_with(text: str, words: str) -> str:
    """Return the one line of *text* with *words*."""
    lines = [line for line in text.splitlines() if words in line]
    assert len(lines) == 1, text
    return lines[0]


# -- what is asked for -------------------------------------------------------


def test_mtu_too_large(operator: Operator) -> None:
    said = operator.create("q", "--mtu", "9999")
    assert "port q: MTU 9999 is out of range" in said
    assert "hint: Use 68 to 9198." in said


def test_mtu_larger_than_the_network_s(operator: Operator) -> None:
    operator.create("q", "--mtu", "9000")
    said = line_with(operator.doctor(), "port q has MTU 9000, its network blue 1500")
    assert "vhost-brick port create q --network blue --mtu 1500" in said


def test_wrong_network(operator: Operator) -> None:
    said = operator.run("port", "create", "q", "--network", "bleu")
    assert "error: there is no network 'bleu'" in said
    assert "'vhost-brick network create NAME' makes one." in said


def test_duplicate_mac(operator: Operator) -> None:
    operator.create("one", "--mac", "52:54:00:00:00:01")
    said = operator.create("two", "--mac", "52:54:00:00:00:01")
    assert "port two: 52:54:00:00:00:01 is the MAC of port one on network blue" in said
    assert "hint: Give the port a MAC that no other port of its network has." in said


# -- the daemon --------------------------------------------------------------


def test_daemon_down(operator: Operator) -> None:
    operator.daemon.kill9()
    for said in (operator.run("port", "list"), operator.doctor()):
        assert str(operator.daemon.api_socket) in said
        assert "Start vhost-brickd" in said


def test_two_daemons_on_one_state_directory(operator: Operator, make_daemon: MakeDaemon) -> None:
    first = operator.daemon
    with pytest.raises(DaemonFailed) as caught:
        make_daemon("fake", config={"daemon": {"state_dir": first.state_dir}})
    said = str(caught.value)
    assert f"another vhost-brickd (process {first.pid}) uses state_dir {first.state_dir}" in said
    assert "Stop it first, or give each daemon its own [daemon] state_dir" in said


@needs_root
def test_full_disk(operator: Operator) -> None:
    daemon = operator.daemon
    daemon.stop()
    with mounted(daemon.state_dir):
        try:
            daemon.start()
            operator.run("network", "create", "blue")
            fill(daemon.state_dir)
            said = operator.create("q")
            assert f"{daemon.state_dir}/ports.json" in said
            assert "No space left on device" in said
            assert "hint: Check space and permissions of [daemon] state_dir." in said
            said = line_with(operator.doctor(), "only 0 KiB are left")
            assert f"for {daemon.state_dir}: ports cannot be stored: Make room" in said
        finally:
            daemon.cleanup()


def test_no_hugepages_left(make_daemon: MakeDaemon) -> None:
    """The real datapath: a fake one takes no memory."""
    terabyte = {"dpdk": {"hugepages": "on", "memory_mb": 1024 * 1024}}
    with pytest.raises(DaemonFailed) as caught:
        make_daemon("dpdk", config=terabyte)
    said = str(caught.value)
    assert "DPDK did not start with 1048576 MiB of hugepages: " in said
    assert "reserve as many as [dpdk] memory_mb says" in said


# -- sockets -----------------------------------------------------------------


def test_stale_socket(operator: Operator) -> None:
    left = operator.socket("left")
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(left))
    said = line_with(operator.doctor(), f"{left} is stale")
    assert said.endswith(f"nobody listens there, and no port has it: rm {left}")


def test_a_file_in_the_way_of_qemu_s_socket(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once it is removed all is well, though no QEMU has come yet."""
    operator = Operator(daemon, capsys)
    operator.run("network", "create", "blue")
    operator.create("p", "--mode", "client")
    operator.socket("p").write_text("in the way")
    wait_until(lambda: "not_a_socket" in operator.run("port", "list"), "the fault")
    assert "Remove the file" in operator.run("port", "show", "p")
    operator.socket("p").unlink()
    wait_until(lambda: "not_a_socket" not in operator.run("port", "list"), "it to go")


def test_socket_of_another_program(operator: Operator) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(operator.socket("q")))
        other.listen()
        said = operator.create("q", "--mode", "server")
    assert f"another program listens on '{operator.socket('q')}'" in said
    assert "hint: Stop it, or use client mode if it is QEMU that listens." in said


def test_wrong_socket_group(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hypervisor, "capabilities", lambda _self: CAPABILITIES)
    operator.create("q", "--mode", "server")
    said = line_with(operator.doctor(), "port q: QEMU, running as 4711, may not open")
    assert str(operator.socket("q")) in said
    assert "Set [vhost] socket_group = 4712 and socket_mode = 0660" in said


# -- guests ------------------------------------------------------------------


@pytest.fixture
def define() -> Iterator[Callable[..., None]]:
    """Return a function that defines a domain named web with an interface on a socket."""
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    with contextlib.ExitStack() as stack:

        def make(path: Path, mode: str, memory: str = SHARED) -> None:
            text = (
                f"<domain type='test'><name>web</name><memory>1024</memory>{memory}"
                "<os><type>hvm</type></os><devices><interface type='vhostuser'>"
                f"<source type='unix' path='{path}' mode='{mode}'/><model type='virtio'/>"
                "</interface></devices></domain>"
            )
            stack.callback(connection.defineXML(text).undefine)

        yield make


def check(operator: Operator) -> tuple[str, str]:
    """Return what the two commands say that look at domains."""
    asked = operator.run("domain", "check", "web", "--json", "--connect", "test:///default")
    return asked, operator.doctor()


def test_memory_that_is_not_shared(operator: Operator, define: Callable[..., None]) -> None:
    define(operator.socket("p"), "server", memory="")
    for said in check(operator):
        assert "memory of domain web is not shared: the brick cannot reach it" in said
        assert f"Add to <domain>: {SHARED}" in said


def test_qemu_client_without_reconnect(operator: Operator, define: Callable[..., None]) -> None:
    operator.create("q", "--mode", "server")
    define(operator.socket("q"), "client")
    for said in check(operator):
        assert f"{operator.socket('q')}: QEMU is the client and will not reconnect" in said
        assert "Add to its <source>: <reconnect enabled='yes' timeout='1'/>" in said


def test_feature_refused(
    daemon: Daemon,
    make_frontend: Callable[..., Frontend],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The real datapath: it is what negotiates."""
    operator = Operator(daemon, capsys)
    operator.run("network", "create", "blue")
    operator.create("p", "--mode", "server")
    vm = make_frontend(operator.socket("p"))
    vm.open()
    with contextlib.suppress(Disconnected):
        vm.peer.send_raw(Request.SET_FEATURES, struct.pack("<Q", WANTED | NO_OFFER))
    vm.wait_disconnect()
    wait_until(lambda: daemon.client.port_show(id="p").fault is not None, "the fault")
    for said in (operator.run("port", "show", "p"), operator.doctor()):
        assert "the frontend insists on features that the port does not offer" in said
        assert "Stop the VM and start it again" in said
