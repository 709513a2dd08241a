# SPDX-License-Identifier: Apache-2.0
"""What is installed for systemd, as systemd's own tools see it; none of them needs it to run."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

ETC = Path(__file__).parents[2] / "etc"
UNITS = ETC / "systemd"
ALL = sorted(path.name for path in UNITS.iterdir())
DAEMONS = ["vhost-brickd.service", "vhost-brickd@.service"]

MOST_EXPOSURE = 30
"""Tenths, of 100: what "systemd-analyze security" calls OK ends at 5, and 9.6 is usual."""

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _service(name: str) -> list[tuple[str, str]]:
    """Return the lines of [Service], in order."""
    lines = (UNITS / name).read_text().split("[Service]")[1].split("[Install]")[0].splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return [(key, value) for key, _, value in pairs]


@needs_systemd
@pytest.mark.parametrize("name", ALL)
def test_units_are_understood(tmp_path: Path, name: str) -> None:
    unit = tmp_path / name.replace("@.", "@a.")
    text = (UNITS / name).read_text()
    # systemd wants to see the command.
    unit.write_text(text.replace("/usr/local/bin/vhost-brick", "/bin/true #"))
    done = _run("systemd-analyze", "verify", "--man=no", unit)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("name", ALL)
def test_the_units_give_little(name: str) -> None:
    limit = f"--threshold={MOST_EXPOSURE}"
    done = _run("systemd-analyze", "security", "--offline=1", "--no-pager", limit, UNITS / name)
    assert done.returncode == 0, done.stdout


def test_one_of_a_pair_has_the_rights_of_a_single_daemon() -> None:
    one, pair = map(_service, DAEMONS)
    assert one == pair


@needs_systemd
@needs_root
def test_the_user_and_its_directories(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\nlibvirt-qemu:x:64055:\n")
    root = f"--root={tmp_path}"
    made = _run("systemd-sysusers", root, ETC / "sysusers.d" / "vhost-brick.conf")
    assert made.returncode == 0, made.stderr
    users = [line.split(":") for line in (etc / "passwd").read_text().splitlines()]
    name = dict(_service(DAEMONS[0]))["User"]
    user = next(fields for fields in users if fields[0] == name)
    made = _run("systemd-tmpfiles", "--create", root, ETC / "tmpfiles.d" / "vhost-brick.conf")
    assert made.returncode == 0, made.stderr
    found = (tmp_path / "run" / "vhost-brick" / "sockets").stat()
    assert (found.st_uid, found.st_gid) == (int(user[2]), 64055)
    assert stat.S_IMODE(found.st_mode) == 0o2770
