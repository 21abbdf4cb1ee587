"""The time that a step and a run may take: 80 % warns, its end pages, and then the run goes on, stops or asks.

Deadlines are absolute, so that neither a restart nor a pause of the machine stretches them; ``extend 10m`` moves them.
An approval has a time limit of its own: when it is over, the approval lapses and nothing was done. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from bot.runbooks.model import OnOverdue
from bot.runs.changes import Changes
from bot.runs.escalation import escalate
from bot.runs.model import Press, RunState, StepState
from bot.runs.steps import leave_late, wait
from bot.words import duration

WARN_AT = 0.8  # of a budget
LONGEST_EXTENSION = timedelta(days=7)


def next_deadlines(state: RunState) -> Iterator[datetime]:
    """The instants at which the run has something to say about its time."""
    if state.closed:
        return
    step = state.steps[state.current]
    if step.status == "approval" and step.approve_by:
        yield step.approve_by
    if step.deadline and step.started_at:
        if not step.warned:
            yield step.warn_at or _share(step.started_at, step.deadline)
        if not step.overdue:
            yield step.deadline
    if (late := _unusual_at(state)) and not step.slow:
        yield late
    if state.deadline:
        if not state.warned:
            yield state.warn_at or _share(state.plan.started_at, state.deadline)
        if not state.overdue:
            yield state.deadline


def time_passed(run: Changes) -> None:
    """Warn, page, let an approval lapse, and do what the runbook says about lost time, each when its time has come."""
    for look in (_approval_time, _step_time, _run_time, _usual_time):
        if not run.state.closed:
            look(run)


def _run_time(run: Changes) -> None:
    state = run.state
    if state.deadline is None:
        return
    if run.at >= state.deadline and not state.overdue:
        run.set(overdue=True, warned=True)
        escalate(run, f"the run has used up its {duration(state.deadline - state.plan.started_at)}")
        if state.plan.runbook.on_overdue == "stop":
            _give_up(run, "stop")
    elif run.at >= (state.warn_at or _share(state.plan.started_at, state.deadline)) and not state.warned:
        run.set(warned=True)
        run.say("run warning")


def _step_time(run: Changes) -> None:
    step = run.step
    if not step.deadline or not step.started_at:
        return
    if run.at >= step.deadline and not step.overdue:
        run.set_step(overdue=True, warned=True)
        budget = duration(step.deadline - step.started_at)
        escalate(run, f"step {run.row.number} has used up its {budget}: {_waits_for(step)}")
        _give_up(run, run.row.on_overdue)
    elif run.at >= (step.warn_at or _share(step.started_at, step.deadline)) and not step.warned:
        run.set_step(warned=True)
        run.say("warning")


def _usual_time(run: Changes) -> None:
    """Mark a step that takes longer than it nearly ever did, while there is still time to look after it."""
    late = _unusual_at(run.state)
    if late and run.at >= late and not run.step.slow:
        run.set_step(slow=True)
        run.say("slow")


def _unusual_at(state: RunState) -> datetime | None:
    """When the action that is at work will have taken longer than 95 of 100 times before; before its budget ends."""
    step, usual = state.steps[state.current], state.plan.usual[state.current : state.current + 1]
    at_work = state.busy is not None and state.busy.kind == "perform" and step.status == "running"
    if not at_work or step.acted_at is None or not usual or usual[0] is None:
        return None
    late = step.acted_at + usual[0].p95
    return late if step.deadline is None or late < step.deadline else None


def _waits_for(step: StepState) -> str:
    match step.status:
        case "approval":
            return "nobody has approved it"
        case "waiting":
            return "it waits for somebody to decide"
        case _:
            return "it is still at work"


def _give_up(run: Changes, policy: OnOverdue) -> None:
    """Leave the late step as the runbook says. Work that is going on is asked to stop first, and is then looked at.

    A step of which nobody can tell whether it happened waits for a person, whatever the runbook says.
    """
    if policy == "ask" or run.state.cancelling or run.step.uncertain:
        return
    if run.state.busy:
        if run.state.out_of_time != "stop":
            run.set(out_of_time=policy)
            run.abort = True
    else:
        leave_late(run, policy)


def _approval_time(run: Changes) -> None:
    step = run.step
    if step.status != "approval" or step.approve_by is None or run.at < step.approve_by:
        return
    waited = duration(run.state.plan.approval_timeout)
    run.set_step(approve_by=None, digest="", preview=None)
    summary = f"Nobody approved this within {waited}, so nothing was done. Retry asks again."
    wait(run, summary, attempt=step.attempt + 1)  # this try is over: what is still on its way of it comes too late
    escalate(run, f"nobody approved step {run.row.number} within {waited}; nothing was done")


# -- moving a deadline


def extend(run: Changes, press: Press) -> None:
    """Give the present step more time, and the run, too, where its own would end before."""
    state, step, span = run.state, run.step, press.span or timedelta()
    until = None
    if step.deadline:
        until = max(step.deadline, run.at) + span
        run.set_step(deadline=until, warn_at=_share(run.at, until), warned=False, overdue=False)
    if state.deadline and (until is None or state.deadline < until):
        until = until or max(state.deadline, run.at) + span
        run.set(extended_until=until, warn_at=_share(run.at, until), warned=False, overdue=False)
    what = f"step {run.row.number}" if step.deadline else "the run"
    run.say("note", text=f"gave {what} {duration(span)} more", until=until, reason=press.reason, actor=press.actor)


def refused_extension(state: RunState, press: Press) -> str | None:
    """Why the deadline cannot be moved like that; or None."""
    number = state.plan.runbook.steps[state.current].number
    if not press.span or press.span <= timedelta():
        return "Say how much more time: extend 10m."
    if press.span > LONGEST_EXTENSION:
        return f"The most at once is {duration(LONGEST_EXTENSION)}."
    if not state.steps[state.current].deadline and not state.deadline:
        return f"Neither step {number} nor the run has a time limit, so there is nothing to extend."
    if state.stopping:
        return f"Step {number} is just being stopped."
    return None


def _share(begin: datetime, deadline: datetime) -> datetime:
    return begin + timedelta(seconds=(deadline - begin).total_seconds() * WARN_AT)
