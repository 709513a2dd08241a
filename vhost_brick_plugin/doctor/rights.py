# SPDX-License-Identifier: Apache-2.0
"""What rights the daemon's process has: a user of its own is enough."""

from __future__ import annotations

import dataclasses
import pwd
from collections.abc import Iterator
from pathlib import Path

from vhost_brick_plugin.finding import Finding, ok, warn

_CAPABILITIES = {
    1: "dac_override",
    2: "dac_read_search",
    12: "net_admin",
    13: "net_raw",
    14: "ipc_lock",
    17: "sys_rawio",
    19: "sys_ptrace",
    21: "sys_admin",
    23: "sys_nice",
    24: "sys_resource",
    39: "bpf",
}
"""Names of linux/capability.h, those that a datapath may have been given."""

FIX = (
    "Run it as a user of its own: systemd-sysusers etc/sysusers.d/vhost-brick.conf, and "
    "etc/systemd/vhost-brickd.service; doc/source/security.rst says how to change a host that "
    "runs."
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """Whom a process runs as.

    :ivar capabilities: those in effect, a bit each.
    """

    uid: int
    gid: int
    capabilities: int

    @property
    def user(self) -> str:
        """The user's name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def read(pid: int, proc: Path = Path("/proc")) -> Rights | None:
    """Return the rights of process *pid*; None if the kernel does not tell us."""
    try:
        lines = (proc / str(pid) / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return Rights(
            uid=int(fields["Uid"].split()[1]),
            gid=int(fields["Gid"].split()[1]),
            capabilities=int(fields["CapEff"], 16),
        )
    except (OSError, KeyError, ValueError, IndexError):
        return None


def check(rights: Rights | None) -> Iterator[Finding]:
    """Judge what the daemon has; nothing is said of one that is down or cannot be seen."""
    if rights is None:
        return
    if rights.uid == 0:
        text = "vhost-brickd runs as root: whoever took it over would have this host"
        yield warn("rights", text, FIX)
        return
    names = [
        _CAPABILITIES.get(bit, str(bit))
        for bit in range(rights.capabilities.bit_length())
        if rights.capabilities >> bit & 1
    ]
    text = f"vhost-brickd runs as {rights.user}, with {', '.join(names) or 'no capabilities'}"
    yield ok("rights", text)
