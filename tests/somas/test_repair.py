"""What a validation finds and on which line, what a repair mends, and what a reconstruction and a restore replace."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from bot.demo.somas_projects import ProjectWriter
from bot.errors import UserError
from bot.handler import ActionResult, Danger
from bot.messages import plain_text
from handlers.somas.backups import archives, copies, is_copy
from handlers.somas.broken_log import examine, mended
from handlers.somas.change import Order, write
from handlers.somas.config import read_config
from handlers.somas.dead_letters import Selection, purge
from handlers.somas.file_actions import ACTIONS
from handlers.somas.file_views import Kept, backups_message, report_message, reports_message
from handlers.somas.finding import Finding
from handlers.somas.locks import WriteFailed
from handlers.somas.positions import lines_of
from handlers.somas.projects import list_projects, read_project
from handlers.somas.restart_files import Order as RestartOrder
from handlers.somas.restart_files import write_restart
from handlers.somas.validate import Report, validate
from tests.somas.conftest import NOW, Files, acting, connected

BY_NAME = {action.name: action for action in ACTIONS}


def folder(root: Path, name: str = "project-42") -> Path:
    return root / ".somas" / "projects" / name


def report(root: Path, name: str = "project-42") -> Report:
    return validate(read_project(root, name, read_config(root)), NOW)


def state_of(root: Path, name: str = "project-42") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder(root, name) / "state.json").read_text())
    return found


def edit(root: Path, old: str, new: str, file: str = "state.json", name: str = "project-42") -> int:
    """Change a file by hand, as people do; the line on which it was done."""
    path = folder(root, name) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


async def perform(
    root: Path, action: str, name: str = "project-42", operation: str = "op-1", **inputs: str
) -> ActionResult:
    handler = connected(root)
    return await BY_NAME[action].perform(handler, acting(handler, name, operation, **inputs))


async def detail(root: Path, action: str, name: str = "project-42", **inputs: str) -> str:
    handler = connected(root)
    make = BY_NAME[action].preview
    assert make is not None
    return (await make(handler, acting(handler, name, **inputs))).detail


# -- validate


def test_projects_that_are_whole_have_no_findings(root: Path) -> None:
    wrong = {name: report(root, name).findings for name in list_projects(root) if report(root, name).findings}
    assert set(wrong) == {"project-81", "project-88", "project-124"}


@pytest.mark.sample
def test_the_sample_has_the_two_damages_of_its_readme(sample: Path) -> None:
    found = {name: report(sample, name) for name in list_projects(sample)}
    wrong = {name: [each.where for each in one.findings] for name, one in found.items() if one.findings}
    assert wrong == {"project-81": ["state.json line 48"], "project-88": ["transitions.jsonl"]}
    assert found["project-81"].fixes == ("/somas reconstruct project-81",)
    assert found["project-88"].fixes == ("/somas repair project-88 --record",)


BY_HAND = [
    ('"status": "failed"', '"status": "broken"', "warning", 'status is "broken"; SOMAS knows initializing'),
    ('"current_stage": "verify"', '"current_stage": "pulse"', "note", 'current_stage "pulse" is an old name of verify'),
    ('"current_stage": "verify"', '"current_stage": "nowhere"', "note", "is none of the eleven"),
    ('"checkpoints": [', '"checkpoints": [3,', "error", "checkpoints.0 is 3; it must be of the type object"),
    ('"retry_count": 0', '"retry_count": "no"', "error", 'retry_count is "no"; it must be of the type integer'),
    ('"issue_number": 42', '"issue_number": -1', "warning", "issue_number is -1, which cannot be"),
    ('"created_at": "2026', '"created_at": "yesterday 2026', "warning", "which is no time"),
    ('"updated_at": "2026', '"updated_at": "2036', "warning", "updated_at is in the future"),
    (
        '"agent_invocations"',
        '"agent_summons"',
        "warning",
        "does not say what the log leads to: metrics.agent_summons is",
    ),
    ('"branch": "somas', '"status": "failed",\n  "branch": "somas', "warning", 'the key "status" stands twice'),
    ('"dead_letters": 4', '"dead_letters": 9', "warning", "metrics.dead_letters is 9, and dead_letters.json has 4"),
]


@pytest.mark.parametrize(("old", "new", "severity", "problem"), BY_HAND)
def test_a_mistake_by_hand_is_found(root: Path, old: str, new: str, severity: str, problem: str) -> None:
    line = edit(root, old, new)
    found = [each for each in report(root).findings if problem in each.problem and each.severity == severity]
    assert found, report(root).findings
    assert found[0].line in (0, line)
    if found[0].line:
        assert found[0].shown in " ".join((folder(root) / "state.json").read_text().split("\n")[line - 1].split())


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"", 0, "is empty"),
        (b'{\n  "status": "failed",\n  "stages": }', 3, "is not valid JSON: it is cut or broken at line 3, column 13"),
        (b'{\n"a": "\xff"}', 2, "is not UTF-8 at byte"),
        (b"[" * 100_000, 0, "nested too deeply"),
        (b"{}", 0, "misses project_id, status, current_stage, stages"),
        (
            b'{"project_id": "project-7", "status": "x", "current_stage": "y", "stages": {}}',
            0,
            "belongs to 'project-7'",
        ),
    ],
)
def test_a_state_that_is_none_says_where_and_why(root: Path, content: bytes, line: int, problem: str) -> None:
    (folder(root) / "state.json").write_bytes(content)
    first = report(root).findings[0]
    assert (first.severity, first.line) == ("error", line)
    assert problem in first.problem
    assert first.fix == "/somas reconstruct project-42"


def test_the_log_is_looked_at_line_by_line(root: Path) -> None:
    path = folder(root) / "transitions.jsonl"
    lines = path.read_text().splitlines()
    twice = json.loads(lines[3])
    foreign = {
        **json.loads(lines[4]),
        "id": "x",
        "project_id": "project-7",
        "event_type": "tea_break",
        "timestamp": "now",
    }
    path.write_text("\n".join([*lines[:5], json.dumps(twice), json.dumps(foreign), "{}", *lines[5:]]))
    found = {(each.line, each.problem) for each in report(root).findings if each.file == "transitions.jsonl"}
    last = len(lines) + 3
    assert found == {
        (6, "the event has the same id as line 4"),
        (7, 'the event belongs to "project-7"'),
        (7, 'the event type "tea_break" is none that SOMAS knows'),
        (7, 'the timestamp "now" is no time'),
        (8, "is cut in the middle of an event"),
        (last, "the last line has no newline: upstream's next entry would be glued to it"),
    }


def test_what_killed_writers_left_is_found(root: Path) -> None:
    for name in ("state.tmp", ".state.json.abc.opsbot.tmp"):
        (folder(root) / name).write_text("half")
        os.utime(folder(root) / name, (0, 0))
    found = {each.file: each for each in report(root).findings}
    assert set(found) == {"state.tmp", ".state.json.abc.opsbot.tmp"}
    assert {each.fix for each in found.values()} == {"/somas repair project-42"}


@pytest.mark.parametrize(
    "content", [b"[1, 2]", b'{"entries": [3, null, {"id": "\\ud83d"}]}', b"\x00" * 100, b'{"entries": {}}']
)
def test_no_content_stops_a_validation(root: Path, content: bytes) -> None:
    for file in ("state.json", "dead_letters.json", "transitions.jsonl"):
        (folder(root) / file).write_bytes(content)
    found = report(root)
    assert not found.valid
    project = read_project(root, "project-42", read_config(root))
    plain_text(report_message(found, project, NOW).blocks).encode("utf-8")


def test_an_empty_object_misses_everything_and_says_so_once(root: Path) -> None:
    (folder(root) / "state.json").write_text("{}")
    said = [finding.problem for finding in report(root).findings if "misses" in finding.problem]
    assert len(said) == 2 and len(set(said)) == 2, said  # what cannot be used without, and what belongs to it


@pytest.mark.parametrize(
    ("name", "gone", "way"),
    [
        ("project-42", (), "reconstruct project-42"),
        ("project-42", ("transitions.jsonl",), "restart project-42 --full"),
        ("project-103", ("transitions.jsonl",), "restore project-103 last"),
    ],
)
def test_what_gets_a_state_back_is_what_can(root: Path, name: str, gone: tuple[str, ...], way: str) -> None:
    for each in ("state.json", *gone):
        (folder(root, name) / each).unlink()
    assert report(root, name).fixes == (f"/somas {way}",)


def test_a_hundred_mistakes_are_not_a_hundred_lines(root: Path) -> None:
    raw = json.loads((folder(root) / "dead_letters.json").read_text())
    raw["entries"] = [{"id": 5, "error": "x" * 5000}] * 500
    (folder(root) / "dead_letters.json").write_text(json.dumps(raw))
    found = report(root)
    assert 20 < len(found.findings) < 60
    project = read_project(root, "project-42", read_config(root))
    assert len(plain_text(report_message(found, project, NOW).blocks)) < 9000


def test_all_projects_are_looked_at_at_once(root: Path) -> None:
    said = plain_text(reports_message([report(root, name) for name in list_projects(root)], NOW, str(root)).blocks)
    assert said.startswith("3 of 16 projects have errors in their files")


def test_the_line_of_a_value_in_any_json() -> None:
    text = json.dumps({"a": {'q"[{': [1, {"c": "x\n[{,:"}, []]}, "e": {}, "f": None}, indent=2)
    paths = [(), ("a",), ("a", "missing"), ("a", 'q\\"[{', 1, "c"), ("a", 'q\\"[{', 2), ("e",), ("f",)]
    shown = {path: text.split("\n")[line - 1].strip() for path, line in lines_of(text, paths).items()}
    assert shown == {
        (): "{",
        ("a",): '"a": {',
        ("a", 'q\\"[{', 1, "c"): '"c": "x\\n[{,:"',
        ("a", 'q\\"[{', 2): "[]",
        ("e",): '"e": {},',
        ("f",): '"f": null',
    }


# -- repair


async def test_a_list_with_letters_in_it_becomes_the_object_again(root: Path) -> None:
    before = json.loads((folder(root) / "dead_letters.json").read_text())
    (folder(root) / "dead_letters.json").write_text(json.dumps(before["entries"]))
    result = await perform(root, "somas.repair")
    assert "the bare list becomes an object with its 4 entries" in result.summary
    assert json.loads((folder(root) / "dead_letters.json").read_text()) == before
    assert (folder(root) / "dead_letters.json").read_text() == json.dumps(before, indent=2)
    assert report(root).findings == ()


async def test_wrong_numbers_and_a_wrong_count_are_put_right(root: Path) -> None:
    edit(root, '"total_entries": 4', '"total_entries": 40', "dead_letters.json")
    edit(root, '"dead_letters": 4', '"dead_letters": 9')
    assert {each.fix for each in report(root).findings if each.fix.startswith("/somas repair")} == {
        "/somas repair project-42"
    }
    await perform(root, "somas.repair")
    assert report(root).findings == ()
    assert state_of(root)["metrics"]["dead_letters"] == 4


async def test_an_event_that_is_glued_to_a_cut_one_gets_a_line_of_its_own(root: Path) -> None:
    path = folder(root) / "transitions.jsonl"
    good = path.read_bytes()
    path.write_bytes(good + good.splitlines()[-1][:70])
    with ProjectWriter.held(root, "project-42", NOW) as upstream:
        upstream.update_state(status="waiting")
    number = good.count(b"\n") + 1
    found = report(root).findings[0]
    assert (found.line, found.problem) == (number, "is cut, and 1 whole event is glued to it")
    shown = await detail(root, "somas.repair")
    assert f"# transitions.jsonl line {number}: it is cut, and 1 whole event is glued to it" in shown
    assert (await perform(root, "somas.repair")).status == "done"
    assert path.read_bytes().startswith(good)
    assert [json.loads(line)["event_type"] for line in path.read_text().splitlines()[-2:]] == [
        "state_updated",
        "recovery_completed",
    ]
    assert report(root).findings == ()
    (rejected,) = folder(root).glob("transitions.rejected.*")
    assert rejected.read_bytes() == good.splitlines()[-1][:70] + b"\n"


async def test_a_sound_project_is_not_touched(root: Path) -> None:
    before = Files.of(folder(root))
    result = await perform(root, "somas.repair")
    assert (result.status, "there is nothing to repair" in result.summary) == ("refused", True)
    assert Files.of(folder(root)) == before


async def test_a_change_that_was_never_logged_is_told_to_the_log_or_taken_back(root: Path) -> None:
    with ProjectWriter.held(root, "project-42", NOW) as upstream:
        upstream.update_state(log_transition=False, status="paused", gates={"production": True})
    first = report(root).findings[0]
    assert (
        'status is "paused", the log says "failed"; gates is {"production": true}, the log says nothing'
        in first.problem
    )
    other = root / ".somas" / "projects" / "project-19"
    assert (await perform(root, "somas.repair", record="true")).status == "done"
    assert report(root).findings == ()
    assert state_of(root)["gates"] == {"production": True}
    assert other.is_dir()


async def test_a_restart_that_was_cut_before_its_entry_is_found(root: Path) -> None:
    """What a killed restart leaves: a state that the log does not know."""
    log = (folder(root) / "transitions.jsonl").read_bytes()
    write_restart(root, RestartOrder("project-42", "stage", "verify", "slack:U0ALICE", "x", "op-1"), NOW)
    (folder(root) / "transitions.jsonl").write_bytes(log)
    problems = [each.problem for each in report(root).findings]
    assert any('status is "retrying", the log says "failed"' in problem for problem in problems)
    assert (await perform(root, "somas.reconstruct", operation="op-2")).status == "done"
    assert state_of(root)["status"] == "failed"
    assert report(root).findings == ()


def test_mending_leaves_what_is_good_byte_for_byte() -> None:
    good = b'{"id":"1","event_type":"x","odd":"\xc3\xa9"}'
    data = good + b"\n\nrubbish\n" + b'{"id": "2", "ev{"id": "3", "event_type": "y"}' + b"\n"
    assert mended(data) == (good + b'\n{"id": "3", "event_type": "y"}\n', 'rubbish\n{"id": "2", "ev')
    assert [each.kind for each in examine(data).broken] == ["no event", "glued"]


# -- reconstruct and restore


async def test_the_cut_state_comes_back_with_its_very_first_instant(root: Path) -> None:
    whole = folder(root, "project-81") / "state.json"
    told = json.loads(whole.read_text()[: whole.read_text().index('"updated_at"')].rstrip().rstrip(",") + "}")
    result = await perform(root, "somas.reconstruct", "project-81")
    assert result.status == "done"
    assert state_of(root, "project-81")["created_at"] == told["created_at"]
    assert report(root, "project-81").findings == ()


async def test_the_difference_is_told_in_words_first(root: Path) -> None:
    edit(root, '"status": "failed",\n  "stages"', '"status": "paused",\n  "stages"')
    shown = await detail(root, "somas.reconstruct")
    assert shown.split("\n")[:3] == ["# status: paused -> failed", "--- state.json now", "+++ state.json then"]


async def test_without_a_log_the_other_ways_are_named(root: Path) -> None:
    (folder(root, "project-88") / "state.json").write_text("{")
    result = await perform(root, "somas.reconstruct", "project-88")
    assert result.status == "refused"
    assert "The newest dead letter saw it in_progress at implement" in result.summary
    assert "/somas restart project-88 --full" in result.summary
    (folder(root, "project-103") / "transitions.jsonl").unlink()
    result = await perform(root, "somas.reconstruct", "project-103")
    assert "A valid backup is there: /somas restore project-103 state.json.backup" in result.summary


async def test_a_restore_keeps_a_tripped_breaker(root: Path) -> None:
    """A key that came after the backup is not the backup's to take away."""
    with ProjectWriter.held(root, "project-103", NOW) as upstream:
        upstream.update_state(circuit_breakers={"ai_api": {"state": "open"}})
    handler = connected(root)
    make = BY_NAME["somas.restore"].preview
    assert make is not None
    shown = await make(handler, acting(handler, "project-103", backup="state.json.backup"))
    assert "Kept, because the backup does not know it: circuit_breakers." in shown.summary
    await perform(root, "somas.restore", "project-103", backup="state.json.backup")
    assert state_of(root, "project-103")["circuit_breakers"] == {"ai_api": {"state": "open"}}
    assert report(root, "project-103").findings == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../project-42/state.json", "no copy that the bot or the runbook makes"),
        ("state.json", "no copy that the bot or the runbook makes"),
        ("state.json.backup/../../x", "no copy that the bot or the runbook makes"),
        ("state.json.backup.gone", "project-103 has no state.json.backup.gone"),
        ("transitions.jsonl.backup.1", "The log is never set back"),
        ("state.json.backup.foreign", "belongs to 'project-42'"),
        ("state.json.backup.cut", "is not valid JSON"),
    ],
)
async def test_what_must_not_be_restored_is_refused(root: Path, name: str, said: str) -> None:
    here = folder(root, "project-103")
    (here / "state.json.backup.foreign").write_bytes((folder(root) / "state.json").read_bytes())
    (here / "state.json.backup.cut").write_text('{"project_id"')
    before = Files.of(here)
    result = await perform(root, "somas.restore", "project-103", backup=name)
    assert result.status == "refused"
    assert said in result.summary
    assert Files.of(here) == before


def test_only_names_of_copies_are_names_of_copies() -> None:
    good = (
        "state.json.backup",
        "state.json.backup.20260430",
        "dead_letters.json.backup.x",
        "dead_letters.archive.1.json",
    )
    bad = ("state.json", "state.json.lock", "x/state.json.backup", "state.json.backup/..", "transitions.jsonl", "")
    assert [name for name in (*good, *bad) if is_copy(name)] == list(good)


def test_every_copy_is_listed_with_what_it_holds(root: Path) -> None:
    here = folder(root, "project-103")
    (here / "state.json.backup.cut").write_text("{")
    order = Order("project-103", "purge", "slack:U0ALICE", "old", "op-1")
    write(root, order, lambda p, at: purge(p, Selection(all=True), order, at), NOW)
    found = {copy.kind: copy for copy in copies(here, "project-103")}
    assert found["purged letters"].holds == "1 dead letters, 1 open"
    project = read_project(root, "project-103", read_config(root))
    said = plain_text(backups_message(project, Kept(copies(here, "project-103"), []), NOW).blocks)
    assert "state.json.backup.cut, written" in said and "not usable" in said
    assert "restoring it loses plan, decompose, implement, verify" in said
    assert [path.name for path in archives(root, "project-42")] == ["project-42.backup.20261115"]


@pytest.mark.parametrize("written_last", ["state.json.backup", "state.json.backup.20260430"])
def test_the_newest_copy_is_the_one_that_holds_the_newest_state(root: Path, written_last: str) -> None:
    """A checkout or a cp makes the file of an old backup new: restored by mistake, it would cost ten months."""
    here = folder(root, "project-103")
    for age, name in enumerate([written_last, *{"state.json.backup", "state.json.backup.20260430"} - {written_last}]):
        os.utime(here / name, (NOW.timestamp() - age, NOW.timestamp() - age))
    names = [copy.name for copy in copies(here, "project-103")]
    assert names == ["state.json.backup", "state.json.backup.20260430"]


def test_what_replaces_a_state_needs_a_second_person() -> None:
    dangers = {name.removeprefix("somas."): action.danger for name, action in BY_NAME.items()}
    assert {name for name, danger in dangers.items() if danger is Danger.DESTRUCTIVE} == {
        "reconstruct",
        "restore",
        "purge_letters",
    }
    assert dangers["repair"] is dangers["backup"] is Danger.CHANGE


# -- disks


@pytest.mark.parametrize("room", [50, 3000, 9000])
def test_on_a_full_disk_everything_stays_as_it_was(root: Path, room: int) -> None:
    here = folder(root, "project-57")
    before = Files.of(here)
    order = Order("project-57", "purge", "slack:U0ALICE", "old", "op-1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(WriteFailed, match="are as they were"):
            write(root, order, lambda p, at: purge(p, Selection(all=True), order, at), NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {name: data for name, data in Files.of(here).contents.items() if ".backup" not in name} == before.contents
    assert write(root, order, lambda p, at: purge(p, Selection(all=True), order, at), NOW).happened == "now"


def test_an_unknown_project_gets_no_files(root: Path) -> None:
    order = Order("project-999", "repair", "slack:U0ALICE", "x", "op-1")
    with pytest.raises(UserError, match="No such project"):
        write(root, order, lambda p, at: purge(p, Selection(all=True), order, at), NOW)
    assert not folder(root, "project-999").exists()


def test_a_finding_says_where() -> None:
    assert Finding("error", "state.json", "x", 48).where == "state.json line 48"
    assert Finding("error", "state.json", "x").where == "state.json"


async def test_no_link_is_followed_and_nothing_behind_it_is_shown(root: Path, tmp_path: Path) -> None:
    """Whoever writes in the folder could aim a link at the bot's own secrets, and have them shown or copied."""
    secret = tmp_path / "opsbot.toml"
    secret.write_text('token = "xoxb-1234"\n')
    for name in ("state.json", "dead_letters.json", "transitions.jsonl", "state.json.backup.link"):
        (folder(root) / name).unlink(missing_ok=True)
        (folder(root) / name).symlink_to(secret)
    found = report(root)
    assert "xoxb" not in repr(found)
    assert {each.problem for each in found.findings if each.severity == "error"} >= {
        "is a symbolic link, which is not followed"
    }
    for action in ("somas.repair", "somas.reconstruct", "somas.restore", "somas.backup"):
        result = await perform(root, action, operation=action, backup="state.json.backup.link")
        assert "xoxb" not in result.model_dump_json()
    assert secret.read_text() == 'token = "xoxb-1234"\n'
    copied = [path for path in folder(root).iterdir() if path.is_file() and not path.is_symlink()]
    assert not [path for path in copied if b"xoxb" in path.read_bytes()]
