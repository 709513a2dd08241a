# SPDX-License-Identifier: Apache-2.0
"""The ``qemu`` hook, on what libvirt 9.0 gave a hook, against the daemon's real service.

``hook_stdin`` was recorded from a libvirtd that started a domain, one time with success.
"""

from __future__ import annotations

import io
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.stub_daemon import StubDaemon, silent_daemon
from tests.unit.support import Bench
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.libvirt import hook, owned
from vhost_brick_plugin.model import Mode, Port

RECORDED = Path(__file__).parent / "hook_stdin"
UUID = "3f52f167-5203-48bc-ad31-634fea076069"
OTHER_UUID = UUID.replace("3f", "40")

SUBOPERATIONS = {"stopped": "end", "release": "end"}
OPERATIONS = (
    *("prepare", "start", "started", "stopped", "release"),
    *("reconnect", "migrate", "restore", "attach"),
)
QUIET = [name for name in OPERATIONS if name not in hook.ACTIONS]

SCRIPT = Path(__file__).parents[2] / "etc/libvirt/hooks/qemu.d/vhost-brick"


class Host:
    """The daemon's service behind a socket, and the hook as libvirt calls it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.bench = Bench(directory)
        self.bench.call(methods.NetworkEnsure(network="blue"))
        self.socket = directory / "hook-api"
        self.timeout = 10.0
        self._capsys = capsys

    def xml(self, operation: str, **changes: str) -> str:
        """Return what was recorded; of an operation that was not, what is most like it."""
        file = RECORDED / f"{operation}.xml"
        text = (file if file.exists() else RECORDED / "start.xml").read_text()
        text = text.replace("/run/vhost-brick/sockets", str(self.bench.sockets))
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        return text

    def run(self, operation: str, text: str | None = None) -> tuple[int, str]:
        """Call the hook; return its exit status and what it said."""
        options = ["--api-socket", str(self.socket), "--timeout", str(self.timeout), "--"]
        words = ["web", operation, SUBOPERATIONS.get(operation, "begin"), "-"]
        stdin = io.BytesIO((self.xml(operation) if text is None else text).encode())
        status = hook.main([*options, *words], stdin)
        out, err = self._capsys.readouterr()
        assert out == "", "libvirt would take it for a domain"
        return status, err

    def port(self) -> Port | None:
        found = self.bench.call(methods.PortListCall()).ports
        return next((status.port for status in found), None)


@pytest.fixture
def host(short_dir: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Host]:
    host = Host(short_dir, capsys)
    methods_used = (methods.PortShow, methods.PortEnsure, methods.PortRemove)
    with StubDaemon(host.socket, dict.fromkeys(methods_used, host.bench.call)):
        yield host


# -- a domain's life ---------------------------------------------------------


def test_the_port_is_there_from_prepare_to_release(host: Host) -> None:
    assert host.run("prepare") == (0, "")
    port = host.port()
    assert port is not None
    assert (port.id, port.network, port.mode) == ("web", "blue", Mode.SERVER)
    assert (port.mac, port.socket_path) == (
        "52:54:00:6d:2c:5e",
        str(host.bench.sockets / "web"),
    )
    assert port.metadata["instance_name"] == "web"
    assert port.metadata["instance_uuid"] == UUID
    for operation in ("start", "started", "reconnect", "stopped"):
        assert host.run(operation) == (0, "")
        assert host.port() == port
    assert host.run("release") == (0, "")
    assert host.port() is None


def test_mtu_and_queues_are_the_metadatas(host: Host) -> None:
    text = host.xml("prepare", **{'network="blue"': 'network="blue" mtu="1400" queues="2"'})
    assert host.run("prepare", text) == (0, "")
    port = host.port()
    assert port is not None
    assert (port.mtu, port.queues) == (1400, 2)


def test_release_before_prepare_and_twice_is_fine(host: Host) -> None:
    assert host.run("release") == (0, "")
    host.run("prepare")
    assert [host.run("release"), host.run("release")] == [(0, ""), (0, "")]


def test_what_was_left_over_is_taken_again_with_a_new_mark(host: Host) -> None:
    host.run("prepare")
    first = host.port()
    assert host.run("prepare") == (0, "")
    second = host.port()
    assert first is not None
    assert second is not None
    assert first.same_datapath(second)
    assert int(first.metadata[owned.START]) < int(second.metadata[owned.START])


# -- never in the way --------------------------------------------------------


@pytest.mark.parametrize("operation", QUIET)
def test_other_operations_never_fail_and_read_nothing(operation: str, host: Host) -> None:
    host.socket = Path("/nonexistent")
    assert host.run(operation, "<no xml") == (0, "")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_domains_of_others_are_none_of_its_business(operation: str, host: Host) -> None:
    host.socket = Path("/nonexistent")
    text = re.sub("<metadata>.*</metadata>", "", host.xml(operation), flags=re.DOTALL)
    assert host.run(operation, text) == (0, "")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_script_harms_no_guest_where_the_program_is_gone(operation: str) -> None:
    gone = SCRIPT.read_text().replace("/usr/local/bin/vhost-brick-hook", "/nonexistent")
    words = ["sh", "-c", gone, str(SCRIPT), "web", operation, "begin", "-"]
    done = subprocess.run(words, capture_output=True, text=True, input="<domain/>")
    assert bool(done.returncode) is (operation in hook.ACTIONS)
    assert done.stdout == ""


def test_the_script_may_be_executed() -> None:
    assert SCRIPT.stat().st_mode & 0o111 == 0o111


# -- what libvirt's log says -------------------------------------------------


def check_refusal(outcome: tuple[int, str], *words: str) -> None:
    status, err = outcome
    assert status == hook.EXIT_FAILED
    assert err.startswith("vhost-brick: ")
    assert err.count("\n") == 1, "libvirt's log has one line for it"
    for word in ("domain web", *words):
        assert word in err


def test_no_such_network(host: Host) -> None:
    text = host.xml("prepare", blue="green")
    check_refusal(host.run("prepare", text), "port web", "'green'", "vhost-brick network create")
    assert host.port() is None


def test_no_interface_on_the_socket(host: Host) -> None:
    text = host.xml("prepare", **{"/web' mode": "/other' mode"})
    check_refusal(host.run("prepare", text), "port web", "/web", "vhost-brick domain attach web")


def test_memory_that_is_not_shared(host: Host) -> None:
    text = host.xml("prepare", **{"<access mode='shared'/>": ""})
    check_refusal(host.run("prepare", text), "is not shared", "memoryBacking")
    assert host.port() is None


def test_more_queues_than_the_port_offers(host: Host) -> None:
    text = host.xml("prepare", **{"<model type='virtio'/>": "<driver queues='5'/>"})
    check_refusal(host.run("prepare", text), "port web offers 4 queue pairs")


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ('network="blue"', "", "attribute network is missing"),
        ('network="blue"', 'network="blue" speed="1"', "no attribute speed"),
        ('network="blue"', 'network="blue" mtu="big"', "mtu is 'big'"),
        ('name="web"', 'name="a b"', "not a valid name"),
    ],
)
def test_metadata_that_is_wrong(host: Host, before: str, after: str, word: str) -> None:
    text = host.xml("prepare", **{before: after})
    check_refusal(host.run("prepare", text), "in its metadata", word, "virsh edit web")


def test_no_daemon(host: Host) -> None:
    host.socket, host.timeout = Path("/nonexistent"), 0.05
    for operation in hook.ACTIONS:
        check_refusal(host.run(operation), "port web", "cannot reach vhost-brickd at /nonexistent")


def test_a_daemon_that_hangs(host: Host, short_dir: Path) -> None:
    host.socket, host.timeout = short_dir / "silent", 0.05
    with silent_daemon(host.socket):
        began = time.monotonic()
        check_refusal(host.run("prepare"), "port web", "did not answer within")
    assert time.monotonic() - began < 5


def test_a_daemon_that_cannot_store_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise errors.StateError("no space left", hint="make some")

    monkeypatch.setattr(host.bench.store, "save", fail)
    check_refusal(host.run("prepare"), "port web: no space left (make some)")


# -- whose port --------------------------------------------------------------


def test_the_port_of_another_domain_is_refused_and_stays(host: Host) -> None:
    host.run("prepare", host.xml("prepare", **{UUID: OTHER_UUID}))
    theirs = host.port()
    check_refusal(host.run("prepare"), "port web", f"belongs to domain web ({OTHER_UUID})")
    assert host.run("release") == (0, "")
    assert host.port() == theirs


def by_hand(host: Host, **changes: object) -> Port:
    values = {"mode": Mode.SERVER, "mac": "52:54:00:6d:2c:5e", "metadata": {"note": "mine"}}
    return host.bench.ensure("web", "blue", **{**values, **changes}).port


def test_a_port_made_by_hand_is_used_and_stays(host: Host) -> None:
    made = by_hand(host)
    assert host.run("prepare") == (0, "")
    assert host.port() == made
    assert host.run("release") == (0, "")
    assert host.port() == made


def test_a_port_made_by_hand_in_the_wrong_mode(host: Host) -> None:
    by_hand(host, mode=Mode.CLIENT)
    check_refusal(host.run("prepare"), "brick and QEMU both connect")


def test_a_port_made_by_hand_elsewhere(host: Host) -> None:
    made = by_hand(host, socket_path=str(host.bench.sockets / "elsewhere"))
    check_refusal(host.run("prepare"), "somebody has made it already", "/elsewhere")
    assert host.port() == made


# -- what is left over -------------------------------------------------------


@pytest.fixture
def left_over(host: Host) -> Callable[..., list[str]]:
    """Return a function that removes what is left over, and returns the names that went."""

    def remove(*running: str, meanwhile: Callable[[], object] = lambda: None) -> list[str]:
        ports = host.bench.call(methods.PortListCall()).ports
        meanwhile()
        found = owned.left_over(ports, running)
        return [s.port.id for s, removal in found if host.bench.call(removal).existed]

    return remove


def test_the_port_of_a_domain_that_is_gone_is_left_over(
    host: Host, left_over: Callable[..., list[str]]
) -> None:
    host.run("prepare")
    assert left_over(UUID) == []
    assert left_over(OTHER_UUID) == ["web"]
    assert host.port() is None


def test_a_domain_that_starts_meanwhile_keeps_its_port(
    host: Host, left_over: Callable[..., list[str]]
) -> None:
    host.run("prepare")
    assert left_over(meanwhile=lambda: host.run("prepare")) == []
    assert host.port() is not None


def test_ports_of_nova_and_by_hand_are_never_left_over(
    host: Host, left_over: Callable[..., list[str]]
) -> None:
    by_hand(host, metadata={"instance_uuid": UUID, "instance_name": "web"})
    assert left_over() == []
