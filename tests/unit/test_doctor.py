# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick doctor`` and its checks, each on a host made up for it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.doctor_support import DOWN, KVM, NO_KVM, NOBODY, OK, make_site, only, served
from tests.unit.stub_daemon import StubDaemon, hello, network_status, port_status
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.cli import main as cli
from vhost_brick_plugin.conf import hugepages
from vhost_brick_plugin.doctor import domains, files, host, kvm, rights, site
from vhost_brick_plugin.doctor.files import User
from vhost_brick_plugin.doctor.rights import Rights
from vhost_brick_plugin.finding import Finding, Level

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach, which pytest's own is not."""
    directory = Path(tempfile.mkdtemp(prefix="vbd-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def answers_of_a_daemon() -> dict[type[methods.Method[Any]], Any]:
    """Return what a daemon says to all that doctor asks."""
    return {
        methods.Hello: hello(),
        methods.ConfigDump: methods.ConfigResult(options={}, files=()),
        methods.PortListCall: methods.PortList(ports=(port_status(),)),
        methods.NetworkListCall: methods.NetworkList(networks=(network_status(),)),
    }


# -- findings ----------------------------------------------------------------


@pytest.mark.parametrize("level", [Level.WARN, Level.FAIL])
def test_a_finding_that_is_not_ok_must_have_a_fix(level: Level) -> None:
    with pytest.raises(ValueError, match="needs a fix"):
        Finding(check="x", level=level, text="bad")


# -- the daemon and its configuration ----------------------------------------


def test_survey_asks_the_daemon(tmp_path: Path) -> None:
    config = methods.ConfigResult(options={"daemon.state_dir": "/x"}, files=())
    answers = answers_of_a_daemon() | {methods.ConfigDump: config}
    with StubDaemon(tmp_path / "api", answers) as stub:
        found = site.survey(Client(stub.path), [])
    assert (found.daemon.level, found.options) == (Level.OK, {"daemon.state_dir": "/x"})
    assert found.daemon_is_up
    assert [status.port.id for status in found.ports] == ["p1"]
    assert [status.network.name for status in found.networks] == ["net1"]


def test_survey_reads_the_config_file_while_the_daemon_is_down(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text("[daemon]\nstate_dir = /somewhere\n")
    found = site.survey(Client(str(tmp_path / "api"), 0.5), [str(file)])
    assert (found.daemon.check, found.daemon.level) == ("daemon", Level.FAIL)
    assert found.options["daemon.state_dir"] == "/somewhere"
    assert found.options["vhost.socket_dir"] == "/run/vhost-brick/sockets"


@pytest.mark.parametrize("text", ["[daemon]\napi_socket_mode = 9\n", "nonsense"])
def test_survey_reports_a_faulty_config_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "conf"
    file.write_text(text)
    found = site.survey(Client(str(tmp_path / "api"), 0.5), [str(file)])
    assert (found.daemon.check, found.daemon.level) == ("config", Level.FAIL)
    assert found.options["daemon.state_dir"] == "/var/lib/vhost-brick"


# -- the daemon's rights -----------------------------------------------------


STATUS = """Name:\tvhost-brickd
Uid:\t{uid}\t{uid}\t{uid}\t{uid}
Gid:\t{gid}\t{gid}\t{gid}\t{gid}
CapEff:\t{capabilities:016x}
"""


@pytest.mark.parametrize(
    ("uid", "capabilities", "level", "words"),
    [
        (0, (1 << 41) - 1, Level.WARN, "runs as root"),
        (4711, 0, Level.OK, "runs as 4711, with no capabilities"),
        (4711, 1 << 12 | 1 << 13, Level.OK, "runs as 4711, with net_admin, net_raw"),
        (4711, 1 << 40, Level.OK, "with 40"),
    ],
)
def test_rights(tmp_path: Path, uid: int, capabilities: int, level: Level, words: str) -> None:
    (tmp_path / "77").mkdir()
    text = STATUS.format(uid=uid, gid=4712, capabilities=capabilities)
    (tmp_path / "77" / "status").write_text(text)
    found = rights.read(77, tmp_path)
    assert found is not None
    assert found.gid == 4712
    finding = only(rights.check(found))
    assert (finding.level, words in finding.text) == (level, True), finding


def test_rights_that_cannot_be_read_are_no_finding(tmp_path: Path) -> None:
    assert rights.read(77, tmp_path) is None
    (tmp_path / "78").mkdir()
    (tmp_path / "78" / "status").write_text("Uid:\tx\n")
    assert rights.read(78, tmp_path) is None
    assert list(rights.check(None)) == []


def test_survey_looks_at_the_daemon_s_process(tmp_path: Path) -> None:
    answers = answers_of_a_daemon() | {methods.Hello: hello(pid=os.getpid())}
    with StubDaemon(tmp_path / "api", answers) as stub:
        found = site.survey(Client(stub.path), []).rights
    assert found is not None
    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())


# -- hugepages ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "mounted", "wanted", "daemon", "level"),
    [
        (512, True, "auto", OK, Level.OK),
        (512, False, "auto", OK, Level.WARN),
        (0, True, "auto", OK, Level.WARN),
        (0, True, "auto", DOWN, Level.WARN),
        (0, True, "on", OK, Level.WARN),  # The daemon has them.
        (0, True, "on", DOWN, Level.FAIL),
        (512, False, "on", DOWN, Level.FAIL),
        (255, True, "on", DOWN, Level.FAIL),
        (256, True, "on", DOWN, Level.OK),
        (255, True, "auto", DOWN, Level.WARN),
        (255, True, "off", DOWN, Level.OK),
        (255, True, "on", OK, Level.OK),
    ],
)
def test_hugepages(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    free: int,
    mounted: bool,
    wanted: str,
    daemon: Finding,
    level: Level,
) -> None:
    monkeypatch.setattr(hugepages, "free_mb", lambda: free)
    monkeypatch.setattr(hugepages, "mounted", lambda: mounted)
    options = {"dpdk__hugepages": wanted, "dpdk__memory_mb": "256"}
    found = only(host.check_hugepages(make_site(tmp_path, daemon, **options)))
    assert found.level is level


@pytest.mark.parametrize(
    ("memory", "choice", "level"),
    [
        ("256 MiB, no hugepages", "auto", Level.WARN),
        ("256 MiB, no hugepages", "off", Level.OK),
        ("256 MiB of hugepages", "auto", Level.OK),
    ],
)
def test_a_daemon_that_started_before_there_were_hugepages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, memory: str, choice: str, level: Level
) -> None:
    monkeypatch.setattr(hugepages, "free_mb", lambda: 512)
    monkeypatch.setattr(hugepages, "mounted", lambda: True)
    introduced = hello(datapath_info={"memory": memory})
    site = served(tmp_path, introduced=introduced, dpdk__hugepages=choice)
    assert only(host.check_hugepages(site)).level is level


# -- DPDK --------------------------------------------------------------------


def test_dpdk_that_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_IMPORT", "print('DPDK 22.11.11')")
    found = only(host.check_dpdk())
    assert (found.level, found.text) == (Level.OK, "the native module loads, with DPDK 22.11.11")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise ImportError('librte_vhost.so.23 is missing')", "librte_vhost.so.23 is missing"),
        ("import os; os.kill(os.getpid(), 11)", "status -11"),
    ],
)
def test_dpdk_that_does_not_load(
    monkeypatch: pytest.MonkeyPatch, program: str, words: str
) -> None:
    monkeypatch.setattr(host, "_IMPORT", program)
    found = only(host.check_dpdk())
    assert found.level is Level.FAIL
    assert words in found.text


# -- KVM ---------------------------------------------------------------------


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that puts a shell script in the place of the tiny guest."""
    monkeypatch.setattr(kvm, "DEVICE", "/dev/null")
    monkeypatch.setattr(kvm.platform, "machine", lambda: "x86_64")
    run = subprocess.run

    def replace(script: str) -> None:
        def fake(_command: list[str], **kwargs: Any) -> Any:
            return run(["sh", "-c", script], **kwargs)

        monkeypatch.setattr(kvm.subprocess, "run", fake)

    return replace


def test_kvm_that_works(guest: Callable[[str], None]) -> None:
    guest("echo a tiny guest ran")
    assert kvm.probe() == KVM
    assert only(host.check_kvm(KVM)).level is Level.OK


def test_kvm_that_opens_but_does_not_run_guests(guest: Callable[[str], None]) -> None:
    guest("echo KVM gave up; exit 1")
    assert kvm.probe() == NO_KVM
    assert "would hang" in only(host.check_kvm(NO_KVM)).text


def test_kvm_that_hangs(guest: Callable[[str], None]) -> None:
    guest("exec cat /dev/zero > /dev/null")
    result = kvm.probe(timeout=0.2)
    assert result.state is kvm.State.BROKEN
    assert "did not end within 0.2 s" in result.reason


def test_kvm_that_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert kvm.probe().state is kvm.State.MISSING


def test_kvm_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "DEVICE", "/dev/null")
    monkeypatch.setattr(kvm.os, "access", lambda *_: False)
    result = kvm.probe()
    assert (result.state, result.fails) == (kvm.State.UNKNOWN, False)
    assert "not checked" in only(host.check_kvm(result)).text


@pytest.mark.parametrize("state", [state for state in kvm.State if state is not KVM.state])
def test_a_host_without_kvm_serves_who_needs_none(state: kvm.State) -> None:
    """Who needs it has a finding of its own: a domain of that type, and Nova."""
    assert only(host.check_kvm(kvm.Result(state, "x"))).level is Level.WARN


@pytest.mark.skipif(not os.access("/dev/kvm", os.W_OK), reason="no /dev/kvm")
def test_the_real_guest_says_yes_or_no() -> None:
    """Whatever this machine's KVM does, the probe ends and has a word for it."""
    command = [sys.executable, "-m", "vhost_brick_plugin.doctor.kvm_guest"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert ("ran" in line.split(",")[0]) is (done.returncode == 0)


# -- the control socket ------------------------------------------------------


@pytest.fixture
def api_socket(place: Path) -> Iterator[Path]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "api"))
        os.chmod(place / "api", 0o660)
        yield place / "api"


@pytest.mark.parametrize(
    ("gid", "mode", "level", "words"),
    [
        pytest.param(65534, 0o660, Level.OK, "open to root and the group", marks=needs_root),
        (-1, 0o666, Level.FAIL, "everybody"),
        pytest.param(65534, 0o600, Level.WARN, "only root", marks=needs_root),
        pytest.param(0, 0o660, Level.WARN, "only root", marks=needs_root),
    ],
)
def test_api_socket(api_socket: Path, gid: int, mode: int, level: Level, words: str) -> None:
    os.chown(api_socket, -1, gid)
    api_socket.chmod(mode)
    found = only(files.check_api_socket(make_site(api_socket.parent)))
    assert (found.level, words in found.text) == (level, True), found


@needs_root
def test_api_socket_of_the_daemon_s_own_group(api_socket: Path) -> None:
    os.chown(api_socket, 4711, 4712)
    api_socket.chmod(0o660)
    own = Rights(uid=4711, gid=4712, capabilities=0)
    found = dataclasses.replace(make_site(api_socket.parent), rights=own)
    assert "only root may use" in only(files.check_api_socket(found)).text


def test_api_socket_missing_or_something_else(place: Path) -> None:
    assert only(files.check_api_socket(make_site(place))).level is Level.FAIL
    (place / "api").touch()
    assert "is no socket" in only(files.check_api_socket(make_site(place))).text


# -- the state ---------------------------------------------------------------


@pytest.fixture
def state_dir(place: Path) -> Path:
    path = place / "state"
    path.mkdir(mode=0o750)
    state = {"version": 1, "networks": [], "ports": [{"port": {"id": "p1"}, "offer": {}}]}
    (path / "ports.json").write_text(json.dumps(state))
    return path


def test_state_dir_in_order(state_dir: Path) -> None:
    found = only(files.check_state_dir(make_site(state_dir.parent)))
    assert (found.level, found.text) == (Level.OK, f"{state_dir} holds 1 port")


def test_state_dir_missing(place: Path) -> None:
    found = only(files.check_state_dir(make_site(place)))
    assert (found.level, found.text) == (Level.FAIL, f"{place / 'state'} is missing")


def test_state_dir_open_to_everybody(state_dir: Path) -> None:
    state_dir.chmod(0o777)
    found = only(files.check_state_dir(make_site(state_dir.parent)))
    assert (found.level, found.fix) == (Level.FAIL, f"chmod o-w {state_dir}")


def test_state_damaged(state_dir: Path) -> None:
    (state_dir / "ports.json").write_text("{")
    found = only(files.check_state_dir(make_site(state_dir.parent)))
    assert found.level is Level.FAIL
    assert "is not a state file" in found.text


def test_state_dir_full(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(f_bavail=3, f_frsize=4096, f_files=0, f_favail=0)
    monkeypatch.setattr(files.os, "statvfs", lambda _path: full)
    found = only(files.check_state_dir(make_site(state_dir.parent)))
    assert (found.level, "only 12 KiB are left" in found.text) == (Level.FAIL, True)


def test_state_dir_without_an_inode_left(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(f_bavail=1 << 20, f_frsize=4096, f_files=1000, f_favail=0)
    monkeypatch.setattr(files.os, "statvfs", lambda _path: full)
    found = only(files.check_state_dir(make_site(state_dir.parent)))
    assert (found.level, "takes no more files" in found.text) == (Level.FAIL, True)


# -- the vhost-user sockets --------------------------------------------------


@pytest.fixture
def socket_dir(place: Path) -> Path:
    path = place / "sockets"
    path.mkdir()
    path.chmod(0o770)
    return path


@needs_root
def test_socket_dir_that_qemu_may_write_to(socket_dir: Path) -> None:
    os.chown(socket_dir, 0, NOBODY.gid)
    found = only(files.check_socket_dir(make_site(socket_dir.parent), NOBODY, True))
    assert found.level is Level.OK, found


@needs_root
def test_socket_dir_that_qemu_may_not_write_to(socket_dir: Path) -> None:
    found = only(files.check_socket_dir(make_site(socket_dir.parent), NOBODY, True))
    assert found.level is Level.FAIL
    assert f"chmod 2770 {socket_dir}" in found.fix


@needs_root
def test_socket_dir_that_qemu_cannot_reach(socket_dir: Path) -> None:
    os.chown(socket_dir, 0, NOBODY.gid)
    socket_dir.parent.chmod(0o700)
    found = only(files.check_socket_dir(make_site(socket_dir.parent), NOBODY, True))
    assert (found.level, "needs o+x" in found.fix) == (Level.FAIL, True)


def test_socket_dir_missing_open_or_unknown(socket_dir: Path) -> None:
    here = make_site(socket_dir.parent)
    assert only(files.check_socket_dir(here, None, True)).level is Level.WARN
    assert only(files.check_socket_dir(here, None, False)).level is Level.OK
    socket_dir.chmod(0o777)
    assert only(files.check_socket_dir(here, NOBODY, True)).fix == f"chmod o-w {socket_dir}"
    socket_dir.rmdir()
    assert only(files.check_socket_dir(here, NOBODY, True)).text == f"{socket_dir} is missing"


@pytest.mark.parametrize(
    ("user", "owner", "group", "mode", "level"),
    [
        (NOBODY, "", "", "0660", Level.FAIL),
        (NOBODY, "65534", "", "0660", Level.OK),
        (NOBODY, "65534", "", "0400", Level.FAIL),
        (NOBODY, "", "65534", "0660", Level.OK),
        (NOBODY, "root", "65534", "0640", Level.FAIL),
        (NOBODY, "", "no-such-group", "0660", Level.FAIL),
        (NOBODY, "", "", "0666", Level.OK),
        (User(0, 0), "", "", "0600", Level.OK),
    ],
)
def test_who_may_connect_to_server_mode_ports(
    tmp_path: Path, user: User, owner: str, group: str, mode: str, level: Level
) -> None:
    options = {"vhost__socket_owner": owner, "vhost__socket_group": group}
    here = make_site(tmp_path, **options, vhost__socket_mode=mode)
    found = only(files.check_socket_rights(here, user))
    assert (found.check, found.level) == ("socket_rights", level)


# -- libvirt -----------------------------------------------------------------

CAPABILITIES = """<capabilities><host>
  <secmodel><model>apparmor</model><baselabel type='kvm'>x</baselabel></secmodel>
  <secmodel><model>dac</model><doi>0</doi>
    <baselabel type='kvm'>+64055:+107</baselabel><baselabel type='qemu'>+64055:+107</baselabel>
  </secmodel>
</host></capabilities>"""


@pytest.mark.parametrize(
    ("text", "user"),
    [
        (CAPABILITIES, User(64055, 107)),
        (CAPABILITIES.replace("+64055:+107", "qemu"), None),
        ("<capabilities><host/></capabilities>", None),
    ],
)
def test_the_user_of_qemu_comes_from_libvirt(text: str, user: User | None) -> None:
    assert domains._user(text) == user


@pytest.mark.parametrize(("is_needed", "level"), [(True, Level.FAIL), (False, Level.OK)])
def test_libvirt_that_is_not_there(is_needed: bool, level: Level) -> None:
    pytest.importorskip("libvirt")
    uri = "qemu+unix:///system?socket=/nonexistent"
    with domains.examine(uri, is_needed) as examination:
        assert examination.access.level is level
        assert examination.qemu_user is None
        assert list(examination.check_domains(make_site(Path("/")), KVM)) == []


def test_where_libvirt_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIBVIRT_DEFAULT_URI", raising=False)
    assert not domains.is_libvirt_host(None, [str(tmp_path / "libvirtd")])
    assert domains.is_libvirt_host(None, [str(tmp_path)])
    assert domains.is_libvirt_host("qemu:///system", [])
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "qemu:///system")
    assert domains.is_libvirt_host(None, [])


def domain(name: str, memory: str = "", interface: str = "vhostuser") -> str:
    return (
        f"<domain type='test'><name>{name}</name><memory>1024</memory>{memory}"
        "<os><type>hvm</type></os><devices>"
        f"<interface type='{interface}'><source type='unix' path='/s/{name}' mode='server'/>"
        "<model type='virtio'/></interface></devices></domain>"
    )


SHARED = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"


def test_each_domain_with_our_interface_is_looked_at(tmp_path: Path) -> None:
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    documents = (domain("bad"), domain("good", SHARED), domain("other", interface="user"))
    made = [connection.defineXML(text) for text in documents]
    try:
        with domains.examine("test:///default", True) as examination:
            site = make_site(tmp_path, DOWN)
            found = [(f.check, f.level) for f in examination.check_domains(site, KVM)]
    finally:
        for entry in made:
            entry.undefine()
    assert found == [("domain bad", Level.FAIL), ("domain good", Level.OK)]


# -- the command -------------------------------------------------------------


def run_doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *findings: Finding
) -> tuple[int, Any]:
    monkeypatch.setattr("vhost_brick_plugin.cli.doctor.examine", lambda *_: iter(findings))
    words = ["--api-socket", "/nonexistent", "doctor", "-f", "json"]
    status = cli.main(words)
    return status, json.loads(capsys.readouterr().out)


WARNING = Finding(check="kvm", level=Level.WARN, text="none", fix="load it")


def test_doctor_ends_well_with_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows = run_doctor(monkeypatch, capsys, OK, WARNING)
    assert status == 0
    assert rows[1] == {"check": "kvm", "result": "warn", "finding": "none", "fix": "load it"}


def test_doctor_ends_with_1_when_a_check_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows = run_doctor(monkeypatch, capsys, OK, DOWN, WARNING)
    assert status == 1
    assert [row["result"] for row in rows] == ["ok", "fail", "warn"]


def test_doctor_on_this_very_host(capsys: pytest.CaptureFixture[str]) -> None:
    """Every check is made, whatever it finds here, and each problem has a fix."""
    words = ["doctor", "-f", "json", "--connect", "test:///default"]
    status = cli.main(["--api-socket", "/nonexistent", "--timeout", "1", *words])
    rows = json.loads(capsys.readouterr().out)
    assert status == 1
    assert {row["check"] for row in rows} >= {
        *("daemon", "dpdk", "hugepages", "kvm", "api_socket", "state_dir", "socket_dir"),
        "libvirt",
    }
    assert all(row["fix"] for row in rows if row["result"] != "ok")
