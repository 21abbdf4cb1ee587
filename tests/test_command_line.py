"""The ``opsbot`` command as its own process: what is printed, and with which exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[1]
GOOD = """
[server]
port = {port}
[database]
url = "sqlite:///{folder}/opsbot.db"
[slack]
channel = "C0OPS"
api_url = "http://127.0.0.1:9/"
[escalation]
contact = "scotlaclair"
[people.scotlaclair]
slack = "U0SCOT"
"""
SECRETS = {"SLACK_BOT_TOKEN": "xoxb-hush", "SLACK_SIGNING_SECRET": "hush"}


def opsbot(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OPSBOT_", "SLACK_"))}
    done = subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def test_help_names_every_command() -> None:
    done = opsbot("--help")
    assert done.returncode == 0
    for command in ("run", "demo", "doctor", "alive", "runbook", "commands"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "opsbot: There is no file opsbot.toml. Give one with --config opsbot.toml\n"),
        ('[server]\nport = "x"\n', "opsbot: server.port: must be a whole number (it is 'x'). Example: port = 8080\n"),
    ],
)
def test_run_with_a_wrong_file_says_one_thing_and_exits_with_2(tmp_path: Path, document: str | None, said: str) -> None:
    if document is not None:
        (tmp_path / "opsbot.toml").write_text(
            GOOD.format(port=0, folder=tmp_path).replace("[server]\nport = 0\n", document)
        )
    done = opsbot("run", folder=tmp_path, **SECRETS)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize(
    ("replace", "by", "said"),
    [
        (
            "[database]",
            '[people.other]\nslack = "U0SCOT"\n[database]',
            "people.scotlaclair: slack:U0SCOT is already people.other",
        ),
        ("opsbot.db", "", "database.url: "),
    ],
)
def test_run_with_what_only_shows_at_the_start(tmp_path: Path, replace: str, by: str, said: str) -> None:
    text = GOOD.format(port=0, folder=tmp_path).replace(replace, by, 1)
    (tmp_path / "opsbot.toml").write_text(text)
    done = opsbot("run", folder=tmp_path, **SECRETS)
    assert done.returncode == 2
    assert f"opsbot: {said}" in done.stderr
    assert "hush" not in done.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Path, int, subprocess.Popen[str]]]:
    """A bot that runs, on a Slack that does not answer."""
    port = free_port()
    (tmp_path / "opsbot.toml").write_text(GOOD.format(port=port, folder=tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-m", "bot", "run", "--log", "WARNING"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **SECRETS},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
            break
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield tmp_path, port, process
    process.kill()
    process.communicate()


def test_a_running_bot(running: tuple[Path, int, subprocess.Popen[str]]) -> None:
    """One bot for all of this, because a start takes a second."""
    folder, port, process = running
    assert opsbot("alive", folder=folder).returncode == 0, "no secrets are needed to ask"
    assert opsbot("alive", folder=folder, OPSBOT_SERVER__HOST="0.0.0.0").returncode == 0
    assert opsbot("alive", "--config", str(folder / "opsbot.toml"), folder=folder).returncode == 0
    elsewhere = opsbot("alive", folder=folder, OPSBOT_SERVER__PORT=str(free_port()))
    assert elsewhere.returncode == 1
    assert "does not answer" in elsewhere.stderr

    second = opsbot("run", folder=folder, **SECRETS, OPSBOT_SERVER__PORT="0")
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].startswith(
        f"opsbot: database.url: another opsbot is running on {folder}/opsbot.db. Stop it first"
    )

    taken = opsbot("run", folder=folder, **SECRETS, OPSBOT_DATABASE__URL=f"sqlite:///{folder}/other.db")
    assert taken.returncode == 2
    assert f"opsbot: server.port: 127.0.0.1:{port} cannot be used" in taken.stderr
    assert "Example: port = 8081" in taken.stderr

    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    assert "Traceback" not in log
    assert "hush" not in log
    assert opsbot("alive", folder=folder).returncode == 1


def test_alive_with_a_wrong_file_says_what_is_wrong(tmp_path: Path) -> None:
    assert opsbot("alive", folder=tmp_path).returncode == 2
    for document in ("server = 3\n", '[server]\nport = "x"\n', "[server\n"):
        (tmp_path / "opsbot.toml").write_text(document)
        for environment in ({}, {"OPSBOT_SERVER__HOST": "127.0.0.1"}):
            done = opsbot("alive", folder=tmp_path, **environment)
            assert done.returncode == 2
            assert done.stderr.startswith("opsbot: ")


def test_doctor_names_what_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "opsbot.toml").write_text(GOOD.format(port=0, folder=tmp_path))
    done = opsbot("doctor", folder=tmp_path, **SECRETS)
    assert done.returncode == 1
    assert "✓ opsbot.toml is complete" in done.stdout
    assert "✓ the database" in done.stdout
    assert "✗ slack: Slack: auth.test failed" in done.stdout


def test_runbook_check(tmp_path: Path) -> None:
    assert opsbot("runbook", "check").returncode == 0
    (tmp_path / "bad.md").write_text(
        "## P1-900: Nothing\n\n| Step | Action | Expected Metrics | Estimated Duration |\n|---|---|---|---|\n"
        "| 1 | Look: `no.such_action()` | `a >` | soon |\n"
    )
    done = opsbot("runbook", "check", str(tmp_path / "bad.md"))
    assert done.returncode == 1
    assert "bad.md" in done.stdout
    gone = opsbot("runbook", "check", str(tmp_path / "gone.md"))
    assert gone.returncode in (1, 2)
    assert "gone.md" in gone.stdout + gone.stderr


def test_commands_check_finds_what_is_stale(tmp_path: Path) -> None:
    """The repository's own files are checked by ``make check``; here they are a copy."""
    for name in ("manifest.yml", "docs/commands.md"):
        copy = tmp_path / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text((ROOT / name).read_text())
    assert opsbot("commands", "--write", folder=tmp_path).returncode == 0
    fresh = opsbot("commands", "--check", folder=tmp_path)
    assert (fresh.returncode, fresh.stderr) == (0, "")
    (tmp_path / "manifest.yml").write_text("display_information: {}\n")
    stale = opsbot("commands", "--check", folder=tmp_path)
    assert stale.returncode == 1
    assert stale.stderr == "manifest.yml is stale: opsbot commands --write\n"


def test_commands_prints_the_table() -> None:
    done = opsbot("commands")
    assert done.returncode == 0
    assert "/somas restart" in done.stdout


def test_what_is_typed_wrong_is_told(tmp_path: Path) -> None:
    done = opsbot("rum", folder=tmp_path)
    assert done.returncode != 0
    assert "rum" in done.stdout + done.stderr
