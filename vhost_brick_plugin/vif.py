# SPDX-License-Identifier: Apache-2.0
"""What os-vif says of an interface, in our words."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from os_vif import objects

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.model import Mode


def port_request(vif: objects.VIFBase, instance_info: objects.InstanceInfo) -> methods.PortEnsure:
    """Return the request that makes a port for *vif*.

    The VIF names no queue count: the daemon offers what it is configured to,
    and the guest takes what it needs of that.

    :raises errors.InvalidParams: *vif* is of another type, or lacks what we need.
    """
    if not isinstance(vif, objects.vif.VIFVHostUser):
        raise errors.InvalidParams(
            f"VIF {vif.id} is a {type(vif).__name__}, not a VIFVHostUser",
            hint="Let Neutron bind the port with vif_type 'vhostuser'.",
        )
    network = _get(vif, "network")
    if network is None or _get(network, "id") is None:
        raise errors.InvalidParams(
            f"VIF {vif.id} names no network", hint="Let Neutron bind the port to a network."
        )
    return methods.PortEnsure(
        id=vif.id,
        network=network.id,
        # os-vif means QEMU.  Nowhere else is its mode translated.
        mode=Mode(_require(vif, "mode")).peer,
        socket_path=_require(vif, "path"),
        mac=_get(vif, "address"),
        mtu=_get(network, "mtu"),
        metadata=_metadata(vif, network, instance_info),
        create_network=True,
    )


def _metadata(
    vif: objects.VIFBase, network: objects.Network, instance_info: objects.InstanceInfo
) -> dict[str, str]:
    """Return what an operator who looks at the port wants to know of it."""
    found = {
        "instance_uuid": _get(instance_info, "uuid"),
        "instance_name": _get(instance_info, "name"),
        "project_id": _get(instance_info, "project_id"),
        "network_label": _get(network, "label"),
        "bridge": _get(_get(vif, "port_profile"), "bridge_name") or _get(network, "bridge"),
        "vif_name": _get(vif, "vif_name"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _get(obj: Any, field: str) -> Any:
    """Return a field of a versioned object, or None where it is unset: reading it would raise."""
    if obj is None or field not in obj.fields or not obj.obj_attr_is_set(field):
        return None
    return getattr(obj, field)


def _require(vif: objects.VIFBase, field: str) -> str:
    value = _get(vif, field)
    if not value:
        raise errors.InvalidParams(
            f"VIF {vif.id} has no {field}",
            hint="Its Neutron port lacks the binding detail vhostuser_socket or vhostuser_mode.",
        )
    return str(value)


@contextlib.contextmanager
def readable_errors(vif: objects.VIFBase) -> Iterator[None]:
    """Keep an error readable that leaves the block.

    Nova shows a user 255 characters of it, and os-vif begins it with all that the
    VIF says of itself, which is longer.  So the VIF says its id only.
    """
    try:
        yield
    except errors.VhostBrickError:
        kind = type(vif)
        vif.__class__ = type(kind.__name__, (kind,), {"__repr__": lambda self: self.id})
        raise
