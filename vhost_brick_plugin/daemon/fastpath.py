# SPDX-License-Identifier: Apache-2.0
"""The boot record: starting again without reading the configuration again.

After a crash the time until the ports are served is the guests' outage, and
oslo.config with what it imports is a good part of it.  So a daemon that has
started leaves its resolved settings in the state directory, with all that they
were made from.  The next one uses them if that is still the same, and reads its
configuration in full once the ports are served.

When in doubt there is no record: every oddity leads to the slow path.

The record is read before anything else (:mod:`.prelude`), so what is not needed for
that is imported late.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import sys

from vhost_brick_plugin import state_file

TYPE_CHECKING = False  # As typing's, without the import.
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from vhost_brick_plugin.daemon.settings import Settings

DEFAULT_CONFIG_FILE = "/etc/vhost-brick/vhost-brick.conf"
FILE_NAME = "boot.json"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
HUGEPAGES = "/sys/kernel/mm/hugepages"
MOUNTS = "/proc/self/mounts"

_SOURCES = ("conf", "daemon", "datapath")
"""Packages whose code decides what settings a configuration comes to."""


def read(argv: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the record of the last start if *argv* would lead to the same again."""
    files = config_files(argv)
    if files is None:
        return None
    try:
        with open(os.path.join(_state_dir(files), FILE_NAME), "rb") as file:
            record: dict[str, Any] = json.load(file)
        return record if record["made_from"] == made_from(argv, files) else None
    except (OSError, ValueError, LookupError, TypeError, configparser.Error):
        return None


def settings_of(record: Mapping[str, Any]) -> Settings | None:
    """Return the settings in *record*; None: they are not ours."""
    from vhost_brick_plugin import codec, errors
    from vhost_brick_plugin.daemon.settings import Settings

    try:
        return codec.from_json(Settings, record["settings"])
    except (ValueError, LookupError, TypeError, errors.VhostBrickError):
        return None


def remember(argv: Sequence[str], settings: Settings, prelude: Mapping[str, Any] | None) -> None:
    """Leave *settings* for the next start.

    A record that cannot be written costs the next start some time, no more.

    :param prelude: what the datapath can begin with; see :mod:`..datapath.prelude`.
    """
    import logging

    from vhost_brick_plugin import codec

    files = config_files(argv)
    if files is None:
        return
    path = os.path.join(settings.state_dir, FILE_NAME)
    try:
        record = {
            "made_from": made_from(argv, files),
            "settings": codec.to_json(settings),
            "prelude": prelude,
        }
        _replace(path, json.dumps(record, indent=1).encode())
    except OSError as e:
        logging.getLogger(__name__).warning(
            "Cannot write %s, so the next start will be slower: %s", path, e.strerror
        )


def forget(argv: Sequence[str]) -> None:
    """Remove the record of *argv*, after it has led to a start that failed."""
    with contextlib.suppress(OSError, ValueError, configparser.Error):
        os.unlink(os.path.join(_state_dir(config_files(argv) or ()), FILE_NAME))


def config_files(argv: Sequence[str]) -> list[str] | None:
    """Return the config files that *argv* names; None if it holds anything else."""
    files = []
    words = iter(argv)
    for word in words:
        option, equals, value = word.partition("=")
        if option != "--config-file":
            return None
        file = value if equals else next(words, None)
        if file is None:
            return None
        files.append(os.path.abspath(os.path.expanduser(file)))
    if not files and os.path.exists(DEFAULT_CONFIG_FILE):
        files = [DEFAULT_CONFIG_FILE]
    return files


def made_from(argv: Sequence[str], files: Sequence[str]) -> list[str]:
    """Return all that settings are made from; if it is the same, so are they.

    :raises OSError: a config file cannot be read.
    """
    return [part.decode(errors="surrogateescape") for part in _ingredients(argv, files)]


def _ingredients(argv: Sequence[str], files: Sequence[str]) -> Iterator[bytes]:
    yield repr((list(argv), os.getcwd(), sys.version)).encode()
    for path in files:
        with open(path, "rb") as file:
            yield file.read()
    yield from _host()
    yield from _code()


def _host() -> Iterator[bytes]:
    """Yield what "auto" is decided from, and where users and groups have their numbers from."""
    with open(BOOT_ID, "rb") as file:
        yield file.read()
    for pool in _files(HUGEPAGES):
        with open(os.path.join(pool.path, "nr_hugepages"), "rb") as file:
            yield pool.name.encode() + file.read()
    with open(MOUNTS, "rb") as file:
        yield from (line for line in file if b" hugetlbfs " in line)
    for path in ("/etc/passwd", "/etc/group"):
        yield _fingerprint(path, os.stat(path))


def _code() -> Iterator[bytes]:
    """Yield something that changes with our code; reading its version would take longer."""
    top = os.path.dirname(os.path.dirname(__file__))
    for package in _SOURCES:
        for entry in _files(os.path.join(top, package)):
            if entry.is_file():
                yield _fingerprint(entry.path, entry.stat())


def _fingerprint(path: str, status: os.stat_result) -> bytes:
    return f"{path} {status.st_size} {status.st_mtime_ns}".encode()


def _files(directory: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        return sorted(entries, key=lambda entry: entry.name)
    return []


def _state_dir(files: Sequence[str]) -> str:
    """Return [daemon] state_dir as oslo.config would.

    :raises ValueError: only oslo.config can tell.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    for path in files:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    found = parser.get("daemon", "state_dir", fallback=state_file.DEFAULT_DIR)
    if "$" in found or not os.path.isabs(found):
        raise ValueError(found)
    return os.path.normpath(found)


def _replace(path: str, data: bytes) -> None:
    """Write *path* in one step.  Not synced: it is void after a reboot anyway."""
    fresh = path + ".new"
    with open(fresh, "wb") as file:
        file.write(data)
    os.rename(fresh, path)
