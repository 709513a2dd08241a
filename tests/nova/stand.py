# SPDX-License-Identifier: Apache-2.0
"""A compute host: vhost-brickd in a network namespace, libvirt, and a nova.conf for it.

The networks of the cloud have a tap each, so that the namespace can talk to guests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.functional.netns import NetNs
from tools.lab.lab import Kvm, build_guest
from tools.lab.stand import CACHE_DIR, Host, Stand
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.model import Uplink, UplinkKind

TIMEOUT_S = 3.0
"""What the plugin waits for the daemon: longer than a restart takes, shorter than patience."""

QUEUE_SIZE = 512
"""Descriptors in a ring: not QEMU's default, so that one can tell it was passed on."""

CONF = """
[DEFAULT]
state_path = {nova}
instances_path = {nova}/instances
compute_driver = libvirt.LibvirtDriver
my_ip = 127.0.0.1
allow_resize_to_same_host = true
# The lab's guest does not hear the power button.
shutdown_timeout = 0
# What file_backed_memory asks for:
ram_allocation_ratio = 1.0
reserved_host_memory_mb = 0

[scheduler]
# There is no other host to try, and the reason of a failure is kept.
max_attempts = 1

[libvirt]
connection_uri = {uri}
virt_type = qemu
cpu_mode = none
images_type = raw
# Shared memory without huge pages:
file_backed_memory = 8192
rx_queue_size = {queue_size}
tx_queue_size = {queue_size}

[os_vif_vhostuser_fp]
api_socket = {api_socket}
state_dir = {state_dir}
timeout = {timeout}

[vnc]
enabled = false

[wsgi]
api_paste_config = {prefix}/etc/nova/api-paste.ini
"""


class ComputeHost:
    """What is on a compute host beside Nova, from ``with`` to its end.

    :param directory: empty, its path short, and QEMU's user can walk to it.
    :ivar brickd: the daemon under its supervisor.
    :ivar libvirt: a libvirt connection of our own.
    """

    def __init__(self, directory: Path) -> None:
        self.netns = NetNs(f"vbn-{os.getpid()}")
        # Guests without KVM everywhere: what Nova writes for them differs.
        host = Host(build_guest(CACHE_DIR), Kvm(False, "these tests are for TCG"))
        self._stand = Stand(host, directory, wrap=self.netns.exec, dynamic_ownership=True)
        self._nova_dir = directory / "nova"
        (self._nova_dir / "instances").mkdir(parents=True)
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

    @property
    def nova_conf(self) -> str:
        """The text of nova.conf."""
        return CONF.format(
            nova=self._nova_dir,
            uri=self._stand.libvirt.uri,
            api_socket=self._stand.api_socket,
            state_dir=self.directory / "state",
            timeout=TIMEOUT_S,
            queue_size=QUEUE_SIZE,
            prefix=sys.prefix,
        )

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
