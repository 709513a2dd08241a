# SPDX-License-Identifier: Apache-2.0
"""The little that a file of packets has to be understood for: its end.

Files are those of native/probe/pcapng.c: one interface, the byte order of this host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

MAX_TOTALS = 512
"""Bytes of the block that :func:`totals` reads; fewer, in fact."""

_STATISTICS = 5
_HEAD, _OPTION = struct.Struct("=II"), struct.Struct("=HH")
_LENGTH, _COUNT = struct.Struct("=I"), struct.Struct("=Q")
_STATISTICS_HEAD = 20
_SEEN, _LOST, _CAPTURED = 4, 5, 8


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """What was captured and what was not.

    :ivar seen: packets that passed, in the directions that were asked for.
    :ivar lost: those that found no room.
    :ivar captured: those in the file.
    """

    seen: int
    lost: int
    captured: int


def totals(end: bytes) -> Totals | None:
    """Return what the last block of a file says; None: the file is not finished.

    :param end: the file's last bytes, :data:`MAX_TOTALS` if it has so many.
    """
    # An unfinished one may end with anything: a guest wrote it.
    with contextlib.suppress(struct.error, KeyError):
        (length,) = _LENGTH.unpack(end[-_LENGTH.size :])
        block = end[-length:]
        if len(block) == length and _HEAD.unpack_from(block) == (_STATISTICS, length):
            counts = dict(_options(block[_STATISTICS_HEAD : -_LENGTH.size]))
            return Totals(*(_COUNT.unpack(counts[code])[0] for code in (_SEEN, _LOST, _CAPTURED)))
    return None


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        code, length = _OPTION.unpack_from(data)
        if code == 0:
            return
        yield code, data[_OPTION.size : _OPTION.size + length]
        data = data[_OPTION.size + length + (-length % 4) :]


def whole(file: BinaryIO) -> int:
    """Return how many bytes of *file* are whole blocks."""
    size = os.fstat(file.fileno()).st_size
    end = 0
    while end + _HEAD.size <= size:
        file.seek(end)
        _, length = _HEAD.unpack(file.read(_HEAD.size))
        if length < _HEAD.size or end + length > size:
            break
        end += length
    return end
