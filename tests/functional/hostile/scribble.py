# SPDX-License-Identifier: Apache-2.0
"""Rewrites places in a guest's memory without end, from a process of its own.

    scribble.py FD OFFSET:HEX,HEX,... ...

Each place gets its values in turn, each value in one store, since what another
core reads in between shall be one of them: so they have 2, 4 or 8 bytes, or are a
virtio header.  It says so on stdout when all of them have been there once.
"""

from __future__ import annotations

import mmap
import os
import sys

CASTS = {2: "H", 4: "I", 8: "Q"}


def main(fd: int, places: list[str]) -> None:
    memory = memoryview(mmap.mmap(fd, os.fstat(fd).st_size))
    stores = []
    for place in places:
        offset, values = place.split(":")
        for value in map(bytes.fromhex, values.split(",")):
            at, size = int(offset), len(value)
            window = memory[at : at + size]
            if size in CASTS and at % size == 0:
                number = int.from_bytes(value, "little")
                stores.append((window.cast(CASTS[size]), number))
            else:
                stores.append((window, value))
    said = False
    while True:
        for window, stored in stores:
            if isinstance(stored, int):
                window[0] = stored
            else:
                window[:] = stored
        if not said:
            said = True
            print("scribbling", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
