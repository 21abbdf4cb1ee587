"""Time as the state machine sees it: warnings, more time, late steps and late approvals."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.runs.decide import next_due, refusal
from bot.runs.model import Press
from tests.runs.plans import CHANGE, DESTRUCTIVE, MANUAL, NOON, Played, row, run

TEN = timedelta(minutes=10)


def test_both_warnings_come_once_and_before_the_end() -> None:
    played = run(row("Call them", MANUAL, minutes=10), minutes=20)
    for minute in range(31):
        played.at(minute)
    assert played.said == ["question", "warning", "page", "run warning", "page"]
    assert played.state.steps[0].overdue and played.state.overdue
    assert played.state.plan.deadline == NOON + timedelta(minutes=20)


def test_more_time_moves_the_step_and_the_run_and_warns_anew() -> None:
    played = run(row("Call them", MANUAL, minutes=10), minutes=12).at(9)
    played.press("extend", span=TEN, reason="they are in a meeting")
    step = played.state.steps[0]
    assert step.deadline == played.state.deadline == NOON + timedelta(minutes=20)
    assert not step.warned and not step.overdue
    assert next_due(played.state) == NOON + timedelta(minutes=9 + 0.8 * 11)
    told = played.posts[-1]
    assert (told.text, told.reason) == ("gave step 1 10 min more", "they are in a meeting")
    assert told.until == step.deadline


def test_more_time_after_the_end_counts_from_now() -> None:
    played = run(row("Call them", MANUAL, minutes=10)).at(30).press("extend", span=TEN, reason="x")
    assert played.state.steps[0].deadline == NOON + timedelta(minutes=40)
    assert not played.state.steps[0].overdue
    assert played.state.page is not None  # whoever was paged still has to say so


def test_a_run_that_has_time_enough_keeps_its_end() -> None:
    played = run(row("Call them", MANUAL, minutes=10), minutes=60).at(9).press("extend", span=TEN, reason="x")
    assert played.state.deadline == NOON + timedelta(minutes=60)


@pytest.mark.parametrize(
    ("minutes", "span", "why"),
    [
        (0, TEN, "Neither step 1 nor the run has a time limit"),
        (10, None, "Say how much more time"),
        (10, timedelta(days=8), "The most at once is 7 days."),
    ],
)
def test_more_time_that_cannot_be_given(minutes: float, span: timedelta | None, why: str) -> None:
    played = run(row("Call them", MANUAL, minutes=minutes))
    refused = refusal(played.state, Press(at=NOON, verb="extend", actor="slack:bob", span=span))
    assert refused is not None and refused.startswith(why)


def test_a_late_action_is_stopped_before_the_run_goes_on() -> None:
    played = run(row("Restart it", CHANGE, minutes=1, on_overdue="continue"), row("Call them", MANUAL))
    played.prepared(shows="restart").at(1)
    assert played.aborted and played.state.busy is not None  # it is asked to stop, and looked at
    assert played.state.current == 0
    played.finished("failed", summary="Stopped half way")
    assert played.state.current == 1
    assert [step.status for step in played.state.steps] == ["failed", "waiting"]


def test_a_late_action_that_worked_after_all_is_done() -> None:
    played = run(row("Restart it", CHANGE, minutes=1, on_overdue="stop")).prepared(shows="restart").at(1)
    played.finished("done", "met")
    assert [step.status for step in played.state.steps] == ["done"]
    assert played.state.status == "failed"  # the runbook says to stop


@pytest.mark.parametrize("policy", ["continue", "stop"])
def test_what_nobody_can_tell_waits_for_a_person_whatever_the_runbook_says(policy: str) -> None:
    rows = (row("Restart it", CHANGE, minutes=1, on_overdue=policy), row("Call them", MANUAL))  # type: ignore[arg-type]
    late = run(*rows).prepared(shows="restart").at(1).finished("uncertain", summary="The socket closed")
    early = run(*rows).prepared(shows="restart").finished("uncertain", summary="The socket closed").at(1)
    for played in (late, early):
        assert played.state.status == "waiting" and played.state.current == 0
        assert played.state.steps[0].uncertain


def approval() -> Played:
    return run(row("Remove it", DESTRUCTIVE, minutes=60)).prepared(shows="remove worker-3", digest="aaa")


def test_an_approval_lapses_at_its_minute_and_is_asked_again() -> None:
    played = approval().at(15)
    step = played.state.steps[0]
    assert (step.status, step.digest, step.approve_by) == ("waiting", "", None)
    assert played.said[-2:] == ["question", "page"]
    assert played.state.page is not None and "nobody approved step 1 within 15 min" in played.state.page.reason
    assert [work.kind for work in played.started] == ["prepare"]
    played.press("approve", typed="worker-3", digest="aaa")
    assert played.state.status == "waiting"  # too late
    played.press("retry").prepared(shows="remove worker-3", digest="bbb")
    played.press("approve", typed="worker-3", digest="bbb")
    tried = [(work.kind, work.attempt) for work in played.started]
    assert tried == [("prepare", 1), ("prepare", 2), ("perform", 2)], "what comes late of the first try counts no more"


def test_an_approval_that_comes_with_the_last_second_is_too_late() -> None:
    """Its click may be read before the tick that says that the time is over."""
    played = approval()
    late = Press(at=NOON + timedelta(minutes=15), verb="approve", actor="slack:bob", typed="worker-3", digest="aaa")
    assert refusal(played.state, late) == "The time for approving step 1 is over. Retry the step: it asks again."
    played.take(late)
    assert played.state.steps[0].status == "approval"
