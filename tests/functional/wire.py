# SPDX-License-Identifier: Apache-2.0
"""Who sends and receives frames in a test, and the proof that they pass."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Protocol

from tests.functional.exchange import ETHERTYPE, frame
from tests.functional.netns import NetNs
from tests.functional.waiting import wait_until

GLANCE = 0.1
"""Seconds to look for a frame before sending it once more."""


SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 1 << 4
AUXDATA = struct.Struct("=3I4H")
"""struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid."""

ETH_P_ALL, ETH_P_8021Q = 3, 0x8100


class Station(Protocol):
    """One end: a frontend, or an interface of the kernel."""

    def send(self, frame: bytes) -> None: ...

    def receive(self, timeout: float) -> bytes: ...


class Interface:
    """The frames of the test's type and of one VLAN at an interface of the kernel.

    A frame's tag is put on and taken off here: the test's kernel need not know VLANs.

    :param vlan: 0: the untagged ones.
    """

    def __init__(self, netns: NetNs, name: str, vlan: int = 0) -> None:
        self._vlan = vlan
        self._socket = netns.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        # A kernel without VLANs gives tagged frames to nobody who asks for one type.
        self._socket.bind((name, ETH_P_ALL))

    def __enter__(self) -> Interface:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        tag = struct.pack(">HH", ETH_P_8021Q, self._vlan) if self._vlan else b""
        self._socket.send(frame[:12] + tag + frame[12:])

    def receive(self, timeout: float) -> bytes:
        """Return the next frame; raise TimeoutError if there is none."""
        deadline = time.monotonic() + timeout
        while True:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data, about, _, where = self._socket.recvmsg(65536, socket.CMSG_SPACE(AUXDATA.size))
            ours = data[12:14] == ETHERTYPE and where[2] != socket.PACKET_OUTGOING
            if ours and _vlan(about) == self._vlan:
                return data


def _vlan(about: list[tuple[int, int, bytes]]) -> int:
    """Return the VLAN of the tag that the kernel has taken off, or 0."""
    for level, type, data in about:
        if (level, type) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tci, _ = AUXDATA.unpack(data)
            return tci & 0xFFF if status & TP_STATUS_VLAN_VALID else 0
    return 0


def hears(station: Station, wanted: bytes, timeout: float = GLANCE) -> bool:
    """Tell whether *wanted* arrives at *station*; other frames are lost."""
    deadline = time.monotonic() + timeout
    try:
        while station.receive(max(0.0, deadline - time.monotonic())) != wanted:
            pass
    except TimeoutError:
        return False
    return True


def passes(sender: Station, receiver: Station, payload: bytes, src: int = 0) -> None:
    """Send a broadcast until it arrives: the way may still be on its way up."""
    wanted = frame(None, src, payload)

    def passed() -> bool:
        sender.send(wanted)
        return hears(receiver, wanted)

    wait_until(passed, f"{payload!r} to arrive")


class Memory:
    """A station that remembers all that it heard."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._heard: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self._station.send(frame)

    def receive(self, timeout: float) -> bytes:
        frame = self._station.receive(timeout)
        self._heard.append(frame)
        return frame

    def heard(self, payload: bytes) -> bool:
        """Tell whether a frame with *payload* has ever come, those included that wait."""
        with contextlib.suppress(TimeoutError):
            while True:
                self.receive(GLANCE)
        return any(payload in frame for frame in self._heard)
