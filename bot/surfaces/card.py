"""The card of a run: the one message that shows it, as a pure function of its state.

A reader at 3 a.m. sees in two seconds: which step, whether it is fine, how much time is left, who has to act.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from bot.messages import (
    Block,
    Bold,
    Buttons,
    Code,
    Heading,
    Line,
    Lines,
    Message,
    Note,
    Paragraph,
    Span,
    Text,
    When,
    line,
    plain_line,
)
from bot.runbooks.model import Runbook
from bot.runs.model import Escalation, Plan, Progress, RunState, StepState
from bot.runs.usual import in_words, usual_of
from bot.surfaces.buttons import buttons_of, draft_button, one_primary
from bot.surfaces.drill import marked
from bot.surfaces.step_text import (
    MARKS,
    Name,
    brief_step,
    either,
    expected,
    instruction,
    number_of,
    plain_step,
    sentence,
    short,
    title_of,
)
from bot.words import counted, duration

BAR = "▰▱"  # time that is left, time that is gone
BAR_CELLS = 10

Colour = Literal["none", "running", "good", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Around:
    """What the card shows beside the run's own state: one line of plain text each."""

    behind: tuple[str, ...] = ()  # who waits for the run to end: "bob (queued)"
    retried_as: tuple[str, ...] = ()  # the runs that repeat this one from some step on
    frozen: str = ""  # who has frozen new changing runs, and why


ALONE = Around()


def card(
    state: RunState, now: datetime, name: Name, progress: Progress | None = None, around: Around = ALONE
) -> Message:
    """The one message that shows the run; edited in place. ``progress`` is what its step waits for, when it waits."""
    plan = state.plan
    headline, colour = _headline(state, now)
    blocks: list[Block] = [
        Heading(title_of(plan)),
        Paragraph(headline),
        Lines(tuple(_step_line(state, index, now) for index in range(len(state.steps)))),
    ]
    if waits_for := _countdown(state, progress, now) or _waits_for(state):
        blocks.append(Paragraph(waits_for))
    if usual := _usual(state):
        blocks.append(Note(usual))
    if question := _question(state):
        blocks.append(Paragraph(question))
    if around.behind and not state.closed:
        blocks.append(Paragraph(line("Waiting for this run to end: " + ", ".join(around.behind) + ".")))
    if around.frozen:
        blocks.append(Paragraph(line(Bold("New changing runs are frozen"), f" by {around.frozen}. This one goes on.")))
    if state.page:
        blocks.append(Paragraph(_page_line(state.plan, state.page)))
    if plan.runbook.stale:
        blocks.append(Paragraph(line(Bold("This is an earlier version of the runbook"), f": {_stale(plan.runbook)}")))
    blocks.append(Note(_small_print(state, now, name, around)))
    if buttons := (*buttons_of(state), *draft_button(state)):
        blocks.append(Buttons(one_primary(buttons)))
    said = plain_line(headline if state.closed else headline[:1]).rstrip(".")  # state first: what is heard first
    summary = f"{said}. {title_of(plan)}"
    message = Message(summary=summary, blocks=tuple(blocks), colour=colour)
    return marked(message) if plan.drill else message


def _headline(state: RunState, now: datetime) -> tuple[Line, Colour]:
    step = state.steps[state.current]
    total = len(state.steps)
    took = duration((state.finished_at or now) - state.plan.started_at)
    match state.status:
        case "done":
            late = " It took longer than its budget." if any(s.overdue for s in state.steps) or state.overdue else ""
            return line(Bold("Done"), f" after {took}.{late}"), "good" if not late else "warning"
        case "failed":
            return line(Bold(f"Failed at step {number_of(state)} of {total}"), f" after {took}."), "bad"
        case "cancelled":
            return line(Bold(f"Cancelled at step {number_of(state)} of {total}"), f" after {took}."), "bad"
        case "waiting":
            asked = {"approval": "waiting for approval"}.get(step.status, "waiting for a decision")
            spans = line(Bold(f"Step {number_of(state)} of {total}: {asked}"), *_time_left(step, now))
            return spans, "bad" if step.overdue or state.page else "warning"
    verb = "being cancelled" if state.cancelling else "running"
    colour: Colour = "bad" if step.overdue or state.page else "warning" if step.warned or step.slow else "running"
    return line(Bold(f"Step {number_of(state)} of {total}: {verb}"), *_time_left(step, now)), colour


def _time_left(step: StepState, now: datetime) -> tuple[Span, ...]:
    if not step.deadline or not step.started_at:
        return (Text(" · no time limit"),)
    budget = duration(step.deadline - step.started_at)
    if now >= step.deadline:
        return (Text(" · "), Bold(f"{duration(now - step.deadline)} over its {budget}"))
    left = duration(step.deadline - now)
    bar = _bar((step.deadline - now) / (step.deadline - step.started_at))
    return (Text(f" · {bar} "), Bold(f"{left} left"), Text(f" of {budget}, until "), When(step.deadline))


def _bar(share: float) -> str:
    """``▰▰▰▰▱▱▱▱▱▱``: what is left; never empty before the time is over."""
    full = min(BAR_CELLS, max(1, round(share * BAR_CELLS)))
    return BAR[0] * full + BAR[1] * (BAR_CELLS - full)


def _step_line(state: RunState, index: int, now: datetime) -> Line:
    row, step = state.plan.runbook.steps[index], state.steps[index]
    spans: list[Span] = [Text(f"{MARKS[step.status]}  {row.number}. ")]
    title = brief_step(row)
    spans.append(Bold(title) if index == state.current and not state.closed else Text(title))
    detail = _detail(step, now)
    if detail:
        spans.append(Text(f" — {detail}"))
    return tuple(spans)


def _detail(step: StepState, now: datetime) -> str:
    taken = duration((step.finished_at or now) - step.started_at) if step.started_at else ""
    late = ", over its budget" if step.overdue else ", slower than usual" if step.slow else ""
    if step.from_run:
        return f"{step.outcome or step.status}, in run {step.from_run}"
    match step.status:
        case "pending" | "running" | "approval":
            return late.removeprefix(", ")
        case "waiting":
            return f"{step.outcome}{late}" if step.outcome else late.removeprefix(", ")
        case "skipped":
            return "not needed" if not step.decided_by else "skipped"
        case "done":
            said = "said by a person" if step.decided_by else step.outcome or "done"
            return f"{said}, {taken}{late}"
        case _:
            unsure = ", nobody can tell whether it happened" if step.uncertain else ""
            return f"{step.outcome or 'failed'}, {taken}{late}{unsure}"


def _countdown(state: RunState, progress: Progress | None, now: datetime) -> Line:
    """``Waiting up to 22 s more for children.failed == 0; seen: children.failed = 2``."""
    if progress is None or progress.work != state.busy:
        return ()
    spans = line(f"Waiting up to {duration(progress.until - now)} more for ", Code(short(progress.waiting_for, 300)))
    if progress.observed:
        spans += line("; seen: ", Code(short(progress.observed, 300)))
    return spans


def _stale(book: Runbook) -> str:
    return f"the file cannot be read as it is now ({short(book.stale, 300)})."


def _usual(state: RunState) -> Line:
    """``Usually 40 s, 95 % under 1 min 30 s, n=23``, while the step is at work."""
    step, known = state.steps[state.current], in_words(usual_of(state.plan, state.current))
    if state.closed or step.status != "running" or not known:
        return ()
    if step.slow:
        return line(Bold("Slower than usual"), f": {known}")
    return line(f"{known[:1].upper()}{known[1:]}")


def _waits_for(state: RunState) -> Line:
    """What the step that runs has to show."""
    row = state.plan.runbook.steps[state.current]
    if state.status != "running" or state.steps[state.current].status != "running" or not row.expectation:
        return ()
    return line("Waits for ", Code(expected(row)))


def _question(state: RunState) -> Line:
    if state.closed:
        return ()
    row, step = state.plan.runbook.steps[state.current], state.steps[state.current]
    if step.status == "approval":
        preview = sentence(step.preview.summary if step.preview else plain_step(row))
        until = line(", until ", When(step.approve_by), ".") if step.approve_by else line(".")
        if state.plan.approvers:
            return (
                *line(Bold("Needs a second person: "), f"{preview} Waits for {either(state.plan.approvers)}"),
                *until,
            )
        return (
            *line(Bold("Needs a typed confirmation: "), preview),
            *line(" Only one operator is configured, so that is you"),
            *until,
        )
    if step.status != "waiting":
        return ()
    waits_for = f" Waits for {either(state.plan.deciders)}." if state.plan.deciders else ""
    if state.plan.dangers[state.current] is None:
        return (*line(Bold("For a person: ")), *instruction(row), *line(f". Then say how it went.{waits_for}"))
    spans = line(Bold("Decide: "), step.summary)
    if step.observed:
        spans += line(" Seen: ", Code(short(step.observed, 300)))
    return (*spans, *line(waits_for))


def _page_line(plan: Plan, page: Escalation) -> Line:
    paged = "Would have paged" if plan.drill else "Paged"
    people = ", ".join(contact.name for contact in page.contacts)
    spans = line(Bold(f"{paged} {people} {counted(page.pages, 'time')}"), ", not acknowledged yet.")
    if page.next_page_at:
        spans += line(" Again at ", When(page.next_page_at), ".")
    return spans


def _small_print(state: RunState, now: datetime, name: Name, around: Around) -> Line:
    plan = state.plan
    spans = line(f"Asked for by {name(plan.person)} at ", When(plan.started_at), ": ", Code(plan.command))
    if plan.reason:
        spans += line(f" · Reason: {plan.reason}")
    if state.owner:
        spans += line(f" · handed over to {state.owner}")
    if plan.ancestor:
        first = plan.runbook.steps[len(plan.ancestor.steps)].number
        spans += line(f" · repeats run {plan.ancestor.run_id} from step {first}")
    if around.retried_as:
        spans += line(f" · repeated by run {', '.join(around.retried_as)}")
    if state.deadline and not state.closed:
        spans += line(" · whole run until ", When(state.deadline))
    if state.closed and state.ended_by:
        spans += line(f" · ended by {name(state.ended_by)}")
    acknowledged = [old for old in state.escalations if not old.open]
    if acknowledged:
        spans += line(f" · page acknowledged by {name(acknowledged[-1].acknowledged_by)}")
    if plan.verified:
        spans += line(f" · runbook {plan.verified}")
    spans += line(f" · run {plan.run_id}")
    return spans
