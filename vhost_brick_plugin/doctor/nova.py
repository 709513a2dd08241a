# SPDX-License-Identifier: Apache-2.0
"""What nova.conf lacks for guests on our ports, or has too much of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from vhost_brick_plugin import errors
from vhost_brick_plugin.conf import hugepages
from vhost_brick_plugin.doctor import cpus, kvm, nova_conf
from vhost_brick_plugin.doctor.nova_conf import OS_VIF_GROUP, NovaConf
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, fail, ok, warn

_LARGE = "hw:mem_page_size=large"

_BRIDGED_S = 2.0
"""What a restart of the daemon may take on a busy host, and a plug should wait out."""

_WIRED_S = 30
"""What Neutron and its agent may take for a port when both are busy."""


def examine(site: Site, files: Sequence[str], found: kvm.Result) -> Iterator[Finding]:
    """Look at nova-compute's configuration *files*; with none there is nothing to say."""
    if not files:
        return
    try:
        conf = nova_conf.read(files)
    except errors.ConfigError as error:
        fix = "Correct nova.conf, or run as a user who may read it."
        yield fail("nova_config", error.message, fix)
        return
    yield from check_virt_type(conf, found)
    for check in _CHECKS:
        yield from check(site, conf)


def check_virt_type(conf: NovaConf, found: kvm.Result) -> Iterator[Finding]:
    """Make sure that guests run in QEMU, and fast."""
    if conf.virt_type not in ("kvm", "qemu"):
        yield fail(
            "nova_virt_type",
            f"[libvirt] virt_type is {conf.virt_type}: only QEMU has vhost-user",
            "Set [libvirt] virt_type = kvm in nova.conf.",
        )
    elif conf.virt_type == "qemu":
        yield warn(
            "nova_virt_type",
            "[libvirt] virt_type is qemu: guests run without KVM, and Nova gives them one "
            "queue pair",
            "Set [libvirt] virt_type = kvm in nova.conf, if 'kvm' above is ok.",
        )
    elif found.fails:
        yield fail(
            "nova_virt_type",
            f"[libvirt] virt_type is kvm, and KVM runs no guest here: {found.reason}",
            "Mend KVM (see the check 'kvm'), or set [libvirt] virt_type = qemu in nova.conf.",
        )
    else:
        yield ok("nova_virt_type", "guests run under KVM")


# -- shared memory -----------------------------------------------------------


def check_memory(site: Site, conf: NovaConf) -> Iterator[Finding]:
    """Make sure that there is a way for guests to have shared memory."""
    if conf.file_backed_memory > 0:
        yield from _check_file_backed(conf)
        return
    total, free = hugepages.total_mb(), hugepages.free_mb()
    if not total:
        yield fail(
            "nova_memory",
            "no guest can have shared memory here: the host has no huge pages, and [libvirt] "
            "file_backed_memory is 0. Guests would boot with a dead network card",
            "Reserve huge pages (hugepages=NUMBER on the kernel's command line) and use flavors "
            f"with {_LARGE}; or set [libvirt] file_backed_memory in nova.conf.",
        )
    elif not free:
        yield warn(
            "nova_memory",
            f"all {total} MiB of huge pages are in use: no further guest has a place",
            "Reserve more huge pages, or move guests away.",
        )
    else:
        text = f"{free} of {total} MiB of huge pages are free, for flavors with {_LARGE}"
        yield ok("nova_memory", text)
    yield from _check_own_pages(site, conf, total)


def _check_file_backed(conf: NovaConf) -> Iterator[Finding]:
    """nova-compute itself refuses to start otherwise."""
    wrong = []
    if conf.ram_allocation_ratio != 1.0:
        wrong.append("ram_allocation_ratio = 1.0")
    if conf.reserved_host_memory_mb:
        wrong.append("reserved_host_memory_mb = 0")
    if wrong:
        yield fail(
            "nova_memory",
            "nova-compute does not start: [libvirt] file_backed_memory wants other values beside "
            "it",
            f"Set [DEFAULT] {' and '.join(wrong)} in nova.conf.",
        )
    else:
        yield ok(
            "nova_memory",
            f"all guests get shared memory from files, {conf.file_backed_memory} MiB of it; "
            "flavors with hw:mem_page_size cannot boot here",
        )


def _check_own_pages(site: Site, conf: NovaConf, total: int) -> Iterator[Finding]:
    """vhost-brickd takes huge pages too, which Nova would give to a guest."""
    takes_some = total and hugepages.mounted() and site.options["dpdk.hugepages"] != "off"
    if takes_some and not conf.reserved_huge_pages:
        yield warn(
            "nova_reserved_pages",
            f"vhost-brickd uses {site.options['dpdk.memory_mb']} MiB of huge pages, and Nova does "
            "not know: a guest may be sent here that does not fit",
            "Set [DEFAULT] reserved_huge_pages = node:0,size:2048,count:NUMBER in nova.conf, on "
            "the node and with the page size of vhost-brickd.",
        )


# -- plugging ----------------------------------------------------------------


def check_plugging(_site: Site, conf: NovaConf) -> Iterator[Finding]:
    """Make sure that a guest does not run before its port is ready, or without."""
    if not conf.vif_plugging_is_fatal or not conf.vif_plugging_timeout:
        yield warn(
            "nova_plugging",
            "Nova does not wait for Neutron to say that a port is ready: a guest may boot without "
            "a network, and nobody is told",
            "Set [DEFAULT] vif_plugging_is_fatal = True and vif_plugging_timeout = 300 in "
            "nova.conf.",
        )
    elif conf.vif_plugging_timeout < _WIRED_S:
        yield warn(
            "nova_plugging",
            f"[DEFAULT] vif_plugging_timeout is {conf.vif_plugging_timeout} s: while Neutron is "
            "busy, or its agent here restarts, boots fail",
            "Set [DEFAULT] vif_plugging_timeout = 300 in nova.conf.",
        )
    else:
        text = f"a guest waits {conf.vif_plugging_timeout} s for its ports, then fails"
        yield ok("nova_plugging", text)


def check_os_vif(site: Site, conf: NovaConf) -> Iterator[Finding]:
    """Make sure that the os-vif plugin speaks to this daemon."""
    bad = False
    for name, effect in (
        ("api_socket", "a plug finds nobody, and boots fail"),
        ("state_dir", "nova-compute stops when it starts while vhost-brickd is down"),
    ):
        theirs, ours = getattr(conf, name), site.options[f"daemon.{name}"]
        if os.path.realpath(theirs) != os.path.realpath(ours):
            bad = True
            yield fail(
                "nova_os_vif",
                f"[{OS_VIF_GROUP}] {name} is {theirs}, but vhost-brickd has {ours}: {effect}",
                f"Set {name} = {ours} in [{OS_VIF_GROUP}] of nova.conf.",
            )
    if conf.timeout < _BRIDGED_S:
        bad = True
        yield warn(
            "nova_os_vif",
            f"[{OS_VIF_GROUP}] timeout is {conf.timeout:g} s: a plug during a restart of "
            "vhost-brickd may fail",
            f"Set timeout = 5 in [{OS_VIF_GROUP}] of nova.conf.",
        )
    if conf.timeout >= conf.rpc_response_timeout:
        bad = True
        yield warn(
            "nova_os_vif",
            f"[{OS_VIF_GROUP}] timeout is {conf.timeout:g} s, [DEFAULT] rpc_response_timeout "
            f"{conf.rpc_response_timeout} s: while vhost-brickd is down, nova-api gives an attach "
            "up before it has failed, and nobody is told why",
            f"Set timeout = 5 in [{OS_VIF_GROUP}] of nova.conf.",
        )
    if not bad:
        yield ok("nova_os_vif", f"plugs go to {conf.api_socket}")


# -- processors --------------------------------------------------------------


def check_cpus(site: Site, conf: NovaConf) -> Iterator[Finding]:
    """Make sure that Nova puts no guest on the cores that workers poll on."""
    workers = set(site.workers)
    if not workers:
        return
    shared: set[int] = set()
    for name in ("cpu_dedicated_set", "cpu_shared_set"):
        try:
            shared |= workers & cpus.parse_spec(getattr(conf, name) or "")
        except ValueError as error:
            yield fail("nova_cpus", f"[compute] {name}: {error}", "Correct it in nova.conf.")
            return
    if shared:
        cores = cpus.write_list(shared)
        yield warn(
            "nova_cpus",
            f"Nova may put guests on {cores}, where workers poll: each takes the core from the "
            "other",
            f"Take {cores} out of [compute] cpu_dedicated_set and cpu_shared_set in nova.conf, "
            "or out of [dpdk] worker_cores.",
        )
    elif conf.cpu_dedicated_set is None and conf.cpu_shared_set is None:
        yield warn(
            "nova_cpus",
            "Nova counts all cores of this host as guests', those of workers too",
            "Set [compute] cpu_shared_set (and cpu_dedicated_set for pinned guests) in nova.conf "
            f"to all cores but {cpus.write_list(workers)} and those of the host itself.",
        )
    else:
        yield ok("nova_cpus", "Nova puts no guest on the cores of workers")


# -- rings -------------------------------------------------------------------


def check_queues(site: Site, conf: NovaConf) -> Iterator[Finding]:
    """Make sure that Nova asks for no more queue pairs than ports offer.

    With hw:vif_multiqueue_enabled it asks for one a vCPU, at most [libvirt]
    max_queues; and only under KVM.  A guest has no more vCPUs than the host CPUs.
    """
    offered = int(site.options["vhost.max_queues"])
    asked = min(conf.max_queues or _cpus(), _cpus())
    if conf.virt_type == "kvm" and asked > offered:
        yield warn(
            "nova_queues",
            f"a guest of {asked} vCPUs with hw:vif_multiqueue_enabled hangs at its start: ports "
            f"offer {offered} queue pairs",
            f"Set [libvirt] max_queues = {offered} in nova.conf, or raise [vhost] max_queues of "
            "vhost-brickd for ports to come.",
        )
    else:
        yield ok("nova_queues", f"ports offer {offered} queue pairs, as many as Nova asks for")


def check_ring_sizes(_site: Site, conf: NovaConf) -> Iterator[Finding]:
    """Tell how long a burst may be before the guest loses packets."""
    sizes = [size or nova_conf.RING_SIZES[0] for size in (conf.rx_queue_size, conf.tx_queue_size)]
    text = "rings have {} descriptors to the guest and {} from it".format(*sizes)
    if min(sizes) < nova_conf.RING_SIZES[-1]:
        text += "; [libvirt] rx_queue_size and tx_queue_size = 1024 take longer bursts"
    yield ok("nova_ring_sizes", text)


def _cpus() -> int:
    return os.cpu_count() or 1


_CHECKS: tuple[Callable[[Site, NovaConf], Iterator[Finding]], ...] = (
    check_memory,
    check_plugging,
    check_os_vif,
    check_cpus,
    check_queues,
    check_ring_sizes,
)
