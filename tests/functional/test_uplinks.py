# SPDX-License-Identifier: Apache-2.0
"""Trunks, NICs and tunnels, from a guest's ring to the kernel and back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator

import pytest

from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import mac
from tests.functional.netns import NetNs, join
from tests.functional.waiting import wait_until
from tests.functional.wire import Interface, Memory, passes
from vhost_brick_plugin import errors
from vhost_brick_plugin.model import Tunnel, Uplink, UplinkKind

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")

MakeFrontend = Callable[..., Frontend]
VLANS = {"red": 5, "green": 4094, "plain": 0}
"""The networks of a trunk, and their VLANs."""

TAP = "vbtrunk0"
NEAR, FAR = "vbnear0", "vbfar0"
"""A pair of interfaces: the daemon has one by DPDK, the test's hosts are on the other."""


def guest(daemon: Daemon, make_frontend: MakeFrontend, network: str, number: int) -> Frontend:
    """Make a port and connect a guest to it."""
    id = f"{network}-{number}"
    daemon.client.port_ensure(id=id, network=network, mode="client", mac=mac(number))
    vm = make_frontend(daemon.socket_path(id), listen=True)
    vm.connect()
    return vm


@pytest.fixture
def netns() -> Iterator[NetNs]:
    with NetNs(f"vbu-{os.getpid()}") as ns:
        yield ns


@dataclasses.dataclass(frozen=True)
class Trunk:
    """A daemon whose networks share an interface.

    :ivar outside: where the kernel has it.
    """

    daemon: Daemon
    kind: UplinkKind
    name: str
    outside: str

    def ensure(self, network: str) -> None:
        uplink = Uplink(kind=self.kind, name=self.name, vlan=VLANS[network])
        self.daemon.client.network_ensure(network=network, uplinks=(uplink,))


@pytest.fixture(params=["tap", "nic"])
def trunk(
    request: pytest.FixtureRequest, make_daemon: Callable[..., Daemon], netns: NetNs
) -> Trunk:
    if request.param == "tap":
        return Trunk(make_daemon(wrap=netns.exec), UplinkKind.TAP, TAP, TAP)
    return Trunk(nic_daemon(make_daemon, netns), UplinkKind.NIC, "phys0", FAR)


def nic_daemon(make_daemon: Callable[..., Daemon], netns: NetNs) -> Daemon:
    netns.ip("link", "add", NEAR, "type", "veth", "peer", "name", FAR)
    for name in (NEAR, FAR):
        netns.ip("link", "set", name, "up")
    config = {"dpdk": {"nic": f"phys0:net_af_packet0,iface={NEAR}"}}
    return make_daemon(wrap=netns.exec, config=config)


@contextlib.contextmanager
def hosts(trunk: Trunk, netns: NetNs) -> Iterator[dict[str, Interface]]:
    """Make all networks, and open the kernel's side of each."""
    for network in VLANS:
        trunk.ensure(network)
    with contextlib.ExitStack() as stack:
        yield {
            network: stack.enter_context(Interface(netns, trunk.outside, vlan))
            for network, vlan in VLANS.items()
        }


def test_vlans_of_a_trunk_are_networks_apart(
    trunk: Trunk, netns: NetNs, make_frontend: MakeFrontend
) -> None:
    with hosts(trunk, netns) as interfaces:
        outside = {network: Memory(interface) for network, interface in interfaces.items()}
        inside = {
            network: Memory(guest(trunk.daemon, make_frontend, network, number))
            for number, network in enumerate(VLANS)
        }
        for network in VLANS:
            passes(inside[network], outside[network], b"from guest of " + network.encode())
            passes(outside[network], inside[network], b"from host of " + network.encode())
        # All ways work: what went astray has arrived by now.
        for network in VLANS:
            for other in set(VLANS) - {network}:
                assert not inside[network].heard(other.encode())
                assert not outside[network].heard(other.encode())


def test_a_trunk_comes_back_after_a_kill(
    trunk: Trunk, netns: NetNs, make_frontend: MakeFrontend
) -> None:
    with hosts(trunk, netns) as outside:
        vm = guest(trunk.daemon, make_frontend, "red", 1)
        passes(vm, outside["red"], b"before")
        trunk.daemon.restart()
        vm.wait_disconnect()
        vm.connect()
        passes(vm, outside["red"], b"after")
        passes(outside["red"], vm, b"after")


def test_a_network_leaves_a_trunk_to_the_others(
    trunk: Trunk, netns: NetNs, make_frontend: MakeFrontend
) -> None:
    with hosts(trunk, netns) as outside:
        vm = guest(trunk.daemon, make_frontend, "red", 1)
        passes(vm, outside["red"], b"before")
        for network in ("green", "plain"):
            trunk.daemon.client.network_remove(network=network)
        passes(vm, outside["red"], b"still")
        (status,) = trunk.daemon.client.network_list().networks
        assert status.fault is None


def test_a_nic_whole(
    make_daemon: Callable[..., Daemon], netns: NetNs, make_frontend: MakeFrontend
) -> None:
    daemon = nic_daemon(make_daemon, netns)
    assert daemon.client.hello().datapath_info["nics"] == "phys0"
    daemon.client.network_ensure(network="flat", uplinks=PHYS0)
    vm = guest(daemon, make_frontend, "flat", 1)
    with Interface(netns, FAR) as host:
        passes(vm, host, b"out")
        passes(host, vm, b"in")


PHYS0 = (Uplink(kind=UplinkKind.NIC, name="phys0"),)


def test_a_nic_that_does_not_start_says_why(
    make_daemon: Callable[..., Daemon], netns: NetNs
) -> None:
    nowhere = {"dpdk": {"nic": "phys0:net_af_packet0,iface=nowhere"}}
    daemon = make_daemon(wrap=netns.exec, config=nowhere)
    with pytest.raises(errors.UplinkError, match=r"nic phys0 of .*\(DPDK: .*No such device"):
        daemon.client.network_ensure(network="flat", uplinks=PHYS0)
    assert daemon.client.network_list().networks == ()


def test_a_nic_that_cannot_grow_says_what_to_do(
    make_daemon: Callable[..., Daemon], netns: NetNs
) -> None:
    daemon = nic_daemon(make_daemon, netns)
    before = daemon.client.network_ensure(network="flat", uplinks=PHYS0)
    with pytest.raises(errors.UplinkError, match="MTU 9000") as caught:
        daemon.client.network_ensure(network="flat", mtu=9000, uplinks=PHYS0)
    assert "restart of vhost-brickd" in caught.value.hint
    assert daemon.client.network_ensure(network="flat", uplinks=PHYS0) == before


def test_a_tunnel_from_an_address_that_comes_later(
    make_daemon: Callable[..., Daemon], netns: NetNs
) -> None:
    daemon = make_daemon(wrap=netns.exec)
    netns.ip("addr", "add", "192.0.2.1/24", "dev", "lo")
    tunnel = Tunnel(vni=7, local="192.0.2.1")
    uplinks = (Uplink(kind=UplinkKind.VXLAN, name="vxlan-7", tunnel=tunnel),)
    daemon.client.network_ensure(network="far", uplinks=uplinks)
    daemon.kill9()
    netns.ip("addr", "del", "192.0.2.1/24", "dev", "lo")
    daemon.start()
    (status,) = daemon.client.network_list().networks
    assert "vxlan vxlan-7 of network far" in status.fault.message
    netns.ip("addr", "add", "192.0.2.1/24", "dev", "lo")
    wait_until(lambda: daemon.client.network_list().networks[0].fault is None, "the tunnel")


def test_a_tap_that_was_deleted_is_made_again(
    make_daemon: Callable[..., Daemon], netns: NetNs, make_frontend: MakeFrontend
) -> None:
    daemon = make_daemon(wrap=netns.exec)
    trunk = Trunk(daemon, UplinkKind.TAP, TAP, TAP)
    for network in VLANS:
        trunk.ensure(network)
    vm = guest(daemon, make_frontend, "plain", 1)
    with Interface(netns, TAP) as host:
        passes(vm, host, b"before")
    events = daemon.client.watch()
    netns.ip("link", "del", TAP)
    fault = next(event for event in events if event.kind == "fault")
    assert (fault.uplink, fault.port, fault.detail["fault"]) == (TAP, "", "interface_gone")

    def served() -> bool:
        return all(n.fault is None for n in daemon.client.network_list().networks)

    wait_until(served, "the tap's return")
    with Interface(netns, TAP) as host:
        passes(vm, host, b"after")
        passes(host, vm, b"after")


# -- tunnels -----------------------------------------------------------------

ADDRESSES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("fd00::1", "fd00::2")}
LENGTHS = {4: 24, 6: 64}


class Hosts:
    """Two hosts joined by a wire, each with a daemon."""

    def __init__(
        self, family: int, make_daemon: Callable[..., Daemon], stack: contextlib.ExitStack
    ) -> None:
        self.addresses = ADDRESSES[family]
        namespaces = [stack.enter_context(NetNs(f"vbh{i}-{os.getpid()}")) for i in range(2)]
        one, other = (f"{address}/{LENGTHS[family]}" for address in self.addresses)
        # An address that is still being probed for duplicates cannot be sent from.
        join(*namespaces, (one, other), *(["nodad"] if family == 6 else []))
        self.daemons = [make_daemon(wrap=ns.exec) for ns in namespaces]

    def ensure(self, network: str, vni: int, joined: bool = True) -> None:
        """Make *network* on both, with a tunnel to one another or to nobody."""
        for daemon, local, remote in zip(
            self.daemons, self.addresses, reversed(self.addresses), strict=True
        ):
            tunnel = Tunnel(vni=vni, local=local, remotes=(remote,) if joined else ())
            uplink = Uplink(kind=UplinkKind.VXLAN, name=f"vxlan-{vni}", tunnel=tunnel)
            daemon.client.network_ensure(network=network, mtu=1400, uplinks=(uplink,))


@pytest.fixture(params=[4, 6])
def two_hosts(
    request: pytest.FixtureRequest, make_daemon: Callable[..., Daemon]
) -> Iterator[Hosts]:
    with contextlib.ExitStack() as stack:
        yield Hosts(request.param, make_daemon, stack)


def test_a_tunnel_joins_a_network_on_two_hosts(
    two_hosts: Hosts, make_frontend: MakeFrontend
) -> None:
    vms = {}
    for network, vni in (("red", 7), ("green", 8)):
        two_hosts.ensure(network, vni)
        vms[network] = [
            Memory(guest(daemon, make_frontend, network, i))
            for i, daemon in enumerate(two_hosts.daemons)
        ]
    for network, (one, other) in vms.items():
        passes(one, other, network.encode())
        passes(other, one, network.encode())
    for vm in vms["red"]:
        assert not vm.heard(b"green")
    for vm in vms["green"]:
        assert not vm.heard(b"red")


def test_remote_hosts_come_and_go_and_come_back_after_a_kill(
    two_hosts: Hosts, make_frontend: MakeFrontend
) -> None:
    two_hosts.ensure("red", 7, joined=False)
    one, other = (
        guest(daemon, make_frontend, "red", i) for i, daemon in enumerate(two_hosts.daemons)
    )
    local = guest(two_hosts.daemons[0], make_frontend, "red", 2)
    passes(one, local, b"alone")
    assert not Memory(other).heard(b"alone")
    sessions = two_hosts.daemons[0].client.port_show(id="red-0").sessions
    two_hosts.ensure("red", 7)
    passes(one, other, b"joined")
    assert two_hosts.daemons[0].client.port_show(id="red-0").sessions == sessions
    two_hosts.daemons[0].restart()
    one.wait_disconnect()
    one.connect()
    passes(other, one, b"again")
    passes(one, other, b"again")
