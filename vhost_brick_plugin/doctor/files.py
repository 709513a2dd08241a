# SPDX-License-Identifier: Apache-2.0
"""Directories and sockets: are they there, and who may use them."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Callable, Iterator

from vhost_brick_plugin import state_file
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn

_LOW_SPACE = 16 * 1024 * 1024
"""Bytes; the state of a thousand ports is a few hundred kilobytes, kept four times."""


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """Whom QEMU runs as."""

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """Its name, or its number where it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    @property
    def groups(self) -> list[int]:
        """All its groups: libvirt gives QEMU the supplementary ones too."""
        try:
            return os.getgrouplist(pwd.getpwuid(self.uid).pw_name, self.gid)
        except KeyError:
            return [self.gid]


# -- the control socket ------------------------------------------------------


def check_api_socket(site: Site) -> Iterator[Finding]:
    """Look at who may open the control socket: enough people, but not everybody."""
    path = site.api_socket
    try:
        found = os.stat(path)
    except OSError as error:
        yield fail("api_socket", f"{path}: {error.strerror}", "Start vhost-brickd.")
        return
    if not stat.S_ISSOCK(found.st_mode):
        yield fail("api_socket", f"{path} is no socket", "Point --api-socket at the right path.")
    elif found.st_mode & stat.S_IWOTH:
        yield fail(
            "api_socket",
            f"everybody on this host may change ports through {path}",
            "Set [daemon] api_socket_mode = 0660 and restart vhost-brickd.",
        )
    elif found.st_gid == _own_group(site) or not found.st_mode & stat.S_IWGRP:
        yield warn(
            "api_socket",
            f"only root may use {path}; nova-compute could not plug a port",
            "With Nova, set [daemon] api_socket_group to the group nova-compute runs in, and "
            "make the daemon's user a member of it.",
        )
    else:
        group = group_name(found.st_gid)
        text = f"{path} is open to root and the group {group}"
        yield ok("api_socket", text)


def _own_group(site: Site) -> int:
    """Return the group of the daemon's process, which sockets have that were given to nobody."""
    return site.rights.gid if site.rights else 0


# -- the state ---------------------------------------------------------------


def check_state_dir(site: Site) -> Iterator[Finding]:
    """Look at the directory that ports survive in, and at what is stored there."""
    path = site.options["daemon.state_dir"]
    try:
        found = os.stat(path)
        ports = state_file.stored_ports(path)
        space = os.statvfs(path)
    except FileNotFoundError:
        yield fail("state_dir", f"{path} is missing", "Start vhost-brickd: it makes it.")
    except OSError as error:
        fix = "Run as root, or as a member of [daemon] api_socket_group."
        yield fail("state_dir", f"{path}: {error.strerror}", fix)
    except ValueError as error:
        fix = "Put a backup in place, or move the file away to start without any port."
        yield fail("state_dir", str(error), fix)
    else:
        bad = [*_check_mode(path, found.st_mode), *_check_space(path, space)]
        yield from bad
        if not bad:
            plural = "" if len(ports) == 1 else "s"
            yield ok("state_dir", f"{path} holds {len(ports)} port{plural}")


def _check_mode(path: str, mode: int) -> Iterator[Finding]:
    if mode & stat.S_IWOTH:
        yield fail("state_dir", f"everybody may write to {path}", f"chmod o-w {path}")


def _check_space(path: str, space: os.statvfs_result) -> Iterator[Finding]:
    free = space.f_bavail * space.f_frsize
    if free < _LOW_SPACE:
        yield fail(
            "state_dir",
            f"only {free // 1024} KiB are left for {path}: ports cannot be stored",
            "Make room on its file system.",
        )
    elif space.f_files and not space.f_favail:
        yield fail(
            "state_dir",
            f"the file system of {path} takes no more files: ports cannot be stored",
            f"Remove files there; 'df -i {path}' shows how many there are.",
        )


# -- the vhost-user sockets --------------------------------------------------


def check_socket_dir(site: Site, user: User | None, is_libvirt_needed: bool) -> Iterator[Finding]:
    """Make sure that QEMU can make sockets where ports have theirs by default.

    :param user: whom libvirt runs QEMU as, or None if that is not known.
    :param is_libvirt_needed: whether guests here are libvirt's; of others' users nothing is known.
    """
    path = site.options["vhost.socket_dir"]
    if not os.path.isdir(path):
        yield fail("socket_dir", f"{path} is missing", "Start vhost-brickd: it makes it.")
    elif os.stat(path).st_mode & stat.S_IWOTH:
        yield fail("socket_dir", f"everybody may put sockets into {path}", f"chmod o-w {path}")
    elif user is None and not is_libvirt_needed:
        yield ok("socket_dir", f"{path} is there")
    elif user is None:
        yield _unknown("it is not known whom libvirt runs QEMU as", "Mend libvirt's access first.")
    elif os.geteuid() != 0:
        yield _unknown(f"only root can find out what {user.name} may do", "Run as root.")
    elif not _may_write(user, path):
        yield fail(
            "socket_dir",
            f"QEMU, running as {user.name}, cannot make sockets in {path}",
            f"chgrp {group_name(user.gid)} {path} && chmod 2770 {path}; every directory above it "
            "needs o+x.",
        )
    else:
        text = f"QEMU, running as {user.name}, can make sockets in {path}"
        yield ok("socket_dir", text)


def check_socket_rights(site: Site, user: User | None) -> Iterator[Finding]:
    """Make sure that QEMU may connect to the sockets of server-mode ports."""
    if user is None:
        return
    owner, group = site.options["vhost.socket_owner"], site.options["vhost.socket_group"]
    mode = int(site.options["vhost.socket_mode"], 8)
    if user.uid == 0 or mode & stat.S_IWOTH:
        may = True
    elif _number(owner, _uid) == user.uid:
        may = bool(mode & stat.S_IWUSR)
    else:
        may = _number(group, _gid) in user.groups and bool(mode & stat.S_IWGRP)
    if may:
        text = f"QEMU, running as {user.name}, may connect to server-mode ports"
        yield ok("socket_rights", text)
    else:
        yield fail(
            "socket_rights",
            f"QEMU, running as {user.name}, may not connect to server-mode ports",
            f"Set [vhost] socket_group = {group_name(user.gid)} and socket_mode = 0660, make "
            "vhost-brickd's user a member of that group, and restart it.",
        )


def _number(name: str, look_up: Callable[[str], int]) -> int:
    """Return the id for *name*, which may be a number; the daemon's own, root's, for none."""
    if not name or name.isdecimal():
        return int(name or 0)
    try:
        return look_up(name)
    except KeyError:
        return -1


def _uid(name: str) -> int:
    return pwd.getpwnam(name).pw_uid


def _gid(name: str) -> int:
    return grp.getgrnam(name).gr_gid


def _may_write(user: User, path: str) -> bool:
    """Try as *user*: access lists and odd mounts make a reading of mode bits a guess."""
    done = subprocess.run(
        ["test", "-w", path, "-a", "-x", path],
        user=user.uid,
        group=user.gid,
        extra_groups=user.groups,
        cwd="/",
        check=False,
    )
    return done.returncode == 0


def group_name(gid: int) -> str:
    """Return the name of a group, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _unknown(text: str, fix: str) -> Finding:
    return warn("socket_dir", f"not checked: {text}", fix)
