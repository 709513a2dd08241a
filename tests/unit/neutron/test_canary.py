# SPDX-License-Identifier: Apache-2.0
"""Messages that come back, late or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from vhost_brick_plugin.neutron import canary
from vhost_brick_plugin.neutron.canary import Canary

TIMEOUT_S = 10


class Bus:
    """A bus that does with each message what *fates* say, in turn, and then delivers.

    :ivar alarms: one for each alarm.
    """

    def __init__(self) -> None:
        self.fates: list[Callable[[int], object]] = []
        self.alarms = threading.Semaphore(0)
        self.sent = threading.Semaphore(0)
        self.canary = Canary(self.take, self.alarms.release)

    def take(self, number: int) -> None:
        self.sent.release()
        fate = self.fates.pop(0) if self.fates else self.canary.hear
        fate(number)

    def lose(self, _number: int) -> None:
        """The message is never seen again."""

    def refuse(self, _number: int) -> None:
        raise ConnectionError("the bus is away")

    def delay(self, number: int) -> None:
        """Deliver it too late, as after an outage that the sender waits for."""
        assert not threading.Event().wait(2 * canary.PATIENCE_S)
        self.canary.hear(number)

    def mix_up(self, number: int) -> None:
        """Deliver another one, sent long ago."""
        self.canary.hear(number - 1)

    def wait_sent(self, count: int) -> None:
        for _ in range(count):
            assert self.sent.acquire(timeout=TIMEOUT_S)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    monkeypatch.setattr(canary, "PERIOD_S", 0.001)
    monkeypatch.setattr(canary, "PATIENCE_S", 0.3)
    monkeypatch.setattr(canary, "CALM_S", (0.0, 0.0))
    monkeypatch.setattr(canary, "REST_S", 0.0)
    made = Bus()
    yield made
    made.canary.stop()


def test_no_alarm_while_messages_pass(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "PATIENCE_S", float(TIMEOUT_S))
    bus.canary.start()
    bus.wait_sent(20)
    assert not bus.alarms.acquire(blocking=False)


@pytest.mark.parametrize("fate", ["lose", "refuse", "delay", "mix_up"])
def test_an_alarm_when_messages_pass_again(
    bus: Bus, fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    bus.fates = [bus.canary.hear, *3 * [getattr(bus, fate)]]
    bus.canary.start()
    assert bus.alarms.acquire(timeout=TIMEOUT_S)
    assert bus.fates == []
    assert caplog.text.count("may be lost") == 1


def test_every_outage_has_an_alarm(bus: Bus) -> None:
    bus.fates = [bus.lose]
    bus.canary.start()
    assert bus.alarms.acquire(timeout=TIMEOUT_S)
    bus.fates = [bus.lose]
    assert bus.alarms.acquire(timeout=TIMEOUT_S)


def test_alarms_keep_their_distance(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "REST_S", 1000.0)
    bus.fates = [bus.lose, bus.canary.hear, bus.lose]
    bus.canary.start()
    assert bus.alarms.acquire(timeout=TIMEOUT_S)
    bus.wait_sent(20)
    assert not bus.alarms.acquire(blocking=False)
