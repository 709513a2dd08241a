# SPDX-License-Identifier: Apache-2.0
"""What requests do, and that a refused one does nothing."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit.support import Bench, entry, nic, state, tap, vxlan
from vhost_brick_plugin import errors, features, model
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon import checks, lives
from vhost_brick_plugin.daemon.probes import Probes
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.datapath import fake
from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.model import AddressPair, Mode, Offer, PortSecurity, SecurityMode
from vhost_brick_plugin.report import Counters

BROKEN = errors.DatapathError("it broke", hint="mend it")
QUICK = {"hello", "config_dump", "watch"}


@pytest.fixture
def bench(short_dir: Path) -> Bench:
    return Bench(short_dir)


def kinds(bench: Bench) -> list[str]:
    return [event.kind for event in bench.events]


def test_every_method_has_a_handler(bench: Bench) -> None:
    probes = Probes(bench.datapath, ThreadPoolExecutor(1))
    handlers = {*bench.service.handlers, *probes.handlers, *QUICK, "handover"}
    assert handlers == set(methods.METHODS)


# -- a new port --------------------------------------------------------------


def test_a_new_port_takes_the_defaults(bench: Bench) -> None:
    status = bench.ensure("a:1")
    assert status.port == model.Port(
        id="a:1",
        network="n",
        mode=Mode.CLIENT,
        socket_path=f"{bench.settings.socket_dir}/a:1",
        mac=model.default_mac("a:1"),
        mtu=1500,
        queues=4,
    )
    assert status.state == "waiting"
    assert status.offer == Offer(features=fake.SUPPORTED, queues=4, mtu=1500)
    assert kinds(bench) == ["port_added"]


def test_a_new_port_is_stored_and_served(bench: Bench) -> None:
    status = bench.ensure("a", mode=Mode.SERVER)
    stored, actual = bench.snapshot()
    assert bench.store.load().ports["a"].port == status.port
    assert stored.ports["a"].offer == status.offer
    assert actual == stored
    assert (bench.sockets / "a").is_socket()


def test_it_is_stored_before_it_is_served(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VM must never see an offer that a crash could make us forget."""
    stored: list[State] = []
    add = bench.datapath.port_add

    def look_and_add(port: model.Port, offer: Offer) -> None:
        stored.append(bench.store.load())
        add(port, offer)

    monkeypatch.setattr(bench.datapath, "port_add", look_and_add)
    bench.ensure("a")
    assert list(stored[0].ports) == ["a"]


def test_mtu_is_the_networks(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="n", mtu=9000))
    assert bench.ensure("a").port.mtu == 9000
    assert bench.ensure("b", mtu=1400).port.mtu == 1400


def test_an_implicit_network_takes_the_ports_mtu(bench: Bench) -> None:
    bench.ensure("a", mtu=9000)
    (network,) = bench.call(methods.NetworkListCall()).networks
    assert (network.network.mtu, network.network.implicit) == (9000, True)


# -- a port that is there ----------------------------------------------------


@pytest.mark.parametrize(
    "params", [{}, {"mode": Mode.SERVER}, {"mtu": 1400, "queues": 2, "metadata": {"a": "b"}}]
)
def test_the_same_again_touches_nothing(bench: Bench, params: dict[str, Any]) -> None:
    first = bench.ensure("a", **params)
    before = os.stat(bench.store.path).st_ino
    calls = bench.calls_of(lambda: bench.ensure("a", **params))
    assert calls == []
    assert bench.ensure("a", **params) == first
    assert os.stat(bench.store.path).st_ino == before
    assert kinds(bench) == ["port_added"]


def test_what_is_left_open_stays(bench: Bench) -> None:
    first = bench.ensure("a", mode=Mode.SERVER, mtu=1400, queues=2, metadata={"a": "b"})
    assert bench.calls_of(lambda: bench.ensure("a")) == []
    second = bench.ensure("a", mac="52:54:00:00:00:77")
    assert second.port == model.dataclasses.replace(first.port, mac="52:54:00:00:00:77")


@pytest.mark.parametrize(
    "change",
    [
        {"mode": Mode.SERVER},
        {"mac": "52:54:00:00:00:77"},
        {"mtu": 1400},
        {"queues": 3},
        {"network": "m"},
    ],
)
def test_a_change_restarts_that_port_alone(bench: Bench, change: dict[str, Any]) -> None:
    bench.ensure("a", queues=2)
    bench.ensure("b")
    calls = bench.calls_of(lambda: bench.ensure("a", **change))
    assert [c for c in calls if c[0].startswith("port")] == [
        ("port_remove", "a"),
        ("port_add", "a"),
    ]
    stored, actual = bench.snapshot()
    assert stored == actual
    assert kinds(bench)[-1] == "port_changed"


def test_a_changed_path_moves_the_socket(bench: Bench) -> None:
    bench.ensure("a", mode=Mode.SERVER)
    bench.ensure("a", socket_path=str(bench.sockets / "moved"))
    assert [p.name for p in bench.sockets.iterdir()] == ["moved"]


@pytest.mark.parametrize("other", [{"owner": "b"}, {"owner": "a", "more": "x"}])
def test_somebody_elses_port_is_not_removed(bench: Bench, other: dict[str, str]) -> None:
    bench.ensure(metadata={"owner": "a", "note": "n"})
    done = bench.call(methods.PortRemove(id="p", metadata=other))
    assert done == methods.Done(existed=False)
    assert list(bench.engine.actual.ports) == ["p"]
    done = bench.call(methods.PortRemove(id="p", metadata={"owner": "a"}))
    assert done == methods.Done(existed=True)
    assert bench.snapshot() == (State(), State())


def test_metadata_alone_disturbs_nobody(bench: Bench) -> None:
    bench.ensure("a")
    number = bench.datapath.connect("a")
    calls = bench.calls_of(lambda: bench.ensure("a", metadata={"instance": "x"}))
    assert calls == [("port_update", "a")]
    shown = bench.call(methods.PortShow(id="a"))
    assert shown.port.metadata == {"instance": "x"}
    assert [s.number for s in shown.sessions] == [number]


def test_an_offer_never_shrinks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.ensure("a", queues=2, mtu=1500)
    poor = Offer(features=1 << 32, queues=2, mtu=1400)
    monkeypatch.setattr(bench.datapath, "offer", lambda port: poor)
    status = bench.ensure("a", mtu=1400)
    assert status.port.mtu == 1400
    assert status.offer == Offer(features=fake.SUPPORTED, queues=2, mtu=1500)


@pytest.mark.parametrize("offloads", [True, False])
def test_offloads_may_be_left_out(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, offloads: bool
) -> None:
    monkeypatch.setattr(fake, "SUPPORTED", (1 << 64) - 1)
    bench = Bench(short_dir, offloads=offloads)
    able = Offer(features=(1 << 64) - 1, queues=4, mtu=1500)
    monkeypatch.setattr(bench.datapath, "offer", lambda port: able)
    offered = features.names(bench.ensure("a").offer.features)
    assert {"MRG_RXBUF", "MQ", "VERSION_1", "CTRL_VQ"} < set(offered)
    for name in ("CSUM", "GUEST_CSUM", "HOST_TSO4", "HOST_TSO6", "GUEST_TSO4", "GUEST_TSO6"):
        assert (name in offered) == offloads


def test_an_offer_grows(bench: Bench) -> None:
    bench.ensure("a", queues=1)
    status = bench.ensure("a", queues=3)
    assert status.offer == Offer(features=fake.SUPPORTED, queues=3, mtu=1500)


def test_a_new_version_of_the_datapath_does_not_change_old_offers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = bench.ensure("a").offer
    rich = Offer(features=(1 << 64) - 1, queues=4, mtu=1500)
    monkeypatch.setattr(bench.datapath, "offer", lambda port: rich)
    assert bench.ensure("a").offer == old
    assert bench.ensure("a", metadata={"a": "b"}).offer == old


def test_a_deleted_port_starts_afresh(bench: Bench) -> None:
    bench.ensure("a", queues=4)
    bench.call(methods.PortRemove(id="a"))
    assert bench.ensure("a", queues=1).offer.queues == 1


# -- networks that come and go -----------------------------------------------


def test_an_implicit_network_goes_with_its_last_port(bench: Bench) -> None:
    bench.ensure("a")
    bench.ensure("b")
    bench.call(methods.PortRemove(id="a"))
    assert list(bench.snapshot()[0].networks) == ["n"]
    bench.call(methods.PortRemove(id="b"))
    assert bench.snapshot() == (State(), State())


def test_it_also_goes_when_its_last_port_moves_away(bench: Bench) -> None:
    bench.ensure("a", network="n")
    bench.ensure("a", network="m")
    stored, actual = bench.snapshot()
    assert list(stored.networks) == list(actual.networks) == ["m"]


def test_a_network_that_was_asked_for_stays(bench: Bench) -> None:
    bench.ensure("a")
    bench.call(methods.NetworkEnsure(network="n"))
    bench.call(methods.PortRemove(id="a"))
    assert list(bench.snapshot()[0].networks) == ["n"]


def test_uplinks_change_by_what_differs(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="n", uplinks=(tap("t1"), tap("t2"))))
    bench.ensure("a")
    request = methods.NetworkEnsure(network="n", uplinks=(tap("t2"), tap("t3")))
    calls = bench.calls_of(lambda: bench.call(request))
    assert calls == [("uplink_remove", "tap t1"), ("uplink_add", "tap t3")]
    assert bench.links.taps == {"t2": 1500, "t3": 1500}
    assert bench.calls_of(lambda: bench.call(request)) == []
    assert kinds(bench) == ["network_added", "port_added", "network_changed"]


def test_a_trunk_is_shared_and_nobody_is_disturbed(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="a", uplinks=(tap("t", 1),)))
    calls = bench.calls_of(
        lambda: bench.call(methods.NetworkEnsure(network="b", uplinks=(tap("t", 0),)))
    )
    assert calls == [("network_add", "b"), ("uplink_add", "tap t VLAN 0")]
    calls = bench.calls_of(lambda: bench.call(methods.NetworkRemove(network="a")))
    assert calls == [("uplink_remove", "tap t VLAN 1"), ("network_remove", "a")]
    assert bench.links.taps == {"t": 1500}


def test_an_interface_is_made_a_trunk(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="a", uplinks=(tap("t"),)))
    calls = bench.calls_of(
        lambda: bench.call(methods.NetworkEnsure(network="a", uplinks=(tap("t", 5),)))
    )
    assert calls == [("uplink_remove", "tap t"), ("uplink_add", "tap t VLAN 5")]
    assert bench.links.taps == {"t": 1500}


def test_a_tunnel_gets_other_remote_hosts_in_place(bench: Bench) -> None:
    def ensure(*remotes: str, **changes: Any) -> Callable[[], object]:
        uplinks = (vxlan(7, *remotes, **changes),)
        return lambda: bench.call(methods.NetworkEnsure(network="n", uplinks=uplinks))

    bench.calls_of(ensure("192.0.2.2"))
    assert bench.calls_of(ensure("192.0.2.3", "192.0.2.2")) == [("uplink_update", "vxlan vxlan-7")]
    assert bench.calls_of(ensure("192.0.2.2", "192.0.2.3")) == []
    assert bench.calls_of(ensure("192.0.2.2", "192.0.2.3", port=4790)) == [
        ("uplink_remove", "vxlan vxlan-7"),
        ("uplink_add", "vxlan vxlan-7"),
    ]


# -- what ports let through --------------------------------------------------

FILTERED = PortSecurity(
    mode=SecurityMode.FILTERED,
    allowed=(AddressPair(mac="52:54:00:00:00:01", ip="192.0.2.7"),),
)


def test_security_is_set_and_stays(bench: Bench) -> None:
    first = bench.ensure("a", security=FILTERED)
    assert bench.datapath.security("a") == first.security == first.port.security == FILTERED
    assert bench.calls_of(lambda: bench.ensure("a")) == []
    assert bench.calls_of(lambda: bench.ensure("a", security=FILTERED)) == []
    bench.ensure("a", mtu=1400)
    assert bench.datapath.security("a") == FILTERED


def test_security_changes_in_place(bench: Bench) -> None:
    bench.ensure("a")
    number = bench.datapath.connect("a")
    calls = bench.calls_of(lambda: bench.ensure("a", security=FILTERED))
    assert calls == [("port_update", "a")]
    shown = bench.call(methods.PortShow(id="a"))
    assert [s.number for s in shown.sessions] == [number]
    assert bench.datapath.security("a") == shown.security == FILTERED
    assert kinds(bench) == ["port_added", "port_changed"]
    assert bench.store.load().ports["a"].port.security == FILTERED


def test_a_port_made_again_has_no_security_of_its_own(bench: Bench) -> None:
    bench.ensure("a", security=FILTERED)
    bench.call(methods.PortRemove(id="a"))
    assert bench.ensure("a").port.security is None
    assert bench.datapath.security("a") == model.OPEN


def test_on_a_guarded_network_a_port_is_closed_until_somebody_says_otherwise(
    bench: Bench,
) -> None:
    bench.call(methods.NetworkEnsure(network="n", guarded=True))
    status = bench.ensure("a")
    assert (status.port.security, status.security) == (None, model.CLOSED)
    assert bench.datapath.security("a") == model.CLOSED
    assert bench.ensure("a", security=FILTERED).security == FILTERED


def test_a_network_that_becomes_guarded_closes_ports_before_it_gets_uplinks(bench: Bench) -> None:
    for id, security in (("a", None), ("b", FILTERED), ("c", None)):
        bench.ensure(id, security=security)
    number = bench.datapath.connect("a")
    request = methods.NetworkEnsure(network="n", uplinks=(tap("t"),), guarded=True)
    calls = bench.calls_of(lambda: bench.call(request))
    assert calls == [("port_update", "a"), ("port_update", "c"), ("uplink_add", "tap t")]
    assert [bench.datapath.security(id) for id in "abc"] == [model.CLOSED, FILTERED, model.CLOSED]
    shown = bench.call(methods.PortShow(id="a"))
    assert ([s.number for s in shown.sessions], shown.security) == ([number], model.CLOSED)
    assert bench.calls_of(lambda: bench.call(request)) == []

    open_again = methods.NetworkEnsure(network="n", uplinks=(tap("t"),))
    assert bench.calls_of(lambda: bench.call(open_again)) == [
        ("port_update", "a"),
        ("port_update", "c"),
    ]


def test_security_outlives_the_daemon(bench: Bench, short_dir: Path) -> None:
    bench.call(methods.NetworkEnsure(network="n", guarded=True))
    bench.ensure("a", security=FILTERED)
    bench.ensure("b")
    again = Bench(short_dir, bench.store.load())
    assert [again.datapath.security(id) for id in "ab"] == [FILTERED, model.CLOSED]
    assert again.calls_of(lambda: again.ensure("a")) == []
    assert again.snapshot() == bench.snapshot()


def test_a_move_to_another_network_takes_that_networks_default(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="g", guarded=True))
    bench.ensure("a")
    assert bench.ensure("a", network="g").security == model.CLOSED
    assert bench.datapath.security("a") == model.CLOSED


def test_network_remove(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="n", uplinks=(tap("t"),)))
    assert bench.call(methods.NetworkRemove(network="n")).existed
    assert not bench.call(methods.NetworkRemove(network="n")).existed
    assert bench.links.taps == {}
    assert bench.snapshot() == (State(), State())


# -- refusals ----------------------------------------------------------------


def _make(path: Path, kind: str) -> None:
    match kind:
        case "file":
            path.touch()
        case "link":
            path.symlink_to("/nowhere")
        case "directory":
            path.mkdir()


def _ensure(**params: Any) -> Callable[[Bench], methods.Method[Any]]:
    """Return what makes a request; a path is put below the socket directory."""

    def make(bench: Bench) -> methods.Method[Any]:
        if path := params.get("below"):
            params["socket_path"] = str(bench.sockets / path)
        clean = {k: v for k, v in params.items() if k != "below"}
        return methods.PortEnsure(**{"id": "x", "network": "n", **clean})

    return make


BAD = {
    "unknown network": (_ensure(network="nope"), errors.NetworkNotFound),
    "bad id": (_ensure(id="no/pe"), errors.InvalidParams),
    "bad network name": (_ensure(network="no/pe", create_network=True), errors.InvalidParams),
    "long path": (_ensure(below="x" * 200), errors.InvalidSocketPath),
    "relative path": (_ensure(socket_path="x"), errors.InvalidSocketPath),
    "odd path": (_ensure(socket_path="/tmp/../x"), errors.InvalidSocketPath),
    "missing directory": (_ensure(below="no/x"), errors.InvalidSocketPath),
    "path is a link": (_ensure(below="link"), errors.InvalidSocketPath),
    "path is a file": (_ensure(below="file"), errors.InvalidSocketPath),
    "path is a directory": (_ensure(below="directory"), errors.InvalidSocketPath),
    "path of another port": (_ensure(below="a"), errors.SocketPathInUse),
    "path of a stranger": (_ensure(below="taken", mode=Mode.SERVER), errors.SocketPathInUse),
    "move to a path of a stranger": (
        _ensure(id="a", below="taken", mode=Mode.SERVER),
        errors.SocketPathInUse,
    ),
    "duplicate MAC": (_ensure(mac=model.default_mac("a")), errors.DuplicateMac),
    "bad MAC": (_ensure(mac="52:54"), errors.InvalidParams),
    "bad MTU": (_ensure(mtu=1), errors.InvalidParams),
    "too many queues": (_ensure(queues=5), errors.TooManyQueues),
    "no queues": (_ensure(queues=0), errors.TooManyQueues),
    "fewer queues than offered": (_ensure(id="a", queues=1), errors.TooManyQueues),
    "move onto a MAC": (_ensure(id="b", network="n"), errors.DuplicateMac),
    "take a path": (_ensure(id="b", network="m", below="a"), errors.SocketPathInUse),
    "network in use": (lambda _: methods.NetworkRemove(network="n"), errors.NetworkInUse),
    "uplink of another network": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(tap("t"),)),
        errors.UplinkError,
    ),
    "uplink that cannot be": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(tap("bad"),)),
        errors.UplinkError,
    ),
    "interface of another network": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(tap("t", 5),)),
        errors.UplinkError,
    ),
    "VLAN of another network": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(tap("trunk", 5),)),
        errors.UplinkError,
    ),
    "whole of a trunk": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(tap("trunk"),)),
        errors.UplinkError,
    ),
    "VNI of another network": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(vxlan(7, name="other"),)),
        errors.UplinkError,
    ),
    "name of another kind": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(nic("trunk", 6),)),
        errors.UplinkError,
    ),
    "unknown nic": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(nic("phys9"),)),
        errors.UplinkError,
    ),
    "uplinks that clash": (
        lambda _: methods.NetworkEnsure(network="m", uplinks=(tap("u"), tap("u", 5))),
        errors.InvalidParams,
    ),
    "MTU no uplink takes": (
        lambda _: methods.NetworkEnsure(network="n", mtu=10, uplinks=(tap("t"),)),
        errors.InvalidParams,
    ),
    "change of an unknown port": (_ensure(must_exist=True), errors.PortNotFound),
    "unknown port": (lambda _: methods.PortShow(id="nope"), errors.PortNotFound),
    "list of unknown network": (
        lambda _: methods.PortListCall(network="nope"),
        errors.NetworkNotFound,
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_refused_request_changes_nothing(bench: Bench, name: str) -> None:
    for kind in ("file", "link", "directory"):
        _make(bench.sockets / kind, kind)
    bench.links.broken.add("bad")
    bench.call(methods.NetworkEnsure(network="n", uplinks=(tap("t"),)))
    bench.call(methods.NetworkEnsure(network="v", uplinks=(tap("trunk", 5), vxlan(7))))
    bench.ensure("a", mode=Mode.SERVER, queues=2)
    bench.ensure("b", network="m", mac=model.default_mac("a"))
    make, error = BAD[name]
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(bench.sockets / "taken"))
        stranger.listen()
        before = bench.snapshot(), bench.links.taps.copy(), sorted(bench.sockets.iterdir())
        events, calls = len(bench.events), len(bench.datapath.calls)

        with pytest.raises(error) as caught:
            bench.call(make(bench))

        after = bench.snapshot(), bench.links.taps, sorted(bench.sockets.iterdir())
    assert type(caught.value) is error
    assert caught.value.hint
    assert after == before
    assert len(bench.events) == events
    if name != "uplink that cannot be":  # Only trying tells.
        assert bench.datapath.calls[calls:] == []
    assert bench.engine.setbacks == {}


def test_a_path_is_the_same_through_a_linked_directory(bench: Bench, short_dir: Path) -> None:
    (short_dir / "var").symlink_to(bench.sockets)
    bench.ensure("a")
    with pytest.raises(errors.SocketPathInUse, match="port a"):
        bench.ensure("x", socket_path=f"{short_dir}/var/a")


def test_the_control_socket_is_no_port(bench: Bench) -> None:
    with pytest.raises(errors.SocketPathInUse, match="control socket"):
        bench.ensure("x", socket_path=bench.settings.api_socket)


def test_a_port_keeps_queues_from_before_the_limit(short_dir: Path) -> None:
    old = entry("a", queues=8, socket_path=f"{short_dir}/s/a")
    bench = Bench(short_dir, state(old))
    assert bench.ensure("a", metadata={"a": "b"}).port.queues == 8
    assert bench.ensure("a", mtu=1400).port.queues == 8
    with pytest.raises(errors.TooManyQueues):
        bench.ensure("a", queues=9)


# -- failures ----------------------------------------------------------------


def test_a_port_the_datapath_refuses_is_forgotten(bench: Bench) -> None:
    bench.datapath.fail("port_add", "a", BROKEN)
    with pytest.raises(errors.DatapathError, match="it broke"):
        bench.ensure("a")
    assert bench.snapshot() == (State(), State())
    assert bench.events == []
    with pytest.raises(errors.PortNotFound):
        bench.call(methods.PortShow(id="a"))


def test_a_change_the_datapath_refuses_is_undone(bench: Bench) -> None:
    first = bench.ensure("a")
    before = bench.snapshot()
    bench.datapath.fail("network_add", "m", BROKEN)
    with pytest.raises(errors.DatapathError):
        bench.ensure("a", network="m")
    assert bench.snapshot() == before
    assert dataclasses.replace(bench.call(methods.PortShow(id="a")), life=()) == first


def test_a_port_that_cannot_be_stored_is_not_served(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ensure("a")
    before = bench.snapshot()

    def full(state: State) -> None:
        raise errors.StateError("no space left")

    monkeypatch.setattr(bench.store, "save", full)
    for request in (
        methods.PortEnsure(id="b", network="n"),
        methods.PortEnsure(id="a", network="n", mtu=1400),
        methods.PortRemove(id="a"),
        methods.NetworkEnsure(network="m"),
    ):
        assert bench.calls_of(lambda r=request: _refused(bench, r)) == []  # type: ignore[misc]
    assert bench.snapshot() == before


def _refused(bench: Bench, request: methods.Method[Any]) -> None:
    with pytest.raises(errors.StateError):
        bench.call(request)


def test_a_port_in_fault_is_shown_and_comes_back(short_dir: Path) -> None:
    missing = short_dir / "s" / "later"
    wanted = state(entry("a", socket_path=str(missing / "a")))
    bench = Bench(short_dir, wanted)
    shown = bench.call(methods.PortShow(id="a"))
    assert shown.state == "fault"
    assert shown.fault is not None
    assert shown.fault.name == "invalid_socket_path"
    assert bench.call(methods.PortListCall()).ports == (dataclasses.replace(shown, life=()),)

    missing.mkdir()
    bench.clock.now += 1
    bench.service.retry()
    assert bench.call(methods.PortShow(id="a")).state == "waiting"


def test_ensuring_a_port_in_fault_tries_at_once(short_dir: Path) -> None:
    missing = short_dir / "s" / "later"
    bench = Bench(short_dir, state(entry("a", socket_path=str(missing / "a"))))
    assert bench.ensure("a").state == "fault"
    missing.mkdir()
    assert bench.ensure("a").state == "waiting"


def test_a_port_in_fault_can_be_moved_and_removed(short_dir: Path) -> None:
    gone = short_dir / "s" / "gone"
    bench = Bench(short_dir, state(*(entry(id, socket_path=str(gone / id)) for id in ("a", "b"))))
    assert bench.ensure("a", socket_path=str(bench.sockets / "a")).state == "waiting"
    bench.call(methods.PortRemove(id="b"))
    assert bench.engine.setbacks == {}


def test_an_uplink_in_fault_is_shown_at_its_network(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="n", uplinks=(tap("t"),)))
    bench.links.broken.add("t2")
    wanted = bench.store.load().with_network(model.Network(name="m", uplinks=(tap("t2"),)))
    bench.engine.restore(wanted)
    bench.service._desired = wanted
    status = {s.network.name: s for s in bench.call(methods.NetworkListCall()).networks}
    assert status["n"].fault is None
    assert status["m"].fault is not None
    bench.links.broken.clear()
    request = methods.NetworkEnsure(network="m", uplinks=(tap("t2"),))
    assert bench.call(request).fault is None


def test_a_nic_that_the_configuration_lost_is_a_fault(short_dir: Path) -> None:
    wanted = state(networks=(model.Network(name="n", uplinks=(nic("phys0"),)),))
    nics = Options(nics={"phys1": "net_ring0"})
    bench = Bench(short_dir, wanted, options=nics)
    (status,) = bench.call(methods.NetworkListCall()).networks
    assert status.fault.message == "there is no nic phys0"
    assert "known: phys1." in status.fault.hint


def test_a_fault_of_an_uplink_is_shown_at_every_network_that_has_it(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="a", uplinks=(tap("t", 1),)))
    bench.call(methods.NetworkEnsure(network="b", uplinks=(tap("t", 2),)))
    bench.call(methods.NetworkEnsure(network="c", uplinks=(tap("u"),)))
    bench.ensure("t", network="c")
    bench.datapath.break_uplink("t", "link_down", "it has no link", "mend it")
    bench.service.drain_events()

    def faults() -> list[str | None]:
        found = bench.call(methods.NetworkListCall()).networks
        return [status.fault and status.fault.name for status in found]

    assert faults() == ["link_down", "link_down", None]
    assert (bench.events[-1].uplink, bench.events[-1].port) == ("t", "")
    assert bench.call(methods.PortShow(id="t")).fault is None
    bench.call(methods.NetworkEnsure(network="b"))
    assert faults() == ["link_down", None, None]
    bench.call(methods.NetworkEnsure(network="a"))
    bench.call(methods.NetworkEnsure(network="a", uplinks=(tap("t", 1),)))
    assert faults() == [None, None, None]


def test_an_interface_that_was_deleted_comes_back(bench: Bench) -> None:
    for vlan, name in enumerate("ab"):
        bench.call(
            methods.NetworkEnsure(network=name, uplinks=(tap("t", vlan), tap(f"own{name}")))
        )
    bench.ensure("p", network="a")
    number = bench.datapath.connect("p")
    del bench.links.taps["t"]
    bench.datapath.break_uplink("t", "interface_gone", "it was deleted", "mend it")
    bench.links.broken.add("t")
    calls = bench.calls_of(bench.service.drain_events)
    assert calls == [("uplink_remove", "tap t VLAN 0"), ("uplink_remove", "tap t VLAN 1")]
    for status in bench.call(methods.NetworkListCall()).networks:
        assert status.fault.name == "interface_gone"

    bench.clock.now += 1
    bench.service.retry()
    for status in bench.call(methods.NetworkListCall()).networks:
        assert status.fault.message == "t exists and is no tap"

    bench.links.broken.clear()
    bench.clock.now += 60
    calls = bench.calls_of(bench.service.retry)
    assert calls == [("uplink_add", "tap t VLAN 0"), ("uplink_add", "tap t VLAN 1")]
    assert bench.engine.setbacks == {}
    assert bench.links.taps == {"t": 1500, "owna": 1500, "ownb": 1500}
    assert [s.number for s in bench.call(methods.PortShow(id="p")).sessions] == [number]


def test_a_fault_of_an_uplink_that_passed_is_no_longer_shown(bench: Bench) -> None:
    bench.call(methods.NetworkEnsure(network="n", uplinks=(vxlan(7),)))
    bench.datapath.break_uplink("vxlan-7", "no_route", "", "")
    bench.datapath.break_uplink("vxlan-7", "", "", "")
    bench.service.drain_events()
    (status,) = bench.call(methods.NetworkListCall()).networks
    assert status.fault is None


# -- live facts --------------------------------------------------------------


def test_the_life_of_a_session(bench: Bench) -> None:
    bench.ensure("a")

    def shown() -> str:
        return bench.call(methods.PortShow(id="a")).state

    number = bench.datapath.connect("a")
    assert shown() == "connected"
    bench.datapath.run("a", number)
    assert shown() == "running"
    second = bench.datapath.connect("a")
    assert shown() == "running"
    bench.datapath.disconnect("a", number)
    assert shown() == "connected"
    bench.datapath.disconnect("a", second)
    assert shown() == "waiting"
    bench.service.drain_events()
    assert kinds(bench)[1:] == [
        "session_connected",
        "session_running",
        "session_connected",
        "session_closed",
        "session_closed",
    ]
    assert bench.events[1].detail == {"session": str(number)}


def test_a_fault_of_the_datapath_is_shown_with_its_cure(bench: Bench) -> None:
    bench.ensure("a")
    bench.datapath.break_port("a", "feature_refused", "QEMU wants more", "restart the VM")
    bench.service.drain_events()
    fault = bench.call(methods.PortShow(id="a")).fault
    assert (fault.name, fault.message, fault.hint) == (
        "feature_refused",
        "QEMU wants more",
        "restart the VM",
    )
    assert bench.call(methods.PortShow(id="a")).fault == fault
    bench.datapath.break_port("a", "", "", "")
    bench.service.drain_events()
    assert bench.call(methods.PortShow(id="a")).state == "waiting"


def test_a_fault_whose_event_was_lost_is_shown_all_the_same(bench: Bench) -> None:
    bench.ensure("a")
    bench.datapath.break_port("a", "feature_refused", "", "")
    fault = bench.call(methods.PortShow(id="a")).fault
    assert fault.name == "feature_refused"
    assert fault.hint


def test_a_deleted_ports_fault_is_not_its_successors(bench: Bench) -> None:
    bench.ensure("a")
    bench.datapath.break_port("a", "feature_refused", "old story", "x")
    bench.service.drain_events()
    bench.call(methods.PortRemove(id="a"))
    bench.ensure("a")
    bench.datapath.break_port("a", "feature_refused", "not told yet", "x")
    assert bench.call(methods.PortShow(id="a")).fault.message != "old story"


@pytest.mark.parametrize("field", ["features", "queues", "mtu"])
def test_grow_offer_takes_the_greater(field: str) -> None:
    old = Offer(features=0b101, queues=2, mtu=1500)
    present = Entry(port=entry("a").port, offer=old)
    less = model.dataclasses.replace(old, **{field: 1})
    more = model.dataclasses.replace(old, **{field: 0xFFFF})
    assert checks.grow_offer(less, present) == old
    assert checks.grow_offer(more, present) == more
    assert checks.grow_offer(less, None) == less


def test_counters_reach_show_and_stats(bench: Bench) -> None:
    bench.ensure("a")
    counters = Counters(
        from_peer_packets=1,
        from_peer_bytes=2,
        to_peer_packets=3,
        to_peer_bytes=4,
        drops={"ring_full": 5},
    )
    bench.datapath.count("a", counters)
    assert bench.call(methods.PortShow(id="a")).counters == counters
    (brick,) = [b for b in bench.call(methods.Stats()).bricks if b.kind == "vhost"]
    assert (brick.network, brick.counters) == ("n", counters)


def test_lists_are_sorted_and_filtered(bench: Bench) -> None:
    for id, network in (("c", "n"), ("a", "m"), ("b", "n")):
        bench.ensure(id, network=network)
    listed = bench.call(methods.PortListCall()).ports
    assert [p.port.id for p in listed] == ["a", "b", "c"]
    listed = bench.call(methods.PortListCall(network="n")).ports
    assert [p.port.id for p in listed] == ["b", "c"]
    networks = bench.call(methods.NetworkListCall()).networks
    assert [(n.network.name, n.ports) for n in networks] == [("m", ("a",)), ("n", ("b", "c"))]


# -- the life of a port ------------------------------------------------------


def test_a_port_has_a_life(bench: Bench) -> None:
    bench.ensure("a")
    bench.datapath.connect("a")
    bench.service.drain_events()
    bench.datapath.break_port("a", "guest_misbehaves", "it does", "stop it")
    bench.service.drain_events()
    life = bench.call(methods.PortShow(id="a")).life
    assert [h.what for h in life[:2]] == ["port_added", "session_connected"]
    assert life[-1].what == "fault"
    assert life[-1].detail["fault"] == "guest_misbehaves"
    assert [h.time for h in life] == sorted(h.time for h in life)


def test_a_new_port_has_no_past(bench: Bench) -> None:
    for _ in range(2):
        bench.ensure("a")
        bench.call(methods.PortRemove(id="a"))
        bench.service.drain_events()
    bench.ensure("a")
    assert [h.what for h in bench.call(methods.PortShow(id="a")).life] == ["port_added"]


def test_a_life_is_of_bounded_length(bench: Bench) -> None:
    bench.ensure("a")
    for _ in range(lives.LENGTH):
        bench.datapath.connect("a")
        bench.service.drain_events()
    assert len(bench.call(methods.PortShow(id="a")).life) == lives.LENGTH
