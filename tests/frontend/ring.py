# SPDX-License-Identifier: Apache-2.0
"""Guest memory in a memfd, and split rings in it (virtio 1.1, section 2.6).

Nothing is checked here, so that a test can write what no honest driver would.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

from tests.frontend.protocol import Region

GUEST_BASE = 0x1_0000_0000
USER_BASE = 0x7E00_0000_0000
"""Two different views of the memory: a backend that mixes them up is found out."""

NEXT = 1
WRITE = 2
INDIRECT = 4

NO_NOTIFY = 1
"""In the used part's flags: the backend needs no kick."""

PAGE = 4096

MEMFD_NAME = "vhost-user-test"
"""Tells the memory of these frontends in the maps of a process."""

_DESCRIPTOR = struct.Struct("<QIHH")
_USED_ELEMENT = struct.Struct("<II")


class GuestMemory:
    """Shared memory, given out piece by piece.

    :param sealed: it cannot shrink, as QEMU's; else nobody can forbid that.
    """

    def __init__(self, size: int, sealed: bool = True) -> None:
        self.size = -(-size // PAGE) * PAGE
        flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if sealed else 0)
        self.fd = os.memfd_create(MEMFD_NAME, flags)
        os.ftruncate(self.fd, self.size)
        if sealed:
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        self.bytes = mmap.mmap(self.fd, self.size)
        # Ring indexes are read by the other side at any time.  struct writes a
        # byte at a time; an item of this view is stored in one go.
        self.words = memoryview(self.bytes).cast("H")
        self._used = 0

    def close(self) -> None:
        self.words.release()
        self.bytes.close()
        os.close(self.fd)

    def allocate(self, size: int, align: int = 64) -> int:
        """Return the offset of *size* fresh bytes."""
        offset = -(-self._used // align) * align
        self._used = offset + size
        if self._used > self.size:
            raise MemoryError(f"{self._used} bytes of guest memory needed, {self.size} there")
        return offset

    def region(self) -> Region:
        return Region(GUEST_BASE, self.size, USER_BASE, 0, self.fd)


class SplitRing:
    """One virtqueue; knows descriptors and indexes, not what they are for."""

    def __init__(self, memory: GuestMemory, size: int) -> None:
        self.memory = memory
        self.size = size
        self.descriptors = memory.allocate(16 * size, PAGE)
        self.avail = memory.allocate(6 + 2 * size)
        self.used = memory.allocate(6 + 8 * size, PAGE)
        self.used_seen = 0

    @staticmethod
    def bytes_needed(size: int) -> int:
        """An upper bound of the memory that a ring of *size* takes."""
        return 26 * size + 3 * PAGE

    # -- descriptors ---------------------------------------------------------

    def write_descriptor(
        self, index: int, address: int, length: int, flags: int = 0, next: int = 0
    ) -> None:
        """Write a descriptor as it is; *address* is a guest address."""
        offset = self.descriptors + 16 * index
        _DESCRIPTOR.pack_into(self.memory.bytes, offset, address, length, flags, next)

    def read_descriptor(self, index: int) -> tuple[int, int, int, int]:
        """Return address, length, flags and next."""
        offset = self.descriptors + 16 * index
        address, length, flags, next = _DESCRIPTOR.unpack_from(self.memory.bytes, offset)
        return address, length, flags, next

    # -- the available part: ours --------------------------------------------

    @property
    def avail_index(self) -> int:
        return self.memory.words[self.avail // 2 + 1]

    @avail_index.setter
    def avail_index(self, value: int) -> None:
        self.memory.words[self.avail // 2 + 1] = value & 0xFFFF

    def write_avail(self, slot: int, head: int) -> None:
        """Write one entry; the backend sees it only once the index covers it."""
        self.memory.words[self.avail // 2 + 2 + slot % self.size] = head

    def make_available(self, head: int) -> None:
        """Offer the chain that begins at *head* to the backend."""
        self.write_avail(self.avail_index, head)
        self.avail_index += 1

    # -- the used part: the backend's ----------------------------------------

    @property
    def used_index(self) -> int:
        return self.memory.words[self.used // 2 + 1]

    @property
    def wants_kick(self) -> bool:
        return not self.memory.words[self.used // 2] & NO_NOTIFY

    def used_count(self) -> int:
        """Return how many used elements :meth:`take_used` has not returned yet."""
        return (self.used_index - self.used_seen) & 0xFFFF

    def peek_used(self, ahead: int = 0) -> tuple[int, int]:
        """Return head and written length of a used element, without taking it."""
        slot = (self.used_seen + ahead) % self.size
        head, length = _USED_ELEMENT.unpack_from(
            self.memory.bytes, self.used + 4 + _USED_ELEMENT.size * slot
        )
        return head, length

    def take_used(self) -> tuple[int, int]:
        """Return the next used element; there must be one."""
        element = self.peek_used()
        self.used_seen = (self.used_seen + 1) & 0xFFFF
        return element
