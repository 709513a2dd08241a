# SPDX-License-Identifier: Apache-2.0
"""Neutron's common agent loop, made to wait for news instead of polling.

What is different, and why:

* It wakes up when the daemon or Neutron has news: Nova waits for a new port's wiring.
* It rests while the daemon is away, and forgets nothing meanwhile.
* A port that the daemon refuses is tried again by itself, later and later; the common loop
  would ask Neutron for all ports again, every two seconds.
* Ports are asked for in portions, so that hundreds do not run into the RPC's time-out.
* It asks for everything when messages may have been lost: its report of state failed, or
  its :class:`Canary` did not come back.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Collection
from typing import Any

from neutron.plugins.ml2.drivers.agent import _agent_manager_base as amb
from neutron.plugins.ml2.drivers.agent import _common_agent as common
from neutron_lib import constants as n_const
from neutron_lib.services.qos import constants as qos_consts
from oslo_config import cfg
from oslo_service import loopingcall

from vhost_brick_plugin import errors
from vhost_brick_plugin.neutron import constants, migration
from vhost_brick_plugin.neutron.canary import Canary
from vhost_brick_plugin.neutron.manager import VhostBrickManager
from vhost_brick_plugin.neutron.retries import Retries
from vhost_brick_plugin.neutron.rpc import SelfApi, WiringApi

LOG = logging.getLogger(__name__)

PORTION = 50
"""Ports in one request to Neutron."""

RPC_TIMEOUT_S = 20
"""Until a call to Neutron counts as lost, where the operator has set no rpc_response_timeout.

The agent does one thing after the other, so a reply that dies with the message bus holds
up new ports for so long, and up to as long again by Neutron's own back-off.  Its calls
are short, and Neutron doubles the time for those that turn out not to be."""


class VhostBrickAgentLoop(common.CommonAgentLoop):  # type: ignore[misc]
    """Runs in the agent's main thread, from :meth:`start` to :meth:`stop`.

    :param news: set by whoever has something for the loop to do.
    """

    def __init__(
        self, manager: VhostBrickManager, news: threading.Event, polling: int, quitting: int
    ) -> None:
        super().__init__(manager, polling, quitting, constants.AGENT_TYPE, constants.BINARY)
        self._news = news
        self._stopped = False
        self._retries = Retries()
        self._wiring = manager.wiring
        self.canary = Canary(self._cast_canary, self.resync)

    def start(self) -> None:
        self._wiring.start()
        super().start()

    def stop(self, graceful: bool = True) -> None:
        self._stopped = True
        self.canary.stop()
        self._wiring.stop()
        self.wake()
        super().stop(graceful)

    def wake(self) -> None:
        """Have the loop look around now.  From any thread."""
        self._news.set()

    def resync(self) -> None:
        """Have the loop ask Neutron for everything.  From any thread."""
        self.fullsync = True
        self.wake()

    def setup_rpc(self) -> None:
        super().setup_rpc()
        cfg.CONF.set_default("rpc_response_timeout", RPC_TIMEOUT_S)
        self.plugin_rpc = WiringApi(self._wiring)
        self._self_rpc = SelfApi()

    def _cast_canary(self, number: int) -> None:
        self._self_rpc.cast_canary(self.context, number)

    def _report_state(self) -> None:
        if self._stopped:
            raise loopingcall.LoopingCallDone
        failed_before = self.failed_report_state
        self.agent_state["configurations"][constants.DATAPATH] = self._wiring.datapath()
        super()._report_state()
        if self.fullsync or (failed_before and not self.failed_report_state):
            self.resync()

    # -- the loop --------------------------------------------------------------

    def daemon_loop(self) -> None:
        self.canary.start()
        info, sync = None, True
        while not self._stopped:
            self._news.clear()
            if self.fullsync:
                self.fullsync, sync = False, True
            try:
                self._catch_up()
            except errors.VhostBrickError as error:
                LOG.debug("Nothing can be done now: %s", error)
            else:
                info, sync = self._round(info, sync)
            self._news.wait(self.polling_interval)

    def _catch_up(self) -> None:
        if self._wiring.catch_up():
            self.agent_state["configurations"].update(self.mgr.get_agent_configurations())

    def _round(self, before: Any, sync: bool) -> tuple[Any, bool]:
        """Do what is to be done; return what was there, and whether to ask for everything."""
        if sync:
            LOG.info("Asking Neutron for everything")
            self._wiring.networks.expire_hosts()
        info = self.scan_devices(before, sync)
        info["updated"] |= self._retries.due(time.monotonic()) & info["current"]
        self._wiring.networks.settle_hosts()
        again = False
        try:
            if sync:
                info["removed"] |= self._gone_unnoticed(info["current"])
            if self._device_info_has_changes(info):
                again = self.process_network_devices(info)
        except Exception:
            LOG.exception("Changes are not applied, and will be tried again: %s", info)
            again = True
        if sync or info["removed"]:
            self._remove_idle_networks()
        self.iter_num += 1
        return info, again

    def _gone_unnoticed(self, here: set[str]) -> set[str]:
        """Return the ports that Neutron takes for active, and that were unplugged without us."""
        active: set[str] = self.plugin_rpc.active_ports(self.context, cfg.CONF.host)
        return active - here

    def _remove_idle_networks(self) -> None:
        try:
            self._wiring.networks.remove_idle()
        except errors.VhostBrickError as error:
            LOG.warning("A network without ports is left: %s", error)

    # -- ports -----------------------------------------------------------------

    def treat_devices_added_updated(self, devices: Collection[str]) -> bool:
        """Wire ports; tell whether Neutron could not be asked."""
        again = False
        ids = iter(sorted(devices))
        while portion := list(itertools.islice(ids, PORTION)):
            found, failed = self.plugin_rpc.details(
                self.context, portion, self.agent_id, cfg.CONF.host
            )
            again = again or bool(failed)
            for details in found:
                self._treat(details)
        return again

    def treat_devices_removed(self, devices: Collection[str]) -> bool:
        for device in devices:
            self._retries.forget(device)
        again: bool = super().treat_devices_removed(devices)
        return again

    def _treat(self, details: dict[str, Any]) -> None:
        device = details["device"]
        self._retries.forget(device)
        if details.get(qos_consts.QOS_POLICY_ID) or details.get(qos_consts.QOS_NETWORK_POLICY_ID):
            # Neutron refuses policies, unless a driver of another datapath claims vhost-user.
            LOG.warning("Port %s has a QoS policy, which has no effect here", device)
        try:
            if n_const.NO_ACTIVE_BINDING in details:
                self._wire_ahead(device)
            else:
                self._process_device_if_exists(details)
        except errors.PortNotFound:
            LOG.debug("Port %s was unplugged meanwhile", device)
        except errors.DaemonUnreachable:
            self._retries.soon(device)
        except errors.VhostBrickError as error:
            LOG.error("Port %(port)s is not wired: %(error)s", {"port": device, "error": error})
            self._retries.later(device, time.monotonic())
            self.plugin_rpc.update_device_down(self.context, device, self.agent_id, cfg.CONF.host)

    def _wire_ahead(self, device: str) -> None:
        """Wire the port of a live migration that has not arrived."""
        details = migration.arriving_port(self.context, device, cfg.CONF.host)
        if details is None:
            return
        segment = amb.NetworkSegment(
            details["network_type"],
            details["physical_network"],
            details["segmentation_id"],
            details["mtu"],
        )
        self.mgr.setup_arp_spoofing_protection(device, details)
        self.mgr.plug_interface(details["network_id"], segment, device, details["device_owner"])
        self.plugin_rpc.update_device_arriving(self.context, device, self.agent_id, cfg.CONF.host)
        LOG.info("Port %s is wired ahead of its live migration", device)
