# SPDX-License-Identifier: Apache-2.0
"""Asks a guest for an answer, from the host's side of its network."""

from __future__ import annotations

import os
import socket
import struct
import time

from tests.functional.netns import NetNs

ECHO_REQUEST, ECHO_REPLY = 8, 0
HEADER = struct.Struct("!BBHHH")

INTERVAL_S = 0.1
"""Between two requests: a guest that boots answers as soon as it is up."""


def ping(netns: NetNs, address: str, timeout: float) -> float:
    """Send echo requests to *address* until one is answered; return the seconds that took.

    :raises TimeoutError: no answer within *timeout* seconds.
    """
    ident = os.getpid() & 0xFFFF
    start = time.monotonic()
    with netns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
        raw.settimeout(INTERVAL_S)
        number = 0
        while time.monotonic() - start < timeout:
            number += 1
            raw.sendto(_request(ident, number), (address, 0))
            if _answered(raw, address, ident):
                return time.monotonic() - start
    raise TimeoutError(f"{address} did not answer {number} pings within {timeout:g} s")


def _request(ident: int, number: int) -> bytes:
    head = HEADER.pack(ECHO_REQUEST, 0, 0, ident, number & 0xFFFF)
    return HEADER.pack(ECHO_REQUEST, 0, _checksum(head), ident, number & 0xFFFF)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def _answered(raw: socket.socket, address: str, ident: int) -> bool:
    """Wait one interval for the answer of *address* to any request of ours."""
    until = time.monotonic() + INTERVAL_S
    while time.monotonic() < until:
        try:
            packet, (sender, _) = raw.recvfrom(2048)
        except TimeoutError:
            return False
        header = (packet[0] & 0xF) * 4
        kind, _, _, their_ident, _ = HEADER.unpack_from(packet, header)
        if (sender, kind, their_ident) == (address, ECHO_REPLY, ident):
            return True
    return False
