# SPDX-License-Identifier: Apache-2.0
"""A standby takes over under real guests: they, and QEMU, notice nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tools.lab import pair as lab_pair
from tools.lab.duo import Change, Duo
from tools.lab.lab import Guest
from tools.lab.pair import Watch
from tools.lab.stand import Host, Stand, wait_answers, work_dir

CARRIER_CHANGES = "cat /sys/class/net/eth0/carrier_changes"


@pytest.fixture(scope="module")
def duo_stand(logged: Callable[[Stand], None]) -> Iterator[Stand]:
    """Return a stand with a daemon that serves and one that stands by."""
    with work_dir("vb-duo") as directory, Stand(Host.probe(), directory, standby=True) as stand:
        logged(stand)
        yield stand


@pytest.fixture(scope="module")
def guests(duo_stand: Stand) -> list[Guest]:
    """Return two guests that ping each other, one on a port of each mode."""
    lab_pair.make_ports(duo_stand, ("client", "server"))
    return lab_pair.boot(duo_stand)


@pytest.fixture
def duo(duo_stand: Stand) -> Duo:
    assert duo_stand.duo
    return duo_stand.duo


def check_unnoticed(change: Change) -> None:
    assert (change.how.adopted, change.how.closed) == (2, 0)


@pytest.mark.parametrize("end", ["kill", "hand_over"])
def test_guests_notice_nothing(guests: list[Guest], duo: Duo, end: str) -> None:
    watches = [Watch(guest) for guest in guests]
    links = [guest.shell(CARRIER_CHANGES) for guest in guests]
    for _ in range(4):
        duo.wait_in_sync()
        check_unnoticed(getattr(duo, end)())
        for watch in watches:
            wait_answers(watch.guest)
            watch.look()
            assert watch.problems == []
    # QEMU takes the link down when a connection closes.
    assert [guest.shell(CARRIER_CHANGES) for guest in guests] == links


def test_a_guest_is_held_while_another_daemon_takes_over(guests: list[Guest], duo: Duo) -> None:
    duo.wait_in_sync()
    guests[0].domain.suspend()
    try:
        check_unnoticed(duo.kill())
    finally:
        guests[0].domain.resume()
    for guest in guests:
        wait_answers(guest)
