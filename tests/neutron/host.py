# SPDX-License-Identifier: Apache-2.0
"""A compute host: a namespace with a vhost-brickd and a Neutron agent in it."""

from __future__ import annotations

from pathlib import Path

from tests.functional.daemon import Daemon
from tests.functional.netns import NetNs
from tests.neutron.bus import CLIENTS
from tests.neutron.process import MORTAL, Process
from tests.neutron.server import BIN, write_config
from tests.neutron.wires import TRUNK

TRUNK_NET, TAP_NET = "physnet1", "physnet2"
"""Physical networks: one on the trunk between the hosts, one on a tap of each host's own."""

NIC, TAP = "nic1", "phys2"


class Host:
    """One host.

    :param name: as Neutron knows it.
    :param directory: short, because sockets are in it.
    :param bus: the URL of the message bus.
    :param address: on the management network: RPC goes there, and VXLAN.
    """

    def __init__(self, name: str, directory: Path, ns: NetNs, bus: str, address: str) -> None:
        self.name = name
        self.ns = ns
        self.address = address
        directory.mkdir(parents=True)
        nic = f"{NIC}:net_af_packet0,iface={TRUNK}"
        self.daemon = Daemon(directory, config={"dpdk": {"nic": nic}}, wrap=[*MORTAL, *ns.exec])
        config = directory / "agent.conf"
        write_config(
            config,
            {
                "DEFAULT": {
                    "host": name,
                    "transport_url": bus,
                    "state_path": directory,
                    **CLIENTS["DEFAULT"],
                },
                "oslo_concurrency": {"lock_path": directory / "locks"},
                "oslo_messaging_rabbit": CLIENTS["oslo_messaging_rabbit"],
                "vhost_brick": {
                    "api_socket": self.daemon.api_socket,
                    "uplink_mappings": f"{TRUNK_NET}:nic:{NIC},{TAP_NET}:tap:{TAP}",
                    "local_ip": address,
                },
            },
        )
        agent = [*ns.exec, str(BIN / "vhost-brick-neutron-agent"), "--config-file", str(config)]
        self.agent = Process(f"agent of {name}", agent, directory / "agent.log")

    def stop(self) -> None:
        """End it for good; the agent by force, because it takes its time for goodbyes."""
        self.agent.kill9()
        self.daemon.cleanup()
