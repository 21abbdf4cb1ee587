"""What the audit log tells of a run: ``run.started``, ``press.approve``, ``action.begun``, ``step.done``, ``run.done``.

Derived from the state before an event, the event and the state after it, field by field: whoever adds a field to a run
need not think of the audit log, it is told like the others. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from bot.chain import Entry
from bot.runs.decide import refusal
from bot.runs.model import Escalation, Event, Finished, Plan, Prepared, Press, RunState, StepState, Work

LONGEST = 500  # characters of one text; the whole one is in the run, its digest here
_TOLD_ELSEWHERE = {"version", "current", "busy", "steps", "escalations", "plan", "unfilled"}
_COUNTED = {"sources", "facts"}
_MARKS = ("overdue", "slow", "warned")


def started(plan: Plan, key: str) -> Entry:
    """A run was asked for and stored. ``key`` is that of its command, by which the two entries find each other."""
    book = plan.runbook
    detail = {
        **_told(plan, plan.__class__.model_fields, without={"runbook", "ancestor", "run_id"}),
        "runbook": {"id": book.id, "title": book.title, "source": book.source, "sha256": _sha256(book)},
        "asked_by": key,
    }
    if plan.ancestor:
        detail["ancestor"] = plan.ancestor.run_id
    return Entry("run.started", plan.started_at, plan.person, plan.run_id, detail)


def trail(before: RunState, event: Event, after: RunState) -> tuple[Entry, ...]:
    """What one event did to a run. Nothing when it changed nothing."""
    if after.version == before.version:
        return ()
    told = [*_event(before, event, after), *_steps(before, after), *_begun(before, after)]
    told += [*_escalations(before, after), *_run(before, after)]
    actor = event.actor if isinstance(event, Press) else ""
    return tuple(Entry(kind, event.at, actor, after.plan.run_id, detail) for kind, detail in told)


def ignored(state: RunState, event: Event) -> tuple[Entry, ...]:
    """A click that came too late, or lost against another one: it changed nothing, and that is told with the reason."""
    if not isinstance(event, Press):
        return ()
    why = refusal(state, event) or "it changed nothing"
    given = _said(_told(event, type(event).model_fields, without={"kind", "at", "actor", "paging"}))
    detail = {"step": _number(state, state.current), **given, "why": why}
    return (Entry("press.ignored", event.at, event.actor, state.plan.run_id, detail),)


Told = tuple[str, dict[str, Any]]


def _event(before: RunState, event: Event, after: RunState) -> Iterable[Told]:
    """What a person did, what an action or a look came to; that time passes is told by what it leads to."""
    fields = type(event).model_fields
    if isinstance(event, Press):
        given = _told(event, fields, without={"kind", "at", "verb", "actor", "paging"})
        yield f"press.{event.verb.replace(' ', '_')}", {"step": _number(before, before.current), **_said(given)}
    elif isinstance(event, Finished):
        detail = _told(event, fields, without={"kind", "at", "work", "paging", "evidence", "preview", *_COUNTED})
        yield "action.ended", {**_work(after, event.work), **_said(detail), "evidence": _digest(event.evidence)}
    elif isinstance(event, Prepared):
        detail = _told(event, fields, without={"kind", "at", "work", "paging"})
        yield "step.prepared", {**_work(after, event.work), **_said(detail)}
    elif event.kind not in ("begin", "tick"):
        yield f"run.{event.kind}", _said(_told(event, fields, without={"kind", "at", "paging"}))


def _steps(before: RunState, after: RunState) -> Iterable[Told]:
    for index, (old, new) in enumerate(zip(before.steps, after.steps, strict=True)):
        changed = _changed(old, new)
        if not changed:
            continue
        marks = [name for name in _MARKS if name in changed and getattr(new, name)]
        if new.status != old.status or new.attempt != old.attempt:
            kind: str = new.status
        else:
            kind = marks[0] if marks else "changed"
        yield f"step.{kind}", {"step": _number(after, index), "attempt": new.attempt, **_step_told(new, changed)}
        if kind == new.status:  # a mark that came with it is told too: somebody may look for just that
            for mark in marks:
                yield f"step.{mark}", {"step": _number(after, index), "attempt": new.attempt}


def _step_told(step: StepState, changed: Iterable[str]) -> dict[str, Any]:
    detail = _told(step, changed, without={"evidence", "attempt", *_COUNTED})
    if "evidence" in changed:
        detail["evidence"] = _digest(step.evidence)
    return detail


def _begun(before: RunState, after: RunState) -> Iterable[Told]:
    """The intent: from here on the action may have happened."""
    if after.busy and after.busy != before.busy and after.busy.kind == "perform":
        row, step = after.plan.runbook.steps[after.busy.step], after.steps[after.busy.step]
        yield (
            "action.begun",
            {
                **_work(after, after.busy),
                "action": row.action or "",
                "arguments": _brief(row.arguments),
                "digest": step.digest,
                "approved_by": step.approved_by,
            },
        )


def _escalations(before: RunState, after: RunState) -> Iterable[Told]:
    known = {page.number: page for page in before.escalations}
    for page in after.escalations:
        old = known.get(page.number)
        changed = _changed(old, page) if old else list(type(page).model_fields)
        if not changed:
            continue
        detail = {"number": page.number, **_told(page, changed, without={"number"})}
        kinds = _happened(old, page)
        for kind in kinds or ["changed"]:
            yield f"escalation.{kind}", detail


def _happened(old: Escalation | None, page: Escalation) -> list[str]:
    kinds = [] if old else ["opened"]
    if page.pages > (old.pages if old else 0):
        kinds.append("paged")
    if not page.open and (old is None or old.open):
        kinds.append("acknowledged")
    return kinds


def _run(before: RunState, after: RunState) -> Iterable[Told]:
    changed = [name for name in _changed(before, after) if name not in _TOLD_ELSEWHERE]
    detail = _told(after, changed, without=set())
    planned = [name for name in _changed(before.plan, after.plan) if name != "runbook"]
    if planned:
        detail["plan"] = _told(after.plan, planned, without=set())
    if "overdue" in changed and after.overdue:
        yield "run.overdue", {"budget_until": _brief(after.deadline)}
    if after.closed and not before.closed:
        yield f"run.{after.status}", detail
    elif detail.keys() - {"status", "overdue"}:
        yield "run.changed", detail


# -- values as the log holds them


def _changed(old: BaseModel, new: BaseModel) -> list[str]:
    if old is new:  # so it is with every step but the one at work
        return []
    return [name for name in type(new).model_fields if getattr(old, name) != getattr(new, name)]


def _told(model: BaseModel, names: Iterable[str], *, without: set[str]) -> dict[str, Any]:
    return {name: _brief(getattr(model, name)) for name in names if name not in without}


def _said(detail: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was left empty."""
    return {name: value for name, value in detail.items() if value not in ("", None, {}, [], False)}


def _brief(value: Any) -> Any:
    """JSON without long texts and without floats, which are not written alike everywhere."""
    return _short(to_jsonable_python(value))


def _short(value: Any) -> Any:
    match value:
        case str() if len(value) > LONGEST:
            return f"{value[:LONGEST]}… {_digest(value)}"
        case float():
            return repr(value)
        case dict():
            return {key: _short(inner) for key, inner in value.items()}
        case list():
            return [_short(inner) for inner in value]
        case _:
            return value


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()} of {len(text)}" if text else ""


def _sha256(model: BaseModel) -> str:
    return hashlib.sha256(model.model_dump_json().encode()).hexdigest()


def _work(state: RunState, work: Work) -> dict[str, Any]:
    number = _number(state, work.step)
    return {"step": number, "attempt": work.attempt, "operation": f"{state.plan.run_id}:{number}:{work.attempt}"}


def _number(state: RunState, index: int) -> str:
    return state.plan.runbook.steps[index].number
