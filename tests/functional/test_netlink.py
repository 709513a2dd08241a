# SPDX-License-Identifier: Apache-2.0
"""Taps of the real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vhost_brick_plugin import errors, netlink

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="interfaces take root")


@pytest.fixture
def name() -> Iterator[str]:
    """The name of an interface that is gone after the test."""
    name = f"vbn{os.getpid() % 100000}"
    yield name
    if Path(f"/sys/class/net/{name}").exists():
        ip("link", "del", name)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def fact(name: str, what: str) -> str:
    return Path(f"/sys/class/net/{name}/{what}").read_text().strip()


def is_up(name: str) -> bool:
    return bool(int(fact(name, "flags"), 16) & 1)


def test_a_tap_is_made_persistent_and_up(name: str) -> None:
    assert netlink.ensure_tap(name, 1400)
    assert (fact(name, "mtu"), is_up(name)) == ("1400", True)
    assert int(fact(name, "tun_flags"), 16) & 2  # IFF_TAP


def test_the_same_again_makes_nothing(name: str) -> None:
    netlink.ensure_tap(name, 1400)
    index = fact(name, "ifindex")
    assert not netlink.ensure_tap(name, 1400)
    assert fact(name, "ifindex") == index


@pytest.mark.parametrize("change", [["mtu", "1300"], ["down"]])
def test_what_was_changed_is_put_right(name: str, change: list[str]) -> None:
    netlink.ensure_tap(name, 1400)
    ip("link", "set", name, *change)
    assert not netlink.ensure_tap(name, 1400)
    assert (fact(name, "mtu"), is_up(name)) == ("1400", True)


def test_what_we_made_is_removed(name: str) -> None:
    netlink.ensure_tap(name, 1500)
    netlink.remove_tap(name)
    assert not Path(f"/sys/class/net/{name}").exists()
    netlink.remove_tap(name)


def test_what_somebody_else_made_is_used_and_stays(name: str) -> None:
    ip("tuntap", "add", "dev", name, "mode", "tap")
    assert not netlink.ensure_tap(name, 1400)
    assert (fact(name, "mtu"), is_up(name)) == ("1400", True)
    netlink.remove_tap(name)
    assert Path(f"/sys/class/net/{name}").exists()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["link", "add", "NAME", "type", "veth"], "veth"),
        (["tuntap", "add", "dev", "NAME", "mode", "tun"], "tun"),
    ],
)
def test_another_kind_of_interface_is_left_alone(name: str, words: list[str], kind: str) -> None:
    ip(*(name if word == "NAME" else word for word in words))
    ip("link", "set", name, "up", "mtu", "1500")
    with pytest.raises(errors.UplinkError, match=f"{name} exists and is no tap.*{kind}") as caught:
        netlink.ensure_tap(name, 1500)
    assert "name" in caught.value.hint
    with pytest.raises(errors.UplinkError):
        netlink.ensure_tap(name, 1400)
    assert fact(name, "mtu") == "1500"


def test_a_physical_interface_is_left_alone() -> None:
    with pytest.raises(errors.UplinkError, match="lo exists and is no tap"):
        netlink.ensure_tap("lo", int(fact("lo", "mtu")))


def test_an_mtu_the_kernel_refuses(name: str) -> None:
    with pytest.raises(errors.UplinkError, match=name):
        netlink.ensure_tap(name, 1 << 20)


# Everything is imported before: the checkout may lie where only root can read.
TRY = """
import os, sys
import pyroute2
from vhost_brick_plugin import netlink
pyroute2.IPRoute().close()
os.setgroups([])
os.setgid(4711)
os.setuid(4711)
netlink.ensure_tap(sys.argv[1], 1500)
"""


def test_without_permission_it_says_so(name: str) -> None:
    ran = subprocess.run([sys.executable, "-c", TRY, name], capture_output=True, text=True)
    assert "UplinkError" in ran.stderr
    assert "CAP_NET_ADMIN" in ran.stderr
