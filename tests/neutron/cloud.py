# SPDX-License-Identifier: Apache-2.0
"""What one test makes in the stand, and how it all goes again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from tests.functional.waiting import wait_until
from tests.neutron.api import INTERVAL, ApiError, Resource
from tests.neutron.guest import Guest
from tests.neutron.host import Host
from tests.neutron.stand import TIMEOUT, Stand

CIDR, CIDR6 = "198.18.0.0/16", "2001:db8::/64"
"""RFC 2544 and RFC 3849; ``tests/frontend/vuser`` sends from the former."""

_numbers = itertools.count()


class Cloud:
    """Networks, ports and guests; after the ``with`` block nothing of them may be left."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.api = stand.api
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for host in self.stand.hosts:
            self._check_clean(host)

    def network(
        self, type: str, physical: str | None = None, id: int | None = None, **more: Any
    ) -> Resource:
        """Make a network with an IPv4 and an IPv6 subnet.

        :param id: its VLAN or VNI; default: Neutron chooses.
        """
        provider = {"network_type": type, "physical_network": physical, "segmentation_id": id}
        attributes = {f"provider:{k}": v for k, v in provider.items() if v is not None}
        network = self.api.create("network", name=f"n{next(_numbers)}", **attributes | more)
        self._stack.callback(self.delete, "network", network["id"])
        for version, cidr in ((4, CIDR), (6, CIDR6)):
            self.api.create(
                "subnet",
                network_id=network["id"],
                ip_version=version,
                cidr=cidr,
                gateway_ip=None,
                enable_dhcp=False,
            )
        return network

    def port(self, network: Resource, host: Host | None, **attributes: Any) -> Resource:
        """Make a port as Nova has it made for a server on *host*."""
        if host:
            attributes |= {"binding:host_id": host.name, "device_owner": "compute:nova"}
        port = self.api.create("port", network_id=network["id"], **attributes)
        self._stack.callback(self.delete, "port", port["id"])
        return port

    def guest(self, network: Resource, host: Host, **attributes: Any) -> Guest:
        """Make a port, boot a guest with it, and wait until Neutron says that it is active."""
        guest = self.start(self.port(network, host, **attributes), network, host)
        self.wait_status(guest.id, "ACTIVE")
        return guest

    def start(self, port: Resource, network: Resource, host: Host) -> Guest:
        """Boot a guest, without waiting for Neutron."""
        guest = Guest(host, port, network)
        self.boot(guest)
        return guest

    def boot(self, guest: Guest) -> None:
        """Boot *guest*, which ends with the test at the latest."""
        self._stack.callback(guest.delete)
        guest.boot()

    def at_end(self, call: Callable[..., object], *args: object) -> None:
        """Have something done before the networks and ports made so far are deleted."""
        self._stack.callback(call, *args)

    def delete(self, kind: str, id: str) -> None:
        """Delete what may be gone already."""
        try:
            self.api.delete(kind, id)
        except ApiError as error:
            if error.status != 404:
                raise

    def wait_status(self, port_id: str, status: str, timeout: float = TIMEOUT) -> Resource:
        """Wait until Neutron says so of a port, and return the port."""

        def seen() -> Resource | None:
            port = self.api.show("port", port_id)
            return port if port["status"] == status else None

        return wait_until(seen, f"port {port_id} to be {status}", timeout, INTERVAL)

    @staticmethod
    def _check_clean(host: Host) -> None:
        """Fail unless the daemon's networks, and with them uplinks and tunnels, have gone."""

        def clean() -> bool:
            return not host.daemon.client.network_list().networks

        wait_until(clean, f"the networks of {host.name} to go", TIMEOUT)
