# SPDX-License-Identifier: Apache-2.0
"""doc/source/openstack.rst, followed word by word.

Its files are those that the cloud runs with, and its commands are run as they are
written.  Of the words in capitals, IMAGE and FLAVOR are what the cloud has, and ID is
what the command before showed.  Not run, but looked into: the installation, which
bootstrap.sh and tox have made.
"""

from __future__ import annotations

import shlex
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tests import chapter
from tests.functional.waiting import wait_until
from tests.neutron.wiretap import wiretap
from tests.openstack.stand import OpenStack
from vhost_brick_plugin.neutron.constants import AGENT_TYPE

BINDEP = Path(__file__).parent.parent.parent / "bindep.txt"

INSTALLATION = ("VHOST_BRICK_PLUGIN_ONLY=1 pip install", "apt install", "pip install")
SERVICES = ("vhost-brickd", "vhost-brick-neutron-agent")
FLAVOR_SET = "openstack flavor set"
DOCTOR = "vhost-brick doctor"
AGENTS = "openstack network agent list"
NETWORK_CREATE = "openstack network create"
SUBNET_CREATE = "openstack subnet create"
SERVER_CREATE = "openstack server create"
PORT_LIST = "openstack port list"
PORT_SHOW = "vhost-brick port show"
GRAPH = "vhost-brick graph"

VLAN = 101
OUTSIDE_MAC, OUTSIDE = "02:00:00:00:00:01", "198.51.100.1"
"""Somebody on the VLAN, out of reach of the host."""


def test_every_command_is_known_here() -> None:
    known = [
        *(*INSTALLATION, FLAVOR_SET, *SERVICES, DOCTOR, AGENTS),
        *(NETWORK_CREATE, SUBNET_CREATE, SERVER_CREATE, PORT_LIST, PORT_SHOW, GRAPH),
    ]
    commands = chapter.commands()
    assert len(commands) == len(known)
    for command, start in zip(commands, known, strict=True):
        assert f"{command} ".startswith(f"{start} ")


def test_the_installation_names_what_there_is() -> None:
    needed = {
        line.split()[0]
        for line in BINDEP.read_text().splitlines()
        if line.endswith("[platform:dpkg]")
    }
    _, _, *packages = chapter.command("apt install").split()
    assert set(packages) == needed
    for start in ("VHOST_BRICK_PLUGIN_ONLY=1 pip install", "pip install"):
        requirement = Requirement(shlex.split(chapter.command(start))[-1])
        extras = metadata(requirement.name).get_all("Provides-Extra")
        assert requirement.extras <= set(extras or ())


def follow(start: str, **words: str) -> str:
    """Return the chapter's command that starts so, with *words* for those in capitals."""
    given = [words.get(word, word) for word in chapter.command(start).split(" ")]
    return " ".join(given)


def test_doctor_finds_what_it_needs(cloud: OpenStack) -> None:
    files = " ".join(f"--nova-config-file {path}" for path in cloud.nova_conf)
    found = {f["check"]: f for f in cloud.host.show(f"{follow(DOCTOR)} {files}")}
    assert not [finding for finding in found.values() if finding["result"] == "fail"]
    assert "nova" in " ".join(found)


def test_the_agent_is_listed(cloud: OpenStack) -> None:
    agents = cloud.cli.show(follow(AGENTS))
    assert [(a["Agent Type"], a["Host"], a["Alive"]) for a in agents] == [
        (AGENT_TYPE, cloud.host.name, True)
    ]


def test_flavors_with_huge_pages(cloud: OpenStack) -> None:
    cloud.cli.run("openstack flavor create --ram 128 --disk 1 large")
    cloud.cli.run(follow(FLAVOR_SET, FLAVOR="large"))
    flavor = cloud.cli.show("openstack flavor show large")
    assert flavor["properties"] == {"hw:mem_page_size": "large"}


@pytest.fixture(scope="module")
def server(cloud: OpenStack) -> Iterator[Any]:
    """The chapter's server, as the client shows it."""
    cloud.cli.run("openstack flavor create --ram 128 --disk 1 small")
    cloud.cli.run(follow(NETWORK_CREATE))
    cloud.cli.run(follow(SUBNET_CREATE))
    made = cloud.cli.show(follow(SERVER_CREATE, IMAGE="guest", FLAVOR="small"))
    yield cloud.wait_active(made["id"])
    cloud.cli.run("openstack server delete --wait one")
    cloud.cli.run("openstack network delete blue")
    wait_until(lambda: not cloud.host.client.network_list().networks, "the network to go")


@pytest.fixture(scope="module")
def port(cloud: OpenStack, server: Any) -> Any:
    """The server's port, as the client lists it."""
    (port,) = cloud.cli.show(follow(PORT_LIST))
    return port


def test_the_server_is_on_the_vlan(cloud: OpenStack, server: Any, port: Any) -> None:
    address = port["Fixed IP Addresses"][0]["ip_address"]
    cloud.give_address(server["id"], address)
    ether = Ether(src=OUTSIDE_MAC, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=VLAN)
    request = ARP(hwsrc=OUTSIDE_MAC, psrc=OUTSIDE, pdst=address)
    echo = IP(src=OUTSIDE, dst=address) / ICMP(id=1, seq=1)
    with wiretap(cloud.stand.wires.fabric, cloud.host.name) as wire:
        wire.send(ether / request)
        mac = wire.wait(lambda f: ARP in f and f[ARP].psrc == address, "answer to ARP").src
        assert mac == port["MAC Address"]
        wire.send(Ether(src=OUTSIDE_MAC, dst=mac) / Dot1Q(vlan=VLAN) / echo)
        answer = wire.wait(lambda f: ICMP in f and f[IP].src == address, "answer to ping")
    assert answer[Dot1Q].vlan == VLAN
    assert answer[ICMP].type == 0


def test_port_show_and_graph(cloud: OpenStack, port: Any) -> None:
    shown = cloud.host.show(follow(PORT_SHOW, ID=port["ID"]))
    assert (shown["state"], shown["security"]) == ("running", "filtered")
    assert shown["from_peer_packets"] > 0
    assert shown["to_peer_packets"] > 0

    picture = ET.fromstring(cloud.host.run(follow(GRAPH)))
    texts = {element.text for element in picture.iter() if element.text}
    assert {f"vhost/{port['ID']}", "nic/phys0"} <= texts
