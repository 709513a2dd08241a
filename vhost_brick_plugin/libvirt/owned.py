# SPDX-License-Identifier: Apache-2.0
"""Ports that belong to a domain: made before it runs, removed when it is gone.

Whose a port is stands in its metadata, and with each start of the domain it gets a new
mark.  So nobody removes a port that is not his, or not any more: the daemon compares
before it removes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.finding import Level
from vhost_brick_plugin.libvirt import checks, document, metadata, xml
from vhost_brick_plugin.libvirt.metadata import HookPort
from vhost_brick_plugin.libvirt.xml import Interface

Call = Callable[[methods.Method[Any]], Any]
"""Calls the daemon."""

MADE_BY: Final = "made_by"
MAKER: Final = "vhost-brick-hook"
"""Value of ``made_by``; ports of Nova name an instance as well, but not this."""

DOMAIN_UUID: Final = "instance_uuid"
DOMAIN_NAME: Final = "instance_name"
START: Final = "started"
"""The mark: nanoseconds since the epoch when the domain was about to start."""


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """Who owns ports."""

    name: str
    uuid: str

    @classmethod
    def of(cls, text: str) -> Domain:
        """Return the domain that a document of libvirt's describes.

        :raises errors.DomainError: it is not XML.
        """
        root = xml.parse(text)
        return cls(root.findtext("name") or "?", root.findtext("uuid") or "")

    @property
    def mine(self) -> dict[str, str]:
        """What the metadata of each of its ports says."""
        return {MADE_BY: MAKER, DOMAIN_UUID: self.uuid}


def make_all(call: Call, text: str) -> None:
    """Make the ports of the domain whose document is *text*.

    :raises errors.VhostBrickError: one cannot be had, or the guest could not use it; the
        message names domain and port.
    """
    domain = Domain.of(text)
    wanted = metadata.read(text)
    checks.check_shared_memory(text)
    by_path = {interface.path: interface for interface in document.interfaces(text)}
    for port in wanted:
        interface = by_path.get(port.socket_path)
        if interface is None:
            raise errors.DomainError(
                f"domain {domain.name}: port {port.name}: no interface of the domain is on "
                f"{port.socket_path}",
                hint=f"Write it with: vhost-brick domain attach {domain.name} {port.name} "
                f"--network {port.network} --config",
            )
        make(call, domain, port, interface)


def make(call: Call, domain: Domain, port: HookPort, interface: Interface) -> bool:
    """Make one port, or find it made; return whether it is new.

    A port of that name which is nobody's is used as it is, and stays.

    :raises errors.VhostBrickError: as :func:`make_all`.
    """
    try:
        present = served = _present(call, port.name)
        if served is None or is_owned(served, domain):
            served = call(_request(domain, port, interface))
        else:
            _check_free(served, port)
        _check_fit(interface, served)
    except errors.VhostBrickError as error:
        error.message = f"domain {domain.name}: port {port.name}: {error.message}"
        raise
    return present is None


def remove_all(call: Call, text: str) -> None:
    """Remove the ports of the domain whose document is *text*, those of others excepted.

    :raises errors.VhostBrickError: one could not be removed; the message names domain and port.
    """
    domain = Domain.of(text)
    for port in metadata.read(text):
        remove(call, domain, port.name)


def remove(call: Call, domain: Domain, name: str) -> bool:
    """Remove a port if it is the domain's; return whether it was; raises as above."""
    try:
        done: methods.Done = call(methods.PortRemove(id=name, metadata=domain.mine))
    except errors.VhostBrickError as error:
        error.message = f"domain {domain.name}: port {name} stays: {error.message}"
        raise
    return done.existed


def is_owned(status: PortStatus, domain: Domain) -> bool:
    """Tell whether a port is the domain's."""
    return domain.mine.items() <= status.port.metadata.items()


def left_over(
    ports: Iterable[PortStatus], running: Collection[str]
) -> tuple[tuple[PortStatus, methods.PortRemove], ...]:
    """Return the ports whose domain does not run, each with what removes it.

    :param ports: read *before* it was found out which domains run.  What is started since
        is safe: its mark is another one.
    :param running: the UUIDs of the domains that run.
    """
    return tuple(
        (status, methods.PortRemove(id=status.port.id, metadata=status.port.metadata))
        for status in ports
        if status.port.metadata.get(MADE_BY) == MAKER
        and status.port.metadata.get(DOMAIN_UUID) not in running
    )


# -- one port ----------------------------------------------------------------


def _present(call: Call, name: str) -> PortStatus | None:
    try:
        found: PortStatus = call(methods.PortShow(id=name))
    except errors.PortNotFound:
        return None
    return found


def _request(domain: Domain, port: HookPort, interface: Interface) -> methods.PortEnsure:
    return methods.PortEnsure(
        id=port.name,
        network=port.network,
        mode=interface.mode,
        socket_path=port.socket_path,
        mac=interface.mac,
        mtu=port.mtu,
        queues=port.queues,
        metadata={**domain.mine, DOMAIN_NAME: domain.name, START: str(time.time_ns())},
    )


def _check_free(present: PortStatus, port: HookPort) -> None:
    """Refuse a port that belongs to somebody else, or leads elsewhere."""
    owner = present.port.metadata
    if owner.get(MADE_BY) == MAKER:
        raise errors.DomainError(
            f"it belongs to domain {owner.get(DOMAIN_NAME)} ({owner.get(DOMAIN_UUID)})",
            hint="Give each domain ports with names of their own. If that domain is gone: "
            "vhost-brick domain reconcile",
        )
    there = (present.port.network, present.port.socket_path)
    if there != (port.network, port.socket_path):
        raise errors.DomainError(
            f"somebody has made it already, on network {there[0]} with the socket {there[1]}",
            hint="Give the domain's port another name, or: vhost-brick port delete "
            f"{present.port.id}",
        )


def _check_fit(interface: Interface, status: PortStatus) -> None:
    for finding in checks.compare(interface, status):
        if finding.level is Level.FAIL:
            raise errors.DomainError(finding.text, hint=finding.fix)
