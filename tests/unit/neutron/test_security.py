# SPDX-License-Identifier: Apache-2.0
"""From ports to what they let through."""

from __future__ import annotations

from typing import Any

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.model import CLOSED, OPEN, AddressPair
from vhost_brick_plugin.neutron.security import port_security

MAC, OTHER = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"


def details(**changes: Any) -> dict[str, Any]:
    """Return a port as ``get_device_details`` gives it."""
    return {
        "mac_address": MAC,
        "admin_state_up": True,
        "port_security_enabled": True,
        "device_owner": "compute:nova",
        "fixed_ips": [{"subnet_id": "s", "ip_address": "192.0.2.7"}],
        "allowed_address_pairs": [],
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "security"),
    [
        ({"port_security_enabled": False}, OPEN),
        ({"device_owner": "network:dhcp"}, OPEN),
        ({"admin_state_up": False}, CLOSED),
        ({"admin_state_up": False, "port_security_enabled": False}, CLOSED),
    ],
)
def test_all_or_nothing(changes: dict[str, Any], security: object) -> None:
    assert port_security(details(**changes)) == security


@pytest.mark.parametrize(
    ("changes", "pairs"),
    [
        ({}, {(MAC, "192.0.2.7/32")}),
        ({"mac_address": MAC.upper()}, {(MAC, "192.0.2.7/32")}),
        (
            {"fixed_ips": [{"ip_address": "192.0.2.7"}, {"ip_address": "2001:db8::7"}]},
            {(MAC, "192.0.2.7/32"), (MAC, "2001:db8::7/128")},
        ),
        ({"fixed_ips": []}, {(MAC, None)}),
        (
            {
                "allowed_address_pairs": [
                    {"mac_address": MAC, "ip_address": "192.0.2.7"},
                    {"mac_address": OTHER, "ip_address": "198.51.100.0/24"},
                    {"ip_address": "2001:db8::/64"},
                ]
            },
            {
                (MAC, "192.0.2.7/32"),
                (OTHER, "198.51.100.0/24"),
                (MAC, "2001:db8::/64"),
            },
        ),
    ],
)
def test_filtered(changes: dict[str, Any], pairs: set[tuple[str, str | None]]) -> None:
    security = port_security(details(**changes))
    assert security.mode == "filtered"
    assert set(security.allowed) == {AddressPair(mac=mac, ip=ip) for mac, ip in pairs}


def test_too_many_pairs() -> None:
    pairs = [{"mac_address": MAC, "ip_address": f"10.0.0.{i}"} for i in range(200)]
    with pytest.raises(errors.InvalidParams, match="201 address pairs"):
        port_security(details(allowed_address_pairs=pairs))
