# SPDX-License-Identifier: Apache-2.0
"""Where attacks happen: a daemon, two victims, a witness, and the port of the attacker.

The *victims* are virtio-user ports that send each other numbered frames without
end.  The *witness* is an honest frontend on the same network, with whom the
attacker exchanges a frame now and then.  An attack is one ``with`` block::

    with stage.attack() as port:
        guest = port.connect()
        ...                          # misbehave
        port.wait_drops("desc_chain", 1)

Its end is the proof that is the same for all attacks: the daemon is the same
process, the victims have lost nothing and were never stopped, the port works again for
a frontend that behaves, and nothing of the attacker's is left in the daemon.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.frontend.protocol import ProtocolError
from tests.frontend.ring import MEMFD_NAME
from tests.frontend.vhost_user import Frontend
from tests.frontend.vuser import VUser
from tests.functional.daemon import Config, Daemon
from tests.functional.exchange import (
    NETWORK,
    ensure_port,
    frame,
    mac,
    pass_frame,
    wait_traffic,
)
from tests.functional.hostile.guest import Guest
from tests.functional.waiting import TIMEOUT, wait_until
from vhost_brick_plugin.api.methods import Event, PortStatus
from vhost_brick_plugin.errors import VhostBrickError

VICTIMS = ("victim-0", "victim-1")
WITNESS = "witness"
WITNESS_NUMBER = 2

RATE = 1000
"""Frames a second that each victim sends."""

VICTIM_RING = 1024
"""Deep enough for a victim that gets no CPU for most of a second."""

LOOK = 0.02
"""Seconds between two questions to the daemon."""

DEAD = ("session_stopped", "session_closed")


class Events:
    """The daemon's event stream, remembered."""

    def __init__(self, daemon: Daemon) -> None:
        self._seen: list[Event] = []
        self._news = threading.Condition()
        stream = daemon.client.watch()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Iterator[Event]) -> None:
        with contextlib.suppress(VhostBrickError):
            for event in stream:
                with self._news:
                    self._seen.append(event)
                    self._news.notify_all()

    def of(self, port: str, *kinds: str) -> list[Event]:
        with self._news:
            return [e for e in self._seen if e.port == port and e.kind in kinds]

    def wait(self, match: Callable[[Event], bool], what: str, timeout: float = TIMEOUT) -> Event:
        """Return the first event that matches, of all that ever came."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for event in self._seen:
                    if match(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0:
                    seen = "\n".join(f"  {e.kind} {e.port} {e.detail}" for e in self._seen[-10:])
                    raise AssertionError(f"waited in vain for {what}; the last events:\n{seen}")
                self._news.wait(left)


class Stage:
    """See the module; ``with`` ends everything on it.

    :ivar broken: an attack upon it has succeeded, or its test has failed for another
        reason: good for no other test.
    """

    def __init__(self, directory: Path, config: Config | None = None) -> None:
        self.broken = False
        self.daemon = Daemon(directory, config=config)
        self._numbers = itertools.count(16)
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.daemon.cleanup)
        try:
            self._set_up(directory)
        except BaseException:
            self.close()
            raise

    def _set_up(self, directory: Path) -> None:
        self.daemon.start()
        self.pid = self.daemon.pid
        self.victims = self._stack.enter_context(VUser(directory, name="victims"))
        for i, name in enumerate(VICTIMS):
            path = ensure_port(self.daemon, name, "client", i)
            self.victims.add(name, path, server=True, queue_size=VICTIM_RING, mac=mac(i))
            self.victims.wait_link(name)
        path = ensure_port(self.daemon, WITNESS, "client", WITNESS_NUMBER)
        self.witness = self._stack.enter_context(Frontend(path, listen=True))
        self.witness.connect()
        wait_until(self._all_run, "everybody to run", interval=LOOK)
        self.events = Events(self.daemon)
        for i, name in enumerate(VICTIMS):
            self.victims.start(name, dst=mac(1 - i), rate=RATE)
        self.wait_victims()

    def _all_run(self) -> bool:
        return all(p.state == "running" for p in self.daemon.client.port_list().ports)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def attack(self, mode: str = "server", queues: int = 1) -> Iterator[Target]:
        """Give a fresh port to an attacker; at the end show that nobody else came to harm."""
        held = self.held()
        self.broken = True
        with self.port(mode, queues) as port:
            yield port
            self.check_victims()
            port.check_works()
        self.wait_held(held)
        self.broken = False

    def port(self, mode: str = "server", queues: int = 1) -> Target:
        """Make one more port, for the time of a ``with`` block."""
        return Target(self, next(self._numbers), mode, queues)

    # -- what must hold ------------------------------------------------------

    def check_victims(self) -> None:
        """Fail if the daemon is another process, or the victims have felt anything."""
        assert self.daemon.running, f"the daemon has died\n{self.daemon.log_tail()}"
        assert self.daemon.client.hello().pid == self.pid
        self.wait_victims()
        for name in VICTIMS:
            stats = self.victims.stats(name)
            assert (stats.lost, stats.reordered, stats.duplicate, stats.rx_bad) == (0, 0, 0, 0)
            assert self.events.of(name, *DEAD) == []

    def wait_victims(self) -> None:
        """Wait until frames have gone on passing between the victims, both ways."""
        wait_traffic([(self.victims, name) for name in VICTIMS], frames=20)

    def held(self) -> tuple[int, int]:
        """Return how many files and mappings of a guest's memory the daemon has."""
        maps = Path(f"/proc/{self.daemon.pid}/maps").read_text()
        return self.daemon.usage().fds, maps.count(f"memfd:{MEMFD_NAME}")

    def wait_held(self, most: tuple[int, int]) -> None:
        """Wait until the daemon has let go of what it had from an attacker."""

        def let_go() -> bool:
            fds, maps = self.held()
            return fds <= most[0] and maps <= most[1]

        wait_until(let_go, f"the daemon to let go: {self.held()}, before {most}")

    def newcomer(self, within: float = 1.0) -> None:
        """Fail unless a new port gets its frontend running *within* so many seconds."""
        began = time.monotonic()
        with self.port() as port:
            port.exchange(port.connect())
            took = time.monotonic() - began
        assert took < within, f"a new frontend needed {took:.3f} s"

    def network_drops(self) -> Mapping[str, int]:
        """Return the drops of the network's switch."""
        (network,) = (n for n in self.daemon.client.network_list().networks)
        assert network.network.name == NETWORK
        return network.drops


class Target:
    """A port, such as the attacker's, while the ``with`` block runs."""

    def __init__(self, stage: Stage, number: int, mode: str, queues: int) -> None:
        self.stage = stage
        self.number = number
        self.mode = mode
        self.id = f"port-{number}"
        self.path = ensure_port(stage.daemon, self.id, mode, number, queues)
        self._guests: list[Guest] = []
        self._payloads = itertools.count()

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        for guest in self._guests:
            guest.kill(leave_socket=False)
        with contextlib.suppress(VhostBrickError):
            self.stage.daemon.client.port_remove(id=self.id)

    # -- frontends -----------------------------------------------------------

    def guest(self, **kwargs: Any) -> Guest:
        """Make a frontend for the port; it ends with the attack."""
        for other in self._guests:
            other.kill(leave_socket=self.mode == "server")
        guest = Guest(self.path, self.number, listen=self.mode == "client", **kwargs)
        self._guests.append(guest)
        return guest

    def connect(self, **kwargs: Any) -> Guest:
        """Make a frontend and let it run."""
        guest = self.guest(**kwargs)
        guest.connect()
        return guest

    def exchange(self, guest: Guest, receive: bool = True) -> None:
        """Pass a frame from *guest* to the witness, and one back."""
        pass_frame(guest, self.stage.witness, guest.frame(self._payload(), WITNESS_NUMBER))
        guest.settle()
        if receive:
            wanted = frame(self.number, WITNESS_NUMBER, self._payload())
            pass_frame(self.stage.witness, guest, wanted)

    def reach(self, guest: Guest) -> None:
        """Fail unless one frame, sent once, goes from *guest* to the witness."""
        wanted = guest.frame(self._payload(), WITNESS_NUMBER)
        guest.post_frame(wanted)
        self.wait_witness(wanted)
        guest.settle()

    def wait_witness(self, wanted: bytes) -> None:
        """Wait until *wanted* is at the witness, who forgets what came before."""
        deadline = time.monotonic() + TIMEOUT
        while self.stage.witness.receive(max(0.0, deadline - time.monotonic())) != wanted:
            pass

    def check_works(self, timeout: float = TIMEOUT) -> None:
        """Fail unless a frontend that behaves is served, and no fault is left."""
        guest = self.guest()

        def connected() -> bool:
            try:
                guest.connect(timeout=timeout)
            except (ProtocolError, OSError):
                return False
            return True

        wait_until(connected, "the port to take an honest frontend", timeout, LOOK)
        self.exchange(guest)
        wait_until(lambda: self.status().fault is None, "the fault to clear", timeout, LOOK)

    def _payload(self) -> bytes:
        return b"%s: %d" % (self.id.encode(), next(self._payloads))

    # -- what the daemon says of it ------------------------------------------

    def status(self) -> PortStatus:
        status: PortStatus = self.stage.daemon.client.port_show(id=self.id)
        return status

    def drops(self) -> Mapping[str, int]:
        return self.status().counters.drops

    def wait_drops(self, reason: str, count: int = 1) -> None:
        """Wait until exactly *count* packets of the port were dropped, all for *reason*."""
        wanted = {reason: count}
        wait_until(lambda: sum(self.drops().values()) >= count, f"drops {wanted}", interval=LOOK)
        assert self.drops() == wanted

    def wait_fault(self, name: str, timeout: float = TIMEOUT) -> None:
        """Wait until the port has, or had, this fault."""
        self.stage.events.wait(
            lambda e: e.port == self.id and e.kind == "fault" and e.detail["fault"] == name,
            f"the fault {name}",
            timeout,
        )

    def faults(self) -> list[str]:
        return [e.detail["fault"] for e in self.stage.events.of(self.id, "fault")]
