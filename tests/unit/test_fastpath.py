# SPDX-License-Identifier: Apache-2.0
"""The boot record: used when it is right, and only then."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from vhost_brick_plugin.daemon import configure, fastpath
from vhost_brick_plugin.daemon.settings import Settings


def recall(argv: Sequence[str]) -> Settings | None:
    """Return what the next start of *argv* would find."""
    record = fastpath.read(argv)
    return None if record is None else fastpath.settings_of(record)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.conf"
    (tmp_path / "state").mkdir()
    path.write_text(
        f"[daemon]\ndatapath = fake\nstate_dir = {tmp_path}/state\n[dpdk]\nhugepages = off\n"
    )
    return path


@pytest.fixture
def argv(config: Path) -> list[str]:
    return ["--config-file", str(config)]


@pytest.fixture
def settings(argv: list[str]) -> Settings:
    return configure.resolve(configure.load(argv))


@pytest.fixture
def record(tmp_path: Path, argv: list[str], settings: Settings) -> Path:
    fastpath.remember(argv, settings, None)
    return tmp_path / "state" / "boot.json"


def test_the_first_start_has_no_record(argv: list[str]) -> None:
    assert recall(argv) is None


def test_the_next_start_knows_it_all(argv: list[str], settings: Settings, record: Path) -> None:
    assert recall(argv) == settings
    assert not (record.parent / "boot.json.new").exists()


def test_two_ways_to_name_the_file_are_two_commands(
    argv: list[str], config: Path, record: Path
) -> None:
    assert recall([f"--config-file={config}"]) is None
    assert recall([*argv, *argv]) is None


def test_a_changed_config_file_counts(argv: list[str], config: Path, record: Path) -> None:
    config.write_text(config.read_text() + "[vhost]\nmax_queues = 3\n")
    assert recall(argv) is None


def test_another_boot_of_the_host_counts(
    argv: list[str], record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "boot_id"
    other.write_text("another")
    monkeypatch.setattr(fastpath, "BOOT_ID", str(other))
    assert recall(argv) is None


def test_more_hugepages_count(
    argv: list[str], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pools" / "hugepages-2048kB"
    pool.mkdir(parents=True)
    (pool / "nr_hugepages").write_text("0\n")
    monkeypatch.setattr(fastpath, "HUGEPAGES", str(pool.parent))
    fastpath.remember(argv, settings, None)
    assert recall(argv) == settings
    (pool / "nr_hugepages").write_text("512\n")
    assert recall(argv) is None


def test_a_mounted_hugetlbfs_counts(
    argv: list[str], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("none /tmp tmpfs rw 0 0\n")
    monkeypatch.setattr(fastpath, "MOUNTS", str(mounts))
    fastpath.remember(argv, settings, None)
    mounts.write_text("none /run tmpfs rw 0 0\n")
    assert recall(argv) == settings
    mounts.write_text("none /hugepages hugetlbfs rw 0 0\n")
    assert recall(argv) is None


def test_other_code_counts(
    argv: list[str], record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tmp_path / "code"
    for package in fastpath._SOURCES:
        (top / package).mkdir(parents=True)
    source = top / "daemon" / "fastpath.py"
    source.write_text("1")
    monkeypatch.setattr(fastpath, "__file__", str(source))
    assert recall(argv) is None
    fastpath.remember(argv, configure.resolve(configure.load(argv)), None)
    assert recall(argv) is not None
    (top / "conf" / "new.py").write_text("")
    assert recall(argv) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"made_from": []}', b"\xff", b'"made_from"']
)
def test_a_damaged_record_is_no_record(argv: list[str], record: Path, content: bytes) -> None:
    record.write_bytes(content)
    assert recall(argv) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: {**s, "surprise": 1},
        lambda s: {k: v for k, v in s.items() if k != "options"},
        lambda s: {**s, "max_queues": "3"},
        lambda s: [],
    ],
)
def test_settings_of_another_shape_are_no_record(argv: list[str], record: Path, damage) -> None:
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "settings": damage(content["settings"])}))
    assert recall(argv) is None


@pytest.mark.parametrize(
    "argv",
    [
        ["--config-dir", "/x"],
        ["--config-file"],
        ["--debug"],
        ["--config-file", "/x", "--debug"],
        ["file"],
    ],
)
def test_a_command_that_is_more_than_a_config_file_takes_the_slow_path(argv: list[str]) -> None:
    assert fastpath.config_files(argv) is None
    assert recall(argv) is None


def test_a_state_dir_that_only_oslo_config_understands(
    argv: list[str], config: Path, record: Path, tmp_path: Path
) -> None:
    config.write_text(f"[daemon]\nstate_dir = $api_socket/../state\napi_socket = {tmp_path}/a\n")
    assert recall(argv) is None


def test_an_absolute_one_with_a_reference_is_left_to_oslo_config_too(config: Path) -> None:
    config.write_text("[daemon]\nstate_dir = /var/lib/$datapath\n")
    with pytest.raises(ValueError, match="datapath"):
        fastpath._state_dir([str(config)])


@pytest.mark.parametrize("text", ["", "[vhost]\nmax_queues = 3\n", "[daemon]\nstate_dir =\n"])
def test_a_config_file_without_state_dir(tmp_path: Path, text: str) -> None:
    config = tmp_path / "c.conf"
    config.write_text(text)
    assert recall(["--config-file", str(config)]) is None


@pytest.mark.parametrize("text", ["nonsense\n", "[daemon\n", "\xff"])
def test_a_config_file_that_is_none(tmp_path: Path, text: str) -> None:
    config = tmp_path / "c.conf"
    config.write_bytes(text.encode("latin-1"))
    assert recall(["--config-file", str(config)]) is None
    assert recall(["--config-file", str(tmp_path / "nowhere")]) is None


def test_the_later_of_two_files_wins_as_in_oslo_config(tmp_path: Path, config: Path) -> None:
    """The record must be looked for where oslo.config would put it."""
    other = tmp_path / "other.conf"
    (tmp_path / "elsewhere").mkdir()
    other.write_text(f"[daemon]\nstate_dir = {tmp_path}/elsewhere\n")
    argv = ["--config-file", str(config), "--config-file", str(other)]
    settings = configure.resolve(configure.load(argv))
    assert settings.state_dir == f"{tmp_path}/elsewhere"
    fastpath.remember(argv, settings, None)
    assert recall(argv) == settings


def test_forget(argv: list[str], settings: Settings, record: Path) -> None:
    fastpath.forget(argv)
    fastpath.forget(argv)
    fastpath.forget(["--config-file", str(record.parent / "nowhere")])
    assert recall(argv) is None


def test_a_record_that_cannot_be_written_is_no_harm(
    argv: list[str], settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = dataclasses.replace(settings, state_dir=str(tmp_path / "gone"))
    fastpath.remember(argv, gone, None)
    assert "next start will be slower" in caplog.text


def test_relative_and_home_paths_are_followed(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    monkeypatch.setenv("HOME", str(config.parent))
    for name in (config.name, f"./{config.name}", f"~/{config.name}"):
        assert fastpath.config_files(["--config-file", name]) == [os.path.abspath(config)]
