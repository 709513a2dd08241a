# SPDX-License-Identifier: Apache-2.0
"""Two guests, each on a port of its own, that ping each other."""

from typing import Any

from tools.lab.lab import Guest, Report
from tools.lab.stand import Stand, wait_answers

NAMES = ("one", "two")
"""Of the guests, and of their ports."""

ADDRESSES = {"one": "10.0.0.1", "two": "10.0.0.2"}

INTERVAL_MS = 10

BOOT_TIMEOUT_S = 120.0


def make_ports(stand: Stand, modes: tuple[str, str]) -> None:
    """Make the network and the two ports; *modes* are the brick's."""
    stand.create_network()
    for name, mode in zip(NAMES, modes, strict=True):
        stand.create_port(name, mode)


def boot(stand: Stand, **options: Any) -> list[Guest]:
    """Boot both guests; returns when they have answers from each other.

    *options* are :class:`.lab.Guest`'s.
    """
    guests = [
        stand.guest(
            name,
            [name],
            ip=f"{ADDRESSES[name]}/24",
            peer=ADDRESSES[peer],
            interval_ms=INTERVAL_MS,
            **options,
        )
        for name, peer in (NAMES, NAMES[::-1])
    ]
    for guest in guests:
        guest.start()
    for guest in guests:
        guest.wait_report(lambda r: r.answered > 0, BOOT_TIMEOUT_S)
    return guests


class Watch:
    """One guest's life, looked at from outside; notes what should not have happened.

    :ivar problems: in words; empty as long as the guest noticed nothing.
    """

    def __init__(self, guest: Guest) -> None:
        guest.command("reset")
        first = wait_answers(guest)
        self.guest = guest
        self.problems: list[str] = []
        self._boot_id = first.boot_id
        self._pid = guest.pid
        self._last = first

    def look(self) -> Report:
        """Take a report, and compare it with the one before."""
        report = self.guest.wait_report(fresh=True)
        passed = report.host_monotonic - self._last.host_monotonic
        self._expect(report.boot_id == self._boot_id, "the guest was rebooted")
        self._expect(self.guest.pid == self._pid, "its QEMU is another process")
        self._expect(report.answered > self._last.answered, "no ping was answered")
        # The reports of a busy guest may be late, so the two clocks differ a little.
        grown = report.uptime_s - self._last.uptime_s
        self._expect(grown > passed / 2, "its uptime does not grow")
        self._last = report
        return report

    def _expect(self, good: bool, problem: str) -> None:
        if not good:
            self.problems.append(f"{self.guest.name}: {problem}")
