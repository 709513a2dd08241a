# SPDX-License-Identifier: Apache-2.0
"""From config files to :class:`.settings.Settings`: the slow part of a start."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from oslo_config import cfg
from oslo_log import log as oslo_log
from stevedore.driver import DriverManager
from stevedore.exception import NoMatches

from vhost_brick_plugin import errors, model
from vhost_brick_plugin.api.methods import ConfigResult
from vhost_brick_plugin.conf import dpdk, opts
from vhost_brick_plugin.conf.types import parse_mode
from vhost_brick_plugin.daemon.fastpath import DEFAULT_CONFIG_FILE
from vhost_brick_plugin.daemon.server import NEW_SUFFIX
from vhost_brick_plugin.daemon.settings import KEEP, Access, Settings
from vhost_brick_plugin.datapath.base import Datapath
from vhost_brick_plugin.version import version

PROG = "vhost-brickd"
DATAPATHS = "vhost_brick.datapath"


def load(argv: Sequence[str]) -> cfg.ConfigOpts:
    """Read the config files that *argv* names, or the default one if it exists.

    :raises errors.ConfigError: an unreadable file, or an option's bad value.
    """
    conf = cfg.ConfigOpts()
    opts.register(conf)
    oslo_log.register_options(conf)
    defaults = [DEFAULT_CONFIG_FILE] if os.path.exists(DEFAULT_CONFIG_FILE) else []
    try:
        # The boot record knows nothing of the environment: options come from files only.
        conf(
            list(argv),
            project="vhost-brick",
            prog=PROG,
            version=version(),
            default_config_files=defaults,
            default_config_dirs=[],
            validate_default_values=True,
            use_env=False,
        )
        _read_all(conf)
    except (cfg.ConfigFilesNotFoundError, cfg.ConfigFilesPermissionDeniedError) as e:
        raise errors.ConfigError(
            str(e), hint="Name a file that vhost-brickd's user can read by --config-file."
        ) from e
    except (cfg.Error, ValueError) as e:
        raise errors.ConfigError(str(e)) from e
    return conf


def _read_all(conf: Mapping[str, Any]) -> None:
    """Read every option, oslo.log's too: a bad value is not found before it is read."""
    for value in conf.values():
        if isinstance(value, Mapping):
            _read_all(value)


def resolve(conf: cfg.ConfigOpts) -> Settings:
    """Return the settings that *conf* comes to on this host.

    :raises errors.ConfigError: a value that makes no sense here, such as an
        unknown group or datapath.
    """
    try:
        options = dpdk.resolve(conf.dpdk)
    except ValueError as e:
        raise errors.ConfigError(f"[dpdk]: {e}") from None
    api_socket = _api_socket(conf.daemon.api_socket)
    options = dataclasses.replace(
        options,
        watchdog_s=conf.daemon.watchdog_s,
        core_dumps=conf.daemon.core_dumps,
        # Where the API socket is: a tmpfs, and as much the daemon's own.
        runtime_dir=os.path.dirname(api_socket),
        peer_uids=tuple(
            _uid("[vhost] peer_users", user) for user in conf.vhost.peer_users if user
        ),
    )
    return Settings(
        state_dir=_absolute("[daemon] state_dir", conf.daemon.state_dir),
        api_socket=api_socket,
        api_access=Access(
            gid=_gid("[daemon] api_socket_group", conf.daemon.api_socket_group),
            mode=parse_mode(conf.daemon.api_socket_mode),
        ),
        datapath=conf.daemon.datapath,
        datapath_class=_datapath_class(conf.daemon.datapath),
        options=options,
        socket_dir=_absolute("[vhost] socket_dir", conf.vhost.socket_dir),
        port_access=Access(
            uid=_uid("[vhost] socket_owner", conf.vhost.socket_owner),
            gid=_gid("[vhost] socket_group", conf.vhost.socket_group),
            mode=parse_mode(conf.vhost.socket_mode),
        ),
        default_mode=model.Mode(conf.vhost.default_mode),
        max_queues=conf.vhost.max_queues,
        offloads=conf.vhost.offloads,
        standby=conf.daemon.standby,
    )


def dump(conf: cfg.ConfigOpts) -> ConfigResult:
    """Return the values of our own options, as text."""
    values = {
        f"{group.name}.{opt.name}": str(conf[group.name][opt.name])
        for group, group_opts in opts.list_opts()
        for opt in group_opts
    }
    return ConfigResult(options=values, files=tuple(conf.config_file or ()))


def _absolute(option: str, path: str) -> str:
    if not os.path.isabs(path):
        raise errors.ConfigError(f"{option} = {path!r} is not an absolute path")
    return os.path.normpath(path)


def _api_socket(path: str) -> str:
    path = _absolute("[daemon] api_socket", path)
    # The socket is made under a longer name first: see server.listen().
    longest = model.MAX_SOCKET_PATH - len(NEW_SUFFIX)
    if len(os.fsencode(path)) > longest:
        raise errors.ConfigError(f"[daemon] api_socket: {path!r} has more than {longest} bytes")
    return path


def _uid(option: str, name: str) -> int:
    return _number(option, name, "user", lambda n: pwd.getpwnam(n).pw_uid)


def _gid(option: str, name: str) -> int:
    return _number(option, name, "group", lambda n: grp.getgrnam(n).gr_gid)


def _number(option: str, name: str, kind: str, look_up: Callable[[str], int]) -> int:
    if not name:
        return KEEP
    if name.isdecimal():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        raise errors.ConfigError(f"{option}: this host has no {kind} {name!r}") from None


def _datapath_class(name: str) -> str:
    """Return ``module:Class`` of the datapath *name*, after importing it for a test."""

    def fail(_manager: object, _entry_point: object, error: BaseException) -> NoReturn:
        raise errors.ConfigError(
            f"[daemon] datapath: {name!r} cannot be loaded: {error}",
            hint="Install the package with its native part, and the DPDK it was built for.",
        ) from error

    try:
        manager: DriverManager[Datapath] = DriverManager(
            DATAPATHS, name, on_load_failure_callback=fail
        )
    except NoMatches:
        raise errors.ConfigError(
            f"[daemon] datapath: there is none called {name!r}",
            hint="Write 'dpdk' or 'fake', and check that vhost-brick-plugin is installed.",
        ) from None
    return str(manager.extensions[0].entry_point.value)
