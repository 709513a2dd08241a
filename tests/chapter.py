# SPDX-License-Identifier: Apache-2.0
"""The configuration files and commands in doc/source/openstack.rst, word for word.

The OpenStack stands run with these, and add only what belongs to the test's
own machine (addresses, directories, data bases), so that the chapter is tested
by whatever tests them.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

CHAPTER = Path(__file__).parent.parent / "doc" / "source" / "openstack.rst"

_FILE = re.compile(
    r"^\.\. code-block:: ini\n   :caption: (?P<path>\S+)\n\n(?P<text>(?:   .*\n|\n)+)", re.M
)

_SCRIPT = re.compile(r"^\.\. code-block:: sh\n\n(?P<text>(?:   .*\n|\n)+)", re.M)

_INLINE = re.compile(r"``(?P<text>(?:openstack|vhost-brick) [^`]+)``")


def config_files() -> dict[str, str]:
    """Return the text of each file that the chapter shows, by its path."""
    found = {m["path"]: textwrap.dedent(m["text"]) for m in _FILE.finditer(CHAPTER.read_text())}
    assert found, f"no configuration in {CHAPTER}"
    return found


def write_files(root: Path) -> dict[str, Path]:
    """Write these files under *root*; return where they are, by their paths in the chapter."""
    written = {}
    for path, text in config_files().items():
        written[path] = root / path.lstrip("/")
        written[path].parent.mkdir(parents=True, exist_ok=True)
        written[path].write_text(text)
    return written


def commands() -> list[str]:
    """Return each command that the chapter has people run, in its order and on one line."""
    text = CHAPTER.read_text()
    found = {m.start(): _lines(textwrap.dedent(m["text"])) for m in _SCRIPT.finditer(text)}
    found |= {m.start(): [" ".join(m["text"].split())] for m in _INLINE.finditer(text)}
    assert found, f"no commands in {CHAPTER}"
    return [line for position in sorted(found) for line in found[position]]


def _lines(script: str) -> list[str]:
    joined = re.sub(r"\s*\\\n\s*", " ", script)
    return [line for line in joined.splitlines() if line]


def command(start: str) -> str:
    """Return the one command that starts with *start*."""
    found = [line for line in commands() if line.startswith(start)]
    assert len(found) == 1, f"{len(found)} commands start with {start!r} in {CHAPTER}"
    return found[0]
