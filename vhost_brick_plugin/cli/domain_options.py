# SPDX-License-Identifier: Apache-2.0
"""The options that commands of ``vhost-brick domain`` share."""

from __future__ import annotations

import argparse
from typing import Any

from vhost_brick_plugin.cli import base
from vhost_brick_plugin.libvirt import ports, xml
from vhost_brick_plugin.model import Mode


def add_connect(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which libvirt."""
    parser.add_argument(
        "--connect", metavar="URI", help="libvirt daemon (default: as virsh would take)"
    )


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which of a domain's documents."""
    # None, not False, where an option is not given: then the domain decides.
    for name, what in (("live", "the running guest"), ("config", "the stored definition")):
        parser.add_argument(f"--{name}", action="store_true", default=None, help=f"change {what}")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add the option of commands that change a domain."""
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="change nothing, and print what would change in the domain's document",
    )


def add_hook(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a port the domain's."""
    group = parser.add_argument_group("ports that come and go with the domain")
    group.add_argument(
        "--network",
        metavar="NET",
        help="the port is the domain's: the qemu hook makes it on this network when the domain "
        "starts, and removes it when it is gone",
    )
    group.add_argument(
        "--mode",
        type=Mode,
        choices=list(Mode),
        help="of such a port; 'client': QEMU listens on the socket; 'server': the brick does "
        "(default: as [vhost] default_mode says)",
    )


def add_tuning(parser: argparse.ArgumentParser) -> None:
    """Add the options of the interface that both domain and port have a say in."""
    group = parser.add_argument_group("tuning of the interface")
    group.add_argument("--queues", type=int, metavar="N", help="queue pairs")
    for name in ("rx", "tx"):
        group.add_argument(
            f"--{name}-queue-size", type=int, metavar="N", help="descriptors: 256, 512 or 1024"
        )
    group.add_argument(
        "--reconnect",
        type=int,
        metavar="SECONDS",
        help="between QEMU's tries, where QEMU is the client; 0: never "
        f"(default: {ports.DEFAULT_RECONNECT_S})",
    )
    group.add_argument(
        "--packed",
        type=_on_off,
        metavar="on|off",
        help="packed rings; they do not survive a restart of vhost-brickd",
    )
    group.add_argument("--event-idx", type=_on_off, metavar="on|off")
    group.add_argument(
        "--offload",
        type=_offload,
        metavar="SIDE.NAME=on|off",
        action="append",
        default=[],
        help=f"SIDE host: {', '.join(xml.HOST_OFFLOADS)}; guest: {', '.join(xml.GUEST_OFFLOADS)}; "
        "repeat for more",
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the interface as a device."""
    group = parser.add_argument_group("device")
    group.add_argument("--alias", help=f"libvirt's name of the device: {xml.USER_ALIAS}...")
    group.add_argument("--boot-order", type=int, metavar="N")
    group.add_argument("--link", choices=("up", "down"), help="state of the guest's link")
    group.add_argument(
        "--teaming", action="store_true", help="it is the lasting half of a team with a hostdev"
    )


def tuning(parsed_args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of ports.interface_for that the options say."""
    link = getattr(parsed_args, "link", None)
    flags = parsed_args.offload
    return {
        "queues": parsed_args.queues,
        "rx_queue_size": parsed_args.rx_queue_size,
        "tx_queue_size": parsed_args.tx_queue_size,
        "reconnect_s": parsed_args.reconnect,
        "packed": parsed_args.packed,
        "event_idx": parsed_args.event_idx,
        "host": {name: on for side, name, on in flags if side == "host"},
        "guest": {name: on for side, name, on in flags if side == "guest"},
        "alias": getattr(parsed_args, "alias", None),
        "boot_order": getattr(parsed_args, "boot_order", None),
        "link_up": None if link is None else link == "up",
        "teaming": getattr(parsed_args, "teaming", False) or None,
    }


def _on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'on' nor 'off'")
    return text == "on"


def _offload(text: str) -> tuple[str, str, bool]:
    what, value = base.pair(text)
    side, _, name = what.partition(".")
    if side not in ("host", "guest"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form SIDE.NAME=on, SIDE host or guest"
        )
    return side, name, _on_off(value)
