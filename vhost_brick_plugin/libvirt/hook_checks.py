# SPDX-License-Identifier: Apache-2.0
"""What keeps the ``qemu`` hook from making the ports of a domain.  Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.finding import Finding, fail, ok, warn
from vhost_brick_plugin.libvirt import document, metadata, owned
from vhost_brick_plugin.libvirt.metadata import HookPort
from vhost_brick_plugin.libvirt.owned import Domain


def look(
    text: str,
    *,
    ports: Mapping[str, PortStatus],
    networks: Collection[str],
    runs: bool,
    hook: str | None,
) -> Iterator[Finding]:
    """Yield what there is to say of the ports that are the domain's.

    :param text: its document.
    :param ports: all ports, by id.
    :param networks: the names of all networks.
    :param hook: where the hook is installed; None: it is not.
    """
    domain = Domain.of(text)
    paths = {interface.path for interface in document.interfaces(text)}
    if hook is None:
        yield warn(
            "hook_missing",
            f"domain {domain.name} has ports of its own, and the hook that makes them is "
            "not installed on this host",
            "Copy etc/libvirt/hooks/qemu.d/vhost-brick to /etc/libvirt/hooks/qemu.d/, and: "
            "systemctl reload libvirtd",
        )
    for port in metadata.read(text):
        found = list(_about(domain, port, paths, ports.get(port.name), networks))
        yield from found or [_well(port, runs)]


def _about(
    domain: Domain,
    port: HookPort,
    paths: Collection[str],
    present: PortStatus | None,
    networks: Collection[str],
) -> Iterator[Finding]:
    if port.socket_path not in paths:
        yield fail(
            "hook_interface",
            f"port {port.name} of domain {domain.name}: no interface is on {port.socket_path}; "
            "the domain cannot start",
            f"vhost-brick domain attach {domain.name} {port.name} --network {port.network}",
        )
    if port.network not in networks:
        yield fail(
            "hook_network",
            f"port {port.name} of domain {domain.name}: there is no network {port.network}; "
            "the domain cannot start",
            f"vhost-brick network create {port.network}",
        )
    if present is not None and not owned.is_owned(present, domain):
        yield warn(
            "hook_owner",
            f"port {port.name} is not domain {domain.name}'s: it will not go with it",
            f"vhost-brick port delete {port.name}, while the domain does not run",
        )


def _well(port: HookPort, runs: bool) -> Finding:
    when = "is removed when the domain stops" if runs else "is made when the domain starts"
    return ok("hook", f"port {port.name} {when}")
