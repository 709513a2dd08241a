# SPDX-License-Identifier: Apache-2.0
"""What the daemon says of its ports and networks: faults, and frames that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from vhost_brick_plugin import errors, netlink
from vhost_brick_plugin.api.methods import NetworkStatus, PortStatus
from vhost_brick_plugin.doctor.site import Site, not_checked
from vhost_brick_plugin.finding import Finding, fail, ok, warn
from vhost_brick_plugin.model import Network, Uplink, UplinkKind
from vhost_brick_plugin.report import Fault

INTERFACES = Path("/sys/class/net")

InterfaceOf = Callable[[str], tuple[str, int] | None]

_VXLAN_IPV4, _VXLAN_IPV6 = 50, 70
"""Bytes around a frame's payload: Ethernet 14, VXLAN 8, UDP 8, IP 20 or 40 (RFC 7348)."""


def check_datapath(site: Site) -> Iterator[Finding]:
    """Tell of a datapath that is for trials only."""
    if site.hello is not None and site.hello.datapath == "fake":
        yield warn(
            "datapath",
            "[daemon] datapath is fake: no packet is moved",
            "Set [daemon] datapath = dpdk and restart vhost-brickd.",
        )


# -- faults ------------------------------------------------------------------


def check_faults(site: Site) -> Iterator[Finding]:
    """Pass on each fault that the daemon knows of; silent while it is down."""
    if not site.daemon_is_up:
        return
    subjects: list[tuple[str, Fault | None]] = [
        *((f"port {s.port.id}", s.fault) for s in site.ports),
        *((f"network {s.network.name}", s.fault) for s in site.networks),
    ]
    bad = [(who, fault) for who, fault in subjects if fault is not None]
    for who, fault in bad:
        yield fail(who, f"{fault.name}: {fault.message}", fault.hint)
    if not bad:
        text = f"none, at {len(site.ports)} ports and {len(site.networks)} networks"
        yield ok("faults", text)


# -- MTU ---------------------------------------------------------------------


def check_mtu(
    site: Site, interfaces: Path = INTERFACES, interface_of: InterfaceOf = netlink.interface_of
) -> Iterator[Finding]:
    """Make sure that a frame which a guest may send fits all the way; silent while it is down.

    :param interface_of: tells who has an address.
    """
    if not site.daemon_is_up:
        return
    if site.elsewhere:
        yield not_checked(site, "mtu")
        return
    networks = {status.network.name: status for status in site.networks}
    found = [
        finding
        for status in site.ports
        if status.port.network in networks
        for finding in _check_port(status, networks[status.port.network])
    ]
    for network in (status.network for status in site.networks):
        for uplink in network.uplinks:
            found += _check_tap(network, uplink, interfaces)
            found += _check_tunnel(network, uplink, interface_of)
    yield from found
    if not found:
        yield ok("mtu", "ports, networks and their uplinks agree")


def _check_port(status: PortStatus, on: NetworkStatus) -> Iterator[Finding]:
    port, network = status.port, on.network
    if port.mtu != network.mtu:
        effect = (
            "larger frames of its guest are dropped on the way"
            if port.mtu > network.mtu
            else "frames of others that are larger never reach its guest (too_big)"
        )
        yield warn(
            "mtu",
            f"port {port.id} has MTU {port.mtu}, its network {network.name} {network.mtu}: "
            f"{effect}",
            f"vhost-brick port create {port.id} --network {network.name} --mtu {network.mtu}, and "
            "the same MTU within the guest.",
        )
    elif status.offer.mtu > port.mtu:
        yield warn(
            "mtu",
            f"port {port.id} was made with MTU {status.offer.mtu} and has {port.mtu} now: a guest "
            "that was set up before sends larger frames, which are dropped on the way",
            f"Set {port.mtu} within the guest (ip link set DEVICE mtu {port.mtu}), or let it ask "
            "DHCP anew; this line goes once the port is created anew, with its VM off.",
        )


def _check_tap(network: Network, uplink: Uplink, interfaces: Path) -> Iterator[Finding]:
    if uplink.kind is not UplinkKind.TAP:
        return
    try:
        mtu = int((interfaces / uplink.name / "mtu").read_text())
    except (OSError, ValueError):
        return  # It is in another network namespace, or gone, which is a fault of its own.
    if mtu < network.mtu:
        yield warn(
            "mtu",
            f"{uplink} of network {network.name} has MTU {mtu}, the network {network.mtu}: "
            "larger frames do not get out",
            f"ip link set {uplink.name} mtu {network.mtu}, or give the network and its ports "
            f"MTU {mtu}.",
        )


def _check_tunnel(
    network: Network, uplink: Uplink, interface_of: InterfaceOf
) -> Iterator[Finding]:
    if uplink.tunnel is None:
        return
    local = uplink.tunnel.local
    try:
        interface = interface_of(local)
    except errors.UplinkError as error:
        yield warn("mtu", f"not checked: {error.message}", error.hint)
        return
    if interface is None:
        yield fail(
            "mtu",
            f"{uplink} of network {network.name}: no interface here has its local address {local}",
            "Give the address to an interface (ip address add), or the network a tunnel with one "
            "of this host's.",
        )
        return
    name, mtu = interface
    needed = network.mtu + (_VXLAN_IPV6 if ":" in local else _VXLAN_IPV4)
    if mtu < needed:
        yield warn(
            "mtu",
            f"{uplink} of network {network.name} needs MTU {needed} on {name}, which has {mtu}: "
            "the largest frames do not get to other hosts",
            f"ip link set {name} mtu {needed}, and so on all the way; or give the network and its "
            f"ports MTU {mtu - needed + network.mtu}.",
        )
