# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the unit tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Return a directory whose sockets stay below 108 bytes, which tmp_path's may not."""
    path = Path(tempfile.mkdtemp(prefix="vbu-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
