# SPDX-License-Identifier: Apache-2.0
"""A value that exists is valid."""

from __future__ import annotations

import pytest

from tests.unit.support import port, tap
from vhost_brick_plugin import errors, model
from vhost_brick_plugin.model import Mode, Network, Uplink, UplinkKind


def test_mode_is_translated_both_ways() -> None:
    assert Mode.SERVER.peer is Mode.CLIENT
    assert Mode.CLIENT.peer is Mode.SERVER


@pytest.mark.parametrize("name", ["p", "1", "a" * 64, "a:b.c_d-e", "0af3-77"])
def test_good_names(name: str) -> None:
    assert port(name).id == name


@pytest.mark.parametrize("name", ["", "a" * 65, "-a", ".", "..", "a/b", "a b", "ä", "a\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(errors.InvalidParams, match="not a valid name"):
        port(name, socket_path="/run/s/p", mac="52:54:00:00:00:01")


@pytest.mark.parametrize("mtu", [67, 9199, 0, -1])
def test_bad_mtu(mtu: int) -> None:
    with pytest.raises(errors.InvalidParams, match=str(mtu)):
        port(mtu=mtu)
    with pytest.raises(errors.InvalidParams, match=str(mtu)):
        Network(name="n", mtu=mtu)


@pytest.mark.parametrize("mtu", [68, 9198])
def test_mtu_bounds(mtu: int) -> None:
    assert port(mtu=mtu).mtu == mtu


def test_mac_is_normalised() -> None:
    assert port(mac="52-54-00-AB-cd-EF").mac == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize(
    "mac", ["", "52:54:00:ab:cd", "53:54:00:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"]
)
def test_bad_macs(mac: str) -> None:
    with pytest.raises(errors.InvalidParams, match="MAC address"):
        port(mac=mac)


def test_default_mac_depends_on_the_id_alone() -> None:
    assert model.default_mac("a") == model.default_mac("a") != model.default_mac("b")
    assert model.normalise_mac(model.default_mac("a")) == model.default_mac("a")


def test_longest_path() -> None:
    path = "/" + "a" * 106
    assert port(socket_path=path).socket_path == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/" + "a" * 107, "108 bytes"),
        ("/" + "ä" * 54, "109 bytes"),
        ("run/p", "not absolute"),
        ("", "not absolute"),
        ("/run/../p", "plain form"),
        ("/run//p", "plain form"),
        ("/run/p/", "plain form"),
        ("/run/\0p", "plain form"),
        ("/run/\ud800", "not valid text"),
    ],
)
def test_bad_paths(path: str, why: str) -> None:
    with pytest.raises(errors.InvalidSocketPath, match=why):
        port(socket_path=path)


@pytest.mark.parametrize("queues", [0, -1, model.MAX_QUEUE_PAIRS + 1])
def test_bad_queues(queues: int) -> None:
    with pytest.raises(errors.TooManyQueues):
        port(queues=queues)


@pytest.mark.parametrize("name", ["", "a" * 16, "a/b", "a:b", "a b", ".", ".."])
def test_bad_interface_names(name: str) -> None:
    with pytest.raises(errors.InvalidParams, match="interface name"):
        Uplink(kind=UplinkKind.TAP, name=name)


def test_an_uplink_is_named_once() -> None:
    with pytest.raises(errors.InvalidParams, match="twice"):
        Network(name="n", uplinks=(tap("t"), tap("t")))


def test_same_datapath_looks_over_metadata_only() -> None:
    assert port().same_datapath(port(metadata={"a": "b"}))
    assert not port().same_datapath(port(mtu=1400))
