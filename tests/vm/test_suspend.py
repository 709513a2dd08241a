# SPDX-License-Identifier: Apache-2.0
"""A guest is written to disk and read back, as Nova's suspend and resume do: a migration
to a file.  libvirt refuses both for a backend that cannot log what it writes."""

from __future__ import annotations

import pytest

from tools.lab.lab import Guest
from tools.lab.stand import Stand, wait_answers


@pytest.mark.parametrize("number", [0, 1], ids=["client", "server"])
def test_saved_guest_carries_on(stand: Stand, pair: tuple[Guest, Guest], number: int) -> None:
    guest, other = pair[number], pair[1 - number]
    before = guest.wait_report(fresh=True)
    guest.domain.managedSave(0)
    assert stand.show("port", "show", guest.name)["state"] == "waiting"

    guest.start()
    assert not guest.domain.hasManagedSaveImage(0)
    after = wait_answers(guest)
    assert after.boot_id == before.boot_id
    wait_answers(other)
    port = stand.show("port", "show", guest.name)
    assert (port["state"], len(port["sessions"])) == ("running", 1)


def test_saved_guest_of_a_daemon_that_was_killed_meanwhile(
    stand: Stand, pair: tuple[Guest, Guest]
) -> None:
    guest, other = pair
    before = guest.wait_report(fresh=True)
    guest.domain.managedSave(0)
    stand.kill([])
    guest.start()
    assert wait_answers(guest).boot_id == before.boot_id
    wait_answers(other)
