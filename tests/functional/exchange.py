# SPDX-License-Identifier: Apache-2.0
"""Ports and the proof that packets pass between them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon
from tests.functional.waiting import TIMEOUT, wait_until

NETWORK = "net"
ETHERTYPE = b"\x88\xb5"
"""Local experimental, IEEE 802."""

PROBE_INTERVAL = 0.1


def mac(number: int) -> str:
    """Return the MAC address of the test's VM *number*."""
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


def ensure_port(daemon: Daemon, id: str, mode: str, number: int, queues: int = 1) -> str:
    """Make a port on the test's network and return the path of its socket."""
    path = str(daemon.socket_path(id))
    daemon.client.port_ensure(
        id=id,
        network=NETWORK,
        create_network=True,
        mode=mode,
        socket_path=path,
        mac=mac(number),
        queues=queues,
    )
    return path


def frame(dst: int | None, src: int, payload: bytes) -> bytes:
    """Return a frame between two of the test's VMs; *dst* None is everybody."""
    to = b"\xff" * 6 if dst is None else bytes.fromhex(mac(dst).replace(":", ""))
    return to + bytes.fromhex(mac(src).replace(":", "")) + ETHERTYPE + payload.ljust(46, b"\0")


def receive_frame(port: Frontend, wanted: bytes, timeout: float = TIMEOUT) -> None:
    """Wait for exactly this frame; others may come before it."""
    deadline = time.monotonic() + timeout
    while port.receive(max(0.0, deadline - time.monotonic())) != wanted:
        pass


def pass_frame(sender: Frontend, receiver: Frontend, wanted: bytes) -> None:
    """Send *wanted* until it arrives: the receiver's ring may still be on its way up."""

    def passed() -> bool:
        sender.send(wanted)
        try:
            receive_frame(receiver, wanted, PROBE_INTERVAL)
        except TimeoutError:
            return False
        return True

    wait_until(passed, f"a frame from {sender.path} to {receiver.path}")


def wait_traffic(
    vms: Sequence[tuple[VUser, str]], frames: int = 100, timeout: float = TIMEOUT
) -> None:
    """Wait until each of the ports has received so many more frames."""
    goals = [(vm, port, vm.stats(port).rx + frames) for vm, port in vms]
    for vm, port, goal in goals:

        def arrived(vm: VUser = vm, port: str = port, goal: int = goal) -> bool:
            return vm.stats(port).rx >= goal

        wait_until(arrived, f"traffic at {port}", timeout)


def wait_exchange(vm: VUser, one: str, other: str, timeout: float = TIMEOUT) -> None:
    """Wait until frames pass between two ports of *vm*, both ways."""
    for sender, receiver in ((one, other), (other, one)):
        before = vm.stats(receiver).rx

        def passed(sender: str = sender, receiver: str = receiver, before: int = before) -> bool:
            vm.send(sender)
            return vm.stats(receiver).rx > before

        wait_until(passed, f"a frame from {sender} to {receiver}", timeout)
