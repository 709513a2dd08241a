# SPDX-License-Identifier: Apache-2.0
"""Keeps one private libvirtd, and everything it starts, together.

Run by :class:`lab.PrivateLibvirt` as a process of its own, as root::

    python3 supervisor.py < PLAN

PLAN is one JSON object in one line: ``{"mounts": [[SOURCE, TARGET], ...],
"hostname": NAME, "socket": PATH, "argv": [...], "env": {...}, "log": PATH}``.
The supervisor

* enters a mount namespace of its own and binds each SOURCE over TARGET, so
  that nothing is ever mounted in the namespace of the machine;
* gives libvirtd the host's name NAME, unless that is empty: libvirt migrates
  nothing between hosts of one name;
* listens on PATH itself and hands the socket to libvirtd, as systemd would:
  who connects early waits for libvirtd instead of failing;
* is the reaper of all that libvirtd starts, so QEMUs become its children
  (libvirtd detaches them) and none can outlive it;
* ends them all when its standard input closes. That is how it is stopped,
  and it happens by itself when the program that wanted it is killed;
* on SIGHUP ends libvirtd alone, and starts it again.

It writes one line, ``{"pid": PID-OF-LIBVIRTD}`` or ``{"error": TEXT}``, and one more
after each SIGHUP.
"""

import contextlib
import ctypes
import errno
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x20000
CLONE_NEWUTS = 0x4000000
MS_RDONLY = 1
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
PR_SET_CHILD_SUBREAPER = 36
FIRST_PASSED_FD = 3
STAND_IN_ROOT = b"/mnt"

# How long libvirtd may take to end before it is killed.
GRACE_S = 5.0

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: bytes | None, target: bytes, flags: int, what: str) -> None:
    _check(_libc.mount(source, target, None, ctypes.c_ulong(flags), None), what)


def _make_private() -> None:
    """Keep the mounts to come to ourselves."""
    try:
        _mount(None, b"/", MS_REC | MS_PRIVATE, "make / private")
    except OSError as e:
        if e.errno != errno.EINVAL:
            raise
        # We are in a chroot whose / is no mount point: make it one, and go there.
        _mount(b"/", STAND_IN_ROOT, MS_BIND | MS_REC, "bind /")
        _mount(None, STAND_IN_ROOT, MS_REC | MS_PRIVATE, "make our / private")
        os.chroot(STAND_IN_ROOT)
        os.chdir("/")


def _enter_namespace(mounts: list[list[str]]) -> None:
    _check(_libc.unshare(CLONE_NEWNS), "unshare")
    _make_private()
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _source, target, kind = line.split(" ")[:3]
        if kind == "hugetlbfs":
            # libvirtd would make its directories on these.
            raw = target.encode().decode("unicode_escape").encode()
            _check(_libc.umount2(raw, MNT_DETACH), f"umount {target}")
    for source, target in mounts:
        # A file hides what it is bound over; nobody shall write it, root
        # included.
        hides = not Path(source).is_dir()
        for change in (0, MS_REMOUNT | MS_RDONLY)[: 1 + hides]:
            what = f"bind {source} to {target}"
            _mount(source.encode(), target.encode(), MS_BIND | change, what)


def _rename_host(name: str) -> None:
    if name:
        _check(_libc.unshare(CLONE_NEWUTS), "unshare")
        socket.sethostname(name)


def _spawn(plan: dict[str, Any], listener: socket.socket) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        log = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open("/dev/null", os.O_RDONLY)
        passed = os.dup(listener.fileno())
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(passed, FIRST_PASSED_FD)
        os.closerange(FIRST_PASSED_FD + 1, 1024)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        env = dict(plan["env"])
        env["LISTEN_PID"] = str(os.getpid())
        env["LISTEN_FDS"] = "1"
        env["LISTEN_FDNAMES"] = "libvirtd.socket"
        os.execve(plan["argv"][0], plan["argv"], env)
    finally:
        os._exit(127)


def _children() -> list[int]:
    me = os.getpid()
    path = Path(f"/proc/{me}/task/{me}/children")
    return [int(word) for word in path.read_text().split()]


def _reap(libvirtd: int) -> bool:
    """Collect the dead; true if libvirtd was among them."""
    ended = False
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, _status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended = ended or pid == libvirtd
    return ended


def _end(libvirtd: int, wake: int) -> bool:
    """Ask it to end; false if it does not."""
    ended = False
    os.kill(libvirtd, signal.SIGTERM)
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        while not ended and selector.select(GRACE_S):
            os.read(wake, 512)
            ended = _reap(libvirtd)
    return ended


def _end_all(libvirtd: int, ended: bool, wake: int) -> None:
    if not ended:
        _end(libvirtd, wake)
    # QEMUs are our children by now, and a killed child's children turn
    # into ours: go on until there are none.
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _start(plan: dict[str, Any]) -> int:
    """Start libvirtd, which then holds its socket alone: when it ends, who connects is refused."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(plan["socket"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(plan["socket"])
        Path(plan["socket"]).chmod(0o600)
        listener.listen(64)
        return _spawn(plan, listener)


def _supervise(plan: dict[str, Any], libvirtd: int, wake: int) -> tuple[int, bool]:
    """Wait for the end; return libvirtd's number then, and whether it ended by itself."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _events in selector.select():
                data = os.read(key.fd, 512)
                if key.fd == 0 and not data:
                    return libvirtd, False
                if key.fd == wake:
                    if signal.SIGTERM in data:
                        return libvirtd, False
                    if signal.SIGHUP in data and _end(libvirtd, wake):
                        libvirtd = _start(plan)
                        _say(pid=libvirtd)
                    if _reap(libvirtd):
                        return libvirtd, True


def _say(**message: object) -> None:
    print(json.dumps(message), flush=True)


def main() -> int:
    plan: dict[str, Any] = json.loads(sys.stdin.readline())
    wake, wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake_in)
    try:
        _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "subreaper")
        _enter_namespace(plan["mounts"])
        _rename_host(plan["hostname"])
        libvirtd = _start(plan)
    except OSError as error:
        _say(error=str(error))
        return 1
    _say(pid=libvirtd)
    libvirtd, ended = _supervise(plan, libvirtd, wake)
    _end_all(libvirtd, ended, wake)
    return 1 if ended else 0


if __name__ == "__main__":
    sys.exit(main())
