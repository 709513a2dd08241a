# SPDX-License-Identifier: Apache-2.0
"""A disk that can be filled."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def mounted(directory: Path) -> Iterator[None]:
    """Have *directory* be a small file system of its own; takes root."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=750", "none", str(directory)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Leave no free byte in *directory*'s file system; return the file that took them."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler
