# SPDX-License-Identifier: Apache-2.0
"""Writes ``doc/source/transcripts``: what a terminal shows, by running the commands::

    tools/transcripts.py

The daemon is a real one in a directory of its own, over the datapath that moves no packets,
and for some commands over DPDK, with guests that send;
``tests/unit/test_transcripts.py`` sees to it that the commands exist.  Run it again when what
commands print has changed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP))

from tests.frontend.vhost_user import Frontend  # noqa: E402
from vhost_brick_plugin.api.client import Client  # noqa: E402
from vhost_brick_plugin.model import AddressPair, PortSecurity, SecurityMode  # noqa: E402

PAGES = TOP / "doc" / "source"
TRANSCRIPTS = PAGES / "transcripts"

SHOWN_DIRECTORY = "/run/vhost-brick"

SCENES = {
    "vhost-brickd": ("vhost-brickd --help",),
    "quickstart": (
        "vhost-brick network create blue",
        "vhost-brick port create web --network blue -c id -c mode -c socket_path -c state",
        "vhost-brick port create db --network blue --mode server -c id -c mode -c state",
    ),
    "look": (
        "vhost-brick status -c datapath -c networks -c ports -c ports_by_state",
        "vhost-brick network list",
        "vhost-brick port list -c id -c network -c mode -c state -c fault",
        "vhost-brick port stats web -f json",
        "vhost-brick domain interface-xml web",
        "vhost-brick graph",
    ),
    "security": (
        "vhost-brick port create db --network blue --allow 52:54:00:00:00:07=192.0.2.7 "
        "-c id -c security -c allowed",
    ),
    "errors": (
        "vhost-brick port create mail --network green",
        "vhost-brick port create mail --network blue --mac 01:00:5e:00:00:01",
        "vhost-brick network delete blue",
        "vhost-brick handover",
    ),
    "undo": (
        "vhost-brick port delete web db",
        "vhost-brick network delete blue",
        "vhost-brick port list",
    ),
}
"""Commands by the file's name, in the order in which they are run, all on one daemon."""

TRAFFIC = {"trace": ("vhost-brick trace web -c 3",)}
"""The same, while :func:`guests` send."""

START_S = 30.0
PAUSE_S = 0.2
"""Between two rounds of what guests send."""


class Demo:
    """A daemon, and the commands of the environment this runs in.

    :param directory: as long as :data:`SHOWN_DIRECTORY`, which takes its place in what is
        shown, so that tables stay in line.
    """

    def __init__(self, directory: Path, datapath: str) -> None:
        assert len(str(directory)) == len(SHOWN_DIRECTORY)
        self.directory = directory
        self.bin = Path(sys.executable).parent
        self.config = directory / "vhost-brick.conf"
        self.config.write_text(
            f"[daemon]\ndatapath = {datapath}\nstate_dir = {directory}/state\n"
            f"api_socket = {directory}/api.sock\n"
            "[dpdk]\nhugepages = off\nmemory_mb = 128\n"
            f"[vhost]\nsocket_dir = {directory}/sockets\n"
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have the daemon serve until the end of ``with``."""
        notify = self.directory / "notify"
        command = [self.bin / "vhost-brickd", "--config-file", self.config]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(notify))
            ready.settimeout(START_S)
            environment = {**os.environ, "NOTIFY_SOCKET": str(notify)}
            daemon = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
            try:
                while b"READY=1" not in ready.recv(4096):
                    pass
                yield
            finally:
                daemon.terminate()
                daemon.wait()

    def run(self, command: str) -> str:
        """Return *command* as typed, and what it prints."""
        program, *words = shlex.split(command)
        if program == "vhost-brick":
            words = ["--api-socket", str(self.directory / "api.sock"), *words]
        done = subprocess.run(
            [self.bin / program, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "96"},
        )
        shown = done.stdout.replace(str(self.directory), SHOWN_DIRECTORY)
        return f"$ {command}\n{shown}"


@contextlib.contextmanager
def guests(demo: Demo) -> Iterator[None]:
    """Have two guests on a network, of which one sends, now and then what it may not."""
    macs = {"web": "52:54:00:00:00:01", "db": "52:54:00:00:00:07"}
    security = PortSecurity(
        mode=SecurityMode.FILTERED, allowed=(AddressPair(mac=macs["web"], ip="192.0.2.1"),)
    )
    client = Client(str(demo.directory / "api.sock"))
    with contextlib.ExitStack() as stack:
        ends = {}
        for id, mac in macs.items():
            made = client.port_ensure(
                id=id,
                network="blue",
                create_network=True,
                mac=mac,
                security=security if id == "web" else None,
            )
            ends[id] = stack.enter_context(Frontend(made.port.socket_path, listen=True))
            ends[id].connect()
        stack.enter_context(_sending(ends["web"], ends["db"], macs))
        yield


@contextlib.contextmanager
def _sending(web: Frontend, db: Frontend, macs: Mapping[str, str]) -> Iterator[None]:
    """Let *web* ask for *db*, speak to it, and forge an address, again and again."""
    frames = [
        Ether(src=macs["web"], dst=to) / packet
        for to, packet in (
            ("ff:ff:ff:ff:ff:ff", ARP(hwsrc=macs["web"], psrc="192.0.2.1", pdst="192.0.2.7")),
            (macs["db"], IP(src="192.0.2.1", dst="192.0.2.7") / TCP(sport=40000, dport=5432)),
            (macs["db"], IP(src="192.0.2.66", dst="192.0.2.7") / UDP(sport=40001, dport=53)),
        )
    ]
    ended = threading.Event()

    def send() -> None:
        while not ended.wait(PAUSE_S):
            db.send(bytes(Ether(src=macs["db"], dst=macs["web"])) + bytes(46))
            for frame in frames:
                web.send(bytes(frame).ljust(60, b"\0"))
            db.receive_all()
            web.receive_all()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def play(demo: Demo, scenes: Mapping[str, Sequence[str]]) -> None:
    """Write the transcripts of *scenes*."""
    for name, commands in scenes.items():
        shown = "".join(demo.run(command) for command in commands)
        (TRANSCRIPTS / f"{name}.txt").write_text(shown)


@contextlib.contextmanager
def stage(datapath: str) -> Iterator[Demo]:
    """Have a daemon over *datapath*."""
    room = len(SHOWN_DIRECTORY) - len("/tmp/vb-")
    # mkdtemp's own names have eight characters.
    assert room == 8
    with tempfile.TemporaryDirectory(prefix="vb-", dir="/tmp") as directory:
        demo = Demo(Path(directory), datapath)
        with demo.running():
            yield demo


def main() -> None:
    """Write all transcripts."""
    TRANSCRIPTS.mkdir(exist_ok=True)
    with stage("fake") as demo:
        play(demo, SCENES)
    with stage("dpdk") as demo, guests(demo):
        play(demo, TRAFFIC)


if __name__ == "__main__":
    main()
