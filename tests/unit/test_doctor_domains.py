# SPDX-License-Identifier: Apache-2.0
"""What ``vhost-brick doctor`` finds of domains, and of ports that no domain has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.doctor_support import DOWN, KVM, NO_KVM, make_site, only, served
from tests.unit.stub_daemon import port_status
from vhost_brick_plugin.doctor import domains
from vhost_brick_plugin.finding import Level
from vhost_brick_plugin.model import Session, SessionState


def domain(mode: str = "server", more: str = "") -> str:
    return (
        "<domain type='kvm' id='1'><name>web</name><memory>1024</memory>"
        "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
        "<devices><interface type='vhostuser'><mac address='52:54:00:00:00:01'/>"
        f"<source type='unix' path='/run/s/p1' mode='{mode}'>{more}</source>"
        "<model type='virtio'/></interface></devices></domain>"
    )


def test_a_domain_that_fits(tmp_path: Path) -> None:
    found = only(domains.check_domain(served(tmp_path, port_status()), "web", domain(), None, KVM))
    assert (found.level, found.text) == (Level.OK, "its memory is shared, and fits its ports")
    down = make_site(tmp_path, DOWN)
    assert (
        only(domains.check_domain(down, "web", domain(), None, KVM)).text == "its memory is shared"
    )


@pytest.mark.parametrize(
    ("socket_dir", "state", "level"),
    [
        ("/run/s", " id='1'", Level.FAIL),
        ("/run/s", "", Level.WARN),  # Something may make the port before its start.
        ("/run/t", " id='1'", Level.WARN),  # It may be another program's.
    ],
)
def test_a_domain_whose_interface_has_no_port(
    tmp_path: Path, socket_dir: str, state: str, level: Level
) -> None:
    site = served(tmp_path, vhost__socket_dir=socket_dir)
    text = domain().replace(" id='1'", state)
    found = only(domains.check_domain(site, "web", text, None, KVM))
    assert (found.check, found.level) == ("domain web", level)
    assert "/run/s/p1: no port has this socket" in found.text
    assert "vhost-brick port create" in found.fix


def test_a_domain_with_the_wrong_end(tmp_path: Path) -> None:
    reconnect = "<reconnect enabled='yes' timeout='1'/>"
    site = served(tmp_path, port_status())
    found = only(domains.check_domain(site, "web", domain("client", reconnect), None, KVM))
    assert "both connect on /run/s/p1" in found.text


def test_a_domain_that_asks_for_kvm_where_there_is_none(tmp_path: Path) -> None:
    site = served(tmp_path, port_status())
    found = only(domains.check_domain(site, "web", domain(), None, NO_KVM))
    assert (found.check, found.level) == ("domain web", Level.FAIL)
    assert found.text.endswith("KVM runs no guest here: KVM gave up")
    emulated = domain().replace("type='kvm'", "type='qemu'")
    found = only(domains.check_domain(site, "web", emulated, None, NO_KVM))
    assert found.level is Level.OK


def test_a_domain_of_others_is_no_finding(tmp_path: Path) -> None:
    text = "<domain><name>x</name><devices/></domain>"
    assert list(domains.check_domain(served(tmp_path), "x", text, None, KVM)) == []


def test_ports_that_no_domain_has(tmp_path: Path) -> None:
    session = Session(number=1, state=SessionState.RUNNING, features=1, queues=1, since=1.0)
    named = port_status("named")
    busy = port_status("busy", sessions=(session,))
    left = port_status("left", metadata={"instance": "web"})
    site = served(tmp_path, named, busy, left)
    found = only(domains.check_ports(site, {"/run/s/named"}))
    assert (found.check, found.level) == ("port left", Level.WARN)
    assert found.text.endswith("nobody is connected (instance web)")
    assert "vhost-brick port delete left" in found.fix
    assert only(domains.check_ports(site, {"/run/s/named", "/run/s/left"})).level is Level.OK
    assert list(domains.check_ports(make_site(tmp_path, DOWN), set())) == []


def test_the_sockets_of_a_domain() -> None:
    assert domains.paths(domain()) == {"/run/s/p1"}
    assert domains.paths("no xml") == set()
