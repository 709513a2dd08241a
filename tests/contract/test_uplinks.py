# SPDX-License-Identifier: Apache-2.0
"""What ``datapath/base.py`` promises of uplinks, held against every datapath."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator

import pytest

from vhost_brick_plugin import errors, model, netlink
from vhost_brick_plugin.datapath.base import Datapath
from vhost_brick_plugin.model import Network, Tunnel, Uplink, UplinkKind

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="interfaces take root")

TAP = f"vbc{os.getpid() % 100000}"


def nic(name: str, vlan: int | None = None) -> Uplink:
    return Uplink(kind=UplinkKind.NIC, name=name, vlan=vlan)


def tap(vlan: int | None = None) -> Uplink:
    return Uplink(kind=UplinkKind.TAP, name=TAP, vlan=vlan)


def vxlan(vni: int, *remotes: str, local: str = "127.0.0.1", name: str = "") -> Uplink:
    tunnel = Tunnel(vni=vni, local=local, remotes=remotes, port=PORT)
    return Uplink(kind=UplinkKind.VXLAN, name=name or f"vxlan-{vni}", tunnel=tunnel)


PORT = 20000 + os.getpid() % 20000
"""Not VXLAN's own, which the host may use."""

KINDS = [
    pytest.param(tap(), marks=needs_root, id="tap"),
    pytest.param(nic("ring0"), id="nic"),
    pytest.param(vxlan(7), id="vxlan"),
    pytest.param(vxlan(7, local="::1"), id="vxlan6"),
]
TRUNKS = [
    pytest.param(UplinkKind.TAP, TAP, marks=needs_root, id="tap"),
    pytest.param(UplinkKind.NIC, "ring0", id="nic"),
]


@pytest.fixture(autouse=True)
def _networks(datapath: Datapath) -> None:
    for name in ("n", "m"):
        datapath.network_add(Network(name=name))


@pytest.fixture(autouse=True)
def _tap(datapath: Datapath) -> Iterator[None]:
    if os.geteuid() == 0:
        netlink.ensure_tap(TAP, 1500)
    yield
    if os.geteuid() == 0:
        netlink.remove_tap(TAP)


def bricks(datapath: Datapath) -> dict[str, str]:
    """Return the network of each brick that is no switch."""
    return {n.name: n.network for n in datapath.graph().nodes if n.kind != "switch"}


def edges(datapath: Datapath) -> list[tuple[str, str]]:
    return [(edge.a, edge.b) for edge in datapath.graph().edges]


@pytest.mark.parametrize("uplink", KINDS)
def test_an_uplink_comes_and_goes(datapath: Datapath, uplink: Uplink) -> None:
    for _ in range(3):
        datapath.uplink_add("n", uplink)
        name = f"{uplink.kind.value}/{uplink.name}"
        assert bricks(datapath) == {name: "n"}
        assert edges(datapath) == [(name, "switch/n")]
        (row,) = [row for row in datapath.brick_stats() if row.kind == uplink.kind.value]
        assert (row.brick, row.network) == (name, "n")
        datapath.network_update(Network(name="n", mtu=1400))
        with pytest.raises(errors.NetworkInUse):
            datapath.network_remove("n")
        datapath.uplink_remove("n", uplink)
        assert bricks(datapath) == {}
        assert edges(datapath) == []


@needs_root
def test_a_taps_interface_stays(datapath: Datapath) -> None:
    datapath.uplink_add("n", tap())
    datapath.uplink_remove("n", tap())
    assert TAP in {name for _, name in socket.if_nameindex()}


@pytest.mark.parametrize("uplink", KINDS)
def test_an_uplink_joins_once(datapath: Datapath, uplink: Uplink) -> None:
    datapath.uplink_add("n", uplink)
    before = datapath.graph()
    for network in ("n", "m"):
        with pytest.raises(errors.UplinkError):
            datapath.uplink_add(network, uplink)
    assert datapath.graph() == before


@pytest.mark.parametrize("uplink", KINDS)
def test_an_uplink_needs_its_network(datapath: Datapath, uplink: Uplink) -> None:
    with pytest.raises(errors.NetworkNotFound):
        datapath.uplink_add("nope", uplink)
    assert bricks(datapath) == {}


@pytest.mark.parametrize("method", ["uplink_remove", "uplink_update"])
@pytest.mark.parametrize("uplink", KINDS)
def test_an_uplink_that_is_not_there(datapath: Datapath, method: str, uplink: Uplink) -> None:
    datapath.uplink_add("m", uplink)
    before = datapath.graph()
    with pytest.raises(errors.UplinkError):
        getattr(datapath, method)("n", uplink)
    assert datapath.graph() == before


# -- trunks ------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), TRUNKS)
def test_networks_share_a_trunk(datapath: Datapath, kind: UplinkKind, name: str) -> None:
    one, other = (Uplink(kind=kind, name=name, vlan=vlan) for vlan in (0, 4094))
    device, trunk = f"{kind.value}/{name}", f"vlan/{name}"
    datapath.uplink_add("n", one)
    assert bricks(datapath) == {device: "", trunk: ""}
    assert edges(datapath) == [(device, trunk), (trunk, "switch/n")]
    datapath.uplink_add("m", other)
    assert bricks(datapath) == {device: "", trunk: ""}
    assert edges(datapath) == [(device, trunk), (trunk, "switch/m"), (trunk, "switch/n")]
    assert {row.brick for row in datapath.brick_stats()} >= {device, trunk}
    datapath.uplink_remove("n", one)
    assert edges(datapath) == [(device, trunk), (trunk, "switch/m")]
    datapath.network_remove("n")
    datapath.uplink_remove("m", other)
    assert bricks(datapath) == {}


@pytest.mark.parametrize(("kind", "name"), TRUNKS)
def test_a_vlan_is_taken_once(datapath: Datapath, kind: UplinkKind, name: str) -> None:
    one = Uplink(kind=kind, name=name, vlan=5)
    datapath.uplink_add("n", one)
    before = datapath.graph()
    for network in ("n", "m"):
        with pytest.raises(errors.UplinkError):
            datapath.uplink_add(network, one)
    assert datapath.graph() == before


@pytest.mark.parametrize(("kind", "name"), TRUNKS)
@pytest.mark.parametrize("vlans", [(None, 5), (5, None)])
def test_an_interface_is_whole_or_a_trunk(
    datapath: Datapath, kind: UplinkKind, name: str, vlans: tuple[int | None, int | None]
) -> None:
    first, second = (Uplink(kind=kind, name=name, vlan=vlan) for vlan in vlans)
    datapath.uplink_add("n", first)
    before = datapath.graph()
    with pytest.raises(errors.UplinkError):
        datapath.uplink_add("m", second)
    assert datapath.graph() == before
    datapath.uplink_remove("n", first)
    datapath.uplink_add("m", second)


@pytest.mark.parametrize(("kind", "name"), TRUNKS)
def test_a_network_bridges_two_vlans(datapath: Datapath, kind: UplinkKind, name: str) -> None:
    for vlan in (1, 2):
        datapath.uplink_add("n", Uplink(kind=kind, name=name, vlan=vlan))
    trunk = f"vlan/{name}"
    assert edges(datapath)[1:] == [(trunk, "switch/n"), (trunk, "switch/n")]


@pytest.mark.parametrize(("kind", "name"), TRUNKS)
def test_networks_on_a_trunk_change_their_mtu(
    datapath: Datapath, kind: UplinkKind, name: str
) -> None:
    for vlan, network in enumerate(("n", "m")):
        datapath.uplink_add(network, Uplink(kind=kind, name=name, vlan=vlan))
    before = datapath.graph()
    for network, mtu in (("n", 1400), ("m", 1300), ("n", 1450)):
        datapath.network_update(Network(name=network, mtu=mtu))
    assert datapath.graph() == before


@needs_root
def test_a_tap_grows_and_shrinks(datapath: Datapath) -> None:
    datapath.uplink_add("n", tap())
    before = datapath.graph()
    for mtu in (9000, 1400, 9198):
        datapath.network_update(Network(name="n", mtu=mtu))
    assert datapath.graph() == before


# -- nics --------------------------------------------------------------------


def test_a_nic_that_nobody_described(datapath: Datapath) -> None:
    with pytest.raises(errors.UplinkError, match="no nic phys9") as caught:
        datapath.uplink_add("n", nic("phys9"))
    assert "ring0, ring1" in caught.value.hint
    assert bricks(datapath) == {}


# -- tunnels -----------------------------------------------------------------


def test_remote_hosts_change_in_place(datapath: Datapath) -> None:
    datapath.uplink_add("n", vxlan(7, "127.0.0.2"))
    before = datapath.graph()
    for remotes in (("127.0.0.3", "127.0.0.2"), (), ("127.0.0.3",)):
        datapath.uplink_update("n", vxlan(7, *remotes))
    assert datapath.graph() == before
    datapath.uplink_remove("n", vxlan(7, "127.0.0.9"))
    assert bricks(datapath) == {}


def test_so_many_remote_hosts_are_possible(datapath: Datapath) -> None:
    remotes = [f"127.1.{i // 256}.{i % 256}" for i in range(model.MAX_REMOTES)]
    datapath.uplink_add("n", vxlan(7, *remotes))
    assert list(bricks(datapath)) == ["vxlan/vxlan-7"]


def test_tunnels_share_an_address_and_port(datapath: Datapath) -> None:
    datapath.uplink_add("n", vxlan(7))
    datapath.uplink_add("m", vxlan(8))
    assert bricks(datapath) == {"vxlan/vxlan-7": "n", "vxlan/vxlan-8": "m"}
    datapath.uplink_remove("n", vxlan(7))
    assert bricks(datapath) == {"vxlan/vxlan-8": "m"}


def test_a_vni_is_taken_once(datapath: Datapath) -> None:
    datapath.uplink_add("n", vxlan(7))
    with pytest.raises(errors.UplinkError):
        datapath.uplink_add("m", vxlan(7, name="other"))
    datapath.uplink_add("m", vxlan(7, name="other", local="127.0.0.2"))


def test_the_mtu_of_a_tunnel_changes(datapath: Datapath) -> None:
    datapath.uplink_add("n", vxlan(7))
    before = datapath.graph()
    datapath.network_update(dataclasses.replace(Network(name="n"), mtu=9000))
    assert datapath.graph() == before
