# SPDX-License-Identifier: Apache-2.0
"""The metrics page, what it says of a daemon, and what in etc/ refers to it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.stub_daemon import StubDaemon, counters, hello, network_status, port_status
from tools import metrics as reference
from tools import reasons
from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.exporter import main as command
from vhost_brick_plugin.exporter import metrics
from vhost_brick_plugin.exporter.collector import DaemonCollector
from vhost_brick_plugin.model import Session, SessionState
from vhost_brick_plugin.report import BrickStats, BufferStats, Fault, WorkerStats

ETC = Path(reference.TOP) / "etc"
RULES = ETC / "prometheus" / "vhost-brick.rules.yml"
DASHBOARD = ETC / "grafana" / "vhost-brick.json"

NAMES = {metric.name for metric in metrics.ALL}
FAULT = Fault(name="feature_refused", message="seen", hint="do this", since=1.0)


def session(number: int, since: float, state: SessionState = SessionState.RUNNING) -> Session:
    return Session(number=number, state=state, features=1, queues=1, since=since)


def brick(name: str, kind: str, network: str = "", **changes: Any) -> BrickStats:
    return BrickStats(brick=name, kind=kind, network=network, counters=counters(**changes))


def answers() -> dict[type[methods.Method[Any]], Any]:
    """Return a daemon that has something to say about everything."""
    guest = {"instance_uuid": "u-1", "instance_name": 'vm "one"\n', "network_label": "blue"}
    ports = (
        port_status(
            metadata=guest,
            sessions=(session(1, 5.0), session(2, 7.5)),
            counters=counters(from_peer_packets=2**53 - 1, drops={"ring_full": 3, "no_ring": 4}),
        ),
        port_status("p2", state="fault", fault=FAULT),
    )
    bricks = (
        brick("vhost/p1", "vhost", "net1", from_peer_packets=999),
        brick("switch/net1", "switch", "net1", made_packets=5, drops={"hairpin": 6}),
        brick("tap/blue0", "tap", "net1", from_peer_packets=7, drops={"too_big": 8}),
        brick("vlan/phys0", "vlan", drops={"tagged": 9}),
    )
    worker = WorkerStats(
        worker=0, core=3, polls=9, busy_polls=1, busy_cycles=25, cycles=200, sleeps=4
    )
    return {
        methods.Hello: hello(
            started=1234.5,
            standby=methods.Standby(pid=43, version="1.3", in_sync=True, since=1.0),
            took_over=methods.TookOver(
                time=1.0, from_pid=41, from_version="1.1", adopted=2, closed=1
            ),
        ),
        methods.PortListCall: methods.PortList(ports=ports),
        methods.NetworkListCall: methods.NetworkList(networks=(network_status(fault=FAULT),)),
        methods.Stats: methods.StatsResult(
            time=1.0,
            bricks=bricks,
            workers=(worker,),
            buffers=BufferStats(total=16384, in_use=12),
        ),
    }


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[StubDaemon]:
    with StubDaemon(tmp_path / "api", answers()) as stub:
        yield stub


class Scrape:
    """A page as Prometheus reads it."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [s for family in self.families.values() for s in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of *name* whose labels have *labels* among them."""
        return [
            s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        (found,) = self.values(name, **labels)
        return found


def scrape(path: str) -> Scrape:
    registry = CollectorRegistry()
    registry.register(DaemonCollector(Client(path, timeout=30)))
    return Scrape(generate_latest(registry).decode())


# -- the page ----------------------------------------------------------------


def test_every_metric_is_served_with_its_labels(daemon: StubDaemon) -> None:
    seen = scrape(daemon.path)
    labels = {s.name: set(s.labels) for s in seen.samples}
    assert labels == {metric.name: set(metric.labels) for metric in metrics.ALL}
    types = {family.name: family.type for family in seen.families.values()}
    for metric in metrics.ALL:
        if metric.is_counter:
            assert types[metric.name.removesuffix("_total")] == "counter"
        else:
            assert types[metric.name] == "gauge"


def test_a_port_with_all_that_is_known_of_it(daemon: StubDaemon) -> None:
    seen = scrape(daemon.path)
    whose = {
        "port": "p1",
        "network": "net1",
        "network_name": "blue",
        "instance_uuid": "u-1",
        "instance_name": 'vm "one"\n',
    }
    # From the port's own status: its bricks' counters are not put a second time.
    assert seen.value("vhost_brick_port_from_guest_packets_total", **whose) == 2**53 - 1
    assert seen.value("vhost_brick_port_from_guest_bytes_total", **whose) == 60
    assert seen.value("vhost_brick_port_to_guest_packets_total", **whose) == 2
    assert seen.value("vhost_brick_port_to_guest_bytes_total", **whose) == 120
    assert seen.value("vhost_brick_port_drops_total", **whose, reason="ring_full") == 3
    assert seen.value("vhost_brick_port_dropped_packets_total", **whose) == 7
    assert seen.value("vhost_brick_port_session_start_time_seconds", **whose) == 7.5
    assert seen.value("vhost_brick_port_sessions", **whose, state="running") == 2
    assert seen.value("vhost_brick_port_sessions", **whose, state="connected") == 0
    assert seen.values("vhost_brick_port_fault", port="p1") == []


def test_a_port_of_nobody_at_fault(daemon: StubDaemon) -> None:
    seen = scrape(daemon.path)
    whose = {"port": "p2", "instance_uuid": "", "network_name": ""}
    assert seen.value("vhost_brick_port_dropped_packets_total", **whose) == 0
    assert seen.value("vhost_brick_port_fault", **whose, fault="feature_refused") == 1
    assert seen.value("vhost_brick_port_state", **whose, state="fault") == 1
    assert sum(seen.values("vhost_brick_port_state", **whose)) == 1
    assert seen.values("vhost_brick_port_session_start_time_seconds", **whose) == []


def test_drops_are_counted_in_one_place_each(daemon: StubDaemon) -> None:
    seen = scrape(daemon.path)
    drops = {(s.name, s.labels["reason"]): s.value for s in seen.samples if "reason" in s.labels}
    assert drops == {
        ("vhost_brick_port_drops_total", "ring_full"): 3,
        ("vhost_brick_port_drops_total", "no_ring"): 4,
        ("vhost_brick_switch_drops_total", "hairpin"): 6,
        ("vhost_brick_uplink_drops_total", "too_big"): 8,
        ("vhost_brick_uplink_drops_total", "tagged"): 9,
    }


def test_the_daemon_and_its_workers(daemon: StubDaemon) -> None:
    seen = scrape(daemon.path)
    assert seen.value("vhost_brick_up") == 1
    assert seen.value("vhost_brick_startup_seconds") == 0.0125
    assert seen.value("vhost_brick_standby_in_sync") == 1
    assert seen.value("vhost_brick_takeover_sessions", result="closed") == 1
    assert seen.value("vhost_brick_buffers") == 16384
    assert seen.value("vhost_brick_buffers_in_use") == 12
    assert seen.value("vhost_brick_worker_busy_cycles_total", worker="0", core="3") == 25
    assert seen.value("vhost_brick_worker_cycles_total", worker="0", core="3") == 200
    assert seen.value("vhost_brick_uplink_from_peer_packets_total", uplink="blue0") == 7
    assert seen.value("vhost_brick_switch_made_packets_total", network="net1") == 5


def test_another_process_is_another_start(daemon: StubDaemon) -> None:
    first = scrape(daemon.path).value("vhost_brick_start_time_seconds")
    same = scrape(daemon.path).value("vhost_brick_start_time_seconds")
    daemon.answers[methods.Hello] = hello(started=2000.0)
    assert (first, same) == (1234.5, 1234.5)
    assert scrape(daemon.path).value("vhost_brick_start_time_seconds") == 2000.0


def test_a_daemon_that_is_down_has_one_metric(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collector = DaemonCollector(Client(str(tmp_path / "api"), timeout=30))
    registry = CollectorRegistry()
    registry.register(collector)
    for _ in range(2):
        seen = Scrape(generate_latest(registry).decode())
        assert [(s.name, s.value) for s in seen.samples] == [("vhost_brick_up", 0)]
    assert [record.getMessage()[:24] for record in caplog.records] == ["cannot reach vhost-brick"]


def test_a_daemon_that_goes_half_way_has_one_metric(daemon: StubDaemon) -> None:
    daemon.answers[methods.Stats] = errors.DatapathError("no more")
    assert [(s.name, s.value) for s in scrape(daemon.path).samples] == [("vhost_brick_up", 0)]


# -- the command -------------------------------------------------------------


def test_it_is_served_over_http(daemon: StubDaemon) -> None:
    with command.Server(("127.0.0.1", 0), Client(daemon.path, timeout=30)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with urllib.request.urlopen(command.url(server), timeout=30) as answer:
                assert answer.headers["Content-Type"].startswith("text/plain; version=")
                seen = Scrape(answer.read().decode())
        finally:
            server.shutdown()
            thread.join()
    assert seen.value("vhost_brick_up") == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9797", ("127.0.0.1", 9797)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert command.listen_address(text) == address


@pytest.mark.parametrize("text", ["9797", ":9797", "host:", "host:http", "host:65536"])
def test_bad_addresses(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--listen", text])
    assert "is not of the form ADDRESS:PORT" in capsys.readouterr().err


def test_an_address_in_use(daemon: StubDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    with command.Server(("127.0.0.1", 0), Client(daemon.path)) as server:
        port = server.server_address[1]
        assert command.main(["--listen", f"127.0.0.1:{port}"]) == 1
    err = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in err
    assert "--listen" in err


# -- what refers to it -------------------------------------------------------


def test_the_reference_is_in_step() -> None:
    """If not: python -m tools.metrics."""
    assert reference.PAGE.read_text() == reference.page()


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Return all that is asked of Prometheus by rules and dashboard."""
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [rule["expr"] for rule in rules()]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [note["expr"] for note in dashboard["annotations"]["list"]]
    asked += [
        variable["query"]["query"]
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    return asked


def test_only_metrics_that_exist_are_asked_for() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    asked = {name for text in expressions() for name in re.findall(r"vhost_brick[_:][\w:]+", text)}
    assert asked <= NAMES | recorded
    # Neither is left out of sight.
    for file in (RULES, DASHBOARD):
        assert {name for name in NAMES if name in file.read_text()}


def test_only_labels_that_exist_are_asked_for() -> None:
    known = {label for metric in metrics.ALL for label in metric.labels} | {"instance", "job"}
    texts = RULES.read_text() + DASHBOARD.read_text()
    shown = re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", texts)
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=~?|!=|!~)", "\n".join(expressions()))
    grouped = [
        label.strip()
        for labels in re.findall(
            r"(?:by|on|without|ignoring) \(([^)]*)\)", "\n".join(expressions())
        )
        for label in labels.split(",")
    ]
    assert shown
    assert matched
    assert grouped
    assert {*shown, *matched, *grouped} <= known


def test_only_reasons_that_exist_are_asked_for() -> None:
    known = [texts[0] for texts in reasons.entries("drop.h")]
    asked = re.findall(r'reason=~?"([^"$]+)"', "\n".join(expressions()))
    patterns = [pattern for text in asked for pattern in text.split("|")]
    assert patterns
    for pattern in patterns:
        assert any(re.fullmatch(pattern, reason) for reason in known), pattern


def test_alerts_say_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({alert["alert"] for alert in alerts}) == len(alerts) > 0
    for alert in alerts:
        assert alert["labels"]["severity"] in ("info", "warning", "critical")
        assert set(alert["annotations"]) == {"summary", "description"}


PROMTOOL = shutil.which("promtool") or shutil.which(f"{reference.TOP}/.venv/bin/promtool")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool; tools/bootstrap.sh fetches it where it can be had"
)


def promtool(*words: str | Path, given: bytes = b"") -> None:
    """Run promtool, which has to be content."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *words], input=given, capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


@needs_promtool
def test_promtool_takes_the_rules_and_the_page(daemon: StubDaemon) -> None:
    promtool("check", "rules", RULES)
    registry = CollectorRegistry()
    registry.register(DaemonCollector(Client(daemon.path, timeout=30)))
    promtool("check", "metrics", given=generate_latest(registry))


@needs_promtool
def test_alerts_fire_when_they_should() -> None:
    promtool("test", "rules", Path(__file__).with_name("alerts.yml"))
