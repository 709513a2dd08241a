# SPDX-License-Identifier: Apache-2.0
"""The brick's datapath in a process of its own: one network and its ports, and no daemon.

Its stdin and stdout are those of native/crossconnect.c: what a packet costs can be asked
of the native module only.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.generator import mac
from vhost_brick_plugin.datapath.base import Options
from vhost_brick_plugin.datapath.dpdk import DpdkDatapath
from vhost_brick_plugin.datapath.dpdk_c import check, ffi, lib
from vhost_brick_plugin.model import Mode, Network, Port, PortSecurity, SecurityMode


class Measurement:
    """What has happened since it was made."""

    def __init__(self, workers: int) -> None:
        self._had_rounds = [rounds(worker) for worker in range(workers)]
        lib.vb_workers_measure(True)

    def read(self) -> dict[str, Any]:
        return {
            "workers": [
                cost(worker) | {"rounds": rounds(worker) - had}
                for worker, had in enumerate(self._had_rounds)
            ]
        }


def cost(worker: int) -> dict[str, int]:
    raw = ffi.new("struct vb_worker_cost *")
    check(lib.vb_worker_cost(worker, raw), "reading what a packet costs")
    return {name: getattr(raw, name) for name, _ in ffi.typeof(raw[0]).fields}


def rounds(worker: int) -> int:
    """Return how often a worker has gone through its ports."""
    raw = ffi.new("struct vb_worker_stats *")
    check(lib.vb_worker_stats(worker, raw), "reading a worker's rounds")
    return int(raw.polls)


def serve(options: argparse.Namespace) -> DpdkDatapath:
    datapath = DpdkDatapath()
    datapath.start(
        Options(
            worker_cores=tuple(options.worker_core),
            control_cores=(options.control_core,),
            idle_sleep_us=options.idle_sleep_us,
            memory_mb=options.memory_mb,
            mbufs=options.mbufs,
            # A process that is stopped while others are measured hangs, as it seems.
            watchdog_s=0,
        )
    )
    datapath.network_add(Network(name="bench"))
    for number, path in enumerate(options.path):
        port = Port(
            id=f"port{number}",
            network="bench",
            mode=Mode.CLIENT,
            socket_path=path,
            mac=mac(number),
            mtu=1500,
            queues=options.queues,
            security=PortSecurity(mode=SecurityMode.OPEN),
        )
        datapath.port_add(port, datapath.offer(port))
    return datapath


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--worker-core", type=int, action="append", required=True)
    for name in ("control-core", "memory-mb", "mbufs", "queues"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--idle-sleep-us", type=int, default=Options().idle_sleep_us)
    parser.add_argument("path", nargs="+", help="of each port's socket, on which a VM listens")
    options = parser.parse_args()
    serve(options)
    measurement: Measurement | None = None
    print(json.dumps({"ready": True, "pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        match line.strip():
            case "measure":
                measurement = Measurement(len(options.worker_core))
            case "read" if measurement:
                answer = measurement.read()
            case _:
                answer = {"error": "no such command"}
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
