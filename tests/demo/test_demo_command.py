"""``opsbot demo`` in the terminal: what it says, what it refuses, and that nothing of it is left when it ends."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.demo.folder import DemoFolder
from bot.errors import SettingsError
from tests.demo.demo_process import READY, demo, lives, start, until

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for a socket, wherever pytest has its own."""
    with tempfile.TemporaryDirectory(prefix="opsbot-") as folder:
        yield Path(folder) / "d"


async def test_it_says_where_the_page_is_and_ends_with_everything_on_sigterm() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        async with demo("--port", str(taken)) as running:
            assert f"(port {taken}: address already in use)" in running.said
            assert f":{taken}/" not in running.url
            for word in ("a simulation of Slack", "/somas restart project-42", str(running.folder)):
                assert word in running.said
            pids = running.pids
            assert set(pids) == {"demo", "payments", "opsbot"}
            assert pids["opsbot"] == running.bot_pid
            assert pids["demo"] == running.process.pid
            assert all(lives(pid) for pid in pids.values())

            second = await start(running.folder)
            assert await second.ended() == 2
            assert f"Another demo (process {pids['demo']}) runs in {running.folder}" in second.said
            assert (running.folder / "opsbot.db").exists(), "the second one deleted the files of the first"
            assert all(lives(pid) for pid in pids.values())

            running.process.send_signal(signal.SIGTERM)
            assert await running.ended() == 0
    assert [name for name, pid in pids.items() if lives(pid)] == []
    assert "Traceback" not in running.said


async def test_ctrl_c_reaches_the_whole_terminal_and_nothing_is_started_again() -> None:
    async with demo() as running:
        pids = running.pids
        os.killpg(running.process.pid, signal.SIGINT)  # a terminal sends it to every process of the group
        assert await running.ended() == 0
    assert [name for name, pid in pids.items() if lives(pid)] == []
    assert "started again" not in running.said
    assert "Traceback" not in running.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_during_the_start_ends_it_too(short: Path, number: signal.Signals) -> None:
    running = await start(short)
    marker = short / ".opsbot-demo"
    await until(lambda: marker.exists() and "opsbot " in marker.read_text(), "the bot is started")
    pids = running.pids
    running.process.send_signal(number)
    assert await running.ended() == 0
    assert READY not in running.said
    assert [name for name, pid in pids.items() if lives(pid)] == []
    assert "Traceback" not in running.said


async def test_a_demo_that_was_killed_leaves_word_of_what_still_runs(short: Path) -> None:
    first = await start(short)
    await first.says(READY)
    left = {name: pid for name, pid in first.pids.items() if name != "demo"}
    try:
        first.process.kill()
        assert await first.ended() == -signal.SIGKILL
        second = await start(short)
        assert await second.ended() == 2
        assert "of an earlier demo still run in" in second.said
        assert all(f"{name} (process {pid})" in second.said for name, pid in left.items())
        assert (short / "opsbot.db").exists()
    finally:
        for pid in left.values():
            os.kill(pid, signal.SIGTERM)
    await until(lambda: not any(lives(pid) for pid in left.values()), "they end")
    with DemoFolder(short):
        assert [path.name for path in (short).iterdir()] == [".opsbot-demo"]


# -- the folder


def refusal(folder: Path) -> str:
    with pytest.raises(SettingsError) as refused, DemoFolder(folder):
        pass
    return str(refused.value)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert refusal(tmp_path) == (
        f"{tmp_path} holds other files, and the demo empties its folder. Give another one: opsbot demo --folder DIR"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_its_own_folder_is_emptied_and_nothing_behind_a_link_in_it(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "thesis.txt").write_text("years of work")
    folder = tmp_path / "d"
    with DemoFolder(folder):
        (folder / "somas").mkdir()
        (folder / "somas" / "state.json").touch()
        (folder / "link").symlink_to(kept)
    with DemoFolder(folder):
        assert [path.name for path in folder.iterdir()] == [".opsbot-demo"]
    assert (kept / "thesis.txt").read_text() == "years of work"


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with DemoFolder(tmp_path / "d") as first:
        first.note({"demo": os.getpid()})
        (tmp_path / "d" / "opsbot.db").touch()
        assert refusal(tmp_path / "d") == (
            f"Another demo (process {os.getpid()}) runs in {tmp_path}/d. "
            "End it with Ctrl-C, or give another folder: --folder DIR"
        )
        assert (tmp_path / "d" / "opsbot.db").exists()


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    assert "is too long: the path of a Unix socket in it has 107 bytes at most" in refusal(folder)
    assert "opsbot demo --folder /tmp/opsbot-demo" in refusal(folder)
    assert "is too long" in refusal(Path("/tmp") / ("é" * 45)), "a character may take several bytes"
    assert not folder.exists()


def test_other_folders_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file cannot be used: File exists. Give another one" in refusal(tmp_path / "file")
    assert "Not a directory" in refusal(tmp_path / "file" / "d")
    assert "'\"' cannot stand in a setting" in refusal(tmp_path / 'a"b')


async def test_the_refusal_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    running = await start(tmp_path)
    assert await running.ended() == 2
    assert running.said == (
        f"opsbot: {tmp_path} holds other files, and the demo empties its folder. "
        "Give another one: opsbot demo --folder DIR\n"
    )


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
async def test_a_port_that_is_none(tmp_path: Path, port: str) -> None:
    running = await start(tmp_path / "d", "--port", port)
    assert await running.ended() == 2
    assert "--port" in running.said
    assert "Traceback" not in running.said
    assert not (tmp_path / "d").exists()
