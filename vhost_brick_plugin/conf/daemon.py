# SPDX-License-Identifier: Apache-2.0
"""``[daemon]``: where vhost-brickd keeps its state and how it is reached."""

from __future__ import annotations

from oslo_config import cfg

from vhost_brick_plugin import state_file
from vhost_brick_plugin.api import client
from vhost_brick_plugin.conf.types import FileMode

GROUP = cfg.OptGroup("daemon", title="The daemon itself")

OPTS = [
    cfg.StrOpt(
        "state_dir",
        default=state_file.DEFAULT_DIR,
        help="Directory of the stored networks and ports. It must last over a reboot of the host, "
        "and no two daemons may share it. Made if it is missing.",
    ),
    cfg.StrOpt(
        "api_socket",
        default=client.DEFAULT_SOCKET,
        help="Unix socket of the control API, at most 103 bytes long. Its directory is made if "
        "it is missing.",
    ),
    cfg.StrOpt(
        "api_socket_group",
        default="",
        help="Group that owns the control socket, besides root, and that may read the state "
        "file: the group nova-compute runs in. Name or number; empty leaves the daemon's own.",
    ),
    cfg.Opt(
        "api_socket_mode",
        type=FileMode(),
        default="0660",
        help="File mode of the control socket. Who may write to it may change every port.",
    ),
    cfg.BoolOpt(
        "standby",
        default=False,
        help="Whether a daemon that finds another one serving stands by for it, ready to take "
        "over when that one dies or hands over, rather than failing. Two daemons with this "
        "option and the same 'state_dir' and 'api_socket' replace each other for ever. The "
        "standby has 'memory_mb' of its own.",
    ),
    cfg.IntOpt(
        "watchdog_s",
        default=2,
        min=0,
        max=3600,
        help="Seconds after which the daemon ends itself, to be started again, when a thread that "
        "guests depend on hangs: guests recover from that, and not from a datapath that hangs. "
        "0: never, for work with a debugger.",
    ),
    cfg.BoolOpt(
        "core_dumps",
        default=False,
        help="Whether the daemon may leave a core file when it dies. Guest memory is never in "
        "one, but packets are, and all that the daemon knows. It takes a LimitCORE of the "
        "service above 0, too.",
    ),
    cfg.StrOpt(
        "datapath",
        default="dpdk",
        help="What moves the packets: 'dpdk', or 'fake' for trying out the control side without "
        "any traffic. Packages may install more, under the entry point group "
        "vhost_brick.datapath.",
    ),
]
