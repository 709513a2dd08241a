# SPDX-License-Identifier: Apache-2.0
"""A network namespace of a test's own."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading

CLONE_NEWNET = 0x40000000

WIRE = "wire"
"""The interface that :func:`join` makes in either namespace."""

_libc = ctypes.CDLL(None, use_errno=True)


class NetNs:
    """Exists while the ``with`` block runs.

    :ivar exec: words to put before a command that shall run inside.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        # Not "ip netns exec": it wants / to be a mount point, which a chroot's is not.
        self.exec = ["nsenter", f"--net=/run/netns/{name}"]

    def __enter__(self) -> NetNs:
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.ip("link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=True)

    def ip(self, *words: str) -> str:
        """Run ip(8) inside and return what it says."""
        command = [*self.exec, "ip", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def socket(self, family: int, type: int, protocol: int = 0) -> socket.socket:
        """Return a socket that lives inside, while this process stays outside."""
        made: list[socket.socket | OSError] = []

        def make() -> None:
            try:
                self._enter()
                made.append(socket.socket(family, type, protocol))
            except OSError as e:
                made.append(e)

        # A thread's namespace dies with the thread; a socket keeps the one it was made in.
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if isinstance(made[0], OSError):
            raise made[0]
        return made[0]

    def _enter(self) -> None:
        fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)


def join(one: NetNs, other: NetNs, addresses: tuple[str, str], *how: str, mtu: int = 1500) -> None:
    """Lay a wire between two namespaces.

    :param addresses: of its ends, with their prefix lengths.
    :param how: more words for ``ip addr add``.
    """
    peer = ["peer", "name", WIRE, "mtu", str(mtu), "netns", other.name]
    one.ip("link", "add", WIRE, "mtu", str(mtu), "type", "veth", *peer)
    for ns, address in zip((one, other), addresses, strict=True):
        ns.ip("addr", "add", address, "dev", WIRE, *how)
        ns.ip("link", "set", WIRE, "up")
