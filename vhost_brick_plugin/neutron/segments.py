# SPDX-License-Identifier: Apache-2.0
"""From a Neutron segment to the uplinks of a network.  Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

from vhost_brick_plugin import errors
from vhost_brick_plugin.model import Tunnel, Uplink, UplinkKind

MAPPED_KINDS = (UplinkKind.NIC, UplinkKind.TAP)
"""What may stand behind a physical network."""

OPTION = "[vhost_brick] uplink_mappings"


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """What stands behind a physical network."""

    kind: UplinkKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """A Neutron segment, as its RPC describes it.

    :ivar type: flat, vlan, vxlan or local.
    :ivar physical: the physical network of a flat or vlan one.
    :ivar id: VLAN or VNI.
    """

    type: str
    physical: str | None = None
    id: int | None = None


def parse_mappings(items: Iterable[str]) -> dict[str, Device]:
    """Return the devices by physical network.

    :raises errors.ConfigError: an item is malformed, or says what another contradicts.
    """
    found: dict[str, Device] = {}
    for item in items:
        physical, device = _parse(item)
        if physical in found:
            raise errors.ConfigError(
                f"{OPTION}: {physical!r} is named twice", hint="Name each physical network once."
            )
        if device.name in (other.name for other in found.values()):
            raise errors.ConfigError(
                f"{OPTION}: {device.name!r} stands behind two physical networks",
                hint="Give each physical network a device of its own.",
            )
        found[physical] = device
    return found


def _parse(item: str) -> tuple[str, Device]:
    physical, kind, name = [*item.strip().split(":"), "", "", ""][:3]
    if item.count(":") != 2 or not physical or kind not in MAPPED_KINDS:
        raise errors.ConfigError(
            f"{OPTION}: cannot read {item!r}",
            hint="Write physical_network:nic:name or physical_network:tap:name.",
        )
    try:
        Uplink(kind=UplinkKind(kind), name=name)
    except errors.InvalidParams as error:
        raise errors.ConfigError(f"{OPTION}: {item!r}: {error.message}", hint=error.hint) from None
    return physical, Device(UplinkKind(kind), name)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What this host has to join networks to other hosts.

    :ivar mappings: devices by physical network.
    :ivar local_ip: for VXLAN; empty: none.
    :ivar udp_port: of VXLAN.
    """

    mappings: Mapping[str, Device]
    local_ip: str = ""
    udp_port: int = 4789

    def check_nics(self, nics: Collection[str]) -> None:
        """Raise ConfigError if a mapping names a NIC that the daemon has not."""
        for physical, device in self.mappings.items():
            if device.kind is UplinkKind.NIC and device.name not in nics:
                known = ", ".join(sorted(nics)) or "none"
                raise errors.ConfigError(
                    f"{OPTION}: {physical}: vhost-brickd has no NIC {device.name!r}",
                    hint=f"Add it under [dpdk] nic there; it has: {known}.",
                )

    def uplinks(self, segment: Segment, remotes: Iterable[str] = ()) -> tuple[Uplink, ...]:
        """Return the uplinks that give a network its *segment*.

        :param remotes: of a vxlan, the hosts that have the network too.
        :raises errors.UplinkError: this host cannot have such a segment.
        """
        match segment:
            case Segment(type="local"):
                return ()
            case Segment(type="flat"):
                return (self._mapped(segment, 0),)
            case Segment(type="vlan", id=int(vlan)):
                return (self._mapped(segment, vlan),)
            case Segment(type="vxlan", id=int(vni)) if self.local_ip:
                return (self._tunnel(vni, remotes),)
        raise errors.UplinkError(
            f"this host has no segments of type {segment.type!r}",
            hint="It has local, flat and vlan ones, and vxlan if [vhost_brick] local_ip is set.",
        )

    def _mapped(self, segment: Segment, vlan: int) -> Uplink:
        device = self.mappings.get(segment.physical or "")
        if device is None:
            raise errors.UplinkError(
                f"no device stands behind the physical network {segment.physical!r}",
                hint=f"Name one in {OPTION} of this host's agent.",
            )
        return Uplink(kind=device.kind, name=device.name, vlan=vlan)

    def _tunnel(self, vni: int, remotes: Iterable[str]) -> Uplink:
        tunnel = Tunnel(vni=vni, local=self.local_ip, remotes=tuple(remotes), port=self.udp_port)
        return Uplink(kind=UplinkKind.VXLAN, name=f"vxlan-{vni}", tunnel=tunnel)
