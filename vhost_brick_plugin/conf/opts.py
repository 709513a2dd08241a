# SPDX-License-Identifier: Apache-2.0
"""All options of vhost-brickd, for the daemon itself and the sample generator."""

from __future__ import annotations

from oslo_config import cfg

from vhost_brick_plugin.conf import daemon, dpdk, vhost

GROUPS = (daemon, dpdk, vhost)


def list_opts() -> list[tuple[cfg.OptGroup, list[cfg.Opt]]]:
    """Return the options by group, as oslo-config-generator wants them."""
    return [(module.GROUP, module.OPTS) for module in GROUPS]


def register(conf: cfg.ConfigOpts) -> None:
    """Make *conf* know them."""
    for group, opts in list_opts():
        conf.register_group(group)
        conf.register_opts(opts, group)
