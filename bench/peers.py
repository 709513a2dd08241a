# SPDX-License-Identifier: Apache-2.0
"""Programs of Debian's packages that only this benchmark runs.

They are unpacked beside our own native programs instead of installed: nothing starts a
service, and the machine stays as it was.  The libraries they want come with libdpdk-dev.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.generator import NATIVE

ROOT = NATIVE / "out" / "peers"


class NoPeer(Exception):
    """It cannot be had; the message is the reason."""


def have(packages: Sequence[str]) -> Path:
    """Return the directory in which *packages* are unpacked."""
    root = ROOT / packages[0]
    if not root.exists():
        fresh = root.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _download(packages, fresh)
        for file in fresh.glob("*.deb"):
            _run(["dpkg-deb", "--extract", file, fresh], fresh)
            file.unlink()
        fresh.rename(root)
    return root


def _download(packages: Sequence[str], directory: Path) -> None:
    command = ["apt-get", "download", "-qq", *packages]
    try:
        _run(command, directory)
    except NoPeer:
        # A machine that was set up long ago asks for versions that are no more.
        _run(["apt-get", "update", "-qq"], directory)
        _run(command, directory)


def _run(command: Sequence[str | Path], directory: Path) -> None:
    try:
        subprocess.run(
            command, cwd=directory, check=True, capture_output=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise NoPeer(f"there is no {command[0]}") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise NoPeer(f"{command[0]} {command[1]}: {said[-1] if said else error}") from None
