# SPDX-License-Identifier: Apache-2.0
"""AppArmor and SELinux: what they have kept QEMU, or the daemon, from."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from vhost_brick_plugin.doctor.kernel import read
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn

APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
SELINUX = Path("/sys/fs/selinux/enforce")
KMSG = Path("/dev/kmsg")
LOGS = (
    Path("/var/log/audit/audit.log"),
    Path("/var/log/kern.log"),
    Path("/var/log/syslog"),
    Path("/var/log/messages"),
)

UNREACHABLE = ("/bin", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/selinux", "/sys")
"""Where libvirt's virt-aa-helper lets no domain have anything."""

_TAIL = 1 << 20
"""Bytes read from the end of a log."""

_APPARMOR = re.compile(r'apparmor="DENIED"')
_SELINUX = re.compile(r"avc:\s+denied")
_PROFILE = re.compile(r'profile="([^"]+)"')
_PATH = re.compile(r'(?:name|addr|peer_addr|path)="?(/[^" ]+)')


# -- reading -----------------------------------------------------------------


def log_lines(logs: Sequence[Path] = LOGS, kmsg: Path = KMSG) -> list[str]:
    """Return the ends of the logs that there are, and what the kernel still holds of its own."""
    lines = []
    for path in logs:
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines += file.read(_TAIL).decode(errors="replace").splitlines()
    return lines + _kernel_lines(kmsg)


def _kernel_lines(kmsg: Path) -> list[str]:
    """Read the kernel's ring of messages, one a read, to its end."""
    lines = []
    try:
        fd = os.open(kmsg, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        while record := os.read(fd, 8192):
            lines.append(record.decode(errors="replace").rstrip())
    except OSError:  # EAGAIN: that was the last one.
        pass
    finally:
        os.close(fd)
    return lines


# -- judging -----------------------------------------------------------------


def check_apparmor(
    site: Site, lines: Sequence[str], enabled: Path = APPARMOR
) -> Iterator[Finding]:
    """Look for denials, and for sockets where AppArmor would deny them."""
    if read(enabled) != "Y":
        return
    out_of_reach = sorted(path for path in _directories(site) if _is_unreachable(path))
    for path in out_of_reach:
        yield fail(
            "apparmor",
            f"sockets in {path}: libvirt's AppArmor helper lets no QEMU use anything there",
            "Set [vhost] socket_dir = /run/vhost-brick/sockets, restart vhost-brickd, and create "
            "the ports anew.",
        )
    denied = _about_us(site, lines, _APPARMOR)
    if denied:
        profile = _PROFILE.search(denied[-1])
        yield warn(
            "apparmor",
            f"AppArmor has denied {profile[1] if profile else 'somebody'} the use of "
            f"{_path(denied[-1])} ({len(denied)} such lines in the log)",
            f"Add '{_directory(denied[-1])}/* rw,' to /etc/apparmor.d/local/abstractions/"
            "libvirt-qemu (a profile of vhost-brickd's own: to that), and stop and start the VM. "
            "If that has been done since, the line is an old one.",
        )
    if not out_of_reach and not denied:
        yield ok("apparmor", "on, and has denied nothing to our sockets")


def check_selinux(site: Site, lines: Sequence[str], enforce: Path = SELINUX) -> Iterator[Finding]:
    """Look for denials of SELinux."""
    if not (mode := read(enforce)):
        return
    denied = _about_us(site, lines, _SELINUX)
    if denied and mode == "1":
        yield warn(
            "selinux",
            f"SELinux has denied the use of {_path(denied[-1])} ({len(denied)} such lines in the "
            "log): QEMU needs connectto and write there",
            "ausearch -m avc -ts today | audit2allow -M vhost-brick && semodule -i "
            "vhost-brick.pp. If that has been done since, the line is an old one.",
        )
    else:
        name = "enforcing" if mode == "1" else "permissive"
        yield ok("selinux", f"{name}, and has denied nothing to our sockets")


def _about_us(site: Site, lines: Sequence[str], kind: re.Pattern[str]) -> list[str]:
    places = [f"{path}/" for path in _directories(site)]
    return [
        line
        for line in lines
        if kind.search(line) and any(_path(line).startswith(place) for place in places)
    ]


def _directories(site: Site) -> set[str]:
    """Return the directories that our sockets are in."""
    paths = (status.port.socket_path for status in site.ports)
    control = os.path.dirname(site.options.get("daemon.api_socket", site.api_socket))
    return {site.options["vhost.socket_dir"], control, *map(os.path.dirname, paths)}


def _is_unreachable(path: str) -> bool:
    return any(path == top or path.startswith(f"{top}/") for top in UNREACHABLE)


def _path(line: str) -> str:
    match = _PATH.search(line)
    return match[1] if match else "?"


def _directory(line: str) -> str:
    return os.path.dirname(_path(line))
