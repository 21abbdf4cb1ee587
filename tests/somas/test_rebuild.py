"""A state rebuilt from its log is the state that was lost."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.demo.somas_projects import STAGES, ProjectWriter
from handlers.somas.config import Config
from handlers.somas.decode import instant, mapping
from handlers.somas.metrics import measure
from handlers.somas.projects import Project
from handlers.somas.rebuild import rebuild
from handlers.somas.state import State, StateFile, decode_dead_letters, read_state
from handlers.somas.transitions import decode_log, read_log

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STAGE = st.sampled_from([*STAGES[:4], "extra", "pulse"])
MESSAGE = st.sampled_from(["", "boom", "half \ud83d", "ümläut"])
CALL = st.one_of(
    st.tuples(st.just("start"), STAGE),
    st.tuples(st.just("complete"), STAGE, st.integers(0, 2), st.booleans()),
    st.tuples(st.just("fail"), STAGE, MESSAGE, st.booleans(), st.booleans()),
    st.tuples(st.just("checkpoint"), STAGE, st.sampled_from(["success", "failure"])),
    st.tuples(st.just("letter"), STAGE, MESSAGE),
    st.tuples(st.just("update"), st.sampled_from(["waiting", "paused", "completed", "failed"])),
    st.tuples(st.just("custom"), st.integers()),
    st.tuples(st.just("again")),
)


def play(writer: ProjectWriter, calls: list[tuple[Any, ...]]) -> None:
    for call in calls:
        writer.now += timedelta(minutes=7)
        known = len(call) < 2 or call[1] in writer.state["stages"]
        match call:
            case ("start", stage):
                writer.start_stage(stage, "agent")
            case ("complete", stage, count, checkpoint) if known:
                writer.complete_stage(stage, [f"a{n}" for n in range(count)], checkpoint)
            case ("fail", stage, message, letter, keyless) if known:
                # Without a letter, an explicit empty text cannot be told from none: the one known loss.
                error = {"type": "E"} if keyless or (not message and not letter) else {"type": "E", "message": message}
                writer.fail_stage(stage, error, dead_letter=letter)
            case ("checkpoint", stage, status):
                writer.create_checkpoint(stage, status)
            case ("letter", stage, message):
                writer.add_dead_letter(stage, {"type": "E", "message": message}, "agent")
            case ("update", status):
                writer.update_state(status=status)
            case ("custom", value):
                writer.update_state(circuit_breakers={"ai_api": value}, current_stage="plan")
            case ("again",):
                writer.initialize_project(5, "again", ["somas-project"])
            case _:
                pass


def rebuilt(writer: ProjectWriter) -> dict[str, Any]:
    log = decode_log("".join(writer.lines).encode())
    assert log.bad_lines == 0
    letters = decode_dead_letters(json.dumps(writer.letters).encode(), writer.project_id)
    state = rebuild(writer.project_id, log.events, letters.by_id(), writer.max_checkpoints)
    assert state is not None
    return state


@settings(max_examples=250, deadline=None)
@given(st.lists(CALL, max_size=25), st.sampled_from([3, 5, 20]))
def test_any_history_is_rebuilt_field_by_field(calls: list[tuple[Any, ...]], kept: int) -> None:
    writer = ProjectWriter(Path("/nowhere"), "project-5", NOW, random.Random(1), kept)
    writer.initialize_project(5, "a title")
    play(writer, calls)
    state = rebuilt(writer)
    for key, late in (("created_at", 0.05), ("updated_at", 0.05)):
        was, found = instant(writer.state[key]), instant(state[key])
        assert was is not None and found is not None
        assert abs((found - was).total_seconds()) < late
    assert {**state, "created_at": 0, "updated_at": 0} == {**writer.state, "created_at": 0, "updated_at": 0}


def test_the_time_is_exact_when_the_last_change_logs_its_own() -> None:
    writer = ProjectWriter(Path("/nowhere"), "project-5", NOW)
    writer.initialize_project(5, "x")
    writer.start_stage("intake")
    assert rebuilt(writer)["updated_at"] == writer.state["updated_at"]
    writer.complete_stage("intake", ["a"])
    assert rebuilt(writer)["updated_at"] == writer.state["updated_at"]


def test_a_start_that_was_lost_is_computed_from_the_completion() -> None:
    writer = ProjectWriter(Path("/nowhere"), "project-5", NOW)
    writer.initialize_project(5, "x")
    writer.start_stage("intake")
    writer.now += timedelta(hours=1)
    writer.complete_stage("intake")
    del writer.lines[1]
    assert rebuilt(writer)["stages"]["intake"]["started_at"] == writer.state["stages"]["intake"]["started_at"]


@pytest.mark.sample
def test_the_sample_whose_state_was_cut_comes_back(sample: Path) -> None:
    folder = sample / ".somas" / "projects" / "project-81"
    assert read_state(folder, "project-81").condition == "damaged"
    log = read_log(folder)
    assert len(log.events) == 14
    state = rebuild("project-81", log.events, {})
    assert state is not None
    assert (state["status"], state["current_stage"], state["issue_number"]) == ("in_progress", "decompose", 81)


@pytest.mark.sample
def test_every_whole_sample_equals_its_log(sample: Path) -> None:
    compared = 0
    for folder in sorted((sample / ".somas" / "projects").glob("project-[0-9]*")):
        file, log = read_state(folder, folder.name), read_log(folder)
        if file.state is None or log.condition != "ok" or "." in folder.name:
            continue
        state = rebuild(folder.name, log.events, {})
        assert state is not None
        for known in ("created_at", "updated_at"):
            state[known] = file.state.raw[known]
        assert state == file.state.raw, folder.name
        compared += 1
    assert compared == 12


def of_writer(writer: ProjectWriter, **config: Any) -> Project:
    log = decode_log("".join(writer.lines).encode())
    return Project(
        "project-5",
        Path("/nowhere"),
        StateFile("ok", state=State(writer.state)),
        decode_dead_letters(b'{"entries": []}', "project-5"),
        log,
        Config(**config),
    )


def begun(hours_ago: float) -> ProjectWriter:
    writer = ProjectWriter(Path("/nowhere"), "project-5", NOW - timedelta(hours=hours_ago))
    writer.initialize_project(5, "x")
    writer.state["created_at"] = (NOW - timedelta(hours=hours_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return writer


def test_levels_begin_above_their_threshold_not_at_it() -> None:
    at = {24: "ok", 24.01: "warning", 72: "warning", 72.01: "critical"}
    assert {age: measure(of_writer(begun(age)), NOW).duration.level for age in at} == at


def test_a_start_after_a_completion_is_rework_and_no_retry() -> None:
    writer = begun(3)
    writer.start_stage("plan")
    writer.complete_stage("plan")
    writer.start_stage("plan")
    assert measure(of_writer(writer), NOW).retries.value == 0
    writer.start_stage("plan")
    writer.fail_stage("plan", {"message": "no"}, dead_letter=False)
    writer.start_stage("plan")
    found = measure(of_writer(writer), NOW)
    assert (found.retries.value, found.retries_stage) == (2, "plan")


def test_a_second_life_forgets_the_failures_of_the_first() -> None:
    writer = begun(100)
    writer.start_stage("plan")
    writer.fail_stage("plan", {"message": "no"})
    writer.now = NOW - timedelta(hours=2)
    writer.initialize_project(5, "again")
    found = measure(of_writer(writer), NOW)
    assert (found.error_rate and found.error_rate.total, round(found.duration.value or 0)) == (0, 2)


def test_waiting_that_goes_over_to_paused_is_one_wait() -> None:
    writer = begun(80)
    writer.start_stage("release")
    for hours_ago, change in ((50, {"status": "waiting"}), (30, {"labels": {}}), (20, {"status": "paused"})):
        writer.now = NOW - timedelta(hours=hours_ago)
        writer.update_state(**change)
    wait = measure(of_writer(writer), NOW).wait
    assert (round(wait.value or 0, 2), wait.level, wait.mark) == (50.0, "critical", "exact")
    writer.now = NOW - timedelta(hours=10)
    writer.start_stage("release")
    writer.now = NOW - timedelta(hours=1)
    writer.update_state(status="waiting")
    assert round(measure(of_writer(writer), NOW).wait.value or 0, 2) == 1.0


def test_a_clock_that_went_backwards_gives_no_negative_age() -> None:
    writer = begun(-5)
    writer.start_stage("intake")
    found = measure(of_writer(writer), NOW)
    assert (found.duration.value, found.stuck) == (0, None)


def test_a_pipeline_that_nobody_called_finished_is_finished() -> None:
    writer = begun(200)
    for stage in STAGES:
        writer.start_stage(stage)
        writer.complete_stage(stage)
    project = of_writer(writer)
    found = measure(project, NOW)
    assert project.state is not None
    assert (project.state.status, project.state.finished, found.restart_stage) == ("in_progress", "inferred", "")
    assert found.duration.level == "ok"


def test_old_stage_names_count_for_their_stages() -> None:
    writer = begun(20)
    writer.start_stage("pulse")
    writer.now -= timedelta(hours=6)
    project = of_writer(writer, timeouts={"verify": 12.0})
    state = mapping(writer.state["stages"])
    state["pulse"]["started_at"] = "2026-11-21T20:00:00Z"
    found = measure(project, NOW)
    assert (found.restart_stage, found.stuck and found.stuck.stage) == ("verify", "verify")
