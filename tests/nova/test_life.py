# SPDX-License-Identifier: Apache-2.0
"""The life of a server: what a user can do to it, and what becomes of its port."""

from __future__ import annotations

from tests.nova.calls import PLUG, UNPLUG, Calls
from tests.nova.console import Console
from tests.nova.servers import Server, Servers


def test_boot_and_delete(servers: Servers, calls: Calls) -> None:
    server = servers.boot()
    port = server.ports[0]["id"]
    server.check()
    assert calls.of(port) == [PLUG]
    server.delete()
    assert server.plugged() == {}
    assert calls.of(port) == [PLUG, UNPLUG]


def test_hard_reboot(server: Server, calls: Calls) -> None:
    before = server.domain.ID()
    server.act("reboot", "ACTIVE", type="HARD")
    assert server.domain.ID() != before
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == [UNPLUG, PLUG]


def test_soft_reboot(server: Server, calls: Calls) -> None:
    before = server.domain.ID()
    with Console(server.domain) as console:
        server.post_action("reboot", type="SOFT")
        server.wait_task("reboot_started")
        # Nova presses the guest's power button, which the lab's guest does not hear.
        console.send("sh sleep 2; poweroff -f")
        server.wait_status("ACTIVE")
    assert server.domain.ID() != before
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == []


def test_stop_and_start(server: Server, calls: Calls) -> None:
    port = server.ports[0]["id"]
    server.act("os-stop", "SHUTOFF")
    server.check("waiting")
    assert calls.of(port) == []
    server.act("os-start", "ACTIVE")
    server.answer()
    server.check()
    assert calls.of(port) == [UNPLUG, PLUG]


def test_pause_and_unpause(server: Server, calls: Calls) -> None:
    server.act("pause", "PAUSED")
    server.check("connected")
    server.act("unpause", "ACTIVE")
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == []


def test_suspend_and_resume(server: Server, calls: Calls) -> None:
    server.act("suspend", "SUSPENDED")
    server.check("waiting")
    server.act("resume", "ACTIVE")
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == [PLUG]


def test_rebuild(server: Server, calls: Calls) -> None:
    image = server.show()["image"]["id"]
    server.act("rebuild", "ACTIVE", imageRef=image)
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == [UNPLUG, PLUG]


def test_resize(servers: Servers, calls: Calls) -> None:
    server = servers.boot()
    server.act("resize", "VERIFY_RESIZE", flavorRef=servers.larger_flavor)
    server.answer()
    server.check()
    server.act("confirmResize", "ACTIVE")
    server.check()
    assert calls.of(server.ports[0]["id"]) == [PLUG, UNPLUG, PLUG]
    server.delete()


def test_rescue_and_unrescue(server: Server, servers: Servers, calls: Calls) -> None:
    server.act("rescue", "RESCUE", rescue_image_ref=servers.rescue_image(server))
    server.check()
    server.act("unrescue", "ACTIVE")
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == []


def test_shelve_and_unshelve(server: Server, calls: Calls) -> None:
    server.act("shelve", "SHELVED_OFFLOADED")
    assert server.plugged() == {}
    server.act("unshelve", "ACTIVE")
    server.answer()
    server.check()
    assert calls.of(server.ports[0]["id"]) == [UNPLUG, PLUG]
