"""Whatever happens to a run, in whatever order: what must always be so."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given, settings

from bot.handler import Danger
from bot.runs.decide import Decision, allowed, decide, new_run, next_due, refusal
from bot.runs.model import Begin, Event, Finished, Plan, Prepared, Press, RunState, Tick, Work
from tests.runs.plans import NOON
from tests.runs.wander import VERBS, Move, begun, event_of, journeys, plans


@settings(max_examples=200, deadline=None)
@given(plans(), journeys())
def test_every_history_of_a_run_is_legal(plan: Plan, moves: list[Move]) -> None:
    played, seen, works, effects = begun(plan), list[Event](), list[Work](), _Effects()
    history = _History(plan.paging.repeat["high"])
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
        effects.take(event, before, decision)
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
    for row, each in zip(state.plan.runbook.steps, state.steps[: state.current], strict=False):
        left = each.status == "failed" and each.overdue and row.on_overdue == "continue" and not each.uncertain
        assert each.status in ("done", "skipped") or left
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
            assert step.status in ("done", "skipped") or (step.status == "failed" and step.overdue)
    assert (step.approve_by is not None) == (step.status == "approval")
    assert all(each.approve_by is None for each in state.steps[: state.current])
    assert not state.out_of_time or state.busy
    if state.closed:
        assert state.busy is None
        assert state.finished_at is not None
    possible = {verb for verb in VERBS if refusal(state, _best(state, verb)) is None}
    assert sorted(allowed(state)) == sorted(possible - {"extend", "assign", "take over"})
    assert ("take over" in possible) == ("cancel" in possible)
    assert ("assign" in possible) == (not state.closed)
    timed = not state.closed and not state.stopping and bool(step.deadline or state.deadline)
    assert ("extend" in possible) == timed


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
            "span": timedelta(minutes=10),
            "to": "bob",
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
        if event.verb in ("cancel", "take over") and after.version > before.version:
            assert decision.abort == (before.busy is not None)
            assert after.cancelling == event.actor
    _deadlines_stay(before, event, after)
    for old, new in zip(before.steps, after.steps, strict=True):
        if new.overdue and not old.overdue:
            assert after.page is not None, "a budget ran out and nobody is paged"
            assert "has used up" in after.page.reason or len(after.page.reason) == 1000


def _was_allowed(before: RunState, event: Event, work: Work) -> None:
    """A destructive step is performed only after exactly this plan was approved, in time, by whoever has to."""
    if work.kind == "perform" and before.plan.dangers[work.step] is Danger.DESTRUCTIVE:
        assert isinstance(event, Press)
        assert event.verb == "approve"
        assert event.digest == before.steps[work.step].digest
        assert event.typed == before.plan.target.name
        until = before.steps[work.step].approve_by
        assert until is not None and event.at < until
        assert not (event.is_requester and before.plan.approvers)


def _deadlines_stay(before: RunState, event: Event, after: RunState) -> None:
    """Nothing but a person moves a deadline, and never to an earlier instant; a warning comes once for each."""
    people = isinstance(event, Press) and event.verb in ("extend", "retry")
    for old, new in zip(before.steps, after.steps, strict=True):
        if old.deadline and new.deadline != old.deadline:
            assert people and new.deadline
            assert event.verb == "retry" or new.deadline > old.deadline  # type: ignore[union-attr]  # a Press
        if old.warned and not new.warned:
            assert people
    if after.deadline != before.deadline:
        assert people and after.deadline and before.deadline and after.deadline > before.deadline


class _Effects:
    """Which actions may have happened: each at most once, unless a person asked for another try."""

    def __init__(self) -> None:
        self._begun: set[int] = set()  # steps whose action may have happened
        self._uncertain: set[int] = set()

    def take(self, event: Event, before: RunState, decision: Decision) -> None:
        after, current = decision.state, before.current
        if isinstance(event, Finished) and event.work == before.busy and event.status == "changed":
            self._begun.discard(event.work.step)  # the plan had changed, so nothing was done
        if isinstance(event, Press) and after.version > before.version and event.verb == "retry":
            self._begun.discard(current)
            self._uncertain.discard(current)
        if after.steps[current].uncertain:
            self._uncertain.add(current)
        left = not before.closed and (after.current != current or after.closed)
        if left and current in self._uncertain:
            asked = isinstance(event, Press) or (before.cancelling and before.busy)
            assert asked, "nobody can tell whether it happened, and nobody was asked"
        if decision.start and decision.start.kind == "perform":
            assert decision.start.step not in self._begun, "a second time, and nobody asked for it"
            self._begun.add(decision.start.step)


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
