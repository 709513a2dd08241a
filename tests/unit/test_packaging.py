# SPDX-License-Identifier: Apache-2.0
"""The Debian packages have what is in the tree, and take what the code takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
ETC = TOP / "etc"
DEBIAN = TOP / "packaging" / "debian"

DEBIAN_NAMES = {"cffi": "python3-cffi-backend", "libvirt-python": "python3-libvirt"}
"""Of requirements whose package is not ``python3-`` and their name."""

AT_BUILD = {"pbr"}

OF_PLUGIN = {"os-vif", "oslo.config", "oslo.log"}
"""What the os-vif plugin imports: Nova's hosts take no more."""


def _paragraphs() -> dict[str, str]:
    """Return the control file's text of each package by its name."""
    first, *rest = (DEBIAN / "control").read_text().split("\n\n")
    assert first.startswith("Source: ")
    return {"source": first} | {re.findall(r"^Package: (.+)$", p, re.M)[0]: p for p in rest}


def _field(text: str, name: str) -> set[str]:
    """Return the names in a field of *text*, such as Depends, without versions."""
    found = re.search(rf"^{name}:\n((?: .+\n?)+)", text, re.M)
    assert found, name
    return {line.strip(" ,").partition(" ")[0] for line in found[1].splitlines()}


def _requirements() -> set[str]:
    lines = (TOP / "requirements.txt").read_text().splitlines()
    return {re.split(r"[<>=]", line)[0] for line in lines if line and not line.startswith("#")}


def test_every_requirement_is_a_dependency() -> None:
    packages = _paragraphs()
    plugin = _field(packages["vhost-brick-plugin"], "Depends")
    daemon = _field(packages["vhost-brickd"], "Depends")
    assert "vhost-brick-plugin" in daemon
    for name in _requirements() - AT_BUILD:
        package = DEBIAN_NAMES.get(name, f"python3-{name.replace('_', '-')}")
        assert package in (plugin if name in OF_PLUGIN else daemon)
    at_build = _field(packages["source"], "Build-Depends")
    assert {f"python3-{name}" for name in AT_BUILD} <= at_build


def test_everything_in_etc_is_installed() -> None:
    texts = "".join(path.read_text() for path in DEBIAN.iterdir() if path.is_file())
    for path in ETC.rglob("*"):
        if path.is_dir() or path.name.endswith("generator.conf"):
            continue
        name = path.relative_to(TOP)
        # Itself, or all of its directory.
        wholes = [
            f"{parent}{end}" for parent in list(name.parents)[:-2] for end in ("/*", " ", ")")
        ]
        assert any(text in texts for text in (str(name), *wholes)), name


@pytest.mark.skipif(not shutil.which("logrotate"), reason="no logrotate")
def test_logrotate_understands_its_file(tmp_path: Path) -> None:
    # It wants the user to exist.
    text = (ETC / "logrotate.d" / "vhost-brick").read_text()
    config = tmp_path / "vhost-brick"
    config.write_text(text.replace("su vhost-brick vhost-brick", "su root root"))
    config.chmod(0o644)
    done = subprocess.run(
        ["logrotate", "--debug", config], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr
