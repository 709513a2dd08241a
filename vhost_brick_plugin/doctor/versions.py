# SPDX-License-Identifier: Apache-2.0
"""Versions of QEMU, libvirt and DPDK, and what is known to be wrong with them.

Each was measured with Debian 12's versions, or is published; see doc/source/troubleshooting.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn
from vhost_brick_plugin.libvirt.checks import FIRST_SAFE_TCG_QEMU

Version = tuple[int, int]

OLDEST_LIBVIRT: Version = (9, 0)
OLDEST_DPDK: Version = (22, 11)

_RTE_VHOST_CVES = (
    "CVE-2026-86561, CVE-2026-86565, CVE-2026-86566, CVE-2026-93683 (guests can crash the process)"
)
"""In librte_vhost up to 22.11.11.  Our own rings and protocol do not use it."""


def write(version: Version) -> str:
    """Return *version* as people write it."""
    return f"{version[0]}.{version[1]}"


def check_qemu(version: Version | None, kvm_works: bool) -> Iterator[Finding]:
    """Judge QEMU's version; nothing is said where it is not known."""
    if version is None:
        return
    if version < FIRST_SAFE_TCG_QEMU and not kvm_works:
        yield warn(
            "qemu",
            f"QEMU {write(version)} without KVM crashes (msix_set_vector_notifiers) when a guest "
            "uses MSI-X on a vhost-user interface",
            "Boot Linux guests with pci=nomsi, set vectors=0 by <qemu:override> "
            "(doc/source/libvirt.rst), or use KVM or QEMU 10.",
        )
    else:
        yield ok("qemu", f"QEMU {write(version)}; no known fault of it matters here")


def check_libvirt(version: Version | None) -> Iterator[Finding]:
    """Judge libvirt's version; nothing is said where it is not known."""
    if version is None:
        return
    if version < OLDEST_LIBVIRT:
        yield warn(
            "libvirt_version",
            f"libvirt {write(version)} is older than any that was tried; some take no <reconnect> "
            "or <source type='memfd'/>",
            f"Take libvirt {write(OLDEST_LIBVIRT)} or newer.",
        )
    else:
        text = f"libvirt {write(version)}; no known fault of it matters here"
        yield ok("libvirt_version", text)


def check_dpdk(site: Site) -> Iterator[Finding]:
    """Judge the DPDK that the daemon runs with; nothing is said where it runs with none."""
    text = site.hello.datapath_info.get("dpdk", "") if site.hello else ""
    match = re.search(r"(\d+)\.(\d+)", text)
    if match is None:
        return
    version = int(match[1]), int(match[2])
    nics = f"{site.options.get('dpdk.nic', '')} {site.options.get('dpdk.extra_eal_args', '')}"
    if version < OLDEST_DPDK:
        yield fail(
            "dpdk_version",
            f"vhost-brickd runs with {text}, which nobody has tried it with",
            f"Install DPDK {write(OLDEST_DPDK)} or newer, and vhost-brick-plugin again.",
        )
    elif "net_vhost" in nics or "eth_vhost" in nics:
        yield warn(
            "dpdk_version",
            f"a net_vhost device is configured, and {text} may have {_RTE_VHOST_CVES}",
            "Take it out of [dpdk] nic and extra_eal_args, and use a port in its place; or see "
            "that your DPDK has the fixes.",
        )
    else:
        yield ok("dpdk_version", f"{text}; its vhost library, with known faults, is not in use")
