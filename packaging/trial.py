# SPDX-License-Identifier: Apache-2.0
"""What ``tools/test-deb.sh`` does with installed packages, inside their chroot::

    trial.py fake|dpdk

Starts the daemon as its own user, with the package's configuration but for the datapath
and hugepages, and uses it by the installed commands; ``under_systemd.py`` starts it as it is.
Ends with what did not go well.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CONFIG = Path("/etc/vhost-brick/vhost-brick.conf")
USER = "vhost-brick"
START_S = 60.0

COMPLETIONS = {
    "vhost-brick domain interf": "vhost-brick domain interface-xml",
    "vhost-brick port create x --mode cl": "vhost-brick port create x --mode client",
    "vhost-brick domain define web.xml --po": "vhost-brick domain define web.xml --port",
    "vhost-brick port show we": "vhost-brick port show web",
}
"""What TAB makes of a line."""

COMPLETION_S = 20.0


def sh(command: str, status: int = 0) -> str:
    """Return what *command* prints; end the trial if it ends with another *status*."""
    print(f"$ {command}", flush=True)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)
    if done.returncode != status:
        sys.exit(f"{command}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def doctor(expected: str) -> None:
    """End the trial if ``vhost-brick doctor`` does not find the daemon *expected*, or a fault."""
    found = json.loads(sh("vhost-brick doctor -f json", int(expected != "ok")))
    if {line["check"]: line["result"] for line in found}["daemon"] != expected:
        sys.exit(f"vhost-brick doctor: the daemon is not {expected}")


# -- completion --------------------------------------------------------------


def complete() -> None:
    """Press TAB at bash's prompt, as root has it after a log-in."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("bash", ["bash", "-i", "-l"])
    # The prompt is a word of its own, so that it is seen when bash is ready; ^U for the next.
    os.write(terminal, b"PS1=rea''dy; bind 'set enable-bracketed-paste off'\n")
    read_until(terminal, "ready")
    for line, completed in COMPLETIONS.items():
        os.write(terminal, f"{line}\t".encode())
        shown = read_until(terminal, completed)
        print(f"{line}<TAB>: {completed}")
        if "bash:" in shown:
            sys.exit(f"completion of {line!r} complains: {shown!r}")
        os.write(terminal, b"\x15")
    os.close(terminal)
    os.waitpid(pid, 0)


def read_until(terminal: int, wanted: str) -> str:
    """Return what is shown up to *wanted*."""
    shown = ""
    end = time.monotonic() + COMPLETION_S
    while wanted not in shown:
        left = end - time.monotonic()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            sys.exit(f"bash shows {shown!r}, and not {wanted!r}")
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


# -- the daemon --------------------------------------------------------------


@contextlib.contextmanager
def daemon(datapath: str) -> Iterator[None]:
    """Have vhost-brickd serve until the end of ``with``, as its unit would."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as undo:
        os.chmod(directory, 0o755)
        config = Path(directory) / "trial.conf"
        config.write_text(f"[daemon]\ndatapath = {datapath}\n[dpdk]\nhugepages = off\n")
        config.chmod(0o644)
        ready = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        ready.bind(f"{directory}/notify")
        os.chmod(f"{directory}/notify", 0o777)
        ready.settimeout(START_S)
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
        process = subprocess.Popen(
            [*as_user, "vhost-brickd", "--config-file", CONFIG, "--config-file", config],
            env={**os.environ, "NOTIFY_SOCKET": f"{directory}/notify"},
        )
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=START_S)
        if status != 0:
            sys.exit(f"vhost-brickd: exit status {status}")


def main() -> None:
    """Run the trial."""
    # Of systemd, when it runs.
    sh(f"install -d -o {USER} -g {USER} /var/lib/vhost-brick")
    sh("vhost-brickd --version")
    with daemon(sys.argv[1]):
        sh("vhost-brick network create blue")
        sh("vhost-brick port create web --network blue")
        sh("vhost-brick port create db --network blue --mode server")
        sh("vhost-brick port list")
        sh("vhost-brick domain interface-xml web")
        sh("vhost-brick status")
        doctor("ok")
        complete()
    doctor("fail")
    with daemon(sys.argv[1]):
        if '"db"' not in sh("vhost-brick port list -f json -c id"):
            sys.exit("the second daemon knows nothing of the first one's ports")
        sh("vhost-brick port delete web db")
        sh("vhost-brick network delete blue")


if __name__ == "__main__":
    main()
