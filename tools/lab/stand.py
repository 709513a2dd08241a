# SPDX-License-Identifier: Apache-2.0
"""Everything at once: vhost-brickd under a supervisor, our CLI, libvirt, guests.

For the demo, the VM tests and the bench. Interface elements come from
``vhost-brick domain interface-xml`` and from nowhere else.
"""

import configparser
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tools.lab.brickd import Brickd, Life
from tools.lab.duo import Duo
from tools.lab.lab import Guest, GuestImage, Kvm, PrivateLibvirt, Report, build_guest, probe_kvm

CACHE_DIR = Path(os.environ.get("VB_LAB_CACHE", "/var/cache/vb-lab"))

HOOK = Path(__file__).resolve().parents[2] / "etc/libvirt/hooks/qemu.d/vhost-brick"

QEMU_USER = "libvirt-qemu"
NETWORK = "lab"

CLI_TIMEOUT_S = 60.0

# Pings that must be answered after the daemon is ready before an outage
# counts as over. Reports come each 0.2 s, so this many were not answered
# before the kill already.
ANSWERS_THAT_PROVE = 50


class CommandFailed(Exception):
    """A command of ours ended with an error.

    :ivar status: its exit status.
    :ivar stdout: what it printed all the same.
    :ivar stderr: what was wrong.
    """

    def __init__(self, words: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        command = " ".join(("vhost-brick", *words))
        super().__init__(f"{command}: exit status {done.returncode}\n{done.stderr.strip()}")
        self.status = done.returncode
        self.stdout = done.stdout
        self.stderr = done.stderr


@dataclass(frozen=True)
class Host:
    """What this machine has for VMs."""

    image: GuestImage
    kvm: Kvm

    @classmethod
    def probe(cls) -> Self:
        """Build the guest if need be, and look whether KVM works."""
        image = build_guest(CACHE_DIR)
        return cls(image, probe_kvm(image))


class Stand:
    """One daemon and one libvirt in a directory of their own.

    :param directory: empty, its path short, and QEMU's user can walk to it; see
        :func:`work_dir`.
    :param dpdk: options of the config file's group, besides the defaults.
    :param standby: have a second daemon that stands by.
    :ivar duo: the two, if so.
    :param hook: have our hook in libvirt.
    :param wrap: words before the daemon's command, which must exec it.
    :param libvirt: options of :class:`.lab.PrivateLibvirt`.
    """

    def __init__(
        self,
        host: Host,
        directory: Path,
        dpdk: dict[str, str] | None = None,
        wrap: Sequence[str] = (),
        standby: bool = False,
        hook: bool = False,
        **libvirt: Any,
    ) -> None:
        self.host = host
        self.directory = directory
        self.socket_dir = directory / "s"
        self.api_socket = directory / "api.sock"
        config = directory / "vhost-brick.conf"
        self._write_config(config, dpdk or {}, standby)
        command = [*wrap, program("vhost-brickd"), "--config-file", config]
        self.brickd = Brickd(command, directory)
        self._second: Brickd | None = None
        self.duo: Duo | None = None
        if standby:
            (directory / "b").mkdir()
            self._second = Brickd(command, directory / "b")
            self.duo = Duo(self.brickd, self._second, str(self.api_socket))
        if hook:
            libvirt["qemu_hooks"] = {HOOK.name: self._hook()}
        self.libvirt = PrivateLibvirt(directory / "vm", use_kvm=host.kvm.usable, **libvirt)
        self._guests: list[Guest] = []
        self._stack = contextlib.ExitStack()

    def _hook(self) -> str:
        """Return our hook as an operator would have it, but for where things are."""
        here = f"{program('vhost-brick-hook')} --api-socket {self.api_socket}"
        return HOOK.read_text().replace("/usr/local/bin/vhost-brick-hook", here)

    def _write_config(self, path: Path, dpdk: dict[str, str], standby: bool) -> None:
        parser = configparser.ConfigParser(interpolation=None)
        parser["daemon"] = {
            "state_dir": str(self.directory / "state"),
            "api_socket": str(self.api_socket),
            "standby": str(standby),
        }
        parser["vhost"] = {
            "socket_dir": str(self.socket_dir),
            "socket_owner": QEMU_USER,
            "socket_group": QEMU_USER,
        }
        parser["dpdk"] = dpdk
        with path.open("w") as file:
            parser.write(file)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.brickd)
            if self._second is not None:
                stack.enter_context(self._second)
            stack.enter_context(self.libvirt)
            # The guests first: a QEMU that is told to stop wants its backend.
            stack.callback(self._destroy_guests)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _destroy_guests(self) -> None:
        for guest in self._guests:
            with contextlib.suppress(Exception):
                guest.destroy()

    # -- our commands

    def run(self, *words: str) -> str:
        """Run ``vhost-brick`` and return what it printed.

        :raises CommandFailed: it ended with an error.
        """
        command = [str(program("vhost-brick")), "--api-socket", str(self.api_socket), *words]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLI_TIMEOUT_S,
            check=False,
            env=os.environ | {"LIBVIRT_DEFAULT_URI": self.libvirt.uri},
        )
        if done.returncode != 0:
            raise CommandFailed(words, done)
        return done.stdout

    def show(self, *words: str) -> Any:
        """Run a ``vhost-brick`` command that shows something and return that."""
        return json.loads(self.run(*words, "-f", "json"))

    def create_network(self, name: str = NETWORK) -> None:
        self.run("network", "create", name)

    def create_port(self, name: str, mode: str, network: str = NETWORK, *more: str) -> None:
        """Make a port; *mode* is the brick's."""
        self.run("port", "create", name, "--network", network, "--mode", mode, *more)

    def interface(self, port: str, *tuning: str) -> str:
        """The interface element of a port, from our own command."""
        return self.run("domain", "interface-xml", port, *tuning)

    # -- guests

    def guest(
        self,
        name: str,
        ports: Iterable[str] = (),
        *,
        tuning: Iterable[str] = (),
        image: GuestImage | None = None,
        **options: Any,
    ) -> Guest:
        """A guest with an interface on each of *ports*, not yet started.

        :param tuning: options of ``domain interface-xml``.
        :param image: what it boots, if not the host's.
        :param options: :class:`.lab.Guest`'s.
        """
        interfaces = [self.interface(port, *tuning) for port in ports]
        guest = Guest(self.libvirt, image or self.host.image, name, interfaces, **options)
        self._guests.append(guest)
        return guest

    # -- outages

    def kill(self, guests: Sequence[Guest], timeout: float = 30.0) -> tuple[Life, Life]:
        """Kill the daemon and wait until all *guests* have answers again.

        Nobody does anything but the supervisor. Returns the life that ended and
        the one that followed.
        """
        number = len(self.brickd.lives)
        dead = self.brickd.kill()
        life = self.brickd.wait_ready(number, timeout)
        for guest in guests:
            wait_answers(guest, ANSWERS_THAT_PROVE, timeout)
        return dead, life


def wait_answers(guest: Guest, count: int = ANSWERS_THAT_PROVE, timeout: float = 30.0) -> Report:
    """Wait until *guest* has got *count* answers from now on."""
    before = guest.wait_report(fresh=True, timeout=timeout)
    return guest.wait_report(lambda r: r.answered >= before.answered + count, timeout)


def program(name: str) -> Path:
    """The path of one of our commands: the one of this Python's environment."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed beside {sys.executable}")
    return Path(found)


@contextlib.contextmanager
def work_dir(prefix: str, *, keep_on_error: bool = True) -> Iterator[Path]:
    """A new directory that QEMU's user can walk to; removed at the end.

    One in which something failed is kept, for its logs.
    """
    path = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir="/tmp"))
    path.chmod(0o711)
    try:
        yield path
    except Exception:
        if not keep_on_error:
            shutil.rmtree(path, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
