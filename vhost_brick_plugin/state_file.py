# SPDX-License-Identifier: Apache-2.0
"""Looking into the daemon's stored state without asking the daemon.

The os-vif plugin needs this while the daemon is down: what is stored will be
served again as soon as the daemon is back.  The reader takes no lock (the
daemon replaces the file in one step), understands any version of it, and
looks at nothing but the ports.  The writer is ``daemon/store.py``.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False  # As typing's, without the import: the daemon starts with this.
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE_NAME = "ports.json"
"""The state file's name in ``[daemon] state_dir``."""

COPY_NAME = FILE_NAME + ".bak"
"""Its copy, which the daemon uses when the first one is missing or damaged."""

DEFAULT_DIR = "/var/lib/vhost-brick"
"""The default of ``[daemon] state_dir``."""


def stored_ports(state_dir: str) -> dict[str, Mapping[str, Any]]:
    """Return the stored ports by id, each as plain JSON; empty where nothing is stored.

    :raises OSError: the state file cannot be read, or there is no such directory.
    :raises ValueError: neither it nor its copy is a state file.
    """
    try:
        return _read(os.path.join(state_dir, FILE_NAME))
    except (FileNotFoundError, ValueError) as error:
        problem = error
    try:
        return _read(os.path.join(state_dir, COPY_NAME))
    except FileNotFoundError:
        # A directory that is missing may as well be a wrong path.
        if isinstance(problem, ValueError) or not os.path.isdir(state_dir):
            raise problem from None
        return {}


def stored_port(state_dir: str, port_id: str) -> Mapping[str, Any] | None:
    """Return the stored port called *port_id*, or None; raises as :func:`stored_ports` does."""
    return stored_ports(state_dir).get(port_id)


def _read(path: str) -> dict[str, Mapping[str, Any]]:
    with open(path, "rb") as file:
        data = file.read()
    try:
        return {entry["port"]["id"]: entry["port"] for entry in json.loads(data)["ports"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not a state file: {error!r}") from None
