# SPDX-License-Identifier: Apache-2.0
"""A value that exists is valid."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.support import nic, port, tap, vxlan
from vhost_brick_plugin import errors, model
from vhost_brick_plugin.model import (
    AddressPair,
    Mode,
    Network,
    PortSecurity,
    SecurityMode,
    Tunnel,
    Uplink,
    UplinkKind,
)


def test_mode_is_translated_both_ways() -> None:
    assert Mode.SERVER.peer is Mode.CLIENT
    assert Mode.CLIENT.peer is Mode.SERVER


@pytest.mark.parametrize("name", ["p", "1", "a" * 64, "a:b.c_d-e", "0af3-77"])
def test_good_names(name: str) -> None:
    assert port(name).id == name


@pytest.mark.parametrize("name", ["", "a" * 65, "-a", ".", "..", "a/b", "a b", "ä", "a\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(errors.InvalidParams, match="not a valid name"):
        port(name, socket_path="/run/s/p", mac="52:54:00:00:00:01")


@pytest.mark.parametrize("mtu", [67, 9199, 0, -1])
def test_bad_mtu(mtu: int) -> None:
    with pytest.raises(errors.InvalidParams, match=str(mtu)):
        port(mtu=mtu)
    with pytest.raises(errors.InvalidParams, match=str(mtu)):
        Network(name="n", mtu=mtu)


@pytest.mark.parametrize("mtu", [68, 9198])
def test_mtu_bounds(mtu: int) -> None:
    assert port(mtu=mtu).mtu == mtu


def test_mac_is_normalised() -> None:
    assert port(mac="52-54-00-AB-cd-EF").mac == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize(
    "mac", ["", "52:54:00:ab:cd", "53:54:00:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"]
)
def test_bad_macs(mac: str) -> None:
    with pytest.raises(errors.InvalidParams, match="MAC address"):
        port(mac=mac)


def test_default_mac_depends_on_the_id_alone() -> None:
    assert model.default_mac("a") == model.default_mac("a") != model.default_mac("b")
    assert model.normalise_mac(model.default_mac("a")) == model.default_mac("a")


def test_longest_path() -> None:
    path = "/" + "a" * 106
    assert port(socket_path=path).socket_path == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/" + "a" * 107, "108 bytes"),
        ("/" + "ä" * 54, "109 bytes"),
        ("run/p", "not absolute"),
        ("", "not absolute"),
        ("/run/../p", "plain form"),
        ("/run//p", "plain form"),
        ("/run/p/", "plain form"),
        ("/run/\0p", "plain form"),
        ("/run/\ud800", "not valid text"),
    ],
)
def test_bad_paths(path: str, why: str) -> None:
    with pytest.raises(errors.InvalidSocketPath, match=why):
        port(socket_path=path)


@pytest.mark.parametrize("queues", [0, -1, model.MAX_QUEUE_PAIRS + 1])
def test_bad_queues(queues: int) -> None:
    with pytest.raises(errors.TooManyQueues):
        port(queues=queues)


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", "a:b", "a b", ".", ".."])
def test_bad_interface_names(name: str) -> None:
    with pytest.raises(errors.InvalidParams, match="interface name"):
        Uplink(kind=UplinkKind.TAP, name=name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (tap("t"), tap("t")),
        (tap("t"), tap("t", 5)),
        (tap("t", 5), tap("t", 5)),
        (tap("t", 5), nic("t", 6)),
        (vxlan(7), vxlan(8, name="vxlan-7")),
        (vxlan(7), vxlan(7, "192.0.2.9", name="other")),
        (vxlan(7, local="fd00::1"), vxlan(7, local="fd00:0::1", name="other")),
    ],
)
def test_uplinks_that_clash(one: Uplink, other: Uplink) -> None:
    assert one.clashes(other)
    assert other.clashes(one)
    with pytest.raises(errors.InvalidParams, match="cannot have both"):
        Network(name="n", uplinks=(one, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (tap("t"), tap("u")),
        (tap("t", 0), tap("t", 5)),
        (nic("t", 4094), nic("t", 5)),
        (vxlan(7), vxlan(8)),
        (vxlan(7), vxlan(7, name="other", local="192.0.2.2")),
        (vxlan(7), vxlan(7, name="other", port=4790)),
    ],
)
def test_uplinks_that_get_along(one: Uplink, other: Uplink) -> None:
    assert not one.clashes(other)
    assert not other.clashes(one)
    assert len(Network(name="n", uplinks=(one, other)).uplinks) == 2


@pytest.mark.parametrize(
    "uplink",
    [
        {"kind": UplinkKind.TAP, "vlan": 4095},
        {"kind": UplinkKind.NIC, "vlan": -1},
        {"kind": UplinkKind.VXLAN},
        {"kind": UplinkKind.VXLAN, "tunnel": Tunnel(vni=1, local="192.0.2.1"), "vlan": 5},
        {"kind": UplinkKind.TAP, "tunnel": Tunnel(vni=1, local="192.0.2.1")},
    ],
)
def test_bad_uplinks(uplink: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidParams, match="uplink u") as caught:
        Uplink(name="u", **uplink)
    assert caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"vni": 0},
        {"vni": 1 << 24},
        {"port": 0},
        {"port": 65536},
        {"local": "here"},
        {"local": "0.0.0.0"},
        {"local": "224.0.0.1"},
        {"local": "fe80::1%eth0"},
        {"remotes": ("192.0.2.2", "fd00::2")},
        {"remotes": ("192.0.2.1",)},
        {"remotes": tuple(f"10.0.{i // 256}.{i % 256}" for i in range(1, 1026))},
    ],
)
def test_bad_tunnels(changes: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidParams) as caught:
        Tunnel(**{"vni": 7, "local": "192.0.2.1", **changes})
    assert caught.value.hint


def test_addresses_of_a_tunnel_are_normalised() -> None:
    tunnel = Tunnel(vni=7, local="FD00:0::1", remotes=("fd00::3", "fd00:0::2", "fd00::2"))
    assert (tunnel.local, tunnel.remotes) == ("fd00::1", ("fd00::2", "fd00::3"))


def test_a_place_is_all_that_cannot_change_under_traffic() -> None:
    assert vxlan(7).place == vxlan(7, "192.0.2.9").place
    places = {tap("t").place, tap("t", 0).place, nic("t").place, vxlan(7).place}
    places |= {vxlan(7, port=1).place, vxlan(7, local="192.0.2.2").place}
    assert len(places) == 6


def test_address_pairs_are_normalised() -> None:
    security = PortSecurity(
        mode=SecurityMode.FILTERED,
        allowed=(
            AddressPair(mac="52-54-00-00-00-02", ip="192.0.2.7"),
            AddressPair(mac="52:54:00:00:00:01", ip="FD00:0::1/64"),
            AddressPair(mac="52:54:00:00:00:01"),
            AddressPair(mac="52:54:00:00:00:02", ip="192.0.2.7/32"),
        ),
    )
    assert [(pair.mac[-1], pair.ip) for pair in security.allowed] == [
        ("1", None),
        ("1", "fd00::/64"),
        ("2", "192.0.2.7/32"),
    ]


@pytest.mark.parametrize("ip", ["", "here", "192.0.2.0/33", "fe80::1%eth0", "1.2.3"])
def test_bad_address_pairs(ip: str) -> None:
    with pytest.raises(errors.InvalidParams, match="not an IP address or prefix"):
        AddressPair(mac="52:54:00:00:00:01", ip=ip)


def test_address_pairs_go_with_the_mode_that_looks_at_them() -> None:
    pair = AddressPair(mac="52:54:00:00:00:01")
    for mode in (SecurityMode.OPEN, SecurityMode.CLOSED):
        with pytest.raises(errors.InvalidParams, match="takes no address pairs"):
            PortSecurity(mode=mode, allowed=(pair,))


def test_a_port_has_so_many_address_pairs() -> None:
    pairs = tuple(
        AddressPair(mac="52:54:00:00:00:01", ip=f"10.0.0.{i}")
        for i in range(model.MAX_ADDRESS_PAIRS + 1)
    )
    PortSecurity(mode=SecurityMode.FILTERED, allowed=(*pairs[1:], pairs[1]))
    with pytest.raises(errors.InvalidParams, match="129 address pairs"):
        PortSecurity(mode=SecurityMode.FILTERED, allowed=pairs)


@pytest.mark.parametrize(
    ("own", "guarded", "admitted"),
    [
        (None, False, model.OPEN),
        (None, True, model.CLOSED),
        (model.OPEN, True, model.OPEN),
        (model.CLOSED, False, model.CLOSED),
    ],
)
def test_what_a_port_lets_through(
    own: PortSecurity | None, guarded: bool, admitted: PortSecurity
) -> None:
    assert port(security=own).admits(Network(name="n", guarded=guarded)) == admitted


def test_same_datapath_looks_over_metadata_and_security_only() -> None:
    assert port().same_datapath(port(metadata={"a": "b"}, security=model.CLOSED))
    assert not port().same_datapath(port(mtu=1400))
