# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one cloud for all tests.  Needs root."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.openstack.stand import OpenStack
from tools.lab.stand import work_dir

CLOUD = pytest.StashKey[OpenStack]()

TIMEOUT_S = 400


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow for the start of a cloud; what OpenStack deprecates is not our concern."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest) -> Iterator[OpenStack]:
    with work_dir("vbo") as directory:
        cloud = OpenStack(directory)
        request.config.stash[CLOUD] = cloud
        with cloud:
            yield cloud


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the ends of all logs of the cloud when a test has failed."""
    report = yield
    if report.failed and CLOUD in item.config.stash:
        for name, text in item.config.stash[CLOUD].logs():
            report.sections.append((f"log {name}", text))
    return report
