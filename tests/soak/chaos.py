# SPDX-License-Identifier: Apache-2.0
"""What happens to the soak's world, in an order that a seed decides.

Events are drawn like cards: each kind comes up once before any comes up again, so that
a short run has seen them all.  An event returns when those it concerned are well;
whether everybody else is, is asked after it.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

from tests.frontend.protocol import ProtocolError
from tests.soak.guests import Visitor
from tests.soak.keeper import Turns
from tests.soak.world import MODES, NETWORKS, VISITORS_MAX, World
from vhost_brick_plugin import errors
from vhost_brick_plugin.model import PortSecurity, SecurityMode

RACE_S = 0.03
"""A kill hits a request to the daemon at any moment of its work."""

UNKNOWN_REQUEST = 200

EXPECTED_TROUBLE = (
    # Of a rude visitor.
    rf"vhost/v\d+: session \d+: unknown request \({UNKNOWN_REQUEST}\) .* may not be sent",
)
"""Lines of the daemon's log that events below cause."""

Event = Callable[[World, random.Random], None]
Change = Callable[[], None]


def a_visitor(world: World, rng: random.Random) -> Visitor:
    """Return one of those that are there, or a new one."""
    if not world.visitors:
        visitor_comes(world, rng)
    return rng.choice(world.visitors)


# -- visitors ---------------------------------------------------------------------


def visitor_comes(world: World, rng: random.Random) -> None:
    if len(world.visitors) == VISITORS_MAX:
        visitor_goes(world, rng)
    visitor = world.new_visitor(rng.choice(NETWORKS), rng.choice(MODES), rng.choice((1, 2)))
    world.visitors.append(visitor)


def visitor_goes(world: World, rng: random.Random) -> None:
    """Its port goes first, or its frontend does, in good order or not."""
    visitor = a_visitor(world, rng)
    way = rng.choice(("port", "close", "kill"))
    if way == "port":
        world.dismiss(visitor)
        return
    world.visitors.remove(visitor)
    if way == "close":
        visitor.close()
    else:
        visitor.vm.kill()
    world.client.port_remove(id=visitor.id)


def visitor_reboots(world: World, rng: random.Random) -> None:
    visitor = a_visitor(world, rng)
    visitor.vm.stop()
    visitor.vm.start()


def visitor_crashes(world: World, rng: random.Random) -> None:
    a_visitor(world, rng).crash()


def visitor_changes_queues(world: World, rng: random.Random) -> None:
    visitor = a_visitor(world, rng)
    for pairs in (0, 1, visitor.queues):
        visitor.vm.enable(pairs)


def visitor_leaves_early(world: World, rng: random.Random) -> None:
    """As a QEMU that is offered too little: a named fault, until it stays."""
    visitor = a_visitor(world, rng)
    while world.status(visitor).fault is None:
        visitor.vm.open().get_features()
        visitor.vm.disconnect()
    visitor.vm.connect()
    world.wait_fault(visitor, "")


def visitor_is_rude(world: World, rng: random.Random) -> None:
    visitor = a_visitor(world, rng)
    visitor.vm.peer.send_raw(UNKNOWN_REQUEST)
    visitor.vm.wait_disconnect()
    world.wait_fault(visitor, "bad_message")
    visitor.vm.connect()
    world.wait_fault(visitor, "")


def visitor_is_closed(world: World, rng: random.Random) -> None:
    visitor = a_visitor(world, rng)
    for mode in (SecurityMode.CLOSED, SecurityMode.OPEN):
        _ensure(world, visitor, security=PortSecurity(mode=mode))


def _ensure(world: World, visitor: Visitor, **changes: object) -> None:
    world.ensure_port(
        visitor.id, visitor.network, visitor.mode, visitor.number, visitor.queues, **changes
    )


# -- residents --------------------------------------------------------------------


def resident_crashes(world: World, rng: random.Random) -> None:
    rng.choice(world.residents).crash()


def resident_is_replugged(world: World, rng: random.Random) -> None:
    rng.choice(world.residents).replug()


# -- networks ---------------------------------------------------------------------


def network_comes_and_goes(world: World, rng: random.Random) -> None:
    """With a tap, under traffic, and its port first or its frontend."""
    world.ensure_network("blue")
    visitor = world.new_visitor("blue", rng.choice(MODES), 1)
    world.visitors.append(visitor)
    world.reach_host(visitor)
    world.dismiss(visitor)
    world.remove_network("blue")


def same_again(world: World, rng: random.Random) -> None:
    """Who asks for what is there disturbs nobody."""
    visitor = a_visitor(world, rng)
    before = world.status(visitor).sessions
    for name in sorted(world.networks):
        world.ensure_network(name)
    _ensure(world, visitor)
    if world.status(visitor).sessions != before:
        raise AssertionError(f"the same port_ensure changed the sessions of {visitor.id}")


# -- the daemon -------------------------------------------------------------------


def daemon_is_killed(world: World, rng: random.Random) -> None:
    world.keeper.kill()
    world.keeper.recover()


def daemon_is_killed_at_work(world: World, rng: random.Random) -> None:
    """In the middle of a change; who asked for it asks again, and gets it."""
    change = rng.choice(list(changes(world, rng)))
    racer = threading.Thread(target=_try, args=(change,))
    racer.start()
    # There is no event to wait for: any moment is as good, and the seed knows which.
    time.sleep(rng.uniform(0, RACE_S))
    world.keeper.kill()
    racer.join()
    world.keeper.recover()
    change()


def daemon_is_killed_in_a_handshake(world: World, rng: random.Random) -> None:
    """Of a frontend that connects anew, or of a guest that boots."""
    visitor = a_visitor(world, rng)
    racer = threading.Thread(target=_come_again, args=(visitor, rng.random() < 0.5))
    racer.start()
    time.sleep(rng.uniform(0, RACE_S))
    world.keeper.kill()
    world.keeper.recover()
    racer.join()


def _come_again(visitor: Visitor, crash: bool) -> None:
    with contextlib.suppress(ProtocolError, OSError):  # The daemon was killed meanwhile.
        if crash:
            visitor.crash()
        else:
            visitor.vm.connect()


def changes(world: World, rng: random.Random) -> Iterator[Change]:
    """Yield requests that may be repeated; all must have been done when the last returns."""
    visitor = a_visitor(world, rng)
    yield lambda: _ensure(world, visitor)
    yield lambda: _ensure(world, visitor, security=PortSecurity(mode=SecurityMode.OPEN))
    passer_by = world.next_number()

    def pass_by() -> None:
        world.ensure_port(f"v{passer_by}", "green", rng.choice(MODES), passer_by, 1)
        world.client.port_remove(id=f"v{passer_by}")

    yield pass_by

    def blink() -> None:
        world.ensure_network("blue")
        world.remove_network("blue")

    yield blink


def _try(change: Change) -> None:
    with contextlib.suppress(errors.VhostBrickError):  # The daemon was killed under it.
        change()


def hand_over(world: World, rng: random.Random) -> None:
    assert isinstance(world.keeper, Turns)
    world.keeper.hand_over()


def standby_is_killed(world: World, rng: random.Random) -> None:
    assert isinstance(world.keeper, Turns)
    world.keeper.kill_standby()


CHURN: tuple[Event, ...] = (
    visitor_comes,
    visitor_comes,
    visitor_goes,
    visitor_reboots,
    visitor_crashes,
    visitor_changes_queues,
    visitor_leaves_early,
    visitor_is_rude,
    visitor_is_closed,
    resident_crashes,
    resident_is_replugged,
    network_comes_and_goes,
    same_again,
)
KILLS: tuple[Event, ...] = (
    daemon_is_killed,
    daemon_is_killed_at_work,
    daemon_is_killed_at_work,
    daemon_is_killed_in_a_handshake,
    daemon_is_killed_in_a_handshake,
)
TURNS: tuple[Event, ...] = (hand_over, standby_is_killed)


def deck(rng: random.Random, kinds: tuple[Event, ...]) -> Iterator[Event]:
    """Yield events for ever."""
    while True:
        cards = list(kinds)
        rng.shuffle(cards)
        yield from cards
