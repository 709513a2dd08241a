# SPDX-License-Identifier: Apache-2.0
"""Building, reading and placing interfaces; checks of domain documents.

What is built is held against libvirt's own schema and its own parser (the
``test:///default`` driver, which lives in the client library).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.unit.stub_daemon import port_status
from vhost_brick_plugin import errors
from vhost_brick_plugin.finding import Level
from vhost_brick_plugin.libvirt import checks, document, ports, xml
from vhost_brick_plugin.libvirt.xml import Interface
from vhost_brick_plugin.model import Mode, Offer

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")

QEMU_IS_CLIENT = Interface(mode=Mode.SERVER, path="/run/s/a", mac="52:54:00:00:00:01")
QEMU_IS_SERVER = Interface(mode=Mode.CLIENT, path="/run/s/b", mac="52:54:00:00:00:02")
EVERYTHING = Interface(
    mode=Mode.SERVER,
    path="/run/s/all",
    mac="52:54:00:00:00:03",
    reconnect_s=1,
    queues=4,
    rx_queue_size=1024,
    tx_queue_size=512,
    packed=False,
    event_idx=True,
    host=dict.fromkeys(xml.HOST_OFFLOADS, False),
    guest=dict.fromkeys(xml.GUEST_OFFLOADS, True),
    alias="ua-brick",
    boot_order=2,
    link_up=False,
    teaming=True,
)
ALL = [QEMU_IS_CLIENT, QEMU_IS_SERVER, EVERYTHING]

DOMAIN = """<?xml version='1.0' encoding='UTF-8'?>
<!-- Äpfel: quotes, comments and odd   spaces stay -->
<domain type='test'>
  <name>vm</name>
  <memory unit="MiB">128</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <os><type>hvm</type></os>
  <devices>
    <disk  type='file'   device='disk'><source file='/x.img'/><target dev='vda'/></disk>
    <interface type='network'>
      <mac address='52:54:00:00:00:99'/>
      <source network='default'/>
    </interface>
    <!-- the end -->
  </devices>
</domain>
"""


def one(interface: Interface) -> str:
    return xml.to_text(xml.build(interface))


def only(text: str) -> Interface:
    (interface,) = document.interfaces(text)
    return interface


# -- build and read ----------------------------------------------------------


def test_the_element_where_qemu_is_the_client() -> None:
    interface = dataclasses.replace(QEMU_IS_CLIENT, reconnect_s=1)
    assert one(interface) == (
        '<interface type="vhostuser">\n'
        '  <mac address="52:54:00:00:00:01"/>\n'
        '  <source type="unix" path="/run/s/a" mode="client">\n'
        '    <reconnect enabled="yes" timeout="1"/>\n'
        "  </source>\n"
        '  <model type="virtio"/>\n'
        "</interface>"
    )


def test_the_element_where_qemu_is_the_server() -> None:
    assert one(QEMU_IS_SERVER) == (
        '<interface type="vhostuser">\n'
        '  <mac address="52:54:00:00:00:02"/>\n'
        '  <source type="unix" path="/run/s/b" mode="server"/>\n'
        '  <model type="virtio"/>\n'
        "</interface>"
    )


@pytest.mark.parametrize("interface", ALL)
def test_what_was_built_reads_the_same(interface: Interface) -> None:
    assert xml.read(xml.parse(one(interface))) == interface


@pytest.mark.parametrize("interface", ALL)
def test_libvirts_schema_takes_it(interface: Interface) -> None:
    schema = etree.RelaxNG(file=str(SCHEMA))
    domain = xml.parse(document.put(DOMAIN, interface))
    assert schema.validate(domain), schema.error_log


@pytest.mark.parametrize("interface", ALL)
def test_libvirt_defines_it_and_gives_it_back(interface: Interface) -> None:
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    text = document.put(DOMAIN, interface)
    domain = connection.defineXMLFlags(text, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    try:
        assert only(domain.XMLDesc(0)) == interface
    finally:
        domain.undefine()


def test_text_in_a_path_is_escaped() -> None:
    interface = Interface(mode=Mode.CLIENT, path="/run/s/a&b'<\"ü")
    assert xml.read(xml.parse(one(interface))) == interface


def test_what_libvirt_added_itself_is_not_read() -> None:
    element = xml.build(QEMU_IS_SERVER)
    etree.SubElement(element, "target", dev="")
    etree.SubElement(element, "alias", name="net0")
    assert xml.read(element) == QEMU_IS_SERVER


def test_reconnect_that_is_switched_off_is_none() -> None:
    text = one(dataclasses.replace(QEMU_IS_CLIENT, reconnect_s=1)).replace('"yes"', '"no"')
    assert xml.read(xml.parse(text)) == QEMU_IS_CLIENT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<interface type='bridge'/>", "not an interface of type 'vhostuser'"),
        ("<disk type='vhostuser'/>", "not an interface of type 'vhostuser'"),
        ("<interface type='vhostuser'/>", "has no mode"),
        ("<interface type='vhostuser'><source mode='both'/></interface>", "no mode 'both'"),
        ("<interface type='vhostuser'><source path='x' mode='server'/></interface>", "absolute"),
        (
            "<interface type='vhostuser'><source path='/x' mode='server'>"
            "<reconnect enabled='yes' timeout='1'/></source></interface>",
            "no meaning where QEMU is the server",
        ),
    ],
)
def test_a_bad_element_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(errors.DomainError, match=words):
        xml.read(xml.parse(text))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mode": Mode.CLIENT, "reconnect_s": 1}, "no meaning where QEMU is the server"),
        ({"reconnect_s": 0}, "reconnect is 0"),
        ({"queues": 0}, "queues is 0"),
        ({"rx_queue_size": 128}, "rx_queue_size is 128"),
        ({"rx_queue_size": 2048}, "rx_queue_size is 2048"),
        ({"tx_queue_size": 300}, "tx_queue_size is 300"),
        ({"boot_order": 0}, "boot order is 0"),
        ({"host": {"tso9": True}}, "no host offload 'tso9'"),
        ({"guest": {"gso": True}}, "no guest offload 'gso'"),
        ({"alias": "net0"}, "'net0' is refused"),
        ({"mac": "01:00:00:00:00:01"}, "not a unicast MAC"),
    ],
)
def test_what_libvirt_or_qemu_would_refuse_cannot_be_made(
    fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.InvalidParams, match=words):
        Interface(**({"mode": Mode.SERVER, "path": "/run/s/a"} | fields))


def test_a_path_that_the_kernel_cannot_take_is_refused() -> None:
    with pytest.raises(errors.InvalidSocketPath, match="108 bytes"):
        Interface(mode=Mode.SERVER, path="/" + 107 * "x")


def test_no_entity_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("SECRET")
    text = f'<!DOCTYPE d [<!ENTITY e SYSTEM "file://{secret}">]><domain><name>&e;</name></domain>'
    assert "SECRET" not in "".join(map(str, xml.parse(text).itertext()))


# -- put ---------------------------------------------------------------------


@pytest.mark.parametrize("interface", ALL)
def test_put_adds_lines_and_touches_nothing_else(interface: Interface) -> None:
    after = document.put(DOMAIN, interface)
    added = "\n    " + one(interface).replace("\n", "\n    ")
    before, _, rest = after.partition(added)
    assert before + rest == DOMAIN
    assert before.endswith("</interface>")


@pytest.mark.parametrize("interface", ALL)
def test_put_twice_is_put_once(interface: Interface) -> None:
    once = document.put(DOMAIN, interface)
    assert document.put(once, interface) == once


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("  <devices>\n  </devices>\n", "  <devices>\n    INTERFACE\n  </devices>\n"),
        ("  <devices/>\n", "  <devices>\n    INTERFACE\n  </devices>\n"),
        ("<devices></devices>", "<devices>\n  INTERFACE\n</devices>"),
        (
            "  <devices>\r\n    <emulator/>\r\n  </devices>\r\n",
            "  <devices>\r\n    <emulator/>\r\n    INTERFACE\n  </devices>\r\n",
        ),
        ("", "  <devices>\n    INTERFACE\n  </devices>\n"),
    ],
)
def test_put_finds_a_place(devices: str, expected: str) -> None:
    text = f"<domain type='test'>\n{devices}</domain>"
    after = document.put(text, QEMU_IS_SERVER)
    assert after != text
    (element,) = xml.parse(after).findall("devices/interface")
    start, end = after.index("<interface"), after.index("</interface>") + len("</interface>")
    shape = after[:start] + "INTERFACE" + after[end:]
    assert xml.read(element) == QEMU_IS_SERVER
    assert shape == f"<domain type='test'>\n{expected}</domain>"


def test_put_goes_after_the_last_interface_on_one_line() -> None:
    text = "<domain><devices><interface type='user'/><rng/></devices></domain>"
    after = document.put(text, QEMU_IS_SERVER)
    assert after.startswith("<domain><devices><interface type='user'/><interface type=")
    assert after.endswith("</interface><rng/></devices></domain>")


def test_an_interface_elsewhere_in_the_document_is_not_ours() -> None:
    text = DOMAIN.replace("  <os>", f"  <metadata><x>{one(QEMU_IS_SERVER)}</x></metadata>\n  <os>")
    after = document.put(text, QEMU_IS_SERVER)
    assert len(xml.parse(after).findall("devices/interface")) == 2
    assert document.take(after, QEMU_IS_SERVER.path) == text


def test_put_replaces_by_path_and_keeps_what_it_does_not_know() -> None:
    old = (
        "<interface type='vhostuser'>\n"
        "      <mac address='52:54:00:00:00:01'/>\n"
        "      <source type='unix' path='/run/s/a' mode='client'/>\n"
        "      <model type='virtio'/>\n"
        "      <driver iommu='on' queues='2'/>\n"
        "      <mtu size='9000'/>\n"
        "      <alias name='ua-old'/>\n"
        "      <address type='pci' domain='0x0000' bus='0x00' slot='0x07' function='0x0'/>\n"
        "    </interface>"
    )
    text = DOMAIN.replace("<!-- the end -->", old)
    after = document.put(text, dataclasses.replace(QEMU_IS_CLIENT, reconnect_s=1, queues=4))
    element = document.element_at(after, "/run/s/a")
    assert element is not None
    assert xml.read(element) == dataclasses.replace(
        QEMU_IS_CLIENT, reconnect_s=1, queues=4, alias="ua-old"
    )
    assert dict(element.find("driver").attrib) == {"iommu": "on", "queues": "4"}  # type: ignore[union-attr]
    assert element.find("address").get("slot") == "0x07"  # type: ignore[union-attr]
    assert element.find("mtu") is None
    head, tail = text.split(old)
    assert after.startswith(head)
    assert after.endswith(tail)


def test_put_takes_mtu_out_even_if_all_else_is_right() -> None:
    good = document.put(DOMAIN, QEMU_IS_SERVER)
    bad = good.replace('<model type="virtio"/>', '<model type="virtio"/><mtu size="1500"/>')
    assert bad != good
    assert document.put(bad, QEMU_IS_SERVER) == good


def test_put_replaces_by_mac_when_the_path_changed() -> None:
    moved = dataclasses.replace(QEMU_IS_SERVER, path="/run/new")
    assert only(document.put(document.put(DOMAIN, QEMU_IS_SERVER), moved)) == moved


def test_put_drops_reconnect_when_qemu_becomes_the_server() -> None:
    before = document.put(DOMAIN, dataclasses.replace(QEMU_IS_CLIENT, reconnect_s=1))
    changed = dataclasses.replace(QEMU_IS_CLIENT, mode=Mode.CLIENT)
    assert only(document.put(before, changed)) == changed


def test_put_refuses_the_mac_of_another_kind_of_interface() -> None:
    interface = dataclasses.replace(QEMU_IS_SERVER, mac="52:54:00:00:00:99")
    with pytest.raises(errors.DomainError, match="type 'network' has the MAC"):
        document.put(DOMAIN, interface)


# -- take --------------------------------------------------------------------


@pytest.mark.parametrize("interface", ALL)
def test_take_undoes_put(interface: Interface) -> None:
    assert document.take(document.put(DOMAIN, interface), interface.path) == DOMAIN


def test_take_undoes_put_with_windows_line_ends() -> None:
    text = DOMAIN.replace("\n", "\r\n")
    put = document.put(text, QEMU_IS_SERVER)
    assert put != text
    assert document.take(put, QEMU_IS_SERVER.path) == text


def test_take_of_what_is_not_there_changes_nothing() -> None:
    assert document.take(DOMAIN, "/run/s/none") == DOMAIN


def test_take_leaves_the_others() -> None:
    text = document.put(document.put(DOMAIN, QEMU_IS_CLIENT), QEMU_IS_SERVER)
    assert only(document.take(text, QEMU_IS_CLIENT.path)) == QEMU_IS_SERVER


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "not XML"), ("<domain>", "not XML"), ("<network/>", "a <network>, not a <domain>")],
)
def test_what_is_no_domain_document_is_refused(text: str, words: str) -> None:
    with pytest.raises(errors.DomainError, match=words):
        document.put(text, QEMU_IS_SERVER)
    with pytest.raises(errors.DomainError, match=words):
        document.take(text, "/x")


# -- shared memory -----------------------------------------------------------


def memory(backing: str = "", cells: str = "", devices: str = "") -> str:
    cpu = f"<cpu><numa>{cells}</numa></cpu>" if cells else ""
    return f"<domain><name>vm</name>{backing}{cpu}<devices>{devices}</devices></domain>"


SHARED = "<access mode='shared'/>"

NOVA = (
    "<metadata><nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>"
    "<nova:name>vm</nova:name><nova:flavor name='m1.small'/></nova:instance></metadata>"
)


@pytest.mark.parametrize(
    "text",
    [
        memory(f"<memoryBacking><source type='memfd'/>{SHARED}</memoryBacking>"),
        memory(f"<memoryBacking><source type='file'/>{SHARED}</memoryBacking>"),
        memory(f"<memoryBacking><hugepages/>{SHARED}</memoryBacking>"),
        memory(
            "<memoryBacking><hugepages/></memoryBacking>",
            "<cell id='0' memAccess='shared'/><cell id='1' memAccess='shared'/>",
        ),
        memory(
            f"<memoryBacking><hugepages/>{SHARED}</memoryBacking>",
            "<cell id='0'/><cell id='1' memAccess='shared'/>",
            "<memory model='dimm'/><memory model='nvdimm' access='private'/>",
        ),
    ],
)
def test_shared_memory_passes(text: str) -> None:
    checks.check_shared_memory(text)
    assert checks.shared_memory(text).level is Level.OK


@pytest.mark.parametrize(
    ("text", "words", "fix"),
    [
        (memory(), "domain vm is not shared", "Add to <domain>: <memoryBacking><source type="),
        (
            memory("<memoryBacking><hugepages/></memoryBacking>"),
            "domain vm is not shared",
            "Add to its <memoryBacking>: <access mode='shared'/>",
        ),
        (
            memory("<memoryBacking><nosharepages/></memoryBacking>"),
            "domain vm is not shared",
            "Add to its <memoryBacking>: <source type='memfd'/><access mode='shared'/>",
        ),
        (
            memory("<memoryBacking><access mode='private'/></memoryBacking>"),
            "domain vm is not shared",
            "Change its <memoryBacking> to <access mode='shared'/>.",
        ),
        (
            memory(NOVA),
            "domain vm is not shared",
            "Flavor m1.small lacks hw:mem_page_size=large: resize",
        ),
        (
            memory(NOVA, cells="<cell id='0'/>"),
            "NUMA cell 0, is not shared",
            "[libvirt] file_backed_memory in nova.conf",
        ),
        (
            memory(cells="<cell id='0' memAccess='shared'/><cell id='7'/>"),
            "NUMA cell 7, is not shared",
            "Give <cell id='7'> the attribute memAccess='shared'.",
        ),
        (
            memory(
                f"<memoryBacking>{SHARED}</memoryBacking>",
                "<cell id='0' memAccess='private'/>",
            ),
            "NUMA cell 0, is not shared",
            "<cell id='0'>",
        ),
        (
            memory(
                f"<memoryBacking>{SHARED}</memoryBacking>",
                devices="<memory model='dimm' access='private'/>",
            ),
            "a dimm of domain vm is not shared",
            "access='shared'",
        ),
    ],
)
def test_memory_that_is_not_shared_is_refused_with_the_fix(
    text: str, words: str, fix: str
) -> None:
    with pytest.raises(errors.SharedMemoryMissing, match=words) as caught:
        checks.check_shared_memory(text)
    assert fix in caught.value.hint
    finding = checks.shared_memory(text)
    assert (finding.level, finding.fix) == (Level.FAIL, caught.value.hint)


# -- advice ------------------------------------------------------------------


def advice(text: str, qemu: tuple[int, int] | None = None) -> dict[str, Level]:
    return {finding.check: finding.level for finding in checks.advise(text, qemu)}


def test_a_good_domain_needs_no_advice() -> None:
    text = document.put(DOMAIN, dataclasses.replace(QEMU_IS_CLIENT, reconnect_s=1))
    assert advice(document.put(text, QEMU_IS_SERVER), (7, 2)) == {}


def test_a_client_that_never_reconnects_is_a_warning() -> None:
    assert advice(document.put(DOMAIN, QEMU_IS_CLIENT)) == {"no_reconnect": Level.WARN}


def test_packed_rings_are_a_warning() -> None:
    packed = dataclasses.replace(QEMU_IS_SERVER, packed=True)
    assert advice(document.put(DOMAIN, packed)) == {"packed_ring": Level.WARN}


def test_mtu_is_a_failure() -> None:
    text = document.put(DOMAIN, QEMU_IS_SERVER)
    text = text.replace('<model type="virtio"/>', '<mtu size="1500"/>')
    assert advice(text) == {"mtu_element": Level.FAIL}


@pytest.mark.parametrize(
    ("backing", "found"),
    [
        ("<memoryBacking><access mode='shared'/></memoryBacking>", {"memory_on_disk": Level.WARN}),
        ("<memoryBacking><source type='file'/><access mode='shared'/></memoryBacking>", {}),
        ("", {}),
    ],
)
def test_memory_in_a_file_by_accident_is_a_warning(backing: str, found: object) -> None:
    assert advice(memory(backing)) == found


OVERRIDE = """
  <qemu:override xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
    <qemu:device alias='ua-nic'><qemu:frontend>
      <qemu:property name='vectors' type='unsigned' value='0'/>
    </qemu:frontend></qemu:device>
  </qemu:override>
</domain>"""


@pytest.mark.parametrize(
    ("kind", "qemu", "override", "found"),
    [
        ("qemu", (7, 2), False, True),
        ("qemu", (9, 2), False, True),
        ("qemu", (10, 0), False, False),
        ("qemu", None, False, False),
        ("kvm", (7, 2), False, False),
        ("qemu", (7, 2), True, False),
    ],
)
def test_the_crash_of_qemu_without_kvm_is_foretold(
    kind: str, qemu: tuple[int, int] | None, override: bool, found: bool
) -> None:
    interface = dataclasses.replace(QEMU_IS_SERVER, alias="ua-nic")
    text = document.put(DOMAIN.replace("type='test'", f"type='{kind}'"), interface)
    if override:
        text = text.replace("\n</domain>", OVERRIDE)
    assert ("tcg_vectors" in advice(text, qemu)) is found


@pytest.mark.parametrize(("cmdline", "found"), [("quiet pci=nomsi", False), ("pci=nomsix", True)])
def test_a_guest_without_msi_does_not_crash(cmdline: str, found: bool) -> None:
    text = document.put(DOMAIN.replace("type='test'", "type='qemu'"), QEMU_IS_SERVER)
    text = text.replace("<type>hvm</type>", f"<type>hvm</type><cmdline>{cmdline}</cmdline>")
    assert ("tcg_vectors" in advice(text, (7, 2))) is found


def test_an_override_of_another_device_does_not_help() -> None:
    text = document.put(DOMAIN.replace("type='test'", "type='qemu'"), QEMU_IS_SERVER)
    assert "tcg_vectors" in advice(text.replace("\n</domain>", OVERRIDE), (7, 2))


# -- interface and port ------------------------------------------------------


def test_the_interface_of_a_client_mode_port() -> None:
    status = port_status(mode=Mode.CLIENT)
    assert ports.interface_for(status) == Interface(
        mode=Mode.CLIENT, path="/run/s/p1", mac="52:54:00:00:00:01"
    )


@pytest.mark.parametrize(("wanted", "found"), [(None, 1), (5, 5), (0, None)])
def test_the_interface_of_a_server_mode_port_reconnects(
    wanted: int | None, found: int | None
) -> None:
    interface = ports.interface_for(port_status(mode=Mode.SERVER), reconnect_s=wanted)
    assert interface.reconnect_s == found


def test_an_interface_never_wants_more_queues_than_offered() -> None:
    status = port_status(offer=Offer(features=0, queues=2, mtu=1500))
    assert ports.interface_for(status, queues=2).queues == 2
    with pytest.raises(errors.TooManyQueues, match="offers 2 queue pairs, 3 asked for"):
        ports.interface_for(status, queues=3)


@pytest.mark.parametrize(
    ("changes", "tuning", "found"),
    [
        ({}, {}, {}),
        ({}, {"mode": Mode.SERVER}, {"mode_mismatch": Level.FAIL}),
        ({}, {"queues": 4}, {}),
        ({}, {"queues": 5}, {"too_many_queues": Level.FAIL}),
        ({"mac": "52:54:00:00:00:77"}, {}, {"mac_mismatch": Level.WARN}),
    ],
)
def test_differences_between_interface_and_port(
    changes: dict[str, Any], tuning: dict[str, Any], found: dict[str, Level]
) -> None:
    interface = dataclasses.replace(ports.interface_for(port_status()), **tuning)
    findings = checks.compare(interface, port_status(**changes))
    assert {f.check: f.level for f in findings} == found


@pytest.mark.parametrize("interface", [QEMU_IS_CLIENT, QEMU_IS_SERVER])
def test_an_interface_without_port_is_a_failure(interface: Interface) -> None:
    (finding,) = checks.compare(interface, None)
    assert (finding.check, finding.level) == ("port_missing", Level.FAIL)
    assert f"--socket {interface.path} --mode {interface.mode}" in finding.fix
