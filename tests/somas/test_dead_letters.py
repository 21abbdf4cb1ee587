"""Dead letters: which are meant, what a change makes of the file, and texts that nobody should trust."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bot.errors import UserError
from bot.handler import ActionResult, Danger
from bot.messages import plain_text
from bot.surfaces.github.markdown import draw
from handlers.somas.config import read_config
from handlers.somas.dead_letters import Selection, find, numbered, statistics
from handlers.somas.file_actions import ACTIONS
from handlers.somas.letter_views import count_message, letter_message, letters_message
from handlers.somas.projects import Project, read_project
from tests.somas.conftest import NOW, Files, acting, connected

BY_NAME = {action.name: action for action in ACTIONS}


def folder(root: Path, name: str) -> Path:
    return root / ".somas" / "projects" / name


def read(root: Path, name: str) -> Project:
    return read_project(root, name, read_config(root))


def letters(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(root, name) / "dead_letters.json").read_text())
    return found


async def perform(root: Path, name: str, action: str, operation: str = "op-1", **inputs: str) -> ActionResult:
    handler = connected(root)
    return await BY_NAME[action].perform(handler, acting(handler, name, operation, **inputs))


async def preview(root: Path, name: str, action: str, **inputs: str) -> Any:
    handler = connected(root)
    made = BY_NAME[action].preview
    assert made is not None
    return await made(handler, acting(handler, name, **inputs))


# -- which one


def test_a_letter_is_named_by_its_id_its_beginning_its_number_or_last(root: Path) -> None:
    project = read(root, "project-57")
    third = numbered(project)[2]
    assert {find(project, typed).number for typed in (third.id, third.id[:8], third.id[:8].upper(), "#3")} == {3}
    assert find(project, "last").number == 12


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("#13", "project-57 has 12 dead letters; there is no #13"),
        ("#0", "there is no #0"),
        ("abc", "has no dead letter 'abc'"),  # three characters name nothing
        ("../../etc/passwd", "has no dead letter '../../etc/passwd'"),
        ("\ud83d\x00" * 50, "has no dead letter"),
    ],
)
def test_what_is_no_letter_is_told(root: Path, typed: str, said: str) -> None:
    with pytest.raises(UserError) as wrong:
        find(read(root, "project-57"), typed)
    assert said in wrong.value.message
    wrong.value.message.encode("utf-8")


def test_nothing_chosen_is_nothing_purged() -> None:
    with pytest.raises(UserError, match="Say which dead letters"):
        Selection.from_inputs({})
    chosen = Selection(("a", "b"), "verify", "tester", True, True, "2026")
    assert Selection.from_inputs(chosen.inputs) == chosen


# -- the file


async def test_a_purge_of_some_keeps_the_others_byte_for_byte_and_every_unknown_key(root: Path) -> None:
    path = folder(root, "project-57") / "dead_letters.json"
    before = {**letters(root, "project-57"), "owner": {"team": "relay"}}
    before["statistics"]["note"] = "by hand"
    path.write_text(json.dumps(before, indent=2))
    path.chmod(0o664)
    ids = [entry["id"] for entry in before["entries"]]
    result = await perform(root, "project-57", "somas.purge_letters", letters=f"{ids[0]} {ids[5]}")
    assert result.status == "done", result
    after = letters(root, "project-57")
    assert after["entries"] == [entry for entry in before["entries"] if entry["id"] not in (ids[0], ids[5])]
    assert after["owner"] == {"team": "relay"} and after["statistics"]["note"] == "by hand"
    assert path.read_text() == json.dumps(after, indent=2)
    assert path.stat().st_mode & 0o777 == 0o664
    assert after["statistics"]["by_stage"] == {"implement": 10}
    (archive,) = folder(root, "project-57").glob("dead_letters.archive.*.json")
    kept = json.loads(archive.read_text())
    assert [entry["id"] for entry in kept["entries"]] == [ids[0], ids[5]]
    assert kept["archived"] == {
        "at": "2026-11-22T12:00:00Z",
        "by": "slack:U0ALICE",
        "reason": "the flaky test is fixed",
        "operation_id": "op-1",
    }


async def test_the_same_operation_again_changes_nothing(root: Path) -> None:
    first = await perform(root, "project-57", "somas.purge_letters", letters_all="true")
    after = Files.of(folder(root, "project-57"))
    again = await perform(root, "project-57", "somas.purge_letters", letters_all="true")
    assert (first.status, again.status) == ("done", "done")
    assert Files.of(folder(root, "project-57")) == after


async def test_a_preview_says_the_same_whenever_it_is_made_and_changes_nothing(root: Path) -> None:
    before = Files.of(folder(root, "project-57"))
    first = await preview(root, "project-57", "somas.purge_letters", letters_all="true")
    handler = connected(root)
    make = BY_NAME["somas.purge_letters"].preview
    assert make is not None
    assert await make(handler, acting(handler, "project-57", "another", letters_all="true")) == first
    assert first.detail.count("\n") == 11
    assert Files.of(folder(root, "project-57")) == before


async def test_letters_that_come_in_meanwhile_stay(root: Path) -> None:
    entries = letters(root, "project-57")["entries"]
    until = entries[6]["timestamp"]
    await perform(root, "project-57", "somas.purge_letters", letters_all="true", letters_until=until)
    assert [entry["id"] for entry in letters(root, "project-57")["entries"]] == [entry["id"] for entry in entries[7:]]


async def test_a_letter_that_is_gone_is_refused_and_told(root: Path) -> None:
    before = Files.of(folder(root, "project-57"))
    result = await perform(root, "project-57", "somas.mark_letters", letters="0000-gone", result="success")
    assert result.status == "refused"
    assert "has no dead letter 0000-gone any more" in result.summary
    assert Files.of(folder(root, "project-57")) == before


@pytest.mark.parametrize("content", ["[]", "{}", "nonsense", "null", '{"entries": 3}', '[{"id": "a"}]'])
async def test_a_file_that_is_damaged_is_changed_by_a_repair_only(root: Path, content: str) -> None:
    path = folder(root, "project-57") / "dead_letters.json"
    path.write_text(content)
    for action in ("somas.purge_letters", "somas.mark_letters", "somas.replay_letter"):
        result = await perform(root, "project-57", action, letters="abcd", letters_all="true", result="success")
        assert result.status == "refused"
        assert "/somas repair project-57" in result.summary
    assert path.read_text() == content
    assert (await perform(root, "project-57", "somas.repair")).status == "done"
    assert isinstance(letters(root, "project-57")["entries"], list)


def test_statistics_count_as_upstream_counts() -> None:
    entries = [{"stage": "plan", "agent": None}, {"stage": "plan"}, {"stage": 5, "agent": "a"}, "no entry"]
    assert statistics(entries) == {
        "total_entries": 4,
        "by_stage": {"plan": 2, "5": 1, "null": 1},
        "by_agent": {"null": 3, "a": 1},
        "recovered": 0,
        "unrecovered": 4,
    }


def test_only_the_purge_needs_a_second_person() -> None:
    dangers = {name: action.danger for name, action in BY_NAME.items() if "letter" in name}
    assert dangers == {
        "somas.mark_letters": Danger.CHANGE,
        "somas.replay_letter": Danger.CHANGE,
        "somas.purge_letters": Danger.DESTRUCTIVE,
    }


# -- what others have written


async def test_hostile_texts_are_shown_and_changed_as_text(root: Path) -> None:
    """What the letters of project-96 say must be read, and must not ping, link, break out or get lost."""
    before = letters(root, "project-96")["entries"]
    project = read(root, "project-96")
    for each in numbered(project):
        message = letter_message(project, each, NOW)
        comment = draw(message, {})
        comment.encode("utf-8")
        outside = re.sub(r"(?ms)^(`{3,})\w*$.*?^\1$", "", comment)  # a fence that text cannot close
        outside = re.sub(r"(`+)[^`]+\1", "", outside)
        for alive in ("@scotlaclair", "@everyone", "@copilot", "<!--", "<script", "http"):
            assert alive not in outside, outside
        assert len(plain_text(message.blocks)) < 9000
    listed = letters_message(project, numbered(project), 25, NOW)
    assert len(plain_text(listed.blocks).splitlines()) < 20  # a line break in a text breaks no line
    ids = " ".join(entry["id"] for entry in before)
    marked = await perform(root, "project-96", "somas.mark_letters", letters=ids, result="skipped")
    assert marked.status == "done"
    marked.model_dump_json()
    after = letters(root, "project-96")["entries"]
    assert [entry["error"] for entry in after] == [entry["error"] for entry in before]
    purged = await perform(root, "project-96", "somas.purge_letters", "op-2", letters_all="true")
    purged.model_dump_json()
    (archive,) = folder(root, "project-96").glob("dead_letters.archive.*")
    assert [entry["error"] for entry in json.loads(archive.read_text())["entries"]] == [e["error"] for e in before]


def test_a_letter_of_a_megabyte_fits_a_message(root: Path) -> None:
    path = folder(root, "project-42") / "dead_letters.json"
    raw = letters(root, "project-42")
    raw["entries"][0]["error"]["message"] = "x\u202e" * 500_000
    raw["entries"][0]["trace"] = [{"line": "y" * 10_000}] * 50
    raw["entries"][0]["id"] = "`<!channel>` " * 40
    raw["entries"][1]["agent"] = ["not", "text"]
    path.write_text(json.dumps(raw))
    project = read(root, "project-42")
    for each in numbered(project):
        assert len(plain_text(letter_message(project, each, NOW).blocks)) < 9000
    assert numbered(project)[0].short == "#1"
    assert plain_text(count_message([project], NOW, True).blocks).startswith("4 open dead letters in project-42")


@pytest.mark.sample
def test_the_letters_of_the_sample(sample: Path) -> None:
    """The README: 57 has 12 of the coder, 8 and 4; 31 in all, all open; 96 says hostile things."""
    config = read_config(sample)
    fifty_seven = read_project(sample, "project-57", config)
    said = plain_text(letters_message(fifty_seven, numbered(fifty_seven), 5, NOW).blocks)
    assert "project-57: 12 dead letters, 12 open" in said
    assert "Open: 8 RateLimitError, 4 APIConnectionError; all in implement by coder." in said
    names = ("7", "12", "19", "23", "31", "42", "57", "64", "70", "81", "88", "96", "103", "110")
    everything = [read_project(sample, f"project-{name}", config) for name in names]
    counted = plain_text(count_message(everything, NOW, False).blocks)
    assert counted.startswith("31 open dead letters in 8 projects")
    assert "project-57 | 12 | 12 | critical" in counted
    assert "project-96 | 7 | 7 | warning" in counted
