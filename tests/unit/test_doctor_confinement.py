# SPDX-License-Identifier: Apache-2.0
"""What ``vhost-brick doctor`` finds of AppArmor and SELinux."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor_support import make_site, only, served, write
from tests.unit.stub_daemon import port_status
from vhost_brick_plugin.doctor import confinement
from vhost_brick_plugin.finding import Level

APPARMOR = (
    'audit: type=1400 audit(1.2:3): apparmor="DENIED" operation="mknod" class="file" '
    'profile="libvirt-8f3a" name="{}" pid=7 comm="qemu-system-x86" requested_mask="c"'
)
SELINUX = (
    "type=AVC msg=audit(1.2:3): avc:  denied  {{ connectto }} for  pid=7 comm=qemu-kvm "
    'path="{}" scontext=system_u:system_r:svirt_t:s0 tclass=unix_stream_socket permissive=0'
)


def test_apparmor_that_is_off(tmp_path: Path) -> None:
    line = APPARMOR.format(tmp_path / "sockets" / "p1")
    assert list(confinement.check_apparmor(make_site(tmp_path), [line], tmp_path / "no")) == []
    off = write(tmp_path, {"enabled": "N\n"}) / "enabled"
    assert list(confinement.check_apparmor(make_site(tmp_path), [line], off)) == []


def test_apparmor_denials(tmp_path: Path) -> None:
    enabled = write(tmp_path, {"enabled": "Y\n"}) / "enabled"
    site = served(tmp_path, port_status("p1", socket_path="/srv/s/p1"))
    others = [APPARMOR.format("/var/x"), "nothing", SELINUX.format("/srv/s/p1")]
    assert only(confinement.check_apparmor(site, others, enabled)).level is Level.OK
    for path in (f"{tmp_path}/sockets/p2", "/srv/s/p1"):
        found = only(confinement.check_apparmor(site, [*others, APPARMOR.format(path)], enabled))
        assert found.level is Level.WARN
        assert f"has denied libvirt-8f3a the use of {path} (1 such" in found.text
        assert str(Path(path).parent) + "/* rw" in found.fix


def test_sockets_where_apparmor_lets_nobody(tmp_path: Path) -> None:
    enabled = write(tmp_path, {"enabled": "Y\n"}) / "enabled"
    for path, level in (("/etc/sockets", Level.FAIL), ("/etcetera", Level.OK)):
        site = make_site(tmp_path, vhost__socket_dir=path)
        assert only(confinement.check_apparmor(site, [], enabled)).level is level


@pytest.mark.parametrize(
    ("mode", "path", "level"),
    [("1", "p1", Level.WARN), ("0", "p1", Level.OK), ("1", "../../other/p1", Level.OK)],
)
def test_selinux(tmp_path: Path, mode: str, path: str, level: Level) -> None:
    enforce = write(tmp_path, {"enforce": mode}) / "enforce"
    line = SELINUX.format((tmp_path / "sockets" / path).resolve())
    found = only(confinement.check_selinux(make_site(tmp_path), [line], enforce))
    assert found.level is level
    assert list(confinement.check_selinux(make_site(tmp_path), [line], tmp_path / "no")) == []


def test_logs_are_read_from_their_ends(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text("old\n" + "x" * (1 << 20) + "\nlast line\n")
    lines = confinement.log_lines([log, tmp_path / "missing"], tmp_path / "kmsg")
    assert lines[-1] == "last line"
    assert "old" not in lines


def test_the_kernel_s_own_log_is_read_to_its_end(tmp_path: Path) -> None:
    kmsg = write(tmp_path, {"kmsg": "4,1,2,-;audit: x\n"}) / "kmsg"
    assert confinement.log_lines([], kmsg) == ["4,1,2,-;audit: x"]
