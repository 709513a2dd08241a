# SPDX-License-Identifier: Apache-2.0
"""A compute host: vhost-brickd in a network namespace, libvirt, and a nova.conf for it.

The networks of the cloud have a tap each, so that the namespace can talk to guests.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.functional.netns import NetNs
from tests.nova import nova_conf
from tools.lab.lab import Kvm, build_guest
from tools.lab.stand import CACHE_DIR, Host, Stand
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.model import Uplink, UplinkKind


class ComputeHost:
    """What is on a compute host beside Nova, from ``with`` to its end.

    :param directory: empty, its path short, and QEMU's user can walk to it.
    :ivar nova_conf: the files that Nova reads.
    :ivar brickd: the daemon under its supervisor.
    :ivar libvirt: a libvirt connection of our own.
    """

    def __init__(self, directory: Path) -> None:
        self.netns = NetNs(f"vbn-{os.getpid()}")
        # Guests without KVM everywhere: what Nova writes for them differs.
        host = Host(build_guest(CACHE_DIR), Kvm(False, "these tests are for TCG"))
        self._stand = Stand(host, directory, wrap=self.netns.exec, dynamic_ownership=True)
        self.nova_conf = nova_conf.write(
            directory,
            host="compute",
            uri=self._stand.libvirt.uri,
            api_socket=self._stand.api_socket,
            state_dir=directory / "state",
        )
        self.directory = directory
        self.image = host.image
        self.brickd = self._stand.brickd
        self.socket_dir = self._stand.socket_dir
        self.client = Client(str(self._stand.api_socket))

    def __enter__(self) -> ComputeHost:
        self.netns.__enter__()
        self._stand.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stand.__exit__(kind, error, trace)
        self.netns.__exit__(kind, error, trace)

    @property
    def libvirt(self) -> Any:
        """A ``libvirt.virConnect`` of our own."""
        return self._stand.libvirt.connection

    def add_uplink(self, network: str, tap: str, address: str) -> None:
        """Give a network a tap, and the tap an address in the namespace.

        :param address: with the length of its prefix.
        """
        uplink = Uplink(kind=UplinkKind.TAP, name=tap)
        self.client.network_ensure(network=network, uplinks=(uplink,))
        self.netns.ip("addr", "add", address, "dev", tap)
        self.netns.ip("link", "set", tap, "up")

    def ports(self, instance: str) -> dict[str, PortStatus]:
        """Return the ports of an instance, by id."""
        found = self.client.port_list().ports
        return {p.port.id: p for p in found if p.port.metadata.get("instance_uuid") == instance}
