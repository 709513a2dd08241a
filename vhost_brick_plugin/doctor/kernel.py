# SPDX-License-Identifier: Apache-2.0
"""Files in which the kernel tells something.  One that is missing tells nothing."""

from __future__ import annotations

from pathlib import Path

from vhost_brick_plugin.conf.types import parse_cores


def read(path: Path) -> str:
    """Return what is in a file, without space around it; nothing if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def read_list(path: Path) -> tuple[int, ...]:
    """Return the numbers in a list of the kernel's, such as ``0-3,8``.

    A file that is missing, or says ``(null)`` as nohz_full may, is an empty list.
    """
    try:
        return parse_cores(read(path))
    except ValueError:
        return ()
