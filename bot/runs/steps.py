"""How a run goes from step to step: look, preview, ask for the approval, act, compare, go on or put it to a person.

Pure; ``Changes`` collects what comes of it.
"""

from __future__ import annotations

from bot.handler import Danger
from bot.runbooks.model import OnOverdue, Step
from bot.runs.changes import Changes
from bot.runs.escalation import escalate, failed
from bot.runs.model import Finished, Prepared
from bot.runs.values import fill_row


def start_step(run: Changes, index: int) -> None:
    """Begin the step of this index; after the last one the run is done."""
    if index >= len(run.state.steps):
        end(run, "done")
        return
    row = fill(run, index)
    run.set(current=index, status="running", busy=None)
    run.set_step(
        status="running",
        attempt=0,
        started_at=run.at,
        deadline=run.at + row.budget if row.budget else None,
    )
    prepare_or_act(run)


def fill(run: Changes, index: int) -> Step:
    """Put into the row what the run knows by now, so that everybody reads, does and compares the same."""
    plan = run.state.plan
    book = plan.runbook
    row = fill_row(run.state, index)
    if row != book.steps[index]:
        run.set(unfilled={index: book.steps[index], **run.state.unfilled})
        steps = (*book.steps[:index], row, *book.steps[index + 1 :])
        run.set(plan=plan.model_copy(update={"runbook": book.model_copy(update={"steps": steps})}))
    return row


def prepare_or_act(run: Changes) -> None:
    """Look before anything is changed, and whether the step is needed at all; else act at once."""
    changes = run.state.plan.dangers[run.state.current] in (Danger.CHANGE, Danger.DESTRUCTIVE)
    if changes or run.row.condition:
        run.work("prepare", run.step.attempt + 1)
    else:
        act(run)


def act(run: Changes) -> None:
    """Perform the step's action, or ask the person whose step it is."""
    attempt = run.step.attempt + 1
    if run.state.plan.dangers[run.state.current] is None:
        wait(run, "Do this, then say how it went.", attempt=attempt)
    else:
        run.set_step(status="running", attempt=attempt, tried=True, acted_at=run.at, slow=False)
        run.work("perform", attempt)


def prepared(run: Changes, event: Prepared) -> None:
    """The condition was looked at, the preview made."""
    run.set(busy=None)
    if cancelled(run):
        return
    run.set_step(preview=event.preview, digest=event.digest, observed=event.observed)
    if policy := run.state.out_of_time:
        leave_late(run, policy)
    elif event.problem:
        wait(run, event.problem, attempt=event.work.attempt)
        if not event.missing:
            failed(run)
            escalate(run, f"step {run.row.number} could not be started: {event.problem}")
    elif event.condition == "does not hold":
        run.set_step(status="skipped", finished_at=run.at, summary="Not needed")
        run.say("step")
        start_step(run, run.state.current + 1)
    elif event.condition == "cannot tell":
        run.set_step(undecided=True)
        wait(run, f"Nobody but you can tell whether this step is needed. {event.observed}")
    else:
        go_ahead(run)


def go_ahead(run: Changes) -> None:
    """The step is needed: show what it will do and do it, or ask for the approval first."""
    if run.state.plan.dangers[run.state.current] is Danger.DESTRUCTIVE:
        ask_approval(run)
        return
    if run.step.preview:
        run.say("preview")
    act(run)


def ask_approval(run: Changes) -> None:
    """Show exactly what would be done, and wait for a second person."""
    until = run.at + run.state.plan.approval_timeout
    run.set_step(status="approval", approved_by="", approve_by=until)
    run.set(status="waiting")
    run.say("approval")


def finished(run: Changes, event: Finished) -> None:
    """The action ended, its expectation was compared."""
    run.set(busy=None)
    run.set_step(
        summary=event.summary,
        outcome=event.outcome,
        observed=event.observed,
        evidence=event.evidence,
        language=event.language,
        sources=event.sources,
        facts=event.facts,
        uncertain=event.status == "uncertain",
    )
    worked = event.status == "done" and event.outcome in ("met", None)
    if run.state.cancelling:  # what was done stays done, and is told
        run.set_step(status="done" if worked else "failed", finished_at=run.at)
        run.say("step")
        cancelled(run)
        return
    if run.state.out_of_time and event.status != "uncertain":
        if worked:
            run.set_step(status="done", finished_at=run.at)
            run.say("step")
        leave_late(run, run.state.out_of_time)
    elif event.status == "changed":
        run.set_step(preview=event.preview, digest=event.digest, outcome=None)
        ask_approval(run)
    elif worked:
        run.set_step(status="done", finished_at=run.at)
        run.say("step")
        start_step(run, run.state.current + 1)
    elif event.status == "manual" or (event.status == "done" and event.outcome == "cannot tell"):
        wait(run, event.summary)
    else:
        run.set(out_of_time="")
        wait(run, event.summary)
        failed(run)
        escalate(run, f"step {run.row.number}: {_trouble(event)}")


def leave_late(run: Changes, policy: OnOverdue) -> None:
    """The late step has stopped, or nobody was at work on it: on to the next step, or the end of the run."""
    run.set(out_of_time="")
    if run.step.status != "done":
        run.set_step(status="failed", finished_at=run.at, approve_by=None)
        run.say("step", text="was left, because its time ran out")
    if policy == "stop":
        end(run, "failed", reason="its time ran out, and the runbook says to stop then")
    else:
        start_step(run, run.state.current + 1)


def _trouble(event: Finished) -> str:
    if event.status == "done":
        return f"the expectation was not met: {event.observed or event.summary}"
    if event.status == "uncertain":
        return f"nobody can tell whether it happened: {event.summary}"
    return event.summary


def wait(run: Changes, summary: str, *, attempt: int | None = None) -> None:
    """Put the step to a person."""
    run.set_step(status="waiting", summary=summary)
    if attempt is not None:
        run.set_step(attempt=attempt)
    run.set(status="waiting")
    run.say("question")


def cancelled(run: Changes) -> bool:
    """End the run if somebody cancelled it meanwhile."""
    if not run.state.cancelling:
        return False
    if run.step.status != "done":
        run.set_step(status="failed", finished_at=run.at, approve_by=None)
    end(run, "cancelled", by=run.state.cancelling, reason=run.state.cancel_reason)
    return True


def end(run: Changes, status: str, *, by: str = "", reason: str = "") -> None:
    """No step runs any more."""
    run.set(status=status, finished_at=run.at, ended_by=by, busy=None, out_of_time="")
    run.say("end", actor=by, text=reason)
