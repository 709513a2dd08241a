# SPDX-License-Identifier: Apache-2.0
"""Reads captures, with scapy: what a stranger makes of them."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

from scapy.utils import RawPcapNgReader

from vhost_brick_plugin.probes import Direction

_DIRECTIONS = {1: Direction.FROM_PEER, 2: Direction.TO_PEER}
"""Of epb_flags: inbound, outbound."""

NS = 10**9


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a file.

    :ivar length: its bytes before it was cut.
    :ivar time: nanoseconds.
    """

    data: bytes
    length: int
    direction: Direction
    time: int
    interface: str


def read(capture: Path | bytes) -> list[Packet]:
    """Return the packets of a file, or of what would be one."""
    data = capture if isinstance(capture, bytes) else capture.read_bytes()
    return [_packet(*found) for found in RawPcapNgReader(io.BytesIO(data))]


def _packet(data: bytes, about: RawPcapNgReader.PacketMetadata) -> Packet:
    assert about.tsresol == NS
    return Packet(
        data=data,
        length=about.wirelen,
        direction=_DIRECTIONS[about.direction],
        time=(about.tshigh << 32) + about.tslow,
        interface=about.ifname.decode(),
    )
