"""``handle.quarantine_child()``: the actions of a supervised process, done once and believed only when they are seen.

A command that was accepted was taken, nothing more. Each change looks first (does the child exist, is it as wanted
already), sends once, and then reads the state until it shows what was asked for, or cannot any more, or the time is up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Preview
from handlers.supervisor import facts, status
from handlers.supervisor.children import Child, Judgement, find, judge
from handlers.supervisor.handler import SupervisorHandler, require_child
from handlers.supervisor.link import LinkError, Listener
from handlers.supervisor.protocol import CommandResult, State, Verb, command_params
from handlers.supervisor.transport import Client, Rejected

SETTLE_SECONDS = 2.0  # after a lost connection: how long the state must stay unchanged

EFFECTS: dict[Verb, str] = {
    "quarantine_child": "Cancels its attempt and keeps it from being restarted until somebody restarts it.",
    "pause_child": "Cancels its attempt (work in memory is lost) and suppresses restarts.",
    "resume_child": "Lifts the pause or quarantine. Starts nothing: that takes handle.restart_child().",
    "restart_child": "Cancels its attempt and starts the next one when the old one has ended.",
    "remove_child": "Cancels its attempt and forgets the child until the process starts again or somebody restarts it.",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a change works on and how it was before."""

    client: Client
    child_id: str
    state: State
    child: Child | None
    listener: Listener | None

    @property
    def old_attempt(self) -> int | None:
        return self.child.record.attempt if self.child and self.child.record else None


def _child_id(ctx: ActionContext) -> str:
    name = ctx.arguments.get("child") or (ctx.target.name if ctx.target.kind == "child" else "")
    if not name:
        raise UserError(
            "This step works on a child, and the run is not on one. Start it as /supervisor runbook <id> <child>."
        )
    return name


async def _subject(handler: SupervisorHandler, ctx: ActionContext) -> Subject:
    child_id = _child_id(ctx)
    client = handler.client(ctx.target)
    state = await client.drivable_state()
    return Subject(client, child_id, state, find(state, child_id), client.listener)


# --- preview ------------------------------------------------------------------------------------------------------


async def _preview(handler: SupervisorHandler, ctx: ActionContext, verb: Verb) -> Preview:
    """The exact request; what is new each time stands in angle brackets, so that the preview stays the same."""
    client = handler.client(ctx.target)
    child_id = _child_id(ctx)
    state = await client.drivable_state()
    child = require_child(client.name, state, child_id)
    return Preview(
        summary=f"{verb} {child_id} of {client.name}. {EFFECTS[verb]}",
        detail=json.dumps(_request(ctx, verb, state, child), indent=2, ensure_ascii=False),
        language="json",
    )


def quarantine_request(ctx: ActionContext, state: State, child: Child) -> dict[str, Any]:
    """The request that ``quarantine`` sends for a child, for a preview."""
    return _request(ctx, "quarantine_child", state, child)


def _request(ctx: ActionContext, verb: Verb, state: State, child: Child) -> dict[str, Any]:
    params = command_params(
        verb,
        command_id="<a new UUID>",
        target_id=state.target_id,
        child_path=child.path,
        reason=_reason(ctx),
        requested_by=_requested_by(ctx),
        requested_at_unix_nanos="<now, in nanoseconds>",
    )
    return {"request_id": "<a new UUID>", "method": f"command.{verb}", "params": params}


def _requested_by(ctx: ActionContext) -> str:
    return f"opsbot:{ctx.actor}"


def _reason(ctx: ActionContext) -> str:
    return ctx.reason.strip() or f"run {ctx.run_id}"


# --- perform ------------------------------------------------------------------------------------------------------


async def quarantine(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """Quarantine the child of the argument ``child`` and see that it is. ``UserError``: nothing was sent."""
    return await _perform(handler, ctx, "quarantine_child")


async def _perform(handler: SupervisorHandler, ctx: ActionContext, verb: Verb) -> ActionResult:
    subject = await _subject(handler, ctx)
    child = require_child(subject.client.name, subject.state, subject.child_id)
    there = _already(verb, subject)
    if there is not None:
        return _result(
            handler, ctx, subject, there[0], f"{there[1]}. It was so before, nothing was sent.", subject.state
        )
    if child.removed and verb not in ("restart_child", "remove_child"):
        raise UserError(f"{child.id} of {subject.client.name} was removed; only handle.restart_child() brings it back.")
    answer: CommandResult | None = None
    lost: LinkError | Rejected | None = None
    try:
        answer = await subject.client.command(
            verb,
            target_id=subject.state.target_id,
            child_path=child.path,
            reason=_reason(ctx),
            requested_by=_requested_by(ctx),
        )
    except LinkError as error:
        if not error.sent:
            raise
        lost = error
    except Rejected as error:
        if error.error.code not in ("command_timeout", "audit_write_failed", "audit_queue_full"):
            raise UserError(f"{error.message} Nothing was changed.") from error
        lost = error  # these may come although the command was, or will be, carried out
    if answer is not None:
        handler.remember(ctx.target, answer)
        refusal = _refusal(answer)
        if refusal:
            return _result(handler, ctx, subject, "failed", f"{verb} {child.id}: {refusal}.", None, answer)
    return await _follow(handler, ctx, verb, subject, answer, lost)


def _already(verb: Verb, subject: Subject) -> tuple[Literal["done", "failed"], str] | None:
    """Whether there is nothing to send: it is as wanted, or it was tried and the child does not obey."""
    if verb == "restart_child":
        return None
    seen = judge(verb, subject.child_id, subject.state)
    if seen.verdict == "reached":
        return "done", seen.why
    record = subject.child.record if subject.child else None
    wanted = {"quarantine_child": "quarantined", "pause_child": "paused", "remove_child": "removed"}.get(verb)
    if seen.verdict == "impossible" and record is not None and record.operation == wanted:
        return "failed", seen.why
    return None


def _refusal(answer: CommandResult) -> str:
    """Why the command did not do anything although it was answered; empty when it was taken."""
    if not answer.accepted:
        error = answer.error
        return f"not accepted ({error.code}: {error.message})" if error else "not accepted; why is not told"
    outcome = answer.outcome
    if outcome is None:
        return ""
    if outcome.generation_fence and outcome.generation_fence.decision in ("rejected", "blocked_by_shutdown"):
        reason = outcome.failure.reason if outcome.failure else ""
        blocked = outcome.generation_fence.decision == "blocked_by_shutdown"
        hint = "the tree was shut down, only a new process starts children" if blocked else reason
        return f"{outcome.generation_fence.decision}" + (f": {hint}" if hint else "")
    return ""


async def _follow(
    handler: SupervisorHandler,
    ctx: ActionContext,
    verb: Verb,
    subject: Subject,
    answer: CommandResult | None,
    lost: LinkError | Rejected | None,
) -> ActionResult:
    """Read the state until it decides. ``lost``: there was no proper answer, so the state alone has to tell."""
    clock, client = ctx.clock, subject.client
    begun = clock.now()
    until = begun + timedelta(seconds=client.target.stop_timeout)
    if ctx.deadline is not None and ctx.deadline > begun:
        until = min(until, ctx.deadline)
    last: State | None = None
    trouble = ""
    unchanged_since: datetime | None = None
    seen: Judgement | None = None
    while True:
        try:
            last = await client.state()
        except (LinkError, Rejected) as error:
            trouble, unchanged_since = error.message, None
        else:
            trouble = ""
            seen = judge(verb, subject.child_id, last, old_attempt=subject.old_attempt)
            swapped = _swapped(subject, last)
            if swapped:
                return _result(
                    handler, ctx, subject, "failed", f"{swapped} {_state_of(verb, subject, last)}", last, answer
                )
            if seen.verdict == "reached":
                note = " The answer was lost; this was read from the state." if lost else ""
                note = note or (f" {client.untold}." if client.untold else "")
                return _result(handler, ctx, subject, "done", f"{seen.why}.{note}", last, answer)
            if seen.verdict == "impossible":
                return _result(handler, ctx, subject, "failed", f"{seen.why}.", last, answer)
            untouched = _never_arrived(lost) and _untouched(subject, last)
            unchanged_since = (unchanged_since or clock.now()) if untouched else None
        now = clock.now()
        if unchanged_since is not None and now - unchanged_since >= timedelta(seconds=SETTLE_SECONDS):
            text = f"{_without_name(lost)} The state shows that it was not: {_last_words(seen, '')}."
            return _result(handler, ctx, subject, "failed", text, last, answer)
        if ctx.abort.is_set():
            text = f"The run was cancelled after {verb} was sent. Last seen: {_last_words(seen, trouble)}."
            return _result(handler, ctx, subject, "uncertain", text, last, answer)
        if now >= until:
            waited = f"{(now - begun).total_seconds():.0f} s"
            if lost is None and not trouble:
                text = f"{verb} was accepted, but not seen within {waited}: {_last_words(seen, trouble)}."
                return _result(handler, ctx, subject, "failed", text, last, answer)
            text = (
                f"{_without_name(lost) or 'The command was accepted.'} Reading the state for {waited} did not settle "
            )
            text += f"it: {_last_words(seen, trouble)}. Look with /supervisor status before trying again."
            return _result(handler, ctx, subject, "uncertain", text, last, answer)
        await clock.sleep(client.poll_pause)


def _without_name(lost: LinkError | Rejected | None) -> str:
    """The reason; whose it is stands before it already."""
    return lost.message.removeprefix(f"{lost.target}: ") if lost else ""


def _never_arrived(lost: LinkError | Rejected | None) -> bool:
    """Whether an unchanged state proves that the command was not carried out: nobody is left who would do it later."""
    return isinstance(lost, LinkError) and lost.cause == "closed"


def _untouched(subject: Subject, state: State) -> bool:
    before = subject.child.record if subject.child else None
    child = find(state, subject.child_id)
    after = child.record if child else None
    if before is None or after is None:
        return before is after
    return (before.operation, before.generation_fence_phase) == (after.operation, after.generation_fence_phase)


def _swapped(subject: Subject, state: State) -> str:
    """A sentence when another process answers than the one that was asked; empty when it is the same."""
    pid_before = subject.listener.pid if subject.listener else None
    pid_now = subject.client.listener.pid if subject.client.listener else None
    if pid_before == pid_now and state.generated_at_unix_nanos == subject.state.generated_at_unix_nanos:
        return ""
    return (
        f"The process was restarted in the middle of the command (pid {pid_before}, now {pid_now}): it holds no more."
    )


def _state_of(verb: Verb, subject: Subject, state: State) -> str:
    return f"Now {judge(verb, subject.child_id, state).why}."


def _last_words(seen: Judgement | None, trouble: str) -> str:
    return trouble.rstrip(".") or (seen.why if seen else "nothing")


# --- check, after the bot itself was stopped in the middle ----------------------------------------------------------


async def _check(handler: SupervisorHandler, ctx: ActionContext, verb: Verb) -> ActionResult | None:
    """What became of a command whose sender died: done, under way (then followed to its end), not sent, or unknown."""
    subject = await _subject(handler, ctx)
    record = subject.child.record if subject.child else None
    if verb == "restart_child":
        if record is not None and record.generation_fence_phase != "open":
            return await _follow(handler, ctx, verb, subject, None, None)
        if record is not None and record.attempt == 1 and record.generation == 0 and record.operation == "active":
            return None
        text = f"{subject.child_id} runs attempt {record.attempt if record else None}; nobody can tell whether the bot "
        text += "started it. Restart it again if it is not as it should be."
        return _result(handler, ctx, subject, "uncertain", text, subject.state)
    seen = judge(verb, subject.child_id, subject.state)
    if seen.verdict == "reached":
        return _result(handler, ctx, subject, "done", f"{seen.why}.", subject.state)
    wanted = {"quarantine_child": "quarantined", "pause_child": "paused", "remove_child": "removed"}.get(verb)
    if record is not None and record.operation == wanted:
        return await _follow(handler, ctx, verb, subject, None, None)
    return None


# --- results --------------------------------------------------------------------------------------------------------

UNTOLD = frozenset({"restart_limit", "liveness"})  # of a record: it says nothing about a stop
SHOWN_OF_CHILD = frozenset({"child.operation", "child.attempt", "child.status", "child.stop_state", "child.present"})


def _result(
    handler: SupervisorHandler,
    ctx: ActionContext,
    subject: Subject,
    outcome: Literal["done", "failed", "uncertain"],
    summary: str,
    state: State | None,
    answer: CommandResult | None = None,
) -> ActionResult:
    evidence, language = _evidence(outcome, subject, state, answer)
    target = ctx.target.model_copy(update={"kind": "child", "name": subject.child_id})
    seen = facts.Seen(
        target=target,
        now=ctx.clock.now(),
        samples=subject.client.samples if state is not None else (),
        max_backoff=subject.client.target.max_backoff,
        listener=subject.client.listener,
        command=answer,
        problem="" if state is not None else "the state was not read",
    )
    names = SHOWN_OF_CHILD if state is not None else frozenset()
    if answer is not None:
        names |= {"CommandResult", "command.accepted"}
    return ActionResult(
        status=outcome,
        summary=f"{subject.client.name}: {summary}",
        evidence=evidence,
        language=language,
        observations=tuple(facts.observe(names, seen, {})),
    )


def _evidence(outcome: str, subject: Subject, state: State | None, answer: CommandResult | None) -> tuple[str, str]:
    """Text and its language: after a success the children as they are now, else what the process said of this one."""
    if outcome == "done" and state is not None:
        return status.as_text(state), ""
    said: dict[str, Any] = {}
    if answer is not None:
        said["answer"] = _told(msgspec.to_builtins(answer))
    if state is not None:
        child = find(state, subject.child_id)
        said["record"] = _told(msgspec.to_builtins(child.record)) if child and child.record else None
    return (json.dumps(said, indent=2, ensure_ascii=False), "json") if said else ("", "")


def _told(value: Any) -> Any:
    """Without what is absent and without what says nothing about a stop."""
    if isinstance(value, dict):
        return {key: _told(inner) for key, inner in value.items() if inner is not None and key not in UNTOLD}
    return value


# --- declarations ---------------------------------------------------------------------------------------------------


def _change(name: str, verb: Verb, danger: Danger) -> Action:
    async def perform(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
        return await _perform(handler, ctx, verb)

    async def preview(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
        return await _preview(handler, ctx, verb)

    async def check(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
        return await _check(handler, ctx, verb)

    return Action(name, danger, EFFECTS[verb], perform, preview, check, (name.removeprefix("handle."),))


ACTIONS: tuple[Action, ...] = (
    _change("handle.quarantine_child()", "quarantine_child", Danger.CHANGE),
    _change("handle.restart_child()", "restart_child", Danger.CHANGE),
    _change("handle.pause_child()", "pause_child", Danger.CHANGE),
    _change("handle.resume_child()", "resume_child", Danger.CHANGE),
    _change("handle.remove_child()", "remove_child", Danger.DESTRUCTIVE),
)
