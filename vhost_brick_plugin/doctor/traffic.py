# SPDX-License-Identifier: Apache-2.0
"""What the daemon says of its ports and networks: faults, and frames that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vhost_brick_plugin.api.methods import NetworkStatus, PortStatus
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn
from vhost_brick_plugin.model import Uplink, UplinkKind
from vhost_brick_plugin.report import Fault

INTERFACES = Path("/sys/class/net")


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


def check_mtu(site: Site, interfaces: Path = INTERFACES) -> Iterator[Finding]:
    """Make sure that a frame which a guest may send fits all the way; silent while it is down."""
    if not site.daemon_is_up:
        return
    networks = {status.network.name: status for status in site.networks}
    found = [
        finding
        for status in site.ports
        if status.port.network in networks
        for finding in _check_port(status, networks[status.port.network])
    ]
    found += [f for status in site.networks for f in _check_uplinks(status, interfaces)]
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


def _check_uplinks(status: NetworkStatus, interfaces: Path) -> Iterator[Finding]:
    network = status.network
    for uplink in network.uplinks:
        mtu = _interface_mtu(uplink, interfaces)
        if mtu and mtu < network.mtu:
            yield warn(
                "mtu",
                f"{uplink} of network {network.name} has MTU {mtu}, the network {network.mtu}: "
                "larger frames do not get out",
                f"ip link set {uplink.name} mtu {network.mtu}, or give the network and its ports "
                f"MTU {mtu}.",
            )


def _interface_mtu(uplink: Uplink, interfaces: Path) -> int:
    """Return the MTU of the kernel's interface; 0: it has none, or it is elsewhere."""
    if uplink.kind is not UplinkKind.TAP:
        return 0
    try:
        return int((interfaces / uplink.name / "mtu").read_text())
    except (OSError, ValueError):
        return 0
