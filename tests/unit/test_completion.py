# SPDX-License-Identifier: Apache-2.0
"""What ``vhost-brick complete`` makes bash propose; ``tools/test-deb.sh`` tries it at a prompt."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from vhost_brick_plugin.cli import main as cli

# What package bash-completion and a prompt would be.
PROMPT = """
_get_comp_words_by_ref() { cur=${words[-1]} prev=${words[-2]} cword=$((${#words[@]} - 1)); }
__ltrim_colon_completions() { :; }
compopt() { :; }
vhost-brick() { [[ "$*" == "port list"* ]] && printf '%s\\n' web a.b 'x$(touch harm)'; }
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        written = tmp_path_factory.mktemp("completion") / "script"
        with written.open("w") as file:
            patch.setattr("sys.stdout", file)
            assert cli.main(["complete"]) == 0
    return written.read_text()


@pytest.mark.parametrize(
    ("line", "proposed"),
    [
        ("vhost-brick po", {"port"}),
        ("vhost-brick port cr", {"create"}),
        ("vhost-brick --api-socket /x port cr", {"create"}),
        ("vhost-brick domain interface-xml --al", {"--alias"}),
        ("vhost-brick port create x --mode ''", {"server", "client"}),
        ("vhost-brick port list -f j", {"json"}),
        ("vhost-brick domain define ./web.xml --po", {"--port"}),
        ("vhost-brick domain define f", {"file.xml"}),
        ("vhost-brick watch --port w", {"web"}),
        ("vhost-brick port show ''", {"web", "a.b", "x$(touch", "harm)"}),
        ("vhost-brick port delete web a", {"a.b"}),
        ("vhost-brick port delete a.b --he", {"--help"}),
        ("vhost-brick port create n", set()),
    ],
)
def test_what_is_proposed(tmp_path: Path, script: str, line: str, proposed: set[str]) -> None:
    (tmp_path / "file.xml").touch()
    words = " ".join(map(shlex.quote, shlex.split(line)))
    ask = f"words=({words}); _vhost_brick; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    # The function's own words shadow these.
    text = script.replace("local cur prev words cword", "local cur prev cword")
    done = subprocess.run(
        ["bash", "-c", f"{PROMPT}\n{text}\n{ask}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (set(done.stdout.split("\n")) - {""}, done.stderr) == (proposed, "")
    assert [path.name for path in tmp_path.iterdir()] == ["file.xml"]
