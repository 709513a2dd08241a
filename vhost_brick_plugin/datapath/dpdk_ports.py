# SPDX-License-Identifier: Apache-2.0
"""Ports in the DPDK datapath: a vhost brick each, and the antispoof brick it is joined by."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import os
from collections.abc import Iterator
from typing import Any

from vhost_brick_plugin import errors
from vhost_brick_plugin.datapath import base, dpdk_c, shape
from vhost_brick_plugin.datapath.dpdk_c import ffi, lib
from vhost_brick_plugin.model import (
    AddressPair,
    Mode,
    Offer,
    Port,
    PortSecurity,
    SecurityMode,
    Session,
    SessionState,
)
from vhost_brick_plugin.report import Counters, total_drops

HINTS = {
    errno.EMFILE: "Raise LimitNOFILE of the service.",
    errno.EADDRINUSE: "Remove the file if nothing uses it, or give the port another path.",
    errno.EACCES: "Give vhost-brickd's user write access to the directory.",
    errno.EOPNOTSUPP: "Keep the vhost-brickd version that first served the port, "
    "or delete and re-create the port while its VM is off.",
}

MODES = {
    SecurityMode.OPEN: lib.VB_SECURITY_OPEN,
    SecurityMode.FILTERED: lib.VB_SECURITY_FILTERED,
    SecurityMode.CLOSED: lib.VB_SECURITY_CLOSED,
}


@dataclasses.dataclass(slots=True)
class _Served:
    port: Port
    vhost: Any
    antispoof: Any


class Ports:
    """Keeps to the text of :class:`.base.Datapath`."""

    def __init__(self) -> None:
        self._served: dict[str, _Served] = {}

    def clear(self) -> None:
        """Forget all: their bricks are gone."""
        self._served.clear()

    def on(self, network: str) -> list[str]:
        """Return the ids of the ports on *network*."""
        return [id for id, served in self._served.items() if served.port.network == network]

    def shapes(self) -> Iterator[shape.PortShape]:
        """Yield what they add to the graph."""
        for id, served in self._served.items():
            edges = lib.vb_brick_edges(served.vhost)
            yield shape.PortShape(id=id, network=served.port.network, edges=edges)

    def bricks(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and the handle of each brick."""
        for id, served in self._served.items():
            yield shape.vhost(id), served.vhost
            yield shape.antispoof(id), served.antispoof

    def add(self, port: Port, offer: Offer, switch: Any) -> None:
        if port.id in self._served:
            raise errors.DatapathError(f"the datapath has port {port.id} already")
        _check_features(port, offer)
        antispoof = dpdk_c.create(
            lib.vb_antispoof_create,
            shape.antispoof(port.id).encode(),
            _security(port),
            switch,
            what=f"port {port.id}",
        )
        try:
            vhost = _create_vhost(port, offer, antispoof)
        except errors.VhostBrickError:
            lib.vb_brick_destroy(antispoof)
            raise
        self._served[port.id] = _Served(port, vhost, antispoof)

    def remove(self, id: str) -> Port:
        """Return what it was."""
        served = self._find(id)
        dpdk_c.destroy(served.vhost, f"port {id}")
        del self._served[id]
        dpdk_c.destroy(served.antispoof, f"port {id}")
        return served.port

    def update(self, port: Port) -> None:
        served = self._find(port.id)
        if port.security != served.port.security:
            result = lib.vb_antispoof_set(served.antispoof, _security(port))
            dpdk_c.check(result, f"port {port.id}")
        served.port = port

    def info(self, id: str) -> base.PortInfo:
        served = self._find(id)
        raw = ffi.new("struct vb_session[]", lib.VB_SESSIONS_MAX)
        count = lib.vb_vhost_sessions(served.vhost, raw, len(raw))
        sessions = sorted(map(_session, raw[0:count]), key=lambda session: session.number)
        return base.PortInfo(
            sessions=tuple(sessions),
            fault=dpdk_c.text(lib.vb_vhost_fault(served.vhost)),
            counters=_counters(served),
        )

    def _find(self, id: str) -> _Served:
        served = self._served.get(id)
        if served is None:
            raise errors.PortNotFound(f"the datapath has no port {id}")
        return served


def _check_features(port: Port, offer: Offer) -> None:
    lacking = offer.features & ~lib.vb_vhost_features()
    if lacking:
        raise errors.DatapathError(
            f"port {port.id}: its VM was offered features {lacking:#x} that this version does "
            "not have",
            hint=HINTS[errno.EOPNOTSUPP],
        )


def _create_vhost(port: Port, offer: Offer, antispoof: Any) -> Any:
    config = ffi.new("struct vb_vhost_config *")
    config.path = os.fsencode(port.socket_path)
    config.client = port.mode is Mode.CLIENT
    config.features, config.queues, config.mtu = offer.features, offer.queues, offer.mtu
    return dpdk_c.create(
        lib.vb_vhost_create,
        shape.vhost(port.id).encode(),
        config,
        antispoof,
        what=f"port {port.id} at {port.socket_path}",
        hints=HINTS,
    )


def _counters(served: _Served) -> Counters:
    vhost, antispoof = map(dpdk_c.counters, (served.vhost, served.antispoof))
    return dataclasses.replace(vhost, drops=total_drops((vhost, antispoof)))


def _session(raw: Any) -> Session:
    return Session(
        number=raw.number,
        state=SessionState.RUNNING if raw.running else SessionState.CONNECTED,
        features=raw.features,
        queues=raw.queues,
        since=raw.since / 1e9,
    )


def _security(port: Port) -> Any:
    """Return what *port* lets through as C takes it."""
    if port.security is None:
        raise errors.DatapathError(f"port {port.id}: nobody said what it lets through")
    pairs = _pairs(port.security)
    struct = dpdk_c.keeping(ffi.new("struct vb_security *"), pairs)
    struct.mode = MODES[port.security.mode]
    struct.nb_pairs, struct.pairs = len(pairs), pairs
    return struct


def _pairs(security: PortSecurity) -> Any:
    pairs = ffi.new("struct vb_address_pair[]", len(security.allowed))
    for raw, pair in zip(pairs, security.allowed, strict=True):
        _fill(raw, pair)
    return pairs


def _fill(raw: Any, pair: AddressPair) -> None:
    raw.mac = bytes.fromhex(pair.mac.replace(":", ""))
    if pair.ip is not None:
        prefix = ipaddress.ip_network(pair.ip)
        packed = prefix.network_address.packed
        raw.family, raw.prefix_len = prefix.version, prefix.prefixlen
        raw.address[0 : len(packed)] = packed
