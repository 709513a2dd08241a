# SPDX-License-Identifier: Apache-2.0
"""A running guest gets another interface, uses it and gives it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import libvirt
import pytest

from tools.lab.lab import Guest
from tools.lab.pair import ADDRESSES, Watch
from tools.lab.stand import Stand, wait_answers

THEIRS = "10.0.1.2"
"""Beside SECOND_ADDRESS of conftest.py, which guest one gives the new card."""


@pytest.fixture
def plugged(
    stand: Stand, pair: tuple[Guest, Guest], make_port: Callable[..., str]
) -> Iterator[Callable[[str], str]]:
    """Return a function that attaches a port of a mode to guest one and pings through it."""
    one, two = pair
    two.shell(f"ip addr add {THEIRS}/24 dev eth0")

    def plug(mode: str) -> str:
        port = make_port("extra", mode)
        # Server mode only by force: libvirt loses <reconnect> there.
        stand.run("domain", "attach", "one", port, *(["--force"] if mode == "server" else []))
        one.command(f"peer {THEIRS}")
        return port

    yield plug
    one.command(f"peer {ADDRESSES['two']}")
    two.shell(f"ip addr del {THEIRS}/24 dev eth0")


@pytest.mark.parametrize("mode", ["client", "server"])
def test_attach_use_and_detach(
    stand: Stand, pair: tuple[Guest, Guest], plugged: Callable[[str], str], mode: str
) -> None:
    one, _two = pair
    port = plugged(mode)
    wait_answers(one)
    assert stand.show("port", "show", port)["state"] == "running"

    if mode == "client":
        watch = Watch(one)
        stand.kill(pair)
        watch.look()
        assert watch.problems == []

    stand.run("domain", "detach", "one", port)
    assert one.shell("ls /sys/class/net").split() == ["eth0", "lo"]
    assert stand.show("port", "show", port)["state"] == "waiting"
    for text in (one.domain.XMLDesc(), one.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)):
        assert f"/{port}'" not in text


def test_attach_twice_is_attach_once(
    stand: Stand, pair: tuple[Guest, Guest], plugged: Callable[[str], str]
) -> None:
    port = plugged("client")
    before = pair[0].domain.XMLDesc()
    stand.run("domain", "attach", "one", port)
    assert pair[0].domain.XMLDesc() == before
    stand.run("domain", "detach", "one", port)
    stand.run("domain", "detach", "one", port)


def test_attach_and_detach_again_and_again(
    stand: Stand, pair: tuple[Guest, Guest], plugged: Callable[[str], str]
) -> None:
    for _ in range(3):
        port = plugged("client")
        wait_answers(pair[0])
        stand.run("domain", "detach", "one", port)
