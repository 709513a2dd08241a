# SPDX-License-Identifier: Apache-2.0
"""A guest of a few instructions, for x86-64.  See ``kvm.py`` for what it shows.

A program of its own (``python -m``), so that it can be killed.  It prints one
line and ends with status 0 if KVM ran the guest as a processor would.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import sys
import time

_COUNT = 4_000_000
_SLOW_S = 1.0
"""A processor counts that far in a few milliseconds, an emulator in seconds."""

# linux/kvm.h, for x86-64.
_CREATE_VM, _GET_VCPU_MMAP_SIZE, _CREATE_VCPU, _RUN = 0xAE01, 0xAE04, 0xAE41, 0xAE80
_SET_USER_MEMORY_REGION = 0x4020AE46
_SET_REGS, _GET_SREGS, _SET_SREGS = 0x4090AE82, 0x8138AE83, 0x4138AE84
_EXIT_REASON_OFFSET, _EXIT_IO = 8, 2
_SREGS_SIZE, _SEGMENT = 0x138, struct.Struct("=QIH10B")
_TABLES_OFFSET, _CONTROL_OFFSET = 8 * _SEGMENT.size, 8 * _SEGMENT.size + 32

# The guest's memory, 2 MiB in one page that maps to itself.
_MEMORY = 0x200000
_GDT, _PML4, _PDPT, _PD, _IDT, _STACK, _CODE, _HANDLER = (
    *(0x1000, 0x2000, 0x3000, 0x4000),
    *(0x5000, 0x7000, 0x8000, 0x9000),
)

_PROGRAM = (
    b"\xcc"  # int3: through the IDT to the handler and back
    + b"\x48\xc7\xc1" + struct.pack("<i", _COUNT)  # mov rcx, COUNT
    + b"\x48\xff\xc9\x75\xfb"  # 1: dec rcx; jnz 1b
    + b"\xe6\xf1"  # out 0xf1, al: back to us
    + b"\xf4"  # hlt
)  # fmt: skip
_RETURN = b"\x48\xcf"  # iretq


def run_guest() -> tuple[int, float]:
    """Run the guest once; return KVM's exit reason and the seconds it took.

    :raises OSError: KVM refused something.
    """
    kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    vm = fcntl.ioctl(kvm, _CREATE_VM, 0)
    memory = _memory()
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    region = struct.pack("=IIQQQ", 0, 0, 0, _MEMORY, address)
    fcntl.ioctl(vm, _SET_USER_MEMORY_REGION, region)
    vcpu = fcntl.ioctl(vm, _CREATE_VCPU, 0)
    state = mmap.mmap(vcpu, fcntl.ioctl(kvm, _GET_VCPU_MMAP_SIZE, 0))
    _set_registers(vcpu)
    start = time.monotonic()
    fcntl.ioctl(vcpu, _RUN, 0)
    (reason,) = struct.unpack_from("=I", state, _EXIT_REASON_OFFSET)
    return reason, time.monotonic() - start


def _memory() -> mmap.mmap:
    """Return the guest's memory: page tables, descriptor tables and the program."""
    memory = mmap.mmap(-1, _MEMORY)
    present_writable, large = 0x3, 0x80
    gate = struct.pack("<HHBBHII", _HANDLER & 0xFFFF, 8, 0, 0x8E, _HANDLER >> 16, 0, 0)
    for place, data in (
        (_PML4, struct.pack("<Q", _PDPT | present_writable)),
        (_PDPT, struct.pack("<Q", _PD | present_writable)),
        (_PD, struct.pack("<Q", present_writable | large)),
        (_GDT, struct.pack("<QQQ", 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)),
        (_IDT, gate * 256),
        (_CODE, _PROGRAM),
        (_HANDLER, _RETURN),
    ):
        memory[place : place + len(data)] = data
    return memory


def _set_registers(vcpu: int) -> None:
    """Put the processor into 64-bit mode at the program's start."""
    registers = bytearray(_SREGS_SIZE)
    fcntl.ioctl(vcpu, _GET_SREGS, registers)
    code, data, task = (
        _segment(0x08, 0xFFFFFFFF, kind=11, db=0, memory=1, long=1),
        _segment(0x10, 0xFFFFFFFF, kind=3, db=1, memory=1, long=0),
        _segment(0x00, 0xFFFF, kind=11, db=0, memory=0, long=0),
    )
    segments = code + data * 5 + task  # cs; ds es fs gs ss; tr
    registers[: len(segments)] = segments
    struct.pack_into("=QHxxxxxx", registers, _TABLES_OFFSET, _GDT, 3 * 8 - 1)
    struct.pack_into("=QHxxxxxx", registers, _TABLES_OFFSET + 16, _IDT, 256 * 16 - 1)
    cr0, cr3, cr4, efer = 0x80050033, _PML4, 0x20, 0x500  # PG WP NE ET MP PE; PAE; LMA LME
    struct.pack_into("=QQQQQQ", registers, _CONTROL_OFFSET, cr0, 0, cr3, cr4, 0, efer)
    fcntl.ioctl(vcpu, _SET_SREGS, bytes(registers))
    # rax rbx rcx rdx rsi rdi rsp rbp, r8 to r15, rip rflags
    general = [0] * 6 + [_STACK] + [0] * 9 + [_CODE, 0x2]
    fcntl.ioctl(vcpu, _SET_REGS, struct.pack("=18Q", *general))


def _segment(selector: int, limit: int, *, kind: int, db: int, memory: int, long: int) -> bytes:
    # type present dpl db s l g avl unusable padding
    return _SEGMENT.pack(0, limit, selector, kind, 1, 0, db, memory, long, memory, 0, 0, 0)


def _main() -> int:
    try:
        reason, seconds = run_guest()
    except OSError as error:
        print(f"KVM refuses to run a guest: {error.strerror}")
        return 1
    if reason != _EXIT_IO:
        print(f"KVM gave up on a tiny 64-bit guest (exit reason {reason})")
        return 1
    if seconds > _SLOW_S:
        print(f"KVM emulates guests instead of running them: {seconds:.1f} s for a moment's work")
        return 1
    print(f"a tiny guest ran, in {seconds * 1000:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
