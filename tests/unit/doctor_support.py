# SPDX-License-Identifier: Apache-2.0
"""A host made up for the checks of ``vhost-brick doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.unit.stub_daemon import hello
from vhost_brick_plugin.api.methods import HelloResult, NetworkStatus, PortStatus
from vhost_brick_plugin.doctor import kvm
from vhost_brick_plugin.doctor.files import User
from vhost_brick_plugin.doctor.site import Site
from vhost_brick_plugin.finding import Finding, Level

OK = Finding(check="daemon", level=Level.OK, text="up")
DOWN = Finding(check="daemon", level=Level.FAIL, text="down", fix="start it")
NOBODY = User(65534, 65534)
KVM = kvm.Result(kvm.State.WORKS, "a tiny guest ran")
NO_KVM = kvm.Result(kvm.State.BROKEN, "KVM gave up")


def make_site(place: Path, daemon: Finding = OK, **options: str) -> Site:
    """Return a site with its directories in *place*; *options* as ``group__option``."""
    values = {
        "daemon.state_dir": str(place / "state"),
        "daemon.api_socket": str(place / "api"),
        "vhost.socket_dir": str(place / "sockets"),
        "dpdk.hugepages": "auto",
    }
    changes = {name.replace("__", "."): value for name, value in options.items()}
    return Site(options=values | changes, api_socket=str(place / "api"), daemon=daemon)


def served(
    place: Path,
    *ports: PortStatus,
    networks: tuple[NetworkStatus, ...] = (),
    introduced: HelloResult | None = None,
    **options: str,
) -> Site:
    """Return a site whose daemon serves *ports*."""
    down = make_site(place, **options)
    return Site(
        options=down.options,
        api_socket=down.api_socket,
        daemon=OK,
        hello=introduced or hello(),
        ports=ports,
        networks=networks,
    )


def only(findings: Iterator[Finding]) -> Finding:
    """Return the one finding there is."""
    (finding,) = findings
    return finding


def write(top: Path, files: Mapping[str, Any]) -> Path:
    """Write *files*, text by path below *top*, and return *top*."""
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return top
