# SPDX-License-Identifier: Apache-2.0
"""When to try again."""

from __future__ import annotations

from vhost_brick_plugin.neutron.retries import FIRST_S, LAST_S, Retries


def test_later_and_later() -> None:
    retries, now, waits = Retries(), 100.0, []
    for _ in range(8):
        retries.later("p", now)
        wait = next(s for s in range(1, 100) if "p" in retries.due(now + s))
        waits.append(wait)
        now += wait
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (FIRST_S, LAST_S)


def test_due_once() -> None:
    retries = Retries()
    retries.later("p", 0.0)
    assert retries.due(FIRST_S) == {"p"}
    assert retries.due(FIRST_S) == set()


def test_success_ends_it() -> None:
    retries = Retries()
    retries.later("p", 0.0)
    retries.later("p", 0.0)
    retries.forget("p")
    assert retries.due(1000.0) == set()
    retries.later("p", 0.0)
    assert retries.due(FIRST_S) == {"p"}


def test_soon() -> None:
    retries = Retries()
    retries.soon("p")
    assert retries.due(0.0) == {"p"}
