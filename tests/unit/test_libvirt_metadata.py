# SPDX-License-Identifier: Apache-2.0
"""Our element in a domain's metadata: nothing else in the document moves."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from vhost_brick_plugin.libvirt import metadata, xml
from vhost_brick_plugin.libvirt.metadata import HookPort

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")

WEB = HookPort(name="web", network="blue", socket_path="/run/s/web")
DB = HookPort(name="db", network="red", socket_path="/run/s/d&b", mtu=9000, queues=2)

PLAIN = """<domain type='test'>
  <name>vm</name>
  <!-- ä stays -->
  <memory unit="MiB">128</memory>
  <os><type>hvm</type></os>
</domain>
"""
FOREIGN = "  <metadata>\n    <x:app xmlns:x='urn:x'>1</x:app>\n  </metadata>\n"
WITH_FOREIGN = PLAIN.replace("  <memory", FOREIGN + "  <memory")
EMPTY = PLAIN.replace("  <memory", "  <metadata/>\n  <memory")
DOCUMENTS = [PLAIN, WITH_FOREIGN, EMPTY]


def test_the_element_and_its_place() -> None:
    assert metadata.put(PLAIN, WEB) == PLAIN.replace(
        "</name>\n",
        "</name>\n"
        "  <metadata>\n"
        '    <vhost-brick:ports xmlns:vhost-brick="urn:vhost-brick:domain:1">\n'
        '      <vhost-brick:port name="web" network="blue" socket="/run/s/web"/>\n'
        "    </vhost-brick:ports>\n"
        "  </metadata>\n",
    )


@pytest.mark.parametrize("text", DOCUMENTS)
def test_what_is_put_is_read_and_can_be_taken(text: str) -> None:
    both = metadata.put(metadata.put(text, WEB), DB)
    assert metadata.read(both) == (WEB, DB)
    assert metadata.put(both, DB) == both
    assert metadata.take(both, WEB.socket_path) == metadata.put(text, DB)
    none = metadata.take(metadata.take(both, WEB.socket_path), DB.socket_path)
    assert metadata.read(none) == ()
    assert metadata.element(none) is None


def test_foreign_metadata_stays_to_the_byte() -> None:
    there = metadata.put(WITH_FOREIGN, WEB)
    assert FOREIGN.removesuffix("  </metadata>\n") in there
    assert metadata.take(there, WEB.socket_path) == WITH_FOREIGN


@pytest.mark.parametrize("changed", [{"name": "web2"}, {"socket_path": "/run/s/2"}, {"mtu": 9000}])
def test_one_of_the_same_name_or_socket_is_replaced(changed: dict[str, object]) -> None:
    values = {"name": "web", "network": "blue", "socket_path": "/run/s/web", **changed}
    new = HookPort(**values)  # type: ignore[arg-type]
    assert metadata.read(metadata.put(metadata.put(PLAIN, WEB), new)) == (new,)


def test_another_prefix_is_ours_too() -> None:
    text = metadata.put(PLAIN, WEB).replace("vhost-brick:port", "v:port")
    text = text.replace("xmlns:vhost-brick", "xmlns:v")
    assert metadata.read(text) == (WEB,)
    assert metadata.take(text, WEB.socket_path).count("v:port") == 0


@pytest.mark.parametrize("text", DOCUMENTS)
def test_libvirts_schema_takes_it(text: str) -> None:
    schema = etree.RelaxNG(file=str(SCHEMA))
    domain = xml.parse(metadata.put(text, DB))
    assert schema.validate(domain), schema.error_log


def test_libvirt_keeps_it_and_takes_the_element_alone() -> None:
    libvirt = pytest.importorskip("libvirt")
    domain = libvirt.open("test:///default").defineXML(metadata.put(WITH_FOREIGN, WEB))
    try:
        assert metadata.read(domain.XMLDesc(0)) == (WEB,)
        domain.setMetadata(
            libvirt.VIR_DOMAIN_METADATA_ELEMENT,
            metadata.element(metadata.put(PLAIN, DB)),
            metadata.PREFIX,
            metadata.NAMESPACE,
        )
        assert metadata.read(domain.XMLDesc(0)) == (DB,)
    finally:
        domain.undefine()
