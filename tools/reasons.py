# SPDX-License-Identifier: Apache-2.0
"""Writes ``doc/source/reasons.rst``: drop reasons, decisions and faults, out of the code::

    tools/reasons.py

The names have one source, ``native/core/drop.h``, ``decision.h`` and ``fault.h``; CLI and
API take them from there too.  ``tests/unit/test_reasons.py`` keeps the page in step.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
PAGE = TOP / "doc" / "source" / "reasons.rst"
CORE = TOP / "native" / "core"

ENTRY = re.compile(r'X\(\w+((?:,\s*(?:"(?:[^"\\]|\\.)*"\s*)+)+)\)')
TEXT = re.compile(r'(?:"(?:[^"\\]|\\.)*"\s*)+')
PIECE = re.compile(r'"((?:[^"\\]|\\.)*)"')

HEAD = """\
.. Made by tools/reasons.py out of native/core: drop.h, decision.h, fault.h: change those.

Drop reasons, decisions and faults
==================================

The same names in ``vhost-brick port stats``, ``port show``, ``network show``, ``trace``,
in the control API and in its event stream.
"""

DROPS = """
Why frames are dropped
----------------------

``drops`` of a port are those of all its bricks, since ``vhost-brickd`` started; reasons
that did not occur are left out.
"""

DECISIONS = """
Where a switch sends frames
---------------------------

In a trace (``vhost-brick trace``), of each frame that the switch does not drop.
"""

FAULTS = """
What can be wrong with a port or an uplink
------------------------------------------

``fault`` of a port, or of the network whose uplink it is; it goes by itself when its
cause has gone.  A session that was ended for one of these has it as its ``reason`` in
the life of the port.
"""

TAIL = """
A port, network or uplink that could not be served at all has the name of the error as its
fault, with what was wrong in words, and is tried again and again (``datapath_error``,
``uplink_error``, ``invalid_socket_path``, ``socket_path_in_use`` ...).
"""


def entries(header: str) -> Iterator[list[str]]:
    """Yield the texts of each entry of an X list: name, meaning and, of a fault, its cure.

    One without a name stands for none, and is left out.
    """
    # A macro's lines end in a backslash.
    source = re.sub(r"\\\n", "\n", (CORE / header).read_text())
    for found in ENTRY.finditer(source):
        texts = ["".join(PIECE.findall(text)) for text in TEXT.findall(found[1])]
        if texts[0]:
            yield texts


def _definition(name: str, meaning: str, *cure: str) -> str:
    paragraphs = (f"{meaning[0].upper()}{meaning[1:]}.", *cure)
    return f"\n``{name}``\n" + "\n".join(map(_paragraph, paragraphs))


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 88, initial_indent="    ", subsequent_indent="    ") + "\n"


def _definitions(header: str) -> str:
    return "".join(_definition(*texts) for texts in entries(header))


def page() -> str:
    """Return the page as it has to be."""
    drops = DROPS + _definitions("drop.h")
    decisions = DECISIONS + _definitions("decision.h")
    return HEAD + drops + decisions + FAULTS + _definitions("fault.h") + TAIL


if __name__ == "__main__":
    PAGE.write_text(page())
