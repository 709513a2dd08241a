# SPDX-License-Identifier: Apache-2.0
"""The daemon becomes what Neutron wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.neutron.support import (
    LOCAL,
    NET,
    OTHER_NET,
    OTHER_PORT,
    OUTSIDE,
    PORT,
    Host,
    name,
)
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.model import (
    CLOSED,
    OPEN,
    AddressPair,
    Network,
    PortSecurity,
    SecurityMode,
)
from vhost_brick_plugin.neutron.remotes import FLOODING_ENTRY, GRACE_S
from vhost_brick_plugin.neutron.segments import Outside, Segment

VLAN = Segment("vlan", "phys0", 7)
VXLAN = Segment("vxlan", None, 1001)
ONE, TWO = "192.0.2.11", "192.0.2.12"
FILTERED = PortSecurity(
    mode=SecurityMode.FILTERED,
    allowed=(AddressPair(mac="52:54:00:00:00:01", ip="10.0.0.1"),),
)


def treat(
    host: Host,
    port: str = PORT,
    network: str = NET,
    segment: Segment = VLAN,
    security: PortSecurity = FILTERED,
) -> None:
    """Do to a port what the loop does."""
    host.wiring.secure(port, security)
    host.wiring.networks.wire(network, segment, 1450)


def settled(host: Host, segment: Segment = VLAN) -> Host:
    """Plug a port and treat it, and look at what that did."""
    host.plug()
    host.wiring.catch_up()
    treat(host, segment=segment)
    host.wiring.catch_up()
    host.daemon.changes()
    return host


def remotes(host: Host) -> set[str]:
    (uplink,) = host.networks()[NET].uplinks
    return set(uplink.tunnel.remotes)


def hosts(*addresses: str) -> dict[str, Any]:
    return {NET: {address: [list(FLOODING_ENTRY)] for address in addresses}}


# -- ports ---------------------------------------------------------------------


def test_a_plugged_port_is_seen_and_wired(host: Host) -> None:
    host.wiring.catch_up()
    assert host.wiring.ports() == set()
    host.plug()
    host.wiring.catch_up()
    assert host.wiring.ports() == {PORT}
    assert host.wiring.network_of(PORT) == NET
    treat(host)
    assert host.port().security == FILTERED
    assert host.networks()[NET] == Network(
        name=NET, mtu=1450, uplinks=OUTSIDE.uplinks(VLAN), guarded=True
    )


def test_security_comes_before_the_uplink(host: Host) -> None:
    """Else the port would be open to the outside for a moment."""
    host.plug()
    host.wiring.catch_up()
    treat(host)
    assert [c.name for c in host.daemon.changes()] == ["port_ensure", "network_ensure"]


def test_the_socket_of_a_port_is_left_alone(host: Host) -> None:
    host.plug()
    before = host.port()
    host.wiring.catch_up()
    treat(host)
    after = host.port()
    assert (after.mac, after.socket_path, after.mode) == (
        before.mac,
        before.socket_path,
        before.mode,
    )


def test_the_same_again_asks_for_nothing(host: Host) -> None:
    settled(host)
    treat(host)
    assert host.daemon.changes() == []
    assert host.wiring.replugged() == {PORT: 0}


def test_ports_of_others_are_not_ours(host: Host) -> None:
    host.bench.ensure("web", NET)
    host.bench.ensure(name(77), "blue")
    host.bench.call(methods.NetworkEnsure(network="green", guarded=True))
    host.bench.call(methods.NetworkEnsure(network=OTHER_NET))
    host.wiring.catch_up()
    assert host.wiring.ports() == set()
    host.wiring.networks.remove_idle()
    assert {"green", OTHER_NET} <= set(host.networks())


def test_an_unplugged_port_is_not_made_again(host: Host) -> None:
    settled(host)
    host.unplug()
    with pytest.raises(errors.PortNotFound):
        host.wiring.secure(PORT, OPEN)
    assert host.daemon.call(methods.PortListCall()).ports == ()
    assert host.wiring.ports() == set()


def test_a_replugged_port_shows(host: Host) -> None:
    settled(host)
    host.unplug()
    host.plug()
    assert host.port().security is None
    host.wiring.catch_up()
    assert host.wiring.replugged() == {PORT: 1}
    treat(host)
    host.wiring.catch_up()
    assert host.wiring.replugged() == {PORT: 1}
    assert host.port().security == FILTERED


def test_a_port_that_somebody_opened_shows(host: Host) -> None:
    settled(host)
    host.bench.call(methods.PortEnsure(id=PORT, network=NET, security=OPEN))
    host.wiring.catch_up()
    assert host.wiring.replugged() == {PORT: 1}


def test_a_port_that_neutron_deleted_is_closed(host: Host) -> None:
    settled(host)
    host.wiring.close(PORT)
    host.wiring.close(OTHER_PORT)
    host.wiring.catch_up()
    assert host.port().security == CLOSED
    assert host.wiring.replugged() == {PORT: 0}


# -- networks ------------------------------------------------------------------


def test_a_network_goes_with_its_last_port(host: Host) -> None:
    settled(host)
    host.plug(OTHER_PORT)
    host.wiring.catch_up()
    host.unplug(PORT)
    host.wiring.catch_up()
    host.wiring.networks.remove_idle()
    assert NET in host.networks()
    host.unplug(OTHER_PORT)
    host.wiring.catch_up()
    host.wiring.networks.remove_idle()
    assert host.networks() == {}


def test_a_network_where_a_port_was_just_plugged_stays(host: Host) -> None:
    settled(host)
    host.unplug()
    host.wiring.catch_up()
    host.plug(OTHER_PORT)
    host.wiring.networks.remove_idle()
    assert NET in host.networks()
    host.wiring.catch_up()
    assert host.wiring.ports_of(NET) == {OTHER_PORT}


def test_a_network_left_from_before_the_start_goes(host: Host) -> None:
    settled(host)
    host.unplug()
    host.restart_agent()
    host.wiring.catch_up()
    host.wiring.networks.remove_idle()
    assert host.networks() == {}


def test_another_mtu(host: Host) -> None:
    settled(host)
    host.wiring.networks.resize(NET, 9000)
    host.wiring.networks.resize(OTHER_NET, 9000)
    assert {n.name: n.mtu for n in host.networks().values()} == {NET: 9000}


def test_a_segment_that_cannot_be_had_changes_nothing(host: Host) -> None:
    settled(host)
    before = host.networks()
    with pytest.raises(errors.UplinkError):
        host.wiring.networks.wire(NET, Segment("flat", "nowhere"), 1500)
    host.restart_daemon()
    host.wiring.catch_up()
    assert host.networks() == before


# -- tunnels -------------------------------------------------------------------


def test_hosts_come_and_go(host: Host) -> None:
    settled(host, VXLAN)
    assert remotes(host) == set()
    host.wiring.networks.add_hosts(hosts(ONE, TWO))
    assert remotes(host) == {ONE, TWO}
    host.wiring.networks.add_hosts(hosts(ONE))
    assert len(host.daemon.changes()) == 1
    host.wiring.networks.remove_hosts(hosts(TWO))
    assert remotes(host) == {ONE}


def test_an_agents_start_keeps_the_hosts_there_are(host: Host) -> None:
    settled(host, VXLAN)
    host.wiring.networks.add_hosts(hosts(ONE, TWO))
    host.restart_agent()
    host.daemon.changes()
    host.wiring.catch_up()
    treat(host, segment=VXLAN)
    assert host.daemon.changes() == []
    assert host.wiring.networks.begin_refresh(NET)
    assert not host.wiring.networks.begin_refresh(NET)
    host.wiring.networks.add_hosts(hosts(ONE))
    host.wiring.networks.add_hosts(hosts(LOCAL))
    assert remotes(host) == {ONE, TWO}
    host.clock.now += GRACE_S
    host.wiring.networks.settle_hosts()
    assert remotes(host) == {ONE}


def test_hosts_of_a_network_without_ports_here_are_nothing_to_us(host: Host) -> None:
    host.wiring.catch_up()
    host.wiring.networks.add_hosts(hosts(ONE))
    assert not host.wiring.networks.begin_refresh(NET)
    assert host.daemon.changes() == []


def test_hosts_are_forgotten_with_the_network(host: Host) -> None:
    settled(host, VXLAN)
    host.wiring.networks.add_hosts(hosts(ONE))
    host.unplug()
    host.wiring.catch_up()
    host.wiring.networks.remove_idle()
    settled(host, VXLAN)
    assert remotes(host) == set()


# -- the daemon away -----------------------------------------------------------


def test_a_restart_of_the_daemon_disturbs_nothing(host: Host) -> None:
    settled(host, VXLAN)
    host.wiring.networks.add_hosts(hosts(ONE))
    host.daemon.changes()
    host.restart_daemon()
    assert host.wiring.catch_up()
    assert host.daemon.changes() == []
    assert host.wiring.replugged() == {PORT: 0}


def test_what_the_daemon_missed_is_made_good(host: Host) -> None:
    settled(host, VXLAN)
    host.daemon.away = True
    host.wiring.networks.add_hosts(hosts(ONE))
    with pytest.raises(errors.DaemonUnreachable):
        host.wiring.catch_up()
    host.daemon.away = False
    host.restart_daemon()
    host.wiring.catch_up()
    assert remotes(host) == {ONE}


def test_a_look_that_fails_is_taken_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    settled(host)
    host.plug(OTHER_PORT)

    def fail(_request: object) -> None:
        raise errors.DaemonTimeout("too slow")

    with monkeypatch.context() as patch:
        patch.setattr(host.daemon, "call", fail)
        with pytest.raises(errors.DaemonTimeout):
            host.wiring.catch_up()
    host.wiring.catch_up()
    assert host.wiring.ports() == {PORT, OTHER_PORT}


def test_a_port_that_went_while_the_daemon_was_away(host: Host) -> None:
    settled(host)
    host.unplug()
    host.restart_daemon()
    host.wiring.catch_up()
    assert host.wiring.ports() == set()


# -- reports -------------------------------------------------------------------


def test_configurations(host: Host) -> None:
    assert host.wiring.configurations() == {
        "socket_dir": host.bench.settings.socket_dir,
        "bridge_mappings": {"phys0": "nic:nic0", "phys1": "tap:tap1"},
        "tunnel_types": ["vxlan"],
        "tunneling_ip": LOCAL,
        "l2_population": True,
        "datapath": {"kind": "fake", "version": "1.2", "state": "serving", "problem": ""},
    }
    host.problem = "nobody there"
    assert host.wiring.datapath() == {
        "kind": "fake",
        "version": "1.2",
        "state": "away",
        "problem": "nobody there",
    }


def test_a_host_without_tunnels(short_dir: Path) -> None:
    host = Host(short_dir, Outside(mappings={}))
    found = host.wiring.configurations()
    assert not host.wiring.has_tunnels
    assert (found["tunnel_types"], found["tunneling_ip"], found["l2_population"]) == (
        [],
        "",
        False,
    )
