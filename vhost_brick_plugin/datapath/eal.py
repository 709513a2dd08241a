# SPDX-License-Identifier: Apache-2.0
"""How DPDK's environment abstraction layer is started."""

from __future__ import annotations

import os
from typing import Any

from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.datapath.devargs import is_pci

NO_CARD = "0000:00:00.0"
"""The host's own bridge, which no network driver takes."""


def beginning(options: Options) -> dict[str, Any]:
    """Return what DPDK is started with, as JSON: :func:`.prelude.begin`'s."""
    return {
        "eal_args": eal_args(options),
        "worker_cores": list(options.worker_cores) or [-1],
        "control_cores": list(options.control_cores),
        # Or DPDK would take a directory of a name that everybody knows in /tmp.
        "environment": {"XDG_RUNTIME_DIR": options.runtime_dir}
        if options.runtime_dir and os.geteuid() != 0
        else {},
    }


def cards_of(options: Options) -> list[str]:
    """Return the network cards that are taken at the start, by their devargs."""
    return [args for args in options.nics.values() if is_pci(args)]


def eal_args(options: Options) -> list[str]:
    """Return DPDK's start-up arguments, less the cores.

    ``--in-memory`` leaves no lock or runtime file that a restart could stumble
    over; DPDK 22.11 refuses it without hugepages, where ``--no-shconf`` serves.
    Telemetry and a look at more of the PCI bus than is used only lengthen an outage.
    """
    memory = ["--in-memory"] if options.hugepages else ["--no-huge", "--no-shconf"]
    cards = cards_of(options)
    if cards and options.standby:
        # EAL would take what the other process has; so it is let find nothing until it is asked.
        cards = [NO_CARD]
    allowed = [word for card in cards for word in ("-a", card)]
    return [
        *memory,
        "-m",
        str(options.memory_mb),
        *(allowed or ["--no-pci"]),
        "--no-telemetry",
        "--iova-mode=va",
        # Every refused connection would be a line; what matters comes as an event.
        "--log-level=lib.vhost.config:error",
        *options.extra_eal_args,
    ]
