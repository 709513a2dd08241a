# SPDX-License-Identifier: Apache-2.0
"""The ``vhost-brick`` command against a stub daemon, in this process."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.stub_daemon import (
    StubDaemon,
    counters,
    hello,
    network_status,
    port_status,
    silent_daemon,
)
from vhost_brick_plugin import codec, errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import columns, rates, screen
from vhost_brick_plugin.cli import main as cli
from vhost_brick_plugin.cli.drawings import to_dot, to_tree
from vhost_brick_plugin.cli.graph import to_svg
from vhost_brick_plugin.cli.picture import Flow, picture
from vhost_brick_plugin.cli.top import Row, View
from vhost_brick_plugin.cli.words import si
from vhost_brick_plugin.libvirt import document, metadata, xml
from vhost_brick_plugin.libvirt.domain import Change, Hypervisor
from vhost_brick_plugin.libvirt.metadata import HookPort
from vhost_brick_plugin.libvirt.xml import Interface
from vhost_brick_plugin.model import (
    CLOSED,
    OPEN,
    AddressPair,
    Mode,
    PortSecurity,
    SecurityMode,
    Tunnel,
    Uplink,
    UplinkKind,
    default_mac,
)
from vhost_brick_plugin.report import (
    NO_TRAFFIC,
    BrickStats,
    Fault,
    GraphEdge,
    GraphNode,
    GraphResult,
    Happening,
    WorkerStats,
)

GRAPH = GraphResult(
    nodes=(
        GraphNode(name="switch/net1", kind="switch", network="net1"),
        GraphNode(name='vhost/"p1"', kind="vhost", network="net1"),
    ),
    edges=(GraphEdge(a="switch/net1", b='vhost/"p1"'),),
)

FAULT = Fault(name="feature_refused", message="seen", hint="do this", since=1.0)


class Outcome:
    """What a command left behind."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[StubDaemon]:
    with StubDaemon(tmp_path / "api") as stub:
        yield stub


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str, timeout: float = 30) -> Outcome:
        options = ["--api-socket", str(tmp_path / "api"), "--timeout", str(timeout)]
        try:
            status = cli.main([*options, *argv])
        except SystemExit as end:  # argparse
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return Outcome(status, out, err)

    return call


# -- ports -------------------------------------------------------------------


def test_port_create_sends_what_was_given(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortEnsure] = port_status()
    done = run(
        *("port", "create", "p1", "--network", "net1", "--mode", "server"),
        *("--socket", "/run/s/x", "--mac", "52:54:00:00:00:01", "--mtu", "9000"),
        *("--queues", "8", "--create-network", "--property", "a=1", "--property", "b=x=y"),
    )
    assert done.status == 0, done.err
    assert daemon.calls == [
        methods.PortEnsure(
            id="p1",
            network="net1",
            mode=Mode.SERVER,
            socket_path="/run/s/x",
            mac="52:54:00:00:00:01",
            mtu=9000,
            queues=8,
            create_network=True,
            metadata={"a": "1", "b": "x=y"},
        )
    ]


def test_port_create_leaves_the_rest_to_the_daemon(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortEnsure] = port_status()
    assert run("port", "create", "p1", "--network", "net1").status == 0
    assert daemon.calls == [methods.PortEnsure(id="p1", network="net1")]


@pytest.mark.parametrize(
    "words",
    [
        ["--mode", "neither"],
        ["--mtu", "big"],
        ["--property", "novalue"],
        ["--property", "=x"],
        ["--security", "filtered"],
        ["--allow", "52:54"],
        ["--allow", "52:54:00:00:00:01=here"],
        ["--allow", "52:54:00:00:00:01", "--security", "open"],
    ],
)
def test_port_create_refuses_bad_words_itself(
    daemon: StubDaemon, run: Run, words: list[str]
) -> None:
    done = run("port", "create", "p1", "--network", "net1", *words)
    assert done.status == 2
    assert words[0] in done.err
    assert daemon.calls == []


@pytest.mark.parametrize(
    ("words", "security"),
    [
        (["--security", "open"], OPEN),
        (["--security", "closed"], CLOSED),
        (
            ["--allow", "52-54-00-00-00-01", "--allow", "52:54:00:00:00:01=fd00::/64"],
            PortSecurity(
                mode=SecurityMode.FILTERED,
                allowed=(
                    AddressPair(mac="52:54:00:00:00:01"),
                    AddressPair(mac="52:54:00:00:00:01", ip="fd00::/64"),
                ),
            ),
        ),
    ],
)
def test_port_create_says_what_it_lets_through(
    daemon: StubDaemon, run: Run, words: list[str], security: PortSecurity
) -> None:
    daemon.answers[methods.PortEnsure] = port_status()
    done = run("port", "create", "p1", "--network", "net1", *words)
    assert done.status == 0, done.err
    assert daemon.calls == [methods.PortEnsure(id="p1", network="net1", security=security)]


def test_port_delete_deletes_all(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortRemove] = methods.Done(existed=False)
    assert run("port", "delete", "p1", "p2").status == 0
    assert daemon.calls == [methods.PortRemove(id="p1"), methods.PortRemove(id="p2")]


def test_port_list(daemon: StubDaemon, run: Run) -> None:
    answer = methods.PortList(ports=(port_status(), port_status("p2", fault=FAULT, state="fault")))
    daemon.answers[methods.PortListCall] = answer
    first, second = run("port", "list", "--network", "net1", "-f", "json").json
    assert daemon.calls == [methods.PortListCall(network="net1")]
    assert first == {
        "id": "p1",
        "network": "net1",
        "mode": "client",
        "state": "running",
        "sessions": 0,
        "security": "open",
        "mac": "52:54:00:00:00:01",
        "socket_path": "/run/s/p1",
        "fault": None,
    }
    assert second["fault"] == "feature_refused"


def test_port_list_for_people(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortListCall] = methods.PortList(ports=(port_status(),))
    lines = run("port", "list").out.splitlines()
    words = [word.strip() for word in lines[3].strip("|").split("|")]
    assert words[:6] == ["p1", "net1", "client", "running", "0", "open"]
    assert words[6:] == ["52:54:00:00:00:01", "/run/s/p1", "-"]


def test_an_empty_list_has_a_head(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortListCall] = methods.PortList(ports=())
    assert "| id " in run("port", "list").out


def test_port_show(daemon: StubDaemon, run: Run) -> None:
    status = port_status(
        fault=FAULT, metadata={"k": "v"}, counters=counters(drops={"ring_full": 3})
    )
    daemon.answers[methods.PortShow] = status
    shown = run("port", "show", "p1", "-f", "json").json
    assert daemon.calls == [methods.PortShow(id="p1")]
    assert shown["fault_hint"] == "do this"
    assert shown["metadata"] == {"k": "v"}
    assert shown["drops"] == {"ring_full": 3}
    assert shown["offered_features"] == 0x130000000
    assert "0x130000000" in run("port", "show", "p1").out


def test_port_show_tells_the_security_in_force(daemon: StubDaemon, run: Run) -> None:
    pairs = (AddressPair(mac="52:54:00:00:00:01", ip="192.0.2.7"),)
    filtered = PortSecurity(mode=SecurityMode.FILTERED, allowed=pairs)
    daemon.answers[methods.PortShow] = port_status(security=filtered)
    shown = run("port", "show", "p1", "-f", "json").json
    assert shown["security"] == "filtered"
    assert shown["allowed"] == [{"mac": "52:54:00:00:00:01", "ip": "192.0.2.7/32"}]
    assert " 52:54:00:00:00:01=192.0.2.7/32 " in run("port", "show", "p1").out


def test_port_show_tells_a_life(daemon: StubDaemon, run: Run) -> None:
    life = (
        Happening(time=1.5, what="session_negotiated", detail={"features": "0x100008000"}),
        Happening(time=2.0, what="fault", detail={"fault": "bad_message", "hint": "no comma"}),
    )
    daemon.answers[methods.PortShow] = port_status(life=life)
    shown = run("port", "show", "p1").out
    assert ".500  session negotiated  features=MRG_RXBUF+VERSION_1" in shown
    assert ".000  fault  fault=bad_message" in shown
    assert "no comma" not in shown
    (first, _) = run("port", "show", "p1", "-f", "json").json["life"]
    assert first == {
        "time": 1.5,
        "what": "session_negotiated",
        "detail": {"features": "0x100008000"},
    }


def test_port_stats(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortShow] = port_status(counters=counters(drops={"ring_full": 3}))
    assert run("port", "stats", "p1", "-f", "json").json == {
        "id": "p1",
        "from_peer_packets": 1,
        "from_peer_bytes": 60,
        "to_peer_packets": 2,
        "to_peer_bytes": 120,
        "made_packets": 0,
        "drops": {"ring_full": 3},
    }


# -- networks ----------------------------------------------------------------


def test_network_create(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.NetworkEnsure] = network_status()
    done = run("network", "create", "net1", "--mtu", "9000", "--tap", "tap0", "--tap", "tap1")
    assert done.status == 0, done.err
    uplinks = tuple(Uplink(kind=UplinkKind.TAP, name=name) for name in ("tap0", "tap1"))
    assert daemon.calls == [methods.NetworkEnsure(network="net1", mtu=9000, uplinks=uplinks)]


TUNNEL = Uplink(
    kind=UplinkKind.VXLAN,
    name="vxlan-7",
    tunnel=Tunnel(vni=7, local="fd00::1", remotes=("fd00::2", "fd00::3")),
)
OTHER_TUNNEL = Uplink(
    kind=UplinkKind.VXLAN, name="t", tunnel=Tunnel(vni=8, local="192.0.2.1", port=4790)
)


def test_network_create_with_uplinks_of_all_kinds(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.NetworkEnsure] = network_status()
    done = run(
        *("network", "create", "net1", "--guarded", "--tap", "tap0:0", "--nic", "phys0"),
        *("--vxlan", "vni=7,local=fd00::1,remote=fd00::2,remote=fd00::3"),
        *("--nic", "phys1:4094", "--vxlan", "vni=8,local=192.0.2.1,port=4790,name=t"),
    )
    assert done.status == 0, done.err
    assert daemon.calls == [
        methods.NetworkEnsure(
            network="net1",
            guarded=True,
            uplinks=(
                Uplink(kind=UplinkKind.TAP, name="tap0", vlan=0),
                Uplink(kind=UplinkKind.NIC, name="phys0"),
                Uplink(kind=UplinkKind.NIC, name="phys1", vlan=4094),
                TUNNEL,
                OTHER_TUNNEL,
            ),
        )
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--tap", "t:"], "not of the form NAME[:VLAN]"),
        (["--tap", "t:five"], "not of the form NAME[:VLAN]"),
        (["--nic", "p:4095"], "VLAN 4095 is out of range"),
        (["--nic", "a-name-that-is-too-long"], "not a network interface name"),
        (["--vxlan", "7"], "'7' is not part of vni=N"),
        (["--vxlan", "vni=7"], "lacks local="),
        (["--vxlan", "local=192.0.2.1"], "lacks vni="),
        (["--vxlan", "vni=7,vni=8,local=192.0.2.1"], "'vni=8' is not part of"),
        (["--vxlan", "vni=7,local=192.0.2.1,remote="], "'remote=' is not part of"),
        (["--vxlan", "vni=7,local=192.0.2.1,remote=fd00::1"], "by addresses of the same family"),
    ],
)
def test_network_create_refuses_bad_uplinks_itself(
    daemon: StubDaemon, run: Run, words: list[str], error: str
) -> None:
    done = run("network", "create", "net1", *words)
    assert done.status == 2
    assert error in done.err
    assert daemon.calls == []


def test_network_delete(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.NetworkRemove] = methods.Done(existed=True)
    assert run("network", "delete", "net1", "net2").status == 0
    assert [call.network for call in daemon.calls_of(methods.NetworkRemove)] == ["net1", "net2"]


def test_network_list_and_show(daemon: StubDaemon, run: Run) -> None:
    tap = Uplink(kind=UplinkKind.TAP, name="tap0")
    uplinks = (tap, Uplink(kind=UplinkKind.NIC, name="phys0", vlan=5), TUNNEL)
    networks = (
        network_status("other"),
        network_status("net1", uplinks=uplinks, guarded=True, fault=FAULT),
    )
    daemon.answers[methods.NetworkListCall] = methods.NetworkList(networks=networks)
    rows = run("network", "list", "-f", "json").json
    assert [(row["name"], row["ports"], row["fault"]) for row in rows] == [
        ("other", 2, None),
        ("net1", 2, "feature_refused"),
    ]
    shown = run("network", "show", "net1", "-f", "json").json
    assert (shown["guarded"], shown["ports"]) == (True, ["p1", "p2"])
    assert rows[1]["uplinks"] == ["tap tap0", "nic phys0:5", "vxlan vxlan-7"]
    assert shown["uplinks"] == codec.to_json(uplinks)
    text = run("network", "show", "net1").out
    for words in (
        "tap tap0",
        "nic phys0:5",
        "vxlan vxlan-7 vni=7,local=fd00::1,remote=fd00::2,remote=fd00::3,port=4789",
    ):
        assert f" {words} " in text


def test_network_show_of_none_is_an_error_with_a_hint(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.NetworkListCall] = methods.NetworkList(networks=())
    done = run("network", "show", "nope")
    assert done.status == 1
    assert done.err.splitlines()[0] == "error: there is no network 'nope'"


# -- the whole ---------------------------------------------------------------


def test_status(daemon: StubDaemon, run: Run) -> None:
    worker = WorkerStats(
        worker=0, core=3, polls=9, busy_polls=1, busy_cycles=25, cycles=200, sleeps=4
    )
    daemon.answers = {
        methods.Hello: hello(),
        methods.PortListCall: methods.PortList(
            ports=(port_status(), port_status("p2", state="fault", fault=FAULT))
        ),
        methods.NetworkListCall: methods.NetworkList(networks=(network_status(),)),
        methods.Stats: methods.StatsResult(time=1.0, bricks=(), workers=(worker,)),
    }
    shown = run("status", "-f", "json").json
    assert (shown["version"], shown["ports"], shown["networks"]) == ("1.2", 2, 1)
    assert shown["ports_by_state"] == {"fault": 1, "running": 1}
    assert shown["faults"] == [{"of": "port p2", "fault": "feature_refused", "hint": "do this"}]
    assert shown["workers"] == [{"worker": 0, "core": 3, "busy_percent": 12.5}]
    assert "1 d 1:01:01" in run("status").out


def test_status_of_a_daemon_with_a_standby(daemon: StubDaemon, run: Run) -> None:
    standby = methods.Standby(pid=43, version="1.3", in_sync=False, since=1.0)
    took_over = methods.TookOver(time=1.0, from_pid=41, from_version="1.1", adopted=2, closed=1)
    daemon.answers = {
        methods.Hello: hello(standby=standby, took_over=took_over),
        methods.PortListCall: methods.PortList(ports=()),
        methods.NetworkListCall: methods.NetworkList(networks=()),
        methods.Stats: methods.StatsResult(time=1.0, bricks=(), workers=()),
    }
    shown = run("status", "-f", "json").json
    assert shown["standby"] == codec.to_json(standby)
    assert shown["took_over"] == codec.to_json(took_over)
    out = run("status").out
    assert "process 43, version 1.3, not in sync since 19" in out
    assert "from process 41, version 1.1 at 19" in out
    assert "2 sessions kept, 1 closed" in out


def test_handover(daemon: StubDaemon, run: Run) -> None:
    answers = iter([hello(pid=42), errors.DaemonUnreachable("closed"), hello(pid=43)])
    took_over = methods.TookOver(time=1.0, from_pid=42, from_version="1.2", adopted=2, closed=0)

    def next_hello(_call: methods.Hello) -> methods.HelloResult:
        answer = next(answers)
        if isinstance(answer, errors.VhostBrickError):
            raise answer
        return dataclasses.replace(answer, took_over=took_over, version="1.3")

    daemon.answers = {
        methods.Handover: methods.HandoverResult(
            pid=42, version="1.2", standby_pid=43, standby_version="1.3"
        ),
        methods.Hello: next_hello,
    }
    shown = run("handover", "-f", "json").json
    took = shown.pop("took_ms")
    assert 0 < took < 30_000
    assert shown == {
        "from_pid": 42,
        "from_version": "1.2",
        "to_pid": 43,
        "to_version": "1.3",
        "sessions_kept": 2,
        "sessions_closed": 0,
    }


def test_a_handover_that_is_refused(daemon: StubDaemon, run: Run) -> None:
    daemon.answers = {methods.Handover: errors.NoStandby("there is no standby to hand over to")}
    done = run("handover")
    assert done.status == 1
    assert "there is no standby" in done.err
    assert "standby = on" in done.err
    assert daemon.calls_of(methods.Hello) == []


def test_a_handover_to_somebody_who_never_answers(daemon: StubDaemon, run: Run) -> None:
    daemon.answers = {
        methods.Handover: methods.HandoverResult(
            pid=42, version="1.2", standby_pid=43, standby_version="1.3"
        ),
        methods.Hello: hello(pid=42),
    }
    done = run("handover", timeout=0.1)
    assert done.status == 1
    assert "process 43 has not answered within 0.1 s" in done.err


CONNECTED = methods.Event(
    time=1.25, kind="session_connected", port="p1", detail={"pid": "7", "session": "1"}
)
BROKEN = methods.Event(time=2.0, kind="fault", uplink="tap0", detail={"fault": "x", "hint": "do"})
ADDED = methods.Event(time=3.0, kind="network_added", detail={"network": "net1"})
TOOK_OVER = methods.Event(time=4.0, kind="took_over", detail={"adopted": "2", "closed": "0"})


def watched(daemon: StubDaemon, *streams: list[methods.Event]) -> None:
    daemon.answers[methods.Watch] = lambda call: methods.Watching(port=call.port)
    daemon.streams = list(streams)


def test_watch(daemon: StubDaemon, run: Run) -> None:
    watched(daemon, [CONNECTED, BROKEN, ADDED, TOOK_OVER])
    done = run("watch", "--count", "4")
    assert (done.status, done.err) == (0, "")
    assert daemon.calls == [methods.Watch(port=None)]
    lines = [line.partition("  ") for line in done.out.splitlines()]
    assert [rest for _, _, rest in lines] == [
        "port p1  session connected  pid=7, session=1",
        "uplink tap0  fault  fault=x, hint=do",
        "network net1  network added",
        "daemon  took over  adopted=2, closed=0",
    ]
    assert lines[0][0].endswith(".250")


def test_watch_of_one_port_as_json(daemon: StubDaemon, run: Run) -> None:
    negotiated = dataclasses.replace(CONNECTED, detail={"features": "0x100000000"})
    watched(daemon, [CONNECTED, negotiated])
    daemon.answers[methods.PortShow] = port_status("p1")
    done = run("watch", "--port", "p1", "--count", "2", "--json")
    assert done.err == ""
    assert daemon.calls == [methods.PortShow(id="p1"), methods.Watch(port="p1")]
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events == [codec.to_json(CONNECTED), codec.to_json(negotiated)]


def test_watch_tells_of_a_port_that_is_not_there(daemon: StubDaemon, run: Run) -> None:
    watched(daemon, [CONNECTED])
    daemon.answers[methods.PortShow] = errors.PortNotFound("there is no port p1")
    done = run("watch", "--port", "p1", "--count", "1")
    assert done.status == 0
    assert done.err == "there is no port p1 yet; waiting for it\n"


def test_watch_goes_on_over_a_hand_over(daemon: StubDaemon, run: Run) -> None:
    watched(daemon, [CONNECTED], [TOOK_OVER])
    done = run("watch", "--count", "2", "--json")
    assert done.status == 0
    assert [json.loads(line)["kind"] for line in done.out.splitlines()] == [
        "session_connected",
        "took_over",
    ]
    assert [line.partition(";")[2] for line in done.err.splitlines()] == [
        " waiting for it",
        " what happened meanwhile was not seen",
    ]


def test_watch_of_nobody_is_an_error(run: Run) -> None:
    done = run("watch")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: cannot reach vhost-brickd")


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_watch_of_no_events_is_refused(daemon: StubDaemon, run: Run, count: str) -> None:
    done = run("watch", f"--count={count}")
    assert done.status == 2
    assert "not a whole number from 1 on" in done.err
    assert daemon.calls == []


def brick(name: str, kind: str, packets: int, network: str = "net1", **drops: int) -> BrickStats:
    flow = {"from_peer_packets": packets, "from_peer_bytes": 60 * packets, "drops": drops}
    return BrickStats(brick=name, kind=kind, network=network, counters=counters(**flow))


def readings(daemon: StubDaemon, *readings: tuple[BrickStats, ...], pid: int = 42) -> None:
    """Let *daemon* answer with each of *readings* in turn; with the last for ever."""
    left, calls = list(readings), itertools.count()

    def stats(_call: methods.Stats) -> methods.StatsResult:
        bricks = left.pop(0) if len(left) > 1 else left[0]
        busy = 100 * next(calls)
        worker = WorkerStats(
            worker=0,
            core=3,
            polls=0,
            busy_polls=0,
            sleeps=0,
            busy_cycles=busy,
            cycles=4 * busy,
        )
        return methods.StatsResult(time=1.0, bricks=bricks, workers=(worker,))

    daemon.answers |= {methods.Hello: hello(pid=pid), methods.Stats: stats}


PORTS = methods.PortList(
    ports=(
        port_status("p1", metadata={"instance_name": "[red]vm\x1b"}),
        port_status("p2", state="fault", fault=FAULT),
    )
)
QUIET = (brick("vhost/p1", "vhost", 0), brick("vhost/p2", "vhost", 0), brick("tap/t", "tap", 0))
BUSY = (
    brick("vhost/p1", "vhost", 1, ring_full=50_000),
    brick("vhost/p2", "vhost", 1_000_000, bad_header=7),
    brick("tap/t", "tap", 10),
)


def test_top_as_json(daemon: StubDaemon, run: Run) -> None:
    readings(daemon, QUIET, BUSY, BUSY)
    daemon.answers[methods.PortListCall] = PORTS
    done = run("top", "--interval", "0.01", "--count", "2", "--json")
    assert (done.status, done.err) == (0, "")
    first, second = map(json.loads, done.out.splitlines())
    assert first["workers"] == [{"worker": 0, "core": 3, "busy": 0.25}]
    p2, p1 = first["ports"]
    assert (p2["name"], p2["network"], p2["state"]) == ("p2", "net1", "feature_refused")
    assert (p1["name"], p1["instance"], p1["state"]) == ("p1", "[red]vm\x1b", "running")
    seconds = first["seconds"]
    assert 0.01 <= seconds < 30
    assert p2["rates"]["from_peer_packets"] * seconds == pytest.approx(1_000_000)
    assert p2["rates"]["from_peer_bits"] * seconds == pytest.approx(8 * 60 * 1_000_000)
    assert p2["rates"]["drops"]["bad_header"] * seconds == pytest.approx(7)
    assert [(row["name"], row["state"]) for row in first["uplinks"]] == [("tap/t", "")]
    assert [port["rates"]["drops"] for port in second["ports"]] == [{}, {}]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("traffic", ["p2", "p1"]),
        ("bits", ["p2", "p1"]),
        ("from", ["p2", "p1"]),
        ("to", ["p1", "p2"]),
        ("drops", ["p1", "p2"]),
        ("ring_full", ["p1", "p2"]),
        ("name", ["p1", "p2"]),
        ("network", ["p1", "p2"]),
    ],
)
def test_top_is_sorted(daemon: StubDaemon, run: Run, sort: str, names: list[str]) -> None:
    readings(daemon, QUIET, BUSY)
    daemon.answers[methods.PortListCall] = PORTS
    done = run("top", "--interval", "0.01", "--count", "1", "--json", "--sort", sort)
    assert [row["name"] for row in done.json["ports"]] == names


def test_top_for_people(daemon: StubDaemon, run: Run) -> None:
    readings(daemon, QUIET, BUSY)
    daemon.answers[methods.PortListCall] = PORTS
    done = run("top", "--interval", "0.01", "--count", "1")
    assert (done.status, done.err) == (0, "")
    assert "workers busy:  0 (core 3) 25.0%" in done.out
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.split()}
    assert rows["p2"].split()[1:3] == ["net1", "feature_refused"]
    assert "bad_header " in rows["p2"]
    assert " [red]vm? " in rows["p1"]
    assert "ring_full" not in rows["p1"]
    assert rows["tap/t"].split()[1] == "net1"


class Terminal(io.StringIO):
    """What a terminal is sent."""

    def isatty(self) -> bool:
        return True


def test_top_on_a_terminal_shows_one_table_in_place_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    row = Row(
        name="a" * 64,
        network="n" * 64,
        state="running",
        instance="i" * 64,
        rates=rates.rates(NO_TRAFFIC, counters(to_peer_packets=123_000), 1.0),
    )
    one = View(time=1.0, seconds=1.0, workers=(), ports=(row,), uplinks=())
    terminal, told = Terminal(), list[str]()
    with screen.tables(terminal, told.append) as (show, tell):
        show(dataclasses.replace(one, ports=()))
        tell("nobody is there")
        between = terminal.tell()
        show(one)
    sent = terminal.getvalue()
    assert told == []
    assert sent.index("ports: 0") < sent.index("nobody is there") < between
    # The cursor goes up to where the one before began.
    assert "\x1b[2K" in sent[between : sent.index("ports: 1")]
    # Names are cut, numbers are not.
    assert "aa…" in sent
    assert " 123k " in sent


def test_top_has_no_columns_that_nobody_fills(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(instance: str, **drops: int) -> str:
        change = rates.rates(NO_TRAFFIC, counters(drops=drops), 1.0)
        row = Row(name="p", network="n", state="running", instance=instance, rates=change)
        one = View(time=1.0, seconds=1.0, workers=(), ports=(row,), uplinks=())
        out = io.StringIO()
        with screen.tables(out, print) as (show, _):
            show(one)
        return out.getvalue()

    assert "instance" not in shown("", ring_full=1)
    assert "other drops" not in shown("", ring_full=1)
    assert "instance" in shown("vm", too_big=1)
    assert "other drops" in shown("vm", too_big=1)


def test_sessions_are_told_in_words() -> None:
    session = {"number": 1, "state": "running", "features": 1 << 32, "queues": 2, "since": 0.0}
    text = columns.Sessions([session]).human_readable()
    assert text.startswith("number=1, state=running, features=VERSION_1, queues=2, since=19")


def test_top_on_a_terminal_that_cannot_go_back_shows_each_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with screen.tables(terminal, print) as (show, _):
        show(View(time=1.0, seconds=1.0, workers=(), ports=(), uplinks=()))
        assert "ports: 0" in terminal.getvalue()


def test_top_goes_on_over_a_restart(daemon: StubDaemon, run: Run) -> None:
    """What was counted before is not compared with what is counted after."""
    hellos = iter([hello(pid=1), errors.DaemonUnreachable("gone"), hello(pid=2), hello(pid=2)])

    def next_hello(_call: methods.Hello) -> methods.HelloResult:
        answer = next(hellos)
        if isinstance(answer, errors.VhostBrickError):
            raise answer
        return answer

    readings(daemon, BUSY, BUSY, BUSY)
    daemon.answers |= {methods.Hello: next_hello, methods.PortListCall: PORTS}
    done = run("top", "--interval", "0.01", "--count", "1", "--json")
    assert done.status == 0
    assert done.err == "gone; waiting for it\n"
    assert [row["rates"]["from_peer_packets"] for row in done.json["ports"]] == [0.0, 0.0]


def test_top_of_nobody_is_an_error(run: Run) -> None:
    done = run("top")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: cannot reach vhost-brickd")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (999.4, "999"),
        (999.6, "1k"),
        (12345.0, "12.3k"),
        (14_880_952.0, "14.9M"),
        (99_999_999_999.0, "100G"),
        (4e12, "4000G"),
    ],
)
def test_large_numbers(value: float, text: str) -> None:
    assert si(value) == text


def test_graph_as_json(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.Graph] = GRAPH
    assert run("graph", "-f", "json").json["edges"] == [{"a": "switch/net1", "b": 'vhost/"p1"'}]


def test_graph_as_dot(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.Graph] = GRAPH
    out = run("graph").out
    assert out == to_dot(picture(GRAPH))
    assert '"switch/net1" -- "vhost/\\"p1\\"";' in out
    assert out.count("{") == out.count("}") == 2


def test_what_networks_share_is_in_nobodys_frame(daemon: StubDaemon, run: Run) -> None:
    shared = GraphNode(name="vlan/t0", kind="vlan", network="")
    edge = GraphEdge(a="vlan/t0", b="switch/net1")
    daemon.answers[methods.Graph] = GraphResult(
        nodes=(*GRAPH.nodes, shared), edges=(*GRAPH.edges, edge)
    )
    out = run("graph").out
    assert out.count("subgraph") == 1
    assert '\n  "vlan/t0" [shape=trapezium' in out


SESSION = (
    GraphEdge(a="vhost/p1", b="antispoof/p1"),
    GraphEdge(a="antispoof/p1", b="switch/net1"),
)
BIG_GRAPH = GraphResult(
    nodes=(
        GraphNode(name="antispoof/p1", kind="antispoof", network="net1"),
        GraphNode(name="antispoof/p2", kind="antispoof", network="net1"),
        GraphNode(name="nic/phys0", kind="nic", network=""),
        GraphNode(name="switch/net1", kind="switch", network="net1"),
        GraphNode(name="switch/net2", kind="switch", network="net2"),
        GraphNode(name="tap/t", kind="tap", network="net2"),
        GraphNode(name="vhost/p1", kind="vhost", network="net1"),
        GraphNode(name="vhost/p2", kind="vhost", network="net1"),
        GraphNode(name="vlan/phys0", kind="vlan", network=""),
    ),
    edges=(
        *SESSION,
        *SESSION,
        GraphEdge(a="nic/phys0", b="vlan/phys0"),
        # The other way round than the rest: the switch comes first.
        GraphEdge(a="switch/net2", b="tap/t"),
        GraphEdge(a="vlan/phys0", b="switch/net1"),
        GraphEdge(a="vlan/phys0", b="switch/net2"),
    ),
)


def flowing(moment: float, packets: int, to_p1: int, **spoofed: int) -> rates.Reading:
    bricks = (
        BrickStats(
            brick="vhost/p1",
            kind="vhost",
            network="net1",
            counters=counters(
                from_peer_packets=packets,
                from_peer_bytes=60 * packets,
                to_peer_packets=to_p1,
                to_peer_bytes=1000 * to_p1,
            ),
        ),
        BrickStats(
            brick="antispoof/p1",
            kind="antispoof",
            network="net1",
            counters=counters(drops=spoofed),
        ),
        brick("tap/t", "tap", packets, "net2"),
    )
    stats = methods.StatsResult(time=0.0, bricks=bricks, workers=())
    return rates.Reading(pid=1, moment=moment, stats=stats)


FLOW = rates.Change(flowing(0.0, 0, 0), flowing(2.0, 2000, 40, spoofed_mac=6))


def test_a_picture_has_rates_where_they_are_counted() -> None:
    seen = picture(BIG_GRAPH, FLOW)
    assert seen.seconds == 2.0
    flows = {(edge.a, edge.b): edge.flow for edge in seen.edges if edge.flow}
    assert flows == {
        ("vhost/p1", "antispoof/p1"): Flow(
            a_to_b_packets=1000.0,
            a_to_b_bits=480_000.0,
            b_to_a_packets=20.0,
            b_to_a_bits=160_000.0,
        ),
        ("switch/net2", "tap/t"): Flow(
            a_to_b_packets=0.0, a_to_b_bits=0.0, b_to_a_packets=1000.0, b_to_a_bits=480_000.0
        ),
    }
    assert {node.name: node.drops for node in seen.nodes if node.drops is not None} == {
        "antispoof/p1": {"spoofed_mac": 3.0},
        "vhost/p1": {},
        "tap/t": {},
    }
    counts = {edge.a: edge.count for edge in seen.edges}
    assert (counts["vhost/p1"], counts["nic/phys0"]) == (2, 1)


def test_a_picture_without_rates() -> None:
    seen = picture(BIG_GRAPH)
    assert seen.seconds is None
    assert {edge.flow for edge in seen.edges} == {None}
    assert {node.drops for node in seen.nodes} == {None}


def test_rates_in_dot() -> None:
    out = to_dot(picture(BIG_GRAPH, FLOW))
    assert (
        '"vhost/p1" -- "antispoof/p1" [label="2 sessions\\n-> 1k pkt/s, 480k bit/s'
        '\\n<- 20 pkt/s, 160k bit/s"];' in out
    )
    assert '"vlan/phys0" -- "switch/net1";' in out
    assert 'label="antispoof/p1\\ndrops/s: spoofed_mac 3", color=red];' in out


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_graphviz_takes_it() -> None:
    drawn = to_svg(to_dot(picture(BIG_GRAPH, FLOW)))
    assert drawn.startswith("<?xml")
    assert "&#45;&gt; 1k pkt/s" in drawn


def test_graph_as_a_tree(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.Graph] = BIG_GRAPH
    assert (
        run("graph", "--format", "tree").out
        == """\
switch/net1
├── antispoof/p1
│   └── vhost/p1  2 sessions
├── vlan/phys0
│   └── nic/phys0
└── vhost/p2  no session
switch/net2
├── tap/t
└── vlan/phys0
    └── nic/phys0
"""
    )


def test_rates_in_a_tree() -> None:
    lines = to_tree(picture(BIG_GRAPH, FLOW)).splitlines()
    assert lines[1:3] == [
        "├── antispoof/p1  drops/s: spoofed_mac 3",
        "│   └── vhost/p1  2 sessions  from 1k pkt/s, 480k bit/s  to 20 pkt/s, 160k bit/s",
    ]
    assert "├── tap/t  from 1k pkt/s, 480k bit/s  to 0 pkt/s, 0 bit/s" in lines


def test_graph_of_nothing_as_a_tree(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.Graph] = GraphResult(nodes=(), edges=())
    done = run("graph", "--format", "tree")
    assert (done.status, done.out) == (0, "")


def test_graph_measures_rates(daemon: StubDaemon, run: Run) -> None:
    readings(daemon, QUIET, BUSY)
    daemon.answers[methods.Graph] = BIG_GRAPH
    shown = run("graph", "--rates", "0.01", "--format", "json").json
    assert [type(call) for call in daemon.calls] == [
        *(methods.Hello, methods.Stats),
        *(methods.Hello, methods.Stats),
        methods.Graph,
    ]
    seconds = shown["seconds"]
    assert 0.01 <= seconds < 30
    (edge,) = (edge for edge in shown["edges"] if edge["a"] == "vhost/p1")
    assert edge["count"] == 2
    assert edge["flow"]["a_to_b_packets"] * seconds == pytest.approx(1)
    (node,) = (node for node in shown["nodes"] if node["name"] == "vhost/p1")
    assert node["drops"]["ring_full"] * seconds == pytest.approx(50_000)
    refused = run("graph", "--rates", "0")
    assert refused.status == 2
    assert "not a number of seconds" in refused.err


def test_graph_as_a_picture(
    daemon: StubDaemon, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.answers[methods.Graph] = GRAPH
    monkeypatch.setenv("PATH", str(tmp_path))

    def have_dot(script: str) -> None:
        (tmp_path / "dot").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "dot").chmod(0o755)

    without = run("graph", "--format", "svg")
    assert (without.status, without.out) == (1, "")
    assert "error: cannot run 'dot'" in without.err
    assert "hint: Install Graphviz" in without.err

    have_dot('echo "$*"; while read -r line; do echo "$line"; done')
    assert run("graph", "--format", "svg").out.startswith("-Tsvg\ngraph bricks {\n")

    have_dot("echo no memory >&2; exit 3")
    assert "error: 'dot -Tsvg' failed: no memory\n" in run("graph", "--format", "svg").err


# -- errors ------------------------------------------------------------------


def test_an_error_is_two_lines_and_no_traceback(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortShow] = errors.PortNotFound("there is no port 'p9'")
    done = run("port", "show", "p9")
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "error: there is no port 'p9'\nhint: 'vhost-brick port list' shows the ports there are.\n"
    )


def test_debug_shows_the_traceback(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortShow] = errors.PortNotFound("there is no port 'p9'")
    done = run("--debug", "port", "show", "p9")
    assert done.status == 1
    assert "Traceback" in done.err


def test_no_daemon(run: Run, tmp_path: Path) -> None:
    done = run("port", "list")
    assert done.status == 1
    lines = done.err.splitlines()
    assert lines[0].startswith(f"error: cannot reach vhost-brickd at {tmp_path / 'api'}")
    assert lines[1].startswith("hint: Start vhost-brickd")


def test_a_daemon_that_hangs(run: Run, tmp_path: Path) -> None:
    with silent_daemon(tmp_path / "api"):
        done = run("port", "list", timeout=0.2)
    assert done.status == 1
    assert "did not answer within 0.2 s" in done.err


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_a_timeout_must_be_a_time(run: Run, seconds: str) -> None:
    done = run("--timeout", seconds, "port", "list")
    assert done.status == 2
    assert "--timeout" in done.err


def test_a_typo_gets_a_proposal(run: Run) -> None:
    done = run("prt", "list")
    assert done.status == 2
    assert "port list" in done.out


# -- help and start-up -------------------------------------------------------


def test_without_a_command_it_prints_help(run: Run) -> None:
    done = run()
    assert done.status == 0
    for command in cli.COMMANDS:
        assert command in done.out


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.status == 0, done.err
    assert f"usage: vhost-brick {command}" in done.out


HEAVY = """
import sys
from vhost_brick_plugin.cli.main import main
status = main(["--api-socket", "/nonexistent", "port", "list"])
heavy = ("lxml", "libvirt", "oslo_config", "cmd2", "cffi", "_cffi_backend")
found = [name for name in heavy if name in sys.modules]
sys.exit(", ".join(found) or status)
"""


def test_a_simple_command_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HEAVY], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: cannot reach vhost-brickd")


# -- domains -----------------------------------------------------------------

DOMAIN = """<domain type='test'>
  <name>vm</name>
  <memory>1024</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <os><type>hvm</type></os>
  <devices>
  </devices>
</domain>
"""


@pytest.fixture
def ports(daemon: StubDaemon) -> StubDaemon:
    """A daemon with a client-mode port p1 and a server-mode port p2."""
    served = {
        "p1": port_status("p1", mode=Mode.CLIENT),
        "p2": port_status("p2", mode=Mode.SERVER, mac="52:54:00:00:00:02"),
    }

    def show(call: methods.PortShow) -> methods.PortStatus:
        if call.id not in served:
            raise errors.PortNotFound(f"there is no port {call.id!r}")
        return served[call.id]

    daemon.answers[methods.PortShow] = show
    daemon.answers[methods.PortListCall] = methods.PortList(ports=tuple(served.values()))
    return daemon


@pytest.fixture
def libvirt_domain() -> Iterator[Callable[[str], Any]]:
    """Return a function that defines a domain in libvirt's test driver."""
    libvirt = pytest.importorskip("libvirt")
    connection = libvirt.open("test:///default")
    yield connection.defineXML
    for domain in connection.listAllDomains():
        if domain.name() != "test":
            domain.undefine()


def test_interface_xml_of_a_client_mode_port(ports: StubDaemon, run: Run) -> None:
    assert run("domain", "interface-xml", "p1").out == (
        '<interface type="vhostuser">\n'
        '  <mac address="52:54:00:00:00:01"/>\n'
        '  <source type="unix" path="/run/s/p1" mode="server"/>\n'
        '  <model type="virtio"/>\n'
        "</interface>\n"
    )


def test_interface_xml_with_everything(ports: StubDaemon, run: Run) -> None:
    done = run(
        *("domain", "interface-xml", "p2", "--queues", "4", "--rx-queue-size", "1024"),
        *("--tx-queue-size", "512", "--reconnect", "3", "--packed", "off", "--event-idx", "on"),
        *("--offload", "host.tso4=off", "--offload", "guest.csum=on", "--alias", "ua-x"),
        *("--boot-order", "1", "--link", "down", "--teaming"),
    )
    assert done.status == 0, done.err
    assert xml.read(xml.parse(done.out)) == Interface(
        mode=Mode.SERVER,
        path="/run/s/p2",
        mac="52:54:00:00:00:02",
        reconnect_s=3,
        queues=4,
        rx_queue_size=1024,
        tx_queue_size=512,
        packed=False,
        event_idx=True,
        host={"tso4": False},
        guest={"csum": True},
        alias="ua-x",
        boot_order=1,
        link_up=False,
        teaming=True,
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--queues", "5"], "offers 4 queue pairs, 5 asked for"),
        (["--rx-queue-size", "100"], "rx_queue_size is 100"),
        (["--alias", "net0"], "refused by libvirt"),
        (["--offload", "host.warp=on"], "no host offload 'warp'"),
    ],
)
def test_interface_xml_refuses_what_would_not_work(
    ports: StubDaemon, run: Run, words: list[str], error: str
) -> None:
    done = run("domain", "interface-xml", "p1", *words)
    assert (done.status, done.out) == (1, "")
    assert error in done.err
    assert "hint: " in done.err


@pytest.mark.parametrize(
    "words", [["--offload", "tso4=on"], ["--offload", "host.tso4=maybe"], ["--packed", "yes"]]
)
def test_interface_xml_refuses_bad_words(ports: StubDaemon, run: Run, words: list[str]) -> None:
    assert run("domain", "interface-xml", "p1", *words).status == 2


def test_define_dry_run_prints_what_it_would_change(
    ports: StubDaemon, run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "vm.xml"
    file.write_text(DOMAIN)
    done = run("domain", "define", str(file), "--port", "p1", "--port", "p2", "--dry-run")
    assert done.status == 0, done.err
    assert done.out.splitlines()[:2] == [
        f"--- {file} (as it is)",
        f"+++ {file} (as it is, changed)",
    ]
    added = diff_lines(done.out, "+")
    assert [line.strip() for line in added if "<source" in line] == [
        '<source type="unix" path="/run/s/p1" mode="server"/>',
        '<source type="unix" path="/run/s/p2" mode="client">',
    ]
    assert diff_lines(done.out, "-") == []
    assert file.read_text() == DOMAIN


def diff_lines(diff: str, sign: str) -> list[str]:
    """Return the lines that a unified diff adds or removes."""
    lines = diff.splitlines()[2:]
    return [line[1:] for line in lines if line.startswith(sign)]


def test_define_reads_stdin(ports: StubDaemon, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(DOMAIN))
    done = run("domain", "define", "-", "--port", "p1", "--dry-run")
    assert any("/run/s/p1" in line for line in diff_lines(done.out, "+"))


def test_define_warns_on_stderr(ports: StubDaemon, run: Run, tmp_path: Path) -> None:
    (tmp_path / "vm.xml").write_text(DOMAIN)
    words = ("--port", "p2", "--reconnect", "0", "--dry-run")
    done = run("domain", "define", str(tmp_path / "vm.xml"), *words)
    assert done.status == 0
    assert done.err.startswith("warning: /run/s/p2: QEMU is the client and will not reconnect")


def test_define_defines(
    ports: StubDaemon, run: Run, tmp_path: Path, libvirt_domain: Callable[[str], Any]
) -> None:
    (tmp_path / "vm.xml").write_text(DOMAIN)
    words = ("--port", "p1", "--connect", "test:///default")
    done = run("domain", "define", str(tmp_path / "vm.xml"), *words)
    assert (done.status, done.out) == (0, "vm\n"), done.err
    check = run("domain", "check", "vm", "--connect", "test:///default", "-f", "json")
    assert check.status == 0
    assert [(row["check"], row["result"]) for row in check.json] == [
        ("shared_memory", "ok"),
        ("port", "ok"),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (DOMAIN.replace("mode='shared'", "mode='private'"), "domain vm is not shared"),
        ("<domain>", "not XML"),
        ("<network/>", "not a <domain>"),
        (
            DOMAIN.replace(
                "<devices>",
                "<devices><interface type='vhostuser'><source path='/x' mode='server'/>"
                "<mtu size='9000'/></interface>",
            ),
            "<mtu> cannot start",
        ),
    ],
)
def test_define_refuses_what_would_not_start(
    ports: StubDaemon, run: Run, tmp_path: Path, text: str, error: str
) -> None:
    (tmp_path / "vm.xml").write_text(text)
    done = run("domain", "define", str(tmp_path / "vm.xml"), "--port", "p1", "--dry-run")
    assert (done.status, done.out) == (1, "")
    assert error in done.err.splitlines()[0]
    assert done.err.splitlines()[1].startswith("hint: ")


def test_define_of_a_missing_file(run: Run) -> None:
    done = run("domain", "define", "/nonexistent.xml", "--port", "p1")
    assert (done.status, done.err) == (1, "error: /nonexistent.xml: No such file or directory\n")


def test_define_of_a_file_that_is_no_text(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vm.xml").write_bytes(b"<domain>\xff</domain>")
    done = run("domain", "define", str(tmp_path / "vm.xml"), "--port", "p1")
    assert done.status == 1
    assert "not in UTF-8" in done.err


def test_attach_and_detach(
    ports: StubDaemon, run: Run, libvirt_domain: Callable[[str], Any]
) -> None:
    domain = libvirt_domain(DOMAIN)
    connect = ("--connect", "test:///default")
    assert run("domain", "attach", "vm", "p2", *connect).status == 0
    (interface,) = document.interfaces(domain.XMLDesc(0))
    assert (interface.path, interface.reconnect_s) == ("/run/s/p2", 1)
    again = run("domain", "attach", "vm", "p2", "--config", *connect)
    assert (again.status, again.err) == (0, "domain vm has port p2 already\n")
    assert run("domain", "detach", "vm", "p2", *connect).status == 0
    assert document.interfaces(domain.XMLDesc(0)) == ()
    again = run("domain", "detach", "vm", "/run/s/p2", *connect)
    assert (again.status, again.err) == (0, "domain vm has no interface on /run/s/p2\n")


def test_attach_asks_the_daemon_before_libvirt(daemon: StubDaemon, run: Run) -> None:
    daemon.answers[methods.PortShow] = errors.PortNotFound("there is no port 'p9'")
    done = run("domain", "attach", "vm", "p9", "--connect", "nonsense:///")
    assert (done.status, done.err.splitlines()[0]) == (1, "error: there is no port 'p9'")


def test_check_fails_where_interface_and_port_differ(
    ports: StubDaemon, run: Run, libvirt_domain: Callable[[str], Any]
) -> None:
    wrong = Interface(mode=Mode.SERVER, path="/run/s/p1", reconnect_s=1)
    orphan = Interface(mode=Mode.CLIENT, path="/run/s/none")
    libvirt_domain(document.put(document.put(DOMAIN, wrong), orphan))
    done = run("domain", "check", "vm", "--connect", "test:///default", "-f", "json")
    assert done.status == 1
    assert [(row["check"], row["result"]) for row in done.json] == [
        ("shared_memory", "ok"),
        ("mode_mismatch", "fail"),
        ("mac_mismatch", "warn"),
        ("port_missing", "fail"),
    ]
    assert all(row["fix"] for row in done.json if row["result"] != "ok")


# -- domains with ports of their own -----------------------------------------

CONNECT = ("--connect", "test:///default")
UUID = "3f52f167-5203-48bc-ad31-634fea076069"
OWN = HookPort(name="web", network="blue", socket_path="/run/s/web")


@pytest.fixture
def hook_daemon(daemon: StubDaemon) -> StubDaemon:
    """A daemon with a network blue and no ports, that tells its configuration."""
    daemon.answers |= {
        methods.ConfigDump: methods.ConfigResult(
            options={
                "vhost.default_mode": "server",
                "vhost.socket_dir": "/run/s",
                "vhost.max_queues": "4",
            },
            files=(),
        ),
        methods.NetworkListCall: methods.NetworkList(networks=(network_status("blue"),)),
        methods.PortListCall: methods.PortList(ports=()),
        methods.PortShow: errors.PortNotFound("there is no such port"),
        methods.PortRemove: methods.Done(existed=True),
    }
    return daemon


def test_define_of_a_domain_with_its_own_port(
    hook_daemon: StubDaemon, run: Run, tmp_path: Path, libvirt_domain: Callable[[str], Any]
) -> None:
    (tmp_path / "vm.xml").write_text(DOMAIN)
    words = ("--port", "web", "--network", "blue", "--queues", "2")
    done = run("domain", "define", str(tmp_path / "vm.xml"), *words, *CONNECT)
    assert done.status == 0, done.err
    text = libvirt_domain.__self__.lookupByName("vm").XMLDesc(0)  # type: ignore[attr-defined]
    assert metadata.read(text) == (OWN,)
    (interface,) = document.interfaces(text)
    assert (interface.mode, interface.path, interface.queues) == (Mode.SERVER, "/run/s/web", 2)
    assert (interface.mac, interface.reconnect_s) == (default_mac("web"), 1)
    assert not hook_daemon.calls_of(methods.PortEnsure), "that is for the hook"

    check = run("domain", "check", "vm", *CONNECT, "-f", "json")
    found = {row["check"]: (row["result"], row["finding"]) for row in check.json}
    assert found["hook"] == ("ok", "port web is made when the domain starts")
    assert found["hook_missing"][0] == "warn"
    assert check.status == 0


def test_define_keeps_the_mac_of_an_interface_that_is_there(
    hook_daemon: StubDaemon, run: Run, tmp_path: Path
) -> None:
    there = Interface(mode=Mode.SERVER, path="/run/s/web", mac="52:54:00:00:00:77", reconnect_s=1)
    (tmp_path / "vm.xml").write_text(document.put(DOMAIN, there))
    words = ("--port", "web", "--network", "blue", "--dry-run")
    done = run("domain", "define", str(tmp_path / "vm.xml"), *words)
    assert [line.strip() for line in diff_lines(done.out, "+")][1:3] == [
        '<vhost-brick:ports xmlns:vhost-brick="urn:vhost-brick:domain:1">',
        '<vhost-brick:port name="web" network="blue" socket="/run/s/web"/>',
    ]
    assert diff_lines(done.out, "-") == []


def test_define_refuses_more_queues_than_the_daemon_offers(
    hook_daemon: StubDaemon, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "vm.xml").write_text(DOMAIN)
    words = ("--port", "web", "--network", "blue", "--queues", "5")
    done = run("domain", "define", str(tmp_path / "vm.xml"), *words, *CONNECT)
    assert (done.status, done.out) == (1, "")
    assert "offers 4 queue pairs, 5 asked for" in done.err


def test_a_mode_without_a_network_is_refused(hook_daemon: StubDaemon, run: Run) -> None:
    done = run("domain", "attach", "vm", "web", "--mode", "client", *CONNECT)
    assert done.status == 1
    assert "--network" in done.err


def test_attach_and_detach_of_a_domain_s_own_port(
    hook_daemon: StubDaemon, run: Run, libvirt_domain: Callable[[str], Any]
) -> None:
    domain = libvirt_domain(DOMAIN)
    words = ("domain", "attach", "vm", "web", "--network", "blue", "--mode", "client", *CONNECT)
    before = domain.XMLDesc(0)
    planned = run(*words, "--dry-run")
    assert (planned.status, domain.XMLDesc(0)) == (0, before)
    assert planned.out.startswith("--- vm (stored)\n+++ vm (stored, changed)\n")
    assert run(*words).status == 0
    assert metadata.read(domain.XMLDesc(0)) == (OWN,)
    assert document.interfaces(domain.XMLDesc(0))[0].mode is Mode.CLIENT

    attached = domain.XMLDesc(0)
    detach = ("domain", "detach", "vm", "web", *CONNECT)
    planned = run(*detach, "--dry-run")
    assert (planned.status, domain.XMLDesc(0)) == (0, attached)
    assert any("<vhost-brick:port " in line for line in diff_lines(planned.out, "-"))
    assert run(*detach).status == 0
    assert domain.XMLDesc(0) == before
    assert not hook_daemon.calls_of(methods.PortEnsure)
    assert not hook_daemon.calls_of(methods.PortRemove)


@pytest.mark.parametrize(
    ("text", "network", "present", "check"),
    [
        (metadata.put(DOMAIN, OWN), "blue", (), "hook_interface"),
        (metadata.put(DOMAIN, OWN), "red", (), "hook_network"),
        (metadata.put(DOMAIN, OWN), "blue", (port_status("web"),), "hook_owner"),
    ],
)
def test_check_finds_what_the_hook_would_stumble_over(
    hook_daemon: StubDaemon,
    run: Run,
    libvirt_domain: Callable[[str], Any],
    text: str,
    network: str,
    present: tuple[methods.PortStatus, ...],
    check: str,
) -> None:
    libvirt_domain(text)
    hook_daemon.answers[methods.NetworkListCall] = methods.NetworkList(
        networks=(network_status(network),)
    )
    hook_daemon.answers[methods.PortListCall] = methods.PortList(ports=present)
    done = run("domain", "check", "vm", *CONNECT, "-f", "json")
    (found,) = [row for row in done.json if row["check"] == check]
    assert found["result"] != "ok"
    assert "web" in found["finding"]
    assert found["fix"].startswith("vhost-brick ")


def test_a_port_that_cannot_be_attached_is_not_left_behind(
    hook_daemon: StubDaemon, run: Run, libvirt_domain: Callable[[str], Any]
) -> None:
    domain = libvirt_domain(DOMAIN)
    domain.create()
    hook_daemon.answers[methods.PortEnsure] = lambda call: port_status(
        call.id, mode=call.mode, socket_path=call.socket_path, mac=call.mac
    )
    words = ("--network", "blue", "--mode", "client", "--live")
    done = run("domain", "attach", "vm", "web", *words, *CONNECT)  # The test driver cannot.
    domain.destroy()
    assert done.status == 1
    assert "cannot attach /run/s/web to domain vm" in done.err
    (made,) = hook_daemon.calls_of(methods.PortEnsure)
    (removed,) = hook_daemon.calls_of(methods.PortRemove)
    assert (made.id, made.network, made.socket_path) == ("web", "blue", "/run/s/web")
    assert removed.metadata.items() <= made.metadata.items()
    assert removed.metadata["instance_uuid"] == domain.UUIDString()


@pytest.mark.parametrize(("which", "goes"), [("running", True), ("stored", False)])
def test_detach_removes_a_domain_s_own_port_when_the_guest_has_lost_it(
    hook_daemon: StubDaemon,
    run: Run,
    libvirt_domain: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    which: str,
    goes: bool,
) -> None:
    domain = libvirt_domain(metadata.put(DOMAIN, OWN))
    change = Change(which, domain.XMLDesc(0), DOMAIN)
    monkeypatch.setattr(Hypervisor, "detach", lambda *_args, **_options: (change,))
    assert run("domain", "detach", "vm", "web", *CONNECT).status == 0
    removed = [(call.id, call.metadata) for call in hook_daemon.calls_of(methods.PortRemove)]
    owner = {"made_by": "vhost-brick-hook", "instance_uuid": domain.UUIDString()}
    assert removed == ([("web", owner)] if goes else [])


def owned_status(id: str, uuid: str) -> methods.PortStatus:
    owner = {"made_by": "vhost-brick-hook", "instance_uuid": uuid, "instance_name": f"vm-{id}"}
    return port_status(id, metadata=owner)


def test_reconcile_removes_the_ports_of_domains_that_are_gone(
    hook_daemon: StubDaemon, run: Run, libvirt_domain: Callable[[str], Any]
) -> None:
    libvirt_domain(DOMAIN.replace("<memory>", f"<uuid>{UUID}</uuid><memory>"))
    (running,) = libvirt_domain.__self__.listAllDomains(1)  # type: ignore[attr-defined]
    ports = (
        owned_status("gone", UUID.replace("3f", "40")),
        owned_status("kept", running.UUIDString()),
        port_status("mine", metadata={"instance_uuid": UUID}),
        owned_status("off", UUID),
    )
    hook_daemon.answers[methods.PortListCall] = methods.PortList(ports=ports)
    planned = run("domain", "reconcile", "--dry-run", *CONNECT)
    assert planned.out == (
        "would remove port gone of domain vm-gone\nwould remove port off of domain vm-off\n"
    )
    assert not hook_daemon.calls_of(methods.PortRemove)
    done = run("domain", "reconcile", *CONNECT)
    assert (done.status, done.out) == (0, planned.out.replace("would remove", "removed"))
    assert hook_daemon.calls_of(methods.PortRemove) == [
        methods.PortRemove(id=status.port.id, metadata=status.port.metadata)
        for status in (ports[0], ports[3])
    ]


def test_reconcile_without_libvirt_removes_nothing(hook_daemon: StubDaemon, run: Run) -> None:
    done = run("domain", "reconcile", "--connect", "nonsense:///")
    assert done.status == 1
    assert not hook_daemon.calls_of(methods.PortRemove)
