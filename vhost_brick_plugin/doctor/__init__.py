# SPDX-License-Identifier: Apache-2.0
"""Checks of a host: what would keep VMs from their ports, and the fix.

Each check is a function that yields findings and changes nothing.  A check
that cannot be made says so in a finding; none of them raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vhost_brick_plugin.doctor import (
    confinement,
    cpus,
    domains,
    files,
    host,
    kvm,
    nova,
    numa,
    pages,
    processes,
    rights,
    sockets,
    traffic,
    versions,
)
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding


def examine(
    site: Site, connect: str | None = None, nova_files: Sequence[str] = ()
) -> Iterator[Finding]:
    """Yield what is found on this host, one check after the other.

    :param connect: libvirt's URI, or None for libvirt's default.
    :param nova_files: nova-compute's configuration; none: this is no host of Nova's.
    """
    yield from _examine_daemon(site)
    yield from _examine_host(site)
    yield from _examine_files(site)
    found = kvm.probe()
    yield from host.check_kvm(found)
    yield from nova.examine(site, nova_files, found)
    yield from _examine_guests(site, connect, bool(nova_files), found)


def _examine_daemon(site: Site) -> Iterator[Finding]:
    yield site.daemon
    yield from processes.check_daemons(site)
    yield from processes.check_standby(site)
    yield from rights.check(site.rights)
    yield from traffic.check_datapath(site)
    yield from traffic.check_faults(site)
    yield from traffic.check_mtu(site)


def _examine_host(site: Site) -> Iterator[Finding]:
    yield from host.check_dpdk()
    yield from versions.check_dpdk(site)
    yield from host.check_hugepages(site)
    yield from pages.check_pools(pages.pools())
    yield from cpus.check_worker_cores(site)
    yield from cpus.check_isolation(site)
    yield from cpus.check_clock()
    yield from numa.check_workers(site)


def _examine_files(site: Site) -> Iterator[Finding]:
    yield from files.check_api_socket(site)
    yield from files.check_state_dir(site)
    yield from sockets.check_sockets(site)
    lines = confinement.log_lines()
    yield from confinement.check_apparmor(site, lines)
    yield from confinement.check_selinux(site, lines)


def _examine_guests(
    site: Site, connect: str | None, is_nova_host: bool, found: kvm.Result
) -> Iterator[Finding]:
    is_needed = is_nova_host or domains.is_libvirt_host(connect)
    with domains.examine(connect, is_needed) as libvirt:
        yield libvirt.access
        yield from versions.check_qemu(libvirt.qemu, not found.fails)
        yield from versions.check_libvirt(libvirt.libvirt)
        yield from files.check_socket_dir(site, libvirt.qemu_user, is_needed)
        yield from files.check_socket_rights(site, libvirt.qemu_user)
        yield from sockets.check_rights(site, libvirt.qemu_user)
        yield from libvirt.check_domains(site, found)
