"""What happens to a run stands in the audit log: whatever anybody could see of it."""

from __future__ import annotations

import json
from datetime import timedelta

from hypothesis import given, settings

from bot.chain import GENESIS, Chain, Entry, Head, link
from bot.runs.decide import decide
from bot.runs.model import Event, Finished, Plan, Press, RunState, Tick
from bot.runs.trail import LONGEST, ignored, started, trail
from tests.runs.plans import CHANGE, DESTRUCTIVE, NOON, READ, Played, plan, row, run
from tests.runs.wander import Move, begun, event_of, journeys, plans


def told(before: RunState, event: Event) -> tuple[RunState, list[Entry]]:
    after = decide(before, event).state
    return after, list(trail(before, event, after))


@settings(max_examples=150, deadline=None)
@given(plans(), journeys())
def test_nothing_that_can_be_seen_is_forgotten(of: Plan, moves: list[Move]) -> None:
    played, seen, all_told = begun(of), list[Event](), list[Entry]()
    for move in moves:
        event = event_of(move, played, seen)
        seen.append(event)
        before = played.state
        decision = played.take(event)
        entries = trail(before, event, decision.state)
        all_told += entries
        kinds = [entry.kind for entry in entries]
        assert bool(entries) == (decision.state.version > before.version), "a change without an entry, or the reverse"
        assert all(entry.at == event.at and entry.run_id == of.run_id for entry in entries)
        _everything_visible(before, decision.state, kinds, json.dumps([dict(entry.detail) for entry in entries]))
        if decision.posts:
            assert entries, f"{[post.kind for post in decision.posts]} was said and is not in the log"
        if decision.start and decision.start.kind == "perform":
            assert "action.begun" in kinds
        if isinstance(event, Press) and entries:
            assert kinds[0] == f"press.{event.verb.replace(' ', '_')}"
            assert {entry.actor for entry in entries} == {event.actor}
        else:
            assert {entry.actor for entry in entries} <= {""}
    walk = Chain()
    assert [walk.add(each) for each in link(Head(0, GENESIS), all_told)] == [""] * len(all_told)


def _everything_visible(before: RunState, after: RunState, kinds: list[str], detail: str) -> None:
    for old, new in zip(before.steps, after.steps, strict=True):
        if new.status != old.status:
            assert f"step.{new.status}" in kinds
        for mark in ("warned", "overdue", "slow"):
            if getattr(new, mark) and not getattr(old, mark):
                assert f"step.{mark}" in kinds or f'"{mark}": true' in detail
        if new.approved_by and new.approved_by != old.approved_by:
            assert new.approved_by in detail
            assert new.digest in detail
        if new.outcome and new.outcome != old.outcome:
            assert f'"outcome": "{new.outcome}"' in detail
        if new.deadline != old.deadline:
            assert '"deadline"' in detail
    if after.closed and not before.closed:
        assert f"run.{after.status}" in kinds
    if after.overdue and not before.overdue:
        assert "run.overdue" in kinds
    if after.owner != before.owner:
        assert '"owner"' in detail
    known = {page.number: page for page in before.escalations}
    for page in after.escalations:
        earlier = known.get(page.number)
        if earlier is None:
            assert "escalation.opened" in kinds
        if page.pages > (earlier.pages if earlier else 0):
            assert "escalation.paged" in kinds
        if not page.open and (earlier is None or earlier.open):
            assert "escalation.acknowledged" in kinds
        if earlier is not None and page.reason != earlier.reason:
            assert '"reason"' in detail


def test_every_field_of_a_run_is_told_when_it_changes() -> None:
    """A field that somebody adds tomorrow is told without a line in the trail."""

    class Tomorrow(RunState):
        weather: str = ""

    before = Tomorrow(**dict(run(row("look", READ)).state))
    after = before.model_copy(update={"weather": "storm", "version": before.version + 1})
    entries = trail(before, Tick(at=NOON), after)
    assert [(entry.kind, dict(entry.detail)) for entry in entries] == [("run.changed", {"weather": "storm"})]


def test_an_approval_says_who_what_and_which_plan() -> None:
    played = run(row("remove it", DESTRUCTIVE))
    played.prepared(shows="remove worker-3", digest="4f5a2c91d07b")
    before = played.state
    played.press("approve", "U0BOB", typed="worker-3", digest="4f5a2c91d07b", reason="agreed")
    press = Press(
        at=NOON, verb="approve", actor="slack:U0BOB", typed="worker-3", digest="4f5a2c91d07b", reason="agreed"
    )
    approved, changed, begun_ = trail(before, press, played.state)
    assert (approved.kind, approved.actor) == ("press.approve", "slack:U0BOB")
    assert approved.detail == {"step": "1", "typed": "worker-3", "digest": "4f5a2c91d07b", "reason": "agreed"}
    assert (changed.kind, changed.detail["approved_by"]) == ("step.running", "slack:U0BOB")
    assert begun_.kind == "action.begun"
    assert begun_.detail == {
        "step": "1",
        "attempt": 2 if changed.detail["attempt"] == 2 else 1,
        "operation": f"{played.state.plan.run_id}:1:{changed.detail['attempt']}",
        "action": "handle.act",
        "arguments": {},
        "digest": "4f5a2c91d07b",
        "approved_by": "slack:U0BOB",
    }


def test_what_an_action_came_to() -> None:
    played: Played = run(row("do it", CHANGE, expect="children.running == 3"))
    played.prepared(shows="will do it")
    before = played.state
    assert before.busy is not None
    played.now += timedelta(seconds=3)
    decision_before = played.state
    played.finished("done", "not met", observed="children.running = 2")
    event = Finished(
        at=played.now,
        work=decision_before.busy or before.busy,
        status="done",
        summary="It is done",
        outcome="not met",
        observed="children.running = 2",
        evidence="x" * 5000,
    )
    after, entries = told(decision_before, event)
    kinds = [entry.kind for entry in entries]
    assert kinds == ["action.ended", "step.waiting", "escalation.opened", "escalation.paged", "run.changed"]
    assert entries[0].detail["outcome"] == "not met"
    assert entries[0].detail["evidence"].endswith(" of 5000"), "its digest: the whole is in the run"
    assert max(len(json.dumps(dict(entry.detail))) for entry in entries) < 10 * LONGEST
    assert after.status == "waiting"


def test_a_click_that_lost_is_told_with_the_reason() -> None:
    played = run(row("remove it", DESTRUCTIVE))
    played.prepared(shows="remove worker-3", digest="4f5a2c91d07b")
    played.press("approve", "U0BOB", typed="worker-3", digest="4f5a2c91d07b")
    late = Press(at=NOON, verb="approve", actor="slack:U0SCOT", typed="worker-3", digest="4f5a2c91d07b")
    assert decide(played.state, late).state is played.state
    assert trail(played.state, late, played.state) == ()
    (entry,) = ignored(played.state, late)
    assert (entry.kind, entry.actor) == ("press.ignored", "slack:U0SCOT")
    assert entry.detail["why"] == "Nothing waits for an approval."
    assert entry.detail["verb"] == "approve"
    assert ignored(played.state, Tick(at=NOON)) == ()


def test_the_start_holds_the_whole_plan() -> None:
    entry = started(plan(row("remove it", DESTRUCTIVE), minutes=5), "slack:123")
    assert entry.actor == "slack:U0ALICE"
    assert entry.detail["asked_by"] == "slack:123"
    assert entry.detail["command"] == "/supervisor runbook P1-002 worker-3"
    assert entry.detail["runbook"]["id"] == "P1-002"
    assert len(entry.detail["runbook"]["sha256"]) == 64
    assert entry.detail["target"]["name"] == "worker-3"
    assert entry.detail["approvers"] == ["bob"]
    json.dumps(dict(entry.detail), allow_nan=False)
