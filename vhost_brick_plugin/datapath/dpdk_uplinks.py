# SPDX-License-Identifier: Apache-2.0
"""Uplinks in the DPDK datapath: devices that networks have whole, and trunks they share."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Iterator
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import base, dpdk_c, shape
from vhost_brick_plugin.datapath.dpdk_c import ffi, lib
from vhost_brick_plugin.datapath.dpdk_log import LogPipe
from vhost_brick_plugin.model import Network, Tunnel, Uplink, UplinkKind

HINTS = {
    UplinkKind.TAP: {
        errno.EINVAL: "Give the uplink the name of a tap.",
    },
    UplinkKind.NIC: {
        errno.ENODEV: "Check the device under [dpdk] nic; a PCI device must be bound to vfio-pci.",
        errno.EINVAL: "Check the device under [dpdk] nic, and that it can do the network's MTU.",
        errno.EIO: "See the daemon's log around this time.",
    },
    UplinkKind.VXLAN: {
        errno.EADDRNOTAVAIL: "Give this host the address, or the tunnel another one.",
        errno.EADDRINUSE: "Another program, such as the kernel's vxlan, has the UDP port.",
        errno.EEXIST: "Give each tunnel a VNI of its own.",
    },
}

MTU_HINT = (
    "A NIC that runs may be unable to take larger frames; a restart of vhost-brickd starts it "
    "for the largest MTU of its networks."
)

_SET_MTU = {
    UplinkKind.TAP: lib.vb_tap_set_mtu,
    UplinkKind.NIC: lib.vb_nic_set_mtu,
    UplinkKind.VXLAN: lib.vb_vxlan_set_mtu,
}

Users = dict[int | None, tuple[Network, Uplink]]
"""A network and its uplink by VLAN."""


@dataclasses.dataclass(slots=True)
class _Device:
    """A tap, nic or tunnel.

    :ivar trunk: what parts its VLANs, or None: one network has the whole.
    :ivar mtu: the frames it takes now.
    """

    brick: Any
    trunk: Any
    mtu: int
    users: Users

    @property
    def uplink(self) -> Uplink:
        """One of those that it serves."""
        return next(iter(self.users.values()))[1]

    def fit(self, mtu: int) -> None:
        """Take frames of *mtu* bytes; one that cannot become narrower stays wide."""
        if mtu == self.mtu:
            return
        result = _SET_MTU[self.uplink.kind](self.brick, mtu)
        if mtu > self.mtu:
            what = f"{self.uplink}: MTU {mtu}"
            dpdk_c.check(
                result, what, errors.UplinkError, {errno.EBUSY: MTU_HINT, errno.EINVAL: MTU_HINT}
            )
        if result == 0:
            self.mtu = mtu


class Uplinks:
    """Keeps to the text of :class:`.base.Datapath`.

    :param log: where DPDK says why a device does not start.
    """

    def __init__(self, options: base.Options, log: LogPipe) -> None:
        self._options = options
        self._log = log
        self._devices: dict[str, _Device] = {}

    def on(self, network: str) -> list[str]:
        """Name the uplinks of *network*."""
        return [str(uplink) for name, uplink in self.joined() if name == network]

    def joined(self) -> Iterator[tuple[str, Uplink]]:
        """Yield each uplink after its network's name."""
        for device in self._devices.values():
            yield from ((network.name, uplink) for network, uplink in device.users.values())

    def bricks(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and the handle of each brick."""
        for device in self._devices.values():
            yield shape.device(device.uplink), device.brick
            if device.trunk is not None:
                yield shape.trunk(device.uplink), device.trunk

    def whole(self, network: str) -> Iterator[Any]:
        """Yield the bricks of devices that *network* has for itself."""
        for device in self._devices.values():
            if None in device.users and device.users[None][0].name == network:
                yield device.brick

    def add(self, network: Network, uplink: Uplink, switch: Any) -> None:
        device = self._devices.get(uplink.name)
        if device is None:
            self._devices[uplink.name] = self._start(network, uplink, switch)
        else:
            _share(device, network, uplink, switch)

    def update(self, network: str, uplink: Uplink) -> None:
        device, present = self._find(network, uplink)
        _set_remotes(device.brick, uplink, _about(network, uplink))
        device.users[uplink.vlan] = present, uplink

    def remove(self, network: str, uplink: Uplink) -> None:
        device, _ = self._find(network, uplink)
        what = _about(network, uplink)
        if device.trunk is not None:
            dpdk_c.check(lib.vb_vlan_leave(device.trunk, uplink.vlan), what)
        if len(device.users) > 1:
            del device.users[uplink.vlan]
            device.fit(_widest(device.users))
            return
        del self._devices[uplink.name]
        dpdk_c.destroy(device.brick, what)
        if device.trunk is not None:
            dpdk_c.destroy(device.trunk, what)

    def resize(self, network: Network) -> None:
        """Take over *network*'s MTU."""
        devices = [d for d in self._devices.values() if _has(d, network)]
        before = [device.users for device in devices]
        try:
            for device in devices:
                device.users = _renewed(device.users, network)
                device.fit(_widest(device.users))
        except errors.UplinkError:
            for device, users in zip(devices, before, strict=True):
                device.users = users
                device.fit(_widest(users))
            raise

    def _find(self, network: str, uplink: Uplink) -> tuple[_Device, Network]:
        device = self._devices.get(uplink.name)
        if device is not None and uplink.vlan in device.users:
            owner, present = device.users[uplink.vlan]
            if owner.name == network and present.place == uplink.place:
                return device, owner
        raise errors.UplinkError(f"network {network} has no {uplink}")

    def _start(self, network: Network, uplink: Uplink, switch: Any) -> _Device:
        what = _about(network.name, uplink)
        with contextlib.ExitStack() as undo:
            trunk = None
            if uplink.vlan is not None:
                name = shape.trunk(uplink).encode()
                trunk = dpdk_c.create(lib.vb_vlan_create, name, what=what)
                undo.callback(lib.vb_brick_destroy, trunk)
            brick = self._create(network, uplink, switch if trunk is None else trunk)
            undo.callback(lib.vb_brick_destroy, brick)
            if trunk is not None:
                _join(trunk, uplink, switch, what)
            _set_remotes(brick, uplink, what)
            undo.pop_all()
        return _Device(brick, trunk, network.mtu, {uplink.vlan: (network, uplink)})

    def _create(self, network: Network, uplink: Uplink, to: Any) -> Any:
        name, mtu = shape.device(uplink).encode(), network.mtu
        about: dict[str, Any] = {
            "what": _about(network.name, uplink),
            "error": errors.UplinkError,
            "hints": HINTS[uplink.kind],
        }
        if uplink.tunnel is not None:
            config = _config(uplink.tunnel, mtu, self._options)
            return dpdk_c.create(lib.vb_vxlan_create, name, config, to, **about)
        if uplink.kind is UplinkKind.TAP:
            return dpdk_c.create(lib.vb_tap_create, name, uplink.name.encode(), mtu, to, **about)
        devargs = self._options.devargs(uplink.name)
        with self._log.explaining():
            return dpdk_c.create(lib.vb_nic_create, name, devargs.encode(), mtu, to, **about)


def _config(tunnel: Tunnel, mtu: int, options: base.Options) -> Any:
    """Return a tunnel as C takes it."""
    local = ffi.new("char[]", tunnel.local.encode())
    struct = dpdk_c.keeping(ffi.new("struct vb_vxlan_config *"), local)
    struct.local, struct.port, struct.vni, struct.mtu = local, tunnel.port, tunnel.vni, mtu
    struct.mac_table_size = options.mac_table_size
    struct.mac_ageing_s = options.mac_ageing_s
    return struct


def _about(network: str, uplink: Uplink) -> str:
    return f"{uplink} of network {network}"


def _share(device: _Device, network: Network, uplink: Uplink, switch: Any) -> None:
    trunk = uplink.vlan is not None and device.trunk is not None
    if not trunk or device.uplink.kind is not uplink.kind or uplink.vlan in device.users:
        raise errors.UplinkError(f"{_about(network.name, uplink)}: {uplink.name} is taken")
    before = device.mtu
    device.fit(max(before, network.mtu))
    try:
        _join(device.trunk, uplink, switch, _about(network.name, uplink))
    except errors.UplinkError:
        device.fit(before)
        raise
    device.users[uplink.vlan] = network, uplink


def _join(trunk: Any, uplink: Uplink, switch: Any, what: str) -> None:
    dpdk_c.check(lib.vb_vlan_join(trunk, uplink.vlan, switch), what, errors.UplinkError)


def _set_remotes(brick: Any, uplink: Uplink, what: str) -> None:
    if uplink.tunnel is not None:
        strings = [ffi.new("char[]", remote.encode()) for remote in uplink.tunnel.remotes]
        array = ffi.new("const char *[]", strings)
        result = lib.vb_vxlan_set_remotes(brick, array, len(strings))
        dpdk_c.check(result, what, errors.UplinkError)


def _has(device: _Device, network: Network) -> bool:
    return any(user.name == network.name for user, _ in device.users.values())


def _renewed(users: Users, network: Network) -> Users:
    """Return *users* with *network* in place of the one of its name."""
    return {
        vlan: (network if old.name == network.name else old, uplink)
        for vlan, (old, uplink) in users.items()
    }


def _widest(users: Users) -> int:
    return max(network.mtu for network, _ in users.values())
