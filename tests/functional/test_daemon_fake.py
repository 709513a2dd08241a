# SPDX-License-Identifier: Apache-2.0
"""The real daemon over the fake datapath: what it promises whatever moves the packets."""

from __future__ import annotations

import json
import os
import random
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import Daemon, DaemonFailed
from tests.functional.disk import fill, mounted
from tests.functional.waiting import wait_until
from vhost_brick_plugin import errors, model
from vhost_brick_plugin.api import methods, wire
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.model import Uplink, UplinkKind

KILLS = 200
MakeDaemon = Callable[..., Daemon]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and interfaces take root")


def ensure(daemon: Daemon, id: str, **params: Any) -> methods.PortStatus:
    params = {"network": "n", "create_network": True, **params}
    status: methods.PortStatus = daemon.client.port_ensure(id=id, **params)
    return status


def port_ids(daemon: Daemon) -> set[str]:
    return {status.port.id for status in daemon.client.port_list().ports}


def state_file(daemon: Daemon) -> Path:
    return daemon.state_dir / "ports.json"


# -- state ------------------------------------------------------------------


class Churn(threading.Thread):
    """Creates and deletes ports until the daemon is killed under it.

    :ivar there: ports whose creation was acknowledged last.
    :ivar unknown: the port of the call that got no answer.
    """

    def __init__(self, client: Client, there: set[str], rng: random.Random) -> None:
        super().__init__()
        self.there = there
        self.unknown: str | None = None
        self.acknowledged = threading.Semaphore(0)
        self._client = client
        self._rng = rng

    def run(self) -> None:
        while self.unknown is None:
            self._step(f"p{self._rng.randrange(40)}")

    def _step(self, id: str) -> None:
        try:
            if id in self.there:
                self._client.port_remove(id=id)
            else:
                self._client.port_ensure(id=id, network="n", create_network=True)
        except errors.DaemonUnreachable:
            self.unknown = id
            return
        self.there ^= {id}
        self.acknowledged.release()


@pytest.mark.timeout(300)
def test_no_kill_loses_what_was_acknowledged(fake_daemon: Daemon) -> None:
    rng = random.Random(2)
    there: set[str] = set()
    for _ in range(KILLS):
        churn = Churn(fake_daemon.client, there, rng)
        churn.start()
        for _ in range(rng.randrange(4)):
            assert churn.acknowledged.acquire(timeout=10)
        _spin(rng.uniform(0, 0.004))
        fake_daemon.kill9()
        churn.join(10)
        fake_daemon.start()
        found = port_ids(fake_daemon)
        assert churn.unknown is not None
        assert found - {churn.unknown} == churn.there - {churn.unknown}
        there = found


def _spin(seconds: float) -> None:
    """Let a random moment pass, so that the kill hits anywhere in a write."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


@pytest.mark.parametrize("size", [0, 100, -10])
def test_a_truncated_state_file_loses_nothing(fake_daemon: Daemon, size: int) -> None:
    for i in range(5):
        ensure(fake_daemon, f"p{i}")
    before = fake_daemon.client.port_list()
    fake_daemon.kill9()
    data = state_file(fake_daemon).read_bytes()
    state_file(fake_daemon).write_bytes(data[:size])

    fake_daemon.start()

    assert fake_daemon.client.port_list() == before
    (aside,) = fake_daemon.state_dir.glob("ports.json.damaged-*")
    assert aside.read_bytes() == data[:size]
    (line,) = [x for x in fake_daemon.log_tail().splitlines() if "was damaged" in x]
    for path in (state_file(fake_daemon), aside, fake_daemon.state_dir / "ports.json.bak"):
        assert str(path) in line
    assert "ERROR" in line


def test_with_both_copies_damaged_it_refuses_to_start(fake_daemon: Daemon) -> None:
    ensure(fake_daemon, "p")
    fake_daemon.kill9()
    for file in fake_daemon.state_dir.glob("ports.json*"):
        file.write_bytes(b"{")
    for _ in range(2):  # And not to start empty the second time.
        with pytest.raises(DaemonFailed, match="ended with 1") as caught:
            fake_daemon.start()
        assert "ports.json.bak" in str(caught.value)
        assert "Put a backup in place" in str(caught.value)


@pytest.fixture
def small_disk(make_daemon: MakeDaemon) -> Iterator[Daemon]:
    """A daemon whose state directory is a small file system."""
    daemon = make_daemon("fake")
    daemon.stop()
    with mounted(daemon.state_dir):
        try:
            yield daemon.start()
        finally:
            daemon.cleanup()


@needs_root
def test_a_full_disk_refuses_changes_and_loses_nothing(small_disk: Daemon) -> None:
    for i in range(3):
        ensure(small_disk, f"p{i}")
    before = small_disk.client.port_list(), small_disk.client.network_list()
    filler = fill(small_disk.state_dir)
    for change in (
        lambda: ensure(small_disk, "new", network="m"),
        lambda: ensure(small_disk, "p0", mtu=1400),
        lambda: small_disk.client.port_remove(id="p1"),
        lambda: small_disk.client.network_ensure(network="m"),
    ):
        with pytest.raises(errors.StateError, match="No space left") as caught:
            change()
        assert "state_dir" in caught.value.hint
    assert (small_disk.client.port_list(), small_disk.client.network_list()) == before

    small_disk.restart()
    assert (small_disk.client.port_list(), small_disk.client.network_list()) == before

    filler.unlink()
    ensure(small_disk, "new")
    small_disk.restart()
    assert port_ids(small_disk) == {"p0", "p1", "p2", "new"}


@needs_root
def test_a_disk_that_fills_up_while_ports_come(small_disk: Daemon) -> None:
    acknowledged: set[str] = set()

    def create() -> None:
        for i in range(10000):
            ensure(small_disk, f"p{i}", metadata={"text": "x" * 1000})
            acknowledged.add(f"p{i}")

    with pytest.raises(errors.StateError, match="No space left"):
        create()
    assert port_ids(small_disk) == acknowledged
    small_disk.restart()
    assert port_ids(small_disk) == acknowledged


# -- restarts ---------------------------------------------------------------


def test_a_restart_restores_everything(fake_daemon: Daemon) -> None:
    ensure(fake_daemon, "c", mode="client", mtu=1400, queues=2, metadata={"a": "b"})
    ensure(fake_daemon, "s:1", mode="server", network="m")
    before = fake_daemon.client.port_list(), fake_daemon.client.network_list()
    fake_daemon.restart()
    assert (fake_daemon.client.port_list(), fake_daemon.client.network_list()) == before
    ready = [x for x in fake_daemon.log_tail().splitlines() if "Ready: 2 of 2 ports" in x]
    assert re.search(
        r"process [\d.]+, settings [\d.]+, datapath [\d.]+, ports [\d.]+, ready [\d.]+", ready[0]
    )
    startup = fake_daemon.client.hello().startup_ms
    parts = ("process", "settings", "datapath", "ports", "ready")
    assert tuple(startup) == (*parts, "total")
    assert startup["total"] == pytest.approx(sum(startup[p] for p in parts), abs=1)


def test_a_port_that_cannot_be_served_comes_back_by_itself(
    fake_daemon: Daemon, short_dir: Path
) -> None:
    directory = short_dir / "vm"
    directory.mkdir()
    ensure(fake_daemon, "lost", socket_path=f"{directory}/s")
    ensure(fake_daemon, "fine")
    fake_daemon.kill9()
    directory.rmdir()
    fake_daemon.start()
    status = fake_daemon.client.port_show(id="lost")
    assert status.state == "fault"
    assert status.fault.name == "invalid_socket_path"
    assert str(directory) in status.fault.message
    assert fake_daemon.client.port_show(id="fine").state == "waiting"
    assert "port lost is not served" in fake_daemon.log_tail()
    assert "1 of 2 ports" in fake_daemon.log_tail()

    directory.mkdir()
    wait_until(lambda: fake_daemon.client.port_show(id="lost").state == "waiting", "its return")
    assert "port lost is served now" in fake_daemon.log_tail()


def test_the_boot_record_is_used(fake_daemon: Daemon) -> None:
    _edit_boot_record(fake_daemon, max_queues=3)
    fake_daemon.restart()
    assert ensure(fake_daemon, "a").port.queues == 3


def test_the_boot_record_of_another_configuration_is_not(fake_daemon: Daemon) -> None:
    _edit_boot_record(fake_daemon, max_queues=3)
    fake_daemon.configure({"vhost": {"max_queues": 5}})
    fake_daemon.restart()
    assert ensure(fake_daemon, "a").port.queues == 5


def test_a_boot_record_that_no_longer_works_costs_one_more_try(fake_daemon: Daemon) -> None:
    ensure(fake_daemon, "a")
    _edit_boot_record(fake_daemon, datapath_class="vhost_brick_plugin.datapath.fake:Gone")
    fake_daemon.restart()
    assert port_ids(fake_daemon) == {"a"}
    assert "Gone" not in (fake_daemon.state_dir / "boot.json").read_text()


def _edit_boot_record(daemon: Daemon, **changes: object) -> None:
    path = daemon.state_dir / "boot.json"
    record = json.loads(path.read_text())
    record["settings"] |= changes
    path.write_text(json.dumps(record))


def test_sigterm_leaves_nothing_of_ours_and_all_of_qemus(fake_daemon: Daemon) -> None:
    ensure(fake_daemon, "s", mode="server")
    ensure(fake_daemon, "c", mode="client")
    with socket.socket(socket.AF_UNIX) as qemu:
        qemu.bind(str(fake_daemon.socket_path("c")))
        assert fake_daemon.socket_path("s").is_socket()
        assert fake_daemon.stop() == 0
        assert not fake_daemon.api_socket.exists()
        assert [p.name for p in fake_daemon.socket_dir.iterdir()] == ["c"]
    fake_daemon.start()
    assert port_ids(fake_daemon) == {"c", "s"}


def test_a_stale_api_socket_is_no_obstacle(fake_daemon: Daemon) -> None:
    fake_daemon.kill9()
    assert fake_daemon.api_socket.is_socket()
    with pytest.raises(errors.DaemonUnreachable):
        fake_daemon.client.hello()
    fake_daemon.start()
    assert fake_daemon.client.hello().pid == fake_daemon.pid


def test_two_daemons_never_share(make_daemon: MakeDaemon) -> None:
    first = make_daemon("fake")
    ensure(first, "a")
    same_state = {"daemon": {"state_dir": first.state_dir}}
    with pytest.raises(DaemonFailed, match=rf"process {first.pid}\) uses state_dir"):
        make_daemon("fake", config=same_state)
    same_api = {"daemon": {"api_socket": first.api_socket}}
    with pytest.raises(DaemonFailed, match=rf"process {first.pid}\) uses api_socket"):
        make_daemon("fake", config=same_api)
    assert port_ids(first) == {"a"}


def test_a_bad_option_is_told_on_one_line(make_daemon: MakeDaemon) -> None:
    with pytest.raises(DaemonFailed) as caught:
        make_daemon("fake", config={"vhost": {"max_queues": 0}})
    assert "ended with 1" in str(caught.value)
    assert "max_queues" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_watchdog(make_daemon: MakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    daemon = make_daemon("fake")
    daemon._notify.settimeout(10)
    for _ in range(3):
        assert daemon._notify.recv(100) == b"WATCHDOG=1"


# -- the control socket -----------------------------------------------------


def test_hello(fake_daemon: Daemon) -> None:
    hello = fake_daemon.client.hello()
    assert (hello.pid, hello.datapath) == (fake_daemon.pid, "fake")
    assert set(hello.methods) == set(methods.METHODS)
    assert hello.datapath_info["datapath"] == "fake"
    assert time.time() - 60 < hello.started < time.time()
    assert fake_daemon.client.hello().started == hello.started


def test_config_dump(fake_daemon: Daemon) -> None:
    dumped = fake_daemon.client.config_dump()
    assert dumped.files == (str(fake_daemon.config_path),)
    assert dumped.options["daemon.state_dir"] == str(fake_daemon.state_dir)


def test_watch(fake_daemon: Daemon) -> None:
    stream = fake_daemon.client.watch("a")
    ensure(fake_daemon, "b")
    ensure(fake_daemon, "a")
    event = next(stream)
    assert (event.kind, event.port) == ("port_added", "a")


def test_sockets_have_their_rights(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(
        "fake",
        config={"daemon": {"api_socket_mode": "0600"}, "vhost": {"socket_mode": "0606"}},
    )
    ensure(daemon, "s", mode="server")
    assert stat.S_IMODE(daemon.api_socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(daemon.socket_path("s").stat().st_mode) == 0o606


STRANGER, GROUP = 4711, 4712
# Drops its rights after the imports: the checkout may lie where only root can read.
CALL_HELLO = f"""
import os, sys
from vhost_brick_plugin.api.client import Client
os.setgroups([int(group) for group in sys.argv[2:]])
os.setgid({STRANGER})
os.setuid({STRANGER})
print(Client(sys.argv[1]).hello().pid)
"""


@needs_root
def test_only_root_and_the_group_get_in(make_daemon: MakeDaemon, short_dir: Path) -> None:
    short_dir.chmod(0o755)
    daemon = make_daemon("fake", config={"daemon": {"api_socket_group": str(GROUP)}})

    def call(*groups: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", CALL_HELLO, str(daemon.api_socket), *map(str, groups)]
        return subprocess.run(command, capture_output=True, text=True)

    assert call(GROUP).stdout == f"{daemon.pid}\n"
    assert "Permission denied" in call().stderr
    ensure(daemon, "a")
    status = state_file(daemon).stat()
    assert (status.st_gid, stat.S_IMODE(status.st_mode)) == (GROUP, 0o640)


@needs_root
def test_a_tap_comes_and_goes_with_its_network(fake_daemon: Daemon) -> None:
    name = f"vbf{os.getpid() % 100000}"
    interface = Path(f"/sys/class/net/{name}")
    uplinks = (Uplink(kind=UplinkKind.TAP, name=name),)
    try:
        fake_daemon.client.network_ensure(network="n", uplinks=uplinks, mtu=1400)
        assert (interface / "mtu").read_text() == "1400\n"
        assert (interface / "ifalias").read_text() == "vhost-brick\n"
        index = (interface / "ifindex").read_text()
        fake_daemon.restart()
        assert (interface / "ifindex").read_text() == index
        fake_daemon.client.network_ensure(network="n", uplinks=())
        assert not interface.exists()
    finally:
        if interface.exists():
            subprocess.run(["ip", "link", "del", name], check=True)


# -- bad input --------------------------------------------------------------


def _request(method: str, **params: Any) -> bytes:
    line = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.dumps(line).encode() + b"\n"


def _port(**params: Any) -> bytes:
    return _request("port_ensure", **{"id": "x", "network": "n", **params})


BAD: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"hello\n", "parse_error"),
    "half a request": (_request("hello")[:-10], "parse_error"),
    "oversized request": (_request("hello", pad="x" * wire.MAX_REQUEST), "request_too_large"),
    "oversized and unfinished": (b"x" * 2 * wire.MAX_REQUEST, "request_too_large"),
    "no JSON-RPC": (b"{}\n", "invalid_request"),
    "unknown method": (_request("port_creat"), "method_not_found"),
    "unknown parameter": (_port(colour="red"), "invalid_params"),
    "missing parameter": (_request("port_ensure", id="x"), "invalid_params"),
    "wrong type": (_port(mtu="big"), "invalid_params"),
    "wrong type inside": (_port(metadata={"a": 1}), "invalid_params"),
    "wrong mode": (_port(mode="both"), "invalid_params"),
    "bad id": (_port(id="../x"), "invalid_params"),
    "bad MAC": (_port(mac="mac"), "invalid_params"),
    "duplicate MAC": (_port(mac=model.default_mac("a")), "duplicate_mac"),
    "bad MTU": (_port(mtu=1), "invalid_params"),
    "unknown network": (_port(network="nope"), "network_not_found"),
    "too many queues": (_port(queues=17), "too_many_queues"),
    "too many queues for anybody": (_port(queues=10**30), "too_many_queues"),
    "fewer queues than offered": (_port(id="a", queues=1), "too_many_queues"),
    "over-long path": (_port(socket_path="/" + "x" * 107), "invalid_socket_path"),
    "relative path": (_port(socket_path="x"), "invalid_socket_path"),
    "path with NUL": (_port(socket_path="/tmp/\0x"), "invalid_socket_path"),
    "path with a lone surrogate": (_port(socket_path="/tmp/\udfff"), "invalid_socket_path"),
    "missing directory": (_port(socket_path="DIR/no/x"), "invalid_socket_path"),
    "path is a link": (_port(socket_path="DIR/link"), "invalid_socket_path"),
    "path is a file": (_port(socket_path="DIR/file"), "invalid_socket_path"),
    "path of another port": (_port(socket_path="DIR/a"), "socket_path_in_use"),
    "path of a stranger": (_port(socket_path="DIR/taken", mode="server"), "socket_path_in_use"),
    "network in use": (_request("network_remove", network="n"), "network_in_use"),
    "unknown port": (_request("port_show", id="nope"), "port_not_found"),
    "interface name too long": (
        _request("network_ensure", network="m", uplinks=[{"kind": "tap", "name": "x" * 16}]),
        "invalid_params",
    ),
    "unknown kind of uplink": (
        _request("network_ensure", network="m", uplinks=[{"kind": "wifi", "name": "x"}]),
        "invalid_params",
    ),
    "an interface that is no tap": (
        _request("network_ensure", network="m", uplinks=[{"kind": "tap", "name": "lo"}]),
        "uplink_error",
    ),
}


@pytest.fixture(scope="module")
def bad_input_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all of it: what one bad request breaks, the next one finds."""
    import shutil
    import tempfile

    directory = Path(tempfile.mkdtemp(prefix="vbt-", dir="/tmp"))
    daemon = Daemon(directory, "fake").start()
    ensure(daemon, "a")
    (daemon.socket_dir / "file").touch()
    (daemon.socket_dir / "link").symlink_to("/nowhere")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(daemon.socket_dir / "taken"))
        stranger.listen()
        yield daemon
    daemon.cleanup()
    shutil.rmtree(directory)


def _send(daemon: Daemon, data: bytes) -> dict[str, Any]:
    """Send *data* and nothing more, and return the answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(daemon.api_socket))
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as answers:
            answer: dict[str, Any] = json.loads(answers.readline())
            return answer


def _everything(daemon: Daemon) -> tuple[object, ...]:
    return (
        daemon.client.port_list(),
        daemon.client.network_list(),
        state_file(daemon).read_bytes(),
        sorted(os.listdir(daemon.socket_dir)),
    )


@pytest.mark.parametrize("name", list(BAD))
def test_bad_input_is_answered_and_changes_nothing(bad_input_daemon: Daemon, name: str) -> None:
    daemon = bad_input_daemon
    data, slug = BAD[name]
    before, logged = _everything(daemon), daemon.log_path.stat().st_size
    answer = _send(daemon, data.replace(b"DIR", str(daemon.socket_dir).encode()))
    error = answer["error"]
    assert error["data"]["slug"] == slug
    assert error["code"] == errors.BY_SLUG[slug].rpc_code
    assert error["message"]
    assert error["data"]["hint"]
    assert _everything(daemon) == before
    assert b"Traceback" not in daemon.log_path.read_bytes()[logged:]
