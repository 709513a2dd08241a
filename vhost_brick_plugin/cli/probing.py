# SPDX-License-Identifier: Apache-2.0
"""What commands that look at packets have in common: where, which, and how long."""

from __future__ import annotations

import argparse

from vhost_brick_plugin.api import options
from vhost_brick_plugin.cli import bpf
from vhost_brick_plugin.probes import Filter


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add PORT, ``--filter`` and ``--seconds``."""
    parser.add_argument(
        "port",
        metavar="PORT",
        help="a port, or the brick of an uplink, such as tap/blue0: see 'graph'",
    )
    parser.add_argument(
        "--filter",
        metavar="EXPR",
        help="only packets of which this is true, in tcpdump's language: pcap-filter(7)",
    )
    parser.add_argument(
        "--seconds", type=options.seconds, metavar="SECONDS", help="end after so long"
    )


def filter_of(parsed_args: argparse.Namespace) -> Filter:
    """Return the program for ``--filter``."""
    return bpf.compile(parsed_args.filter) if parsed_args.filter else ()
