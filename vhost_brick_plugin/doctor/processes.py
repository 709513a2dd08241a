# SPDX-License-Identifier: Apache-2.0
"""The daemons on this host: who holds the state, and is it the one that answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn

PROC = Path("/proc")
COMMAND = "vhost-brickd"
LOCK = "lock"
"""The file in state_dir that the daemon which serves holds locked."""


def check_daemons(site: Site, proc: Path = PROC) -> Iterator[Finding]:
    """Make sure that the daemon that answers is the only one here, its standby apart."""
    holder = _holder(site.options["daemon.state_dir"], proc)
    running = daemons(proc)
    if site.hello is None:
        yield from _silent(site, holder, running)
        return
    own = {site.hello.pid}
    if site.hello.standby is not None:
        own.add(site.hello.standby.pid)
    if holder and holder not in own:
        yield fail(
            "daemons",
            f"two daemons: process {site.hello.pid} answers on {site.api_socket}, and process "
            f"{holder} holds [daemon] state_dir {site.options['daemon.state_dir']}",
            f"Stop one (kill {holder}), or give each its own [daemon] state_dir and api_socket.",
        )
    elif others := sorted(running.keys() - own):
        shown = ", ".join(f"{pid} ({running[pid]})" for pid in others)
        yield warn(
            "daemons",
            f"besides process {site.hello.pid}, which answers, there run: {shown}",
            "Stop what should not be there; a second daemon needs a state_dir, api_socket and "
            "worker_cores of its own, a standby the same ones and [daemon] standby = on.",
        )
    else:
        yield ok("daemons", f"process {site.hello.pid} is the only one that serves here")


def check_standby(site: Site) -> Iterator[Finding]:
    """Make sure that a standby which is wanted is there, and ready; silent where none is."""
    if site.hello is None:
        return
    standby = site.hello.standby
    if standby is None:
        if site.options.get("daemon.standby") == "True":
            yield warn(
                "standby",
                "[daemon] standby is on, and no standby is there: a crash is an outage",
                "Start the second vhost-brickd (systemctl start vhost-brickd@1 vhost-brickd@2), "
                "and see its log if it ends.",
            )
    elif not standby.in_sync:
        yield warn(
            "standby",
            f"the standby, process {standby.pid}, does not know every session yet: a crash now "
            "is an outage",
            "Wait some seconds and look again; if it stays so, see the standby's log.",
        )
    else:
        yield ok("standby", f"process {standby.pid} would take over without any guest noticing")


def _silent(site: Site, holder: int, running: dict[int, str]) -> Iterator[Finding]:
    """Say what is known of a daemon that does not answer."""
    if holder:
        yield fail(
            "daemons",
            f"process {holder} holds [daemon] state_dir {site.options['daemon.state_dir']}, and "
            f"does not answer on {site.api_socket}",
            f"Look for it under another --api-socket; if it hangs, end it: kill -9 {holder}. "
            "systemd starts it again, and guests carry on.",
        )
    elif running:
        shown = ", ".join(f"{pid} ({command})" for pid, command in sorted(running.items()))
        yield warn(
            "daemons",
            f"none answers on {site.api_socket}, but there run: {shown}",
            "Name the [daemon] api_socket of the one you mean with --api-socket.",
        )


def daemons(proc: Path = PROC) -> dict[int, str]:
    """Return the command line of each vhost-brickd by its process id."""
    found = {}
    for path in proc.glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue  # It has just ended.
        if COMMAND in {os.path.basename(word) for word in words[:2]}:
            found[int(path.parent.name)] = " ".join(words)
    return found


def _holder(state_dir: str, proc: Path) -> int:
    """Return the process that has the state locked; 0: there is none, or it cannot be seen."""
    try:
        inode = os.stat(os.path.join(state_dir, LOCK)).st_ino
        table = (proc / "locks").read_text()
    except OSError:
        return 0
    for line in table.splitlines():
        fields = line.split()  # 1: FLOCK ADVISORY WRITE 708 00:1b:4711 0 EOF
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return max(0, int(fields[4]))
    return 0
