# SPDX-License-Identifier: Apache-2.0
"""Servers, as a user of Nova's API sees them and as the host does."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import Any

from nova.tests.functional.api.client import OpenStackApiNotFoundException

from tests.functional.waiting import wait_until
from tests.nova.cloud import Cloud
from tests.nova.images import Images
from tests.nova.nova_conf import QUEUE_SIZE
from tests.nova.ping import ping
from tests.nova.stand import ComputeHost
from vhost_brick_plugin.api.methods import PortStatus

Json = dict[str, Any]

ACTION_TIMEOUT_S = 60.0
POLL_S = 0.2
"""Between two looks at a server through Nova's API."""

ANSWER_TIMEOUT_S = 60.0
"""A guest without KVM boots for ten seconds, on a machine that has nothing else to do."""


class Server:
    """One server.

    :ivar ports: Neutron's ports, in the order of its cards.
    :ivar spare: a port that is not attached; the guest has an address for it.
    """

    def __init__(
        self, cloud: Cloud, host: ComputeHost, request: Json, ports: list[Json], spare: Json
    ) -> None:
        self._cloud = cloud
        self._host = host
        self.ports = ports
        self.spare = spare
        self.deleted = False
        self.id = str(cloud.api.post_server({"server": request})["id"])

    # -- as a user sees it

    def show(self) -> Json:
        """Return what Nova says of it."""
        return dict(self._cloud.api.get_server(self.id))

    @property
    def status(self) -> str:
        return str(self.show()["status"])

    @property
    def fault(self) -> str:
        """The message of what went wrong with it."""
        return str(self.show()["fault"]["message"])

    def wait_status(self, wanted: str) -> Json:
        """Wait until it has a status and no task, and return what Nova says of it then.

        :raises AssertionError: it has not, or went to ERROR instead.
        """

        def settled() -> Json | None:
            server = self.show()
            idle = server["OS-EXT-STS:task_state"] is None
            return server if idle and server["status"] in (wanted, "ERROR") else None

        server = wait_until(settled, f"status {wanted}", ACTION_TIMEOUT_S, POLL_S)
        assert server["status"] == wanted, server.get("fault")
        return server

    def act(self, action: str, status: str, **arguments: Any) -> Json:
        """Have Nova do *action*, and wait for *status*."""
        self.post_action(action, **arguments)
        return self.wait_status(status)

    def post_action(self, action: str, **arguments: Any) -> None:
        """Ask Nova for *action*, and return at once."""
        self._cloud.api.post_server_action(self.id, {action: arguments or None})

    def wait_task(self, task: str) -> None:
        """Wait until Nova is busy with *task*."""
        key = "OS-EXT-STS:task_state"
        wait_until(lambda: self.show()[key] == task, f"task {task}", ACTION_TIMEOUT_S, POLL_S)

    def attach(self) -> Json:
        """Attach the spare port, wait until Nova has done it, and return the port.

        :raises OpenStackApiException: Nova could not.
        """
        body = {"interfaceAttachment": {"port_id": self.spare["id"]}}
        self._cloud.api.attach_interface(self.id, body)
        self.ports.append(self.spare)
        self._wait_ports()
        return self.spare

    def detach(self, port: Json) -> None:
        """Detach a port and wait until Nova has done it."""
        self.post_detach(port)
        self.ports.remove(port)
        self._wait_ports()

    def post_detach(self, port: Json) -> None:
        """Ask Nova to detach a port, and return at once."""
        self._cloud.api.detach_interface(self.id, port["id"])

    def wait_event(self, name: str, result: str) -> None:
        """Wait until the last action has an event *name* that ended with *result*."""

        def ended() -> bool:
            action = self._cloud.api.get_instance_actions(self.id)[0]["request_id"]
            found = self._cloud.api.get_instance_action_details(self.id, action)
            return (name, result) in [(e["event"], e["result"]) for e in found["events"]]

        wait_until(ended, f"{name} to end with {result}", ACTION_TIMEOUT_S, POLL_S)

    def _wait_ports(self) -> None:
        wanted = [port["id"] for port in self.ports]

        def settled() -> bool:
            found = self._cloud.api.get_port_interfaces(self.id)
            return sorted(port["port_id"] for port in found) == sorted(wanted)

        wait_until(settled, f"ports {wanted}", ACTION_TIMEOUT_S, POLL_S)

    def delete(self) -> None:
        """Delete it, and wait until it is gone."""
        self._cloud.api.delete_server(self.id)

        def gone() -> bool:
            try:
                self.show()
            except OpenStackApiNotFoundException:
                return True
            return False

        wait_until(gone, f"server {self.id} to be gone", ACTION_TIMEOUT_S, POLL_S)
        self.deleted = True

    # -- as the host does

    @property
    def domain(self) -> Any:
        """Its ``libvirt.virDomain``."""
        return self._host.libvirt.lookupByUUIDString(self.id)

    @property
    def has_domain(self) -> bool:
        """Whether libvirt knows it, running or not."""
        return self.id in [d.UUIDString() for d in self._host.libvirt.listAllDomains()]

    def interfaces(self) -> list[Json]:
        """Return its interfaces from libvirt's document, the attributes of each in one dict."""
        devices = ET.fromstring(self.domain.XMLDesc()).findall("./devices/interface")
        return [
            {"interface": device.attrib}
            | {tag: device.find(tag).attrib for tag in ("mac", "source", "driver")}
            for device in devices
        ]

    def plugged(self) -> dict[str, PortStatus]:
        """Return its ports in vhost-brickd, by id."""
        return self._host.ports(self.id)

    def sessions(self) -> list[tuple[int, float]]:
        """Return the number and the start of each connection to its QEMU."""
        return [(s.number, s.since) for port in self.plugged().values() for s in port.sessions]

    def check(self, state: str = "running") -> None:
        """Check that the daemon and libvirt have its ports, all of them and no other.

        :param state: the ports' in the daemon, waited for.
        """
        wait_until(
            lambda: self._states() == {state}, f"ports in state {state}", ACTION_TIMEOUT_S, POLL_S
        )
        assert sorted(self.plugged()) == sorted(port["id"] for port in self.ports)
        for port in self.ports:
            self._check_port(self.plugged()[port["id"]], port)
        assert self.interfaces() == [self._interface(port) for port in self.ports]

    def _states(self) -> set[str]:
        return {status.state for status in self.plugged().values()}

    def _check_port(self, status: PortStatus, port: Json) -> None:
        have = status.port
        assert (have.network, have.mac) == (port["network_id"], port["mac_address"])
        assert (have.socket_path, have.mode) == (self._socket(port), "client")
        assert status.fault is None
        assert len(status.sessions) == (status.state != "waiting")

    def _interface(self, port: Json) -> Json:
        size = str(QUEUE_SIZE)
        return {
            "interface": {"type": "vhostuser"},
            "mac": {"address": port["mac_address"]},
            "source": {"type": "unix", "path": self._socket(port), "mode": "server"},
            "driver": {"rx_queue_size": size, "tx_queue_size": size},
        }

    def _socket(self, port: Json) -> str:
        return str(self._host.socket_dir / port["id"])

    def answer(self) -> None:
        """Check that it answers ping through each of its cards."""
        for port in self.ports:
            ping(self._host.netns, address(port), ANSWER_TIMEOUT_S)


class Servers:
    """Makes servers on the one host."""

    def __init__(self, cloud: Cloud, host: ComputeHost) -> None:
        self._cloud = cloud
        self._host = host
        self._images = Images(cloud.glance, host.image)
        self._flavors = [self._add_flavor(memory) for memory in (128, 160)]
        self._made: list[Server] = []

    def _add_flavor(self, memory_mib: int) -> str:
        flavor = {
            "name": f"m{memory_mib}",
            "id": f"m{memory_mib}",
            "ram": memory_mib,
            "vcpus": 1,
            "disk": 1,
        }
        return str(self._cloud.api.post_flavor({"flavor": flavor})["id"])

    @property
    def larger_flavor(self) -> str:
        """The id of a flavor that servers do not have, to resize them to."""
        return self._flavors[1]

    def post(self, networks: Iterable[str] = ("blue",)) -> Server:
        """Ask for a server with a port on each of *networks*, and return at once."""
        ports = [self._cloud.neutron.add_port(network) for network in networks]
        spare = self._cloud.neutron.add_port("green")
        image = self._images.add_disk([address(port) for port in [*ports, spare]])
        request = {
            "name": f"server-{len(self._made)}",
            "imageRef": image,
            "flavorRef": self._flavors[0],
            "networks": [{"port": port["id"]} for port in ports],
        }
        self._made.append(Server(self._cloud, self._host, request, ports, spare))
        return self._made[-1]

    def boot(self, networks: Iterable[str] = ("blue",)) -> Server:
        """Make a server and wait until it answers through all its cards."""
        server = self.post(networks)
        server.wait_status("ACTIVE")
        server.answer()
        return server

    def rescue_image(self, server: Server) -> str:
        """Make an image to rescue *server* with."""
        return self._images.add_disk([address(port) for port in server.ports])

    def cleanup(self) -> None:
        """Delete all servers that are still there."""
        for server in self._made:
            if not server.deleted:
                server.delete()


def address(port: Json) -> str:
    """Return the address that Neutron gave a port."""
    return str(port["fixed_ips"][0]["ip_address"])
