# SPDX-License-Identifier: Apache-2.0
"""The page for people in trouble names every check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import vhost_brick_plugin.doctor

PACKAGE = Path(vhost_brick_plugin.doctor.__file__).parent
PAGE = PACKAGE.parent.parent / "doc" / "source" / "troubleshooting.rst"


def names(tree: ast.AST) -> Iterator[str]:
    """Yield the checks that findings are made for by a name in the text."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        places = [keyword.value for keyword in node.keywords if keyword.arg == "check"]
        if isinstance(node.func, ast.Name) and node.func.id in ("ok", "warn", "fail"):
            places.append(node.args[0])
        for place in places:
            if isinstance(place, ast.Constant) and isinstance(place.value, str):
                yield place.value


def test_every_check_is_on_the_page() -> None:
    page = PAGE.read_text()
    checks = {name for path in PACKAGE.glob("*.py") for name in names(ast.parse(path.read_text()))}
    assert {"daemon", "clock", "socket_rights", "nova_os_vif"} <= checks
    missing = {name for name in checks if f"``{name}``" not in page}
    assert not {name for name in missing if not name.startswith("nova_")}
