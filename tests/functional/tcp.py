# SPDX-License-Identifier: Apache-2.0
"""TCP and UDP frames whose checksum, and whose segments, are left to the network card."""

from __future__ import annotations

import dataclasses

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from tests.frontend.protocol import Feature
from tests.frontend.vhost_user import WANTED, NetHeader
from tests.functional.exchange import mac

TO_US = Feature.CSUM | Feature.HOST_TSO4 | Feature.HOST_TSO6
"""What a guest may leave to be done."""

CHECKSUMS = WANTED | TO_US | Feature.GUEST_CSUM
EVERYTHING = CHECKSUMS | Feature.GUEST_TSO4 | Feature.GUEST_TSO6

NEEDS_CSUM = 1
GSO_TCPV4, GSO_TCPV6 = 1, 4

SEQUENCE = 0xFFFFFF00
"""Of a frame's first byte; it wraps soon."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """A long frame as a driver hands it over, and what must become of it.

    :ivar size: of the payload of each segment; 0: it is one frame.
    :ivar sender: number of the VM.
    :ivar receiver: the same.
    """

    version: int
    payload: bytes
    size: int
    sender: int
    receiver: int
    udp: bool = False

    def _packet(self, payload: bytes, **tcp: object) -> Packet:
        ends = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}[self.version]
        ip = (IP if self.version == 4 else IPv6)(src=ends[0], dst=ends[1])
        if self.version == 4:
            ip.id = 65535
        l4 = UDP(sport=1, dport=2) if self.udp else TCP(sport=1, dport=2, **tcp)
        return Ether(src=mac(self.sender), dst=mac(self.receiver)) / ip / l4 / Raw(payload)

    @property
    def l4(self) -> int:
        """Where the TCP or UDP header begins."""
        return 14 + (20 if self.version == 4 else 40)

    @property
    def headers(self) -> int:
        return self.l4 + (8 if self.udp else 20)

    @property
    def field(self) -> int:
        """Where the checksum is."""
        return self.l4 + (6 if self.udp else 16)

    @property
    def frame(self) -> bytes:
        """The frame, with the pseudo header's sum in place of its checksum."""
        packet = bytearray(bytes(self._packet(self.payload, seq=SEQUENCE, flags="FPA")))
        addresses = packet[self.l4 - (8 if self.version == 4 else 32) : self.l4]
        length = len(packet) - self.l4
        pseudo = bytes(addresses) + bytes((0, 17 if self.udp else 6)) + length.to_bytes(4)
        packet[self.field : self.field + 2] = ones_sum(pseudo).to_bytes(2)
        return bytes(packet)

    @property
    def header(self) -> NetHeader:
        kind = {4: GSO_TCPV4, 6: GSO_TCPV6}[self.version] if self.size else 0
        length = self.headers if self.size else 0
        return NetHeader(NEEDS_CSUM, kind, length, self.size, self.l4, self.field - self.l4)

    def finished(self) -> list[bytes]:
        """Return the frames that a network card would make of it."""
        size = self.size or len(self.payload)
        frames = []
        for at in range(0, len(self.payload), size):
            last = at + size >= len(self.payload)
            packet = self._packet(
                self.payload[at : at + size],
                seq=(SEQUENCE + at) % 2**32,
                flags="FPA" if last else "A",
            )
            if self.version == 4:
                packet[IP].id = (65535 + len(frames)) % 65536
            frames.append(bytes(packet))
        return frames


def ones_sum(data: bytes) -> int:
    """Return the ones' complement sum of 16-bit words (RFC 1071), not inverted."""
    total = sum(int.from_bytes(data[i : i + 2].ljust(2, b"\0")) for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def payload(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))
