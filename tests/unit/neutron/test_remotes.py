# SPDX-License-Identifier: Apache-2.0
"""What l2population says, and what comes of it."""

from __future__ import annotations

import logging

import pytest

from vhost_brick_plugin.neutron.remotes import FLOODING_ENTRY, GRACE_S, PATIENCE_S, Remotes

LOCAL, ONE, TWO, THREE = "192.0.2.1", "192.0.2.11", "192.0.2.12", "192.0.2.13"
ALL = [list(FLOODING_ENTRY)]
"""As it comes out of JSON."""
PORT = [["fa:16:3e:00:00:01", "10.0.0.1"]]


def tracked(*present: str) -> Remotes:
    remotes = Remotes(LOCAL)
    remotes.track("n", present)
    return remotes


def test_hosts_come_and_go() -> None:
    remotes = tracked()
    assert remotes.add("n", {ONE: ALL, TWO: ALL + PORT}, 0.0)
    assert set(remotes.of("n")) == {ONE, TWO}
    assert not remotes.add("n", {ONE: PORT}, 0.0)
    assert not remotes.remove("n", {ONE: PORT})
    assert remotes.remove("n", {ONE: ALL + PORT})
    assert not remotes.remove("n", {ONE: ALL})
    assert set(remotes.of("n")) == {TWO}


def test_a_port_makes_up_for_a_lost_announcement_of_its_host() -> None:
    remotes = tracked()
    assert remotes.add("n", {ONE: PORT}, 0.0)
    assert remotes.of("n") == (ONE,)


def test_our_own_address_is_no_remote() -> None:
    remotes = tracked()
    assert not remotes.add("n", {LOCAL: ALL}, 0.0)
    assert remotes.of("n") == ()


def test_networks_of_others_are_not_kept() -> None:
    remotes = tracked()
    assert not remotes.add("other", {ONE: ALL}, 0.0)
    assert not remotes.remove("other", {ONE: ALL})
    assert remotes.of("other") == ()
    assert not remotes.begin_refresh("other", 0.0)


@pytest.mark.parametrize("host", ["2001:db8::1", "host", ""])
def test_hosts_that_cannot_be_reached(host: str, caplog: pytest.LogCaptureFixture) -> None:
    remotes = tracked()
    assert remotes.add("n", {host: ALL, ONE: ALL}, 0.0)
    assert remotes.of("n") == (ONE,)
    assert "cannot be reached" in caplog.text


def test_a_refresh_drops_who_is_not_named_again() -> None:
    remotes = tracked(ONE, TWO)
    assert remotes.begin_refresh("n", 0.0)
    remotes.add("n", {TWO: ALL, THREE: ALL}, 1.0)
    remotes.add("n", {LOCAL: ALL + PORT}, 1.0)
    assert set(remotes.of("n")) == {ONE, TWO, THREE}
    assert remotes.settle(GRACE_S) == set()
    assert remotes.settle(1.0 + GRACE_S) == {"n"}
    assert set(remotes.of("n")) == {TWO, THREE}
    assert remotes.settle(1000.0) == set()


def test_the_echo_may_overtake_the_list() -> None:
    remotes = tracked(ONE)
    remotes.begin_refresh("n", 0.0)
    remotes.add("n", {LOCAL: ALL}, 1.0)
    remotes.add("n", {ONE: ALL}, 2.0)
    assert remotes.settle(1.0 + GRACE_S) == set()
    assert remotes.of("n") == (ONE,)


def test_an_announcement_of_one_port_is_no_echo() -> None:
    remotes = tracked(ONE)
    remotes.begin_refresh("n", 0.0)
    remotes.add("n", {LOCAL: PORT}, 1.0)
    assert remotes.settle(GRACE_S + 2) == set()
    assert remotes.of("n") == (ONE,)


def test_without_an_echo_nobody_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    remotes = tracked(ONE)
    remotes.begin_refresh("n", 0.0)
    with caplog.at_level(logging.WARNING):
        for now in (PATIENCE_S, PATIENCE_S + 1, 10 * PATIENCE_S):
            assert remotes.settle(now) == set()
    assert remotes.of("n") == (ONE,)
    assert len(caplog.records) == 1
    assert "l2population" in caplog.text


def test_a_refresh_is_asked_for_once() -> None:
    remotes = tracked()
    assert remotes.begin_refresh("n", 0.0)
    assert not remotes.begin_refresh("n", 0.0)
    remotes.cancel_refresh("n")
    assert remotes.begin_refresh("n", 0.0)
    remotes.expire()
    assert remotes.begin_refresh("n", 0.0)


def test_a_cancelled_refresh_drops_nobody() -> None:
    remotes = tracked(ONE)
    remotes.begin_refresh("n", 0.0)
    remotes.cancel_refresh("n")
    remotes.add("n", {LOCAL: ALL}, 1.0)
    assert remotes.settle(1000.0) == set()
    assert remotes.of("n") == (ONE,)


def test_who_leaves_during_a_refresh_stays_away() -> None:
    remotes = tracked(ONE)
    remotes.begin_refresh("n", 0.0)
    assert remotes.remove("n", {ONE: ALL})
    remotes.add("n", {LOCAL: ALL}, 1.0)
    assert remotes.settle(1000.0) == set()
    assert remotes.of("n") == ()


def test_tracking_again_keeps_what_is_known() -> None:
    remotes = tracked(ONE)
    remotes.track("n", [])
    assert remotes.of("n") == (ONE,)
    remotes.forget("n")
    assert remotes.of("n") == ()
