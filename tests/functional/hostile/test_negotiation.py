# SPDX-License-Identifier: Apache-2.0
"""Legal messages in orders that no honest frontend sends them in, or cut off anywhere."""

from __future__ import annotations

import contextlib
import os
import random
import struct
import time
from collections.abc import Callable, Sequence

import pytest

from tests.frontend.protocol import (
    LOG_RING,
    Connection,
    Disconnected,
    Feature,
    ProtocolError,
    ProtocolFeature,
)
from tests.frontend.ring import USER_BASE
from tests.frontend.vhost_user import WANTED
from tests.functional.hostile.guest import Guest
from tests.functional.hostile.stage import Stage, Target

RINGS = 2

ENDS = Disconnected, ProtocolError, OSError


# -- too often -----------------------------------------------------------------

STARTS_PER_SECOND = 10


def test_rings_that_start_and_stop_without_end(stage: Stage) -> None:
    """Each start is a new graph for everybody, and lines in the log."""
    with stage.attack() as port:
        guest = port.connect()
        began = time.monotonic()
        for _ in range(100):
            guest.stop()
            guest.start()
        seconds = int(time.monotonic() - began) + 2
        port.reach(guest)
        starts = stage.events.of(port.id, "session_running")
        assert len(starts) <= STARTS_PER_SECOND * seconds + 1


# -- cut off -------------------------------------------------------------------


class CutOff(Connection):
    """Closes after so many messages, perhaps in the middle of the next one.

    :cvar left: messages.
    :cvar bytes_left: of the one after them.
    """

    left = 0
    bytes_left = 0

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        if self.left > 0:
            self.left -= 1
            super().send_bytes(data, fds)
            return
        if self.bytes_left:
            super().send_bytes(data[: self.bytes_left], fds)
        self.close()
        raise Disconnected("cut off")


MESSAGES = 24
"""More than this a frontend of one queue pair does not send until it runs."""


@pytest.mark.parametrize("bytes_left", [0, 5, 12], ids=["between", "in_a_header", "in_a_message"])
@pytest.mark.parametrize("mode", ["server", "client"])
def test_disconnect_at_every_point(stage: Stage, mode: str, bytes_left: int) -> None:
    """Every point has a port of its own, or it would be a flood of connections."""
    complete = False
    with stage.attack():
        for left in range(MESSAGES + 1):
            with stage.port(mode) as port:
                guest = port.guest()
                changes = {"left": left, "bytes_left": bytes_left}
                guest.connection_class = type("Cut", (CutOff,), changes)
                try:
                    guest.connect()
                    complete = True
                except Disconnected:
                    assert not complete
                port.check_works()
    assert complete, "there are more messages than MESSAGES"


# -- absurd orders -------------------------------------------------------------


def no_features(g: Guest) -> None:
    """Go straight to the rings."""
    g.peer.set_mem_table(g.regions())
    _rings(g)


def no_memory(g: Guest) -> None:
    g.negotiate()
    g.enable(1)
    g.peer.set_features(g.acked)
    _rings(g)


def no_owner(g: Guest) -> None:
    g.acked = g.peer.get_features() & WANTED
    g.start()


def no_ring_sizes(g: Guest) -> None:
    _ready(g)
    for i in range(RINGS):
        _addresses(g, i)
        _fds(g, i)


def no_addresses(g: Guest) -> None:
    _ready(g)
    for i in range(RINGS):
        g.peer.set_vring_num(i, 256)
        _fds(g, i)


def kick_first(g: Guest) -> None:
    _ready(g)
    for i in range(RINGS):
        _fds(g, i)
        _addresses(g, i)
        g.peer.set_vring_num(i, 256)


def ring_grows_after_its_addresses(g: Guest) -> None:
    """32768 descriptors reach beyond the memory that 256 of them were checked for."""
    _ready(g)
    for i in range(RINGS):
        g.peer.set_vring_num(i, 256)
        _addresses(g, i)
        g.peer.set_vring_num(i, 32768)
        _fds(g, i)


def memory_shrinks_after_the_rings(g: Guest) -> None:
    """A running ring is outside of the table that comes last."""
    g.negotiate()
    g.start()
    region = g.memory.region()
    g.peer.set_mem_table([type(region)(region.guest_address, 4096, 1 << 40, 0, region.fd)])


def memory_moves_under_the_rings(g: Guest) -> None:
    """The same addresses are other memory now: legal, QEMU does it at hot-plug."""
    g.negotiate()
    g.start()
    for _ in range(20):
        g.peer.set_mem_table(g.regions())


def enable_first(g: Guest) -> None:
    for i in range(RINGS):
        g.peer.set_vring_enable(i, True)
    g.negotiate()
    g.start()


def stop_what_never_started(g: Guest) -> None:
    for i in range(RINGS):
        g.peer.get_vring_base(i)
    g.negotiate()
    for i in range(RINGS):
        g.peer.get_vring_base(i)
    g.start()


def stop_twice(g: Guest) -> None:
    g.negotiate()
    g.start()
    for _ in range(2):
        g.stop()
    g.start()


def start_twice(g: Guest) -> None:
    g.negotiate()
    g.start()
    g.start()


def features_change_while_it_runs(g: Guest) -> None:
    """The header's size hangs on them."""
    g.negotiate()
    g.start()
    for features in (g.acked & ~Feature.MRG_RXBUF, Feature.PROTOCOL_FEATURES, g.acked):
        g.peer.set_features(features)


def protocol_features_change(g: Guest) -> None:
    g.negotiate()
    for features in (0, ProtocolFeature.REPLY_ACK, 0, ProtocolFeature.MQ):
        g.peer.set_protocol_features(features)
    g.start()


def reset_owner(g: Guest) -> None:
    g.negotiate()
    g.start()
    g.peer.send_raw(4)
    g.negotiate()
    g.start()


def negotiate_again_and_again(g: Guest) -> None:
    for _ in range(10):
        g.negotiate()
    g.start()


def log_without_a_log(g: Guest) -> None:
    """Writes are to be logged, and there is nowhere to."""
    g.negotiate()
    g.acked |= Feature.LOG_ALL
    g.start()
    for i, ring in enumerate((g.rx, g.tx)):
        g.peer.set_vring_addr(
            i,
            USER_BASE + ring.descriptors,
            USER_BASE + ring.used,
            USER_BASE + ring.avail,
            log=2**64 - 8,
            flags=LOG_RING,
        )


def _ready(g: Guest) -> None:
    g.negotiate()
    g.enable(1)
    g.peer.set_features(g.acked)
    g.peer.set_mem_table(g.regions())


def _addresses(g: Guest, i: int) -> None:
    ring = (g.rx, g.tx)[i]
    g.peer.set_vring_addr(
        i, USER_BASE + ring.descriptors, USER_BASE + ring.used, USER_BASE + ring.avail
    )


def _fds(g: Guest, i: int) -> None:
    g.peer.set_vring_call(i, g.pairs[0].fds()[2 * i + 1])
    g.peer.set_vring_kick(i, g.pairs[0].fds()[2 * i])


def _rings(g: Guest) -> None:
    for i in range(RINGS):
        g.peer.set_vring_num(i, 256)
        g.peer.set_vring_base(i, 0)
        _addresses(g, i)
        _fds(g, i)


ORDERS: list[Callable[[Guest], None]] = [
    no_features,
    no_memory,
    no_owner,
    no_ring_sizes,
    no_addresses,
    kick_first,
    ring_grows_after_its_addresses,
    memory_shrinks_after_the_rings,
    features_change_while_it_runs,
    protocol_features_change,
    start_twice,
    reset_owner,
    log_without_a_log,
]


@pytest.mark.parametrize("order", ORDERS, ids=lambda f: f.__name__)
def test_absurd_order(stage: Stage, order: Callable[[Guest], None]) -> None:
    """Refused or not: what runs in the end is sound, and so is the daemon."""
    with stage.attack() as port:
        guest = port.guest()
        guest.open()
        with contextlib.suppress(*ENDS):
            order(guest)
        _poke(port, guest)


USUAL: list[Callable[[Guest], None]] = [
    memory_moves_under_the_rings,
    enable_first,
    stop_what_never_started,
    stop_twice,
    negotiate_again_and_again,
]


@pytest.mark.parametrize("order", USUAL, ids=lambda f: f.__name__)
def test_unusual_order_that_works(stage: Stage, order: Callable[[Guest], None]) -> None:
    with stage.attack() as port:
        guest = port.guest()
        guest.open()
        order(guest)
        port.exchange(guest)
        assert port.faults() == []


def _poke(port: Target, guest: Guest) -> None:
    """Use the rings of *guest* from both sides, whatever state they are in."""
    port.stage.witness.send(guest.frame(b"to nobody in particular"))
    guest.post_frame(guest.frame(b"from somebody"))
    port.stage.check_victims()


# -- at random -----------------------------------------------------------------

SEEDS = range(12)
LENGTH = 150


@pytest.mark.parametrize("seed", SEEDS)
def test_random_order(stage: Stage, seed: int) -> None:
    """Messages that are legal one by one, most with good values, and traffic between them."""
    dice = random.Random(seed)
    with stage.attack() as port:
        guest = port.guest()
        guest.open()
        for _ in range(LENGTH):
            try:
                _random_message(dice, guest)
            except ENDS:
                guest.open()
        _poke(port, guest)


def _random_message(dice: random.Random, g: Guest) -> None:
    c, i = g.peer, dice.randrange(RINGS)
    ring = (g.rx, g.tx)[i]
    fd = g.pairs[0].fds()[2 * i]
    messages: list[Callable[[], object]] = [
        c.get_features,
        lambda: c.set_features(dice.choice([0, g.acked, g.acked | Feature.LOG_ALL])),
        c.get_protocol_features,
        lambda: c.set_protocol_features(dice.randrange(2) * ProtocolFeature.REPLY_ACK),
        c.get_queue_num,
        c.set_owner,
        lambda: c.set_mem_table(g.regions()),
        lambda: c.set_vring_num(i, 1 << dice.randrange(9)),
        lambda: c.set_vring_base(i, dice.choice([0, ring.used_index, dice.randrange(65536)])),
        lambda: _addresses(g, i),
        lambda: c.set_vring_call(i, dice.choice([None, fd])),
        lambda: c.set_vring_kick(i, dice.choice([None, fd])),
        lambda: c.set_vring_err(i, dice.choice([None, fd])),
        lambda: c.set_vring_enable(i, dice.random() < 0.8),
        lambda: c.get_vring_base(i),
        lambda: c.net_set_mtu(dice.choice([68, 1500, 9000])),
        lambda: c.send_rarp(bytes.fromhex("525400000010")),
        lambda: (g.negotiate(), g.start()),
        lambda: g.post_frame(g.frame(struct.pack("<d", dice.random()))),
        lambda: os.eventfd_write(fd, 1),
    ]
    dice.choice(messages)()
