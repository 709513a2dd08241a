# SPDX-License-Identifier: Apache-2.0
"""The host's network interfaces: persistent taps for uplinks.

Blocking; any thread may call.  A tap that we made carries our alias, so what
is ours is told by the kernel and needs no book-keeping that could be wrong.
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vhost_brick_plugin import errors

ALIAS = "vhost-brick"

_SIOCGIFFLAGS, _SIOCGIFMTU, _SIOCETHTOOL = 0x8913, 0x8921, 0x8946
_ETHTOOL_GDRVINFO = 3
_IFF_UP = 1
_IFF_TUN = 1
_DRVINFO_SIZE, _DRVINFO_DRIVER, _DRVINFO_BUS = 196, slice(4, 36), slice(100, 132)


def ensure_tap(name: str, mtu: int) -> bool:
    """Make the persistent tap *name* exist with *mtu* (bytes) and be up.

    :returns: whether it was made now.
    :raises errors.UplinkError: another kind of interface has that name, or we
        may not change interfaces.
    """
    # After a crash all is as we left it, and importing pyroute2 would be a good
    # part of the outage.
    if _is_ready(name, mtu):
        return False
    with _route(name) as route:
        link = _find(route, name)
        if link is None:
            route.link("add", ifname=name, kind="tuntap", mode="tap")
            link = _find(route, name)
            route.link("set", index=link["index"], ifalias=ALIAS)
            made = True
        else:
            _check_is_tap(name, link)
            made = False
        route.link("set", index=link["index"], mtu=mtu, state="up")
    return made


def remove_tap(name: str) -> None:
    """Remove the tap *name* if :func:`ensure_tap` made it; otherwise leave it alone.

    :raises errors.UplinkError: we may not.
    """
    with _route(name) as route:
        link = _find(route, name)
        if link is not None and link.get_attr("IFLA_IFALIAS") == ALIAS:
            route.link("del", index=link["index"])


def interface_of(address: str) -> tuple[str, int] | None:
    """Return name and MTU of the interface that has *address*, or None if none has it.

    :param address: IPv4 or IPv6, in its usual form.
    :raises errors.UplinkError: the kernel does not tell.
    """
    with _route(address) as route:
        for found in route.get_addr():
            if address in (found.get_attr("IFA_LOCAL"), found.get_attr("IFA_ADDRESS")):
                link = route.get_links(found["index"])[0]
                return link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_MTU")
    return None


def load() -> Any:
    """Import what is imported late, where there is time for it."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    return IPRoute, NetlinkError


@contextmanager
def _route(name: str) -> Iterator[Any]:
    """Open a netlink connection, and tell its errors about *name* in our own terms."""
    IPRoute, NetlinkError = load()
    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as e:
        raise _error(name, e.code, str(e)) from e
    except OSError as e:
        raise _error(name, e.errno, e.strerror or str(e)) from e


def _error(name: str, code: int | None, text: str) -> errors.UplinkError:
    if code in (errno.EPERM, errno.EACCES):
        return errors.UplinkError(
            f"no permission to change the interface {name}",
            hint="Give the daemon CAP_NET_ADMIN and access to /dev/net/tun.",
        )
    if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return errors.UplinkError(
            f"cannot make the tap {name}: {text}", hint="Load the kernel module 'tun'."
        )
    return errors.UplinkError(f"interface {name}: {text}")


def _find(route: Any, name: str) -> Any:
    """Return the link *name* as netlink tells it, or None."""
    for index in route.link_lookup(ifname=name):
        return route.get_links(index)[0]
    return None


def _check_is_tap(name: str, link: Any) -> None:
    info = link.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else "physical or loopback"
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    if kind == "tun" and data is not None and data.get_attr("IFLA_TUN_TYPE") == _IFF_TUN:
        kind = "tun (layer 3)"
    elif kind == "tun":
        return
    raise errors.UplinkError(
        f"{name} exists and is no tap: its kind is {kind}",
        hint="Give the uplink a name that is free, or the name of a tap.",
    )


def _is_ready(name: str, mtu: int) -> bool:
    """Tell by three ioctls whether *name* is a tap, has *mtu* and is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            flags = _ioctl_int(sock, _SIOCGIFFLAGS, name) & 0xFFFF
            present_mtu = _ioctl_int(sock, _SIOCGIFMTU, name)
            return bool(flags & _IFF_UP) and present_mtu == mtu and _driver_is_tap(sock, name)
        except OSError:
            return False


def _ioctl_int(sock: socket.socket, request: int, name: str) -> int:
    answer = fcntl.ioctl(sock, request, struct.pack("16si20x", name.encode(), 0))
    value: int = struct.unpack("16si20x", answer)[1]
    return value


def _driver_is_tap(sock: socket.socket, name: str) -> bool:
    """Ask for the driver (struct ethtool_drvinfo), which says ``tun`` on bus ``tap``."""
    info = array.array("B", struct.pack(f"I{_DRVINFO_SIZE - 4}x", _ETHTOOL_GDRVINFO))
    address, _ = info.buffer_info()
    fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), address))
    driver, bus = (bytes(info[part]).rstrip(b"\0") for part in (_DRVINFO_DRIVER, _DRVINFO_BUS))
    return (driver, bus) == (b"tun", b"tap")
