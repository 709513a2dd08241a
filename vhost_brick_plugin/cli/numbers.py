# SPDX-License-Identifier: Apache-2.0
"""Numbers as they are written on the command line."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """Parse a whole number from 1 on, for argparse."""
    return _whole(text, 1)


def count_or_none(text: str) -> int:
    """Parse a whole number, of which 0 stands for no limit, for argparse."""
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
    return int(text)
