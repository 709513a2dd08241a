# SPDX-License-Identifier: Apache-2.0
"""What to look at where packets pass, and what a trace saw."""

from __future__ import annotations

import dataclasses
import enum
import math

from vhost_brick_plugin import errors
from vhost_brick_plugin.codec import param

MAX_INSTRUCTIONS = 512
"""``VB_FILTER_MAX`` of the datapath, and libpcap's own limit."""

MAX_TRACED = 1000
"""``VB_TRACE_MAX`` of the datapath: packets of one trace."""

BUFFER = 8 << 20
MAX_BUFFER = 1 << 30


class Direction(enum.StrEnum):
    """Which way packets go, seen from the graph."""

    BOTH = "both"
    FROM_PEER = "from_peer"
    """What the guest (or the wire) sends."""
    TO_PEER = "to_peer"
    """What it is given."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One of classic BPF, as ``tcpdump -ddd`` prints it."""

    code: int = param("What to do, 16 bits.")
    jt: int = param("How far to jump if so, 8 bits.")
    jf: int = param("How far to jump if not, 8 bits.")
    k: int = param("Its operand, 32 bits.")

    def __post_init__(self) -> None:
        for name, bits in (("code", 16), ("jt", 8), ("jf", 8), ("k", 32)):
            if not 0 <= getattr(self, name) < 1 << bits:
                raise errors.InvalidParams(f"a filter's {name} has {bits} bits")


Filter = tuple[Instruction, ...]
"""Over Ethernet frames; empty: every packet passes.  It sees the first 512 bytes at least."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CaptureOptions:
    """What a capture keeps, and when it ends by itself.

    :ivar snaplen: bytes of each packet; 0: all.
    :ivar packets: it ends with so many; 0: any number.
    :ivar seconds: it ends after so long; 0: never.
    :ivar buffer: bytes of memory for packets that wait for the reader.
    :raises errors.InvalidParams: one is out of its range.
    """

    filter: Filter = ()
    direction: Direction = Direction.BOTH
    snaplen: int = 0
    packets: int = 0
    seconds: float = 0.0
    buffer: int = BUFFER

    def __post_init__(self) -> None:
        check_filter(self.filter)
        for name in ("snaplen", "packets", "seconds"):
            # JSON, as Python reads it, has numbers that are none.
            if not 0 <= getattr(self, name) < math.inf:
                raise errors.InvalidParams(f"{name} must be from 0, which stands for no limit")
        if not 0 < self.buffer <= MAX_BUFFER:
            raise errors.InvalidParams(f"buffer must be from 1 to {MAX_BUFFER} bytes")


def check_filter(filter: Filter) -> None:
    """Raise InvalidParams if *filter* is too long; the datapath looks at what is in it."""
    if len(filter) > MAX_INSTRUCTIONS:
        raise errors.InvalidParams(
            f"the filter has {len(filter)} instructions; {MAX_INSTRUCTIONS} are possible",
            hint="Filter for less, and the rest when reading the capture.",
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A packet, or a copy that a switch made of it, at a brick."""

    brick: str = param("The brick's name.")
    depth: int = param("0: it came straight from the start; else from the visit above it.")
    decision: str = param("What a brick with a choice did; empty: it has none.")
    delivered: int = param("Packets given to the host's side; segmentation makes several.")
    dropped: int = param("Packets that ended here.")
    drop: str = param("Why, by the drop reason's name; empty: none did.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TracedPacket:
    """A packet and where it went."""

    time: float = param("Seconds since the epoch.")
    worker: int = param("The number of the worker that carried it.")
    length: int = param("Its bytes.")
    head: str = param("The first of them, in hexadecimal.")
    visits: tuple[Visit, ...] = param("The bricks it came to, in that order.")
    untold: int = param("Visits beyond those, of a packet sent to very many.", default=0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a trace has to tell since it was last read.

    :ivar ended: there will be no more.
    """

    packets: tuple[TracedPacket, ...]
    ended: bool
