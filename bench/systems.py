# SPDX-License-Identifier: Apache-2.0
"""What is measured side by side: our brick, and its peers.

Each serves the same vhost-user sockets as a client, polls on one core, and forwards what
the first VM sends to the second one and back; or what each of two VMs sends to one of two
others, for which our brick may poll on two cores.
"""

import abc
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from bench import figures, peers
from bench.figures import Empty, Worker
from bench.generator import EAL, NATIVE
from bench.talk import DEADLINE_S, Process

MEMORY_MB = 256
MBUFS = 16384


@dataclass(frozen=True)
class Place:
    """Where a system runs.

    :ivar directory: its own, for sockets and logs; a short path.
    :ivar sockets: of its ports; at all of them a VM listens.
    :ivar queues: pairs of each.
    :ivar worker_cores: one, but for systems of which :attr:`System.workers_max` is more.
    :ivar shared: workers share the cores with the load.
    """

    directory: Path
    sockets: tuple[Path, ...]
    queues: int
    worker_cores: tuple[int, ...]
    control_core: int
    shared: bool = False

    @property
    def worker_core(self) -> int:
        """That of who has but one."""
        return self.worker_cores[0]


@dataclass(frozen=True)
class Cost:
    """What packets have cost the worker since :meth:`System.measure`.

    :ivar mean: TSC cycles a packet, of polls that found one.
    :ivar median: of polls that carried a full burst, and of several workers' the mean; None:
        the system does not tell.
    :ivar busy_cycles: TSC cycles in polls that found a packet, of a worker.
    :ivar full: the share of packets that came in full bursts; None as above.
    :ivar empty: None as above.
    :ivar workers: what it was for each; empty: the system does not tell.
    """

    mean: float
    median: float | None
    busy_cycles: float
    full: float | None
    empty: Empty | None
    workers: tuple[Worker, ...] = ()


NO_COST = Cost(mean=0.0, median=None, busy_cycles=0.0, full=None, empty=None)
"""Of no packets at all: a mean of them is not told, as in a round without a core to run on."""


class System(abc.ABC):
    """One of them, which runs from :meth:`start` to :meth:`end`."""

    name: ClassVar[str]
    text: ClassVar[str]
    max_ports: ClassVar[int] = 64
    workers_max: ClassVar[int] = 0
    """Where workers share the cores with the load; 0: it is not measured there."""

    by_address: ClassVar[bool] = False
    """Whether it forwards frames to where they are sent, and not by the port they come from."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.processes: list[Process] = []

    @property
    def label(self) -> str:
        """Its name beside others of its kind."""
        return figures.label(self.name, len(self.place.worker_cores))

    @property
    def worker_pid(self) -> int:
        """The process to which the polling thread belongs."""
        return self.processes[-1].pid

    @abc.abstractmethod
    def start(self) -> None:
        """Start it without waiting for VMs.

        :raises peers.NoPeer: it cannot be had.
        """

    @abc.abstractmethod
    def measure(self) -> None:
        """Begin to count anew."""

    @abc.abstractmethod
    def read(self) -> Cost:
        """Return what was counted."""

    def freeze(self) -> None:
        """Leave the core to others until :meth:`thaw`."""
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        for process in self.processes:
            process.thaw()

    def end(self) -> None:
        for process in reversed(self.processes):
            process.end()

    def _log(self) -> Path:
        return self.place.directory / f"{self.name}.log"

    def _eal(self) -> list[str]:
        where = self.place
        return [
            *EAL,
            f"--file-prefix={where.directory.name}",
            f"--lcores=0@{where.control_core},1@{where.worker_core}",
            "-m",
            str(MEMORY_MB),
        ]


class Counting(System):
    """A program of ours that counts by native/core/cost.h."""

    @abc.abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return what to run."""

    def start(self) -> None:
        cores = (self.place.control_core, self.place.worker_core)
        self.processes.append(Process(self.command(), self._log(), cores=cores))
        self.processes[0].wait_ready()

    def measure(self) -> None:
        self.processes[0].ask("measure")

    def read(self) -> Cost:
        workers = self.processes[0].ask("read")["workers"]
        told = {key: sum(worker[key] for worker in workers) for key in workers[0]}
        packets = max(told["packets"], 1)
        medians = [worker["median"] for worker in workers if worker["median"]]
        return Cost(
            mean=told["cycles"] / packets,
            median=statistics.mean(medians) if medians else None,
            busy_cycles=told["cycles"] / len(workers),
            full=told["full_packets"] / packets,
            empty=Empty(told["empty_polls"], told["empty_cycles"], told["rounds"]),
            workers=tuple(
                Worker(worker["median"] or None, worker["packets"] / packets) for worker in workers
            ),
        )


class Brick(Counting):
    name = "brick"
    text = "VM -> antispoof -> learning switch -> antispoof -> VM, with counters"
    workers_max = 2
    by_address = True

    def command(self) -> Sequence[str | Path]:
        where = self.place
        return [
            sys.executable,
            Path(__file__).with_name("brick_host.py"),
            *(f"--worker-core={core}" for core in where.worker_cores),
            # Who slept while the load had the cores would begin later than the other one.
            *["--idle-sleep-us=0"] * where.shared,
            f"--control-core={where.control_core}",
            f"--memory-mb={MEMORY_MB}",
            f"--mbufs={MBUFS}",
            f"--queues={where.queues}",
            *where.sockets,
        ]


class Library(Counting):
    name = "library"
    text = "librte_vhost alone: dequeue, enqueue, free"
    workers_max = 1

    def command(self) -> Sequence[str | Path]:
        return [
            NATIVE / "out" / "crossconnect",
            *self._eal(),
            "--",
            str(self.place.queues),
            *self._in_pairs(),
        ]

    def _in_pairs(self) -> Sequence[Path]:
        """Return the sockets, each next to that to which it sends."""
        sockets = self.place.sockets
        if not self.place.shared:
            return sockets
        half = len(sockets) // 2
        return [path for pair in zip(sockets[:half], sockets[half:], strict=True) for path in pair]


ETHPORTS_MAX = 32
"""``RTE_MAX_ETHPORTS`` of Debian's DPDK: those who serve VMs by ethdev ports have no more."""


class Testpmd(System):
    name = "testpmd"
    text = "dpdk-testpmd --forward-mode=io between two net_vhost ports"
    max_ports = ETHPORTS_MAX

    END = ("no-such-command", b"Command not found")
    """What is said after each command, and its answer: then the command's own is complete."""

    NOTHING = re.compile(r"Accumulated[^\n]*\n +RX-packets: 0 ")
    CYCLES = re.compile(r"CPU cycles/packet=([\d.]+) \((?:busy|total) cycles=(\d+) /")

    def start(self) -> None:
        where = self.place
        program = peers.have(["dpdk-dev"]) / "usr/bin/dpdk-testpmd"
        devices = [
            f"--vdev=net_vhost{i},iface={path},client=1,queues={where.queues}"
            for i, path in enumerate(where.sockets)
        ]
        self.processes.append(
            Process(
                [
                    # What it prints would stay in its buffer, a pipe being no terminal.
                    *("stdbuf", "--output=L"),
                    program,
                    *self._eal(),
                    *devices,
                    "--",
                    "--interactive",
                    "--auto-start",
                    "--forward-mode=io",
                    "--nb-cores=1",
                    f"--rxq={where.queues}",
                    f"--txq={where.queues}",
                    "--burst=32",
                    "--record-core-cycles",
                    f"--total-num-mbufs={MBUFS}",
                    "--disable-link-check",
                    "--no-mlockall",
                    "--no-numa",
                ],
                self._log(),
                cores=(where.control_core, where.worker_core),
            )
        )
        self._tell("show port summary all")

    def measure(self) -> None:
        self._tell("clear fwd stats all")

    def read(self) -> Cost:
        told = self._tell("show fwd stats all")
        if self.NOTHING.search(told):
            return NO_COST
        found = self.CYCLES.search(told)
        if found is None:
            raise self.processes[0].error("no cycles among its figures")
        return replace(NO_COST, mean=float(found[1]), busy_cycles=float(found[2]))

    def _tell(self, command: str) -> str:
        words, answer = self.END
        self.processes[0].say(f"{command}\n{words}")
        return self.processes[0].hear(answer)


class OpenVSwitch(System):
    name = "ovs"
    text = "Open vSwitch with DPDK: a flow for each direction between dpdkvhostuserclient ports"
    max_ports = ETHPORTS_MAX

    PACKAGES = ("openvswitch-switch-dpdk", "openvswitch-switch", "openvswitch-common")
    MEMORY_MB = 512
    """Each port has a pool of its own there."""

    NOTHING = re.compile(r"^pmd thread [^\n]*\n +packets received: 0\n")
    CYCLES = re.compile(
        r"processing cycles: (\d+) .*avg processing cycles per packet: ([\d.]+) ", re.DOTALL
    )

    def start(self) -> None:
        root = self._root = peers.have(self.PACKAGES)
        where = self.place
        database = where.directory / "conf.db"
        schema = root / "usr/share/openvswitch/vswitch.ovsschema"
        self._run("usr/bin/ovsdb-tool", "create", database, schema)
        self._spawn("usr/sbin/ovsdb-server", database, f"--remote=p{self._remote}")
        self._configure()
        self._spawn("usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", self._remote)
        self._make_bridge()

    def measure(self) -> None:
        self._appctl("dpif-netdev/pmd-stats-clear")

    def read(self) -> Cost:
        told = self._appctl("dpif-netdev/pmd-stats-show")
        if self.NOTHING.search(told):
            return NO_COST
        found = self.CYCLES.search(told)
        if found is None:
            raise self.processes[-1].error(f"no cycles in {told!r}")
        return replace(NO_COST, mean=float(found[2]), busy_cycles=float(found[1]))

    @property
    def _remote(self) -> str:
        return f"unix:{self.place.directory}/db"

    def _configure(self) -> None:
        """Write down what the switch begins with."""
        where = self.place
        words = [
            *EAL,
            # Implied by --no-huge; but said, or the switch asks for the opposite.
            "--legacy-mem",
            f"--file-prefix={where.directory.name}",
            "-m",
            str(self.MEMORY_MB),
        ]
        options = {
            "dpdk-init": "true",
            "dpdk-lcore-mask": hex(1 << where.control_core),
            "pmd-cpu-mask": hex(1 << where.worker_core),
            # Or it wants 262144 packet buffers.
            "per-port-memory": "true",
            "dpdk-extra": " ".join(words),
        }
        settings = [f'other_config:{key}="{value}"' for key, value in options.items()]
        self._vsctl("--no-wait", "init")
        self._vsctl("--no-wait", "set", "Open_vSwitch", ".", *settings)

    def _make_bridge(self) -> None:
        bridge = f"vbf{os.getpid()}"
        words = ["add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev"]
        for i, path in enumerate(self.place.sockets):
            words += ["--", "add-port", bridge, f"p{i}", "--", "set", "Interface", f"p{i}"]
            words += ["type=dpdkvhostuserclient", f"ofport_request={i + 1}"]
            words += [f"options:vhost-server-path={path}"]
        self._vsctl(*words)
        # NORMAL would flood to the bridge's own interface until it has learned.
        self._run("usr/bin/ovs-ofctl", "del-flows", bridge)
        for one, other in ((1, 2), (2, 1)):
            self._run("usr/bin/ovs-ofctl", "add-flow", bridge, f"in_port={one},actions={other}")

    # -- its programs

    def _env(self) -> dict[str, str]:
        directory = str(self.place.directory)
        return os.environ | {"OVS_RUNDIR": directory, "OVS_LOGDIR": directory}

    def _spawn(self, program: str, *args: str | Path) -> None:
        path = self._root / program
        control = self.place.directory / f"{path.name}.ctl"
        self.processes.append(
            Process(
                [path, *args, f"--unixctl={control}"],
                self.place.directory / f"{path.name}.log",
                cores=(self.place.control_core, self.place.worker_core),
                talks=False,
                env=self._env(),
            )
        )

    def _vsctl(self, *args: str) -> None:
        # It tries again until the server is there, and waits until the switch has done it.
        self._run("usr/bin/ovs-vsctl", f"--db={self._remote}", "--retry", "--timeout=20", *args)

    def _appctl(self, *args: str) -> str:
        control = self.place.directory / "ovs-vswitchd-dpdk.ctl"
        return self._run("usr/bin/ovs-appctl", f"--target={control}", *args)

    def _run(self, program: str, *args: str | Path) -> str:
        try:
            done = subprocess.run(
                [self._root / program, *args],
                env=self._env(),
                check=True,
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
            )
        except subprocess.CalledProcessError as error:
            raise self._trouble(program, error.stderr) from None
        except subprocess.TimeoutExpired:
            raise self._trouble(program, "hangs") from None
        return done.stdout

    def _trouble(self, program: str, what: str) -> Exception:
        said = f"{Path(program).name}: {what.strip()}"
        return self.processes[-1].error(said) if self.processes else peers.NoPeer(said)


SYSTEMS: dict[str, type[System]] = {
    cls.name: cls for cls in (Brick, Library, Testpmd, OpenVSwitch)
}
