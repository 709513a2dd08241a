# SPDX-License-Identifier: Apache-2.0
"""A thread of another process that does not get on, while all others of it do."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def find_thread(pid: int, part: str) -> int:
    """Return the thread of process *pid* with *part* in its name."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if part in (task / "comm").read_text():
            return int(task.name)
    raise AssertionError(f"process {pid} has no thread {part!r}")


def freeze(tid: int) -> None:
    """Stop one thread for good, as a tracer may; :func:`bury` has to follow."""
    _ptrace(PTRACE_SEIZE, tid)
    _ptrace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, WALL)


def bury(tid: int) -> None:
    """Wait for the end of a frozen thread; its process ends when its tracer knows of it."""
    while not _is_over(os.waitpid(tid, WALL)[1]):
        pass


def _is_over(status: int) -> bool:
    return os.WIFEXITED(status) or os.WIFSIGNALED(status)


def _ptrace(request: int, tid: int) -> None:
    if _libc.ptrace(request, tid, None, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")
