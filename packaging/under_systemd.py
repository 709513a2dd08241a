# SPDX-License-Identifier: Apache-2.0
"""What ``tools/test-deb.sh`` does with installed packages in a Debian that systemd runs.

There the daemon has what its unit gives it, and no more.  Ends with what did not go well.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from trial import CONFIG, USER, doctor, sh

LOG = Path("/var/log/vhost-brick/vhost-brickd.log")
METRICS = "http://127.0.0.1:9797/metrics"
WAIT_S = 30.0


def wait_until(holds: Callable[[], object], what: str) -> None:
    """End the trial if *what* does not come about."""
    end = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > end:
            sh("journalctl --no-pager -n 50")
            sys.exit(f"no {what} within {WAIT_S:g} s")
        time.sleep(0.1)


def says(command: str, word: str) -> bool:
    """Tell whether *word* is in what *command* prints."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    return word in done.stdout


def has_port() -> bool:
    """Tell whether the daemon answers, and serves port web."""
    return says("vhost-brick port list", " web ")


def has_standby() -> bool:
    """Tell whether another daemon could take over."""
    return says("vhost-brick status", ", in sync since ")


def daemon() -> None:
    """The package has started it; it comes back when it is killed, and knows its ports."""
    sh("systemctl is-active vhost-brickd")
    doctor("ok")
    sh("vhost-brick network create blue --tap blue0")
    sh("vhost-brick port create web --network blue")
    sh("systemctl kill --signal=KILL vhost-brickd")
    wait_until(has_port, "daemon after a kill")
    sh("systemctl stop vhost-brickd")
    doctor("fail")


def logs() -> None:
    """It keeps log files where it may, and they are turned over while it writes."""
    with CONFIG.open("a") as file:
        file.write(f"\n[DEFAULT]\nlog_file = {LOG}\n[daemon]\napi_socket_group = nova\n")
    sh("systemctl start vhost-brickd")
    sh("logrotate --force /etc/logrotate.d/vhost-brickd")
    if not LOG.with_name(f"{LOG.name}.1").stat().st_size:
        sys.exit("logrotate has kept nothing")
    sh("vhost-brick port create db --network blue")
    wait_until(lambda: "port_ensure" in LOG.read_text(), "line in the new log")
    if LOG.owner() != USER:
        sys.exit(f"the log is {LOG.owner()}'s")


def exporter() -> None:
    """As its unit has it: a user for the time being, in the group that may ask."""
    sh("systemctl start vhost-brick-exporter")
    wait_until(serves_metrics, "page of metrics")


def serves_metrics() -> bool:
    """Tell whether Prometheus' own parser finds on the page that the daemon is up."""
    try:
        with urllib.request.urlopen(METRICS, timeout=WAIT_S) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
    except OSError:
        return False
    return any(f.name == "vhost_brick_up" and f.samples[0].value == 1 for f in families)


def pair() -> None:
    """Two daemons, of which one stands by."""
    sh("systemctl disable --now vhost-brickd")
    with CONFIG.open("a") as file:
        file.write("standby = on\n")
    sh("systemctl enable --now vhost-brickd@a vhost-brickd@b vhost-brick-exporter")
    wait_until(has_standby, "standby in sync")
    sh("vhost-brick handover")
    wait_until(has_port, "daemon after a hand-over")
    wait_until(has_standby, "standby after a hand-over")
    doctor("ok")


if __name__ == "__main__":
    daemon()
    logs()
    exporter()
    pair()
