# SPDX-License-Identifier: Apache-2.0
"""Imports run one way, and the start imports little."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vhost_brick_plugin

TOP = Path(vhost_brick_plugin.__file__).parent
NAME = TOP.name

BASE = {"errors", "codec", "model", "probes", "report"}
API = {"api"}

# Who may import what of ours, by the first name below the package; each may import itself.
MAY = {
    "errors": set(),
    "codec": {"errors"},
    "model": {"errors"},
    "probes": {"codec", "errors"},
    "report": {"codec"},
    "version": set(),
    "features": set(),
    "state_file": set(),
    "api": BASE,
    "datapath": BASE,
    "netlink": {"errors"},
    "conf": {"model", "errors", "api", "state_file", "datapath"},
    "daemon": BASE | API | {"conf", "datapath", "features", "netlink", "state_file", "version"},
    "vif": BASE | API,
    "os_vif": BASE | API | {"state_file", "conf", "vif"},
    "neutron": BASE | API,
    "exporter": BASE | API | {"version"},
}

NATIVE = {"cffi", "libvirt", "_cffi_backend"}
# What runs in nova-compute: also not what those import.
PLUGIN = ("os_vif", "vif", "conf.os_vif", "api", "state_file", *BASE)

FILES = sorted(p for p in TOP.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(TOP)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> Iterator[str]:
    """Yield the full names that a file imports, at its top or late, but not for types only."""
    for node in _live(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _live(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        yield node
        yield from _live(node)


def ours(names: Iterator[str]) -> set[str]:
    return {n.split(".")[1] for n in names if n.startswith(f"{NAME}.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TOP)))
def test_imports_run_one_way(path: Path) -> None:
    part = part_of(path)
    if part in MAY:
        assert ours(imports(path)) <= MAY[part] | {part}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TOP)))
def test_nobody_imports_what_is_above(path: Path) -> None:
    """cli, exporter, libvirt, neutron and os_vif are the ends of the chain."""
    part, ends = part_of(path), {"cli", "exporter", "libvirt", "os_vif", "neutron", "doctor"}
    allowed = {part, "libvirt", "doctor"} if part in ("cli", "doctor") else {part}
    assert ours(imports(path)) & ends <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(TOP)))
def test_the_native_module_has_two_importers(path: Path) -> None:
    names = list(imports(path))
    native = [n for n in names if "_native" in n or n.split(".")[0] in ("cffi", "_cffi_backend")]
    assert not native or path.name in ("dpdk_c.py", "prelude.py")
    concrete = [n for n in names if n.startswith(f"{NAME}.datapath.dpdk")]
    assert not concrete or path.parent == TOP / "datapath"


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has after *code*."""
    script = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(out.stdout.split())


@pytest.mark.parametrize("part", PLUGIN)
def test_the_plugin_side_loads_nothing_native(part: str) -> None:
    module = f"{NAME}.api.client" if part == "api" else f"{NAME}.{part}"
    loaded = loaded_by(f"import {module}")
    assert module in loaded
    assert not loaded & NATIVE
    assert not any(name.startswith(f"{NAME}.datapath") for name in loaded)


SLOW = {"asyncio", "oslo_config", "oslo_log", "pyroute2", "stevedore", "importlib.metadata"}


def test_the_prelude_loads_next_to_nothing() -> None:
    """What it loads, DPDK and so the guests wait for."""
    loaded = loaded_by(f"import {NAME}.daemon.prelude") - loaded_by("import re")
    assert {name for name in loaded if name.startswith(NAME)} == {
        NAME,
        *(f"{NAME}.{name}" for name in ("daemon", "daemon.fastpath", "daemon.prelude")),
        *(f"{NAME}.{name}" for name in ("datapath", "datapath.prelude", "state_file")),
    }
    assert not loaded & {*SLOW, "typing", "dataclasses", "logging", "threading"}


def test_the_start_loads_nothing_slow() -> None:
    loaded = loaded_by(f"import {NAME}.daemon.main")
    assert f"{NAME}.daemon.boot" in loaded
    assert not loaded & SLOW


def test_restoring_ports_loads_nothing_slow(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from tests.unit.support import entry, settings, state
from {NAME}.daemon.boot import boot
from {NAME}.daemon.store import Store
from {NAME}.daemon.timeline import Timeline
from {NAME}.model import Mode
made = settings(Path({str(tmp_path)!r}))
wanted = state(entry("a", socket_path=made.socket_dir + "/a"),
               entry("b", socket_path=made.socket_dir + "/b", mode=Mode.SERVER))
Store(made.state_dir).save(wanted)
booted = boot(made, Timeline())
assert booted.engine.actual == wanted, booted.engine.setbacks
"""
    assert not loaded_by(code) & SLOW


def test_the_rules_see_late_imports(tmp_path: Path) -> None:
    """The checks above would be worth little if they looked at the top only."""
    path = tmp_path / "m.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import quiet\n"
        "def f():\n    import late\n    from a import b\n"
    )
    assert set(imports(path)) == {"typing.TYPE_CHECKING", "late", "a.b"}
