# SPDX-License-Identifier: Apache-2.0
"""DPDK's devargs: a device, and after commas what its driver should know of it."""

from __future__ import annotations

import re

_PCI = re.compile(r"([0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]\Z")
_VIRTUAL = re.compile(r"net_[a-z0-9_]+\Z")


def device(devargs: str) -> str:
    """Return the device that *devargs* is about."""
    return devargs.partition(",")[0]


def is_pci(devargs: str) -> bool:
    """Tell whether that is a device on the PCI bus."""
    return _PCI.match(device(devargs)) is not None


def check(devargs: str) -> None:
    """Raise ValueError unless *devargs* can be of a network device."""
    if any(c.isspace() for c in devargs):
        raise ValueError(f"{devargs!r} has a space in it")
    name = device(devargs)
    if not is_pci(devargs) and not _VIRTUAL.match(name):
        raise ValueError(
            f"{name!r} is neither a PCI address such as '0000:81:00.0' nor one of DPDK's virtual "
            "devices such as 'net_af_packet0'; an interface of the kernel is "
            "'net_af_packet0,iface=NAME'"
        )
