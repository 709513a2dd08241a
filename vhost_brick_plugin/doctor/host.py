# SPDX-License-Identifier: Apache-2.0
"""What the host must have: DPDK, memory, KVM."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from vhost_brick_plugin.conf import hugepages
from vhost_brick_plugin.doctor import kvm
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, Level

_IMPORT = """
from vhost_brick_plugin.datapath.dpdk import DpdkDatapath
print(DpdkDatapath().info()["dpdk"])
"""
_IMPORT_TIMEOUT_S = 20.0


def check_dpdk() -> Iterator[Finding]:
    """Load the native module, in another process: a bad one may crash its loader."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT],
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield _no_dpdk(f"it did not load within {_IMPORT_TIMEOUT_S:g} s")
        return
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        yield _no_dpdk(lines[-1] if lines else f"it ended with status {done.returncode}")
    else:
        text = f"the native module loads, with {done.stdout.strip()}"
        yield Finding(check="dpdk", level=Level.OK, text=text)


def _no_dpdk(reason: str) -> Finding:
    return Finding(
        check="dpdk",
        level=Level.FAIL,
        text=f"the native module cannot be used: {reason}",
        fix="Install libdpdk-dev and pkg-config, then vhost-brick-plugin again without "
        "VHOST_BRICK_PLUGIN_ONLY.",
    )


def check_hugepages(site: Site) -> Iterator[Finding]:
    """Look for hugepages: wanted for speed, needed where the configuration says so."""
    wanted = site.options.get("dpdk.hugepages", "auto")
    missing = Level.FAIL if wanted == "on" and not site.daemon_is_up else Level.WARN
    free, mounted = hugepages.free_mb(), hugepages.mounted()
    if free and mounted:
        text = f"{free} MiB free"
        yield Finding(check="hugepages", level=Level.OK, text=text)
    elif free:
        yield Finding(
            check="hugepages",
            level=missing,
            text=f"{free} MiB free, but no hugetlbfs is mounted",
            fix="mount -t hugetlbfs hugetlbfs /dev/hugepages",
        )
    else:
        yield Finding(
            check="hugepages",
            level=missing,
            text="none free: what has none yet runs on ordinary memory, slower",
            fix="sysctl -w vm.nr_hugepages=NUMBER (of 2 MiB), early after boot; guests may use "
            "<source type='memfd'/> instead",
        )


def check_kvm() -> Iterator[Finding]:
    """Run a tiny guest under KVM: a device node alone proves nothing."""
    result = kvm.probe()
    if result.works:
        yield Finding(check="kvm", level=Level.OK, text=result.reason)
    elif not result.present:
        yield Finding(
            check="kvm",
            level=Level.WARN,
            text=f"{result.reason}: guests run without KVM, very slowly",
            fix="Turn on virtualisation in the firmware (or nested virtualisation in the host "
            "below), and load kvm_intel or kvm_amd.",
        )
    else:
        yield Finding(
            check="kvm",
            level=Level.FAIL,
            text=f"{result.reason}; an ordinary guest would hang",
            fix="Define domains with type='qemu' on this machine, or move to one whose KVM works.",
        )
