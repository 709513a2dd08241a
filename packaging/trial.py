# SPDX-License-Identifier: Apache-2.0
"""What ``tools/test-deb.sh`` does with installed packages, inside their chroot::

    trial.py fake|dpdk

Starts the daemon as its own user, with the package's configuration but for the datapath
and hugepages, and uses it by the installed commands.  Ends with what did not go well.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

CONFIG = Path("/etc/vhost-brick/vhost-brick.conf")
USER = "vhost-brick"
START_S = 60.0

INSTALLED = {"daemon", "rights", "dpdk", "api_socket", "state_dir"}
"""What doctor has to find in order.  KVM is the machine's, and libvirt is not in the chroot."""


def sh(command: str) -> str:
    """Return what *command* prints; end the trial if it fails."""
    print(f"$ {command}", flush=True)
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    sys.stdout.write(done.stdout)
    if done.returncode != 0:
        sys.exit(f"{command}: exit status {done.returncode}\n{done.stderr}")
    return done.stdout


def doctor() -> None:
    """End the trial if ``vhost-brick doctor`` finds a fault in what the packages installed."""
    command = ["vhost-brick", "doctor", "-f", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    found = {line["check"]: line for line in json.loads(done.stdout)}
    for name in sorted(INSTALLED):
        if name not in found or found[name]["result"] == "fail":
            sys.exit(f"vhost-brick doctor: {found.get(name, name)}\n{done.stderr}")


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
        doctor()
    with daemon(sys.argv[1]):
        if '"db"' not in sh("vhost-brick port list -f json -c id"):
            sys.exit("the second daemon knows nothing of the first one's ports")
        sh("vhost-brick port delete web db")
        sh("vhost-brick network delete blue")


if __name__ == "__main__":
    main()
