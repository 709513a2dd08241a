# SPDX-License-Identifier: Apache-2.0
"""Where the commands of the documentation are run: a daemon, guests, and a terminal.

Commands are those of this checkout, by the names that operators know, typed into a shell on
a terminal of :data:`COLUMNS` columns.  Processes and ``/run`` are a namespace's own
(:func:`go_apart`): commands find the daemon where they look for it, and no other one.
"""

from __future__ import annotations

import configparser
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from tests.frontend import vuser
from tests.frontend.vhost_user import Frontend
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.model import Port

TOP = Path(__file__).resolve().parents[1]
PROPS = TOP / "tools" / "props"
"""Documents of libvirt that lie in the stage's directory."""

DIRECTORY = Path("/run/vhost-brick")

ROWS, COLUMNS = 50, 96

PATIENCE_S = 120.0
SETTLE_S = 2.0
"""After this time a command that goes on until it is interrupted is at work."""

PROGRAM = """#!{python}
import sys
sys.path.insert(0, {top!r})
from {module} import {function}
sys.argv[0] = {name!r}
sys.exit({function}())
"""


def programs() -> dict[str, str]:
    """Return the programs of the project, and where each begins (``module:function``)."""
    parser = configparser.ConfigParser()
    parser.read(TOP / "setup.cfg")
    lines = parser["entry_points"]["console_scripts"].split("\n")
    return dict(line.split(" = ") for line in lines if line)


def go_apart() -> None:
    """Run this program again where it is alone, unless it is; wants root."""
    if os.getpid() != 1:
        words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        os.execvp(words[0], [*words, sys.executable, *sys.argv])
    subprocess.run(["mount", "-t", "tmpfs", "stage", DIRECTORY.parent], check=True)


class Stage:
    """A directory with a daemon's config, state and sockets, and our programs.

    :param datapath: ``fake`` moves no packets, ``dpdk`` does.
    """

    def __init__(self, datapath: str) -> None:
        self.directory = DIRECTORY
        self.sockets = self.directory / "sockets"
        self.client = Client(timeout=PATIENCE_S)
        self.directory.mkdir()
        # Two daemons may share this config, if somebody starts a second one.
        standby = "on" if datapath == "dpdk" else "off"
        self._log = self.directory / "vhost-brickd.log"
        self._config = self.directory / "vhost-brick.conf"
        self._config.write_text(
            f"[daemon]\ndatapath = {datapath}\nstate_dir = {self.directory}/state\n"
            f"standby = {standby}\n[dpdk]\nhugepages = off\nmemory_mb = 128\n"
        )
        for path in PROPS.glob("*.xml"):
            shutil.copy(path, self.directory)
        self._make_programs()
        self._ending = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()
        shutil.rmtree(self.directory)

    def _make_programs(self) -> None:
        bin = self.directory / "bin"
        bin.mkdir()
        for name, where in programs().items():
            module, function = where.split(":")
            values = {"module": module, "function": function, "name": name, "top": str(TOP)}
            (bin / name).write_text(PROGRAM.format(python=sys.executable, **values))
            (bin / name).chmod(0o755)

    def start_daemon(self) -> None:
        """Start a daemon, and wait until it serves or stands by."""
        path = self.directory / "notify"
        path.unlink(missing_ok=True)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with self._log.open("ab") as log, ready:
            ready.bind(str(path))
            ready.settimeout(PATIENCE_S)
            daemon = subprocess.Popen(
                [self.directory / "bin" / "vhost-brickd", "--config-file", self._config],
                env={**os.environ, "NOTIFY_SOCKET": str(path)},
                stdout=log,
                stderr=log,
            )
            self._ending.callback(_end, daemon)
            try:
                while b"READY=1" not in ready.recv(4096):
                    pass
            except TimeoutError:
                sys.exit(f"vhost-brickd does not start:\n{self._log.read_text()[-4000:]}")

    def start_guests(self) -> vuser.VUser:
        """Start a process that has the network cards of guests; they have none yet."""
        vuser.build()
        return self._ending.enter_context(vuser.VUser(self.directory))

    def start_idle_guest(self, port: Port) -> None:
        """Boot a guest with a server-mode port that says who it is, and takes no packets."""
        guest = self._ending.enter_context(Frontend(port.socket_path))
        guest.connect()
        guest.send(bytes.fromhex("ff" * 6 + port.mac.replace(":", "") + "88b5") + bytes(46))

    def wait(self, reached: Callable[[], bool], what: str) -> None:
        """Wait until *reached* is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited in vain for {what}")
            time.sleep(0.05)

    def wait_in_sync(self) -> None:
        """Wait until there is a standby that knows everything."""

        def in_sync() -> bool:
            standby = self.client.hello().standby
            return standby is not None and standby.in_sync

        self.wait(in_sync, "a standby in sync")

    def port(self, name: str) -> methods.PortStatus:
        """Return what the daemon says of a port."""
        return self.client.call(methods.PortShow(id=name))

    def type(self, command: str, meanwhile: Callable[[Stage], None] | None = None) -> str:
        """Return *command* as typed, and what the terminal shows then.

        :param meanwhile: happens once it is at work; then it gets a Ctrl-C.
        """
        ours, its = os.openpty()
        termios.tcsetwinsize(its, (ROWS, COLUMNS))
        environment = {
            **os.environ,
            # No colours, no cursor that goes back: what is shown is what was written.
            "TERM": "dumb",
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
            "LIBVIRT_DEFAULT_URI": f"test://{self.directory}/host.xml",
        }
        environment.pop("COLUMNS", None)
        shell = subprocess.Popen(
            ["setsid", "--ctty", "bash", "-c", command],
            stdin=its,
            stdout=its,
            stderr=its,
            cwd=self.directory,
            env=environment,
        )
        os.close(its)
        if meanwhile:
            time.sleep(SETTLE_S)
            meanwhile(self)
            time.sleep(SETTLE_S)
            os.write(ours, b"\x03")
        shown = _all_of(ours).decode().replace("\r\n", "\n")
        shell.wait()
        if shown and not shown.endswith("\n"):
            shown += "\n"
        return f"$ {command}\n{shown}"


def _all_of(terminal: int) -> bytes:
    """Return what a terminal shows until nobody has it any more; close it."""
    parts = []
    # Linux says EIO instead of the end of the file.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 65536):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.send_signal(signal.SIGTERM)
    daemon.wait()
