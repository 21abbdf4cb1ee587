"""What a workflow takes, how a run ended, what upstream counts, which workflows are SOMAS's: the pure parts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import UserError
from bot.github_api import GitHubAnswer
from handlers.somas.agents import agent_argument, agent_names
from handlers.somas.emergency import Stop, of_somas, stop_of
from handlers.somas.github import PullRequest
from handlers.somas.issue_breaker import counted_comments, history
from handlers.somas.rollback import config_complaints, opened
from handlers.somas.settings import WORKFLOWS
from handlers.somas.workflow_inputs import complaints, declared_inputs
from handlers.somas.workflow_runs import judged, run_of
from tests.somas.local_repository import UPSTREAM

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ALWAYS_RED = ("stage-5-implement-complete",)


def declared(file: str) -> Any:
    return declared_inputs((UPSTREAM / file).read_text())


def test_the_recorded_workflows_take_what_upstream_declares() -> None:
    pipeline = declared("somas-pipeline.yml")
    assert {name: spec.required for name, spec in pipeline.items()} == {"project_id": True, "stage": False}
    assert "verify" in pipeline["stage"].options
    assert declared("somas-pipeline-runner.yml") is None
    assert declared("init-project-somas.yml") == {}


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"project_id": "project-42", "stage": "verify"}, []),
        ({"project_id": "project-42"}, []),
        (
            {"project_id": "project-42", "start_stage": "verify"},
            ["somas-pipeline.yml has no input start_stage; it has project_id, stage"],
        ),
        (
            {"issue_number": "42"},
            [
                "somas-pipeline.yml has no input issue_number; it has project_id, stage",
                "somas-pipeline.yml needs the input project_id",
            ],
        ),
    ],
)
def test_the_runbooks_dispatches_are_refused_before_they_are_sent(given_: dict[str, str], said: list[str]) -> None:
    assert complaints(declared("somas-pipeline.yml"), given_, "somas-pipeline.yml") == said


def test_a_choice_and_a_workflow_without_a_trigger_are_explained() -> None:
    (choice,) = complaints(declared("somas-pipeline.yml"), {"project_id": "p", "stage": "validation"}, "p.yml")
    assert choice.startswith("the input stage of p.yml takes all, intake") and choice.endswith("not validation")
    (none,) = complaints(declared("somas-stage-02.yml"), {}, "somas-stage-02.yml")
    assert none == "somas-stage-02.yml cannot be started by hand: it has no trigger workflow_dispatch"


@given(
    st.text(max_size=200) | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_no_file_makes_it_fall_over(document: Any) -> None:
    text = document if isinstance(document, str) else yaml.safe_dump(document)
    try:
        found = declared_inputs(text)
    except ValueError as error:
        assert str(error)
    else:
        assert isinstance(complaints(found, {"a": "b"}, "x.yml"), list)


def run(**changes: Any) -> Any:
    raw = {"id": 7, "path": ".github/workflows/somas-pipeline.yml@main", "status": "completed", "conclusion": "failure"}
    return run_of({**raw, **changes})


def job(name: str, conclusion: str, **steps: str) -> dict[str, Any]:
    return {"name": name, "conclusion": conclusion, "steps": [{"name": n, "conclusion": c} for n, c in steps.items()]}


def test_how_a_run_ended_is_told_by_its_jobs() -> None:
    red = job(ALWAYS_RED[0], "failure", Record="failure")
    good, bad = job("verify", "success"), job("verify", "failure", Setup="success", Tests="failure", Upload="skipped")
    assert judged(run(), [good, red], ALWAYS_RED).outcome == "succeeded"
    assert judged(run(), [good, red], ()).outcome == "failed"
    verdict = judged(run(), [bad, red], ALWAYS_RED)
    assert (verdict.outcome, verdict.said) == (
        "failed",
        'run 7 of somas-pipeline.yml ended failure: job verify failed at step "Tests"',
    )
    assert judged(run(conclusion="startup_failure"), [], ALWAYS_RED).outcome == "failed"
    assert judged(run(conclusion="cancelled"), [good], ALWAYS_RED).outcome == "cancelled"
    assert judged(run(conclusion="success"), [good], ALWAYS_RED).outcome == "succeeded"
    assert judged(run(status="in_progress", conclusion=None), [], ALWAYS_RED).outcome == "running"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_whatever_github_sends_is_a_run(raw: Any) -> None:
    found = run_of(raw)
    assert judged(found, [raw] if isinstance(raw, dict) else [], ()).outcome in (
        "running",
        "failed",
        "succeeded",
        "cancelled",
    )


def comment(body: str, minutes_ago: int = 600) -> dict[str, Any]:
    at = (NOW - timedelta(minutes=minutes_ago)).isoformat().replace("+00:00", "Z")
    return {"body": body, "created_at": at, "user": {"login": "alice"}}


def test_the_counts_are_those_of_the_workflows() -> None:
    comments = [comment("@copilot somas-coder go")] * 25 + [comment("Stage verify Complete")] * 10
    counts = counted_comments(comments, NOW)
    assert (counts.invocations, counts.stages, counts.last_hour) == (25, 5, 0)  # of the oldest thirty only
    assert counts.trips_again == "25 agent requests in the oldest 30 comments; 20 trip it"
    quiet = counted_comments([comment("stage verify complete", 5), comment("@copilot Somas-x", 59)], NOW)
    assert (quiet.invocations, quiet.stages, quiet.last_hour, quiet.trips_again) == (0, 0, 2, "")


def test_markers_and_labels_are_one_history_newest_first() -> None:
    label = {"name": "somas:circuit-breaker"}
    event = {"event": "labeled", "label": label, "created_at": "2026-11-22T11:00:00Z", "actor": {"login": "bob"}}
    other = {**event, "label": {"name": "bug"}}
    marker = comment("<!-- SOMAS_CIRCUIT_BREAKER:max_invocations -->", 30)
    found = history([event, other], [marker], "somas:circuit-breaker")
    assert [(each.what, each.by) for each in found] == [("marker: max_invocations", "alice"), ("label set", "bob")]


def test_which_workflows_are_stopped() -> None:
    files = sorted(path.name for path in UPSTREAM.glob("*.yml"))
    stopped = [file for file in files if of_somas(f".github/workflows/{file}", WORKFLOWS)]
    assert sorted(set(files) - set(stopped)) == ["semgrep.yml", "validate-consistency.yml"]


@given(st.text(), st.text(), st.lists(st.tuples(st.integers(min_value=1), st.text()), max_size=5))
def test_what_is_stopped_is_remembered_whole(by: str, reason: str, workflows: list[tuple[int, str]]) -> None:
    stop = Stop(NOW, by, reason, tuple(workflows))
    assert stop_of(stop.encoded()) == stop


def test_nothing_remembered_is_nothing_stopped() -> None:
    assert stop_of("") is None


@pytest.mark.parametrize(
    ("told", "status", "said"),
    [
        ({"state": "open", "merged_at": None}, "done", "Pull request #7 is open: https://x"),
        ({"state": "closed", "merged_at": "2026-11-22T12:00:00Z"}, "done", "is merged"),
        ({"state": "closed", "merged_at": None}, "refused", "was closed without being merged: https://x Reopen it"),
    ],
)
def test_a_retry_says_what_became_of_its_pull_request(told: dict[str, Any], status: str, said: str) -> None:
    result = opened(PullRequest.of({"number": 7, "html_url": "https://x", **told}))
    assert result.status == status and said in result.summary


def test_a_configuration_that_misses_stages_is_told() -> None:
    assert config_complaints("pipeline: [") != []
    assert config_complaints("- a") == ["it is not a mapping"]
    (missing,) = config_complaints("pipeline: {stages: [{id: intake}]}")
    assert missing.startswith("pipeline.stages misses specify, plan")


@pytest.mark.parametrize("typed", ["../../etc/passwd", "a/b", "", ".", "-x", "a" * 80, "agent\n"])
def test_only_a_name_is_an_agent(typed: str, tmp_path: Path) -> None:
    if typed != "agent\n":
        with pytest.raises(UserError):
            agent_argument(typed)
    assert agent_names(tmp_path) == []


def test_a_refusal_names_the_permission_and_every_error() -> None:
    answer = GitHubAnswer(
        403, {"message": "Resource not accessible"}, {"x-accepted-github-permissions": "actions=write"}
    )
    assert "lacks the permission actions=write" in answer.refusal("cancelling run 7", "actions=read")
    told = GitHubAnswer(422, {"message": "Validation Failed", "errors": [{"message": "exists already"}, "x"]})
    assert (
        told.refusal("a pull request") == "GitHub answered 422 to a pull request: Validation Failed exists already x."
    )
