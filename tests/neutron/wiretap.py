# SPDX-License-Identifier: Apache-2.0
"""Sees and sends the frames of one interface in a namespace, VLAN tags included."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator

from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.functional.netns import NetNs

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA = 8
AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid."""
TP_STATUS_VLAN_VALID = 1 << 4
TP_STATUS_VLAN_TPID_VALID = 1 << 6
PACKET_OUTGOING = 4
BUFFER = 65536
TIMEOUT = 10.0


class Wiretap:
    """An open packet socket.

    :ivar incoming: see only what the interface receives, nothing that is sent on it.
    """

    def __init__(self, ns: NetNs, interface: str, incoming: bool = True) -> None:
        self.interface = interface
        self.incoming = incoming
        self._socket = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.bind((interface, ETH_P_ALL))
        self.clear()

    def close(self) -> None:
        self._socket.close()

    def send(self, frame: Packet | bytes) -> None:
        self._socket.send(bytes(frame))

    def clear(self) -> None:
        """Forget what has come so far."""
        for _ in self._frames(0.0):
            pass

    def wait(
        self, wanted: Callable[[Packet], bool], what: str, timeout: float = TIMEOUT
    ) -> Packet:
        """Return the first frame that is wanted.

        :param what: what is waited for, to be read after "no".
        """
        others: list[str] = []
        for frame in self._frames(timeout):
            if wanted(frame):
                return frame
            others.append(frame.summary())
        raise AssertionError(f"no {what} on {self.interface} in {timeout:g} s: {others[-20:]}")

    def all(self) -> list[Packet]:
        """Return the frames that are there now."""
        return list(self._frames(0.0))

    def _frames(self, timeout: float) -> Iterator[Packet]:
        deadline = time.monotonic() + timeout
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        while poller.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            frame = self._receive()
            if frame is not None:
                yield frame

    def _receive(self) -> Packet | None:
        data, extra, _, address = self._socket.recvmsg(BUFFER, socket.CMSG_SPACE(AUXDATA.size))
        if self.incoming and address[2] == PACKET_OUTGOING:
            return None
        for level, kind, value in extra:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                data = _with_tag(data, value)
        return Ether(data)


def _with_tag(data: bytes, aux: bytes) -> bytes:
    """Put the VLAN tag back, which the kernel has moved beside the frame."""
    status, _, _, _, _, tci, tpid = AUXDATA.unpack(aux[: AUXDATA.size])
    if not status & TP_STATUS_VLAN_VALID:
        return data
    if not status & TP_STATUS_VLAN_TPID_VALID:
        tpid = 0x8100
    return data[:12] + struct.pack("!HH", tpid, tci) + data[12:]


@contextlib.contextmanager
def wiretap(ns: NetNs, interface: str, incoming: bool = True) -> Iterator[Wiretap]:
    """Listen while the block runs."""
    tap = Wiretap(ns, interface, incoming)
    try:
        yield tap
    finally:
        tap.close()
