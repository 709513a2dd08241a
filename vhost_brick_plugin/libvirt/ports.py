# SPDX-License-Identifier: Apache-2.0
"""From a port of vhost-brickd to the interface of a domain.  Pure functions."""

from __future__ import annotations

import dataclasses
import os.path
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api.methods import ConfigResult, PortStatus
from vhost_brick_plugin.libvirt import document
from vhost_brick_plugin.libvirt.xml import Interface
from vhost_brick_plugin.model import Mode, Port, default_mac

DEFAULT_RECONNECT_S = 1
"""QEMU takes whole seconds; the shortest is the shortest outage."""

_ANY_MTU = 1500
"""Of a port that does not exist: it will have its network's, and no interface names it."""


def interface_for(
    status: PortStatus, *, reconnect_s: int | None = None, **tuning: Any
) -> Interface:
    """Return the interface that fits the port in *status*.

    :param reconnect_s: seconds between QEMU's tries where QEMU is the client:
        None for the default, 0 for never.  Of no meaning where it is the server.
    :param tuning: other fields of :class:`.xml.Interface`.
    :raises errors.TooManyQueues: QEMU would hang at its start.
    :raises errors.InvalidParams: a value that QEMU or libvirt would refuse.
    """
    port = dataclasses.replace(status.port, queues=status.offer.queues)
    return interface_of(port, reconnect_s=reconnect_s, **tuning)


def interface_of(port: Port, *, reconnect_s: int | None = None, **tuning: Any) -> Interface:
    """Return the interface that fits *port*, which may not exist yet; see above."""
    queues = tuning.get("queues") or 1
    if queues > port.queues:
        raise errors.TooManyQueues(
            f"port {port.id} offers {port.queues} queue pairs, {queues} asked for; "
            "QEMU would hang at its start",
            hint="Ask for fewer, or give the port more: vhost-brick port create "
            f"{port.id} --network {port.network} --queues {queues}",
        )
    if reconnect_s is None:
        reconnect_s = DEFAULT_RECONNECT_S
    reconnects = port.mode is Mode.SERVER and reconnect_s != 0
    return Interface(
        mode=port.mode,
        path=port.socket_path,
        mac=port.mac,
        reconnect_s=reconnect_s if reconnects else None,
        **tuning,
    )


def planned(id: str, network: str, mode: Mode | None, config: ConfigResult) -> Port:
    """Return the port that the daemon would make if it was asked for one with these values.

    :param mode: None: as the configuration says.
    :param config: the daemon's.
    """
    return Port(
        id=id,
        network=network,
        mode=mode or Mode(config.options["vhost.default_mode"]),
        socket_path=os.path.join(config.options["vhost.socket_dir"], id),
        mac=default_mac(id),
        mtu=_ANY_MTU,
        queues=int(config.options["vhost.max_queues"]),
    )


def keep_mac(text: str, interface: Interface) -> Interface:
    """Return *interface* with the MAC that it has in the domain document *text*, if any."""
    for present in document.interfaces(text):
        if present.path == interface.path and present.mac is not None:
            return dataclasses.replace(interface, mac=present.mac)
    return interface
