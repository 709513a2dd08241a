# SPDX-License-Identifier: Apache-2.0
"""From one state to another."""

from __future__ import annotations

import dataclasses
import itertools
import random

import pytest

from tests.unit.support import entry, in_force, nic, state, tap, vxlan
from vhost_brick_plugin.daemon import reconcile
from vhost_brick_plugin.daemon.reconcile import (
    NetworkAdd,
    NetworkRemove,
    NetworkUpdate,
    PortAdd,
    PortRemove,
    PortUpdate,
    UplinkAdd,
    UplinkRemove,
    UplinkUpdate,
    diff,
)
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.model import CLOSED, OPEN, Mode, Network, Offer

EMPTY = State()


def test_nothing_to_do() -> None:
    assert diff(state(entry("a")), state(entry("a"))) == []


def test_a_start_makes_networks_then_uplinks_then_ports() -> None:
    network = Network(name="n", uplinks=(tap("t"),))
    one = entry("a")
    assert diff(state(one, networks=(network,)), EMPTY) == [
        NetworkAdd(network),
        UplinkAdd(network, tap("t")),
        PortAdd(one),
    ]


def test_an_end_goes_the_other_way() -> None:
    network = Network(name="n", uplinks=(tap("t"),))
    one = entry("a")
    assert diff(EMPTY, state(one, networks=(network,))) == [
        PortRemove(one.port),
        UplinkRemove("n", tap("t")),
        NetworkRemove("n"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"mode": Mode.SERVER},
        {"socket_path": "/run/s/other"},
        {"mac": "52:54:00:00:00:ff"},
        {"mtu": 1400},
        {"queues": 2},
        {"network": "m"},
    ],
)
def test_what_a_vm_could_notice_takes_a_restart_of_that_port_alone(change: dict) -> None:
    networks = (Network(name="n"), Network(name="m"))
    old, new = entry("a"), entry("a", **change)
    before = state(old, entry("b"), networks=networks)
    after = state(new, entry("b"), networks=networks)
    assert diff(after, before) == [PortRemove(old.port), PortAdd(new)]


def test_another_offer_takes_a_restart() -> None:
    old = entry("a")
    new = Entry(port=old.port, offer=dataclasses.replace(old.offer, features=3))
    assert diff(state(new), state(old)) == [PortRemove(old.port), PortAdd(new)]


def test_metadata_is_an_update() -> None:
    new = entry("a", metadata={"k": "v"})
    assert diff(state(new), state(entry("a"))) == [PortUpdate(new)]


def test_security_is_an_update() -> None:
    new = entry("a", security=CLOSED)
    assert diff(state(new), state(entry("a"))) == [PortUpdate(new)]


def test_security_that_nobody_set_is_the_networks() -> None:
    unset, guarded = entry("a", security=None), (Network(name="n", guarded=True),)
    assert diff(state(unset), EMPTY)[1:] == [PortAdd(entry("a", security=OPEN))]
    assert diff(state(unset, networks=guarded), EMPTY)[1:] == [
        PortAdd(entry("a", security=CLOSED))
    ]
    assert diff(state(unset), state(entry("a"))) == []
    assert diff(state(unset, networks=guarded), state(entry("a"))) == [
        PortUpdate(entry("a", security=CLOSED))
    ]


def test_security_that_was_set_is_not_the_networks() -> None:
    guarded = (Network(name="n", guarded=True),)
    assert diff(state(entry("a"), networks=guarded), state(entry("a"))) == []


def test_a_port_whose_network_is_missing_lets_nothing_through() -> None:
    lost = entry("a", security=None)
    assert diff(state(lost, networks=()), EMPTY) == [PortAdd(entry("a", security=CLOSED))]


def test_ports_are_closed_before_an_uplink_comes() -> None:
    guarded = Network(name="n", guarded=True, uplinks=(tap("t"),))
    unset = entry("a", security=None)
    assert diff(state(unset, networks=(guarded,)), state(entry("a"))) == [
        PortUpdate(entry("a", security=CLOSED)),
        UplinkAdd(guarded, tap("t")),
    ]


def test_the_widest_network_starts_a_trunk() -> None:
    networks = tuple(
        Network(name=name, mtu=mtu, uplinks=(tap("t", mtu),))
        for name, mtu in (("a", 1500), ("b", 4000), ("c", 2000))
    )
    actions = diff(state(networks=networks), EMPTY)
    adds = [action.network.name for action in actions if isinstance(action, UplinkAdd)]
    assert adds == ["b", "c", "a"]


def test_remote_hosts_are_an_update() -> None:
    old = Network(name="n", uplinks=(vxlan(7, "192.0.2.2"), tap("t")))
    new = Network(name="n", uplinks=(tap("t"), vxlan(7, "192.0.2.3")))
    assert diff(state(networks=(new,)), state(networks=(old,))) == [
        UplinkUpdate("n", vxlan(7, "192.0.2.3"))
    ]


@pytest.mark.parametrize("change", [{"local": "192.0.2.9"}, {"port": 1}])
def test_another_end_of_a_tunnel_is_another_uplink(change: dict) -> None:
    old = Network(name="n", uplinks=(vxlan(7),))
    new = Network(name="n", uplinks=(vxlan(7, **change),))
    assert diff(state(networks=(new,)), state(networks=(old,))) == [
        UplinkRemove("n", vxlan(7)),
        UplinkAdd(new, vxlan(7, **change)),
    ]


def test_another_vlan_is_another_uplink() -> None:
    old = Network(name="n", uplinks=(tap("t", 1),))
    new = Network(name="n", uplinks=(tap("t", 2),))
    assert diff(state(networks=(new,)), state(networks=(old,))) == [
        UplinkRemove("n", tap("t", 1)),
        UplinkAdd(new, tap("t", 2)),
    ]


def test_uplinks_change_one_by_one() -> None:
    old = Network(name="n", uplinks=(tap("a"), tap("b")))
    new = Network(name="n", uplinks=(tap("b"), tap("c")))
    assert diff(state(entry(), networks=(new,)), state(entry(), networks=(old,))) == [
        UplinkRemove("n", tap("a")),
        UplinkAdd(new, tap("c")),
    ]


def test_mtu_updates_the_network_in_place() -> None:
    old, new = Network(name="n"), Network(name="n", mtu=1400)
    assert diff(state(entry(), networks=(new,)), state(entry(), networks=(old,))) == [
        NetworkUpdate(new)
    ]


def test_who_made_a_network_is_no_change_to_it() -> None:
    old, new = Network(name="n", implicit=True), Network(name="n")
    assert diff(state(networks=(new,)), state(networks=(old,))) == []


def test_two_ports_swap_their_paths() -> None:
    a, b = entry("a"), entry("b")
    a2 = entry("a", socket_path=b.port.socket_path)
    b2 = entry("b", socket_path=a.port.socket_path)
    kinds = [type(x) for x in diff(state(a2, b2), state(a, b))]
    assert kinds == [PortRemove, PortRemove, PortAdd, PortAdd]


def test_subjects_tell_everything_apart() -> None:
    subjects = [
        reconcile.port_subject("n"),
        reconcile.network_subject("n"),
        reconcile.uplink_subject("n", tap("n")),
        reconcile.uplink_subject("n", tap("n", 0)),
        reconcile.uplink_subject("n", tap("n", 1)),
        reconcile.uplink_subject("m", tap("n", 1)),
        reconcile.uplink_subject("n", nic("n", 1)),
    ]
    assert len(set(subjects)) == len(subjects)


def _apply(actual: State, actions: list) -> State:
    """A datapath with the contract's rules, in a few lines."""
    for action in actions:
        match action:
            case NetworkAdd(network):
                assert network.name not in actual.networks
                actual = actual.with_network(dataclasses.replace(network, uplinks=()))
            case NetworkUpdate(network):
                present = actual.networks[network.name]
                actual = actual.with_network(dataclasses.replace(present, mtu=network.mtu))
            case NetworkRemove(name):
                assert not actual.ports_of(name)
                assert not actual.networks[name].uplinks
                actual = actual.without_network(name)
            case UplinkAdd(network, uplink):
                taken = [u for n in actual.networks.values() for u in n.uplinks]
                assert not any(uplink.clashes(other) for other in taken)
                present = actual.networks[network.name]
                uplinks = (*present.uplinks, uplink)
                actual = actual.with_network(dataclasses.replace(present, uplinks=uplinks))
            case UplinkUpdate(name, uplink):
                present = actual.networks[name]
                assert uplink.place in {u.place for u in present.uplinks}
                uplinks = tuple(uplink if u.place == uplink.place else u for u in present.uplinks)
                actual = actual.with_network(dataclasses.replace(present, uplinks=uplinks))
            case UplinkRemove(name, uplink):
                present = actual.networks[name]
                assert uplink in present.uplinks
                left = tuple(u for u in present.uplinks if u != uplink)
                actual = actual.with_network(dataclasses.replace(present, uplinks=left))
            case PortAdd(new):
                assert new.port.network in actual.networks
                assert new.port.id not in actual.ports
                assert new.port.security is not None
                paths = {e.port.socket_path for e in actual.ports.values()}
                assert new.port.socket_path not in paths
                actual = actual.with_port(new)
            case PortUpdate(new):
                assert new.port.security is not None
                assert new.port.same_datapath(actual.ports[new.port.id].port)
                actual = actual.with_port(new)
            case PortRemove(port):
                actual = actual.without_port(port.id)
    return actual


def _random_state(rng: random.Random) -> State:
    uplinks = [tap("t1"), tap("t2"), vxlan(7, rng.choice(["192.0.2.2", "192.0.2.3"]))]
    uplinks += rng.choice([[tap("trunk", 0), tap("trunk", 5)], [tap("trunk")], [nic("trunk")]])
    rng.shuffle(uplinks)
    networks = tuple(
        Network(
            name=name,
            mtu=rng.choice([1400, 1500]),
            uplinks=tuple(uplinks.pop() for _ in range(min(len(uplinks), rng.randint(0, 2)))),
            guarded=rng.random() < 0.3,
        )
        for name in rng.sample(["n1", "n2", "n3"], rng.randint(1, 3))
    )
    paths = [f"/run/s/{i}" for i in range(5)]
    rng.shuffle(paths)
    entries = [
        Entry(
            port=entry(
                id,
                network=rng.choice(networks).name,
                socket_path=paths.pop(),
                metadata=rng.choice([{}, {"a": "b"}]),
                security=rng.choice([None, None, OPEN, CLOSED]),
            ).port,
            offer=Offer(features=rng.choice([1, 3]), queues=1, mtu=1500),
        )
        for id in rng.sample(["a", "b", "c", "d"], rng.randint(0, 4))
    ]
    return state(*entries, networks=networks)


def test_any_state_is_reached_from_any_other_by_rules() -> None:
    rng = random.Random(1)
    states = [EMPTY, *(_random_state(rng) for _ in range(60))]
    for before, after in itertools.permutations(states, 2):
        reached = _apply(in_force(before), diff(after, in_force(before)))
        assert diff(after, reached) == []
        assert reached.ports == in_force(after).ports
        assert set(reached.networks) == set(after.networks)
        for name, network in after.networks.items():
            assert set(reached.networks[name].uplinks) == set(network.uplinks)
