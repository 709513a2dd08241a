# SPDX-License-Identifier: Apache-2.0
"""Real VMs through a real, private libvirtd, for the demo and the VM tests.

Nothing of the machine's own libvirt is touched, no systemd is needed, and
KVM is used only where a guest really runs under it. See README.md.
"""

import contextlib
import grp
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

HERE = Path(__file__).resolve().parent
QEMU = Path("/usr/bin/qemu-system-x86_64")
LIBVIRTD = Path("/usr/sbin/libvirtd")
DRIVER_DIR = Path("/usr/lib/x86_64-linux-gnu/libvirt/connection-driver")

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"

# Between two looks of a shell that waits; without a pause what it waits for would starve.
SHELL_PACE_US = 10_000

# The longest path that fits into a socket address.
SOCKET_PATH_MAX = 107

# A guest's kernel runs under KVM within a second, where KVM works at all.
KVM_PROBE_TIMEOUT_S = 8.0
PROBE_MARK = b"vb-guest-runs"

# What the guest's kernel is spared: it is to boot quickly, and it is alone
# with us.
GUEST_KERNEL_OPTIONS = (
    "console=ttyS1 quiet loglevel=4 panic=-1 mitigations=off nokaslr "
    "no5lvl ipv6.disable=1 random.trust_cpu=on"
)

# QEMU before 8 crashes under TCG when a guest uses MSI-X on a vhost-user
# card, on the command line or plugged in later.
TCG_KERNEL_OPTIONS = "pci=nomsi"


class LabError(Exception):
    """Something the lab needs is missing or did not happen."""


# ---- the guest's image


@dataclass(frozen=True)
class GuestImage:
    """What build.sh leaves: a kernel and its initramfs."""

    kernel: Path
    initramfs: Path


def build_guest(cache_dir: Path) -> GuestImage:
    """Build the guest, or find it built already, in ``cache_dir``."""
    script = HERE / "guest" / "build.sh"
    done = subprocess.run([script, cache_dir], check=False)
    if done.returncode != 0:
        raise LabError(f"{script} failed; what it wrote above says why")
    return GuestImage(
        (cache_dir / "vmlinuz").resolve(),
        (cache_dir / "initramfs.cpio.gz").resolve(),
    )


# ---- KVM


@dataclass(frozen=True)
class Kvm:
    """Whether guests can run under KVM here, and how that is known."""

    usable: bool
    reason: str


def probe_kvm(image: GuestImage, *, timeout: float = KVM_PROBE_TIMEOUT_S) -> Kvm:
    """Find out whether a guest really runs under KVM.

    A node that opens proves little: on some nested machines a guest starts
    and then hangs as soon as it leaves real mode. So the lab's own guest is
    booted. The answer is kept beside the image until the machine reboots.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Kvm(False, "/dev/kvm is missing or not ours to open")
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    node = Path("/dev/kvm").stat()
    key = f"{boot_id} {node.st_dev}:{node.st_ino} {timeout}"
    kept = image.initramfs.with_name("kvm-probe.json")
    with contextlib.suppress(OSError, ValueError, KeyError):
        answer = json.loads(kept.read_text())
        if answer["key"] == key:
            return Kvm(bool(answer["usable"]), str(answer["reason"]))
    kvm = _boot_under_kvm(image, timeout)
    fresh = kept.with_name(f"kvm-probe.{os.getpid()}.tmp")
    fresh.write_text(json.dumps({"key": key, "usable": kvm.usable, "reason": kvm.reason}))
    fresh.replace(kept)
    return kvm


def _boot_under_kvm(image: GuestImage, timeout: float) -> Kvm:
    command: list[str | Path] = [QEMU, "-accel", "kvm", "-cpu", "host"]
    command += ["-machine", "pc", "-m", "128", "-nodefaults"]
    command += ["-no-user-config", "-display", "none", "-no-reboot"]
    command += ["-serial", "stdio", "-monitor", "none"]
    command += ["-kernel", image.kernel, "-initrd", image.initramfs]
    command += ["-append", f"{GUEST_KERNEL_OPTIONS} vb.probe=1"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Kvm(False, f"a guest under KVM did not start within {timeout:g} s")
    if PROBE_MARK in done.stdout:
        return Kvm(True, "a guest ran under KVM")
    text = done.stdout.decode(errors="replace").strip().splitlines()
    return Kvm(False, f"QEMU under KVM: {text[-1] if text else 'no word'}")


# ---- libvirtd


def _check_path(path: Path, user: pwd.struct_passwd) -> None:
    """Refuse a path that QEMU's user cannot walk to."""
    if user.pw_uid == 0:
        return
    for parent in path.parents:
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise LabError(
                f"{user.pw_name} cannot reach {path}: chmod o+x {parent}, "
                "or use another work directory"
            )


class PrivateLibvirt:
    """A libvirtd of our own, with its own /run, /etc and /var.

    ``work_dir`` gets everything: configuration, logs, sockets. It must not
    be under /run. vhost-user sockets may be anywhere but under /run, which
    libvirtd and QEMU do not see. QEMU runs as ``qemu_user``, Debian's
    ``libvirt-qemu`` unless told otherwise. ``use_kvm=False`` hides /dev/kvm
    from it. ``dynamic_ownership`` lets libvirtd give the files of a guest to
    that user, as hosts have it. ``hostname`` is what libvirtd takes for the
    host's name, if not the machine's. ``qemu_hooks`` are scripts by their names
    in ``hooks/qemu.d``.

    All that it starts ends with :meth:`stop`, and also when this process
    dies, however it dies.
    """

    def __init__(
        self,
        work_dir: Path,
        *,
        qemu_user: str = "libvirt-qemu",
        qemu_group: str | None = None,
        use_kvm: bool = False,
        dynamic_ownership: bool = False,
        hostname: str = "",
        qemu_hooks: Mapping[str, str] | None = None,
    ) -> None:
        self.work_dir = work_dir.resolve()
        self.use_kvm = use_kvm
        self._dynamic_ownership = dynamic_ownership
        self._hostname = hostname
        self._qemu_hooks = dict(qemu_hooks or {})
        try:
            self.user = pwd.getpwnam(qemu_user)
            self.group = grp.getgrnam(qemu_group or qemu_user)
        except KeyError as error:
            raise LabError(f"{error.args[0]}: install libvirt-daemon-system") from None
        self._socket = self.work_dir / "run/libvirt/libvirt-sock"
        self._supervisor: subprocess.Popen[str] | None = None
        self._connection: Any = None

    @property
    def uri(self) -> str:
        """For ``libvirt.open`` and ``virsh -c``, from any process."""
        return f"qemu+unix:///system?socket={self._socket}"

    @property
    def guests_dir(self) -> Path:
        return self.work_dir / "guests"

    @property
    def connection(self) -> Any:
        """The lab's own ``libvirt.virConnect``."""
        if self._connection is None:
            raise LabError("libvirtd is not started")
        return self._connection

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 60.0) -> None:
        """Start libvirtd; returns when it answers."""
        if self._supervisor is not None:
            raise LabError("libvirtd is started already")
        if os.geteuid() != 0:
            raise LabError("a private libvirtd needs root")
        if len(os.fsencode(self._socket)) > SOCKET_PATH_MAX:
            raise LabError(f"too long for a socket: {self._socket}")
        if self.work_dir.is_relative_to("/run"):
            raise LabError(f"{self.work_dir} is under /run: take another")
        plan = self._prepare()
        # A session of its own: Ctrl-C at a terminal is ours to handle.
        self._supervisor = subprocess.Popen(
            [sys.executable, "-I", HERE / "supervisor.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd="/",
        )
        try:
            assert self._supervisor.stdin
            with contextlib.suppress(BrokenPipeError):
                self._supervisor.stdin.write(json.dumps(plan) + "\n")
                self._supervisor.stdin.flush()
            self._connection = self._wait_ready(timeout)
        except BaseException:
            self.stop()
            raise

    def restart(self, timeout: float = 60.0) -> None:
        """Start libvirtd anew while its guests run; returns when it answers."""
        assert self._supervisor
        self.connection.close()
        self._connection = None
        self._supervisor.send_signal(signal.SIGHUP)
        self._connection = self._wait_ready(timeout)

    def _wait_ready(self, timeout: float) -> Any:
        supervisor = self._supervisor
        assert supervisor
        assert supervisor.stdout
        answer = json.loads(supervisor.stdout.readline() or '{"error": ""}')
        if "error" in answer:
            raise LabError(f"cannot start libvirtd: {answer['error']}")
        import libvirt  # type: ignore[import-untyped,unused-ignore]

        # The socket listens already, so this waits for libvirtd itself.
        opening = _in_thread(lambda: libvirt.open(self.uri))
        try:
            return opening.result(timeout)
        except TimeoutError:
            why = f"no answer within {timeout:g} s"
        except libvirt.libvirtError as error:
            why = str(error)
        raise LabError(f"libvirtd does not work: {why}\n{self._tail_of_log()}")

    def _tail_of_log(self) -> str:
        text = ""
        for name in ("stderr.log", "libvirtd.log"):
            with contextlib.suppress(OSError):
                path = self.work_dir / "log" / name
                text += "\n".join(path.read_text().splitlines()[-10:])
        return text

    def stop(self) -> None:
        """End the guests and libvirtd; nothing of them stays."""
        if self._connection is not None:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None
        if self._supervisor is None:
            return
        assert self._supervisor.stdin
        assert self._supervisor.stdout
        # Its standard input closes: it ends all that it started.
        self._supervisor.stdin.close()
        self._supervisor.stdout.close()
        self._supervisor.wait()
        self._supervisor = None

    def _prepare(self) -> dict[str, Any]:
        for name in ("run", "etc", "lib", "cache", "log", "drivers", "guests"):
            (self.work_dir / name).mkdir(parents=True, exist_ok=True)
        self.work_dir.chmod(0o711)
        _check_path(self.work_dir / "run", self.user)
        # libvirtd's own memory of an earlier run is of no use.
        for stale in ("run", "etc", "lib"):
            shutil.rmtree(self.work_dir / stale)
            (self.work_dir / stale).mkdir()
        self._socket.parent.mkdir()
        self.guests_dir.chmod(0o711)

        # The QEMU driver alone: the others (networks, filters, devices)
        # would look at the machine, or change it.
        driver = self.work_dir / "drivers/libvirt_driver_qemu.so"
        driver.unlink(missing_ok=True)
        driver.symlink_to(DRIVER_DIR / driver.name)

        etc = self.work_dir / "etc"
        log = self.work_dir / "log"
        (etc / "libvirtd.conf").write_text(
            _settings(
                auth_unix_rw="none",
                auth_unix_ro="none",
                audit_level=0,
                host_uuid=str(uuid.uuid4()),
                log_outputs="2:file:/var/log/libvirt/libvirtd.log",
            )
        )
        (etc / "qemu.conf").write_text(
            _settings(
                user=self.user.pw_name,
                group=self.group.gr_name,
                # root without its capabilities could not even reach the
                # sockets of other users.
                clear_emulator_capabilities=int(self.user.pw_uid != 0),
                security_driver="none",
                dynamic_ownership=int(self._dynamic_ownership),
                remember_owner=0,
                namespaces=[],
                cgroup_controllers=[],
                stdio_handler="file",
            )
        )
        for name, script in self._qemu_hooks.items():
            hook = etc / "hooks/qemu.d" / name
            hook.parent.mkdir(parents=True, exist_ok=True)
            hook.write_text(script)
            hook.chmod(0o755)
        mounts = [
            (self.work_dir / "run", "/run"),
            (etc, "/etc/libvirt"),
            (self.work_dir / "lib", "/var/lib/libvirt"),
            (log, "/var/log/libvirt"),
            (self.work_dir / "cache", "/var/cache/libvirt"),
        ]
        # An empty file that none may open: with a node that opens and is
        # no KVM (/dev/null), libvirtd probes QEMU for seconds, each time.
        nothing = self.work_dir / "nothing"
        nothing.touch(mode=0)
        if not self.use_kvm and Path("/dev/kvm").exists():
            mounts.append((nothing, "/dev/kvm"))
        return {
            "mounts": [[str(source), target] for source, target in mounts],
            "hostname": self._hostname,
            "socket": "/run/libvirt/libvirt-sock",
            "argv": [str(LIBVIRTD)],
            "env": {
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LIBVIRT_DRIVER_DIR": str(driver.parent),
                # The machine's systemd must not hear of our guests.
                "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent",
            },
            "log": str(log / "stderr.log"),
        }


def _settings(**settings: str | int | list[str]) -> str:
    """A file in libvirt's configuration language, which JSON fits."""
    return "".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items())


def _in_thread(call: Callable[[], T]) -> Future[T]:
    """Run a call that may block for ever, beside us."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


# ---- guests


@dataclass(frozen=True)
class Report:
    """What a guest's pinger says, about five times a second."""

    t: float
    """The guest's clock, seconds since 1970."""
    uptime_s: float
    boot_id: str
    """Changes when the guest boots again."""
    sent: int
    answered: int
    duplicate: int
    send_errors: int
    longest_silence_ms: float
    """Between two answers that followed each other."""
    current_silence_ms: float
    """Since the last answer, or since the reset."""
    host_monotonic: float
    """When it arrived here, by ``time.monotonic()``."""

    @classmethod
    def read(cls, line: Mapping[str, Any]) -> Self:
        return cls(
            t=float(line["t"]),
            uptime_s=float(line["uptime_s"]),
            boot_id=str(line["boot_id"]),
            sent=int(line["sent"]),
            answered=int(line["answered"]),
            duplicate=int(line["duplicate"]),
            send_errors=int(line["send_errors"]),
            longest_silence_ms=float(line["longest_silence_ms"]),
            current_silence_ms=float(line["current_silence_ms"]),
            host_monotonic=time.monotonic(),
        )


class Guest:
    """One VM of the lab: busybox, a pinger, and the interfaces given.

    ``interfaces`` are complete ``<interface>`` elements. ``ip`` is the
    address of the first one in the guest (``10.0.0.1/24``), ``more_ips``
    those of the others; ``peer`` is whom it pings. An address waits for its
    card, so a card may be plugged in later. With ``peer_mac`` the guest has
    a permanent neighbour entry for its peer and never asks by ARP.
    ``kernel_options`` are more words for its kernel's command line.
    """

    def __init__(
        self,
        libvirt: PrivateLibvirt,
        image: GuestImage,
        name: str,
        interfaces: Iterable[str] = (),
        *,
        ip: str = "",
        peer: str = "",
        peer_mac: str = "",
        interval_ms: int = 10,
        more_ips: Iterable[str] = (),
        memory_mib: int = 128,
        vcpus: int = 1,
        kernel_options: str = "",
    ) -> None:
        self.name = name
        self.uuid = str(uuid.uuid4())
        self._libvirt = libvirt
        self._image = image
        self._interfaces = list(interfaces)
        self._memory_mib = memory_mib
        self._vcpus = vcpus
        words = [GUEST_KERNEL_OPTIONS, kernel_options, f"vb.interval_ms={interval_ms}"]
        if not libvirt.use_kvm:
            words.append(TCG_KERNEL_OPTIONS)
        if ip:
            words.append(f"vb.ip={ip}")
        words += [f"vb.ip{n}={more}" for n, more in enumerate(more_ips, 1)]
        if peer:
            words.append(f"vb.peer={peer}")
        if peer_mac:
            words.append(f"vb.peer_mac={peer_mac}")
        self._cmdline = " ".join(words)
        self.dir = libvirt.guests_dir / name
        self._serial = _Serial(self.dir / "serial.log")
        self._commands = threading.Lock()
        self._domain: Any = None

    # -- the document

    def xml(self) -> str:
        """The domain document."""
        tcg = not self._libvirt.use_kvm
        domain = ET.Element("domain", type="qemu" if tcg else "kvm")
        _add(domain, "name", self.name)
        _add(domain, "uuid", self.uuid)
        _add(domain, "memory", str(self._memory_mib), unit="MiB")
        backing = _add(domain, "memoryBacking")
        _add(backing, "source", type="memfd")
        _add(backing, "access", mode="shared")
        _add(domain, "vcpu", str(self._vcpus))
        system = _add(domain, "os")
        _add(system, "type", "hvm", arch="x86_64", machine="pc")
        _add(system, "kernel", str(self._image.kernel))
        _add(system, "initrd", str(self._image.initramfs))
        _add(system, "cmdline", self._cmdline)
        # ACPI is how the guest hears of a card that comes or goes.
        _add(_add(domain, "features"), "acpi")
        _add(domain, "cpu", mode="maximum" if tcg else "host-passthrough")
        for event in ("on_poweroff", "on_reboot", "on_crash"):
            _add(domain, event, "destroy")

        devices = _add(domain, "devices")
        _add(devices, "emulator", str(QEMU))
        _add(devices, "controller", type="usb", model="none")
        _add(devices, "memballoon", model="none")
        serial = _add(devices, "serial", type="unix")
        _add(serial, "source", mode="connect", path=str(self._serial_path))
        _add(serial, "target", port="0")
        console = _add(devices, "serial", type="file")
        _add(console, "source", path=str(self.console_log))
        _add(console, "target", port="1")
        for interface in self._interfaces:
            devices.append(ET.fromstring(interface))
        ET.indent(domain)
        return ET.tostring(domain, encoding="unicode")

    @property
    def _serial_path(self) -> Path:
        return self.dir / "serial.sock"

    @property
    def console_log(self) -> Path:
        """Where the guest's kernel and its init write."""
        return self.dir / "console.log"

    # -- its life

    def define(self) -> None:
        self._make_dir()
        self._domain = self._libvirt.connection.defineXML(self.xml())

    def adopt(self) -> None:
        """Take the domain of this name, which somebody else has defined, for ours."""
        self._make_dir()
        self._domain = self._libvirt.connection.lookupByName(self.name)

    def start(self, timeout: float = 60.0) -> None:
        """Start it; returns when libvirt says it runs.

        QEMU waits, without a limit of its own, for the backend of each
        interface where it is the server. Here that ends with ``timeout``.
        """
        if self._domain is None:
            self.define()
        self._serial.listen(self._serial_path, self._libvirt.user)
        starting = _in_thread(self._domain.create)
        try:
            starting.result(timeout)
        except TimeoutError:
            with contextlib.suppress(LabError, ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._serial.close()
            raise LabError(
                f"{self.name} did not start within {timeout:g} s; does the "
                "backend of each of its interfaces answer?"
            ) from None
        except BaseException:
            self._serial.close()
            raise

    def expect(self) -> None:
        """Get ready for a guest of this name that is on its way from another host.

        When it is there, :meth:`adopt` it.
        """
        self._make_dir()
        self._serial.listen(self._serial_path, self._libvirt.user)

    def let_go(self) -> None:
        """Forget it: it went to another host, or never came from there."""
        self._serial.close()
        self._domain = None

    def destroy(self) -> None:
        """Switch it off, if it runs."""
        if self._domain is not None and self._domain.isActive():
            self._domain.destroy()
        self._serial.close()

    def undefine(self) -> None:
        if self._domain is not None:
            self._domain.undefine()
            self._domain = None

    @property
    def domain(self) -> Any:
        """Its ``libvirt.virDomain``."""
        if self._domain is None:
            raise LabError(f"{self.name} is not defined")
        return self._domain

    @property
    def pid(self) -> int:
        """Of its QEMU."""
        path = self._libvirt.work_dir / f"run/libvirt/qemu/{self.name}.pid"
        try:
            return int(path.read_text())
        except (OSError, ValueError):
            raise LabError(f"{self.name} does not run") from None

    def _make_dir(self) -> None:
        self.dir.mkdir(parents=True, exist_ok=True)
        user, group = self._libvirt.user, self._libvirt.group
        os.chown(self.dir, user.pw_uid, group.gr_gid)

    # -- what it says

    @property
    def latest(self) -> Report | None:
        """The last report, if there was one since the last reset."""
        return self._serial.latest

    def wait_report(
        self,
        predicate: Callable[[Report], bool] = lambda _report: True,
        timeout: float = 30.0,
        *,
        fresh: bool = False,
    ) -> Report:
        """Wait for a report that satisfies; ``fresh``: not one from before.

        Ends at once, with an error, when the guest is gone.
        """

        def ready() -> Report | None:
            report = self._serial.latest
            if report is None or (fresh and report is old):
                return None
            return report if predicate(report) else None

        old = self._serial.latest
        found = self._serial.wait(ready, timeout)
        if found is None:
            raise LabError(f"{self.name}: {self._silence(timeout)}")
        return found

    def command(self, text: str, timeout: float = 15.0) -> dict[str, Any]:
        """Give the pinger a command; returns its answer."""
        verb = text.split(" ", 1)[0]
        with self._commands:
            self._serial.events.clear()
            said = self._serial.send(text, timeout)

            def ready() -> dict[str, Any] | None:
                for event in self._serial.events:
                    if event["event"] in (verb, "error"):
                        return event
                return None

            answer = self._serial.wait(ready, timeout) if said else None
        if answer is None:
            raise LabError(f"{self.name}: {text!r}: {self._silence(timeout)}")
        if answer["event"] == "error":
            raise LabError(f"{self.name}: {text!r}: {answer['message']}")
        return answer

    def shell(self, command: str) -> str:
        """Run a command in the guest; returns what it printed.

        It has ten seconds. What it leaves in the background dies with it: see
        :meth:`background`.
        """
        answer = self.command(f"sh {command}")
        if answer["status"] != 0:
            raise LabError(
                f"{self.name}: {command!r} ended with {answer['status']}: {answer['output']}"
            )
        return str(answer["output"])

    def background(self, command: str, started: str) -> None:
        """Run a command that goes on; returns when the shell command *started* succeeds.

        Its output has to go elsewhere.
        """
        # In a session of its own by then: the shell's is killed.
        self.shell(f"setsid {command} & until {started}; do usleep {SHELL_PACE_US}; done")

    def _silence(self, timeout: float) -> str:
        words = f"not within {timeout:g} s" if self._serial.open else "it is gone"
        words += f"; last report: {self._serial.latest}"
        with contextlib.suppress(OSError):
            console = self.console_log.read_text(errors="replace")
            words += f"; end of its console: {console[-500:]!r}"
        return words


def _add(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


class _Serial:
    """The serial line of a guest, read in a thread of its own.

    We listen and QEMU connects: not a byte is lost, and the end of the line
    is the end of that QEMU.
    """

    def __init__(self, log: Path) -> None:
        self.latest: Report | None = None
        self.events: list[dict[str, Any]] = []
        self.open = False
        self._spoken = False
        self._log_path = log
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._line: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def listen(self, path: Path, user: pwd.struct_passwd) -> None:
        self.close()
        path.unlink(missing_ok=True)
        if len(os.fsencode(path)) > SOCKET_PATH_MAX:
            raise LabError(f"too long for a socket: {path}")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        os.chown(path, user.pw_uid, -1)
        path.chmod(0o600)
        listener.listen(1)
        self.latest = None
        self.events.clear()
        self._spoken = False
        self.open = True
        self._listener = listener
        self._thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        # Both wake the thread, which does the rest.
        with self._changed:
            self.open = False
            for end in (self._listener, self._line):
                if end is not None:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def send(self, text: str, timeout: float) -> bool:
        """Send a line; false if the guest did not say a word before that."""

        # Before the pinger has spoken nobody listens, and the guest's
        # kernel throws away what waits when the port is opened.
        def spoken() -> socket.socket | None:
            return self._line if self._spoken else None

        line = self.wait(spoken, timeout)
        if line is not None:
            line.sendall(text.encode() + b"\n")
        return line is not None

    def wait(self, ready: Callable[[], T | None], timeout: float) -> T | None:
        """Wait until ``ready`` returns something, or there is no hope."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while (found := ready()) is None and self.open:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return found

    def _run(self, listener: socket.socket) -> None:
        try:
            with self._log_path.open("wb") as log:
                line, _address = listener.accept()
                with self._changed:
                    if not self.open:
                        line.shutdown(socket.SHUT_RDWR)
                    self._line = line
                    self._changed.notify_all()
                with line, line.makefile("rb") as lines:
                    for raw in lines:
                        log.write(raw)
                        log.flush()
                        self._take(raw)
        except OSError:
            pass  # closed: by us, or by a QEMU that was killed
        finally:
            listener.close()
            with self._changed:
                self.open = False
                self._line = None
                self._listener = None
                self._changed.notify_all()

    def _take(self, raw: bytes) -> None:
        try:
            line = json.loads(raw)
        except ValueError:
            return  # what the firmware wrote; it is in the log
        with self._changed:
            self._spoken = True
            if "event" in line:
                if line["event"] in ("reset", "start"):
                    self.latest = None  # its counters are history
                self.events.append(line)
            else:
                self.latest = Report.read(line)
            self._changed.notify_all()
