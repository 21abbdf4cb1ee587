"""Whatever happens to a run, in whatever order: what must always be so."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given, settings

from bot.handler import Danger
from bot.runs.decide import Decision, allowed, decide, new_run, next_due, refusal
from bot.runs.model import Begin, Event, Finished, Plan, Prepared, Press, RunState, Tick, Work
from tests.runs.plans import NOON
from tests.runs.wander import VERBS, Move, begun, event_of, journeys, plans


@settings(max_examples=400, deadline=None)
@given(plans(), journeys())
def test_every_history_of_a_run_is_legal(plan: Plan, moves: list[Move]) -> None:
    played, seen, works = begun(plan), list[Event](), list[Work]()
    history = _History(plan.repeat)
    _is_legal(played.state)
    works += played.started
    for move in moves:
        event = event_of(move, played, seen)
        seen.append(event)
        before = played.state
        decision = played.take(event)
        after = decision.state
        _is_legal(after)
        _is_a_legal_change(before, event, decision)
        history.take(event.at, decision)
        if decision.start:
            assert decision.start not in works, "the same try was begun twice"
            works.append(decision.start)
        if isinstance(event, Tick):
            due = next_due(after)
            assert due is None or due > event.at, "a tick at the due time must be enough"

    # The same events lead to the same state: that is what the engine's recovery builds on.
    state = decide(new_run(plan), Begin(at=NOON)).state
    for event in seen:
        state = decide(state, event).state
    assert state == played.state
    assert RunState.model_validate_json(played.state.model_dump_json()) == played.state


def _is_legal(state: RunState) -> None:
    step = state.steps[state.current]
    assert len([page for page in state.escalations if page.open]) <= 1
    assert [page.number for page in state.escalations] == list(range(1, len(state.escalations) + 1))
    assert all(each.status in ("done", "skipped") for each in state.steps[: state.current])
    assert all(each.status == "pending" for each in state.steps[state.current + 1 :])
    match state.status:
        case "running":
            assert state.busy is not None
            assert state.busy.step == state.current
            assert step.status == "running"
        case "waiting":
            assert state.busy is None
            assert step.status in ("waiting", "approval")
        case "done":
            assert state.current == len(state.steps) - 1
            assert step.status in ("done", "skipped")
    if state.closed:
        assert state.busy is None
        assert state.finished_at is not None
    possible = [verb for verb in VERBS if refusal(state, _best(state, verb)) is None]
    assert sorted(allowed(state)) == sorted(possible)


def _best(state: RunState, verb: str) -> Press:
    """The press as the right person would do it."""
    step = state.steps[state.current]
    return Press.model_validate(
        {
            "at": NOON,
            "verb": verb,
            "actor": "slack:U0BOB",
            "typed": state.plan.target.name,
            "digest": step.digest,
        }
    )


def _is_a_legal_change(before: RunState, event: Event, decision: Decision) -> None:
    after = decision.state
    assert after.plan is before.plan
    assert after.version in (before.version, before.version + 1)
    if after.version == before.version:
        assert after is before
        assert not decision.posts
        assert decision.start is None
    if before.closed:
        assert after.status == before.status, "a closed run was opened again"
        assert decision.start is None
        assert after.steps == before.steps
    if decision.start:
        assert after.busy == decision.start
        _was_allowed(before, event, decision.start)
    if isinstance(event, Prepared | Finished):
        assert (event.work == before.busy) == (after.version > before.version)
    if isinstance(event, Press):
        assert (refusal(before, event) is None) == (after.version > before.version)
        if event.verb == "cancel" and after.version > before.version:
            assert decision.abort == (before.busy is not None)
            assert after.cancelling == event.actor
    for old, new in zip(before.steps, after.steps, strict=True):
        if new.overdue and not old.overdue:
            assert after.page is not None, "a budget ran out and nobody is paged"
            assert "has used up" in after.page.reason or len(after.page.reason) == 1000


def _was_allowed(before: RunState, event: Event, work: Work) -> None:
    """A destructive step is performed only after exactly this plan was approved by whoever has to."""
    if work.kind == "perform" and before.plan.dangers[work.step] is Danger.DESTRUCTIVE:
        assert isinstance(event, Press)
        assert event.verb == "approve"
        assert event.digest == before.steps[work.step].digest
        assert event.typed == before.plan.target.name
        assert not (event.is_requester and before.plan.approvers)


class _History:
    """When each page was sent."""

    def __init__(self, repeat: timedelta) -> None:
        self._repeat = repeat
        self._last: tuple[int, str, datetime] | None = None

    def take(self, at: datetime, decision: Decision) -> None:
        pages = [post.escalation for post in decision.posts if post.kind == "page" and post.escalation]
        assert len(pages) <= 1, "two bells at once"
        for page in pages:
            if self._last and self._last[:2] == (page.number, page.step):
                assert at - self._last[2] >= self._repeat, "the page came again too early"
            assert page.next_page_at == at + self._repeat
            self._last = (page.number, page.step, at)
