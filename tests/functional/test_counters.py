# SPDX-License-Identifier: Apache-2.0
"""What an operator is shown is what passed: metrics, rates and the picture of the graph."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import (
    NETWORK,
    ensure_port,
    frame,
    mac,
    pass_frame,
    receive_frame,
)
from tests.functional.waiting import wait_until
from vhost_brick_plugin.cli import rates
from vhost_brick_plugin.cli.drawings import to_tree
from vhost_brick_plugin.cli.picture import picture
from vhost_brick_plugin.exporter.collector import DaemonCollector
from vhost_brick_plugin.model import AddressPair, PortSecurity, SecurityMode

FRAMES, SPOOFED = 40, 5
FRAME_BYTES = 60

Pair = tuple[Frontend, Frontend]


@pytest.fixture
def pair(daemon: Daemon, make_frontend: Callable[..., Frontend]) -> Pair:
    """Two guests with nothing on its way between them; the first may use its own MAC only."""
    one = make_frontend(ensure_port(daemon, "one", "server", 0))
    other = make_frontend(ensure_port(daemon, "other", "server", 1))
    own = PortSecurity(mode=SecurityMode.FILTERED, allowed=(AddressPair(mac=mac(0)),))
    daemon.client.port_ensure(id="one", network=NETWORK, security=own)
    for guest in (one, other):
        guest.connect()
    pass_frame(one, other, frame(1, 0, b"up"))
    pass_frame(other, one, frame(0, 1, b"up"))
    _send(one, other, frame(1, 0, b"all is through"))
    _send(other, one, frame(0, 1, b"all is through"))
    return one, other


def _send(sender: Frontend, receiver: Frontend, data: bytes) -> None:
    sender.send(data)
    receive_frame(receiver, data)


def _send_all(pair: Pair) -> None:
    one, other = pair
    for number in range(SPOOFED):
        one.send(frame(1, 7, b"spoofed %d" % number))
    for number in range(FRAMES):
        _send(one, other, frame(1, 0, b"%d" % number))


class Metrics:
    """Metrics of the ports of a daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(DaemonCollector(daemon.client))

    def port(self, id: str, name: str, **labels: str) -> float:
        """Return a metric of a port; 0 if it is not there."""
        empty = dict.fromkeys(("network_name", "instance_uuid", "instance_name"), "")
        labels = {"port": id, "network": NETWORK, **empty, **labels}
        return self._registry.get_sample_value(f"vhost_brick_port_{name}", labels) or 0.0

    def daemon(self, name: str) -> float | None:
        return self._registry.get_sample_value(f"vhost_brick_{name}")


def test_metrics_count_what_passed(daemon: Daemon, pair: Pair) -> None:
    metrics = Metrics(daemon)

    def counted() -> tuple[float, ...]:
        return (
            metrics.port("one", "from_guest_packets_total"),
            metrics.port("one", "from_guest_bytes_total"),
            metrics.port("other", "to_guest_packets_total"),
            metrics.port("other", "to_guest_bytes_total"),
            metrics.port("one", "drops_total", reason="spoofed_mac"),
            metrics.port("one", "dropped_packets_total"),
        )

    sent = FRAMES + SPOOFED
    grown = (sent, sent * FRAME_BYTES, FRAMES, FRAMES * FRAME_BYTES, SPOOFED, SPOOFED)
    before = counted()
    _send_all(pair)
    wanted = tuple(a + b for a, b in zip(before, grown, strict=True))
    wait_until(lambda: counted() == wanted, f"the counters to be {wanted}")
    assert metrics.port("one", "sessions", state="running") == 1


def test_a_restart_is_seen_in_the_metrics(daemon: Daemon, pair: Pair) -> None:
    metrics = Metrics(daemon)
    started = metrics.daemon("start_time_seconds")
    assert started == metrics.daemon("start_time_seconds")
    assert metrics.port("one", "from_guest_packets_total") > 0
    daemon.kill9()
    assert metrics.daemon("up") == 0
    assert metrics.daemon("start_time_seconds") is None
    daemon.start()
    again = metrics.daemon("start_time_seconds")
    assert started is not None
    assert again is not None
    assert again > started
    assert metrics.port("one", "from_guest_packets_total") == 0


def test_rates_are_of_what_passed(daemon: Daemon, pair: Pair) -> None:
    before = rates.read(daemon.client)
    _send_all(pair)

    def change() -> rates.Change | None:
        made = rates.Change(before, rates.read(daemon.client))
        arrived = made.ports()["other"].to_peer_packets * made.seconds
        return made if arrived == pytest.approx(FRAMES) else None

    seen = wait_until(change, f"{FRAMES} frames")
    one = seen.ports()["one"]
    assert one.from_peer_packets * seen.seconds == pytest.approx(FRAMES + SPOOFED)
    assert one.from_peer_bits * seen.seconds == pytest.approx(8 * FRAME_BYTES * (FRAMES + SPOOFED))
    assert one.drops == {"spoofed_mac": pytest.approx(SPOOFED / seen.seconds)}
    assert all(0 < share <= 1 for share in seen.workers().values())

    drawn = picture(daemon.client.graph(), seen)
    flows = {edge.a: edge.flow for edge in drawn.edges if edge.flow is not None}
    assert set(flows) == {"vhost/one", "vhost/other"}
    there = flows["vhost/other"].b_to_a_packets
    assert there * seen.seconds == pytest.approx(FRAMES)
    tree = to_tree(drawn)
    assert "antispoof/one  drops/s: spoofed_mac " in tree
    assert "    └── vhost/other  from 0 pkt/s, 0 bit/s  to " in tree
