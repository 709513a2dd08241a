# SPDX-License-Identifier: Apache-2.0
"""The ML2 mechanism driver, in Neutron's own fakes."""

from __future__ import annotations

from typing import Any

import pytest
from neutron.manager import NeutronManager
from neutron.tests.unit.plugins.ml2 import _test_mech_agent as fakes
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api

from vhost_brick_plugin.neutron.constants import AGENT_TYPE
from vhost_brick_plugin.neutron.mech_driver import VhostBrickMechanismDriver

PORT, NET = "5b1d9c8e-0f0e-4a52-9f0b-0a5a4b2f7d11", "8f2d4a1c-77aa-4b3c-9d39-1c1f0e6c2b22"


def agent(**changes: Any) -> dict[str, Any]:
    """Return an agent as Neutron keeps it."""
    configurations = {
        "socket_dir": "/run/vhost-brick/sockets",
        "bridge_mappings": {"phys0": "nic:nic0"},
        "tunnel_types": ["vxlan"],
    }
    configurations |= changes.pop("configurations", {})
    return {
        "host": "host1",
        "agent_type": AGENT_TYPE,
        "alive": True,
        "configurations": configurations,
        **changes,
    }


def segment(type: str, physical: str | None = None, id: int | None = None) -> dict[str, Any]:
    return {
        api.ID: f"{type}-segment",
        api.NETWORK_TYPE: type,
        api.PHYSICAL_NETWORK: physical,
        api.SEGMENTATION_ID: id,
        api.NETWORK_ID: NET,
    }


class Context(fakes.FakePortContext):
    """The binding of one port.

    :param port: changes to its attributes.
    """

    def __init__(self, agents: list[Any], segments: list[Any], **port: Any) -> None:
        super().__init__(AGENT_TYPE, agents, segments)
        self._port = {
            "id": PORT,
            "network_id": NET,
            "device_owner": "compute:nova",
            portbindings.VNIC_TYPE: portbindings.VNIC_NORMAL,
            **port,
        }

    @property
    def current(self) -> dict[str, Any]:
        return self._port


def bind(agents: list[Any], segments: list[Any], **port: Any) -> Context:
    context = Context(agents, segments, **port)
    VhostBrickMechanismDriver().bind_port(context)
    return context


BINDABLE = [
    segment("local"),
    segment("flat", "phys0"),
    segment("vlan", "phys0", 7),
    segment("vxlan", None, 1001),
]


@pytest.mark.parametrize("wanted", BINDABLE, ids=lambda s: s[api.NETWORK_TYPE])
def test_what_nova_gets(wanted: dict[str, Any]) -> None:
    context = bind([agent()], [segment("gre", None, 3), wanted])
    assert context._bound_segment_id == wanted[api.ID]
    assert context._bound_vif_type == "vhostuser"
    assert context._bound_vif_details == {
        "connectivity": "l2",
        "port_filter": False,
        "vhostuser_mode": "server",
        "vhostuser_fp_plug": True,
        "vhostuser_socket": f"/run/vhost-brick/sockets/{PORT}",
        "bridge_name": "vhb8f2d4a1c-77",
    }


NO_VXLAN = {"configurations": {"tunnel_types": []}}
LONG = {"configurations": {"socket_dir": "/run/" + 70 * "x"}}
UNBOUND = {
    "other physical network": ([agent()], segment("vlan", "phys9", 7), {}),
    "tunnels off": ([agent(**NO_VXLAN)], segment("vxlan", None, 1), {}),
    "unknown type": ([agent()], segment("geneve", None, 1), {}),
    "no agent": ([], segment("local"), {}),
    "dead agent": ([agent(alive=False)], segment("local"), {}),
    "long path": ([agent(**LONG)], segment("local"), {}),
    "SR-IOV": ([agent()], segment("local"), {portbindings.VNIC_TYPE: "direct"}),
    "DHCP": ([agent()], segment("local"), {"device_owner": "network:dhcp"}),
    "subport": ([agent()], segment("local"), {"device_owner": "trunk:subport"}),
}


@pytest.mark.parametrize("case", UNBOUND.values(), ids=UNBOUND)
def test_what_is_left_to_others(case: tuple[list[Any], dict[str, Any], dict[str, Any]]) -> None:
    agents, wanted, port = case
    assert bind(agents, [wanted], **port)._bound_segment_id is None


def test_the_longest_path_that_fits() -> None:
    directory = "/" + (107 - 1 - 1 - 36) * "x"
    bound = bind([agent(configurations={"socket_dir": directory})], [segment("local")])
    assert len(bound._bound_vif_details["vhostuser_socket"]) == 107


def test_bindings_do_not_share_details() -> None:
    driver = VhostBrickMechanismDriver()
    first = Context([agent()], [segment("local")])
    second = Context([agent()], [segment("local")], id=NET)
    for context in (first, second):
        driver.bind_port(context)
    assert first._bound_vif_details["vhostuser_socket"].endswith(PORT)
    assert second._bound_vif_details["vhostuser_socket"].endswith(NET)


def test_vlan_tags_of_guests_are_not_promised() -> None:
    driver = VhostBrickMechanismDriver()
    assert driver.check_vlan_transparency(None) is False
    assert driver.check_vlan_qinq(None) is False
    assert driver.supported_extensions({"vlan-transparent", "qinq", "mtu"}) == {"mtu"}


def test_neutron_finds_it_by_its_name() -> None:
    loaded = NeutronManager.load_class_for_provider("neutron.ml2.mechanism_drivers", "vhost_brick")
    assert loaded is VhostBrickMechanismDriver
