"""What happens to a run: ``decide(state, event)`` is the whole state machine, without I/O and without a clock.

Every event carries the instant at which it happened, so that the engine can replay a run after a crash and come to the
same state. A run is ``running`` while the engine works for it, ``waiting`` while a person has to decide, and closed
when it is ``done``, ``failed`` or ``cancelled``. An escalation outlives its run until somebody acknowledges it.

What an event does is told by its noun: ``steps.py``, ``presses.py``, ``budgets.py``, ``escalation.py``.
"""

from __future__ import annotations

from datetime import datetime

from bot.runs import budgets, escalation, steps
from bot.runs.changes import Changes, Decision
from bot.runs.model import Begin, Event, Finished, Gathered, Plan, Prepared, Press, RunState, StepState, Tick
from bot.runs.presses import allowed, pressed, refusal, unknown_values

__all__ = ["Decision", "allowed", "decide", "new_run", "next_due", "refusal", "unknown_values"]


def new_run(plan: Plan) -> RunState:
    """The state before anything happened; a retry has the steps of its ancestor that came before its own first one."""
    done = plan.ancestor.steps if plan.ancestor else ()
    pending = tuple(StepState() for _ in plan.runbook.steps[len(done) :])
    given = plan.ancestor.given if plan.ancestor else {}
    failures = plan.ancestor.failures if plan.ancestor else {}
    return RunState(plan=plan, steps=(*done, *pending), current=len(done), given=given, failures=failures)


def next_due(state: RunState) -> datetime | None:
    """When the run wants to be looked at again if nothing else happens; None when it waits for no time."""
    return min((*budgets.next_deadlines(state), *escalation.next_deadlines(state)), default=None)


def decide(state: RunState, event: Event) -> Decision:
    """One event, one new state. What does not fit the state (a late click, a second delivery) changes nothing."""
    run = Changes(state, event.at, event.paging)
    match event:
        case Begin():
            if state.version == 0:
                steps.start_step(run, state.current)
                if state.plan.alarm:
                    escalation.escalate(run, state.plan.alarm)
        case Tick():
            if state.version > 0:  # before it has begun there is nothing to be late
                budgets.time_passed(run)
                escalation.time_passed(run)
        case Prepared():
            if state.busy == event.work:
                steps.prepared(run, event)
        case Finished():
            if state.busy == event.work:
                steps.finished(run, event)
        case Press():
            if refusal(state, event) is None:
                pressed(run, event)
        case Gathered():
            escalation.gathered(run, event)
    if run.changed or (isinstance(event, Tick) and state.version > 0):
        escalation.look_at_clauses(run)
    return run.decision()
