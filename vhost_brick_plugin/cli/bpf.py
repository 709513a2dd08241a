# SPDX-License-Identifier: Apache-2.0
"""Filter expressions, as tcpdump takes them, into what the datapath runs.

Libpcap does it, here and not in the daemon: there may be names in an expression, and nobody
shall wait for their look-up but who wrote them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.probes import Filter, Instruction, check_filter

LIBRARIES = ("libpcap.so.0.8", "libpcap.so.1")
"""Its name on Debian, and elsewhere."""

DLT_EN10MB = 1
NETMASK_UNKNOWN = 0xFFFFFFFF
WHOLE_PACKET = 262144


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def compile(expression: str) -> Filter:
    """Return the program for *expression*, which is over Ethernet frames.

    :raises errors.InvalidParams: it is none, or one too long.
    :raises errors.ProgramError: libpcap is not there.
    """
    pcap = _libpcap()
    with _handle(pcap) as handle, _program(pcap, handle, expression) as program:
        filter = tuple(map(_instruction, program.instructions[: program.length]))
    check_filter(filter)
    return filter


def _libpcap() -> ctypes.CDLL:
    for name in LIBRARIES:
        with contextlib.suppress(OSError):
            return _typed(ctypes.CDLL(name))
    raise errors.ProgramError(
        f"there is no libpcap ({LIBRARIES[0]}), which compiles filters",
        hint="Install it: on Debian, 'apt-get install libpcap0.8'; or do without a filter.",
    )


def _typed(pcap: ctypes.CDLL) -> ctypes.CDLL:
    handle, program = ctypes.c_void_p, ctypes.POINTER(_Program)
    pcap.pcap_open_dead.restype = handle
    pcap.pcap_compile.argtypes = (handle, program, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32)
    pcap.pcap_geterr.argtypes = (handle,)
    pcap.pcap_geterr.restype = ctypes.c_char_p
    pcap.pcap_freecode.argtypes = (program,)
    pcap.pcap_close.argtypes = (handle,)
    return pcap


@contextlib.contextmanager
def _handle(pcap: ctypes.CDLL) -> Iterator[int]:
    handle = pcap.pcap_open_dead(DLT_EN10MB, WHOLE_PACKET)
    if not handle:
        raise MemoryError
    try:
        yield handle
    finally:
        pcap.pcap_close(handle)


@contextlib.contextmanager
def _program(pcap: ctypes.CDLL, handle: int, expression: str) -> Iterator[Any]:
    program = _Program()
    if pcap.pcap_compile(handle, program, os.fsencode(expression), 1, NETMASK_UNKNOWN) != 0:
        raise errors.InvalidParams(
            f"{expression!r} is no filter: {pcap.pcap_geterr(handle).decode()}",
            hint="pcap-filter(7) has the language; tcpdump takes the same.",
        )
    try:
        yield program
    finally:
        pcap.pcap_freecode(program)


def _instruction(raw: Any) -> Instruction:
    return Instruction(code=raw.code, jt=raw.jt, jf=raw.jf, k=raw.k)
