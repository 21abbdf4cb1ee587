"""What people see of dead letters and of repairs in Slack, and what is in the files before and after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.demo.somas_projects import ProjectWriter
from tests.transcript import Chat
from tests.transcripts.test_somas_transcript import events_of, files_of, folder, pipeline_starts, state_of


def letters_of(root: Path, project: int) -> dict[str, Any]:
    letters: dict[str, Any] = json.loads((folder(root, project) / "dead_letters.json").read_text())
    return letters


def only(root: Path, project: int, pattern: str) -> Path:
    (found,) = folder(root, project).glob(pattern)
    return found


# -- dead letters


async def test_counting_listing_and_showing(tmp_path: Path, root: Path, somas: str) -> None:
    last = letters_of(root, 57)["entries"][-1]
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas dlq count")
        everywhere = await chat.sees("open dead letters in 8 projects", "Warning over 5, critical over 10")
        assert "project-57" in everywhere.shown
        await chat.types("carol", "/somas dlq count 57")
        one = await chat.sees("12 open dead letters in project-57", "12 implement; 12 ")
        await chat.presses("carol", "List them", one)
        listed = await chat.sees("project-57: 12 dead letters, 12 open", "7 older ones", last["id"][:8])
        await chat.presses("carol", "Show the last one", listed)
        shown = await chat.sees(
            f"project-57: dead letter {last['id'][:8]}, open", last["error"]["message"], "Replays: 0"
        )
        assert shown.labels == ["Restart implement…", "Mark as recovered…"]
        await chat.types("carol", "/somas dlq list 57 --stage verify")
        await chat.sees(
            "None of them is of the kind that you asked for. They are 8 RateLimitError, 4 APIConnectionError"
        )
        await chat.types("carol", "/somas dlq show 57 zzzzzzzz")
        await chat.is_told("carol", "project-57 has no dead letter 'zzzzzzzz'. The last one is")
        await chat.types("carol", "/somas dlq lst 57")
        told = await chat.is_told("carol", '/somas dlq has no "lst". Did you mean list?')
        assert told.labels[0] == "/somas dlq list 57"
        await chat.types("carol", '/somas dlq mark 57 last --as success --reason "why not"')
        await chat.is_told("carol", "operator")


async def test_marking_says_who_and_why_and_the_letter_is_closed(tmp_path: Path, root: Path, somas: str) -> None:
    before, files = letters_of(root, 42), files_of(root, 42)
    id_ = before["entries"][1]["id"]
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", f'/somas dlq mark 42 {id_[:8]} --as success --reason "rerun by hand"')
        card = await chat.sees("Mark dead letters as success: project-42", "rerun by hand")
        await chat.sees("Will do: Mark 1 dead letter of project-42 as success", "3 stay open", id_[:8], thread=card)
        await chat.sees("✓ Step 1", "1 dead letter of project-42 marked as success; 3 open now", thread=card)
        await chat.thread(card, until="Run done")
        after = letters_of(root, 42)
        entry = after["entries"][1]
        assert {key: entry[key] for key in ("recovery_attempted", "recovery_result", "notes")} == {
            "recovery_attempted": True,
            "recovery_result": "success",
            "notes": f"{events_of(root, 42)[-1]['timestamp']}: success, marked by slack:U0ALICE: rerun by hand",
        }
        unchanged = {
            key: value for key, value in entry.items() if key not in ("recovery_attempted", "recovery_result", "notes")
        }
        assert unchanged.items() <= before["entries"][1].items()
        assert after["entries"][0] == before["entries"][0] and after["entries"][2:] == before["entries"][2:]
        assert after["statistics"] == {**before["statistics"], "recovered": 1, "unrecovered": 3}
        copy = only(root, 42, "dead_letters.json.backup.20261122T1200*Z.*")
        assert copy.read_bytes() == files[str(folder(root, 42) / "dead_letters.json")]
        assert state_of(root, 42) == json.loads(files[str(folder(root, 42) / "state.json")])
        logged = events_of(root, 42)[-1]
        assert (logged["event_type"], logged["stage"]) == ("recovery_completed", "verify")
        assert logged["actor"] == {"type": "human", "name": "slack:U0ALICE"}
        assert logged["metadata"]["reason"] == "rerun by hand"
        assert logged["metadata"]["dead_letters"] == [id_]
        await chat.types("carol", "/somas dlq count 42")
        await chat.sees("3 open dead letters in project-42")
        await chat.types("carol", f"/somas dlq show 42 {id_[:8]}")
        shown = await chat.sees("recovered", "marked by slack:U0ALICE: rerun by hand")
        assert shown.labels == []


async def test_a_replay_is_a_restart_of_its_stage_and_says_so(tmp_path: Path, root: Path, somas: str) -> None:
    before = letters_of(root, 42)["entries"][-1]
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas dlq replay 42 last --reason 'the gate is fixed'")
        card = await chat.sees("Replay a dead letter: project-42", "the gate is fixed")
        await chat.sees("Step 2", "Will do: Count replay 1", "Upstream has no replay", thread=card)
        await chat.sees("✓ Step 2", "is on replay 1; it stays open until it is marked", thread=card)
        await chat.sees("Step 3", "Will do: Set project-42 to retry verify", thread=card)
        await chat.shows(card, "Step 6 of 7: running")
        entry = letters_of(root, 42)["entries"][-1]
        assert (entry["id"], entry["replay_count"], entry["recovery_result"]) == (before["id"], 1, "pending")
        assert state_of(root, 42)["status"] == "retrying"
        types = [event["event_type"] for event in events_of(root, 42)[-3:]]
        assert types == ["recovery_attempted", "state_updated", "stage_retrying"]
        pipeline_starts(chat, root, 42, "verify")
        await chat.sees("Step 7", f"/somas dlq mark project-42 {before['id']}", thread=card)
        await chat.presses("alice", "Done", card)
        await chat.thread(card, until="Run done")


async def test_a_purge_is_shown_letter_by_letter_and_approved_by_a_second_person(
    tmp_path: Path, root: Path, somas: str
) -> None:
    before, files = letters_of(root, 57), files_of(root, 57)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas dlq purge 57")
        told = await chat.is_told("alice", "Say which dead letters", "--recovered")
        assert told.labels[:2] == ["/somas dlq purge project-57 --recovered", "/somas dlq purge project-57 --all"]
        await chat.types("alice", "/somas dlq purge 57 --recovered")
        told = await chat.is_told("alice", "project-57 has no such dead letters (12 in all)", "None of them is marked")
        assert told.labels == ["/somas dlq list project-57"]

        await chat.types("alice", "/somas dlq purge 57 --all --reason 'rate limit of last week'")
        card = await chat.sees("Move dead letters to an archive: project-57")
        asked = await chat.sees("needs approval", "Move 12 dead letters of project-57", "0 stay", thread=card)
        assert all(f"- {entry['id'][:8]} " in asked.shown for entry in before["entries"][:10])
        assert files_of(root, 57) == files
        with ProjectWriter.held(root, "project-57", chat.clock.now()) as pipeline:
            late = pipeline.add_dead_letter("implement", {"type": "New", "message": "came meanwhile"}, "coder")
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type project-57 to approve": "project-57"})
        again = await chat.sees("needs approval", "1 stay, 1 of them open", thread=card)  # the plan changed
        form = await chat.opens("bob", "Approve…", again)
        await chat.sends("bob", form, {"Type project-57 to approve": "project-57"})
        await chat.sees("12 dead letters of project-57 moved to dead_letters.archive.20261122T1200", thread=card)
        await chat.thread(card, until="Run done")

        after = letters_of(root, 57)
        assert [entry["id"] for entry in after["entries"]] == [late]
        assert after["statistics"]["total_entries"] == after["statistics"]["unrecovered"] == 1
        assert after.keys() == before.keys()
        archive = only(root, 57, "dead_letters.archive.*.json")
        kept = json.loads(archive.read_text())
        assert kept["entries"] == before["entries"]
        assert kept["archived"]["reason"] == "rate limit of last week"
        assert state_of(root, 57)["metrics"]["dead_letters"] == 1
        pipeline_fails(chat, root, 57)  # the shape was kept: upstream's next failure is recorded whole
        assert letters_of(root, 57)["statistics"]["total_entries"] == 2

        await chat.types("alice", f"/somas restore 57 {archive.name}")
        card = await chat.sees("Recover a file of a project from a backup: project-57")
        asked = await chat.sees("needs approval", "get back what was purged", "14 dead letters then", thread=card)
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type project-57 to approve": "project-57"})
        await chat.thread(card, until="Run done")
        restored = letters_of(root, 57)
        assert [entry["id"] for entry in restored["entries"]][:12] == [entry["id"] for entry in before["entries"]]
        assert len(restored["entries"]) == state_of(root, 57)["metrics"]["dead_letters"] == 14
        await chat.types("carol", "/somas validate 57")
        await chat.sees("project-57: the files are valid")


def pipeline_fails(chat: Chat, root: Path, project: int) -> None:
    with ProjectWriter.held(root, f"project-{project}", chat.clock.now()) as pipeline:
        pipeline.rng.seed("another failure")
        pipeline.fail_stage("implement", {"type": "E", "message": "again"}, "coder")


# -- repair


async def test_the_runbooks_own_purge_is_repaired(tmp_path: Path, root: Path, somas: str) -> None:
    """``echo "[]" > dead_letters.json``: what upstream's runbook says, and what breaks upstream's next failure."""
    (folder(root, 57) / "dead_letters.json").write_text("[]\n")
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas validate 57")
        found = await chat.sees(
            "project-57: 1 error", "dead_letters.json line 1 (error): is a list; upstream needs an object"
        )
        await chat.types("alice", "/somas dlq mark 57 last --as skipped --reason x")
        await chat.is_told("alice", "project-57 has no dead letters")
        await chat.types("alice", "/somas dlq purge 57 --all")
        told = await chat.is_told("alice", "Repair it first: /somas repair project-57")
        assert told.labels[0] == "/somas repair project-57"
        await chat.presses("alice", "Repair", found)
        card = await chat.sees("Repair the project's files: project-57")
        await chat.sees("Will do: Repair project-57", "the bare list becomes an object with its 0 entries", thread=card)
        await chat.thread(card, until="Run done")
        after = letters_of(root, 57)
        assert (after["entries"], after["statistics"]["total_entries"]) == ([], 0)
        assert state_of(root, 57)["metrics"]["dead_letters"] == 0
        assert only(root, 57, "dead_letters.json.backup.*").read_text() == "[]\n"
        pipeline_fails(chat, root, 57)
        assert letters_of(root, 57)["statistics"]["total_entries"] == 1
        await chat.types("carol", "/somas validate 57")
        await chat.sees("project-57: the files are valid")


async def test_a_cut_line_of_the_log_is_found_and_mended(tmp_path: Path, root: Path, somas: str) -> None:
    log = folder(root, 124) / "transitions.jsonl"
    whole, cut = log.read_bytes().rsplit(b"\n", 1)
    with pytest.raises(json.JSONDecodeError):
        events_of(root, 124)  # upstream reads as strictly as this
    async with Chat(tmp_path, somas) as chat:
        await chat.types("carol", "/somas validate")
        await chat.sees("3 of 16 projects have errors in their files", "project-124", "project-88", "project-81")
        await chat.types("carol", "/somas validate 124")
        number = whole.count(b"\n") + 2
        found = await chat.sees(f"transitions.jsonl line {number} (error): is cut in the middle of an event")
        await chat.presses("alice", "Repair", found)
        card = await chat.sees("Repair the project's files: project-124")
        await chat.sees("Will do: Repair project-124", f"transitions.jsonl line {number}", thread=card)
        await chat.thread(card, until="Run done")
        assert log.read_bytes().startswith(whole + b"\n")
        last = events_of(root, 124)[-1]
        assert (last["event_type"], last["metadata"]["action"]) == ("recovery_completed", "repair")
        assert only(root, 124, "transitions.rejected.*.txt").read_bytes() == cut + b"\n"
        assert only(root, 124, "transitions.jsonl.backup.*").read_bytes() == whole + b"\n" + cut


async def test_a_corrupt_state_is_rebuilt_from_the_log(tmp_path: Path, root: Path, somas: str) -> None:
    before = files_of(root, 81)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas validate 81")
        found = await chat.sees("project-81: 1 error", "state.json line ", "is not valid JSON")
        await chat.presses("alice", "Reconstruct: see the diff", found)
        await chat.is_told(
            "alice",
            "Nothing was done",
            "state.json of project-81 will be rebuilt from",
            "# status: in_progress, current stage: decompose",
            "# stages: intake completed, specify completed, plan completed, decompose in_progress",
            '+      "agent": "decomposer"',
        )
        assert files_of(root, 81) == before
        await chat.types("alice", "/somas reconstruct project-81 --reason 'disk was full'")
        card = await chat.sees("Reconstruct the state of a project from its log: project-81")
        asked = await chat.sees("needs approval", "At present it is not valid JSON", thread=card)
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type project-81 to approve": "project-81"})
        await chat.thread(card, until="Run done")
        state = state_of(root, 81)
        assert (state["status"], state["current_stage"]) == ("in_progress", "decompose")
        assert only(root, 81, "state.json.backup.*").stat().st_size == 1337  # the damaged file is kept
        updated, completed = events_of(root, 81)[-2:]
        assert updated["metadata"] == {key: value for key, value in state.items() if key != "updated_at"}
        assert completed["metadata"]["reason"] == "disk was full"
        await chat.types("alice", "/somas validate 81")
        await chat.sees("project-81: the files are valid")
        await chat.types("alice", "/somas reconstruct 81")
        await chat.is_told("alice", "state.json says what the log says; there is nothing to reconstruct")


async def test_a_backup_is_chosen_looked_at_and_restored(tmp_path: Path, root: Path, somas: str) -> None:
    before = files_of(root, 103)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas backups 103")
        shown = await chat.sees("project-103: 2 copies, 2 of a usable state", "restoring it loses plan, decompose")
        assert shown.labels == ["Make one now"]
        await chat.types("alice", "/somas restore 103 20260102")
        await chat.is_told("alice", "project-103 has no copy '20260102'", "state.json.backup")
        await chat.types("alice", "/somas restore 103 last --dry-run")
        await chat.is_told("alice", "restored from state.json.backup. It is in progress at verify")
        await chat.types("alice", "/somas restore 103 state.json.backup --reason 'verify was lost'")
        card = await chat.sees("Recover a file of a project from a backup: project-103")
        asked = await chat.sees(
            "needs approval",
            "will be restored from state.json.backup",
            "verify: failed -> in_progress",
            "so stuck at once",
            thread=card,
        )
        form = await chat.opens("bob", "Approve…", asked)
        await chat.sends("bob", form, {"Type project-103 to approve": "project-103"})
        await chat.thread(card, until="Run done")
        state = state_of(root, 103)
        backup = json.loads(before[str(folder(root, 103) / "state.json.backup")])
        later = {"updated_at": 0, "metrics": {**backup["metrics"], "dead_letters": 1}}  # the letter is still there
        assert {**state, "updated_at": 0} == {**backup, **later}
        assert state["updated_at"].startswith("2026-11-22T12:0")
        kept = [path.read_bytes() for path in folder(root, 103).glob("state.json.backup*")]
        assert before[str(folder(root, 103) / "state.json")] in kept  # what was replaced
        assert before[str(folder(root, 103) / "state.json.backup")] in kept  # what somebody had made
        await chat.types("alice", "/somas validate 103")
        await chat.sees("project-103: the files are valid")


async def test_a_backup_on_demand_is_three_files_and_a_line_in_the_log(tmp_path: Path, root: Path, somas: str) -> None:
    before = files_of(root, 42)
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas backup 42 --reason 'before the upgrade'")
        card = await chat.sees("Copy the project's files: project-42")
        await chat.thread(card, until="Run done")
        for name in ("state.json", "dead_letters.json", "transitions.jsonl"):
            assert only(root, 42, f"{name}.backup.2026*").read_bytes() == before[str(folder(root, 42) / name)]
        assert state_of(root, 42) == json.loads(before[str(folder(root, 42) / "state.json")])
        assert events_of(root, 42)[-1]["metadata"]["action"] == "backup"


async def test_nothing_to_repair_is_told_before_a_run_begins_and_what_mends_it_instead(
    tmp_path: Path, root: Path, somas: str
) -> None:
    async with Chat(tmp_path, somas) as chat:
        for project, said, instead in (
            (12, "there is nothing to repair.", "/somas validate project-12"),
            (81, "state.json is not valid JSON", "/somas reconstruct project-81 --dry-run"),
            (88, "transitions.jsonl is missing", "/somas repair project-88 --record"),
        ):
            await chat.types("alice", f"/somas repair {project}")
            told = await chat.is_told("alice", f"project-{project}: there is nothing to repair", said)
            assert told.labels == [instead]
        assert chat.channel() == []


async def test_a_log_that_is_gone_begins_again_with_what_the_state_says(tmp_path: Path, root: Path, somas: str) -> None:
    async with Chat(tmp_path, somas) as chat:
        await chat.types("alice", "/somas validate 88")
        found = await chat.sees("transitions.jsonl (error): is missing: retries and the error rate cannot be known")
        await chat.presses("alice", "Tell the log", found)
        card = await chat.sees("Repair the project's files: project-88")
        await chat.sees("Will do", "begins again with the state as it is", thread=card)
        await chat.thread(card, until="Run done")
        assert [event["event_type"] for event in events_of(root, 88)] == ["state_updated", "recovery_completed"]
        await chat.types("alice", "/somas validate 88")
        await chat.sees("project-88: 1 note", "does not begin with project_initialized")
