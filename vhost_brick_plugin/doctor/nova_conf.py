# SPDX-License-Identifier: Apache-2.0
"""The few options of nova.conf that decide whether a guest gets its network.

Declared here with Nova's defaults, so that Nova itself need not be installed; all
other options of the file are passed over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from oslo_config import cfg, types

from vhost_brick_plugin import errors, state_file
from vhost_brick_plugin.api import client

DEFAULT_FILES = ("/etc/nova/nova.conf", "/etc/nova/nova-compute.conf")
"""What nova-compute reads, the later one (Debian has it) over the earlier."""

OS_VIF_GROUP = "os_vif_vhostuser_fp"
"""The group that os-vif gives our plugin under the name that Nova asks for."""

RING_SIZES = (256, 512, 1024)

# IntOpt has no choices in the oslo.config of Debian 12.
_RING_SIZE = types.Integer(choices=RING_SIZES)

_OPTS: dict[str | None, list[cfg.Opt]] = {
    None: [
        cfg.FloatOpt("ram_allocation_ratio"),
        cfg.IntOpt("reserved_host_memory_mb", default=512),
        cfg.MultiOpt("reserved_huge_pages", item_type=types.Dict()),
        cfg.BoolOpt("vif_plugging_is_fatal", default=True),
        cfg.IntOpt("vif_plugging_timeout", default=300),
        cfg.IntOpt("rpc_response_timeout", default=60),
    ],
    "libvirt": [
        cfg.StrOpt("virt_type", default="kvm"),
        cfg.IntOpt("file_backed_memory", default=0),
        cfg.Opt("rx_queue_size", type=_RING_SIZE),
        cfg.Opt("tx_queue_size", type=_RING_SIZE),
        cfg.IntOpt("max_queues", min=1),
    ],
    "compute": [cfg.StrOpt("cpu_dedicated_set"), cfg.StrOpt("cpu_shared_set")],
    OS_VIF_GROUP: [
        cfg.StrOpt("api_socket", default=client.DEFAULT_SOCKET),
        cfg.FloatOpt("timeout", default=client.DEFAULT_TIMEOUT),
        cfg.StrOpt("state_dir", default=state_file.DEFAULT_DIR),
    ],
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NovaConf:
    """The options, by their names in nova.conf.

    :ivar file_backed_memory: MiB; 0: off.
    :ivar reserved_huge_pages: how many entries there are.
    :ivar vif_plugging_timeout: seconds, as the other time-outs.
    :ivar max_queues: None: as many as a guest has vCPUs.
    :ivar api_socket: this and the two after it are our os-vif plugin's.
    """

    virt_type: str
    file_backed_memory: int
    ram_allocation_ratio: float | None
    reserved_host_memory_mb: int
    reserved_huge_pages: int
    vif_plugging_is_fatal: bool
    vif_plugging_timeout: int
    rpc_response_timeout: int
    rx_queue_size: int | None
    tx_queue_size: int | None
    max_queues: int | None
    cpu_dedicated_set: str | None
    cpu_shared_set: str | None
    api_socket: str
    timeout: float
    state_dir: str


def read(files: Sequence[str]) -> NovaConf:
    """Read nova-compute's configuration from *files*, the later over the earlier.

    :raises errors.ConfigError: one cannot be read, or a value is not what Nova takes.
    """
    conf = cfg.ConfigOpts()
    for group, opts in _OPTS.items():
        conf.register_opts(opts, group=group)
    try:
        conf([], project="nova", default_config_files=list(files), default_config_dirs=[])
        values = {
            opt.name: conf[opt.name] if group is None else conf[group][opt.name]
            for group, opts in _OPTS.items()
            for opt in opts
        }
    except (cfg.Error, ValueError) as error:
        raise errors.ConfigError(f"nova.conf: {error}") from error
    values["reserved_huge_pages"] = len(values["reserved_huge_pages"] or ())
    return NovaConf(**values)
