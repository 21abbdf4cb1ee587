"""``/runs handover``: one screen for the next shift, the most urgent first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bot.messages import Block, Bold, Bullets, Button, Buttons, Heading, Line, Message, Note, Paragraph, When, line
from bot.runs.model import Escalation, RunState
from bot.surfaces.step_text import Name, brief_step, either, short, title_of
from bot.words import counted, duration

MOST = 8  # lines of one section; a screen holds no more
BUTTONS = 5
_RANK = {"critical": 0, "high": 1, "medium": 2, "low": 3}


@dataclass(frozen=True, slots=True)
class Waiting:
    """One who stands in line for a target."""

    number: int
    target: str
    owner: str
    command: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What did not reach people: ``a page of run 01J… to slack C0OPS``, and why."""

    what: str
    problem: str


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the next shift has to know. ``ended`` since ``since``."""

    now: datetime
    since: datetime
    open: Sequence[RunState] = ()
    ended: Sequence[RunState] = ()
    queued: Sequence[Waiting] = ()
    undelivered: Sequence[Undelivered] = ()
    frozen: tuple[str, str, datetime] | None = None  # by whom, why, since when


def handover(situation: Situation, name: Name) -> Message:
    """What needs somebody now comes first, what has ended well comes last."""
    now = situation.now
    real = [state for state in situation.open if not state.plan.drill]
    paged = sorted((state for state in real if state.page), key=_urgency)
    acknowledged = sorted(
        (state for state in real if not state.page and state.escalations and not state.closed), key=_urgency
    )
    told = {id(state) for state in (*paged, *acknowledged)}
    waiting = sorted((s for s in real if s.status == "waiting" and id(s) not in told), key=_deadline)
    running = sorted((s for s in real if s.status == "running" and id(s) not in told), key=_deadline)
    bad = [state for state in situation.ended if state.status != "done" and not state.plan.drill]
    good = [state for state in situation.ended if state.status == "done" and not state.plan.drill]
    blocks: list[Block] = [Heading("Handover")]
    if situation.frozen:
        who, why, since = situation.frozen
        age = duration(now - since)
        frozen = line(Bold("New changing runs are frozen"), f" by {name(who)} since {age}: {short(why, 200)}")
        blocks.append(Paragraph(frozen))
    sections: list[tuple[str, list[Line]]] = [
        ("Paged, and nobody has acknowledged", [_paged(state, now) for state in paged]),
        ("Not delivered", [line(f"{each.what}: {short(each.problem, 200)}") for each in situation.undelivered]),
        ("Acknowledged, not over yet", [_acknowledged(state, name, now) for state in acknowledged]),
        ("Waits for a person", [_waiting(state, now) for state in waiting]),
        ("Running", [_running(state, name, now) for state in running]),
        ("In line", [_in_line(each, name, now) for each in situation.queued]),
        (f"Did not end well in the last {duration(now - situation.since)}", [_ended(state, name) for state in bad]),
    ]
    for title, lines in sections:
        blocks += _section(title, lines)
    if good:
        titles = ", ".join(dict.fromkeys(title_of(state.plan) for state in good))
        blocks.append(Note(line(f"{counted(len(good), 'run')} done: {short(titles, 400)}")))
    drills = sum(state.plan.drill for state in situation.open)
    if drills:
        blocks.append(Note(line(f"{counted(drills, 'drill')} not shown.")))
    needing = [*paged, *acknowledged, *waiting]
    if not needing and not running and not situation.undelivered and not situation.queued:
        blocks.insert(
            1, Paragraph(line(Bold("Nothing is going on."), " No run is open, nobody waits, all is delivered."))
        )
    if needing:
        blocks.append(Buttons(tuple(_show(state) for state in needing[:BUTTONS])))
    return Message(_summary(paged, needing, running, bad), tuple(blocks), _colour(paged, needing))


def _summary(paged: list[RunState], needing: list[RunState], running: list[RunState], bad: list[RunState]) -> str:
    parts = [
        f"{counted(len(paged), 'open page')}",
        f"{counted(len(needing) - len(paged), 'other run')} waiting or acknowledged",
        f"{len(running)} running",
        f"{len(bad)} ended badly",
    ]
    return f"Handover: {', '.join(parts)}"


def _colour(paged: list[RunState], needing: list[RunState]) -> Literal["bad", "warning", "good"]:
    return "bad" if paged else "warning" if needing else "good"


def _section(title: str, lines: Iterable[Line]) -> list[Block]:
    shown = list(lines)
    if not shown:
        return []
    more = [line(f"and {len(shown) - MOST} more: /runs list --all")] if len(shown) > MOST else []
    return [Paragraph(line(Bold(f"{title} ({len(shown)})"))), Bullets((*shown[:MOST], *more))]


def _urgency(state: RunState) -> tuple[int, datetime]:
    return _RANK.get(state.plan.severity, 1), _latest(state).opened_at


def _deadline(state: RunState) -> tuple[bool, datetime]:
    deadline = state.steps[state.current].deadline or state.deadline
    return deadline is None, deadline or state.plan.started_at


def _latest(state: RunState) -> Escalation:
    return state.page or state.escalations[-1]


def _paged(state: RunState, now: datetime) -> Line:
    page = _latest(state)
    since = duration(now - page.opened_at)
    again = line("; again at ", When(page.next_page_at)) if page.next_page_at else ()
    text = f" ({state.plan.severity}): {short(page.reason, 200)}. Paged {counted(page.pages, 'time')} since {since}"
    return (*line(Bold(title_of(state.plan)), text), *again, *_closed(state))


def _closed(state: RunState) -> Line:
    return line(f"; the run has ended ({state.status})") if state.closed else ()


def _acknowledged(state: RunState, name: Name, now: datetime) -> Line:
    page = _latest(state)
    ago = f" {duration(now - page.acknowledged_at)} ago" if page.acknowledged_at else ""
    text = f": {short(page.reason, 160)}. {name(page.acknowledged_by)} acknowledged{ago}. {_where(state)}"
    return (*line(Bold(title_of(state.plan)), text), *_time(state, now))


def _waiting(state: RunState, now: datetime) -> Line:
    return (*line(Bold(title_of(state.plan)), f": {_where(state)}, {_for_whom(state)}"), *_time(state, now))


def _running(state: RunState, name: Name, now: datetime) -> Line:
    by = name(state.owner or state.plan.person)
    slow = ", slower than usual" if state.steps[state.current].slow else ""
    return (*line(Bold(title_of(state.plan)), f": {_where(state)}{slow}, for {by}"), *_time(state, now))


def _where(state: RunState) -> str:
    row = state.plan.runbook.steps[state.current]
    return f"step {row.number} of {len(state.steps)} ({brief_step(row)})"


def _for_whom(state: RunState) -> str:
    """Who has to act."""
    step = state.steps[state.current]
    if step.status == "approval":
        return f"for the approval of {either(state.plan.approvers)}" if state.plan.approvers else "for a confirmation"
    who = either(state.plan.deciders) if state.plan.deciders else "an operator"
    return f"for {who} to do it" if state.plan.dangers[state.current] is None else f"for a decision of {who}"


def _time(state: RunState, now: datetime) -> Line:
    step = state.steps[state.current]
    until = step.approve_by if step.status == "approval" and step.approve_by else step.deadline or state.deadline
    if until is None:
        return line(", no time limit")
    if now >= until:
        return line(", ", Bold(f"{duration(now - until)} over its time"))
    return line(f", {duration(until - now)} left, until ", When(until))


def _in_line(each: Waiting, name: Name, now: datetime) -> Line:
    age = duration(now - each.since)
    return line(
        f"{each.target}: {name(each.owner)} with {short(each.command, 120)}, since {age} (number {each.number})"
    )


def _ended(state: RunState, name: Name) -> Line:
    row = state.plan.runbook.steps[state.current]
    by = f" by {name(state.ended_by)}" if state.ended_by else ""
    at = line(" at ", When(state.finished_at)) if state.finished_at else ()
    step = state.steps[state.current]
    seen = step.observed or step.summary
    text = f": {state.status}{by} at step {row.number} ({brief_step(row)})"
    return (*line(Bold(title_of(state.plan)), text), *at, *(line(f". {short(seen, 160)}") if seen else ()))


def _show(state: RunState) -> Button:
    return Button(short(f"Show {state.plan.target.name}", 60), f"/runs show {state.plan.run_id}")
