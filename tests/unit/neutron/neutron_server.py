# SPDX-License-Identifier: Apache-2.0
"""A Neutron server that knows what a test tells it, over oslo.messaging's in-process bus.

It answers and notifies through Neutron's own RPC classes and topics.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import oslo_messaging
from neutron.plugins.ml2 import rpc as ml2_rpc
from neutron.plugins.ml2.drivers.l2pop import rpc as l2pop_rpc
from neutron_lib import constants, context
from neutron_lib import rpc as n_rpc
from neutron_lib.agent import topics

WAIT_S = 10


class Reports:
    """Takes the agents' reports of state."""

    target = oslo_messaging.Target(version="1.4", namespace=constants.RPC_NAMESPACE_STATE)

    def __init__(self, server: NeutronServer) -> None:
        self._server = server

    def report_state(self, _context: Any, **kwargs: Any) -> str:
        if self._server.silent:
            self._server.note("report_refused", kwargs["time"])
            raise RuntimeError("Neutron is in trouble")
        self._server.note("report_state", kwargs["agent_state"]["agent_state"])
        return self._server.report_answer


class Plugin:
    """Answers what the agents ask about ports."""

    target = oslo_messaging.Target(version="1.9")

    def __init__(self, server: NeutronServer) -> None:
        self._server = server

    def get_devices_details_list_and_failed_devices(
        self, _context: Any, devices: list[str], **_kwargs: Any
    ) -> dict[str, list[Any]]:
        self._server.note("details", tuple(devices))
        if self._server.silent:
            raise RuntimeError("Neutron is in trouble")
        known = self._server.ports
        return {"devices": [known.get(d, {"device": d}) for d in devices], "failed_devices": []}

    def get_network_details(self, _context: Any, network: str, **_kwargs: Any) -> dict[str, Any]:
        return {"id": network, "mtu": self._server.mtus[network]}

    def get_ports_by_vnic_type_and_host(
        self, _context: Any, vnic_type: str, host: str
    ) -> list[dict[str, Any]]:
        assert vnic_type == "normal"
        self._server.note("ports of", host)
        return self._server.bound

    def update_device_up(
        self, _context: Any, device: str, refresh_tunnels: bool, **_kwargs: Any
    ) -> None:
        self._server.note("up", (device, refresh_tunnels))

    def update_device_down(self, _context: Any, device: str, **_kwargs: Any) -> dict[str, Any]:
        self._server.note("down", device)
        return {"device": device, "exists": True}


class NeutronServer:
    """What agents see of Neutron.

    :ivar ports: what is known of each port, as ``get_device_details`` gives it.
    :ivar bound: the ports of a host, as the REST API gives them.
    :ivar mtus: by network.
    :ivar silent: questions are answered with an error.
    :ivar report_answer: to a report of state.
    """

    def __init__(self) -> None:
        self.ports: dict[str, dict[str, Any]] = {}
        self.bound: list[dict[str, Any]] = []
        self.mtus: dict[str, int] = {}
        self.silent = False
        self.report_answer = "alive"
        self._calls: list[tuple[str, Any]] = []
        self._called = threading.Condition()
        self._connection = n_rpc.Connection()
        self._connection.create_consumer(topics.PLUGIN, [Plugin(self)])
        self._connection.create_consumer(topics.REPORTS, [Reports(self)])
        self._connection.consume_in_threads()
        self._notifier = ml2_rpc.AgentNotifierApi(topics.AGENT)
        self._l2pop = l2pop_rpc.L2populationAgentNotifyAPI()
        self._context = context.get_admin_context_without_session()

    def stop(self) -> None:
        self._connection.close()

    # -- what the agents said --------------------------------------------------

    def note(self, call: str, argument: Any) -> None:
        with self._called:
            self._calls.append((call, argument))
            self._called.notify_all()

    def calls(self, name: str) -> list[Any]:
        with self._called:
            return [argument for call, argument in self._calls if call == name]

    def forget(self) -> None:
        with self._called:
            self._calls.clear()

    def wait_for(self, name: str, wanted: Callable[[Any], bool] = bool) -> Any:
        """Wait for a call with an argument that is *wanted*, and return that."""

        def find() -> list[Any]:
            return [arg for call, arg in self._calls if call == name and wanted(arg)]

        with self._called:
            assert self._called.wait_for(find, WAIT_S), f"no {name} but {self._calls}"
            return find()[0]

    # -- what it tells them ----------------------------------------------------

    def port_update(self, port: str) -> None:
        self._notifier.port_update(self._context, {"id": port}, None, None, None)

    def port_delete(self, port: str) -> None:
        self._notifier.port_delete(self._context, port)

    def binding_activate(self, port: str, host: str) -> None:
        self._notifier.binding_activate(self._context, port, host)

    def network_update(self, network: str, mtu: int) -> None:
        self.mtus[network] = mtu
        self._notifier.network_update(self._context, {"id": network})

    def network_delete(self, network: str) -> None:
        self._notifier.network_delete(self._context, network)

    def add_fdb(self, entries: dict[str, Any], host: str | None = None) -> None:
        self._l2pop.add_fdb_entries(self._context, entries, host)

    def remove_fdb(self, entries: dict[str, Any]) -> None:
        self._l2pop.remove_fdb_entries(self._context, entries)
