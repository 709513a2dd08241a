# SPDX-License-Identifier: Apache-2.0
"""From a Neutron port to what it lets through.  Pure.

Security groups are not enforced in this version, and the mechanism driver says so
(``port_filter``).  Their rules would be one more part of :class:`PortSecurity`, enforced
where the address pairs are: in the antispoof brick between a port and its switch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vhost_brick_plugin.model import CLOSED, OPEN, AddressPair, PortSecurity, SecurityMode

TRUSTED_OWNER = "network:"
"""How the owner of a port begins that Neutron itself uses: it may send anything."""


def port_security(details: Mapping[str, Any]) -> PortSecurity:
    """Return what a port lets through.

    The brick adds the link-local address and address acquisition (DHCP, duplicate
    address detection) of each MAC by itself.

    :param details: as the RPC ``get_device_details`` gives them.
    :raises errors.InvalidParams: more address pairs than a port can have.
    """
    if not details["admin_state_up"]:
        return CLOSED
    trusted = str(details.get("device_owner") or "").startswith(TRUSTED_OWNER)
    if trusted or not details.get("port_security_enabled", True):
        return OPEN
    return PortSecurity(mode=SecurityMode.FILTERED, allowed=tuple(_pairs(details)))


def _pairs(details: Mapping[str, Any]) -> Iterator[AddressPair]:
    mac = details["mac_address"]
    addresses = [fixed["ip_address"] for fixed in details.get("fixed_ips") or ()]
    # A port without addresses is on a network without subnets, where only its MAC is known.
    for address in addresses or [None]:
        yield AddressPair(mac=mac, ip=address)
    for pair in details.get("allowed_address_pairs") or ():
        yield AddressPair(mac=pair.get("mac_address") or mac, ip=pair["ip_address"])
