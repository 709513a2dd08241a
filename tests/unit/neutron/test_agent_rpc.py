# SPDX-License-Identifier: Apache-2.0
"""What the agent does with Neutron's answers and with errors, without a message bus."""

from __future__ import annotations

import types
from typing import Any

import pytest
from neutron.api.rpc.handlers import resources_rpc
from neutron.common import config as common_config
from neutron_lib import constants as n_const

from tests.unit.neutron.support import NET, PORT, Host
from vhost_brick_plugin import errors
from vhost_brick_plugin.neutron import migration, remotes
from vhost_brick_plugin.neutron.manager import VhostBrickManager
from vhost_brick_plugin.neutron.rpc import VhostBrickRpcCallbacks


@pytest.fixture(scope="module", autouse=True)
def options() -> None:
    common_config.register_common_config_options()


@pytest.fixture
def callbacks(host: Host) -> VhostBrickRpcCallbacks:
    host.wiring.catch_up()
    agent = types.SimpleNamespace(
        mgr=VhostBrickManager(host.wiring),
        agent_id="a",
        plugin_rpc=types.SimpleNamespace(get_network_details=lambda *_: {"mtu": 1400}),
    )
    return VhostBrickRpcCallbacks(None, agent, None)


def refuse(*_: object) -> None:
    raise errors.DaemonUnreachable("nobody is there")


def test_the_entry_for_a_whole_host_is_neutrons() -> None:
    assert remotes.FLOODING_ENTRY == n_const.FLOODING_ENTRY


def test_a_deleted_port_that_cannot_be_closed_is_told(
    callbacks: VhostBrickRpcCallbacks,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(host.wiring, "close", refuse)
    callbacks.port_delete(None, port_id=PORT)
    assert f"Port {PORT}, which Neutron has deleted, is not closed" in caplog.text


def test_an_mtu_that_cannot_be_set_is_told(
    callbacks: VhostBrickRpcCallbacks,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    host.plug()
    host.wiring.catch_up()
    monkeypatch.setattr(host.wiring.networks, "resize", refuse)
    callbacks.network_update(None, network={"id": NET})
    assert f"Network {NET} keeps its MTU" in caplog.text


def test_addresses_of_ports_are_learnt_elsewhere(
    callbacks: VhostBrickRpcCallbacks, host: Host
) -> None:
    callbacks.update_fdb_entries(None, {"chg_ip": {NET: {"192.0.2.9": {"after": []}}}})
    assert host.daemon.changes() == []


def test_consumers(host: Host) -> None:
    manager = VhostBrickManager(host.wiring)
    assert ["l2population", "update"] in manager.get_rpc_consumers()
    assert manager.get_extension_driver_type() == "vhost_brick"
    assert manager.get_agent_api(sg_agent=None) is None


# -- live migration ------------------------------------------------------------


def level(host: str, number: int, type: str) -> Any:
    segment = types.SimpleNamespace(
        network_type=type, physical_network="phys0", segmentation_id=number + 7
    )
    return types.SimpleNamespace(host=host, level=number, segment=segment)


def pulled(**changes: Any) -> Any:
    """Return a port as Neutron's resources RPC gives it, as far as it counts."""
    ip = types.SimpleNamespace
    values = {
        "network_id": NET,
        "binding_levels": [level("here", 0, "vxlan"), level("here", 1, "vlan")],
        "mac_address": "fa:16:3e:00:00:01",
        "device_owner": "compute:nova",
        "admin_state_up": True,
        "security": ip(port_security_enabled=True),
        "fixed_ips": [ip(ip_address="10.0.0.1")],
        "allowed_address_pairs": [ip(mac_address="fa:16:3e:00:00:02", ip_address="10.0.0.0/8")],
    }
    return types.SimpleNamespace(**{**values, **changes})


@pytest.fixture
def pull(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what can be pulled, by resource."""
    found: dict[str, Any] = {"Port": pulled(), "Network": types.SimpleNamespace(mtu=1450)}
    ids = {"Port": PORT, "Network": NET}

    def bulk_pull(_context: Any, kind: str, filter_kwargs: dict[str, str]) -> list[Any]:
        assert filter_kwargs == {"id": ids[kind]}
        return [found[kind]] if found[kind] else []

    api = types.SimpleNamespace(bulk_pull=bulk_pull)
    monkeypatch.setattr(resources_rpc, "ResourcesPullRpcApi", lambda: api)
    return found


def test_an_arriving_port_is_described_as_neutron_would(pull: dict[str, Any]) -> None:
    assert migration.arriving_port(None, PORT, "here") == {
        "device": PORT,
        "port_id": PORT,
        "network_id": NET,
        "network_type": "vlan",
        "physical_network": "phys0",
        "segmentation_id": 8,
        "mtu": 1450,
        "mac_address": "fa:16:3e:00:00:01",
        "device_owner": "compute:nova",
        "admin_state_up": True,
        "port_security_enabled": True,
        "fixed_ips": [{"ip_address": "10.0.0.1"}],
        "allowed_address_pairs": [
            {"mac_address": "fa:16:3e:00:00:02", "ip_address": "10.0.0.0/8"}
        ],
    }


@pytest.mark.parametrize(
    ("security", "enabled"),
    [(None, True), (types.SimpleNamespace(port_security_enabled=False), False)],
)
def test_security_of_an_arriving_port(pull: dict[str, Any], security: Any, enabled: bool) -> None:
    pull["Port"] = pulled(security=security)
    found = migration.arriving_port(None, PORT, "here")
    assert found is not None
    assert found["port_security_enabled"] is enabled


@pytest.mark.parametrize("port", [None, pulled(binding_levels=[level("there", 0, "vlan")])])
def test_a_port_that_does_not_arrive_here(pull: dict[str, Any], port: Any) -> None:
    pull["Port"] = port
    assert migration.arriving_port(None, PORT, "here") is None
