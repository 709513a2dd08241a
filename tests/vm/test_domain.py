# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick domain`` against the real libvirt."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.lab.lab import Guest
from tools.lab.pair import ADDRESSES, BOOT_TIMEOUT_S
from tools.lab.stand import CommandFailed, Stand, wait_answers

ADDRESS = "10.0.0.3"
BACKING = re.compile(r"<memoryBacking>.*?</memoryBacking>", re.DOTALL)
SERIAL = re.compile(r"<serial .*?</serial>", re.DOTALL)

PRIVATE = "memory of domain private is not shared"
REMEDY = "Add to <domain>: <memoryBacking>"


@pytest.fixture
def private_domain(make_guest: Callable[..., Guest]) -> str:
    """Return the document of a domain whose memory the brick could not reach."""
    text = BACKING.sub("", make_guest("private").xml())
    return SERIAL.sub("", text)


@pytest.fixture
def running_private_domain(stand: Stand, private_domain: str) -> Iterator[Any]:
    """Start it, transient, without an interface."""
    domain = stand.libvirt.connection.createXML(private_domain)
    yield domain
    domain.destroy()


@pytest.mark.parametrize("mode", ["client", "server"])
def test_defined_domain_starts_and_talks(
    stand: Stand,
    pair: tuple[Guest, Guest],
    make_port: Callable[..., str],
    make_guest: Callable[..., Guest],
    tmp_path: Path,
    mode: str,
) -> None:
    port = make_port("third", mode)
    guest = make_guest("third", ip=f"{ADDRESS}/24", peer=ADDRESSES["one"])
    file = tmp_path / "domain.xml"
    file.write_text(guest.xml())
    stand.run("domain", "define", str(file), "--port", port)
    guest.adopt()
    guest.start()
    guest.wait_report(lambda r: r.answered > 0, BOOT_TIMEOUT_S)

    found = {f["check"]: f for f in check(stand, "third")}
    assert found["shared_memory"]["result"] == "ok"
    assert found["port"]["finding"].endswith("fits port third, which is running")
    assert "fail" not in [f["result"] for f in found.values()]


def test_define_twice_changes_nothing(
    stand: Stand,
    make_port: Callable[..., str],
    make_guest: Callable[..., Guest],
    tmp_path: Path,
) -> None:
    port = make_port("third", "client")
    guest = make_guest("third")
    file = tmp_path / "domain.xml"
    file.write_text(guest.xml())
    stand.run("domain", "define", str(file), "--port", port)
    guest.adopt()
    first = guest.domain.XMLDesc()
    assert first.count("<interface ") == 1

    file.write_text(first)
    stand.run("domain", "define", str(file), "--port", port)
    assert guest.domain.XMLDesc() == first


def test_define_without_shared_memory(
    stand: Stand, make_port: Callable[..., str], private_domain: str, tmp_path: Path
) -> None:
    port = make_port("third", "client")
    file = tmp_path / "domain.xml"
    file.write_text(private_domain)
    with pytest.raises(CommandFailed) as failed:
        stand.run("domain", "define", str(file), "--port", port)
    check_refusal(failed.value)
    assert "private" not in [d.name() for d in stand.libvirt.connection.listAllDomains()]


def test_attach_without_shared_memory(
    stand: Stand, make_port: Callable[..., str], running_private_domain: Any
) -> None:
    port = make_port("third", "client")
    with pytest.raises(CommandFailed) as failed:
        stand.run("domain", "attach", "private", port)
    check_refusal(failed.value)
    assert "vhostuser" not in running_private_domain.XMLDesc()


def test_check_without_shared_memory(stand: Stand, running_private_domain: Any) -> None:
    with pytest.raises(CommandFailed) as failed:
        stand.run("domain", "check", "private", "-f", "json")
    assert failed.value.status == 1
    (found,) = [f for f in json.loads(failed.value.stdout) if f["result"] == "fail"]
    assert found["finding"].startswith(PRIVATE)
    assert found["fix"].startswith(REMEDY)


def test_two_long_queues(
    stand: Stand,
    pair: tuple[Guest, Guest],
    make_port: Callable[..., str],
    make_guest: Callable[..., Guest],
) -> None:
    port = make_port("third", "client", "--queues", "2")
    guest = make_guest(
        "third",
        [port],
        tuning=["--queues", "2", "--rx-queue-size", "1024", "--tx-queue-size", "1024"],
        ip=f"{ADDRESS}/24",
        peer=ADDRESSES["one"],
        vcpus=2,
    )
    guest.start()
    guest.wait_report(lambda r: r.answered > 0, BOOT_TIMEOUT_S)
    assert "rx_queue_size='1024' tx_queue_size='1024'" in guest.domain.XMLDesc()
    queues = guest.shell("ls /sys/class/net/eth0/queues").split()
    assert queues == ["rx-0", "rx-1", "tx-0", "tx-1"]
    assert session_queues(stand, port) == [2]
    stand.kill([guest, *pair])
    wait_answers(guest)
    assert session_queues(stand, port) == [2]


def session_queues(stand: Stand, port: str) -> list[int]:
    return [s["queues"] for s in stand.show("port", "show", port)["sessions"]]


def check(stand: Stand, domain: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = stand.show("domain", "check", domain)
    return found


def check_refusal(failed: CommandFailed) -> None:
    assert failed.status == 1
    assert f"error: {PRIVATE}" in failed.stderr
    assert f"hint: {REMEDY}" in failed.stderr
