# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one stand for all tests, and a clean cloud for each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.neutron.cloud import Cloud
from tests.neutron.stand import Stand

STAND = pytest.StashKey[Stand]()


@pytest.fixture(scope="session")
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    """A running cloud of two hosts."""
    # Sockets must stay below 108 bytes, which tmp_path's may not.
    directory = Path(tempfile.mkdtemp(prefix="vbn-", dir="/tmp"))
    stand = Stand(directory)
    request.config.stash[STAND] = stand
    try:
        with stand:
            yield stand
    finally:
        if request.session.testsfailed == 0:
            shutil.rmtree(directory)


@pytest.fixture
def cloud(stand: Stand) -> Iterator[Cloud]:
    """What a test makes in the stand; nothing of it may be left at its end."""
    with Cloud(stand) as cloud:
        yield cloud


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of all logs of the stand when a test has failed."""
    report = yield
    if report.failed and STAND in item.config.stash:
        for name, text in item.config.stash[STAND].logs():
            report.sections.append((f"log {name}", text))
    return report
