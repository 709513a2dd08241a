# SPDX-License-Identifier: Apache-2.0
"""The datapath takes the machine as it is: hugepages or none, one worker or several."""

from __future__ import annotations

from collections.abc import Callable

from tests.frontend.vuser import VUser
from tests.functional.daemon import Daemon
from tests.functional.exchange import ensure_port, mac, wait_traffic
from tests.functional.waiting import wait_until

RATE = 2000
MEMORY_MB = 64

WITH_HUGETLBFS = [
    *("unshare", "--mount", "--propagation", "unchanged", "sh", "-c"),
    'mount -t hugetlbfs none /mnt && exec "$@"',
    "sh",
]
"""A mount of the daemon's own, whatever the machine has."""


def plug_pair(daemon: Daemon, vm: VUser, queues: int) -> list[tuple[VUser, str]]:
    """Make two ports whose frontends send each other frames of eight flows."""
    for i, port in enumerate("ab"):
        path = ensure_port(daemon, port, "client", i, queues)
        vm.add(port, path, server=True, queues=queues, mac=mac(i))
    for i, port in enumerate("ab"):
        vm.wait_link(port)
        vm.start(port, dst=mac(1 - i), rate=RATE, flows=8)
    return [(vm, port) for port in "ab"]


def test_hugepages_survive_kills_too(
    hugepages: Callable[[int], None],
    make_daemon: Callable[..., Daemon],
    make_vuser: Callable[..., VUser],
) -> None:
    hugepages(MEMORY_MB // 2)
    options = {"hugepages": "on", "memory_mb": MEMORY_MB, "mbufs": 8192}
    daemon = make_daemon("dpdk", config={"dpdk": options}, wrap=WITH_HUGETLBFS)
    assert "of hugepages" in daemon.client.hello().datapath_info["memory"]
    ends = plug_pair(daemon, make_vuser(), queues=1)
    wait_traffic(ends)
    for _ in range(5):
        daemon.restart()
        wait_traffic(ends)


def busy_rounds(daemon: Daemon) -> list[int]:
    """Return how many rounds of each worker found a packet."""
    return [w.busy_polls for w in daemon.client.stats().workers]


def test_two_workers_share_the_queues(
    two_workers: Daemon, make_vuser: Callable[..., VUser]
) -> None:
    daemon = two_workers
    vm = make_vuser()
    ends = plug_pair(daemon, vm, queues=4)
    wait_traffic(ends)

    wait_until(lambda: min(busy_rounds(daemon)) > 0, "packets for both workers")
    vm.reset()
    wait_traffic(ends, frames=2 * RATE)
    for _vm, port in ends:
        stats = vm.stats(port)
        assert (stats.rx_bad, stats.duplicate, stats.reordered) == (0, 0, 0)
    # Ports come and go under the traffic of others.
    for i in range(20):
        ensure_port(daemon, "c", "client" if i % 2 else "server", 7)
        daemon.client.port_remove(id="c")
    wait_traffic(ends)


def test_two_workers_share_the_ports(
    two_workers: Daemon, make_vuser: Callable[..., VUser]
) -> None:
    """Ports of one queue pair, and what is left when those of one worker go."""
    daemon, vm = two_workers, make_vuser()
    # One after the other, so that it is known whose they are: a and c are one worker's.
    for i, port in enumerate("abcd"):
        path = ensure_port(daemon, port, "client", i)
        vm.add(port, path, server=True, mac=mac(i))
        vm.wait_link(port)
    for i, port in enumerate("abcd"):
        vm.start(port, dst=mac(i ^ 2), rate=RATE)
    wait_traffic([(vm, port) for port in "abcd"])

    def both_work() -> bool:
        before = busy_rounds(daemon)
        wait_traffic([(vm, "a"), (vm, "c")])
        return all(now > then for now, then in zip(busy_rounds(daemon), before, strict=True))

    assert both_work()
    vm.reset()
    for port in "bd":
        vm.remove(port)
        daemon.client.port_remove(id=port)
    wait_until(both_work, "one of two ports to change its worker")
    for port in "ac":
        stats = vm.stats(port)
        assert (stats.lost, stats.rx_bad, stats.duplicate, stats.reordered) == (0, 0, 0, 0)
