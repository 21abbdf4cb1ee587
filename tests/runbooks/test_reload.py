"""Runbook files that change while the bot runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from bot.errors import UserError
from bot.runbooks.folders import RunbookFolders
from tests.runbooks.products import KETTLE

T = TypeVar("T")
GOOD = """\
# Boil

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Fill it | It is full | 1min |
"""


async def run_blocking(function: Callable[..., T], /, *args: Any) -> T:
    return await asyncio.to_thread(function, *args)


@pytest.fixture
def folders(tmp_path: Path) -> RunbookFolders:
    (tmp_path / "boil.md").write_text(GOOD)
    return RunbookFolders([KETTLE], [tmp_path], run_blocking)


async def test_nothing_is_read_again_as_long_as_nothing_changes(folders: RunbookFolders) -> None:
    assert await folders.library() is await folders.library()


async def test_a_change_of_the_same_size_and_time_is_seen(folders: RunbookFolders, tmp_path: Path) -> None:
    file = tmp_path / "boil.md"
    before = file.stat()
    await folders.library()
    file.write_text(GOOD.replace("Fill", "Tilt"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (await folders.library()).get("boil").steps[0].text == "Tilt it"


async def test_a_file_saved_by_an_editor_that_replaces_it(folders: RunbookFolders, tmp_path: Path) -> None:
    await folders.library()
    (tmp_path / "boil.md~").write_text(GOOD.replace("Fill", "Tilt"))
    (tmp_path / "boil.md~").replace(tmp_path / "boil.md")
    assert (await folders.library()).get("boil").steps[0].text == "Tilt it"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (GOOD.replace("1min", "soon").encode(), "soon"),
        (GOOD.replace("Action", "Actn").encode(), 'no column "Action"'),
        (b"", "no runbook in it"),
        (b"---\nid: [\n---\n", "not YAML"),
        (GOOD.encode("utf-16"), "not UTF-8"),
    ],
)
async def test_a_broken_file_keeps_what_was_read_before_until_it_is_mended(
    folders: RunbookFolders, tmp_path: Path, broken: bytes, said: str
) -> None:
    good = (await folders.library()).get("boil")
    assert await folders.problems() == [] and good.stale == ""
    with capture_logs() as logged:
        (tmp_path / "boil.md").write_bytes(broken)
        for _ in range(3):
            kept = (await folders.library()).get("boil")
            assert kept.steps == good.steps and said in kept.stale
        (tmp_path / "other.md").write_text(GOOD.replace("Boil", "Other"))  # read again for another reason
        assert (await folders.library()).get("boil").stale == kept.stale
        assert (await folders.library()).get("other").stale == ""
    errors = [entry for entry in logged if entry["log_level"] == "error"]
    assert len(errors) == len(await folders.problems()) >= 1, "each problem is told once"
    assert any("boil goes on as it was read before" in problem for problem in await folders.problems())
    (tmp_path / "boil.md").write_text(GOOD.replace("Fill", "Tilt"))
    mended = (await folders.library()).get("boil")
    assert (mended.steps[0].text, mended.stale, await folders.problems()) == ("Tilt it", "", [])


async def test_new_files_appear_and_deleted_ones_are_gone(folders: RunbookFolders, tmp_path: Path) -> None:
    await folders.library()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "tea.md").write_text(GOOD.replace("Boil", "Tea"))
    assert (await folders.library()).get("tea").title == "Tea"
    (tmp_path / "boil.md").unlink()
    with pytest.raises(UserError, match="There is no runbook boil"):
        (await folders.library()).get("boil")
    (tmp_path / "deep" / "tea.md").write_text("| Step | broken")
    (tmp_path / "deep" / "tea.md").unlink()
    assert (await folders.library()).runbooks.keys().isdisjoint({"tea", "boil"})
    assert await folders.problems() == []


async def test_a_folder_that_hangs_keeps_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.runbooks.folders.PATIENCE", 0.05)
    (tmp_path / "boil.md").write_text(GOOD)
    answers = asyncio.Event()
    answers.set()

    async def slowly(function: Callable[..., T], /, *args: Any) -> T:
        await answers.wait()
        return await asyncio.to_thread(function, *args)

    folders = RunbookFolders([], [tmp_path], slowly)
    read = await folders.library()
    answers.clear()
    (tmp_path / "boil.md").write_text(GOOD.replace("Fill", "Tilt"))
    assert await folders.library() is read
    assert (await folders.problems())[0] == "The runbook folders do not answer"
    answers.set()
    looks = await asyncio.gather(*(folders.library() for _ in range(5)))
    assert {look.get("boil").steps[0].text for look in looks} == {"Tilt it"}


async def test_a_folder_that_comes_later(tmp_path: Path) -> None:
    folders = RunbookFolders([], [tmp_path / "own"], run_blocking)
    assert "there is no such file or folder" in (await folders.problems())[0]
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "boil.md").write_text(GOOD)
    assert (await folders.library()).get("boil").id == "boil"
    assert await folders.problems() == []
