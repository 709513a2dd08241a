# SPDX-License-Identifier: Apache-2.0
"""From segments and options to uplinks."""

from __future__ import annotations

import pytest

from vhost_brick_plugin import errors
from vhost_brick_plugin.model import Tunnel, Uplink, UplinkKind
from vhost_brick_plugin.neutron.segments import Device, Outside, Segment, parse_mappings

OUTSIDE = Outside(
    mappings=parse_mappings(["phys0:nic:nic0", " phys1:tap:tap1 "]),
    local_ip="192.0.2.1",
    udp_port=4790,
)


def test_mappings() -> None:
    assert OUTSIDE.mappings == {
        "phys0": Device(UplinkKind.NIC, "nic0"),
        "phys1": Device(UplinkKind.TAP, "tap1"),
    }
    assert str(OUTSIDE.mappings["phys0"]) == "nic:nic0"
    assert parse_mappings([]) == {}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (["phys0"], "cannot read 'phys0'"),
        (["phys0:nic0"], "cannot read"),
        (["phys0:nic:nic0:more"], "cannot read"),
        ([":nic:nic0"], "cannot read"),
        (["phys0:vxlan:v"], "cannot read"),
        (["phys0:tap:"], "not a network interface name"),
        (["phys0:tap:sixteen-letters-"], "not a network interface name"),
        (["p:nic:a", "p:nic:b"], "'p' is named twice"),
        (["p:nic:a", "q:tap:a"], "'a' stands behind two"),
    ],
)
def test_bad_mappings(items: list[str], said: str) -> None:
    with pytest.raises(errors.ConfigError, match=said):
        parse_mappings(items)


@pytest.mark.parametrize(
    ("segment", "uplinks"),
    [
        (Segment("local"), ()),
        (Segment("flat", "phys0"), (Uplink(kind=UplinkKind.NIC, name="nic0", vlan=0),)),
        (Segment("vlan", "phys1", 7), (Uplink(kind=UplinkKind.TAP, name="tap1", vlan=7),)),
        (
            Segment("vxlan", None, 1001),
            (
                Uplink(
                    kind=UplinkKind.VXLAN,
                    name="vxlan-1001",
                    tunnel=Tunnel(vni=1001, local="192.0.2.1", remotes=("192.0.2.2",), port=4790),
                ),
            ),
        ),
    ],
    ids=lambda value: getattr(value, "type", ""),
)
def test_uplinks(segment: Segment, uplinks: tuple[Uplink, ...]) -> None:
    assert OUTSIDE.uplinks(segment, ["192.0.2.2"]) == uplinks


@pytest.mark.parametrize("vni", [1, 2**24 - 1])
def test_a_name_is_found_for_every_vni(vni: int) -> None:
    (uplink,) = OUTSIDE.uplinks(Segment("vxlan", None, vni))
    assert uplink.tunnel is not None
    assert uplink.tunnel.vni == vni


@pytest.mark.parametrize(
    ("outside", "segment", "said"),
    [
        (OUTSIDE, Segment("flat", "nowhere"), "'nowhere'"),
        (OUTSIDE, Segment("flat"), "physical network None"),
        (OUTSIDE, Segment("vlan", "phys0"), "'vlan'"),
        (OUTSIDE, Segment("gre", None, 3), "'gre'"),
        (Outside(mappings={}), Segment("vxlan", None, 3), "'vxlan'"),
    ],
)
def test_what_a_host_cannot_have(outside: Outside, segment: Segment, said: str) -> None:
    with pytest.raises(errors.UplinkError, match=said):
        outside.uplinks(segment)


def test_nics_must_be_the_daemons() -> None:
    OUTSIDE.check_nics(["nic0", "other"])
    with pytest.raises(errors.ConfigError, match=r"phys0.*'nic0'.*it has: a, b"):
        OUTSIDE.check_nics(["b", "a"])
