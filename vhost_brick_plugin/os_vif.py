# SPDX-License-Identifier: Apache-2.0
"""The os-vif plugin: what Nova calls when a VM with one of our ports comes or goes.

It turns a VIF into a port of vhost-brickd and back.  It runs inside nova-compute,
under native threads or eventlet, so it does nothing when it is imported or
constructed, and talks to the daemon over one short-lived socket a call.  Every
public method may be called from any thread.

Two facts of Nova shape the error handling:

* A plug that fails fails the boot, and that is the wish: QEMU would otherwise
  wait at its start, with no time-out, for a backend that does not come.
* nova-compute plugs every VIF of its host when it starts, and an exception that
  escapes there stops nova-compute.  So a plug of a port that the daemon has
  stored only warns: the daemon serves it again as soon as it is back.

A hard reboot, a start, a rebuild or a resize unplugs first and then plugs.  When
the unplug failed, the port is still stored, but the VM is about to start: so the
plugin remembers that, and the plug that follows is treated as that of a new port.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from os_vif import objects, plugin
from oslo_log import log as logging

from vhost_brick_plugin import errors, state_file
from vhost_brick_plugin.api import methods, retry
from vhost_brick_plugin.conf.os_vif import OPTS, REFUSE, WARN
from vhost_brick_plugin.model import Mode
from vhost_brick_plugin.vif import port_request, readable_errors

LOG = logging.getLogger(__name__)

PLUGIN_NAME = "vhost_brick"

PROFILES = ("VIFPortProfileFPBridge", "VIFPortProfileFPOpenVSwitch", "VIFPortProfileBase")
"""Port profiles we take; a VIF without any is taken too."""

T = TypeVar("T")


class VhostBrickPlugin(plugin.PluginBase):  # type: ignore[misc]
    """Plugs VIFVHostUser interfaces into vhost-brickd.

    Loaded under two names: ``vhostuser_fp``, which unmodified Nova asks for
    when Neutron says ``vhostuser_fp_plug``, and ``vhost_brick`` for everyone
    who is free to choose.  Each name has a config group of its own,
    ``[os_vif_vhostuser_fp]`` and ``[os_vif_vhost_brick]``.
    """

    CONFIG_OPTS = tuple(OPTS)

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._not_unplugged: set[str] = set()

    def describe(self) -> objects.HostPluginInfo:
        """Return the VIF types and port profiles this plugin takes, in any 1.x version."""
        profiles = [
            objects.host_info.HostPortProfileInfo(
                profile_object_name=name, min_version="1.0", max_version="1.99"
            )
            for name in PROFILES
        ]
        vif_info = objects.host_info.HostVIFInfo(
            vif_object_name="VIFVHostUser",
            min_version="1.0",
            max_version="1.99",
            supported_port_profiles=profiles,
        )
        return objects.host_info.HostPluginInfo(plugin_name=PLUGIN_NAME, vif_info=[vif_info])

    def plug(self, vif: objects.VIFBase, instance_info: objects.InstanceInfo) -> None:
        """Make the daemon serve *vif*; the same call again disturbs no traffic.

        Returns once the port is stored; never waits for the guest.

        :raises errors.VhostBrickError: a new port was refused, or the daemon
            could not be reached within ``timeout``.  os-vif wraps it in its
            PlugException, and Nova fails the boot with its text.
        """
        with readable_errors(vif):
            request = port_request(vif, instance_info)
            try:
                self._check_mode(request)
                self._call(request, worth_waiting=lambda: not self._stored_same(request))
                self._not_unplugged.discard(request.id)
            except errors.VhostBrickError as error:
                if self._stored(request.id) is None:
                    raise
                LOG.warning(
                    "Port %(port)s is not updated: %(error)s. vhost-brickd has it stored, and "
                    "serves it as it was.",
                    {"port": request.id, "error": error},
                )

    def unplug(self, vif: objects.VIFBase, instance_info: objects.InstanceInfo) -> None:
        """Remove the port of *vif*; one that does not exist counts as removed.

        :raises errors.DaemonUnreachable: and the daemon has the port stored, or
            that cannot be told.  Nova logs that and carries on where it deletes
            a VM; elsewhere (detach) the user can try again.  To succeed
            silently would leave a port behind that nobody knows of.
        """
        request = methods.PortRemove(id=vif.id)
        with readable_errors(vif):
            self._not_unplugged.add(vif.id)
            try:
                self._call(request, worth_waiting=lambda: not self._surely_absent(vif.id))
            except errors.DaemonTimeout:
                raise  # It hangs, and may still store the port of an earlier plug.
            except errors.DaemonUnreachable:
                if not self._surely_absent(vif.id):
                    raise
            self._not_unplugged.discard(vif.id)

    def _check_mode(self, request: methods.PortEnsure) -> None:
        """Refuse a port whose QEMU would connect once and never again, or warn of it."""
        if request.mode is not Mode.SERVER:
            return
        error = errors.InvalidParams(
            f"QEMU is to be the client on port {request.id}, and would stay disconnected after "
            "a restart of vhost-brickd",
            hint="Let Neutron bind the port with vhostuser_mode 'server', or set qemu_client = "
            f"{WARN} in nova.conf, in the group of this plugin.",
        )
        if self.config.qemu_client == REFUSE:
            raise error
        LOG.warning("%s", error.message)

    def _call(self, request: methods.Method[T], worth_waiting: Callable[[], bool]) -> T:
        """Call the daemon; see :func:`.api.retry.call`."""
        return retry.call(self.config.api_socket, request, self.config.timeout, worth_waiting)

    def _stored(self, port_id: str) -> Mapping[str, Any] | None:
        """Return what the daemon has stored of a port, and shall have.

        None also if that cannot be read.
        """
        if port_id in self._not_unplugged:
            return None
        try:
            return state_file.stored_port(self.config.state_dir, port_id)
        except (OSError, ValueError) as error:
            LOG.warning("Cannot read the stored state of vhost-brickd: %s", error)
            return None

    def _stored_same(self, request: methods.PortEnsure) -> bool:
        """Tell whether the daemon, once back, serves what *request* wants without being told."""
        port = self._stored(request.id) or {}
        wanted = (request.socket_path, request.mode)
        return (port.get("socket_path"), port.get("mode")) == wanted

    def _surely_absent(self, port_id: str) -> bool:
        try:
            return state_file.stored_port(self.config.state_dir, port_id) is None
        except (OSError, ValueError):
            return False
