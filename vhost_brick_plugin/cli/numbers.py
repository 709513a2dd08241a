# SPDX-License-Identifier: Apache-2.0
"""Numbers as they are written on the command line."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Parse a whole number from 1 on, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)
