# SPDX-License-Identifier: Apache-2.0
"""The soak's frontends.

*Residents* are virtio-user processes that send numbered frames to one another from the
beginning to the end, however often they or the daemon die.  *Visitors* are frontends in
Python: they come and go, and do what no driver would.  Each network has an *anchor*, a
visitor that stays: whoever can exchange frames with it is well.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import PortStats, VUser
from tests.functional.exchange import frame, mac, pass_frame
from tests.functional.waiting import wait_until

RATE = 1000
"""Frames a second of each resident: all four and the daemon share a small machine."""

PROGRESS = 50
"""Frames that must arrive before a resident counts as well."""

PORT = "p"


@dataclasses.dataclass
class Frames:
    """What a resident sent and received in all its lives."""

    tx: int = 0
    rx: int = 0
    lost: int = 0
    reordered: int = 0
    duplicate: int = 0
    bad: int = 0

    def add(self, stats: PortStats) -> None:
        self.tx += stats.tx
        self.rx += stats.rx
        self.lost += stats.lost
        self.reordered += stats.reordered
        self.duplicate += stats.duplicate
        self.bad += stats.rx_bad


class Resident:
    """One virtual machine with one port, which talks to another one.

    :param mode: the brick's.
    :param peer: number of the one that it sends to.
    """

    def __init__(
        self,
        directory: Path,
        path: str,
        number: int,
        peer: int,
        *,
        mode: str,
        queues: int,
        size: int,
    ) -> None:
        self.name = f"resident{number}"
        self.number = number
        self.total = Frames()
        self._directory = directory
        self._path = path
        self._peer = peer
        self._mode = mode
        self._queues = queues
        self._size = size
        self.vm = self._boot()

    def _boot(self) -> VUser:
        vm = VUser(self._directory, name=self.name, idle_us=300)
        self._plug(vm)
        return vm

    def _plug(self, vm: VUser) -> None:
        retry = {} if self._mode == "client" else {"retry_ms": 20}
        vm.add(
            PORT,
            self._path,
            server=self._mode == "client",
            queues=self._queues,
            mac=mac(self.number),
            **retry,
        )

    def talk(self) -> None:
        """Send frames from now on."""
        self.vm.wait_link(PORT)
        self.vm.start(PORT, dst=mac(self._peer), rate=RATE, flows=8, size=self._size)

    def hush(self) -> None:
        self.vm.stop(PORT)

    def stats(self) -> PortStats:
        return self.vm.stats(PORT)

    def crash(self) -> None:
        """Kill it by SIGKILL and boot it again."""
        self._note()
        self.vm.kill()
        self.vm = self._boot()
        self.talk()

    def replug(self) -> None:
        """Take its card away in good order, and give it back."""
        self._note()
        self.vm.remove(PORT)
        self._plug(self.vm)
        self.talk()

    def close(self) -> None:
        self._note()
        self.vm.stop_process()

    def _note(self) -> None:
        self.total.add(self.stats())


def wait_residents(residents: list[Resident], timeout: float) -> None:
    """Wait until each has received some more frames."""
    goals = [(r, r.stats().rx + PROGRESS) for r in residents]
    for resident, goal in goals:

        def arrived(resident: Resident = resident, goal: int = goal) -> bool:
            return resident.stats().rx >= goal

        wait_until(arrived, f"frames at {resident.name}", timeout, interval=0.02)


class Visitor:
    """A frontend in Python and its port.

    :ivar id: of the port, and of the guest.
    """

    def __init__(self, path: str, number: int, *, network: str, mode: str, queues: int) -> None:
        self.id = f"v{number}"
        self.number = number
        self.network = network
        self.mode = mode
        self.queues = queues
        self._path = path
        self._said = 0
        self.vm = self._boot()

    def _boot(self) -> Frontend:
        return Frontend(self._path, listen=self.mode == "client", queues=self.queues, ring_size=64)

    def crash(self) -> None:
        """End as by SIGKILL, and come back as another guest."""
        self.vm.kill()
        self.vm = self._boot()
        self.vm.connect()

    def heal(self) -> None:
        """Connect again if the daemon went away."""
        if not self.vm.connected:
            self.vm.connect()

    def exchange(self, other: Visitor) -> None:
        """Pass a frame to another one of the network, and back."""
        for sender, receiver in ((self, other), (other, self)):
            sender._said += 1
            text = b"%d of %s" % (sender._said, sender.id.encode())
            receiver.vm.receive_all()  # Its ring may be full of what was flooded.
            pass_frame(sender.vm, receiver.vm, frame(receiver.number, sender.number, text))

    def close(self) -> None:
        self.vm.close()
