# SPDX-License-Identifier: Apache-2.0
"""A frontend that can do what no honest one does, in its messages and in its rings.

It negotiates in good order unless a test takes that over, and its receive ring is full
of honest buffers unless made with ``stock=False``.  What it transmits it writes into
the ring itself (:meth:`Guest.post`), always from descriptor 0 up, and one chain at a time.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

from tests.frontend.ring import GUEST_BASE, INDIRECT, NEXT, SplitRing
from tests.frontend.vhost_user import NET_HEADER, PLAIN, Frontend, NetHeader
from tests.functional import exchange
from tests.functional.waiting import wait_until

HEADER = NET_HEADER.pack(0, 0, 0, 0, 0, 0, 0)

HONEST = 1 << 17
"""Where honest frames are, from the start of the scratch memory."""


class Descriptor(NamedTuple):
    address: int
    length: int
    flags: int = 0
    next: int = 0


def chained(*pieces: tuple[int, int], flags: int = 0) -> list[Descriptor]:
    """Return a good chain from descriptor 0 up, of pieces (address, length)."""
    last = len(pieces) - 1
    return [
        Descriptor(address, length, flags | (NEXT if i < last else 0), i + 1 if i < last else 0)
        for i, (address, length) in enumerate(pieces)
    ]


class Guest(Frontend):
    """See the module.

    :param number: of the port, for its MAC.
    :ivar at: the guest address of scratch memory, which begins with a frame behind its
        virtio header that the network would take.
    :ivar size: bytes of header and frame.
    """

    def __init__(self, path: str | Path, number: int, **kwargs: Any) -> None:
        super().__init__(path, **kwargs)
        self.number = number
        # Where the frames to send would be, had we not a send() of our own.
        self.scratch = self.pairs[0].tx_buffers
        self.at = GUEST_BASE + self.scratch
        self.size = self.write(HEADER + self.frame(b"of an attacker"))

    # -- memory --------------------------------------------------------------

    @property
    def end(self) -> int:
        """The first guest address beyond the memory."""
        return GUEST_BASE + self.memory.size

    def write(self, data: bytes, offset: int = 0) -> int:
        """Write *data* into the scratch memory and return its size."""
        begin = self.scratch + offset
        self.memory.bytes[begin : begin + len(data)] = data
        return len(data)

    def frame(self, payload: bytes, to: int | None = None) -> bytes:
        """Return a frame from this guest to VM number *to*, or to itself: to the switch only."""
        return exchange.frame(self.number if to is None else to, self.number, payload)

    def table(self, descriptors: list[Descriptor], offset: int = 4096) -> Descriptor:
        """Write an indirect table into the scratch memory, return the descriptor that names it."""
        data = b"".join(struct.pack("<QIHH", *d) for d in descriptors)
        return Descriptor(self.at + offset, self.write(data, offset), INDIRECT)

    # -- rings ---------------------------------------------------------------

    @property
    def rx(self) -> SplitRing:
        return self.pairs[0].rx

    @property
    def tx(self) -> SplitRing:
        return self.pairs[0].tx

    def post(self, *chain: Descriptor, ring: SplitRing | None = None, head: int = 0) -> None:
        """Write descriptors from *head* up and offer *head* to the backend."""
        ring = self.tx if ring is None else ring
        for index, descriptor in enumerate(chain, head):
            ring.write_descriptor(index, *descriptor)
        self.offer(head, ring)

    def offer(self, head: int, ring: SplitRing | None = None) -> None:
        """Make a chain available and kick."""
        ring = self.tx if ring is None else ring
        ring.make_available(head)
        self.kick(ring)

    def kick(self, ring: SplitRing) -> None:
        pair = self.pairs[0]
        os.eventfd_write(pair.tx_kick if ring is pair.tx else pair.rx_kick, 1)

    def post_frame(self, frame: bytes) -> None:
        """Offer a frame as an honest driver would."""
        self.post(Descriptor(self.at + HONEST, self.write(HEADER + frame, HONEST)))

    def send(
        self, frame: bytes, queue: int = 0, timeout: float = 5.0, header: NetHeader = PLAIN
    ) -> None:
        self.post_frame(frame)

    def settle(self, ring: SplitRing | None = None) -> None:
        """Wait until the backend has given back all chains of a ring."""
        ring = self.tx if ring is None else ring
        wait_until(lambda: ring.used_index == ring.avail_index, "the backend to give chains back")
        ring.used_seen = ring.used_index
