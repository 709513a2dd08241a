# SPDX-License-Identifier: Apache-2.0
"""Telling systemd how we are: sd_notify(3) in a few lines.

Does nothing where no supervisor asked for it.
"""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send *state*, such as ``READY=1``; a supervisor that does not listen is no error."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            # Being supervised is not worth dying for; the watchdog judges us anyway.
            return


def watchdog_interval() -> float | None:
    """Return seconds between signs of life, half of what is allowed; None: not asked for."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdecimal() or int(usec) == 0 or pid != str(os.getpid()):
        return None
    return int(usec) / 2_000_000
