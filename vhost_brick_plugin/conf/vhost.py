# SPDX-License-Identifier: Apache-2.0
"""``[vhost]``: the sockets that QEMU sees, and defaults of new ports."""

from __future__ import annotations

from oslo_config import cfg

from vhost_brick_plugin.conf.types import FileMode
from vhost_brick_plugin.model import MAX_QUEUE_PAIRS, Mode

GROUP = cfg.OptGroup("vhost", title="vhost-user sockets and ports")

OPTS = [
    cfg.StrOpt(
        "socket_dir",
        default="/run/vhost-brick/sockets",
        help="Directory of the sockets of ports that name no path of their own. Made if it is "
        "missing, with the owner and group below and mode 2770, so that QEMU can make sockets "
        "in it too.",
    ),
    cfg.StrOpt(
        "socket_owner",
        default="",
        help="User that owns the sockets of server-mode ports: the one QEMU runs as "
        "(libvirt-qemu on Debian). Name or number; empty leaves the daemon's own.",
    ),
    cfg.StrOpt(
        "socket_group",
        default="",
        help="Group of those sockets. Name or number; empty leaves the daemon's own.",
    ),
    cfg.Opt(
        "socket_mode",
        type=FileMode(),
        default="0660",
        help="File mode of those sockets. Who may write to one can take the guest's place.",
    ),
    cfg.ListOpt(
        "peer_users",
        default=[],
        help="Users, by name or number, whose processes may be at the other end of a vhost-user "
        "socket, in either mode: those that QEMU runs as (libvirt-qemu on Debian, and root if "
        "libvirt connects for it). Empty: whoever the rights of the socket let.",
    ),
    cfg.StrOpt(
        "default_mode",
        default=Mode.CLIENT.value,
        choices=[
            (Mode.CLIENT.value, "QEMU listens and the brick connects: the shortest outages"),
            (Mode.SERVER.value, "the brick listens; QEMU must be told to reconnect"),
        ],
        help="Who listens on the socket of a port that does not say.",
    ),
    cfg.BoolOpt(
        "offloads",
        default=True,
        help="Offer new ports checksum and TCP segmentation offload. Without them guests send "
        "and get nothing but whole frames of their MTU. Turn it off where guests have XDP "
        "programs on their cards: they ask QEMU to turn offloads off, and it does not pass "
        "that on.",
    ),
    cfg.IntOpt(
        "max_queues",
        default=16,
        min=1,
        max=MAX_QUEUE_PAIRS,
        help="Queue pairs a port may offer at most, and the number it offers if it does not say. "
        "A guest may use fewer.",
    ),
]
