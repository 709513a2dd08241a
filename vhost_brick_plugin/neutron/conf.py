# SPDX-License-Identifier: Apache-2.0
"""``[vhost_brick]``: where the agent finds its daemon, and what joins its host to others."""

from __future__ import annotations

from oslo_config import cfg

from vhost_brick_plugin import model
from vhost_brick_plugin.api import client

GROUP = cfg.OptGroup("vhost_brick", title="The Neutron agent of vhost-brickd")

OPTS = [
    cfg.StrOpt(
        "api_socket",
        default=client.DEFAULT_SOCKET,
        help="The control socket of vhost-brickd ([daemon] api_socket there).",
    ),
    cfg.ListOpt(
        "uplink_mappings",
        default=[],
        help="The device behind each physical network, as physical_network:kind:name, parted by "
        "commas: 'physnet1:nic:phys0' for the NIC phys0 under [dpdk] nic of vhost-brickd, "
        "'physnet2:tap:lab0' for a kernel interface lab0 that vhost-brickd makes. Flat networks "
        "have its untagged frames, VLAN networks those of their VLAN.",
    ),
    cfg.StrOpt(
        "local_ip",
        default="",
        help="This host's address, IPv4 or IPv6, for VXLAN between hosts. It must be configured "
        "on this host, and neutron-server must have 'l2population' among its mechanism_drivers. "
        "Empty: no VXLAN networks on this host.",
    ),
    cfg.PortOpt(
        "vxlan_udp_port",
        default=model.VXLAN_PORT,
        min=1,
        help="UDP port of VXLAN; the same on all hosts.",
    ),
]


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options by group, as oslo-config-generator wants them."""
    return [(GROUP, OPTS)]


def register(conf: cfg.ConfigOpts) -> None:
    """Make *conf* know them."""
    conf.register_group(GROUP)
    conf.register_opts(OPTS, GROUP)
