# SPDX-License-Identifier: Apache-2.0
"""What ``datapath/base.py`` promises, held against every datapath."""

from __future__ import annotations

import dataclasses
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vhost_brick_plugin import errors, model
from vhost_brick_plugin.datapath.base import Datapath, Options
from vhost_brick_plugin.model import (
    AddressPair,
    Mode,
    Network,
    Offer,
    Port,
    PortSecurity,
    SecurityMode,
)

VERSION_1, RING_PACKED = 1 << 32, 1 << 34
NETWORK = Network(name="n")

BOTH = pytest.mark.parametrize("mode", list(Mode))

MakePort = Callable[..., Port]


@pytest.fixture
def make_port(directory: Path) -> MakePort:
    """Return a function that describes a port; its arguments are fields to set."""

    def make(id: str = "p", **changes: Any) -> Port:
        values: dict[str, Any] = {
            "network": "n",
            "mode": Mode.SERVER,
            "socket_path": str(directory / id),
            "mac": model.default_mac(id),
            "mtu": 1500,
            "queues": 1,
            "security": model.OPEN,
        }
        return Port(id=id, **(values | changes))

    return make


@pytest.fixture
def add(datapath: Datapath, make_port: MakePort) -> Callable[..., Port]:
    """Return a function that adds a port, and its network where that is missing."""

    def add(id: str = "p", **changes: Any) -> Port:
        port = make_port(id, **changes)
        if not any(node.network == port.network for node in datapath.graph().nodes):
            datapath.network_add(Network(name=port.network))
        datapath.port_add(port, datapath.offer(port))
        return port

    return add


def bricks(datapath: Datapath) -> list[str]:
    return [node.name for node in datapath.graph().nodes]


def answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(path) == 0


# -- life --------------------------------------------------------------------


def test_it_starts_once(datapath: Datapath) -> None:
    with pytest.raises(errors.DatapathError):
        datapath.start(Options())


def test_info_is_text(datapath: Datapath) -> None:
    info = datapath.info()
    assert info
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in info.items())
    assert info["uplinks"] == "tap, nic, vxlan"
    assert info["nics"] == "ring0, ring1"


def test_there_is_a_worker(datapath: Datapath) -> None:
    assert [w.worker for w in datapath.worker_stats()] == [0]


def test_buffers_are_there_and_free(datapath: Datapath, add: Callable[..., Port]) -> None:
    add(mode=Mode.CLIENT)
    buffers = datapath.buffer_stats()
    assert (buffers.total, buffers.in_use) == (Options().mbufs, 0)


def test_nothing_is_gone_uncounted(datapath: Datapath, add: Callable[..., Port]) -> None:
    add("a", mode=Mode.CLIENT)
    before = datapath.gone_stats()
    datapath.port_remove("a")
    assert datapath.gone_stats() == before


STOP = """
import importlib, sys
from tests.contract.conftest import OPTIONS
from vhost_brick_plugin.model import OPEN, Mode, Network, Port
module, _, name = sys.argv[1].partition(":")
datapath = getattr(importlib.import_module(module), name)()
datapath.start(OPTIONS)
datapath.network_add(Network(name="n"))
for mode in Mode:
    port = Port(id=mode.value, network="n", mode=mode, socket_path=f"{sys.argv[2]}/{mode.value}",
                mac="52:54:00:00:00:0" + str(len(mode.value)), mtu=1500, queues=1,
                security=OPEN)
    datapath.port_add(port, datapath.offer(port))
datapath.stop()
"""


def test_stop_removes_our_sockets_and_no_others(class_path: str, directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as qemu:
        qemu.bind(str(directory / "client"))
        command = [sys.executable, "-c", STOP, class_path, str(directory)]
        subprocess.run(command, check=True, timeout=60)
    assert [p.name for p in directory.iterdir()] == ["client"]


# -- networks ----------------------------------------------------------------


def test_a_network_is_a_switch(datapath: Datapath) -> None:
    datapath.network_add(NETWORK)
    (node,) = datapath.graph().nodes
    assert (node.kind, node.network) == ("switch", "n")
    info = datapath.network_info("n")
    assert (info.macs_learned, dict(info.drops)) == (0, {})
    datapath.network_remove("n")
    assert bricks(datapath) == []


def test_a_networks_name_must_be_new(datapath: Datapath) -> None:
    datapath.network_add(NETWORK)
    with pytest.raises(errors.DatapathError):
        datapath.network_add(NETWORK)
    assert len(bricks(datapath)) == 1


def test_a_network_with_a_port_stays(datapath: Datapath, add: Callable[..., Port]) -> None:
    add()
    before = bricks(datapath)
    with pytest.raises(errors.NetworkInUse):
        datapath.network_remove("n")
    assert bricks(datapath) == before


@pytest.mark.parametrize("method", ["network_remove", "network_info"])
def test_an_unknown_network(datapath: Datapath, method: str) -> None:
    with pytest.raises(errors.NetworkNotFound):
        getattr(datapath, method)("nope")


# -- ports -------------------------------------------------------------------


@pytest.mark.parametrize("queues", [1, 4])
def test_an_offer_is_what_was_asked_for(
    datapath: Datapath, make_port: MakePort, queues: int
) -> None:
    offer = datapath.offer(make_port(queues=queues, mtu=1400))
    assert (offer.queues, offer.mtu) == (queues, 1400)
    assert offer.features & VERSION_1
    assert not offer.features & RING_PACKED
    assert bricks(datapath) == []


def test_a_server_listens_when_it_has_been_added(
    datapath: Datapath, add: Callable[..., Port]
) -> None:
    port = add()
    assert answers(port.socket_path)
    datapath.port_remove("p")
    assert not os.path.lexists(port.socket_path)


def test_a_client_never_makes_a_socket(datapath: Datapath, add: Callable[..., Port]) -> None:
    port = add(mode=Mode.CLIENT)
    assert not os.path.lexists(port.socket_path)
    datapath.port_remove("p")
    assert not os.path.lexists(port.socket_path)


def test_a_client_never_removes_a_socket(
    datapath: Datapath, add: Callable[..., Port], directory: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as qemu:
        qemu.bind(str(directory / "p"))
        qemu.listen()
        add(mode=Mode.CLIENT)
        datapath.port_remove("p")
        assert answers(str(directory / "p"))


@BOTH
def test_a_new_port_waits(datapath: Datapath, add: Callable[..., Port], mode: Mode) -> None:
    add(mode=mode)
    info = datapath.port_info("p")
    assert (info.sessions, info.fault) == ((), "")
    counters = info.counters
    assert (counters.from_peer_packets, counters.to_peer_packets) == (0, 0)
    assert dict(counters.drops) == {}


@BOTH
def test_a_port_may_come_back(datapath: Datapath, add: Callable[..., Port], mode: Mode) -> None:
    for _ in range(3):
        add(mode=mode)
        datapath.port_remove("p")
    assert len(bricks(datapath)) == 1


@BOTH
def test_an_id_is_new(datapath: Datapath, add: Callable[..., Port], mode: Mode) -> None:
    port = add(mode=mode)
    other = dataclasses.replace(port, socket_path=port.socket_path + "2")
    with pytest.raises(errors.DatapathError):
        datapath.port_add(other, datapath.offer(other))
    assert len(bricks(datapath)) == 3
    assert not os.path.lexists(other.socket_path)


@BOTH
def test_a_path_is_new(datapath: Datapath, add: Callable[..., Port], mode: Mode) -> None:
    port = add(mode=mode)
    other = dataclasses.replace(port, id="q")
    with pytest.raises(errors.DatapathError):
        datapath.port_add(other, datapath.offer(other))
    assert len(bricks(datapath)) == 3
    assert answers(port.socket_path) is (mode is Mode.SERVER)


def test_a_file_in_the_way_stays(
    datapath: Datapath, add: Callable[..., Port], directory: Path
) -> None:
    (directory / "p").write_text("mine")
    with pytest.raises(errors.DatapathError):
        add()
    assert (directory / "p").read_text() == "mine"
    assert len(bricks(datapath)) == 1


def test_a_missing_directory_is_an_error(datapath: Datapath, add: Callable[..., Port]) -> None:
    with pytest.raises(errors.DatapathError):
        add(socket_path="/nowhere/p")
    assert len(bricks(datapath)) == 1


@BOTH
def test_more_features_than_there_are_is_an_error(
    datapath: Datapath, make_port: MakePort, mode: Mode
) -> None:
    datapath.network_add(NETWORK)
    port = make_port(mode=mode)
    offer = datapath.offer(port)
    with pytest.raises(errors.DatapathError, match="features"):
        datapath.port_add(port, dataclasses.replace(offer, features=offer.features | 1 << 62))
    assert len(bricks(datapath)) == 1
    assert not os.path.lexists(port.socket_path)


@BOTH
def test_an_old_offer_is_taken(datapath: Datapath, make_port: MakePort, mode: Mode) -> None:
    datapath.network_add(NETWORK)
    datapath.port_add(make_port(mode=mode), Offer(features=VERSION_1, queues=4, mtu=9000))
    assert len(bricks(datapath)) == 3


def test_a_port_needs_its_network(datapath: Datapath, make_port: MakePort) -> None:
    port = make_port()
    with pytest.raises(errors.NetworkNotFound):
        datapath.port_add(port, datapath.offer(port))
    assert not os.path.lexists(port.socket_path)


def test_metadata_changes_in_place(datapath: Datapath, add: Callable[..., Port]) -> None:
    port = add()
    inode = os.stat(port.socket_path).st_ino
    datapath.port_update(dataclasses.replace(port, metadata={"a": "b"}))
    assert os.stat(port.socket_path).st_ino == inode


PAIRS = tuple(
    AddressPair(mac=f"52:54:00:00:00:{i:02x}", ip=ip)
    for i, ip in enumerate([None, "192.0.2.7", "198.51.100.0/24", "fd00::7", "fd00:1::/64"])
)
MANY_PAIRS = tuple(
    AddressPair(mac="52:54:00:00:00:01", ip=f"10.0.0.{i}") for i in range(model.MAX_ADDRESS_PAIRS)
)
SECURITIES = [
    model.OPEN,
    model.CLOSED,
    *(
        PortSecurity(mode=SecurityMode.FILTERED, allowed=allowed)
        for allowed in ((), PAIRS, MANY_PAIRS)
    ),
]


@pytest.mark.parametrize("security", SECURITIES)
def test_a_port_has_its_security_from_the_start(
    datapath: Datapath, add: Callable[..., Port], security: PortSecurity
) -> None:
    port = add(security=security)
    assert answers(port.socket_path)


def test_security_changes_in_place(datapath: Datapath, add: Callable[..., Port]) -> None:
    port = add()
    inode = os.stat(port.socket_path).st_ino
    for security in SECURITIES * 5:
        datapath.port_update(dataclasses.replace(port, security=security))
    assert os.stat(port.socket_path).st_ino == inode
    assert dict(datapath.port_info("p").counters.drops) == {}


@pytest.mark.parametrize("method", ["port_remove", "port_info"])
def test_an_unknown_port(datapath: Datapath, method: str) -> None:
    with pytest.raises(errors.PortNotFound):
        getattr(datapath, method)("nope")


def test_an_update_of_an_unknown_port(datapath: Datapath, make_port: MakePort) -> None:
    with pytest.raises(errors.PortNotFound):
        datapath.port_update(make_port("nope"))


# -- what can be seen --------------------------------------------------------


def test_the_graph_names_everything_once_and_in_order(
    datapath: Datapath, add: Callable[..., Port]
) -> None:
    for id, network in (("b:2", "n"), ("a", "m"), ("c", "n")):
        add(id, network=network)
    nodes = datapath.graph().nodes
    assert [n.name for n in nodes] == [
        "antispoof/a",
        "antispoof/b:2",
        "antispoof/c",
        "switch/m",
        "switch/n",
        "vhost/a",
        "vhost/b:2",
        "vhost/c",
    ]
    assert [n.network for n in nodes] == ["m", "n", "n", "m", "n", "m", "n", "n"]
    assert {n.kind for n in nodes} == {"antispoof", "switch", "vhost"}
    assert datapath.graph().edges == ()
    assert [(b.brick, b.kind) for b in datapath.brick_stats()] == [(n.name, n.kind) for n in nodes]


def test_without_events_there_is_nothing_to_read(
    datapath: Datapath, add: Callable[..., Port]
) -> None:
    add(mode=Mode.CLIENT)
    datapath.port_remove("p")
    datapath.events()
    readable, _, _ = select.select([datapath.event_fd()], [], [], 0)
    assert readable == []
    assert list(datapath.events()) == []
