# SPDX-License-Identifier: Apache-2.0
"""A guest whose memory is not shared boots with a dead network card: the port says why.

As Nova starts one whose flavor asks for no page size.  Our own ``domain define`` would
refuse it, so the domain is made behind its back.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest

from tests.functional.waiting import wait_until
from tools.lab.lab import Guest
from tools.lab.pair import ADDRESSES, BOOT_TIMEOUT_S
from tools.lab.stand import Stand
from vhost_brick_plugin.api.client import Client

ADDRESS = "10.0.0.3"
BACKING = re.compile(r"<memoryBacking>.*?</memoryBacking>", re.DOTALL)
SERIAL = re.compile(r"<serial .*?</serial>", re.DOTALL)


@pytest.fixture(params=["client", "server"])
def port(request: pytest.FixtureRequest, make_port: Callable[..., str]) -> str:
    return make_port("third", request.param)


@pytest.fixture
def unshared(stand: Stand, port: str, make_guest: Callable[..., Guest]) -> Iterator[Any]:
    """A running domain with an interface on the port, and memory of its own."""
    text = make_guest("unshared", [port]).xml()
    domain = stand.libvirt.connection.createXML(SERIAL.sub("", BACKING.sub("", text)))
    yield domain
    with contextlib.suppress(libvirt.libvirtError):  # The test has destroyed it.
        domain.destroy()


def test_unshared_memory_is_a_fault_until_it_is_mended(
    stand: Stand,
    pair: tuple[Guest, Guest],
    port: str,
    unshared: Any,
    make_guest: Callable[..., Guest],
) -> None:
    client = Client(str(stand.api_socket))

    def fault() -> str:
        found = client.port_show(id=port).fault
        return found.name if found else ""

    wait_until(fault, "a fault", BOOT_TIMEOUT_S)
    shown = stand.show("port", "show", port)
    assert (shown["state"], shown["fault"]) == ("fault", "memory_not_shared")
    assert "hw:mem_page_size" in shown["fault_hint"]
    assert f"Port {port}: memory_not_shared" in stand.brickd.log_tail(60)

    # QEMU tries again with the next daemon, and that finds it again.
    stand.kill(pair)
    wait_until(fault, "the fault to be found again")

    unshared.destroy()
    mended = make_guest("third", [port], ip=f"{ADDRESS}/24", peer=ADDRESSES["one"])
    mended.start()
    mended.wait_report(lambda r: r.answered > 0, BOOT_TIMEOUT_S)
    assert fault() == ""
