# SPDX-License-Identifier: Apache-2.0
"""How this host is configured: as the daemon says, else as its config file does."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vhost_brick_plugin import errors
from vhost_brick_plugin.api import methods
from vhost_brick_plugin.api.client import Client
from vhost_brick_plugin.conf.types import parse_cores
from vhost_brick_plugin.doctor import rights
from vhost_brick_plugin.doctor.rights import Rights
from vhost_brick_plugin.finding import Finding, Level, fail, ok, warn


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the checks need to know.

    :ivar options: configured values by ``group.option``.
    :ivar api_socket: where the daemon was looked for.
    :ivar daemon: whether it was there.
    :ivar hello: how it introduced itself; None: it did not answer.
    :ivar ports: those it serves; none while it does not answer.
    :ivar networks: the same of networks.
    :ivar rights: what its process may do; None: not known.
    :ivar elsewhere: whether it has another network namespace than who asks.
    """

    options: Mapping[str, str]
    api_socket: str
    daemon: Finding
    hello: methods.HelloResult | None = None
    ports: tuple[methods.PortStatus, ...] = ()
    networks: tuple[methods.NetworkStatus, ...] = ()
    rights: Rights | None = None
    elsewhere: bool = False

    @property
    def daemon_is_up(self) -> bool:
        """Whether the daemon answered."""
        return self.daemon.level is Level.OK

    @property
    def workers(self) -> tuple[int, ...]:
        """The configured worker cores."""
        return parse_cores(self.options.get("dpdk.worker_cores", ""))


def survey(client: Client, config_files: Sequence[str]) -> Site:
    """Ask the daemon, and read *config_files* where it does not answer."""
    try:
        hello = client.call(methods.Hello())
        options = client.call(methods.ConfigDump()).options
        ports = client.call(methods.PortListCall()).ports
        networks = client.call(methods.NetworkListCall()).networks
    except errors.VhostBrickError as error:
        finding = fail("daemon", error.message, error.hint)
        options, problem = _from_files(config_files)
        return Site(options=options, api_socket=client.path, daemon=problem or finding)
    text = f"vhost-brickd {hello.version} answers, up for {hello.uptime_s:.0f} s"
    finding = ok("daemon", text)
    return Site(
        options=options,
        api_socket=client.path,
        daemon=finding,
        hello=hello,
        ports=ports,
        networks=networks,
        rights=rights.read(hello.pid),
        elsewhere=is_elsewhere(hello.pid),
    )


def is_elsewhere(pid: int, proc: Path = Path("/proc")) -> bool:
    """Tell whether process *pid* has another network namespace; no, if that is not to be seen."""
    try:
        theirs = os.readlink(proc / str(pid) / "ns" / "net")
    except OSError:
        return False
    return theirs != os.readlink(proc / "self" / "ns" / "net")


def not_checked(site: Site, check: str) -> Finding:
    """Return the finding that *check* takes the network namespace of the daemon."""
    pid = site.hello.pid if site.hello else 0
    return warn(
        check,
        "not checked: vhost-brickd runs in another network namespace",
        f"nsenter --net=/proc/{pid}/ns/net vhost-brick doctor",
    )


def _from_files(paths: Sequence[str]) -> tuple[dict[str, str], Finding | None]:
    """Return the options in config files (defaults where there are none), and what is wrong."""
    from oslo_config import cfg

    from vhost_brick_plugin.conf import opts

    def values(files: Sequence[str]) -> dict[str, str]:
        conf = cfg.ConfigOpts()
        opts.register(conf)
        conf([], project="vhost-brick", default_config_files=list(files), default_config_dirs=[])
        return {
            f"{group.name}.{opt.name}": str(conf[group.name][opt.name])
            for group, group_opts in opts.list_opts()
            for opt in group_opts
        }

    try:
        return values(paths), None
    except (cfg.Error, ValueError) as error:
        finding = fail(
            "config",
            f"the daemon does not answer, and its configuration is faulty: {error}",
            "Correct the option in the config file and start vhost-brickd.",
        )
        return values([]), finding
