# SPDX-License-Identifier: Apache-2.0
"""Carrying out actions, and what happens to those that fail."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from tests.unit.support import Bench, entry, state, tap, vxlan
from vhost_brick_plugin import errors, model
from vhost_brick_plugin.daemon import sockets
from vhost_brick_plugin.daemon.engine import FIRST_RETRY_S, LAST_RETRY_S
from vhost_brick_plugin.daemon.reconcile import network_subject, port_subject, uplink_subject
from vhost_brick_plugin.daemon.settings import Access
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.model import Mode, Network

BROKEN = errors.DatapathError("it broke", hint="mend it")


@pytest.fixture
def bench(short_dir: Path) -> Bench:
    return Bench(short_dir)


def on(bench: Bench, id: str, **changes: object) -> Entry:
    return entry(id, socket_path=str(bench.sockets / id), **changes)


def test_one_port_that_fails_does_not_keep_others_from_being_served(bench: Bench) -> None:
    bench.datapath.fail("port_add", "b", BROKEN)
    bench.engine.restore(state(*(on(bench, id) for id in "abc")))
    assert sorted(bench.engine.actual.ports) == ["a", "c"]
    fault = bench.engine.fault(port_subject("b"))
    assert fault is not None
    assert (fault.name, fault.message, fault.hint) == ("datapath_error", "it broke", "mend it")
    assert bench.engine.fault(port_subject("a")) is None


def test_a_bug_in_one_port_does_not_either(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add = bench.datapath.port_add

    def odd(port, offer):
        if port.id == "b":
            raise ZeroDivisionError("oops")
        add(port, offer)

    monkeypatch.setattr(bench.datapath, "port_add", odd)
    bench.engine.restore(state(*(on(bench, id) for id in "abc")))
    assert sorted(bench.engine.actual.ports) == ["a", "c"]
    fault = bench.engine.fault(port_subject("b"))
    assert fault is not None
    assert (fault.name, fault.message) == ("internal", "ZeroDivisionError: oops")
    assert "Traceback" in caplog.text


def test_retries_back_off_until_they_succeed(bench: Bench) -> None:
    wanted = state(on(bench, "a"))
    bench.datapath.fail("port_add", "a", BROKEN)
    bench.engine.restore(wanted)
    since = bench.engine.setbacks[port_subject("a")].fault.since
    delays = []
    for _ in range(9):
        setback = bench.engine.setbacks[port_subject("a")]
        delays.append(setback.due - bench.clock.now)
        bench.clock.now = setback.due - 0.01
        assert bench.calls_of(lambda: bench.engine.retry(wanted)) == []
        bench.clock.now = setback.due
        assert bench.calls_of(lambda: bench.engine.retry(wanted)) == [("port_add", "a")]
    assert delays[:3] == pytest.approx([FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S])
    assert delays[-1] == pytest.approx(LAST_RETRY_S)
    assert bench.engine.setbacks[port_subject("a")].fault.since == since

    bench.datapath.mend()
    bench.clock.now += LAST_RETRY_S
    assert bench.engine.retry(wanted) == [port_subject("a")]
    assert bench.engine.setbacks == {}
    assert bench.engine.actual == wanted


def test_the_log_does_not_repeat_itself(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    wanted = state(on(bench, "a"))
    bench.datapath.fail("port_add", "a", BROKEN)
    bench.engine.restore(wanted)
    bench.engine.retry(wanted, [port_subject("a")])
    assert caplog.text.count("it broke") == 1
    bench.datapath.fail("port_add", "a", errors.DatapathError("now something else"))
    bench.engine.retry(wanted, [port_subject("a")])
    assert caplog.text.count("now something else") == 1


def test_ports_of_a_network_that_fails_say_so_and_come_with_it(bench: Bench) -> None:
    wanted = state(on(bench, "a"))
    bench.datapath.fail("network_add", "n", BROKEN)
    bench.engine.restore(wanted)
    fault = bench.engine.fault(port_subject("a"))
    assert fault is not None
    assert fault.message == "network n is not there: it broke"
    bench.datapath.mend()
    bench.clock.now += FIRST_RETRY_S
    assert bench.engine.retry(wanted) == [network_subject("n"), port_subject("a")]
    assert bench.engine.actual == wanted


def test_an_uplink_that_fails_does_not_keep_ports_apart(bench: Bench) -> None:
    network = Network(name="n", uplinks=(tap("t"),))
    bench.links.broken.add("t")
    bench.engine.restore(state(on(bench, "a"), networks=(network,)))
    assert sorted(bench.engine.actual.ports) == ["a"]
    assert bench.engine.fault(uplink_subject("n", tap("t"))) is not None


def test_a_tap_made_for_nothing_is_removed(bench: Bench) -> None:
    bench.datapath.fail("uplink_add", "tap t", BROKEN)
    bench.engine.restore(state(networks=(Network(name="n", uplinks=(tap("t"),)),)))
    assert bench.links.taps == {}


def test_a_tap_that_was_there_stays_when_it_cannot_be_used(bench: Bench) -> None:
    bench.links.taps["t"] = 1500
    bench.datapath.fail("uplink_add", "tap t", BROKEN)
    bench.engine.restore(state(networks=(Network(name="n", uplinks=(tap("t"),)),)))
    assert bench.links.taps == {"t": 1500}


def trunk(**mtus: int) -> tuple[Network, ...]:
    """Return networks that share the tap t."""
    return tuple(
        Network(name=name, mtu=mtu, uplinks=(tap("t", vlan),))
        for vlan, (name, mtu) in enumerate(mtus.items())
    )


def test_a_shared_tap_is_as_wide_as_the_widest_network_needs(bench: Bench) -> None:
    widths = []

    def go(**mtus: int) -> None:
        before = bench.engine.actual
        after = state(networks=trunk(**mtus))
        bench.engine.change(before, after, [network_subject(name) for name in mtus])
        assert bench.engine.actual == after
        widths.append(bench.links.taps.get("t"))

    go(a=1500)
    go(a=1500, b=9000)
    go(a=1500, b=9000, c=1400)
    go(a=2000, b=1600, c=1400)
    go(a=2000, b=1600)
    go(a=1500)
    go()
    assert widths == [1500, 9000, 9000, 2000, 2000, 1500, None]


def test_a_network_that_cannot_join_leaves_a_shared_tap_as_it_was(bench: Bench) -> None:
    before = state(networks=trunk(a=1500))
    bench.engine.restore(before)
    bench.datapath.fail("uplink_add", "tap t VLAN 1", BROKEN)
    with pytest.raises(errors.DatapathError):
        bench.engine.change(before, state(networks=trunk(a=1500, b=9000)), [network_subject("b")])
    assert bench.links.taps == {"t": 1500}
    assert bench.engine.actual == before


def test_remote_hosts_change_in_place(bench: Bench) -> None:
    def having(*remotes: str) -> State:
        uplinks = (tap("t"), vxlan(7, *remotes))
        return state(on(bench, "a"), networks=(Network(name="n", uplinks=uplinks),))

    old, new = having("192.0.2.2"), having("192.0.2.3", "192.0.2.2")
    bench.engine.restore(old)
    calls = bench.calls_of(lambda: bench.engine.change(old, new, []))
    assert calls == [("uplink_update", "vxlan vxlan-7")]
    assert bench.engine.actual == new


def test_a_change_of_security_that_fails_is_tried_again(bench: Bench) -> None:
    old = state(on(bench, "a"))
    bench.engine.restore(old)
    new = state(on(bench, "a", security=model.CLOSED))
    bench.datapath.fail("port_update", "a", BROKEN)
    bench.engine.retry(new)
    assert bench.datapath.security("a") == model.OPEN
    assert bench.engine.fault(port_subject("a")) is not None
    bench.datapath.mend()
    bench.clock.now += FIRST_RETRY_S
    assert bench.engine.retry(new) == [port_subject("a")]
    assert bench.datapath.security("a") == model.CLOSED


def test_mtu_reaches_the_uplinks(bench: Bench) -> None:
    old = state(on(bench, "a"), networks=(Network(name="n", uplinks=(tap("t"),)),))
    bench.engine.restore(old)
    new = old.with_network(Network(name="n", mtu=1400, uplinks=(tap("t"),)))
    calls = bench.calls_of(lambda: bench.engine.change(old, new, [network_subject("n")]))
    assert calls == [("network_update", "n")]
    assert bench.links.taps == {"t": 1400}


def test_an_mtu_that_one_uplink_refuses_is_set_on_none(bench: Bench) -> None:
    uplinks = (tap("t"), tap("u"))
    old = state(networks=(Network(name="n", uplinks=uplinks),))
    bench.engine.restore(old)
    new = old.with_network(Network(name="n", mtu=9000, uplinks=uplinks))
    bench.datapath.fail("network_update", "n", BROKEN)
    with pytest.raises(errors.DatapathError):
        bench.engine.change(old, new, [network_subject("n")])
    assert bench.links.taps == {"t": 1500, "u": 1500}
    assert bench.engine.actual == old


def test_a_change_that_fails_goes_back(bench: Bench) -> None:
    old = state(on(bench, "a"), on(bench, "b"))
    bench.engine.restore(old)
    new = old.with_port(on(bench, "a", mtu=1400))
    add, failed = bench.datapath.port_add, []

    def fail_once(port, offer):
        if not failed:
            failed.append(port)
            raise BROKEN
        add(port, offer)

    bench.datapath.port_add = fail_once  # type: ignore[method-assign]
    with pytest.raises(errors.DatapathError, match="it broke"):
        bench.engine.change(old, new, [port_subject("a")])
    assert failed[0].mtu == 1400
    assert bench.engine.actual == old
    assert bench.engine.setbacks == {}


def test_a_change_that_fails_both_ways_leaves_a_fault(bench: Bench) -> None:
    old = state(on(bench, "a"), on(bench, "b"))
    bench.engine.restore(old)
    bench.datapath.fail("port_add", "a", BROKEN)
    with pytest.raises(errors.DatapathError):
        bench.engine.change(old, old.with_port(on(bench, "a", mtu=1400)), [port_subject("a")])
    assert sorted(bench.engine.actual.ports) == ["b"]
    assert bench.engine.fault(port_subject("a")) is not None
    bench.datapath.mend()
    bench.engine.retry(old, [port_subject("a")])
    assert bench.engine.actual == old


def test_a_change_of_one_port_leaves_the_setbacks_of_others_alone(bench: Bench) -> None:
    old = state(on(bench, "a"))
    bench.datapath.fail("port_add", "a", BROKEN)
    bench.engine.restore(old)
    new = old.with_port(on(bench, "b"))
    calls = bench.calls_of(lambda: bench.engine.change(old, new, [port_subject("b")]))
    assert calls == [("port_add", "b")]
    assert set(bench.engine.setbacks) == {port_subject("a")}


def test_what_is_no_longer_wanted_is_no_longer_a_setback(bench: Bench) -> None:
    old = state(on(bench, "a"))
    bench.datapath.fail("port_add", "a", BROKEN)
    bench.engine.restore(old)
    bench.engine.change(old, old.without_port("a"), [port_subject("a")])
    assert bench.engine.setbacks == {}


def test_a_server_socket_gets_its_rights(bench: Bench) -> None:
    bench.engine.restore(state(on(bench, "a", mode=Mode.SERVER)))
    assert stat.S_IMODE(os.stat(bench.sockets / "a").st_mode) == 0o620


def test_a_server_port_without_its_rights_is_not_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, access: Access) -> None:
        raise BROKEN

    monkeypatch.setattr(sockets, "grant", refuse)
    wanted = on(bench, "a", mode=Mode.SERVER)
    bench.engine.restore(state(wanted))
    assert bench.engine.actual == State(networks={"n": Network(name="n")})
    assert list(bench.sockets.iterdir()) == []
    assert bench.engine.fault(port_subject("a")) is not None


def test_a_stale_socket_of_the_last_life_is_no_obstacle(bench: Bench, short_dir: Path) -> None:
    wanted = state(on(bench, "a", mode=Mode.SERVER))
    bench.engine.restore(wanted)
    listener = bench.datapath._ports["a"].listener
    assert listener is not None
    listener.close()  # As the kernel does at a kill; the file stays.
    assert (bench.sockets / "a").is_socket()
    again = Bench(short_dir, wanted)
    assert again.engine.actual == wanted


# -- a standby's -----------------------------------------------------------------


@pytest.fixture
def sleeper(short_dir: Path) -> Bench:
    return Bench(short_dir, dormant=True)


def test_a_dormant_engine_touches_no_socket(sleeper: Bench) -> None:
    taken = sleeper.sockets / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(taken))
        other.listen()
        before = taken.stat()
        sleeper.engine.restore(state(on(sleeper, "s", mode=Mode.SERVER), on(sleeper, "c")))
        sleeper.engine.restore(state(on(sleeper, "s", mode=Mode.SERVER, mtu=1400)))
        sleeper.engine.restore(state())
        assert taken.stat() == before
    assert not sleeper.engine.setbacks


def test_sockets_get_their_rights_when_it_wakes(sleeper: Bench) -> None:
    sleeper.engine.restore(state(on(sleeper, "s", mode=Mode.SERVER), on(sleeper, "c")))
    sleeper.datapath.take_over()
    sleeper.engine.wake()
    assert stat.S_IMODE((sleeper.sockets / "s").stat().st_mode) == 0o620
    assert sorted(sleeper.engine.actual.ports) == ["c", "s"]
    # And it is as any other from then on.
    sleeper.engine.restore(state(on(sleeper, "t", mode=Mode.SERVER)))
    assert stat.S_IMODE((sleeper.sockets / "t").stat().st_mode) == 0o620


def test_a_socket_whose_rights_cannot_be_set_is_no_obstacle_for_others(sleeper: Bench) -> None:
    wanted = state(*(on(sleeper, id, mode=Mode.SERVER) for id in "abc"))
    sleeper.engine.restore(wanted)
    sleeper.datapath.take_over()
    (sleeper.sockets / "b").unlink()
    sleeper.engine.wake()
    assert sorted(sleeper.engine.actual.ports) == ["a", "c"]
    fault = sleeper.engine.fault(port_subject("b"))
    assert fault is not None
    assert "cannot set owner" in fault.message
    sleeper.clock.now += FIRST_RETRY_S
    assert sleeper.engine.retry(wanted) == [port_subject("b")]
    assert (sleeper.sockets / "b").is_socket()
