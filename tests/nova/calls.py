# SPDX-License-Identifier: Apache-2.0
"""Watches what Nova calls of the os-vif plugin."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from unittest import mock

from vhost_brick_plugin.os_vif import VhostBrickPlugin

PLUG, UNPLUG = "plug", "unplug"


class Calls:
    """The calls that are made while the ``with`` block runs; they take effect as ever."""

    def __init__(self) -> None:
        self._made: list[tuple[str, str]] = []
        self._patches = contextlib.ExitStack()

    def __enter__(self) -> Calls:
        for name in (PLUG, UNPLUG):
            watched = self._watch(name, getattr(VhostBrickPlugin, name))
            self._patches.enter_context(mock.patch.object(VhostBrickPlugin, name, watched))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()

    def _watch(self, name: str, method: Callable[..., None]) -> Callable[..., None]:
        def call(plugin: VhostBrickPlugin, vif: Any, instance_info: Any) -> None:
            self._made.append((name, vif.id))
            method(plugin, vif, instance_info)

        return call

    def of(self, port: str) -> list[str]:
        """Return the names of the calls made for *port*, in their order."""
        return [name for name, made_for in self._made if made_for == port]
