"""The scan counts what a plain reading with ``json`` counts: no typed decoder, no chunks, no memory, no shared code."""

from __future__ import annotations

import json
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.demo.somas_projects import ProjectWriter, generate_many
from handlers.somas import scan_files
from handlers.somas.config import Config
from handlers.somas.metrics import weigh
from handlers.somas.scan import Scan
from handlers.somas.summary import Summary
from tests.somas.conftest import NOW
from tests.somas.test_rebuild import CALL, play

NEW_NAMES = {"pulse": "verify", "signal": "intake", "design": "specify"}


def plainly(folder: Path) -> dict[str, Any]:
    """Section 7's definitions, word by word, over everything that ``json`` reads."""
    state = json.loads((folder / "state.json").read_text())
    letters = json.loads((folder / "dead_letters.json").read_text())["entries"]
    log = [json.loads(line) for line in (folder / "transitions.jsonl").read_text().split("\n") if line]
    begin = max((i for i, event in enumerate(log) if event["event_type"] == "project_initialized"), default=0)
    epoch = log[begin:]
    outcomes = [e for e in log if e["event_type"] in OUTCOMES]
    day = [e for e in outcomes if when(e["timestamp"]) >= NOW - timedelta(hours=24)]
    failures = [e for e in epoch if e["event_type"] in ("stage_failed", "agent_failed")]
    return {
        "status": state["status"],
        "stage": state["current_stage"],
        "created": when(state["created_at"]),
        "letters": (len([e for e in letters if not recovered(e)]), len(letters)),
        "events": len(log),
        "retries": retries(epoch),
        "rate": (len(failures), len([e for e in epoch if e["event_type"] in OUTCOMES])),
        "day": (len([e for e in day if e["event_type"].endswith("failed")]), len(day)),
        "failure": (failures[-1].get("error", {}).get("message") or "") if failures else None,
        "recorded": len([e for e in epoch if e["event_type"] == "error_recorded"]),
        "waiting since": waiting_since(epoch),
        "last": log[-1]["timestamp"],
    }


OUTCOMES = ("stage_completed", "stage_failed", "agent_completed", "agent_failed")


def when(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def recovered(letter: dict[str, Any]) -> bool:
    return letter.get("recovery_attempted") is True and letter.get("recovery_result") == "success"


def retries(epoch: list[dict[str, Any]]) -> dict[str, int]:
    """A start for which the latest earlier event of the stage is a start or a failure."""
    found: dict[str, int] = {}
    for index, event in enumerate(epoch):
        if event["event_type"] != "stage_started":
            continue
        stage = NEW_NAMES.get(event["stage"], event["stage"])
        earlier = [
            e["event_type"]
            for e in epoch[:index]
            if e["event_type"] in ("stage_started", "stage_failed", "stage_completed")
            and NEW_NAMES.get(e["stage"], e["stage"]) == stage
        ]
        if earlier and earlier[-1] != "stage_completed":
            found[stage] = found.get(stage, 0) + 1
    return found


def waiting_since(epoch: list[dict[str, Any]]) -> datetime | None:
    """The first update into waiting or paused after the last event that ended such a time."""
    began = None
    for event in epoch:
        if event["event_type"] in ("stage_started", "stage_failed"):
            began = None
        elif event["event_type"] == "state_updated" and (status := event["to_state"].get("status")):
            began = (began or when(event["timestamp"])) if status in ("waiting", "paused") else None
    return began


def scanned(project: Summary) -> dict[str, Any]:
    counts, metrics = project.tally, weigh(project, Config(), NOW)
    assert project.state is not None and metrics.error_rate is not None and not project.damage
    return {
        "status": project.state.status,
        "stage": project.state.current_stage,
        "created": project.state.created_at,
        "letters": (project.letters_open, project.letters_total),
        "events": counts.events,
        "retries": counts.retries,
        "rate": (metrics.error_rate.failed, metrics.error_rate.total),
        "day": (metrics.last_day.failed, metrics.last_day.total),
        "failure": counts.failure,
        "recorded": counts.recorded,
        "waiting since": counts.waiting_since,
        "last": counts.last_at,
    }


TASK = st.tuples(st.just("task"), st.sampled_from(["plan", "pulse"]))
CALLS = st.lists(st.one_of(CALL, TASK), max_size=20)


def go_on(writer: ProjectWriter, calls: list[tuple[Any, ...]]) -> None:
    for call in calls:
        if call[0] == "task":
            writer.run_task(call[1], "planner", "task", "provider", "artifacts/plan.yml")
        else:
            play(writer, [call])


@settings(max_examples=80, deadline=None)
@given(CALLS, CALLS, st.sampled_from([1, 20, 30, 80, 400]), st.sampled_from([60, 700, 1024 * 1024]))
@example([("start", "pulse"), ("start", "verify")], [("start", "pulse")], 1, 60)
@example([("update", "waiting")], [("update", "paused")], 30, 700)
def test_it_counts_what_json_counts(
    calls: list[tuple[Any, ...]], more: list[tuple[Any, ...]], age: float, chunk: int
) -> None:
    """Any history, read at once and then what was appended, in chunks of any size."""
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_files, "CHUNK", chunk)
        root = Path(made)
        folder = root / ".somas" / "projects" / "project-5"
        writer = ProjectWriter(root, "project-5", NOW - timedelta(hours=age), random.Random(1))
        writer.initialize_project(5, "a title")
        scan = Scan(root)
        for each in (calls, more):
            go_on(writer, each)
            writer.save()
            assert scanned(scan.all(Config(), NOW)[0]) == plainly(folder)


def test_a_year_of_somas_is_counted_as_json_counts_it(tmp_path: Path) -> None:
    generate_many(tmp_path, 200, NOW)
    for project in Scan(tmp_path).all(Config(), NOW):
        assert scanned(project) == plainly(tmp_path / ".somas" / "projects" / project.id), project.id
