# SPDX-License-Identifier: Apache-2.0
"""What the documentation says of the tree is so."""

from __future__ import annotations

import re
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.rst", *sorted((TOP / "doc" / "source").glob("*.rst"))]

ROOTS = [TOP, TOP / "native", TOP / "vhost_brick_plugin"]
"""What paths in the pages are relative to."""

NOT_THERE = {
    "architecture.rst: vhost/x": "a brick's name",
    "brick.rst: tests/native/test_NAME.c": "the reader's",
    "performance.rst: bench/forward.json": "written by the bench",
    "performance.rst: bench/forward.svg": "written by the bench",
    "performance.rst: bench/native/out": "written by the bench",
}
"""Why these need not exist."""

QUOTED = re.compile(r"``([\w.*@/-]+)``")


def _is_of_the_tree(path: str) -> bool:
    """Tell whether *path* begins in a directory of ours: a file's name, or a template of one."""
    first, slash, _ = path.partition("/")
    return bool(slash and first) and any((root / first).is_dir() for root in ROOTS)


def test_files_that_pages_name_exist() -> None:
    named = {
        (page.name, path)
        for page in PAGES
        for path in QUOTED.findall(page.read_text())
        if _is_of_the_tree(path)
    }
    assert len(named) > 50
    missing = {
        f"{page}: {path}"
        for page, path in named
        if not any(list(root.glob(path.rstrip("/"))) for root in ROOTS)
    }
    assert not missing - set(NOT_THERE)


def test_pages_name_one_another_by_links() -> None:
    """Who reads them in a browser has no ``doc/source``."""
    assert not [page.name for page in PAGES[1:] if "``doc/source/" in page.read_text()]


def test_every_part_is_in_the_architecture() -> None:
    page = (TOP / "doc" / "source" / "architecture.rst").read_text()
    parts = page[page.index("\nThe native core\n") : page.index("\nRules that hold everywhere")]
    named = set(re.findall(r"\*(\w+)\*", parts))
    there = {
        path.stem
        for name in ("core", "vhost", "probe")
        for path in (TOP / "native" / name).glob("*.[ch]")
    }
    assert named == there
