# SPDX-License-Identifier: Apache-2.0
"""The version of the installed software."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "vhost-brick-plugin"


def version() -> str:
    """Return it, or ``0`` in a source tree that is not installed."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "0"
