# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one compute host and one cloud for all tests, and a server to do things to.

Needs root.  Guests boot for ten seconds without KVM, so a server is shared by tests
that leave it as they found it: running, and answering ping.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nova.calls import Calls
from tests.nova.cloud import Cloud
from tests.nova.neutron_double import NETWORKS, BrickNeutron
from tests.nova.servers import Server, Servers
from tests.nova.stand import ComputeHost
from tools.lab.stand import work_dir

STAND = pytest.StashKey[tuple[ComputeHost, Cloud]]()
LOGGED = pytest.StashKey[int]()

TIMEOUT_S = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow for the boot of guests without KVM; what OpenStack deprecates is not our concern."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def host() -> Iterator[ComputeHost]:
    with work_dir("vb-nova") as directory, ComputeHost(directory) as host:
        yield host


@pytest.fixture(scope="session")
def cloud(request: pytest.FixtureRequest, host: ComputeHost) -> Iterator[Cloud]:
    cloud = Cloud(host.nova_conf, lambda test: BrickNeutron(test, host.socket_dir))
    with contextlib.ExitStack() as stack:
        stack.callback(cloud.doCleanups)
        cloud.setUp()
        for name, prefix in NETWORKS.items():
            host.add_uplink(cloud.neutron.networks[name], name, f"{prefix}.1/24")
        request.session.stash[STAND] = host, cloud
        yield cloud


@pytest.fixture(scope="session")
def servers(cloud: Cloud, host: ComputeHost) -> Iterator[Servers]:
    """Make servers; all are deleted at the end."""
    servers = Servers(cloud, host)
    yield servers
    servers.cleanup()


@pytest.fixture
def calls(cloud: Cloud) -> Iterator[Calls]:
    """Watch what Nova calls of the plugin, from here on."""
    with Calls() as calls:
        yield calls


@pytest.fixture
def binding(cloud: Cloud) -> Iterator[dict[str, Any]]:
    """What the bindings of this test's ports say beside what all say, to be filled."""
    details: dict[str, Any] = {}
    cloud.neutron.details = details
    yield details
    cloud.neutron.details = {}


@pytest.fixture(scope="session")
def _shared() -> list[Server]:
    return []


@pytest.fixture
def server(servers: Servers, _shared: list[Server]) -> Server:
    """A running server that answers, with one port.

    The one that the test before had, unless it was left in a bad state.
    """
    if not _shared or _shared[0].status != "ACTIVE":
        _shared[:] = [servers.boot()]
    _shared[0].check()
    _shared[0].answer()
    return _shared[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of Nova and of the daemon with a test that failed."""
    report = yield
    if item.session.stash.get(STAND, None) is None:
        return report
    host, cloud = item.session.stash[STAND]
    if report.failed:
        # Nova's log is long, and pytest's own capture of it longer.
        report.sections = [s for s in report.sections if "log" not in s[0]]
        log = cloud.log[item.stash.get(LOGGED, 0) :]
        report.sections.append(("log of Nova", log[-20000:]))
        report.sections.append(("log of vhost-brickd", host.brickd.log_tail(40)))
    item.stash[LOGGED] = len(cloud.log)
    return report
