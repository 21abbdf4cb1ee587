"""What becomes of a run, event by event."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.runs.decide import allowed, next_due, refusal
from bot.runs.model import Prepared, Press, Verb
from tests.runs.plans import CHANGE, DESTRUCTIVE, MANUAL, NOON, READ, Played, row, run


def refused(played: Played, verb: Verb, **more: object) -> str:
    press = Press.model_validate({"at": played.now, "verb": verb, "actor": "slack:bob", **more})
    return refusal(played.state, press) or ""


def test_steps_follow_one_another_to_the_end() -> None:
    played = run(row("look"), row("act", CHANGE))
    assert played.finished(outcome="met").said == ["step"]
    played.prepared(shows="stop it").finished("done")
    assert played.said == ["step", "preview", "step", "end"]
    assert played.state.status == "done"
    assert [step.status for step in played.state.steps] == ["done", "done"]
    assert allowed(played.state) == ()
    assert next_due(played.state) is None


def test_a_warning_at_80_percent_then_a_page_then_it_repeats_until_somebody_acknowledges() -> None:
    played = run(row("wait for it", MANUAL, minutes=10))
    assert next_due(played.state) == NOON + timedelta(minutes=8)
    assert played.at(7.9).said == ["question"]
    assert played.at(8).said == ["question", "warning"]
    assert played.at(9).said == ["question", "warning"]
    assert played.at(10).said == ["question", "warning", "page"]
    page = played.state.page
    assert page is not None
    assert page.reason == "step 1 has used up its 10 min: it waits for somebody to decide"
    assert next_due(played.state) == NOON + timedelta(minutes=30)
    played.at(29)
    assert played.said.count("page") == 1
    played.at(30).at(50)
    assert played.said.count("page") == 3
    played.press("ack", "scotlaclair")
    assert played.said[-1] == "acknowledged"
    assert played.at(500).said.count("page") == 3
    assert next_due(played.state) is None
    assert played.state.status == "waiting"  # an acknowledgement is not an answer


def test_a_deadline_that_passed_while_the_bot_was_away_pages_without_a_warning() -> None:
    assert run(row("wait", MANUAL, minutes=10)).at(45).said == ["question", "page"]


def test_the_run_has_a_budget_of_its_own() -> None:
    played = run(row("wait", MANUAL), minutes=30).at(30)
    assert played.state.page is not None
    assert played.state.page.reason == "the run has used up its 30 min"


def test_one_bell_for_one_step_however_many_reasons() -> None:
    played = run(row("act", CHANGE, minutes=10), minutes=10).prepared().finished("failed", summary="socket closed")
    played.at(10)
    assert played.said.count("page") == 1
    assert played.state.page is not None
    assert played.state.page.reason == (
        "step 1: socket closed; and step 1 has used up its 10 min: it waits for somebody to decide; "
        "and the run has used up its 10 min"
    )


def test_another_step_rings_again_on_the_same_page() -> None:
    played = run(row("one", MANUAL, minutes=10), row("two", MANUAL, minutes=10)).at(10).press("done").at(20)
    assert played.said.count("page") == 2
    assert len(played.state.escalations) == 1
    assert played.state.page is not None
    assert played.state.page.step == "2"


def test_an_unacknowledged_page_outlives_its_run() -> None:
    played = run(row("one", MANUAL, minutes=10)).at(10).press("done")
    assert played.state.status == "done"
    assert allowed(played.state) == ("ack",)
    assert played.at(31).said[-1] == "page"
    played.press("ack")
    assert allowed(played.state) == ()


def test_not_met_waits_for_a_decision_and_pages() -> None:
    played = run(row("look", READ, expect="children.running == 3")).finished("done", "not met", observed="2")
    assert played.state.status == "waiting"
    assert played.said == ["question", "page"]
    assert played.state.page is not None
    assert played.state.page.reason == "step 1: the expectation was not met: 2"
    assert allowed(played.state) == ("ack", "retry", "done", "fail", "skip", "cancel")


def test_cannot_tell_asks_and_does_not_page() -> None:
    played = run(row("look", READ, expect="Process is fine")).finished("done", "cannot tell")
    assert played.state.status == "waiting"
    assert played.said == ["question"]


def test_uncertain_is_never_repeated_by_itself() -> None:
    played = run(row("act", CHANGE)).prepared().finished("uncertain", summary="the bot was stopped")
    assert played.said == ["question", "page"]
    assert played.state.page is not None
    assert "nobody can tell whether it happened" in played.state.page.reason
    works = len(played.started)
    played.at(60)
    assert len(played.started) == works
    played.press("done", "alice")
    assert played.state.status == "done"
    assert played.state.steps[0].decided_by == "slack:alice"


def test_a_manual_step_is_done_by_a_person_and_cannot_be_retried() -> None:
    played = run(row("call the customer", MANUAL))
    assert allowed(played.state) == ("done", "fail", "skip", "cancel")
    assert refused(played, "retry") == "Step 1 is done by a person: answer with done, fail or skip."
    assert refused(played, "approve") == "Nothing waits for an approval."
    assert refused(played, "ack") == "There is no open page to acknowledge."
    assert played.press("skip").state.status == "done"
    assert refused(played, "skip") == (
        "This run has ended (done). Start it again with: /supervisor runbook P1-002 worker-3"
    )


def test_failed_ends_the_run_with_the_reason() -> None:
    played = run(row("call", MANUAL)).press("fail", "alice", reason="nobody answers")
    assert (played.state.status, played.state.ended_by) == ("failed", "slack:alice")
    assert played.posts[-1].text == "nobody answers"


def test_a_condition_that_does_not_hold_skips_the_step() -> None:
    played = run(row("act", CHANGE, condition="it is down"), row("look")).prepared(condition="does not hold")
    assert [step.status for step in played.state.steps] == ["skipped", "running"]


def test_a_condition_that_nobody_can_tell_is_for_a_person_and_the_plan_is_shown_before_it_is_done() -> None:
    played = run(row("act", CHANGE, condition="it is bad")).prepared(condition="cannot tell", shows="stop worker-3")
    assert allowed(played.state) == ("proceed", "skip", "fail", "cancel")
    assert refused(played, "retry") == (
        "Nobody has said yet whether step 1 is needed: answer with proceed, skip or fail."
    )
    played.press("proceed")
    assert played.said == ["question", "note", "preview"]
    played.finished()
    assert played.state.status == "done"


def test_proceeding_with_a_destructive_step_still_needs_its_approval() -> None:
    played = run(row("remove", DESTRUCTIVE, condition="it is bad"))
    played.prepared(condition="cannot tell", shows="remove worker-3", digest="aaa").press("proceed", "alice")
    assert played.state.steps[0].status == "approval"
    assert [work.kind for work in played.started] == ["prepare"]


def test_a_retry_asks_the_condition_again() -> None:
    played = run(row("look", READ, condition="it is bad")).prepared(problem="the socket is gone")
    played.press("retry")
    assert [(work.kind, work.attempt) for work in played.started] == [("prepare", 1), ("prepare", 2)]
    assert played.prepared(condition="does not hold").state.status == "done"


def test_no_try_is_taken_for_an_earlier_one() -> None:
    """The journal knows tries by their number: two with one number, and the second would never be performed."""
    played = run(row("act", CHANGE, condition="it is bad")).prepared().finished("failed").press("retry")
    played.prepared(condition="cannot tell").press("proceed").finished("failed").press("retry")
    played.prepared(problem="gone").press("retry").prepared()
    performed = [work.attempt for work in played.started if work.kind == "perform"]
    assert performed == sorted(set(performed))
    assert len(set(played.started)) == len(played.started)


def test_a_retry_has_the_whole_budget_again() -> None:
    played = run(row("act", CHANGE, minutes=10)).prepared().finished("failed").at(9).press("retry")
    assert played.state.steps[0].deadline == NOON + timedelta(minutes=19)
    assert played.at(17.2).said[-1] == "warning"


class TestApproval:
    def waiting(self, approvers: tuple[str, ...] = ("bob",)) -> Played:
        return run(row("remove", DESTRUCTIVE), approvers=approvers).prepared(shows="remove worker-3", digest="aaa")

    def test_by_a_second_person_with_the_target_typed(self) -> None:
        played = self.waiting()
        assert played.said == ["approval"]
        assert allowed(played.state) == ("approve", "deny", "cancel")
        played.press("approve", "bob", typed="worker-3", digest="aaa")
        assert played.started[-1].kind == "perform"
        assert played.state.steps[0].approved_by == "slack:bob"

    @pytest.mark.parametrize(
        ("press", "why"),
        [
            ({"typed": "worker-3", "digest": "aaa", "is_requester": True}, "You asked for this run, so somebody else"),
            ({"typed": "worker-2", "digest": "aaa"}, 'Nothing was approved: you typed "worker-2"'),
            ({"typed": "", "digest": "aaa"}, "Nothing was approved: type the target's name, worker-3"),
            ({"typed": "worker-3", "digest": "bbb"}, "The plan has changed since you looked at it."),
            ({"typed": "worker-3"}, "Say which plan you have read: --digest"),
        ],
    )
    def test_not_otherwise(self, press: dict[str, object], why: str) -> None:
        played = self.waiting()
        assert refused(played, "approve", **press).startswith(why)
        played.take(Press.model_validate({"at": NOON, "verb": "approve", "actor": "slack:bob", **press}))
        assert [work.kind for work in played.started] == ["prepare"]

    def test_by_the_one_who_asked_when_there_is_nobody_else(self) -> None:
        played = self.waiting(approvers=()).press("approve", "alice", typed="worker-3", digest="aaa")
        assert played.started[-1].kind == "perform"

    def test_a_changed_plan_needs_a_new_one(self) -> None:
        played = self.waiting().press("approve", typed="worker-3", digest="aaa")
        played.finished("changed", shows="remove worker-3 and its children", digest="bbb")
        assert played.said == ["approval", "note", "approval"]
        assert played.state.steps[0].approved_by == ""
        works = list(played.started)
        played.press("approve", typed="worker-3", digest="aaa")
        assert played.started == works
        played.press("approve", typed="worker-3", digest="bbb").finished()
        assert played.state.status == "done"

    def test_denied_the_run_ends(self) -> None:
        played = self.waiting().press("deny", "alice", reason="not now")
        assert played.state.status == "failed"
        assert played.posts[-2].text == "denied step 1 (not now)"
        assert played.state.steps[0].summary == "Approval was denied"


class TestCancel:
    def test_at_rest_it_ends_at_once(self) -> None:
        played = run(row("call", MANUAL), row("act", CHANGE)).press("cancel", "alice", reason="wrong child")
        assert played.state.status == "cancelled"
        assert [step.status for step in played.state.steps] == ["failed", "pending"]
        assert played.posts[-1].text == "wrong child"

    def test_at_work_the_work_is_asked_to_stop(self) -> None:
        played = run(row("act", CHANGE), row("look")).prepared().press("cancel", "alice")
        assert played.aborted
        assert played.state.busy == played.started[-1]
        assert allowed(played.state) == ()
        assert refused(played, "cancel") == "slack:alice has already cancelled this run."
        played.finished("failed", summary="stopped half way")
        assert played.state.status == "cancelled"
        assert played.said[-2:] == ["step", "end"]
        assert played.posts[-2].step is not None
        assert played.posts[-2].step.summary == "stopped half way"

    def test_what_was_done_meanwhile_stays_done(self) -> None:
        played = run(row("act", CHANGE), row("look")).prepared().press("cancel").finished("done", "met")
        assert played.state.status == "cancelled"
        assert [step.status for step in played.state.steps] == ["done", "pending"]


def test_late_and_doubled_events_change_nothing() -> None:
    played = run(row("act", CHANGE), row("look"))
    work = played.started[0]
    played.prepared().finished()
    before = played.state
    played.take(Prepared(at=NOON, work=work))
    played.press("done").press("approve", typed="worker-3").press("proceed").press("ack")
    assert played.state is before
