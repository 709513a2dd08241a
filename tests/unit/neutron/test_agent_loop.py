# SPDX-License-Identifier: Apache-2.0
"""The agent's loop between a daemon and a Neutron server, over a real message bus."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from neutron.common import config as common_config
from neutron.conf.agent import securitygroups_rpc as sg_conf
from neutron_lib import rpc as n_rpc
from oslo_config import cfg

from tests.unit.neutron.neutron_server import NeutronServer
from tests.unit.neutron.support import LOCAL, NET, OTHER_NET, OTHER_PORT, PORT, Host, mac, name
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.model import CLOSED, OPEN
from vhost_brick_plugin.neutron import canary, migration
from vhost_brick_plugin.neutron.loop import PORTION, RPC_TIMEOUT_S, VhostBrickAgentLoop
from vhost_brick_plugin.neutron.manager import VhostBrickManager
from vhost_brick_plugin.neutron.remotes import FLOODING_ENTRY

HOST = "host1"
JOIN_S = 30
ONE = "192.0.2.11"
ALL = [list(FLOODING_ENTRY)]


def details(port: str = PORT, network: str = NET, **changes: Any) -> dict[str, Any]:
    """Return a port as Neutron gives it."""
    return {
        "device": port,
        "port_id": port,
        "network_id": network,
        "mac_address": mac(port),
        "admin_state_up": True,
        "network_type": "vlan",
        "segmentation_id": 7,
        "physical_network": "phys0",
        "mtu": 1450,
        "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.1"}],
        "device_owner": "compute:nova",
        "allowed_address_pairs": [],
        "port_security_enabled": True,
        **changes,
    }


VXLAN = {"network_type": "vxlan", "physical_network": None, "segmentation_id": 1001}


class Agent:
    """A running agent: the loop in a thread, its host, and its Neutron."""

    def __init__(self, host: Host, neutron: NeutronServer) -> None:
        self.host = host
        self.neutron = neutron
        self._news = threading.Event()
        host.wake = self._news.set  # type: ignore[method-assign]
        self.loop = VhostBrickAgentLoop(VhostBrickManager(host.wiring), self._news, 1, 0)
        self._thread = threading.Thread(target=self.loop.start)

    def start(self) -> None:
        self._thread.start()
        self.neutron.wait_for("report_state")

    def stop(self) -> None:
        self.loop.stop()
        self._thread.join(JOIN_S)
        assert not self._thread.is_alive()

    def settle(self, **changes: Any) -> None:
        """Have one port plugged and wired."""
        self.neutron.ports[PORT] = details(**changes)
        self.host.plug()
        self.neutron.wait_for("up")
        self.neutron.forget()
        self.host.daemon.changes()


@pytest.fixture(scope="module", autouse=True)
def options() -> None:
    common_config.register_common_config_options()
    sg_conf.register_securitygroups_opts()


@pytest.fixture
def neutron(tmp_path: Path) -> Iterator[NeutronServer]:
    path = tmp_path / "neutron.conf"
    path.write_text(
        f"[DEFAULT]\nhost = {HOST}\ntransport_url = fake:/\ncontrol_exchange = {tmp_path.name}\n"
        "[AGENT]\nreport_interval = 1\n"
    )
    common_config.init(["--config-file", str(path)])
    server = NeutronServer()
    yield server
    server.stop()
    n_rpc.cleanup()
    cfg.CONF.reset()


@pytest.fixture
def agent(host: Host, neutron: NeutronServer) -> Iterator[Agent]:
    made = Agent(host, neutron)
    made.start()
    yield made
    made.stop()


# -- ports ---------------------------------------------------------------------


def test_a_plugged_port_comes_up(agent: Agent) -> None:
    agent.neutron.ports[PORT] = details()
    agent.host.plug()
    assert agent.neutron.wait_for("up") == (PORT, False)
    assert agent.host.port().security.mode == "filtered"
    assert agent.host.networks()[NET].uplinks[0].vlan == 7


def test_ports_from_before_the_start_come_up(host: Host, neutron: NeutronServer) -> None:
    ids = [name(i) for i in range(1, 2 * PORTION + 2)]
    for id in ids:
        host.plug(id)
        neutron.ports[id] = details(id, fixed_ips=[])
    agent = Agent(host, neutron)
    agent.start()
    try:
        for id in ids:
            neutron.wait_for("up", lambda up, id=id: up[0] == id)
    finally:
        agent.stop()
    assert [len(asked) for asked in neutron.calls("details")] == [PORTION, PORTION, 1]
    assert all(host.port(id).security is not None for id in ids)


def test_an_unplugged_port_goes_down(agent: Agent) -> None:
    agent.settle()
    agent.host.unplug()
    assert agent.neutron.wait_for("down") == PORT
    agent.host.daemon.wait_for(methods.NetworkRemove)
    assert agent.host.networks() == {}


def test_a_replugged_port_comes_up_again(agent: Agent) -> None:
    agent.settle()
    agent.host.daemon.call(methods.PortRemove(id=PORT))
    agent.host.plug()
    agent.neutron.wait_for("up")
    assert agent.host.port().security.mode == "filtered"


def test_what_neutron_changes_is_applied(agent: Agent) -> None:
    agent.settle()
    agent.neutron.ports[PORT] = details(port_security_enabled=False)
    agent.neutron.port_update(PORT)
    agent.neutron.wait_for("up")
    assert agent.host.port().security == OPEN


def test_a_port_taken_down_stays_down(agent: Agent) -> None:
    agent.settle()
    agent.neutron.ports[PORT] = details(admin_state_up=False)
    agent.neutron.port_update(PORT)
    request = agent.host.daemon.wait_for(methods.PortEnsure)
    assert request.security == CLOSED
    assert agent.neutron.calls("up") == []


def test_ports_elsewhere_are_not_asked_for(agent: Agent) -> None:
    agent.settle()
    agent.neutron.port_update(OTHER_PORT)
    agent.neutron.binding_activate(PORT, "elsewhere")
    agent.neutron.port_update(PORT)
    agent.neutron.wait_for("up")
    assert agent.neutron.calls("details") == [(PORT,)]


def test_a_deleted_port_is_closed(agent: Agent) -> None:
    agent.settle()
    agent.neutron.port_delete(OTHER_PORT)
    agent.neutron.port_delete(PORT)
    assert agent.host.daemon.wait_for(methods.PortEnsure).security == CLOSED


def test_a_port_that_neutron_does_not_know_is_left_alone(agent: Agent) -> None:
    agent.host.plug()
    agent.neutron.wait_for("details")
    agent.neutron.port_update(PORT)
    agent.neutron.wait_for("details", lambda _: len(agent.neutron.calls("details")) == 2)
    assert agent.neutron.calls("up") == agent.neutron.calls("down") == []
    assert agent.host.daemon.changes() == []


@pytest.mark.parametrize("policy", ["qos_policy_id", "qos_network_policy_id"])
def test_a_qos_policy_is_not_passed_over_in_silence(
    agent: Agent, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent.settle(**{policy: name(9)})
    assert f"Port {PORT} has a QoS policy, which has no effect" in caplog.text


def test_a_port_the_daemon_refuses_is_tried_again(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    agent.host.bench.links.broken.add("tap1")
    agent.neutron.ports[PORT] = details(physical_network="phys1")
    agent.neutron.ports[OTHER_PORT] = details(OTHER_PORT, OTHER_NET)
    agent.host.plug()
    assert agent.neutron.wait_for("down") == PORT
    assert f"Port {PORT} is not wired" in caplog.text
    agent.host.plug(OTHER_PORT, OTHER_NET)
    agent.neutron.wait_for("up", lambda up: up[0] == OTHER_PORT)
    agent.host.bench.links.broken.clear()
    agent.neutron.wait_for("up", lambda up: up[0] == PORT)


def test_a_live_migration_is_wired_ahead(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it arrives, Neutron tells of the port only that it is elsewhere."""
    asked: list[tuple[str, str]] = []

    def arriving(_context: object, port: str, host: str) -> dict[str, Any] | None:
        asked.append((port, host))
        return details(**VXLAN) if port == PORT else None

    monkeypatch.setattr(migration, "arriving_port", arriving)
    for port in (PORT, OTHER_PORT):
        agent.neutron.ports[port] = {"device": port, "no_active_binding": True}
        agent.host.plug(port)
    assert agent.neutron.wait_for("up") == (PORT, False)
    assert agent.host.networks()[NET].uplinks[0].name == "vxlan-1001"
    agent.neutron.wait_for("details", lambda ports: OTHER_PORT in ports)
    agent.neutron.ports[PORT] = details(**VXLAN)
    agent.neutron.forget()
    agent.neutron.binding_activate(PORT, HOST)
    assert agent.neutron.wait_for("up") == (PORT, True)
    assert sorted(asked) == [(PORT, HOST), (OTHER_PORT, HOST)]


# -- networks ------------------------------------------------------------------


def test_another_mtu(agent: Agent) -> None:
    agent.settle()
    agent.neutron.network_update(OTHER_NET, 9000)
    agent.neutron.network_update(NET, 1400)
    assert agent.host.daemon.wait_for(methods.NetworkEnsure).mtu == 1400


def test_tunnels(agent: Agent) -> None:
    agent.neutron.ports[PORT] = details(**VXLAN)
    agent.host.plug()
    assert agent.neutron.wait_for("up") == (PORT, True)
    agent.host.daemon.changes()
    agent.neutron.add_fdb({NET: {"ports": {ONE: ALL, LOCAL: ALL}}}, HOST)
    request = agent.host.daemon.wait_for(methods.NetworkEnsure)
    assert request.uplinks[0].tunnel.remotes == (ONE,)
    agent.host.daemon.changes()
    agent.neutron.remove_fdb({NET: {"ports": {ONE: ALL}}})
    request = agent.host.daemon.wait_for(methods.NetworkEnsure)
    assert request.uplinks[0].tunnel.remotes == ()


def test_only_a_networks_first_port_asks_for_its_hosts(agent: Agent) -> None:
    agent.settle(**VXLAN)
    agent.neutron.ports[OTHER_PORT] = details(OTHER_PORT, **VXLAN)
    agent.host.plug(OTHER_PORT)
    assert agent.neutron.wait_for("up") == (OTHER_PORT, False)


def test_a_deleted_network_is_forgotten(agent: Agent) -> None:
    agent.settle()
    assert NET in agent.loop.rpc_callbacks.network_map
    agent.neutron.network_delete(NET)
    agent.neutron.network_update(NET, 1400)
    agent.host.daemon.wait_for(methods.NetworkEnsure)
    assert NET not in agent.loop.rpc_callbacks.network_map


# -- restarts ------------------------------------------------------------------


def test_a_restart_of_the_agent_disturbs_nothing(agent: Agent) -> None:
    agent.settle(**VXLAN)
    agent.neutron.add_fdb({NET: {"ports": {ONE: ALL}}}, HOST)
    agent.host.daemon.wait_for(methods.NetworkEnsure)
    agent.host.daemon.changes()
    agent.host.restart_agent()
    again = Agent(agent.host, agent.neutron)
    again.start()
    try:
        assert agent.neutron.wait_for("up") == (PORT, True)
    finally:
        again.stop()
    assert agent.host.daemon.changes() == []


def bound(port: str, **changes: Any) -> dict[str, Any]:
    """Return a port as Neutron's REST API gives it."""
    return {
        "id": port,
        "status": "ACTIVE",
        "binding:host_id": HOST,
        "binding:vif_type": "vhostuser",
        **changes,
    }


def test_a_port_unplugged_while_the_agent_was_away_goes_down(
    host: Host, neutron: NeutronServer
) -> None:
    host.plug(PORT)
    neutron.ports[PORT] = details()
    neutron.bound = [
        bound(PORT),
        bound(OTHER_PORT),
        bound(name(3), status="DOWN"),
        bound(name(4), **{"binding:host_id": "elsewhere"}),
        bound(name(5), **{"binding:vif_type": "ovs"}),
    ]
    agent = Agent(host, neutron)
    agent.start()
    try:
        neutron.wait_for("down")
    finally:
        agent.stop()
    assert neutron.calls("ports of") == [HOST]
    assert neutron.calls("down") == [OTHER_PORT]


def test_a_restart_of_the_daemon_disturbs_nothing(agent: Agent) -> None:
    agent.settle()
    agent.host.restart_daemon()
    agent.host.wake()
    agent.host.daemon.wait_for(methods.Hello)
    assert agent.host.daemon.changes() == []
    assert agent.neutron.calls("details") == []


def test_changes_wait_for_the_daemon(agent: Agent) -> None:
    agent.settle()
    agent.host.daemon.away = True
    agent.neutron.ports[PORT] = details(port_security_enabled=False)
    agent.neutron.port_update(PORT)
    agent.neutron.wait_for("report_state")
    assert agent.neutron.calls("details") == []
    agent.host.daemon.away = False
    agent.host.restart_daemon()
    agent.host.wake()
    agent.neutron.wait_for("up")
    assert agent.host.port().security == OPEN


def test_a_daemon_that_goes_in_the_middle(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.settle()
    secure, gone = agent.host.wiring.secure, threading.Event()

    def fail_once(port: str, security: Any) -> None:
        if not gone.is_set():
            gone.set()
            raise errors.DaemonUnreachable("gone")
        secure(port, security)

    monkeypatch.setattr(agent.host.wiring, "secure", fail_once)
    agent.neutron.ports[PORT] = details(port_security_enabled=False)
    agent.neutron.port_update(PORT)
    agent.neutron.wait_for("up")
    assert agent.host.port().security == OPEN


def test_a_neutron_in_trouble_is_asked_again(agent: Agent) -> None:
    agent.neutron.silent = True
    agent.neutron.ports[PORT] = details()
    agent.host.plug()
    agent.neutron.wait_for("details")
    agent.neutron.silent = False
    agent.neutron.wait_for("up")


@pytest.mark.parametrize("how", ["report failed", "revived", "canary lost"])
def test_after_an_outage_everything_is_asked_for(
    agent: Agent, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message may have been lost: here, the one that the port has changed."""
    agent.settle(**VXLAN)
    agent.neutron.ports[PORT] = details(port_security_enabled=False, **VXLAN)
    if how == "revived":
        agent.neutron.report_answer = "revived"
    elif how == "canary lost":
        monkeypatch.setattr(canary, "CALM_S", (0.0, 0.0))
        monkeypatch.setattr(canary, "PATIENCE_S", 0.5)
        lose_one(agent, monkeypatch)
    else:
        agent.neutron.silent = True
        agent.neutron.wait_for("report_refused")
        agent.neutron.silent = False
    assert agent.neutron.wait_for("up") == (PORT, True)
    agent.neutron.report_answer = "alive"
    assert agent.host.port().security == OPEN


def lose_one(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the bus lose one of the messages that the agent sends itself."""
    api, lost = agent.loop._self_rpc, []
    cast = api.cast_canary

    def lose_first(context: Any, number: int) -> None:
        if lost:
            cast(context, number)
        lost.append(number)

    monkeypatch.setattr(api, "cast_canary", lose_first)


@pytest.mark.parametrize(("chosen", "patience"), [(None, RPC_TIMEOUT_S), (90, 90)])
def test_patience_with_neutron(
    host: Host, neutron: NeutronServer, chosen: int | None, patience: int
) -> None:
    agent = Agent(host, neutron)
    agent.start()
    try:
        if chosen:
            cfg.CONF.set_override("rpc_response_timeout", chosen)
        assert n_rpc._get_default_method_timeouts()["any"] == patience
    finally:
        agent.stop()


# -- reports -------------------------------------------------------------------


def test_reports_of_state(agent: Agent) -> None:
    report = agent.neutron.wait_for("report_state")
    assert (report["agent_type"], report["binary"], report["host"]) == (
        "VHost Brick agent",
        "vhost-brick-neutron-agent",
        HOST,
    )
    assert report["configurations"]["tunneling_ip"] == LOCAL
    agent.host.problem = "it is away"
    report = agent.neutron.wait_for(
        "report_state", lambda r: r["configurations"]["datapath"]["state"] == "away"
    )
    assert report["configurations"]["datapath"]["problem"] == "it is away"
