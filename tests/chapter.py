# SPDX-License-Identifier: Apache-2.0
"""The configuration files in doc/source/openstack.rst, word for word.

The OpenStack stands run with these, and add only what belongs to the test's
own machine (addresses, directories, data bases), so that the chapter is tested
by whatever tests them.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

CHAPTER = Path(__file__).parent.parent / "doc" / "source" / "openstack.rst"

_BLOCK = re.compile(
    r"^\.\. code-block:: ini\n   :caption: (?P<path>\S+)\n\n(?P<text>(?:   .*\n|\n)+)", re.M
)


def config_files() -> dict[str, str]:
    """Return the text of each file that the chapter shows, by its path."""
    found = {m["path"]: textwrap.dedent(m["text"]) for m in _BLOCK.finditer(CHAPTER.read_text())}
    assert found, f"no configuration in {CHAPTER}"
    return found
