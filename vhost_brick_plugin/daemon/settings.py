# SPDX-License-Identifier: Apache-2.0
"""What the daemon runs with: the configuration, resolved to plain values.

Everything behind ``main`` takes these and never looks at oslo.config, so that
a start from the boot record (:mod:`.fastpath`) needs no oslo.config either.
"""

from __future__ import annotations

import dataclasses

from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.model import Mode

KEEP = -1
"""A uid or gid that leaves the owner or group as it is, as for chown(2)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may open a socket.

    :ivar mode: file mode bits.
    """

    uid: int = KEEP
    gid: int = KEEP
    mode: int = 0o660


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration in force.

    :ivar datapath: its name, for people.
    :ivar datapath_class: its class, as ``module:Class``.
    :ivar port_access: what the sockets of server-mode ports get.
    :ivar max_queues: queue pairs a port may offer, and offers by default.
    :ivar offloads: new ports are offered checksum and segmentation offload.
    :ivar standby: stand by for a daemon that serves already.
    """

    state_dir: str
    api_socket: str
    api_access: Access
    datapath: str
    datapath_class: str
    options: Options
    socket_dir: str
    port_access: Access
    default_mode: Mode
    max_queues: int
    offloads: bool
    standby: bool
