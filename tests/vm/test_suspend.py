# SPDX-License-Identifier: Apache-2.0
"""A guest is written to disk and read back, as Nova's suspend and resume do: a migration
to a file.  libvirt refuses both for a backend that cannot log what it writes.  Or it is
only held for a while, as by Nova's pause."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.frontend.vhost_user import Frontend
from tests.vm.witness import announces
from tools.lab.lab import Guest
from tools.lab.pair import ADDRESSES, Watch
from tools.lab.stand import Stand, wait_answers

SILENCE_MS = 300
"""Long after the last ping that a guest had answered when it was held."""


@pytest.fixture
def listener(stand: Stand, make_port: Callable[..., str]) -> Iterator[Frontend]:
    """A third end of the network, which hears what is meant for all."""
    port = make_port("listener", "client")
    with Frontend(stand.socket_dir / port, listen=True) as frontend:
        frontend.connect()
        yield frontend


@pytest.mark.parametrize("number", [0, 1], ids=["client", "server"])
def test_saved_guest_carries_on(
    stand: Stand, pair: tuple[Guest, Guest], listener: Frontend, number: int
) -> None:
    guest, other = pair[number], pair[1 - number]
    before = guest.wait_report(fresh=True)
    guest.domain.managedSave(0)
    assert stand.show("port", "show", guest.name)["state"] == "waiting"

    listener.receive_all()
    guest.start()
    assert not guest.domain.hasManagedSaveImage(0)
    after = wait_answers(guest)
    assert after.boot_id == before.boot_id
    wait_answers(other)
    assert [f for f in listener.receive_all() if announces(f, ADDRESSES[guest.name])]
    port = stand.show("port", "show", guest.name)
    assert (port["state"], len(port["sessions"])) == ("running", 1)


@pytest.mark.parametrize("number", [0, 1], ids=["client", "server"])
def test_saved_guest_of_a_daemon_that_was_killed_meanwhile(
    stand: Stand, pair: tuple[Guest, Guest], number: int
) -> None:
    guest, other = pair[number], pair[1 - number]
    before = guest.wait_report(fresh=True)
    guest.domain.managedSave(0)
    stand.kill([])
    guest.start()
    assert wait_answers(guest).boot_id == before.boot_id
    wait_answers(other)


@pytest.mark.parametrize("kills", [0, 1], ids=["alive", "killed"])
@pytest.mark.parametrize("number", [0, 1], ids=["client", "server"])
def test_paused_guest_carries_on(
    stand: Stand, pair: tuple[Guest, Guest], number: int, kills: int
) -> None:
    guest, other = pair[number], pair[1 - number]
    before, watch = guest.wait_report(fresh=True), Watch(other)
    guest.domain.suspend()
    other.wait_report(lambda r: r.current_silence_ms > SILENCE_MS)
    for _ in range(kills):
        stand.kill([])
    guest.domain.resume()
    assert wait_answers(guest).boot_id == before.boot_id
    wait_answers(other)
    watch.look()
    assert watch.problems == []
