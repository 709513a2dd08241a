# SPDX-License-Identifier: Apache-2.0
"""The vhost-user sockets that there are: who listens, and who should.

Who listens is read from the kernel's table: to connect would take a guest's place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.doctor.files import User, group_name
from vhost_brick_plugin.doctor.site import Site, not_checked
from vhost_brick_plugin.finding import Finding, fail, ok, warn
from vhost_brick_plugin.model import Mode

UNIX = Path("/proc/net/unix")

_ACCEPTS = 0x10000
"""__SO_ACCEPTCON of linux/net.h: the socket listens."""


def listeners(table: Path = UNIX) -> set[str]:
    """Return the paths that somebody listens on, with links followed.

    :raises OSError: the kernel does not tell.
    """
    found = set()
    for line in table.read_text(errors="surrogateescape").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7].startswith("/") and int(fields[3], 16) & _ACCEPTS:
            found.add(os.path.realpath(fields[7]))
    return found


def check_sockets(site: Site, table: Path = UNIX) -> Iterator[Finding]:
    """Compare the sockets in socket_dir, and those of ports, with who listens on them.

    Says nothing while the daemon is down: then nothing is known of ports.
    """
    if not site.daemon_is_up:
        return
    if site.elsewhere:
        yield not_checked(site, "sockets")
        return
    try:
        listening = listeners(table)
    except OSError as error:
        yield warn("sockets", f"not checked: {table}: {error.strerror}", "Mount /proc.")
        return
    owned = {os.path.realpath(status.port.socket_path) for status in site.ports}
    found = [
        *_strangers(site.options["vhost.socket_dir"], owned, listening),
        *_deaf(site.ports, listening),
    ]
    yield from found
    if not found:
        yield ok("sockets", f"none is stale; {len(owned & listening)} of {len(owned)} are open")


def _strangers(
    directory: str, owned: Collection[str], listening: Collection[str]
) -> Iterator[Finding]:
    """Judge the sockets in *directory* that belong to no port."""
    for path in sorted(_sockets_in(directory)):
        if os.path.realpath(path) in owned:
            continue
        if os.path.realpath(path) not in listening:
            yield warn(
                "sockets",
                f"{path} is stale: nobody listens there, and no port has it",
                f"rm {path}",
            )
        else:
            yield warn(
                "sockets",
                f"somebody listens on {path}, and no port has it: a VM waits there for its "
                "network card",
                f"vhost-brick port create {os.path.basename(path)} --network NET --mode client "
                f"--socket {path}; 'ss -xlp src {path}' shows who it is.",
            )


def _deaf(ports: Collection[PortStatus], listening: Collection[str]) -> Iterator[Finding]:
    """Find server-mode ports on whose path nobody listens: somebody took the socket away."""
    for status in ports:
        port = status.port
        if port.mode is not Mode.SERVER or status.fault is not None:
            continue  # A fault says more.
        if os.path.realpath(port.socket_path) not in listening:
            trouble = "vhost-brickd does not listen"
        elif not os.path.exists(port.socket_path):
            trouble = "the file was removed"
        else:
            continue
        yield fail(
            "sockets",
            f"port {port.id}: {trouble} on {port.socket_path}: its VM cannot connect",
            f"vhost-brick port delete {port.id}, and create it again as it was "
            f"('vhost-brick port show {port.id}').",
        )


def _sockets_in(directory: str) -> Iterator[str]:
    try:
        for entry in os.scandir(directory):
            if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
                yield entry.path
    except OSError:
        return  # files.check_socket_dir says what is wrong with it.


# -- rights ------------------------------------------------------------------


def check_rights(site: Site, user: User | None) -> Iterator[Finding]:
    """Make sure that QEMU may open the sockets of the server-mode ports there are.

    They keep the rights they were made with; silent where all is well.
    """
    if user is None or user.uid == 0:
        return
    for status in site.ports:
        port = status.port
        if port.mode is not Mode.SERVER or not os.path.exists(port.socket_path):
            continue
        found = os.stat(port.socket_path)
        if not _may_write(user, found):
            yield fail(
                "socket_rights",
                f"port {port.id}: QEMU, running as {user.name}, may not open {port.socket_path}, "
                f"which is of group {group_name(found.st_gid)}, mode "
                f"{stat.S_IMODE(found.st_mode):04o}",
                f"Set [vhost] socket_group = {group_name(user.gid)} and socket_mode = 0660, make "
                "vhost-brickd's user a member of that group, and restart it.",
            )


def _may_write(user: User, found: os.stat_result) -> bool:
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IWUSR)
    if found.st_gid in user.groups:
        return bool(found.st_mode & stat.S_IWGRP)
    return bool(found.st_mode & stat.S_IWOTH)
