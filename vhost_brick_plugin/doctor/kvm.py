# SPDX-License-Identifier: Apache-2.0
"""Whether KVM really runs guests, found out by running one.

On some machines (nested, without hardware virtualisation handed down)
/dev/kvm opens, the API version is right, a guest in real mode executes ``hlt``,
and still every ordinary guest hangs: its kernel code is emulated instruction
by instruction, a thousand times too slowly, until one comes that the emulator
does not know.  So our guest (``kvm_guest.py``) does what a kernel
does: in 64-bit mode, with paging on, it takes an exception through its IDT and
then counts.

The guest runs in a child process, which can be killed whatever KVM does.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import platform
import subprocess
import sys

DEVICE = "/dev/kvm"
TIMEOUT_S = 10.0
"""For the child, its interpreter included."""


class State(enum.Enum):
    """What KVM is good for."""

    WORKS = enum.auto()
    BROKEN = enum.auto()
    """It is there, and a guest does not run as it should."""
    MISSING = enum.auto()
    UNKNOWN = enum.auto()
    """It is not ours to open."""


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What :func:`probe` found."""

    state: State
    reason: str

    @property
    def fails(self) -> bool:
        """Whether a guest that asks for KVM is known not to run."""
        return self.state in (State.BROKEN, State.MISSING)


def probe(timeout: float = TIMEOUT_S) -> Result:
    """Run the guest in a child process and judge what came of it."""
    if not os.path.exists(DEVICE):
        return Result(State.MISSING, f"{DEVICE} is missing")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Result(State.UNKNOWN, f"{DEVICE} is not ours to open")
    if platform.machine() != "x86_64":
        return Result(State.WORKS, f"{DEVICE} opens; no guest is tried on {platform.machine()}")
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"{__package__}.kvm_guest"],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(State.BROKEN, f"a tiny guest did not end within {timeout:g} s")
    words = (done.stdout or done.stderr).strip().splitlines()
    last = words[-1] if words else f"the child ended with status {done.returncode}"
    return Result(State.BROKEN if done.returncode else State.WORKS, last)
