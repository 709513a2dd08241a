# SPDX-License-Identifier: Apache-2.0
"""Uplinks, what ports let through, and large numbers, as they are written on the command line.

What a reader here takes is what the columns show, so that it can be copied.
"""

from __future__ import annotations

import argparse
from typing import Any, TypeVar

from vhost_brick_plugin import errors
from vhost_brick_plugin.model import AddressPair, Tunnel, Uplink, UplinkKind

T = TypeVar("T")

TUNNEL_FORM = "vni=N,local=ADDRESS[,remote=ADDRESS...][,port=N][,name=NAME]"


def interface(kind: UplinkKind, text: str) -> Uplink:
    """Parse ``NAME`` or ``NAME:VLAN`` of a tap or nic, for argparse."""
    name, colon, vlan = text.partition(":")
    if colon and not vlan.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME[:VLAN]")
    return _made(Uplink, kind=kind, name=name, vlan=int(vlan) if colon else None)


def tunnel(text: str) -> Uplink:
    """Parse :data:`TUNNEL_FORM`, for argparse."""
    values: dict[str, Any] = {"remotes": []}
    for word in text.split(","):
        key, _, value = word.partition("=")
        if key == "remote" and value:
            values["remotes"].append(value)
        elif key in ("vni", "port") and value.isdecimal() and key not in values:
            values[key] = int(value)
        elif key in ("local", "name") and value and key not in values:
            values[key] = value
        else:
            raise argparse.ArgumentTypeError(f"{word!r} is not part of {TUNNEL_FORM}")
    for key in ("vni", "local"):
        if key not in values:
            raise argparse.ArgumentTypeError(f"{text!r} lacks {key}=")
    name = values.pop("name", f"vxlan-{values['vni']}")
    values["remotes"] = tuple(values["remotes"])
    return _made(Uplink, kind=UplinkKind.VXLAN, name=name, tunnel=_made(Tunnel, **values))


def address_pair(text: str) -> AddressPair:
    """Parse ``MAC`` or ``MAC=PREFIX``, for argparse."""
    mac, equals, ip = text.partition("=")
    return _made(AddressPair, mac=mac, ip=ip if equals else None)


def _made(cls: type[T], **values: Any) -> T:
    try:
        return cls(**values)
    except errors.InvalidParams as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def interface_text(uplink: dict[str, Any]) -> str:
    """Return the interface and VLAN of an uplink, given as JSON."""
    vlan = "" if uplink["vlan"] is None else f":{uplink['vlan']}"
    return f"{uplink['kind']} {uplink['name']}{vlan}"


def uplink_text(uplink: dict[str, Any]) -> str:
    """Return all of an uplink, given as JSON."""
    values = uplink["tunnel"]
    if values is None:
        return interface_text(uplink)
    words = [f"vni={values['vni']}", f"local={values['local']}"]
    words += [f"remote={remote}" for remote in values["remotes"]]
    return f"{interface_text(uplink)} " + ",".join([*words, f"port={values['port']}"])


def pair_text(pair: dict[str, Any]) -> str:
    """Return an address pair, given as JSON, as :func:`address_pair` takes it."""
    return pair["mac"] if pair["ip"] is None else f"{pair['mac']}={pair['ip']}"


def si(value: float) -> str:
    """Return a number that is not negative with three digits, and k, M or G for thousands."""
    for unit in ("", "k", "M"):
        if value < 999.5:
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}G" if value < 999.5 else f"{value:.0f}G"
