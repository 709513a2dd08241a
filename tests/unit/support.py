# SPDX-License-Identifier: Apache-2.0
"""What tests of the daemon's parts have in common: values, and the parts put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.daemon.engine import Engine
from vhost_brick_plugin.daemon.service import Service
from vhost_brick_plugin.daemon.settings import Access, Settings
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.daemon.store import Store
from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.datapath.fake import FakeDatapath
from vhost_brick_plugin.model import OPEN, Mode, Network, Offer, Port, Tunnel, Uplink, UplinkKind


def port(id: str = "p", **changes: Any) -> Port:
    """Return a valid client-mode port on network ``n``."""
    values: dict[str, Any] = {
        "network": "n",
        "mode": Mode.CLIENT,
        "socket_path": f"/run/s/{id}",
        "mac": f"52:54:00:00:00:{sum(id.encode()) % 256:02x}",
        "mtu": 1500,
        "queues": 1,
        "security": OPEN,
    }
    return Port(id=id, **{**values, **changes})


def entry(id: str = "p", **changes: Any) -> Entry:
    """Return that port with the offer it would get."""
    made = port(id, **changes)
    return Entry(port=made, offer=Offer(features=1 << 32, queues=made.queues, mtu=made.mtu))


def tap(name: str, vlan: int | None = None) -> Uplink:
    return Uplink(kind=UplinkKind.TAP, name=name, vlan=vlan)


def nic(name: str, vlan: int | None = None) -> Uplink:
    return Uplink(kind=UplinkKind.NIC, name=name, vlan=vlan)


def vxlan(vni: int, *remotes: str, name: str = "", **changes: Any) -> Uplink:
    """Return a tunnel between documentation addresses; *changes* are fields of the tunnel."""
    values: dict[str, Any] = {"vni": vni, "local": "192.0.2.1", "remotes": remotes}
    tunnel = Tunnel(**{**values, **changes})
    return Uplink(kind=UplinkKind.VXLAN, name=name or f"vxlan-{vni}", tunnel=tunnel)


def state(*entries: Entry, networks: tuple[Network, ...] = (Network(name="n"),)) -> State:
    return State(networks={n.name: n for n in networks}, ports={e.port.id: e for e in entries})


def in_force(wanted: State) -> State:
    """Return *wanted* as a datapath has it: with no port whose security is open to question."""
    made = wanted
    for entry in wanted.ports.values():
        port = dataclasses.replace(entry.port, security=wanted.admits(entry.port))
        made = made.with_port(dataclasses.replace(entry, port=port))
    return made


def settings(directory: Path, **changes: Any) -> Settings:
    """Return settings of a daemon that has everything in *directory*."""
    sockets, state_dir = directory / "s", directory / "state"
    sockets.mkdir(exist_ok=True)
    state_dir.mkdir(exist_ok=True)
    made = Settings(
        state_dir=str(state_dir),
        api_socket=str(directory / "api"),
        api_access=Access(),
        datapath="fake",
        datapath_class="vhost_brick_plugin.datapath.fake:FakeDatapath",
        options=Options(),
        socket_dir=str(sockets),
        port_access=Access(mode=0o620),
        default_mode=Mode.CLIENT,
        max_queues=4,
        offloads=True,
        standby=False,
    )
    return dataclasses.replace(made, **changes)


class FakeLinks:
    """Interfaces in memory, as :mod:`vhost_brick_plugin.netlink` would make them.

    :ivar taps: MTU by name.
    :ivar broken: names that cannot be taps.
    """

    def __init__(self) -> None:
        self.taps: dict[str, int] = {}
        self.broken: set[str] = set()

    def ensure_tap(self, name: str, mtu: int) -> bool:
        if name in self.broken:
            raise errors.UplinkError(f"{name} exists and is no tap")
        made = name not in self.taps
        self.taps[name] = mtu
        return made

    def remove_tap(self, name: str) -> None:
        self.taps.pop(name, None)


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A service over a fake datapath.

    :param dormant: the datapath is a standby's.
    :ivar events: what it emitted.
    """

    def __init__(
        self,
        directory: Path,
        desired: State | None = None,
        *,
        dormant: bool = False,
        **changes: Any,
    ) -> None:
        self.settings = settings(directory, **changes)
        self.sockets = Path(self.settings.socket_dir)
        self.datapath = FakeDatapath()
        self.datapath.start(dataclasses.replace(self.settings.options, standby=dormant))
        self.links = FakeLinks()
        self.clock = Clock()
        self.engine = Engine(
            self.datapath, self.links, self.settings.port_access, self.clock, dormant=dormant
        )
        self.store = Store(self.settings.state_dir)
        self.events: list[methods.Event] = []
        desired = desired or State()
        self.engine.restore(desired)
        self.service = Service(
            self.settings, self.store, self.engine, self.datapath, desired, self.events.append
        )

    def call(self, request: methods.Method[Any]) -> Any:
        return self.service.handlers[request.name](request)

    def ensure(self, id: str = "p", network: str = "n", **params: Any) -> methods.PortStatus:
        """Make a port; its network too."""
        request = methods.PortEnsure(id=id, network=network, create_network=True, **params)
        return self.service.port_ensure(request)

    def calls_of(self, function: Callable[[], object]) -> list[tuple[str, str]]:
        """Return what *function* made the datapath do."""
        before = len(self.datapath.calls)
        function()
        return self.datapath.calls[before:]

    def snapshot(self) -> tuple[State, State]:
        """Return what is stored, with the security it comes to, and what the datapath has."""
        return in_force(self.store.load()), self.engine.actual
