# SPDX-License-Identifier: Apache-2.0
"""The datapaths that the contract is held against.

``VHOST_BRICK_DATAPATHS=fake,dpdk`` chooses; without it all that are built are
taken.  DPDK starts once in a process, so each datapath lives as long as the
session, and every test gets it empty and leaves it so.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from vhost_brick_plugin.datapath.base import Datapath, Options
from vhost_brick_plugin.model import Uplink
from vhost_brick_plugin.report import GraphResult

CLASSES = {
    "fake": "vhost_brick_plugin.datapath.fake:FakeDatapath",
    "dpdk": "vhost_brick_plugin.datapath.dpdk:DpdkDatapath",
}
NATIVE = "vhost_brick_plugin.datapath._native"
NICS = {"ring0": "net_ring0", "ring1": "net_ring1"}
OPTIONS = Options(memory_mb=128, hugepages=False, mac_table_size=256, nics=NICS)


def _chosen() -> list[str]:
    named = os.environ.get("VHOST_BRICK_DATAPATHS", "")
    if named:
        return named.split(",")
    return [name for name in CLASSES if name != "dpdk" or importlib.util.find_spec(NATIVE)]


@pytest.fixture(scope="session", params=_chosen())
def started(request: pytest.FixtureRequest) -> Iterator[Datapath]:
    module, _, name = CLASSES[request.param].partition(":")
    datapath: Datapath = getattr(importlib.import_module(module), name)()
    datapath.start(OPTIONS)
    yield datapath
    datapath.stop()


@pytest.fixture
def class_path(started: Datapath) -> str:
    """The datapath's class, for tests that need a process of their own."""
    return f"{type(started).__module__}:{type(started).__name__}"


class Recorder:
    """Passes every call on to a datapath, and knows what a test has left there."""

    def __init__(self, datapath: Datapath) -> None:
        self._datapath = datapath
        self._uplinks: list[tuple[str, Uplink]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._datapath, name)

    def uplink_add(self, network: str, uplink: Uplink) -> None:
        self._datapath.uplink_add(network, uplink)
        self._uplinks.append((network, uplink))

    def uplink_remove(self, network: str, uplink: Uplink) -> None:
        self._datapath.uplink_remove(network, uplink)
        self._uplinks = [
            (n, u) for n, u in self._uplinks if (n, u.place) != (network, uplink.place)
        ]

    def clear(self) -> None:
        """Remove everything."""
        nodes = self._datapath.graph().nodes
        for node in nodes:
            if node.kind == "vhost":
                self._datapath.port_remove(node.name.partition("/")[2])
        for network, uplink in self._uplinks:
            self._datapath.uplink_remove(network, uplink)
        for node in nodes:
            if node.kind == "switch":
                self._datapath.network_remove(node.network)


@pytest.fixture
def datapath(started: Datapath, directory: Path) -> Iterator[Datapath]:
    """A running datapath with an empty graph; it is emptied while *directory* is there."""
    started.events()
    recorder = Recorder(started)
    yield cast(Datapath, recorder)
    recorder.clear()
    assert started.graph() == GraphResult(nodes=(), edges=())


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose sockets stay below 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="vbc-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
