"""``/somas restart``: what it changes, what it refuses, and what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bot.commands.registry import StartRun
from bot.demo.somas_projects import ProjectWriter
from bot.errors import UserError
from bot.handler import ActionResult, Danger
from bot.runbooks.expectations import parse, questions
from handlers.somas import product
from handlers.somas.actions import ACTIONS
from handlers.somas.commands import restart
from handlers.somas.config import read_config
from handlers.somas.metrics import measure
from handlers.somas.projects import Project, read_project
from handlers.somas.restart import actor_entry, choose, plan
from tests.somas.conftest import NOW, Files, acting, asking, connected

BY_NAME = {action.name: action for action in product.actions}


def project(root: Path, name: str) -> Project:
    return read_project(root, name, read_config(root))


def state_of(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / ".somas" / "projects" / name / "state.json").read_text())
    return found


def change_state(root: Path, name: str, **changes: Any) -> None:
    path = root / ".somas" / "projects" / name / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2))


async def perform(root: Path, name: str, action: str = "somas.restart_stage", **inputs: str) -> ActionResult:
    handler = connected(root)
    return await BY_NAME[action].perform(handler, acting(handler, name, **{"stage": "verify", **inputs}))


def test_the_state_change_is_exactly_that_of_a_restart(root: Path) -> None:
    before = state_of(root, "project-42")
    change = plan(before, "verify")
    record = change.state["stages"]["verify"]
    assert (record["status"], record["retry_count"]) == ("retrying", 1)
    assert not {"error", "completed_at", "duration_seconds", "artifacts"} & set(record)
    assert record["started_at"] == before["stages"]["verify"]["started_at"]
    assert (change.state["status"], change.state["current_stage"]) == ("retrying", "verify")
    assert change.state["recovery_info"] == {**before["recovery_info"], "resume_from_stage": "verify"}
    assert change.state["metrics"] == {**before["metrics"], "retry_count": 1}
    assert set(change.updates) == {"status", "stages", "recovery_info", "metrics"}
    untouched = set(before) - set(change.updates)
    assert all(change.state[key] == before[key] for key in untouched)


def test_going_back_sends_the_later_stages_to_pending_and_remembers_what_they_were(root: Path) -> None:
    change = plan(state_of(root, "project-42"), "plan")
    assert change.reset == {"decompose": "completed", "implement": "completed", "verify": "failed"}
    assert {change.state["stages"][name]["status"] for name in change.reset} == {"pending"}
    assert change.state["stages"]["specify"]["status"] == "completed"
    assert "completed_at" not in change.state["stages"]["plan"]


def test_a_stage_that_never_started_is_not_counted_as_retried(root: Path) -> None:
    change = plan(state_of(root, "project-12"), "implement")
    assert change.state["stages"]["implement"] == {"status": "retrying", "retry_count": 0}


def test_keys_that_the_bot_does_not_know_survive(root: Path) -> None:
    change_state(root, "project-42", circuit_breakers={"ai_api": {"state": "closed"}}, notes=[1, {"a": None}])
    change = plan(state_of(root, "project-42"), "verify")
    assert change.state["notes"] == [1, {"a": None}]
    assert "notes" not in change.updates


async def test_a_restart_leaves_backup_state_and_two_log_entries(root: Path) -> None:
    folder = root / ".somas" / "projects" / "project-42"
    before = Files.of(folder)
    result = await perform(root, "project-42")
    after = Files.of(folder)
    assert result.status == "done"
    assert "project-42 is set to retry verify; the state before is in state.json.backup." in result.summary
    dated = next(name for name in after.contents if name.startswith("state.json.backup.20261122T120000Z."))
    assert after.contents["state.json.backup"] == after.contents[dated] == before.contents["state.json"]
    assert after.contents["dead_letters.json"] == before.contents["dead_letters.json"]
    assert set(after.contents) == {*before.contents, "state.json.backup", dated}
    log = after.contents["transitions.jsonl"]
    assert log.startswith(before.contents["transitions.jsonl"])
    updated, retrying = (json.loads(each) for each in log.decode().splitlines()[-2:])
    assert updated["event_type"] == "state_updated"
    now = state_of(root, "project-42")
    was = json.loads(before.contents["state.json"])
    assert updated["metadata"] == {k: v for k, v in now.items() if was[k] != v and k != "updated_at"}
    assert (updated["from_state"], updated["to_state"]) == (
        {"status": "failed", "stage": "verify"},
        {"status": "retrying", "stage": "verify"},
    )
    assert (retrying["event_type"], retrying["stage"]) == ("stage_retrying", "verify")
    assert retrying["actor"] == {"type": "human", "name": "slack:U0ALICE"}
    assert retrying["metadata"] == {"reason": "the flaky test is fixed", "operation_id": "op-1"}
    assert now["updated_at"] == updated["timestamp"] == "2026-11-22T12:00:00Z"


async def test_after_a_restart_the_log_still_rebuilds_the_state(root: Path) -> None:
    for stage in ("verify", "plan"):
        await perform(root, "project-42", stage=stage)
    found = project(root, "project-42")
    assert found.rebuilt is not None and found.state is not None
    assert {**found.rebuilt.raw, "created_at": 0} == {**found.state.raw, "created_at": 0}


async def test_the_files_look_as_upstream_writes_them(root: Path) -> None:
    state = root / ".somas" / "projects" / "project-42" / "state.json"
    state.chmod(0o664)
    await perform(root, "project-42")
    text = state.read_text()
    assert text == json.dumps(json.loads(text), indent=2)
    assert state.stat().st_mode & 0o777 == 0o664


async def test_hostile_texts_and_half_an_emoji_come_through_a_restart_unchanged(root: Path) -> None:
    before = state_of(root, "project-96")
    change_state(root, "project-96", note="half \ud83d")
    result = await perform(root, "project-96", stage="plan")
    assert result.status == "done"
    result.model_dump_json()
    assert state_of(root, "project-96")["note"] == "half \ud83d"
    assert state_of(root, "project-96")["checkpoints"] == before["checkpoints"]


async def test_an_append_to_a_cut_log_begins_on_a_line_of_its_own(root: Path) -> None:
    damaged = project(root, "project-124")
    assert (damaged.log.cut, damaged.log.bad_lines) == (True, 1)
    assert (await perform(root, "project-124", stage="implement")).status == "done"
    log = project(root, "project-124").log
    assert (log.cut, log.bad_lines, log.recovered) == (False, 1, 0)
    assert len(log.events) == len(damaged.log.events) + 2


# Where it begins.


@pytest.mark.parametrize(
    ("name", "wish", "stage", "why"),
    [
        ("project-42", {}, "verify", "it is failed"),
        ("project-42", {"stage": "plan"}, "plan", "as asked"),
        ("project-7", {}, "intake", "the first one that is not completed"),
        ("project-42", {"checkpoint": "last"}, "verify", "was taken at implement, so the next stage is verify"),
        ("project-81", {"full": True}, "intake", "a new start"),
        ("project-64", {"full": True}, "intake", "a new start"),
        ("project-64", {"stage": "verify", "override": True}, "verify", "as asked"),
    ],
)
def test_where_a_restart_begins(root: Path, name: str, wish: dict[str, Any], stage: str, why: str) -> None:
    choice = choose(project(root, name), NOW, **wish)
    assert choice.stage == stage
    assert why in choice.why


def test_a_pruned_checkpoint_is_found_in_the_log(root: Path) -> None:
    id_ = state_of(root, "project-42")["checkpoints"][2]["id"]
    change_state(root, "project-42", checkpoints=[])
    choice = choose(project(root, "project-42"), NOW, checkpoint=id_)
    assert (choice.stage, "pruned from state.json, found in the log" in choice.why) == ("decompose", True)


@pytest.mark.parametrize(
    ("name", "wish", "said"),
    [
        ("project-64", {}, "project-64 is finished (its status is completed); there is nothing to restart"),
        ("project-64", {"stage": "plan"}, "--full"),
        ("project-64", {"override": True}, "Say where to begin"),
        ("project-81", {}, "A restart at a stage needs a state that can be read. transitions.jsonl is readable"),
        ("project-81", {"stage": "plan"}, "/somas restart project-81 --full"),
        ("project-7", {"checkpoint": "last"}, "project-7 has no successful checkpoint yet. Restart at a stage instead"),
        (
            "project-42",
            {"checkpoint": "chk-00000000"},
            "chk-00000000 is not a checkpoint of this project. It has: chk-",
        ),
        ("project-42", {"checkpoint": "null"}, "null is not a checkpoint"),
        ("project-42", {"stage": "plan", "full": True}, "Give one of --from, --checkpoint and --full"),
    ],
)
def test_what_is_refused_before_a_run_and_what_to_do_instead(
    root: Path, name: str, wish: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as refused:
        choose(project(root, name), NOW, **wish)
    assert said in refused.value.message


def test_no_stage_comes_after_the_last_checkpoint(root: Path) -> None:
    with pytest.raises(UserError, match="none comes after it"):
        choose(project(root, "project-64"), NOW, checkpoint="last", override=True)


@pytest.mark.parametrize("full", [True, False])
def test_a_set_breaker_and_a_switched_off_pipeline_refuse_every_restart(root: Path, full: bool) -> None:
    labels = {"github": ["somas:circuit-breaker"], "custom": {}}
    change_state(root, "project-42", labels=labels)
    with pytest.raises(UserError, match=r"The circuit breaker of project-42 is set"):
        choose(project(root, "project-42"), NOW, full=full)
    assert choose(project(root, "project-42"), NOW, full=full, override=True)
    change_state(root, "project-42", labels={}, circuit_breakers={"ai_api": {"state": "open"}})
    with pytest.raises(UserError, match="is not closed for: ai_api"):
        choose(project(root, "project-42"), NOW, full=full)
    config = root / ".somas" / "config.yml"
    config.write_text(config.read_text().replace("pipeline:\n", "pipeline:\n  enabled: false\n"))
    with pytest.raises(UserError, match=r"pipeline\.enabled is false"):
        choose(project(root, "project-23"), NOW, full=full, override=True)


async def test_more_retries_than_allowed_are_told_and_refused_where_that_is_configured(root: Path) -> None:
    context = asking(connected(root))
    started = await restart(context, "project-42")
    assert isinstance(started, StartRun)
    check = await BY_NAME["somas.check_recovery"].perform(context.handler, acting(context.handler, "project-42"))
    assert "The next start of verify is retry 4, over the limit of 3." in check.summary
    strict = asking(connected(root, retries_over_limit="refuse"))
    with pytest.raises(UserError, match=r"this is retry 4 of verify; limits\.yml allows 3"):
        await restart(strict, "project-42")
    assert isinstance(await restart(strict, "project-42", override=True), StartRun)
    assert isinstance(await restart(strict, "project-31"), StartRun)


# The run that is started.


async def test_the_command_starts_a_run_of_six_steps_on_the_project(root: Path) -> None:
    started = await restart(asking(connected(root, restart_budget="PT90S")), "project-42", reason="fixed")
    assert isinstance(started, StartRun)
    assert started.target.key == "somas/project/project-42"
    assert (started.reason, started.changes) == ("fixed", True)
    assert dict(started.inputs) | {"why": ""} == {
        "stage": "verify",
        "mode": "stage",
        "why": "",
        "override": "false",
        "dead_letters_before": "4",
    }
    assert [step.action for step in started.runbook.steps] == [
        "somas.check_recovery",
        "somas.restart_stage",
        "somas.dispatch",
        "somas.follow_run",
        "somas.report_run",
        "somas.read_state",
    ]
    last = started.runbook.steps[-1]
    assert (last.budget and last.budget.total_seconds(), "within 1min 30s" in last.expectation) == (90, True)
    assert set(started.inputs) == set(started.runbook.inputs)


async def test_a_full_restart_is_another_runbook_and_destructive(root: Path) -> None:
    started = await restart(asking(connected(root)), "project-81", full=True)
    assert isinstance(started, StartRun)
    assert (started.runbook.id, started.runbook.danger, started.inputs["stage"]) == (
        "full-restart",
        "destructive",
        "intake",
    )
    assert BY_NAME["somas.restart_full"].danger is Danger.DESTRUCTIVE


@pytest.mark.parametrize("name", ["restart", "full-restart"])
def test_every_step_of_the_runbooks_binds_and_every_expectation_is_understood(root: Path, name: str) -> None:
    runbook = asking(connected(root)).runbooks[name]
    facts = {fact.name for fact in product.facts}
    for step in runbook.steps:
        assert step.action in BY_NAME
        tree = parse(step.expectation)
        assert not questions(tree), step.expectation
    assert runbook.total == sum((step.budget for step in runbook.steps if step.budget), start=type(runbook.total)())  # type: ignore[misc]  # timedelta()
    assert {"stage.status", "dead_letters.new", "state.valid", "project.status", "dead_letters.total"} <= facts


@pytest.mark.parametrize("phrase", product.phrases)
def test_every_phrase_speaks_of_known_facts(phrase: str) -> None:
    tree = parse(product.phrases[phrase])
    assert not questions(tree)
    assert product.phrases[phrase].split(" ")[0] in {fact.name for fact in product.facts}


# Previews, steps that read, dispatch.


async def test_the_preview_is_the_exact_difference_and_the_same_at_any_time(root: Path) -> None:
    handler = connected(root)
    preview = BY_NAME["somas.restart_stage"].preview
    assert preview is not None
    shown = await preview(handler, acting(handler, "project-42", stage="verify"))
    lines = shown.detail.split("\n")
    assert '-  "status": "failed",' in lines and '+  "status": "retrying",' in lines
    assert '-      "error": "Coverage is 71.4 %, the gate wants 80 %"' in lines
    assert "Mind: this is retry 4 of verify; limits.yml allows 3 (max_retry_attempts)." in shown.summary
    later = connected(root, NOW.replace(hour=23))
    assert shown == await preview(later, acting(later, "project-42", "another operation", stage="verify"))
    full = BY_NAME["somas.restart_full"].preview
    assert full is not None
    shown = await full(handler, acting(handler, "project-42", stage="intake"))
    assert "4 dead letters are emptied" in shown.summary
    assert shown == await full(later, acting(later, "project-42", "another operation", stage="intake"))


async def test_nothing_is_changed_by_previews_and_reading_steps(root: Path) -> None:
    handler = connected(root)
    before = Files.of(root)
    context = acting(handler, "project-42", stage="verify", dead_letters_before="4")
    for action in ACTIONS:
        if action.preview:
            await action.preview(handler, context)
        if action.danger is Danger.READ:
            assert (await action.perform(handler, context)).status == "done"
    assert Files.of(root) == before


async def test_dispatch_says_that_nothing_was_dispatched_and_how_to_do_it(root: Path) -> None:
    result = await perform(root, "project-42", "somas.dispatch")
    assert result.status == "done"
    assert result.summary.startswith("Nothing was dispatched: GitHub is not configured.")
    assert "gh workflow run somas-pipeline.yml -f project_id=project-42 -f stage=verify" in result.evidence
    assert [(each.name, each.value) for each in result.observations] == [("dispatch.accepted", False)]
    last = await perform(root, "project-42", "somas.dispatch", stage="release")
    assert "It runs no job for the stage release." in last.evidence


@pytest.mark.parametrize(
    ("actor", "entry"),
    [
        ("slack:U0ALICE", {"type": "human", "name": "slack:U0ALICE"}),
        ("github:alice", {"type": "human", "name": "github:alice", "github_user": "alice"}),
        ("", {"type": "system", "name": "opsbot"}),
    ],
)
def test_the_log_names_who_asked(actor: str, entry: dict[str, str]) -> None:
    assert actor_entry(actor) == entry


async def test_without_readable_dead_letters_nobody_claims_that_there_are_no_new_ones(root: Path) -> None:
    (root / ".somas" / "projects" / "project-42" / "dead_letters.json").write_text("{")
    handler = connected(root)
    started = await restart(asking(handler), "project-42")
    assert isinstance(started, StartRun)
    (seen,) = await handler.observe(frozenset({"dead_letters.new"}), started.target, started.inputs)
    assert (seen.value, seen.provenance) == (None, "unavailable")


async def test_the_runs_facts_tell_the_stage_and_the_new_dead_letters(root: Path) -> None:
    handler = connected(root)
    names = frozenset({"stage.status", "dead_letters.new", "project.status", "no.such.fact", "stage.age_hours"})
    inputs = {"stage": "verify", "dead_letters_before": "4"}
    target = acting(handler, "project-42").target

    async def seen() -> dict[str, Any]:
        return {each.name: each.value for each in await handler.observe(names, target, inputs)}

    assert (await seen())["stage.status"] == "failed"
    await perform(root, "project-42")
    assert (await seen())["stage.status"] == "retrying"
    with ProjectWriter.held(root, "project-42", NOW) as pipeline:
        pipeline.start_stage("verify", "tester")
    found = await seen()
    assert (found["stage.status"], found["project.status"], found["dead_letters.new"]) == (
        "in_progress",
        "in_progress",
        0,
    )
    with ProjectWriter.held(root, "project-42", NOW) as pipeline:
        pipeline.fail_stage("verify", {"type": "E", "message": "again"})
    assert (await seen())["dead_letters.new"] == 1
    observations = {each.name: each for each in await handler.observe(names, target, inputs)}
    assert observations["no.such.fact"].provenance == "unavailable"
    assert observations["stage.status"].source == ".somas/projects/project-42/state.json"
    assert measure(project(root, "project-42"), NOW).retries.value == 4
