# SPDX-License-Identifier: Apache-2.0
"""Writes ``doc/source/transcripts``: what a terminal shows, by running the commands::

    tools/transcripts.py

The daemon is a real one, over the datapath that moves no packets, in a directory of its
own; ``tests/unit/test_transcripts.py`` sees to it that the commands exist.  Run it again
when what commands print has changed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
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

START_S = 30.0


class Demo:
    """A daemon without traffic, and the commands of the environment this runs in.

    :param directory: as long as :data:`SHOWN_DIRECTORY`, which takes its place in what is
        shown, so that tables stay in line.
    """

    def __init__(self, directory: Path) -> None:
        assert len(str(directory)) == len(SHOWN_DIRECTORY)
        self.directory = directory
        self.bin = Path(sys.executable).parent
        self.config = directory / "vhost-brick.conf"
        self.config.write_text(
            f"[daemon]\ndatapath = fake\nstate_dir = {directory}/state\n"
            f"api_socket = {directory}/api.sock\n"
            f"[dpdk]\nhugepages = off\n[vhost]\nsocket_dir = {directory}/sockets\n"
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


def main() -> None:
    """Write all transcripts."""
    room = len(SHOWN_DIRECTORY) - len("/tmp/vb-")
    # mkdtemp's own names have eight characters.
    assert room == 8
    with tempfile.TemporaryDirectory(prefix="vb-", dir="/tmp") as directory:
        demo = Demo(Path(directory))
        TRANSCRIPTS.mkdir(exist_ok=True)
        with demo.running():
            for name, commands in SCENES.items():
                shown = "".join(demo.run(command) for command in commands)
                (TRANSCRIPTS / f"{name}.txt").write_text(shown)


if __name__ == "__main__":
    main()
