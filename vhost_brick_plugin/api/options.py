# SPDX-License-Identifier: Apache-2.0
"""The options of programs that call the daemon."""

from __future__ import annotations

import argparse

from vhost_brick_plugin.api import client


def add(parser: argparse.ArgumentParser, answer: str = "the daemon may take to answer") -> None:
    """Add ``--api-socket`` and ``--timeout``.

    :param answer: what may take so long.
    """
    parser.add_argument(
        "--api-socket",
        metavar="PATH",
        default=client.DEFAULT_SOCKET,
        help="the control socket of vhost-brickd (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        default=client.DEFAULT_TIMEOUT,
        help=f"how long {answer} (default: %(default)g)",
    )


def seconds(text: str) -> float:
    """Parse a length of time, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value
