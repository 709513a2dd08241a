# SPDX-License-Identifier: Apache-2.0
"""A short soak. ``tools/soak.py`` is the long one, and runs a seed again."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frontend import vuser
from tests.soak.keeper import KEEPERS, Keeper
from tests.soak.soak import soak, table

SECONDS = 20.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory whose sockets stay below 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="vbs-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("keeper", KEEPERS, ids=lambda keeper: keeper.name)
def test_everything_at_once(directory: Path, keeper: type[Keeper]) -> None:
    vuser.build()
    outcome = soak(directory, keeper, SECONDS, random.randrange(2**32))
    print("\n".join(table(outcome)))
    assert outcome.problems == []
