"""Others write in the folder of SOMAS: what they put there must not stop the bot, nor make it write elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bot.errors import Unavailable
from handlers.somas.change import settle
from handlers.somas.config import TIMEOUT_HOURS, Config, read_config
from handlers.somas.locks import append, locked
from handlers.somas.state import read_bytes, read_state
from handlers.somas.transitions import decode_log


def config_of(root: Path, text: str) -> Config:
    (root / ".somas").mkdir(exist_ok=True)
    (root / ".somas/config.yml").write_text(text)
    return read_config(root)


def test_brackets_in_the_configuration_do_not_end_the_process(tmp_path: Path) -> None:
    (tmp_path / ".somas").mkdir()
    (tmp_path / ".somas/config.yml").write_text("[" * 200_000)
    program = (
        "import sys; from pathlib import Path; from handlers.somas.config import read_config; "
        "print(read_config(Path(sys.argv[1])).problems[0])"
    )
    read = subprocess.run(  # in a process of its own: libyaml's recursion would take this one along
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert read.returncode == 0, read.stderr
    assert read.stdout == ".somas/config.yml cannot be read (nested too deeply); the usual values are used\n"


def test_merge_keys_cannot_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    began = time.monotonic()
    config = config_of(tmp_path, "\n".join(lines))
    assert time.monotonic() - began < 5
    assert ".somas/config.yml cannot be read (merges too many keys); the usual values are used" in config.problems
    assert config.timeouts == TIMEOUT_HOURS


def test_aliases_cannot_either(tmp_path: Path) -> None:
    config = config_of(tmp_path, "a: &a [1]\nb: [" + ", ".join(["*a"] * 2000) + "]")
    assert ".somas/config.yml cannot be read (too many aliases); the usual values are used" in config.problems


def test_an_honest_configuration_may_use_anchors(tmp_path: Path) -> None:
    text = "base: &base {timeout_hours: 7}\npipeline: {stages: [{<<: *base, id: verify}]}\n"
    assert config_of(tmp_path, text).timeouts["verify"] == 7


def test_a_configuration_that_is_a_pipe_or_too_large_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / ".somas/config").mkdir(parents=True)
    os.mkfifo(tmp_path / ".somas/config.yml")
    (tmp_path / ".somas/config/limits.yml").write_text("#" * (1024 * 1024 + 1))
    problems = read_config(tmp_path).problems
    assert ".somas/config.yml is not a regular file; the usual values are used" in problems
    assert ".somas/config/limits.yml is too large to be read (1048577 bytes); the usual values are used" in problems


def test_a_file_that_says_it_is_empty_is_not_read_for_ever(tmp_path: Path) -> None:
    (tmp_path / "state.json").symlink_to("/proc/kallsyms")  # regular, 0 bytes, megabytes to read
    assert read_bytes(tmp_path / "state.json", 1000) == "is too large to be read (more than 1000 bytes)"


def test_a_pipe_that_takes_the_place_of_a_file_blocks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state.json"
    file.write_text("{}")
    looked_at = file.stat()
    file.unlink()
    os.mkfifo(file)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: looked_at)  # the look before somebody swapped it
    reading = threading.Thread(target=read_bytes, args=(file,), daemon=True)
    reading.start()
    reading.join(5)
    assert not reading.is_alive()


@pytest.mark.parametrize("content", [b"[" * 1_000_000, b'{"a":' * 500_000, b"1" * 1_000_000, b"\xff" * 1000, b"\x00"])
def test_a_state_made_to_break_the_reader_is_damaged_and_says_why(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    found = read_state(tmp_path, "project-5")
    assert found.condition == "damaged" and found.problem


def test_a_log_line_full_of_beginnings_is_read_in_no_time() -> None:
    began = time.monotonic()
    log = decode_log(b'{"id": "a","b":' * 300_000)
    assert (log.bad_lines, log.events) == (1, ())
    assert time.monotonic() - began < 3


def test_the_log_is_not_followed_to_somebody_elses_file(tmp_path: Path) -> None:
    elsewhere = tmp_path / "authorized_keys"
    elsewhere.write_text("ssh-ed25519 mine\n")
    log = tmp_path / "transitions.jsonl"
    log.symlink_to(elsewhere)
    with pytest.raises(OSError):
        append(log, '{"event_type": "stage_retrying"}\n')
    assert elsewhere.read_text() == "ssh-ed25519 mine\n"


def test_neither_is_a_lock(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    project = tmp_path / "project-5"
    project.mkdir()
    (project / "state.json.lock").symlink_to(elsewhere)
    with pytest.raises(Unavailable, match="Nothing was changed"), locked(project, 1):
        pytest.fail("the lock was taken through a link")
    assert elsewhere.read_text() == "mine"


def test_neither_is_a_project(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "state.json").write_text("{}")
    project = tmp_path / "project-5"
    project.symlink_to(elsewhere)
    with pytest.raises(Unavailable, match=r"is a symbolic link.*Nothing was changed"), locked(project, 1):
        pytest.fail("the lock was taken through a link")
    assert [path.name for path in elsewhere.iterdir()] == ["state.json"]


NOTES = [
    {"remove": ["..", "", "artifacts", "../mine", "/etc/passwd", "a\0b"], "staged": {"..": "..", "x": "../mine"}},
    {"after": {"..": "a", "": "b"}, "before": {"..": "c"}, "staged": {"": ""}},
    {"after": ["state.json"], "before": 1, "staged": "x", "remove": {"state.json": 1}, "lines": "!"},
    {"after": {"state.json": "{digest}"}, "before": {}, "staged": {"other": "state.json.lock", "dir": ".."}},
]


@pytest.mark.parametrize("written", NOTES)
def test_a_note_of_a_change_that_somebody_else_wrote_leads_nowhere(tmp_path: Path, written: dict[str, object]) -> None:
    """What was begun is written down beside the files; whoever writes there can write such notes too."""
    (tmp_path / "mine").write_text("mine")
    project = tmp_path / "project-5"
    (project / "artifacts").mkdir(parents=True)
    (project / "state.json").write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    note = project / ".opsbot.deadbeef.change.json"
    note.write_text(json.dumps({"operation_id": "x", **written}).replace("{digest}", digest))
    settle(project, "project-5")
    assert not note.exists()
    assert (tmp_path / "mine").read_text() == "mine"
    assert (project / "state.json").read_text() == "{}"
    assert (project / "artifacts").is_dir()
