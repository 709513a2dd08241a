# SPDX-License-Identifier: Apache-2.0
"""The os-vif plugin's options, which stand in nova.conf.

os-vif registers them, in a group of its own for each name under which it loads the plugin.
"""

from __future__ import annotations

from oslo_config import cfg

from vhost_brick_plugin import state_file
from vhost_brick_plugin.api import client

NAMES = ("vhostuser_fp", "vhost_brick")
"""The plugin's entry points: what unmodified Nova asks for, and our own name."""

REFUSE, WARN = "refuse", "warn"
"""Values of ``qemu_client``."""

OPTS = [
    cfg.StrOpt(
        "api_socket",
        default=client.DEFAULT_SOCKET,
        help="The control socket of vhost-brickd ([daemon] api_socket there).",
    ),
    cfg.FloatOpt(
        "timeout",
        default=client.DEFAULT_TIMEOUT,
        min=0.1,
        help="Seconds a plug or unplug waits for vhost-brickd before it fails. "
        "A restart of the daemon is bridged within that time.",
    ),
    cfg.StrOpt(
        "state_dir",
        default=state_file.DEFAULT_DIR,
        help="Where vhost-brickd stores its ports ([daemon] state_dir there). Read, never "
        "written, while the daemon is unreachable.",
    ),
    cfg.StrOpt(
        "qemu_client",
        default=REFUSE,
        choices=[
            (REFUSE, "fail the plug of a new port"),
            (WARN, "plug it, and log a warning each time"),
        ],
        help="What to do with a VIF in which QEMU is the client (its Neutron port says "
        "vhostuser_mode 'client'). Nova does not tell QEMU to reconnect, so the first "
        "restart of vhost-brickd cuts such a VM off until it is rebooted hard.",
    ),
]


def list_opts() -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options by group, as oslo-config-generator wants them."""
    return [(f"os_vif_{name}", OPTS) for name in NAMES]
