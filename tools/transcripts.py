# SPDX-License-Identifier: Apache-2.0
"""Writes ``doc/source/transcripts``: what a terminal shows, by running the commands::

    tools/transcripts.py [SCENE...]

There are two stages (``tools/stage.py``).  On ``fake`` the daemon is a real one over the
datapath that moves no packets, and libvirt is its driver for tests, without a VM.  On
``dpdk`` everything is real, but that the guests are virtio-user processes; it wants DPDK and a
C compiler.  Both want root, curl and jq.

What is shown is what was printed.  Figures of a real datapath (times, processes, rates,
versions) are others each time: a scene on ``dpdk`` is written again only if more than figures
has changed (:func:`without_figures`), so its page has those of one genuine run.

``tests/unit/test_transcripts.py`` sees to it that the commands exist, and that every command
is in a scene.  Run it again when what commands print has changed.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.frontend.vhost_user import Frontend
from tools.stage import TOP, Stage, go_apart

PAGES = TOP / "doc" / "source"
TRANSCRIPTS = PAGES / "transcripts"

Action = Callable[[Stage], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Typed:
    """A command that goes on until it is interrupted.

    :ivar meanwhile: what it is to see.
    """

    command: str
    meanwhile: Action


Step = str | Typed | Action
"""A command, or what happens unseen between commands."""


# ---- what happens unseen

PORTS = ("web", "db")
NO_SUCH_REQUEST = 1000


def make_ports(on: Stage) -> None:
    """Make a network, with one port of each mode and one whose guest is slow."""
    on.client.network_ensure(network="blue")
    on.client.port_ensure(id="web", network="blue", mode="client")
    for name in ("db", "slow"):
        on.client.port_ensure(id=name, network="blue", mode="server")


def boot_and_break(on: Stage) -> None:
    """Boot two guests, and put something into the way of a third port for a while."""
    guests = on.start_guests()
    for name in PORTS:
        port = on.port(name).port
        is_server = port.mode.peer.value == "server"
        # Rings that last while this machine has others to serve: else some frames are dropped.
        guests.add(name, port.socket_path, server=is_server, mac=port.mac, queue_size=1024)
        guests.wait_link(name)
    guests.start("web", dst=on.port("db").port.mac, size=1000, rate=10_000)
    guests.start("db", dst=on.port("web").port.mac, size=100, rate=5_000)
    on.client.port_ensure(id="mail", network="blue", mode="client")
    in_the_way = on.sockets / "mail"
    in_the_way.write_text("no socket")
    on.wait(lambda: on.port("mail").fault is not None, "a fault")
    in_the_way.unlink()
    on.wait(lambda: on.port("mail").fault is None, "the fault to go")
    on.client.port_remove(id="mail")


def boot_slow(on: Stage) -> None:
    """Boot a guest that takes no packets, and one that sends to it."""
    slow = on.port("slow").port
    on.start_idle_guest(slow)
    on.client.port_ensure(id="cache", network="blue", mode="server")
    cache = on.port("cache").port
    guests = on.start_guests()
    guests.add("cache", cache.socket_path, mac=cache.mac)
    guests.wait_link("cache")
    guests.start("cache", dst=slow.mac, size=100, rate=1_000)


def leave_in_disgrace(on: Stage) -> None:
    """Have a second frontend come to a port, and say what none may say."""
    with Frontend(on.port("cache").port.socket_path) as frontend:
        frontend.open()
        frontend.peer.send_raw(NO_SUCH_REQUEST)
        frontend.wait_disconnect()


def start_standby(on: Stage) -> None:
    """Start a second daemon."""
    on.start_daemon()
    on.wait_in_sync()


# ---- what is shown

FAKE: dict[str, tuple[Step, ...]] = {
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
        "vhost-brick graph",
    ),
    "security": (
        "vhost-brick port create db --network blue --allow 52:54:00:00:00:07=192.0.2.7 "
        "-c id -c security -c allowed",
    ),
    "domain-define": (
        "vhost-brick domain interface-xml web",
        "vhost-brick domain define web.xml --port web --dry-run",
        "vhost-brick domain define web.xml --port web",
    ),
    "domain-attach": (
        "vhost-brick domain attach shop db --config --dry-run",
        "vhost-brick domain attach shop logs --network blue --config --dry-run",
        "vhost-brick domain detach shop web --config --dry-run",
        "vhost-brick domain detach shop db",
    ),
    "domain-check": (
        "vhost-brick domain check shop",
        "vhost-brick domain check old",
    ),
    "hook": (
        "vhost-brick-hook batch prepare begin - < batch.xml",
        "vhost-brick port show batch -c id -c network -c mode -c state",
        "vhost-brick domain reconcile --dry-run",
        "vhost-brick domain reconcile",
    ),
    "errors": (
        "vhost-brick port create mail --network green",
        "vhost-brick port create mail --network blue --mac 01:00:5e:00:00:01",
        "vhost-brick port show mial",
        "vhost-brick port lsit",
        "vhost-brick network delete blue",
        "vhost-brick handover",
        "vhost-brick --api-socket /run/elsewhere status",
    ),
    "undo": (
        "vhost-brick port delete web db",
        "vhost-brick network delete blue",
        "vhost-brick port list",
    ),
}
"""On ``fake``: commands by the file's name, in the order in which they are run."""

DPDK: dict[str, tuple[Step, ...]] = {
    "watch": (make_ports, Typed("vhost-brick watch", boot_and_break)),
    "top": (
        boot_slow,
        "vhost-brick top --count 1 --sort name",
        "vhost-brick top --count 1 --json | "
        "jq -cM '.ports[] | select(.rates.drops.ring_full > 100) | {name, rates}'",
    ),
    "capture": (
        "vhost-brick capture web -c 1000 -w web.pcapng",
        "tcpdump -nr web.pcapng -c 2 2> /dev/null",
        "tshark -r web.pcapng -c 3 -T fields -e frame.time_epoch -e frame.interface_name "
        "-e frame.packet_flags_direction -e ip.src 2> /dev/null",
        "vhost-brick capture slow --seconds 1 --filter 'greater 1500' -w big.pcapng",
        "vhost-brick capture web --filter 'tcp prot 22' -w ssh.pcapng",
    ),
    "trace": (
        "vhost-brick trace web -c 1",
        "vhost-brick trace cache -c 1",
    ),
    "rates": (
        "vhost-brick graph --format tree",
        "vhost-brick graph --format tree --rates 2",
    ),
    "stats": (
        "vhost-brick port list -c id -c mode -c state -c sessions -c fault",
        "vhost-brick port stats slow",
        "vhost-brick network show blue -c name -c ports -c macs_learned -c drops",
    ),
    "exporter": (
        "vhost-brick-exporter & "
        "curl -s --retry 9 --retry-connrefused http://127.0.0.1:9797/metrics | "
        "grep -E '_up |packets_total.*\"slow\"'; kill $!",
    ),
    "life": (leave_in_disgrace, "vhost-brick port show cache"),
    "doctor": (start_standby, "vhost-brick doctor"),
    "handover": (
        "vhost-brick status -c pid -c standby",
        "vhost-brick handover",
        "vhost-brick status -c pid -c took_over",
        "vhost-brick port show web -c state -c sessions -c life",
    ),
}
"""The same on ``dpdk``.  ``capture`` and ``trace`` find their traffic after ``top``."""

SCENES = {
    name: tuple(
        step.command if isinstance(step, Typed) else step
        for step in steps
        if isinstance(step, str | Typed)
    )
    for name, steps in {**FAKE, **DPDK}.items()
}
"""The commands of all scenes."""

# ---- how it is written

FIGURE = re.compile(r"(?<![\w/])[+-]?\d[\d.:]*(?:dev\d+)?[kMG]?(?!\w)")
RULE = re.compile(r"-{2,}|─+")
SPACE = re.compile(r" +")


def without_figures(text: str) -> str:
    """Return *text* with all figures alike, and columns as wide as one another."""
    for pattern, one in ((FIGURE, "0"), (RULE, "-"), (SPACE, " ")):
        text = pattern.sub(one, text)
    return text


def play(steps: tuple[Step, ...], on: Stage) -> str:
    """Do all *steps*, and return what is to be shown of them."""
    shown = ""
    for step in steps:
        if isinstance(step, str):
            shown += on.type(step)
        elif isinstance(step, Typed):
            shown += on.type(step.command, step.meanwhile)
        else:
            step(on)
    # Of a table's last column: the documentation shows none of it.
    return re.sub(r" +$", "", shown, flags=re.MULTILINE)


def write(name: str, shown: str, *, figures_differ: bool) -> None:
    """Write the transcript *name*, unless nothing but figures is new where they differ."""
    path = TRANSCRIPTS / f"{name}.txt"
    old = path.read_text() if path.exists() else ""
    if not figures_differ or without_figures(old) != without_figures(shown):
        path.write_text(shown)


def main() -> None:
    """Write all transcripts, or those that are named."""
    parser = argparse.ArgumentParser(prog="tools/transcripts.py")
    parser.add_argument("scenes", metavar="SCENE", nargs="*", help="default: all")
    wanted = parser.parse_args().scenes or list(SCENES)
    for program in ("curl", "jq"):
        if not shutil.which(program):
            sys.exit(f"{program} is needed, and is not installed")
    go_apart()
    TRANSCRIPTS.mkdir(exist_ok=True)
    for datapath, scenes in (("fake", FAKE), ("dpdk", DPDK)):
        if set(wanted) & set(scenes):
            with Stage(datapath) as on:
                on.start_daemon()
                # All are played: each finds what those before it have left.
                for name, steps in scenes.items():
                    shown = play(steps, on)
                    if name in wanted:
                        write(name, shown, figures_differ=datapath == "dpdk")


if __name__ == "__main__":
    main()
