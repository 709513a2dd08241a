# SPDX-License-Identifier: Apache-2.0
"""``vhost-brick status``: the daemon at a glance."""

from __future__ import annotations

import argparse
from typing import Any

from vhost_brick_plugin.api import methods
from vhost_brick_plugin.cli import base
from vhost_brick_plugin.cli.columns import Pairs, Records, Seconds, Standby, TookOver
from vhost_brick_plugin.codec import to_json


class Status(base.ShowOne):
    """Show how vhost-brickd is doing."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        hello = self.client.call(methods.Hello())
        ports = self.client.call(methods.PortListCall()).ports
        networks = self.client.call(methods.NetworkListCall()).networks
        stats = self.client.call(methods.Stats())
        states = [status.state for status in ports]
        return base.fields(
            {
                "version": hello.version,
                "pid": hello.pid,
                "uptime": Seconds(hello.uptime_s),
                "datapath": hello.datapath,
                "datapath_info": Pairs(dict(hello.datapath_info)),
                "startup_ms": Pairs(dict(hello.startup_ms)),
                "standby": Standby(to_json(hello.standby)),
                "took_over": TookOver(to_json(hello.took_over)),
                "networks": len(networks),
                "ports": len(ports),
                "ports_by_state": Pairs({s: states.count(s) for s in sorted(set(states))}),
                "faults": Records(_faults(ports, networks)),
                "workers": Records([_worker(worker) for worker in to_json(stats.workers)]),
            }
        )


def _faults(
    ports: tuple[methods.PortStatus, ...], networks: tuple[methods.NetworkStatus, ...]
) -> list[dict[str, str]]:
    faults = [(f"port {p.port.id}", p.fault) for p in ports]
    faults += [(f"network {n.network.name}", n.fault) for n in networks]
    return [{"of": of, "fault": f.name, "hint": f.hint} for of, f in faults if f is not None]


def _worker(worker: dict[str, Any]) -> dict[str, Any]:
    cycles = worker["cycles"]
    busy = 100 * worker["busy_cycles"] / cycles if cycles else 0.0
    return {"worker": worker["worker"], "core": worker["core"], "busy_percent": round(busy, 1)}
