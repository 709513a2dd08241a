# SPDX-License-Identifier: Apache-2.0
"""From a port of vhost-brickd to the interface of a domain.  Pure functions."""

from __future__ import annotations

from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api.methods import PortStatus
from vhost_brick_plugin.libvirt.xml import Interface
from vhost_brick_plugin.model import Mode

DEFAULT_RECONNECT_S = 1
"""QEMU takes whole seconds; the shortest is the shortest outage."""


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
    port = status.port
    queues = tuning.get("queues") or 1
    if queues > status.offer.queues:
        raise errors.TooManyQueues(
            f"port {port.id} offers {status.offer.queues} queue pairs, {queues} asked for; "
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
