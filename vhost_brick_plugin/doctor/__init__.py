# SPDX-License-Identifier: Apache-2.0
"""Checks of a host: what would keep VMs from their ports, and the fix.

Each check is a function that yields findings and changes nothing.  A check
that cannot be made says so in a finding; none of them raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vhost_brick_plugin.doctor import domains, files, host, nova, rights
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding


def examine(
    site: Site, connect: str | None = None, nova_files: Sequence[str] = ()
) -> Iterator[Finding]:
    """Yield what is found on this host, one check after the other.

    :param connect: libvirt's URI, or None for libvirt's default.
    :param nova_files: nova-compute's configuration; none: this is no host of Nova's.
    """
    yield site.daemon
    yield from rights.check(site.rights)
    yield from host.check_dpdk()
    yield from host.check_hugepages(site)
    yield from host.check_kvm()
    yield from files.check_api_socket(site)
    yield from files.check_state_dir(site)
    yield from nova.examine(site, nova_files)
    with domains.examine(connect) as libvirt:
        yield libvirt.access
        yield from files.check_socket_dir(site, libvirt.qemu_user)
        yield from files.check_socket_rights(site, libvirt.qemu_user)
        yield from libvirt.check_domains()
