# SPDX-License-Identifier: Apache-2.0
"""The promise: guests carry on when the daemon is killed, whatever the mode of their port."""

from __future__ import annotations

import os
import signal

import pytest

from tests.functional.waiting import wait_until
from tools.lab.lab import Guest
from tools.lab.pair import Watch
from tools.lab.stand import Stand, wait_answers

SILENCE_LIMIT_MS = 10_000
"""Far above what bench/outage.py allows: other programs may keep this machine busy."""


def sessions(stand: Stand, port: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = stand.show("port", "show", port)["sessions"]
    return found


def test_guests_talk(stand: Stand, pair: tuple[Guest, Guest]) -> None:
    for guest in pair:
        assert guest.wait_report(fresh=True).duplicate == 0
        port = stand.show("port", "show", guest.name)
        assert port["state"] == "running"
        assert len(port["sessions"]) == 1
        assert port["from_peer_packets"] > 0
        assert port["to_peer_packets"] > 0


def test_ports_have_the_modes_they_should(stand: Stand, pair: tuple[Guest, Guest]) -> None:
    modes = [stand.show("port", "show", guest.name)["mode"] for guest in pair]
    assert modes == ["client", "server"]
    assert "mode='client'" in pair[1].domain.XMLDesc()


def test_kills_go_unnoticed(stand: Stand, pair: tuple[Guest, Guest]) -> None:
    watches = [Watch(guest) for guest in pair]
    for _ in range(4):
        stand.kill(pair)
        for watch in watches:
            assert watch.look().longest_silence_ms < SILENCE_LIMIT_MS
            assert watch.problems == []
    for guest in pair:
        assert len(sessions(stand, guest.name)) == 1


def test_kills_without_a_pause(stand: Stand, pair: tuple[Guest, Guest]) -> None:
    """The next kill comes as soon as the daemon is ready, maybe in a handshake of QEMU's."""
    watches = [Watch(guest) for guest in pair]
    for _ in range(5):
        lives = len(stand.brickd.lives)
        stand.brickd.kill()
        stand.brickd.wait_ready(lives)
    for watch in watches:
        wait_answers(watch.guest)
        watch.look()
        assert watch.problems == []


def test_restart_in_good_order(stand: Stand, pair: tuple[Guest, Guest]) -> None:
    watches = [Watch(guest) for guest in pair]
    stand.brickd.stop()
    assert stand.brickd.lives[-1].status == 0
    stand.brickd.start()
    for watch in watches:
        wait_answers(watch.guest)
        watch.look()
        assert watch.problems == []


@pytest.mark.parametrize("number", [0, 1], ids=["client", "server"])
def test_qemu_killed_and_started_again(
    stand: Stand, pair: tuple[Guest, Guest], number: int
) -> None:
    """In client mode QEMU makes a new socket, and the brick has to find it."""
    guest, other = pair[number], pair[1 - number]
    before = guest.wait_report(fresh=True)
    os.kill(guest.pid, signal.SIGKILL)
    wait_until(lambda: not guest.domain.isActive(), "libvirt to see the end of QEMU")
    guest.start()
    after = wait_answers(guest)
    assert after.boot_id != before.boot_id
    wait_answers(other)
    assert len(sessions(stand, guest.name)) == 1
