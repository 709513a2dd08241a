# SPDX-License-Identifier: Apache-2.0
"""Fixtures: one daemon and one libvirt for all tests, and two guests that ping each other.

Needs root. Guests boot for seconds where KVM does not work, so they are shared: a
test leaves the pair as it found it, pinging.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from tools.lab import pair as lab_pair
from tools.lab.lab import Guest
from tools.lab.stand import Host, Stand, wait_answers, work_dir

STANDS = pytest.StashKey[list[Stand]]()

TIMEOUT_S = 300

SECOND_ADDRESS = "10.0.1.1"
"""What a guest of the pair gives the second card that is plugged into it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Allow for the boot of guests without KVM, which the first test waits for."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def logged(request: pytest.FixtureRequest) -> Callable[[Stand], None]:
    """Return a function that has a stand's log shown with each test that fails."""
    return request.session.stash.setdefault(STANDS, []).append


@pytest.fixture(scope="session")
def stand(logged: Callable[[Stand], None]) -> Iterator[Stand]:
    """Return a running daemon and libvirt."""
    with work_dir("vb-vm") as directory, Stand(Host.probe(), directory) as stand:
        logged(stand)
        yield stand


@pytest.fixture(scope="session")
def booted(stand: Stand) -> tuple[Guest, Guest]:
    """Return guests ``one`` (its port in client mode) and ``two`` (server mode)."""
    lab_pair.make_ports(stand, ("client", "server"))
    one, two = lab_pair.boot(stand, more_ips=[f"{SECOND_ADDRESS}/24"])
    return one, two


@pytest.fixture
def pair(booted: tuple[Guest, Guest]) -> tuple[Guest, Guest]:
    """Return the two guests, which have answers from each other now."""
    for guest in booted:
        wait_answers(guest)
    return booted


@pytest.fixture
def make_port(stand: Stand) -> Iterator[Callable[..., str]]:
    """Return a function that makes a port, which is deleted after the test."""
    made = []

    def make(name: str, mode: str, *more: str) -> str:
        made.append(name)
        stand.create_port(name, mode, "lab", *more)
        return name

    yield make
    if made:
        stand.run("port", "delete", *made)


@pytest.fixture
def make_guest(stand: Stand, make_port: object) -> Iterator[Callable[..., Guest]]:
    """Return a function that makes a guest, which is gone after the test.

    It takes what :meth:`tools.lab.stand.Stand.guest` takes.
    """
    made: list[Guest] = []

    def make(name: str, ports: tuple[str, ...] = (), **options: Any) -> Guest:
        made.append(stand.guest(name, ports, **options))
        return made[-1]

    yield make
    for guest in made:
        guest.destroy()
        guest.undefine()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the daemons' logs with a test that failed."""
    report = yield
    for stand in item.session.stash.get(STANDS, []) if report.failed else []:
        report.sections.append((f"log of {stand.directory}", stand.brickd.log_tail(60)))
    return report
