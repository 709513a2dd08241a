# SPDX-License-Identifier: Apache-2.0
"""Rings of the sizes that Nova's ``rx_queue_size`` and ``tx_queue_size`` may have."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.frontend.vhost_user import Frontend
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port, frame, pass_frame, receive_frame
from tests.functional.waiting import wait_until


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_a_ring_takes_as_many_frames_as_it_has_buffers(
    daemon: Daemon, make_frontend: Callable[..., Frontend], size: int
) -> None:
    vms = []
    for i in range(2):
        path = ensure_port(daemon, f"vm{i}", "client", i)
        vms.append(make_frontend(path, listen=True, ring_size=size))
        vms[i].connect()
    sender, receiver = vms
    pass_frame(sender, receiver, frame(1, 0, b"first"))
    marker = frame(1, 0, b"the ones before were sent more than once, perhaps")
    sender.send(marker)
    receive_frame(receiver, marker)

    # Nobody reads meanwhile, so all of them have to be in the ring at once.
    frames = [frame(1, 0, b"%d" % i) for i in range(size)]
    for each in frames:
        sender.send(each)
    ring = receiver.pairs[0].rx
    wait_until(lambda: ring.used_count() == size, "a full ring")
    assert receiver.receive_all() == frames
    # It has gone round.
    pass_frame(sender, receiver, frame(1, 0, b"last"))
