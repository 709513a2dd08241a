# SPDX-License-Identifier: Apache-2.0
"""The command ``vhost-brick-neutron-agent``."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time

# Neutron chooses native threads when it is imported, which has to come before oslo.service.
from neutron.common import config as common_config
from neutron.conf import service as service_conf
from neutron.conf.agent import securitygroups_rpc as sg_conf
from oslo_config import cfg
from oslo_service import service

from vhost_brick_plugin import errors, model
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.neutron import conf, constants
from vhost_brick_plugin.neutron.loop import VhostBrickAgentLoop
from vhost_brick_plugin.neutron.manager import VhostBrickManager
from vhost_brick_plugin.neutron.segments import Outside, parse_mappings
from vhost_brick_plugin.neutron.watch import Watcher
from vhost_brick_plugin.neutron.wiring import Wiring

LOG = logging.getLogger(__name__)

WAIT_S = 1.0
"""Between two tries to reach the daemon at the start."""

PORT_ID_BYTES = 36
"""A UUID, the name of each port's socket."""


def main() -> None:
    """Run the agent until it is told to stop; exit with 1 if the configuration is wrong."""
    common_config.register_common_config_options()
    sg_conf.register_securitygroups_opts()
    # Neutron's RPC client reads one of them after a call that nobody answered.
    service_conf.register_service_opts(service_conf.RPC_EXTRA_OPTS, cfg.CONF)
    conf.register(cfg.CONF)
    common_config.init(sys.argv[1:])
    common_config.setup_logging()
    common_config.setup_gmr()
    try:
        agent = build(cfg.CONF)
    except errors.VhostBrickError as error:
        LOG.critical("%s", error)
        sys.exit(1)
    service.launch(cfg.CONF, agent, restart_method="mutate").wait()


def build(config: cfg.ConfigOpts) -> VhostBrickAgentLoop:
    """Return an agent whose configuration has been checked against its host and daemon.

    Waits for the daemon as long as there is none.

    :raises errors.ConfigError: an option is wrong.
    """
    outside = _outside(config.vhost_brick)
    _check_firewall(config.SECURITYGROUP.firewall_driver)
    client = Client(config.vhost_brick.api_socket)
    news = threading.Event()
    wiring = Wiring(client, outside, Watcher(client, news.set))
    _check_daemon(_meet(client), wiring, outside)
    return VhostBrickAgentLoop(
        VhostBrickManager(wiring),
        news,
        config.AGENT.polling_interval,
        config.AGENT.quitting_rpc_timeout,
    )


def _outside(group: cfg.ConfigOpts.GroupAttr) -> Outside:
    return Outside(
        mappings=parse_mappings(group.uplink_mappings),
        local_ip=_own_address(group.local_ip) if group.local_ip else "",
        udp_port=group.vxlan_udp_port,
    )


def _own_address(text: str) -> str:
    """Return an address of this host in its usual form; raise ConfigError if it is none."""
    option = "[vhost_brick] local_ip"
    try:
        address = model.normalise_address(option, text)
    except errors.InvalidParams as error:
        raise errors.ConfigError(error.message, hint=error.hint) from None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise errors.ConfigError(
                f"{option}: {address} is not an address of this host: {error.strerror}",
                hint="Configure it on an interface first, or correct the option.",
            ) from None
    return address


def _check_firewall(driver: str | None) -> None:
    if driver not in (None, "", "noop", "neutron.agent.firewall.NoopFirewallDriver"):
        raise errors.ConfigError(
            f"[securitygroup] firewall_driver: {driver!r} cannot filter vhost-user ports",
            hint="Set it to 'noop' for this agent: security groups are not enforced here.",
        )


def _meet(client: Client) -> methods.HelloResult:
    """Return the daemon's hello, however long it takes."""
    told = False
    while True:
        try:
            return client.call(methods.Hello())
        except errors.DaemonUnreachable as error:
            if not told:
                LOG.warning("Waiting for vhost-brickd: %s", error)
            told = True
        time.sleep(WAIT_S)


def _check_daemon(hello: methods.HelloResult, wiring: Wiring, outside: Outside) -> None:
    nics = hello.datapath_info.get("nics", "")
    outside.check_nics([name for name in nics.split(", ") if name])
    directory = wiring.configurations()[constants.SOCKET_DIR]
    if len(os.fsencode(directory)) + 1 + PORT_ID_BYTES > model.MAX_SOCKET_PATH:
        raise errors.ConfigError(
            f"[vhost] socket_dir of vhost-brickd: sockets in {directory!r} would have paths of "
            f"more than {model.MAX_SOCKET_PATH} bytes",
            hint="Choose a shorter one there, and restart both.",
        )
