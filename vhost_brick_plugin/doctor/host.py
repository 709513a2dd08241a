# SPDX-License-Identifier: Apache-2.0
"""What the host must have: DPDK, memory, KVM."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from vhost_brick_plugin.conf import hugepages
from vhost_brick_plugin.doctor import kvm
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn

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
        yield ok("dpdk", text)


def _no_dpdk(reason: str) -> Finding:
    return fail(
        "dpdk",
        f"the native module cannot be used: {reason}",
        "Install libdpdk-dev and pkg-config, then vhost-brick-plugin again without "
        "VHOST_BRICK_PLUGIN_ONLY.",
    )


def check_hugepages(site: Site) -> Iterator[Finding]:
    """Look for hugepages: wanted for speed, needed where the configuration says so."""
    choice = site.options.get("dpdk.hugepages", "auto")
    missing = fail if choice == "on" and not site.daemon_is_up else warn
    free, mounted = hugepages.free_mb(), hugepages.mounted()
    wanted = int(site.options.get("dpdk.memory_mb", 0))
    if not free:
        yield missing(
            "hugepages",
            "none free: what has none yet runs on ordinary memory, slower",
            "sysctl -w vm.nr_hugepages=NUMBER (of 2 MiB), early after boot; guests may use "
            "<source type='memfd'/> instead",
        )
    elif not mounted:
        yield missing(
            "hugepages",
            f"{free} MiB free, but no hugetlbfs is mounted",
            "mount -t hugetlbfs hugetlbfs /dev/hugepages",
        )
    elif not site.daemon_is_up and choice != "off" and free < wanted:
        effect = "does not start" if choice == "on" else "would run on ordinary memory, slower"
        yield missing(
            "hugepages",
            f"{free} MiB free, and [dpdk] memory_mb is {wanted}: vhost-brickd {effect}",
            f"Reserve {wanted - free} MiB more (sysctl -w vm.nr_hugepages=NUMBER, of 2 MiB), or "
            "set [dpdk] memory_mb lower.",
        )
    elif choice != "off" and _is_on_ordinary_memory(site):
        yield warn(
            "hugepages",
            f"{free} MiB free, but when vhost-brickd started there were not enough: it runs on "
            "ordinary memory, slower",
            "Restart vhost-brickd; reserve hugepages before it starts (hugepages=NUMBER on the "
            "kernel's command line).",
        )
    else:
        yield ok("hugepages", f"{free} MiB free")


def _is_on_ordinary_memory(site: Site) -> bool:
    return bool(site.hello and "no hugepages" in site.hello.datapath_info.get("memory", ""))


def check_kvm(result: kvm.Result) -> Iterator[Finding]:
    """Tell what is known of KVM; whoever is configured to need it fails for the lack of it."""
    if result.state is kvm.State.WORKS:
        yield ok("kvm", result.reason)
    elif result.state is kvm.State.MISSING:
        yield warn(
            "kvm",
            f"{result.reason}: guests run without KVM, very slowly",
            "Turn on virtualisation in the firmware (or nested virtualisation in the host "
            "below), and load kvm_intel or kvm_amd.",
        )
    elif result.state is kvm.State.BROKEN:
        yield warn(
            "kvm",
            f"{result.reason}; an ordinary guest would hang",
            "Define domains with type='qemu' on this machine, or move to one whose KVM works.",
        )
    else:
        yield warn("kvm", f"not checked: {result.reason}", "Run as root.")
