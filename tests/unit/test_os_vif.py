# SPDX-License-Identifier: Apache-2.0
"""The os-vif plugin against a stub daemon, or none."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from os_vif import exception, objects

from tests.unit.stub_daemon import StubDaemon, port_status, silent_daemon
from vhost_brick_plugin import errors, state_file
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.model import Mode
from vhost_brick_plugin.os_vif import VhostBrickPlugin
from vhost_brick_plugin.vif import port_request

objects.register_all()

VIF_ID = "5c2f1a0e-8a0b-4b42-9d32-4d6d8f1f0a11"
NETWORK_ID = "0f8d0d52-5a6c-45c2-9dcb-8f4ae4f1e5a7"
INSTANCE = {"uuid": "77c6c0f4-0d5b-4a52-8e55-cf4b0c1b3a6e", "name": "instance-00000001"}


def make_vif(**changes: Any) -> Any:
    """Return the VIF that Nova makes for a port bound by our driver."""
    fields: dict[str, Any] = {
        "id": VIF_ID,
        "address": "fa:16:3e:00:00:01",
        "network": objects.network.Network(id=NETWORK_ID, mtu=1450, bridge="br-int"),
        "plugin": "vhostuser_fp",
        "path": f"/run/vhost-brick/sockets/{VIF_ID}",
        "mode": "server",
        "vif_name": "nic5c2f1a0e-8a",
        "port_profile": objects.vif.VIFPortProfileFPBridge(bridge_name="br-fp"),
    }
    fields |= changes
    return objects.vif.VIFVHostUser(**{k: v for k, v in fields.items() if v is not ...})


@pytest.fixture
def instance() -> Any:
    return objects.instance_info.InstanceInfo(**INSTANCE)


@pytest.fixture
def site(tmp_path: Path) -> SimpleNamespace:
    """The plugin's options, all paths below a directory of the test's own."""
    return SimpleNamespace(
        api_socket=str(tmp_path / "api"),
        timeout=5.0,
        state_dir=str(tmp_path / "state"),
        qemu_client="refuse",
    )


@pytest.fixture
def plugin(site: SimpleNamespace) -> VhostBrickPlugin:
    return VhostBrickPlugin(site)


@pytest.fixture
def daemon(site: SimpleNamespace) -> Iterator[StubDaemon]:
    answers = {
        methods.PortEnsure: port_status(),
        methods.PortRemove: methods.Done(existed=True),
    }
    with StubDaemon(Path(site.api_socket), answers) as stub:
        yield stub


@pytest.fixture
def store(site: SimpleNamespace) -> Callable[..., None]:
    """Return a function that stores ports as the daemon would."""

    def write(*ports: dict[str, Any], name: str = state_file.FILE_NAME) -> None:
        entries = [{"port": port, "offer": {"features": 0}} for port in ports]
        path = Path(site.state_dir) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"version": 1, "networks": [], "ports": entries}))

    return write


def stored(vif: Any, **changes: Any) -> dict[str, Any]:
    """Return the stored port that a plug of *vif* leads to."""
    return {"id": vif.id, "socket_path": vif.path, "mode": "client"} | changes


# -- describe ----------------------------------------------------------------


@pytest.mark.parametrize(
    "profile", ["VIFPortProfileFPBridge", "VIFPortProfileFPOpenVSwitch", "VIFPortProfileBase"]
)
def test_describe_names_a_version_that_os_vif_has(plugin: VhostBrickPlugin, profile: str) -> None:
    vif_info = plugin.describe().get_vif("VIFVHostUser")
    assert vif_info.get_common_version() == objects.vif.VIFVHostUser.VERSION
    profiles = {p.profile_object_name: p for p in vif_info.supported_port_profiles}
    assert profiles[profile].get_common_version() == getattr(objects.vif, profile).VERSION


# -- from VIF to request -----------------------------------------------------


def test_the_request_of_a_whole_vif(instance: Any) -> None:
    assert port_request(make_vif(), instance) == methods.PortEnsure(
        id=VIF_ID,
        network=NETWORK_ID,
        mode=Mode.CLIENT,
        socket_path=f"/run/vhost-brick/sockets/{VIF_ID}",
        mac="fa:16:3e:00:00:01",
        mtu=1450,
        metadata={
            "instance_uuid": INSTANCE["uuid"],
            "instance_name": INSTANCE["name"],
            "bridge": "br-fp",
            "vif_name": "nic5c2f1a0e-8a",
        },
        create_network=True,
    )


@pytest.mark.parametrize(("qemu", "ours"), [("server", "client"), ("client", "server")])
def test_mode_is_the_opposite_of_qemus(instance: Any, qemu: str, ours: str) -> None:
    assert port_request(make_vif(mode=qemu), instance).mode == ours


def test_unset_fields_are_left_out() -> None:
    vif = make_vif(
        address=..., vif_name=..., port_profile=..., network=objects.network.Network(id=NETWORK_ID)
    )
    request = port_request(vif, objects.instance_info.InstanceInfo())
    assert (request.mac, request.mtu, request.metadata) == (None, None, {})


def test_bridge_of_the_network_serves_where_the_profile_has_none(instance: Any) -> None:
    vif = make_vif(port_profile=objects.vif.VIFPortProfileFPBridge())
    metadata = port_request(vif, instance).metadata
    assert metadata is not None
    assert metadata["bridge"] == "br-int"


def test_an_openvswitch_profile_is_taken(instance: Any) -> None:
    profile = objects.vif.VIFPortProfileFPOpenVSwitch(bridge_name="br-ovs", interface_id=VIF_ID)
    metadata = port_request(make_vif(port_profile=profile), instance).metadata
    assert metadata is not None
    assert metadata["bridge"] == "br-ovs"


@pytest.mark.parametrize(
    ("vif", "words"),
    [
        (lambda: make_vif(path=...), "has no path"),
        (lambda: make_vif(path=""), "has no path"),
        (lambda: make_vif(mode=...), "has no mode"),
        (lambda: make_vif(network=...), "names no network"),
        (lambda: make_vif(network=None), "names no network"),
        (lambda: objects.vif.VIFBridge(id=VIF_ID), "not a VIFVHostUser"),
    ],
)
def test_a_vif_that_cannot_be_served_is_refused(
    instance: Any, vif: Callable[[], Any], words: str
) -> None:
    with pytest.raises(errors.InvalidParams, match=words):
        port_request(vif(), instance)


# -- plug --------------------------------------------------------------------


def test_plug_sends_the_request(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any
) -> None:
    plugin.plug(make_vif(), instance)
    assert daemon.calls == [port_request(make_vif(), instance)]


def test_plug_fails_with_the_daemons_reason(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any
) -> None:
    daemon.answers[methods.PortEnsure] = errors.DuplicateMac("that MAC is taken")
    with pytest.raises(errors.DuplicateMac, match="that MAC is taken"):
        plugin.plug(make_vif(), instance)


def test_a_refused_update_of_a_stored_port_only_warns(
    plugin: VhostBrickPlugin,
    daemon: StubDaemon,
    store: Callable[..., None],
    instance: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store(stored(make_vif()))
    daemon.answers[methods.PortEnsure] = errors.InvalidParams("MTU 9999 is out of range")
    plugin.plug(make_vif(), instance)
    assert "MTU 9999 is out of range" in caplog.text


def test_plug_of_a_new_port_fails_once_the_time_is_over(
    plugin: VhostBrickPlugin, site: SimpleNamespace, instance: Any
) -> None:
    site.timeout = 0.3
    start = time.monotonic()
    with pytest.raises(errors.DaemonUnreachable, match=site.api_socket):
        plugin.plug(make_vif(), instance)
    assert time.monotonic() - start < 2


def test_plug_of_a_new_port_fails_while_the_daemon_hangs(
    plugin: VhostBrickPlugin, site: SimpleNamespace, instance: Any
) -> None:
    site.timeout = 0.3
    start = time.monotonic()
    with silent_daemon(Path(site.api_socket)), pytest.raises(errors.DaemonTimeout):
        plugin.plug(make_vif(), instance)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("name", ["ports.json", "ports.json.bak"])
def test_plug_of_a_stored_port_warns_at_once(
    plugin: VhostBrickPlugin,
    site: SimpleNamespace,
    store: Callable[..., None],
    instance: Any,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    site.timeout = 600.0  # Waiting that long would be a failure of this test by time-out.
    store(stored(make_vif()), name=name)
    plugin.plug(make_vif(), instance)
    assert f"Port {VIF_ID} is not updated: cannot reach vhost-brickd" in caplog.text


def test_a_damaged_state_file_leaves_its_copy(
    plugin: VhostBrickPlugin, site: SimpleNamespace, store: Callable[..., None], instance: Any
) -> None:
    store(stored(make_vif()), name=state_file.COPY_NAME)
    Path(site.state_dir, state_file.FILE_NAME).write_text('{"version": 1, "por')
    plugin.plug(make_vif(), instance)


def test_a_changed_path_waits_for_the_daemon_and_then_warns(
    plugin: VhostBrickPlugin,
    site: SimpleNamespace,
    store: Callable[..., None],
    instance: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site.timeout = 0.3
    store(stored(make_vif(), socket_path="/run/old"))
    start = time.monotonic()
    plugin.plug(make_vif(), instance)
    assert time.monotonic() - start > 0.15
    assert "is not updated" in caplog.text


@pytest.mark.parametrize("text", ["", "[]", '{"ports": 3}', '{"ports": [{}]}', "\0"])
def test_state_that_cannot_be_read_is_no_excuse(
    plugin: VhostBrickPlugin,
    site: SimpleNamespace,
    instance: Any,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    site.timeout = 0.2
    Path(site.state_dir).mkdir()
    Path(site.state_dir, state_file.FILE_NAME).write_text(text)
    with pytest.raises(errors.DaemonUnreachable):
        plugin.plug(make_vif(), instance)
    assert "is not a state file" in caplog.text


def test_a_restart_of_the_daemon_is_bridged(
    plugin: VhostBrickPlugin,
    site: SimpleNamespace,
    instance: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The daemon comes back while plug sleeps between its first and its second try."""
    stub = StubDaemon(Path(site.api_socket), {methods.PortEnsure: port_status()})
    slept = threading.Event()

    def sleep(_seconds: float) -> None:
        if not slept.is_set():
            stub.__enter__()
        slept.set()

    monkeypatch.setattr("vhost_brick_plugin.api.retry.time.sleep", sleep)
    plugin.plug(make_vif(), instance)
    stub.__exit__()
    assert slept.is_set()
    assert len(stub.calls) == 1


def test_plug_of_a_new_port_with_qemu_as_client_is_refused(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any
) -> None:
    with pytest.raises(errors.InvalidParams) as caught:
        plugin.plug(make_vif(mode="client"), instance)
    assert "would stay disconnected after a restart of vhost-brickd" in str(caught.value)
    assert "vhostuser_mode 'server', or set qemu_client = warn" in str(caught.value)
    assert daemon.calls == []


def test_plug_of_a_stored_port_with_qemu_as_client_warns(
    plugin: VhostBrickPlugin,
    daemon: StubDaemon,
    store: Callable[..., None],
    instance: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may be older than the option, and an exception would stop nova-compute."""
    store(stored(make_vif(), mode="server"))
    plugin.plug(make_vif(mode="client"), instance)
    assert f"Port {VIF_ID} is not updated: QEMU is to be the client" in caplog.text


def test_qemu_as_client_is_plugged_with_a_warning_where_that_is_asked_for(
    plugin: VhostBrickPlugin,
    site: SimpleNamespace,
    daemon: StubDaemon,
    instance: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site.qemu_client = "warn"
    vif = make_vif(mode="client")
    plugin.plug(vif, instance)
    assert daemon.calls == [port_request(vif, instance)]
    assert f"QEMU is to be the client on port {VIF_ID}" in caplog.text


# -- what a user reads -------------------------------------------------------

NOVA_KEEPS = 255
"""Characters of a fault's message."""


def fault(error: exception.ExceptionBase, call: str) -> str:
    """Return what is left of os-vif's error in the fault of an instance."""
    return f"Failure running os_vif plugin {call} method: {error}"[:NOVA_KEEPS]


def test_the_reason_of_a_failed_plug_survives_nova(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any
) -> None:
    daemon.answers[methods.PortEnsure] = errors.DuplicateMac("that MAC is taken")
    vif = make_vif()
    with pytest.raises(errors.DuplicateMac) as caught:
        plugin.plug(vif, instance)
    error = exception.PlugException(vif=vif, err=caught.value)
    assert f"Failed to plug VIF {VIF_ID}. Got error: that MAC is taken" in fault(error, "plug")


def test_the_reason_of_a_failed_unplug_survives_nova(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any
) -> None:
    daemon.answers[methods.PortRemove] = errors.Overloaded("too busy")
    vif = make_vif()
    with pytest.raises(errors.Overloaded) as caught:
        plugin.unplug(vif, instance)
    error = exception.UnplugException(vif=vif, err=caught.value)
    assert f"Failed to unplug VIF {VIF_ID}. Got error: too busy" in fault(error, "unplug")


def test_a_failed_plug_leaves_the_vif_as_it_was(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any
) -> None:
    daemon.answers[methods.PortEnsure] = errors.DuplicateMac("that MAC is taken")
    vif = make_vif()
    with pytest.raises(errors.DuplicateMac):
        plugin.plug(vif, instance)
    assert isinstance(vif, objects.vif.VIFVHostUser)
    assert vif.obj_to_primitive() == make_vif().obj_to_primitive()


# -- unplug ------------------------------------------------------------------


@pytest.mark.parametrize("existed", [True, False])
def test_unplug_removes_the_port(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any, existed: bool
) -> None:
    daemon.answers[methods.PortRemove] = methods.Done(existed=existed)
    plugin.unplug(make_vif(), instance)
    assert daemon.calls == [methods.PortRemove(id=VIF_ID)]


def test_unplug_needs_nothing_but_the_id(
    plugin: VhostBrickPlugin, daemon: StubDaemon, instance: Any
) -> None:
    plugin.unplug(objects.vif.VIFVHostUser(id=VIF_ID), instance)
    assert daemon.calls == [methods.PortRemove(id=VIF_ID)]


def test_unplug_without_daemon_succeeds_where_nothing_is_stored(
    plugin: VhostBrickPlugin, site: SimpleNamespace, store: Callable[..., None], instance: Any
) -> None:
    site.timeout = 600.0
    store(stored(make_vif(), id="another"))
    plugin.unplug(make_vif(), instance)


def test_unplug_without_daemon_fails_where_the_port_would_stay(
    plugin: VhostBrickPlugin, site: SimpleNamespace, store: Callable[..., None], instance: Any
) -> None:
    site.timeout = 0.2
    store(stored(make_vif()))
    with pytest.raises(errors.DaemonUnreachable):
        plugin.unplug(make_vif(), instance)


def test_unplug_without_daemon_fails_where_the_state_cannot_be_found(
    plugin: VhostBrickPlugin, site: SimpleNamespace, instance: Any
) -> None:
    site.timeout = 0.2
    site.state_dir = "/nonexistent"
    with pytest.raises(errors.DaemonUnreachable):
        plugin.unplug(make_vif(), instance)


def test_unplug_without_daemon_succeeds_where_it_never_stored_anything(
    plugin: VhostBrickPlugin, site: SimpleNamespace, instance: Any
) -> None:
    site.timeout = 600.0
    Path(site.state_dir).mkdir()
    plugin.unplug(make_vif(), instance)


def test_unplug_fails_while_the_daemon_hangs(
    plugin: VhostBrickPlugin, site: SimpleNamespace, instance: Any
) -> None:
    site.timeout = 0.2
    with silent_daemon(Path(site.api_socket)), pytest.raises(errors.DaemonTimeout):
        plugin.unplug(make_vif(), instance)


# -- unplug, then plug: a hard reboot ----------------------------------------


def test_plug_after_a_failed_unplug_fails_too(
    plugin: VhostBrickPlugin, site: SimpleNamespace, store: Callable[..., None], instance: Any
) -> None:
    """What is stored does not excuse it: QEMU is about to start, and would wait for ever."""
    site.timeout = 0.2
    store(stored(make_vif()))
    with pytest.raises(errors.DaemonUnreachable):
        plugin.unplug(make_vif(), instance)
    with pytest.raises(errors.DaemonUnreachable):
        plugin.plug(make_vif(), instance)


def test_a_failed_unplug_is_forgotten_once_the_port_is_plugged_again(
    plugin: VhostBrickPlugin, site: SimpleNamespace, store: Callable[..., None], instance: Any
) -> None:
    site.timeout = 0.2
    store(stored(make_vif()))
    with pytest.raises(errors.DaemonUnreachable):
        plugin.unplug(make_vif(), instance)
    with StubDaemon(Path(site.api_socket), {methods.PortEnsure: port_status()}):
        plugin.plug(make_vif(), instance)
    plugin.plug(make_vif(), instance)


# -- manners -----------------------------------------------------------------


def test_the_constructor_does_nothing() -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"the constructor read option {name}")

    VhostBrickPlugin(Untouchable())


IMPORT = """
import sys
import vhost_brick_plugin.os_vif
heavy = ("cffi", "_cffi_backend", "libvirt", "lxml", "pyroute2",
         "vhost_brick_plugin.datapath", "vhost_brick_plugin.daemon")
found = [name for name in heavy if name in sys.modules]
sys.exit(", ".join(found) or 0)
"""


def test_no_heavy_import() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


EVENTLET = """
import eventlet
eventlet.monkey_patch()
import sys
from types import SimpleNamespace
from os_vif import objects
objects.register_all()
from vhost_brick_plugin.os_vif import VhostBrickPlugin

plugin = VhostBrickPlugin(SimpleNamespace(api_socket=sys.argv[1], timeout=30, state_dir="/none"))
other = eventlet.spawn(lambda: "another green thread ran")
plugin.unplug(objects.vif.VIFVHostUser(id=sys.argv[2]), None)
print(other.wait())
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_works_under_eventlet(daemon: StubDaemon) -> None:
    pytest.importorskip("eventlet")
    command = [sys.executable, "-W", "ignore", "-c", EVENTLET, daemon.path, VIF_ID]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == "another green thread ran\n", done.stderr
    assert daemon.calls == [methods.PortRemove(id=VIF_ID)]
