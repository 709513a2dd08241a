# SPDX-License-Identifier: Apache-2.0
"""Brings the datapath from what it has to what is wanted.

Knows what the datapath has (``actual``), carries out the actions that
:mod:`.reconcile` finds, and keeps book of what could not be carried out.
Belongs to the datapath's thread.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterable

from vhost_brick_plugin import errors
from vhost_brick_plugin.daemon import reconcile, sockets
from vhost_brick_plugin.daemon.reconcile import Action
from vhost_brick_plugin.daemon.settings import Access
from vhost_brick_plugin.daemon.state import Entry, State
from vhost_brick_plugin.daemon.taps import Links, Taps
from vhost_brick_plugin.datapath.base import Datapath
from vhost_brick_plugin.model import Mode, Network, Port, Uplink
from vhost_brick_plugin.report import Fault

LOG = logging.getLogger(__name__)

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setback:
    """Something that is wanted and could not be had.

    :ivar delay: seconds between the last attempt and the next.
    :ivar due: when to try again, on the engine's clock.
    """

    fault: Fault
    delay: float
    due: float


class Engine:
    """See the module.

    :param clock: seconds that only grow.
    :param dormant: the datapath is a standby's: sockets are somebody else's until
        :meth:`wake`, and so are uplinks, which are not to be asked for before that.
    """

    def __init__(
        self,
        datapath: Datapath,
        links: Links,
        access: Access,
        clock: Callable[[], float] = time.monotonic,
        *,
        dormant: bool = False,
    ) -> None:
        self.actual = State()
        self.setbacks: dict[str, Setback] = {}
        self._datapath = datapath
        self._taps = Taps(links)
        self._access = access
        self._clock = clock
        self._dormant = dormant

    def fault(self, subject: str) -> Fault | None:
        """Return what keeps *subject* from being served, if anything does."""
        setback = self.setbacks.get(subject)
        return setback.fault if setback else None

    def restore(self, desired: State) -> None:
        """Go to *desired* as far as possible; what fails is a setback of its own."""
        for action in reconcile.diff(desired, self.actual):
            self._attempt(action)

    def wake(self) -> None:
        """Give the sockets their rights: the datapath has taken over and made them."""
        self._dormant = False
        for entry in self.actual.ports.values():
            try:
                self._grant(entry.port)
            except errors.VhostBrickError as e:
                self._datapath.port_remove(entry.port.id)
                self.actual = self.actual.without_port(entry.port.id)
                self._set_back(reconcile.port_subject(entry.port.id), e)

    def retry(self, desired: State, subjects: Collection[str] | None = None) -> list[str]:
        """Try again what is due, or *subjects* at once; return what is in order now."""
        # What is not as desired is a setback; to find out takes long where there are many.
        if subjects is not None and self.setbacks.keys().isdisjoint(subjects):
            return []
        now = self._clock()
        before = set(self.setbacks)
        for action in reconcile.diff(desired, self.actual):
            setback = self.setbacks.get(action.subject)
            due = setback is None or setback.due <= now
            if due if subjects is None else action.subject in subjects:
                self._attempt(action)
        return sorted(before - set(self.setbacks))

    def lose(self, name: str, fault: Fault) -> None:
        """Part the uplink called *name*, whose interface is gone, from all its networks.

        They keep wanting it, so :meth:`retry` tries to have it again.
        """
        for network in self.actual.networks.values():
            for uplink in network.uplinks:
                if uplink.name == name:
                    action = reconcile.UplinkRemove(network.name, uplink)
                    self._attempt(action)
                    due = self._clock() + FIRST_RETRY_S
                    setback = Setback(fault=fault, delay=FIRST_RETRY_S, due=due)
                    self.setbacks[action.subject] = setback

    def change(self, before: State, after: State, subjects: Collection[str]) -> None:
        """Go from *before* to *after*, which differ in *subjects*.

        Setbacks of others are left alone.  On an error this goes back to
        *before*; what cannot be had back becomes a setback.

        :raises errors.VhostBrickError: what went wrong.
        """
        try:
            for action in self._plan(after, subjects):
                self._apply(action)
        except Exception:
            for action in self._plan(before, subjects):
                self._attempt(action)
            raise
        self._forget_settled(after)

    def _plan(self, desired: State, subjects: Collection[str]) -> list[Action]:
        return [
            action
            for action in reconcile.diff(desired, self.actual)
            if action.subject in subjects or action.subject not in self.setbacks
        ]

    def _forget_settled(self, desired: State) -> None:
        pending = _subjects(reconcile.diff(desired, self.actual))
        self.setbacks = {s: b for s, b in self.setbacks.items() if s in pending}

    def _attempt(self, action: Action) -> None:
        """Apply *action*; keep an error as a setback."""
        error = self._error_of(action)
        if error is None:
            self.setbacks.pop(action.subject, None)
        else:
            self._set_back(action.subject, error)

    def _error_of(self, action: Action) -> errors.VhostBrickError | None:
        try:
            self._apply(action)
        except errors.VhostBrickError as e:
            return e
        except Exception as e:
            # One port must not keep the others from being served, not even by a bug.
            LOG.exception("Unexpected error at %s", action)
            return errors.VhostBrickError(f"{type(e).__name__}: {e}")
        return None

    def _set_back(self, subject: str, error: errors.VhostBrickError) -> None:
        old = self.setbacks.get(subject)
        delay = min(old.delay * 2, LAST_RETRY_S) if old else FIRST_RETRY_S
        since = old.fault.since if old else time.time()
        fault = Fault(name=error.slug, message=error.message, hint=error.hint, since=since)
        self.setbacks[subject] = Setback(fault=fault, delay=delay, due=self._clock() + delay)
        if old is None or old.fault.message != error.message:
            LOG.error("%s is not served: %s. Trying again until it is.", subject, error)

    def _apply(self, action: Action) -> None:
        match action:
            case reconcile.NetworkAdd(network):
                self._datapath.network_add(network)
                self._now_has(dataclasses.replace(network, uplinks=()))
            case reconcile.NetworkUpdate(network):
                self._update_network(network)
            case reconcile.NetworkRemove(name):
                self._datapath.network_remove(name)
                self.actual = self.actual.without_network(name)
            case reconcile.UplinkAdd(network, uplink):
                self._add_uplink(network, uplink)
            case reconcile.UplinkUpdate(name, uplink):
                self._update_uplink(name, uplink)
            case reconcile.UplinkRemove(name, uplink):
                self._remove_uplink(name, uplink)
            case reconcile.PortAdd(entry):
                self._add_port(entry)
            case reconcile.PortUpdate(entry):
                self._datapath.port_update(entry.port)
                self.actual = self.actual.with_port(entry)
            case reconcile.PortRemove(port):
                self._datapath.port_remove(port.id)
                self.actual = self.actual.without_port(port.id)

    def _now_has(self, network: Network) -> None:
        self.actual = self.actual.with_network(network)

    def _present(self, network: str) -> Network:
        found = self.actual.networks.get(network)
        if found is None:
            fault = self.fault(reconcile.network_subject(network))
            raise errors.DatapathError(
                f"network {network} is not there: {fault.message if fault else 'not yet made'}",
                hint=fault.hint if fault else None,
            )
        return found

    def _update_network(self, network: Network) -> None:
        present = self._present(network.name)
        with self._taps.resizing(present, network.mtu):
            self._datapath.network_update(network)
        self._now_has(dataclasses.replace(network, uplinks=present.uplinks))

    def _add_uplink(self, network: Network, uplink: Uplink) -> None:
        present = self._present(network.name)
        with self._taps.joining(present, uplink):
            self._datapath.uplink_add(network.name, uplink)
        self._now_has(dataclasses.replace(present, uplinks=(*present.uplinks, uplink)))

    def _update_uplink(self, name: str, uplink: Uplink) -> None:
        present = self._present(name)
        self._datapath.uplink_update(name, uplink)
        uplinks = tuple(uplink if u.place == uplink.place else u for u in present.uplinks)
        self._now_has(dataclasses.replace(present, uplinks=uplinks))

    def _remove_uplink(self, name: str, uplink: Uplink) -> None:
        present = self._present(name)
        self._datapath.uplink_remove(name, uplink)
        left = tuple(u for u in present.uplinks if u != uplink)
        self._now_has(dataclasses.replace(present, uplinks=left))
        self._taps.part(name, uplink)

    def _add_port(self, entry: Entry) -> None:
        port = entry.port
        self._present(port.network)
        if not self._dormant:
            sockets.prepare(port.socket_path, port.mode)
        self._datapath.port_add(port, entry.offer)
        try:
            self._grant(port)
        except Exception:
            self._datapath.port_remove(port.id)
            raise
        self.actual = self.actual.with_port(entry)

    def _grant(self, port: Port) -> None:
        if port.mode is Mode.SERVER and not self._dormant:
            sockets.grant(port.socket_path, self._access)


def _subjects(actions: Iterable[Action]) -> set[str]:
    return {action.subject for action in actions}
