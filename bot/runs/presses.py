"""What people do to a run, ``ack``, ``approve``, ``retry``: what is possible now, why something is not, what it does.

Pure; every button and every command of ``/runs`` about one run ends here as a ``Press``.
"""

from __future__ import annotations

from bot.incoming import Actor
from bot.runbooks.binding import placeholders
from bot.runs.budgets import extend, refused_extension
from bot.runs.changes import Changes
from bot.runs.escalation import acknowledge, failed
from bot.runs.model import Press, Quoted, RunState, StepState
from bot.runs.steps import act, cancelled, end, fill, go_ahead, prepare_or_act, start_step
from bot.runs.values import missing, of_start


def refusal(state: RunState, press: Press) -> str | None:
    """Why ``press`` is not possible now, for the person who pressed; or None. ``decide`` ignores what is refused."""
    if press.verb == "ack":
        return None if state.page else "There is no open page to acknowledge."
    if state.closed:
        return f"This run has ended ({state.status}). Start it again with: {state.plan.command}"
    if press.verb == "note":
        return None if press.reason.strip() or press.quoted else "Say what to note: note <text>."
    step = state.steps[state.current]
    number = state.plan.runbook.steps[state.current].number
    if press.step and press.step != number:
        return f"Step {press.step} is over, and the run is at step {number} now. Look at its card before you answer."
    if press.verb in ("cancel", "take over"):
        return f"{state.cancelling} has already cancelled this run." if state.cancelling else None
    if press.verb == "extend":
        return refused_extension(state, press)
    if press.verb == "assign":
        return None if press.to else "Say to whom: assign <person>, a name of [people]."
    if press.verb in ("approve", "deny"):
        if step.status != "approval":
            return "Nothing waits for an approval."
        if step.approve_by and press.at >= step.approve_by:
            return f"The time for approving step {number} is over. Retry the step: it asks again."
        if press.verb == "deny":
            return None
        if not press.digest:
            return "Say which plan you have read: --digest and the twelve characters that stand below it."
        if press.digest != step.digest:
            return "The plan has changed since you looked at it. Read the new one, then approve that."
        if press.is_requester and state.plan.approvers:
            if _told(state):
                return "You told this step its values, so somebody else has to approve it."
            return f"You asked for this run, so somebody else has to approve it: {', '.join(state.plan.approvers)}."
        name = state.plan.target.name
        if not press.typed:
            return f"Nothing was approved: type the target's name, {name}, to approve (--confirm {name})."
        if press.typed != name:
            return f'Nothing was approved: you typed "{press.typed[:60]}", and this step works on {name}. Type {name}.'
        return None
    if press.verb == "proceed":
        if step.status == "waiting" and step.undecided:
            return None
        return f"Step {number} does not wait for its condition to be decided."
    if step.status != "waiting":
        return f"Step {number} is {_in_words(step)}; {press.verb} is for a step that waits for a decision."
    if step.undecided and press.verb in ("retry", "done"):
        return f"Nobody has said yet whether step {number} is needed: answer with proceed, skip or fail."
    if press.verb == "retry" and state.plan.dangers[state.current] is None and not press.given:
        return f"Step {number} is done by a person: answer with done, fail or skip."
    if press.given:
        wanted = unknown_values(state)
        if strange := [name for name in press.given if name not in wanted]:
            asked = f"it needs {', '.join(wanted)}" if wanted else "it needs no value"
            return f"Step {number} does not ask for {', '.join(strange)}: {asked}."
    return None


def unknown_values(state: RunState) -> tuple[str, ...]:
    """The placeholders of the present step that nothing has filled."""
    plan = state.plan
    return missing(plan.runbook.steps[state.current], of_start(plan.inputs, plan.target))


def askers(state: RunState) -> tuple[Actor, ...]:
    """Who may not approve the present step: who told it its values, else who asked for the run.

    Whoever tells a step its values decides what it does; one person never decides that and approves it.
    """
    return tuple(_told(state).values()) or (state.plan.actor,)


def _told(state: RunState) -> dict[str, Actor]:
    """Who told the present step its values, by placeholder."""
    row = state.unfilled.get(state.current)
    if row is None:
        return {}
    texts = (row.text, row.condition or "", row.expectation, *row.arguments.values())
    wanted = {name for text in texts for name in placeholders(text)}
    return {name: actor for name, actor in state.given_by.items() if name in wanted}


def allowed(state: RunState) -> tuple[str, ...]:
    """The verbs that answer what the run is waiting for, most likely first. More time may be given besides."""
    step = state.steps[state.current]
    verbs: list[str] = []
    if state.page:
        verbs.append("ack")
    if state.closed:
        return tuple(verbs)
    match step.status:
        case "approval":
            verbs += ["approve", "deny"]
        case "waiting" if step.undecided:
            verbs += ["proceed", "skip", "fail"]
        case "waiting" if state.plan.dangers[state.current] is None:
            verbs += ["done", "fail", "skip"]
        case "waiting":
            verbs += ["retry", "done", "fail", "skip"]
    return tuple(verbs) if state.cancelling else (*verbs, "cancel")


def runs_short(state: RunState) -> bool:
    """Whether the time of the step or of the run is nearly or wholly spent, and more may be given."""
    step = state.steps[state.current]
    is_short = step.warned or step.overdue or state.warned or state.overdue
    return is_short and not state.closed and not state.stopping and bool(step.deadline or state.deadline)


def pressed(run: Changes, press: Press) -> None:
    """Do what was pressed; ``refusal`` has nothing against it."""
    number = run.row.number
    match press.verb:
        case "ack":
            acknowledge(run, press)
        case "cancel" | "take over":
            _cancel(run, press)
        case "extend":
            extend(run, press)
        case "assign":
            run.set(owner=press.to)
            text = f"handed this run over to {press.to}{_because(press)}"
            run.say("note", text=text, actor=press.actor, notify=press.notify)
        case "note":
            run.say("note", text=press.reason, actor=press.actor, quoted=press.quoted or Quoted())
        case "retry":
            _retry(run, press)
        case "proceed":
            run.say("note", text=f"says that step {number} is needed", actor=press.actor)
            run.set_step(undecided=False)
            go_ahead(run)
        case "approve":
            run.set_step(approved_by=press.actor, approve_by=None)
            run.say("note", text=f"approved step {number}", actor=press.actor)
            act(run)
        case "deny":
            run.set_step(
                status="failed",
                finished_at=run.at,
                decided_by=press.actor,
                summary="Approval was denied",
                approve_by=None,
            )
            run.say("note", text=f"denied step {number}{_because(press)}", actor=press.actor)
            end(run, "failed", by=press.actor)
        case "done" | "skip":
            status = "done" if press.verb == "done" else "skipped"
            run.set_step(status=status, finished_at=run.at, decided_by=press.actor)
            run.say("step", actor=press.actor)
            start_step(run, run.state.current + 1)
        case "fail":
            failed(run)
            run.set_step(status="failed", finished_at=run.at, decided_by=press.actor)
            end(run, "failed", by=press.actor, reason=press.reason)


def _cancel(run: Changes, press: Press) -> None:
    """End the run, or stop the work that is going on first. Whoever takes the target over says so to its owner."""
    run.set(cancelling=press.actor, cancel_reason=press.reason)
    if press.verb == "take over":
        text = f"takes {run.state.plan.target.name} over, so this run is cancelled{_because(press)}"
        run.say("note", text=text, actor=press.actor, notify=press.notify)
    if run.state.busy:
        run.abort = True
        if press.verb == "cancel":
            text = f"asked to cancel{_because(press)}; the step that is at work is being stopped"
            run.say("note", text=text, actor=press.actor)
    else:
        cancelled(run)


def _retry(run: Changes, press: Press) -> None:
    """The present step once more, with its whole budget."""
    run.set(given={**run.state.given, **press.given})
    if press.given_by:
        run.set(given_by={**run.state.given_by, **dict.fromkeys(press.given, press.given_by)})
    row = fill(run, run.state.current)
    told = "".join(f", {name} is {value}" for name, value in press.given.items())
    run.say("note", text=f"retries step {row.number}{told}", actor=press.actor)
    run.set_step(
        status="running",
        started_at=run.at,
        deadline=run.at + row.budget if row.budget else None,
        warn_at=None,
        warned=False,
        overdue=False,
        outcome=None,
        uncertain=False,
        decided_by="",
    )
    prepare_or_act(run)


def _because(press: Press) -> str:
    return f" ({press.reason})" if press.reason else ""


def _in_words(step: StepState) -> str:
    return {"running": "still at work", "approval": "waiting for an approval"}.get(step.status, step.status)
