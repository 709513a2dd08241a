# SPDX-License-Identifier: Apache-2.0
"""A VM as the network sees it: a NIC with addresses, which sends what the test wants."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.frontend.vhost_user import Frontend
from tests.functional.waiting import wait_until
from tests.neutron import compute
from tests.neutron.api import Resource
from tests.neutron.host import Host

BROADCAST = "ff:ff:ff:ff:ff:ff"
PROBE_INTERVAL = 0.1
TIMEOUT = 15.0


class Guest:
    """A guest on *host* with one NIC for *port*, which must be bound there.

    As Nova does it: os-vif plugs, then QEMU starts and listens.
    """

    def __init__(self, host: Host, port: Resource, network: Resource) -> None:
        self.host = host
        self.port = port
        self.id: str = port["id"]
        self.mac: str = port["mac_address"]
        self.addresses = [fixed["ip_address"] for fixed in port["fixed_ips"]]
        self.vif = compute.make_vif(port, network)
        self.frontend: Frontend | None = None
        self._count = 0

    @property
    def ip(self) -> str:
        """Its IPv4 address."""
        return next(a for a in self.addresses if ":" not in a)

    @property
    def ip6(self) -> str:
        return next(a for a in self.addresses if ":" in a)

    # -- coming and going ------------------------------------------------------

    def boot(self) -> None:
        compute.plug(self.host.daemon, self.vif)
        self.frontend = Frontend(self.vif.path, listen=self.vif.mode == "server")
        self.frontend.connect()

    def delete(self) -> None:
        """End the VM and unplug it; Neutron is not told."""
        if self.frontend:
            self.frontend.close()
            self.frontend = None
            compute.unplug(self.host.daemon, self.vif)

    def reconnect(self) -> None:
        """Meet a daemon that was restarted."""
        self.nic.wait_disconnect()
        self.nic.connect()

    # -- frames ----------------------------------------------------------------

    @property
    def nic(self) -> Frontend:
        assert self.frontend, "not booted"
        return self.frontend

    def send(self, frame: Packet) -> None:
        self.nic.send(bytes(frame))

    def wait(
        self, wanted: Callable[[Packet], bool], what: str, timeout: float = TIMEOUT
    ) -> Packet:
        """Return the first frame that is wanted; what comes before it is lost."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(TimeoutError):
            while True:
                frame = Ether(self.nic.receive(max(0.0, deadline - time.monotonic())))
                if wanted(frame):
                    return frame
        raise AssertionError(f"{self.host.name} {self.mac}: no {what} in {timeout:g} s")

    def received(self) -> list[Packet]:
        """Return the frames that are there now."""
        return [Ether(data) for data in self.nic.receive_all()]

    def datagram(
        self, dst: str = BROADCAST, ip: str | None = None, src: str | None = None
    ) -> Packet:
        """Return a frame that differs from all others.

        :param dst: a MAC address.
        :param ip: the source address; default: the guest's own.
        :param src: likewise the source MAC.
        """
        self._count += 1
        addresses = IP(src=ip or self.ip, dst="255.255.255.255")
        text = f"{self.id} {self._count}".encode()
        return Ether(src=src or self.mac, dst=dst) / addresses / UDP(dport=9) / Raw(text)

    def reaches(self, other: Guest, timeout: float = TIMEOUT) -> None:
        """Fail unless frames pass from here to *other*."""

        def passed() -> bool:
            frame = self.datagram(other.mac)
            self.send(frame)
            try:
                other.wait(carries(frame), "datagram", PROBE_INTERVAL)
            except AssertionError:
                return False
            return True

        wait_until(passed, f"a frame from {self.mac} to {other.mac}", timeout)


def carries(frame: Packet) -> Callable[[Packet], bool]:
    """Return a test for frames with the payload of *frame*."""
    return lambda seen: Raw in frame and Raw in seen and seen[Raw].load.startswith(frame[Raw].load)


def talk(guests: Sequence[Guest]) -> None:
    """Fail unless frames pass between all of them, both ways."""
    for one in guests:
        for other in guests:
            if one is not other:
                one.reaches(other)
