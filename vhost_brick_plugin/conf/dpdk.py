# SPDX-License-Identifier: Apache-2.0
"""``[dpdk]``: cores, memory and NICs of the datapath, and what they come to on this host."""

from __future__ import annotations

import shlex
from typing import Any

from oslo_config import cfg

from vhost_brick_plugin.conf import hugepages
from vhost_brick_plugin.conf.types import CoreList, Nic, parse_cores, parse_nics
from vhost_brick_plugin.datapath.base import Options

GROUP = cfg.OptGroup("dpdk", title="Cores, memory and NICs of the datapath")

OPTS = [
    cfg.Opt(
        "worker_cores",
        type=CoreList(),
        default="",
        help="Cores that poll for packets, one worker on each, such as '2,4-5'. Each is busy all "
        "the time while there is traffic: isolate them from the scheduler and keep guests off "
        "them. Empty: one worker, on whatever core the kernel gives it.",
    ),
    cfg.IntOpt(
        "idle_sleep_us",
        default=500,
        min=0,
        max=1000 * 1000,
        help="Without a packet for so many microseconds a worker sleeps, and guests are asked to "
        "wake it. The first packet then waits some tens of microseconds, and costs its guest an "
        "exit. 0: workers poll all the time. With a 'nic' or a frontend that cannot wake it, a "
        "worker looks again after 20 to 200 microseconds instead.",
    ),
    cfg.Opt(
        "control_cores",
        type=CoreList(),
        default="",
        help="Cores for everything else in the daemon. Empty: any.",
    ),
    cfg.IntOpt(
        "memory_mb",
        default=256,
        min=64,
        max=1024 * 1024,
        help="Memory for packet buffers and DPDK itself, in MiB. 'mbufs' need about 2.5 KiB each.",
    ),
    cfg.StrOpt(
        "hugepages",
        default="auto",
        choices=[
            ("auto", "if enough are free and a hugetlbfs is mounted when the daemon starts"),
            ("on", "always; the daemon does not start without"),
            ("off", "never"),
        ],
        help="Whether 'memory_mb' comes from hugepages. Guests need shared memory either way, "
        "not necessarily hugepages.",
    ),
    cfg.StrOpt(
        "extra_eal_args",
        default="",
        help="More arguments for DPDK's environment abstraction layer, quoted as in a shell.",
    ),
    cfg.IntOpt(
        "mbufs",
        default=16384,
        min=1024,
        max=16 * 1024 * 1024,
        help="Packet buffers in the pool that all ports share. Packets are dropped when it is "
        "empty.",
    ),
    cfg.MultiOpt(
        "nic",
        item_type=Nic(),
        sample_default=["phys0:0000:81:00.0", "phys1:net_af_packet0,iface=eth1"],
        help="A network card, or another device that DPDK has a driver for, that networks may "
        "have as an uplink: a name of at most 15 characters for it, and DPDK's devargs; repeat "
        "for more. A PCI device must be bound to vfio-pci (a bifurcated driver such as mlx5 "
        "apart); without any, DPDK does not look at the PCI bus. The device is started when "
        "the first network takes it. A change takes a restart of the daemon.",
    ),
    cfg.IntOpt(
        "mac_table_size",
        default=4096,
        min=8,
        max=1024 * 1024,
        help="MAC addresses that the switch of one network remembers; a power of two. Frames to "
        "addresses beyond that are flooded.",
    ),
    cfg.IntOpt(
        "mac_ageing",
        default=300,
        min=0,
        max=24 * 60 * 60,
        help="Seconds after which a MAC address that has not been seen is forgotten. 0: never.",
    ),
]


def resolve(group: Any) -> Options:
    """Return the options of *group*, with ``auto`` decided for this host at this time.

    :raises ValueError: an option has a value that its type cannot rule out.
    """
    if group.mac_table_size & (group.mac_table_size - 1):
        raise ValueError(f"mac_table_size = {group.mac_table_size} is not a power of two")
    workers, control = parse_cores(group.worker_cores), parse_cores(group.control_cores)
    if shared := set(workers) & set(control):
        raise ValueError(f"core {min(shared)} is in both worker_cores and control_cores")
    return Options(
        worker_cores=workers,
        control_cores=control,
        idle_sleep_us=group.idle_sleep_us,
        memory_mb=group.memory_mb,
        hugepages=_use_hugepages(group.hugepages, group.memory_mb),
        extra_eal_args=tuple(shlex.split(group.extra_eal_args)),
        mbufs=group.mbufs,
        nics=parse_nics(group.nic or ()),
        mac_table_size=group.mac_table_size,
        mac_ageing_s=group.mac_ageing,
    )


def _use_hugepages(choice: str, memory_mb: int) -> bool:
    if choice == "auto":
        return hugepages.mounted() and hugepages.free_mb() >= memory_mb
    return choice == "on"
