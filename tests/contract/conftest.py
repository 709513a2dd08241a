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

import pytest

from vhost_brick_plugin.datapath.base import Datapath, Options
from vhost_brick_plugin.model import Uplink, UplinkKind

CLASSES = {
    "fake": "vhost_brick_plugin.datapath.fake:FakeDatapath",
    "dpdk": "vhost_brick_plugin.datapath.dpdk:DpdkDatapath",
}
NATIVE = "vhost_brick_plugin.datapath._native"
OPTIONS = Options(memory_mb=128, hugepages=False, mac_table_size=256)


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


@pytest.fixture
def datapath(started: Datapath, directory: Path) -> Iterator[Datapath]:
    """A running datapath with an empty graph; it is emptied while *directory* is there."""
    started.events()
    yield started
    _empty(started)
    assert started.graph().nodes == ()


def _empty(datapath: Datapath) -> None:
    nodes = datapath.graph().nodes
    for node in nodes:
        _, _, name = node.name.partition("/")
        if node.kind == "vhost":
            datapath.port_remove(name)
        elif node.kind == "tap":
            datapath.uplink_remove(node.network, Uplink(kind=UplinkKind.TAP, name=name))
    for node in nodes:
        if node.kind == "switch":
            datapath.network_remove(node.network)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory whose sockets stay below 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="vbc-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
