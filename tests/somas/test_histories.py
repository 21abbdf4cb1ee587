"""Any history of SOMAS and of the bot: the log leads to the state that is there, and the files agree."""

from __future__ import annotations

import json
import random
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bot.demo.somas_projects import STAGES, ProjectWriter
from bot.errors import UserError
from handlers.somas.agreement import disagreements
from handlers.somas.backups import copies
from handlers.somas.broken_log import examine, mended
from handlers.somas.change import Order, Planner, write
from handlers.somas.config import Config, read_config
from handlers.somas.dead_letters import Selection, attempt, mark, numbered, purge
from handlers.somas.decode import instant
from handlers.somas.projects import Project, read_project
from handlers.somas.rebuild import rebuild
from handlers.somas.reconstruct import reconstruct, restore
from handlers.somas.repair import repair
from handlers.somas.restart_files import Order as RestartOrder
from handlers.somas.restart_files import write_restart
from handlers.somas.transitions import decode_log
from handlers.somas.validate import validate
from tests.somas.conftest import NOW
from tests.somas.test_rebuild import CALL, play

PROJECT = "project-5"
LATER = timedelta(days=3000)

# What the bot does, beside the calls of SOMAS's own method table: which letter, which copy.
BOT = st.one_of(
    st.tuples(st.just("bot"), st.sampled_from(["mark", "attempt", "purge", "purge all"]), st.integers(0, 3)),
    st.tuples(st.just("bot"), st.sampled_from(["restart", "repair", "restore", "reconstruct"]), st.integers(0, 3)),
)


def read(root: Path) -> Project:
    return read_project(root, PROJECT, read_config(root))


def plan_of(what: str, pick: int, project: Project, order: Order) -> Planner:
    letters = numbered(project)
    ids = tuple(each.id for each in letters[pick : pick + 1]) or ("none",)
    match what:
        case "mark":
            return lambda p, at: mark(p, Selection(ids=ids), ("success", "failure", "skipped")[pick % 3], order, at)
        case "attempt":
            return lambda p, at: attempt(p, ids[0], order, at)
        case "purge":
            return lambda p, at: purge(p, Selection(ids=ids), order, at)
        case "purge all":
            return lambda p, at: purge(p, Selection(all=True), order, at)
        case "restore":
            names = [copy.name for copy in copies(project.directory, PROJECT) if copy.kind != "transitions.jsonl"]
            name = sorted(names)[pick % len(names)] if names else "state.json.backup"
            return lambda p, at: restore(p, name, order, at, NOW)
        case "reconstruct":
            return lambda p, at: reconstruct(p, order, at)
        case _:
            return lambda p, at: repair(p, (p.directory / "transitions.jsonl").read_bytes(), order, at)


def bot_does(root: Path, what: str, pick: int, turn: int) -> None:
    """One change; that it is refused is fine, what it leaves is looked at all the same."""
    now = NOW + timedelta(hours=1 + turn)
    try:
        if what == "restart":
            stage = STAGES[pick]
            write_restart(root, RestartOrder(PROJECT, "stage", stage, "slack:U0", "r", f"op-{turn}", True), now)
            return
        order = Order(PROJECT, what, "slack:U0ALICE", "because", f"op-{turn}")
        write(root, order, plan_of(what, pick, read(root), order), now)
    except UserError:
        pass


def agree(project: Project) -> None:
    assert project.file.state is not None, project.file.problem
    assert project.rebuilt is not None
    assert disagreements(project.file.state.raw, project.rebuilt.raw) == []
    created, rebuilt = instant(project.file.state.raw["created_at"]), instant(project.rebuilt.raw["created_at"])
    assert created and rebuilt and abs((rebuilt - created).total_seconds()) < 1
    report = validate(project, NOW + LATER)
    assert [each for each in report.findings if each.severity != "note"] == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(CALL, BOT), min_size=1, max_size=18))
@example([("letter", "plan", "boom"), ("bot", "purge all", 0), ("letter", "plan", "again")])
@example([("start", "plan"), ("fail", "plan", "boom", True, False), ("bot", "restart", 2), ("bot", "restore", 0)])
@example(
    [
        ("bot", "restart", 1),
        ("letter", "plan", "boom"),
        ("bot", "restart", 2),
        ("bot", "purge", 0),
        ("bot", "restore", 2),
    ]
)
@example([("bot", "restart", 0), ("custom", 1), ("bot", "restore", 0), ("start", "plan")])
def test_whatever_the_bot_and_upstream_do_the_log_leads_to_the_state(history: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        first = ProjectWriter(root, PROJECT, NOW, random.Random(1))
        first.initialize_project(5, "a title")
        first.save()
        for turn, call in enumerate(history):
            if call[0] == "bot":
                bot_does(root, call[1], call[2], turn)
            else:
                with ProjectWriter.held(root, PROJECT, NOW + timedelta(hours=1 + turn)) as writer:
                    writer.rng = random.Random(f"turn {turn}")  # ids that no other turn makes
                    play(writer, [call])
            agree(read(root))


HISTORY = st.lists(CALL, min_size=2, max_size=15)


@settings(max_examples=150, deadline=None)
@given(HISTORY, st.data())
def test_a_log_that_was_cut_and_written_on_is_mended_without_losing_a_whole_event(
    calls: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    """Killed in the middle of an append, any number of times; upstream's next entry is glued to what was there."""
    writer = ProjectWriter(Path("/nowhere"), PROJECT, NOW, random.Random(1))
    writer.initialize_project(5, "a title")
    play(writer, calls)
    written, whole = "", []
    for line in writer.lines:
        if data.draw(st.booleans()):
            written += line
            whole.append(json.loads(line))
        else:
            written += line[: data.draw(st.integers(1, len(line) - 2))]
    log = written.encode()
    lines = examine(log)
    new, rest = mended(log)
    read_strictly = [json.loads(line) for line in new.decode().splitlines()]
    assert read_strictly == whole
    assert [event.raw for event in decode_log(log).events] == whole
    assert bool(rest) == bool(lines.broken)
    again = examine(new)
    assert (again.broken, again.open_end) == ((), False)
    assert mended(new) == (new, "")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
@example(b"\xff\xfe\n{}\nnull\n[1]\n")
@example(b'{"id": "' * 30)
@example(b'{"id": "a", "event_type": "x"}{"id": "b", "event_type": "\xff"}')
def test_whatever_bytes_a_log_holds_mending_ends_with_lines_that_are_events(data: bytes) -> None:
    new, _ = mended(data)
    again = examine(new)
    assert again.broken == () and not again.open_end
    assert len(again.good) == len(decode_log(data).events)
    assert mended(new)[0] == new


@settings(max_examples=50, deadline=None)
@given(HISTORY, st.integers(0, 10_000))
def test_a_state_that_was_cut_anywhere_comes_back(calls: list[tuple[Any, ...]], cut: int) -> None:
    """Every field but updated_at; created_at to the microsecond when the piece that is left still tells it."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        writer = ProjectWriter(root, PROJECT, NOW, random.Random(1))
        writer.initialize_project(5, "a title")
        play(writer, calls)
        writer.save()
        file = root / ".somas" / "projects" / PROJECT / "state.json"
        left = file.read_bytes()[: cut % len(file.read_bytes())]
        file.write_bytes(left)
        order = Order(PROJECT, "reconstruct", "slack:U0ALICE", "cut", "op-1")
        write(root, order, lambda p, at: reconstruct(p, order, at), NOW + timedelta(days=1))
        state = json.loads(file.read_text())
        known = writer.state["created_at"] in left.decode()
        assert not known or state["created_at"] == writer.state["created_at"]
        times = {"created_at": 0, "updated_at": 0}
        assert {**state, **times} == {**writer.state, **times}
        agree(read(root))


@settings(max_examples=30, deadline=None)
@given(HISTORY)
def test_the_dead_letters_of_the_log_are_those_of_the_file(calls: list[tuple[Any, ...]]) -> None:
    """Ids, stages, agents and messages; context, request and trace are lost with the file."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        writer = ProjectWriter(root, PROJECT, NOW, random.Random(1))
        writer.initialize_project(5, "a title")
        play(writer, calls)
        writer.save()
        file = root / ".somas" / "projects" / PROJECT / "dead_letters.json"
        file.write_bytes(file.read_bytes()[:40])
        bot_does(root, "repair", 0, 1)
        found = json.loads(file.read_text())
        kept = [
            {
                "id": entry["id"],
                "stage": entry["stage"],
                "agent": entry["agent"],
                "message": entry["error"].get("message", ""),
            }
            for entry in writer.letters["entries"]
        ]
        assert [
            {**{k: e[k] for k in ("id", "stage", "agent")}, "message": e["error"].get("message", "")}
            for e in found["entries"]
        ] == kept
        assert found["statistics"] == writer.letters["statistics"]
        agree(read(root))


def test_a_state_is_never_made_of_nothing() -> None:
    assert rebuild(PROJECT, [], {}, Config().max_checkpoints) is None
