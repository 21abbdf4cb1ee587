"""``/runs incident <run>``: the post-incident issue as far as the bot can write it; the cause is for a person. Pure.

What the runbook of SOMAS wants after an incident: what happened stands in an issue, the resolution in the log of
transitions, the runbook is reviewed, improvements have issues of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.messages import (
    Block,
    Bullets,
    CodeBlock,
    Fields,
    Heading,
    Line,
    Link,
    Message,
    Note,
    Paragraph,
    Table,
    When,
    line,
)
from bot.runs.model import RunState, StepState
from bot.runs.usual import in_words, usual_of
from bot.surfaces.step_text import Name, plain_step, short, tail, title_of
from bot.words import counted, duration

OUTPUT = 3000  # characters of one step's, from its end
TIMELINE = 120  # lines
FOLLOW_UPS = (
    "The cause is written above",
    "The log of the system says how it was resolved",
    "What was disabled is enabled again",
    "The runbook was right, or a pull request changes it",
    "Every improvement has an issue, named here",
)
_TO_WRITE = "(to be written)"
_BOX = re.compile(r"^- ☐ ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Draft:
    """``body`` is drawn for where it is shown or filed."""

    title: str
    body: Message


def draft(state: RunState, entries: Sequence[Mapping[str, Any]], name: Name, link: str = "") -> Draft:
    """The issue of a closed run; ``entries`` are its part of the audit log."""
    plan = state.plan
    title = short(f"Post-incident: {title_of(plan)} ({plan.started_at:%Y-%m-%d})", 240)
    blocks: list[Block] = [Heading(title), Fields(_facts(state, name))]
    if plan.runbook.symptoms:
        blocks += [Heading("Symptoms"), Paragraph(line(plan.runbook.symptoms))]
    for heading in ("What it hit", "Cause", "What helped"):
        blocks += [Heading(heading), Paragraph(line(_TO_WRITE))]
    blocks += [Heading("Timeline (UTC)"), *_timeline(entries, name)]
    blocks += [Heading("Steps"), _steps(state)]
    outputs = _outputs(state)
    if outputs:
        blocks += [Heading("Outputs"), *outputs]
    blocks += [Heading("Follow-ups"), Bullets(tuple(line(f"☐ {each}") for each in FOLLOW_UPS))]
    if link:
        blocks.append(Paragraph(line(Link("The run", link))))
    blocks.append(Note(line(f"Drafted by opsbot from run {plan.run_id} and its entries in the audit log.")))
    return Draft(title, Message(title, tuple(blocks)))


def with_boxes(markdown: str) -> str:
    """Boxes that can be ticked on GitHub."""
    return _BOX.sub("- [ ] ", markdown)


def _facts(state: RunState, name: Name) -> tuple[tuple[str, Line], ...]:
    plan = state.plan
    facts: list[tuple[str, Line]] = [
        ("Runbook", line(title_of(plan))),
        ("Target", line(plan.target.key)),
        ("Severity", line(plan.severity)),
        ("Asked for by", line(name(plan.person) + (f": {plan.reason}" if plan.reason else ""))),
        ("Began", line(When(plan.started_at, "date_time"))),
    ]
    if state.finished_at:
        took = duration(state.finished_at - plan.started_at)
        budget = f" of {duration(plan.deadline - plan.started_at)}" if plan.deadline else ""
        late = ", over its budget" if state.overdue else ""
        facts.append(("Ended", line(When(state.finished_at, "date_time"), f", after {took}{budget}{late}")))
    by = f" by {name(state.ended_by)}" if state.ended_by else ""
    facts.append(("Outcome", line(f"{state.status}{by}")))
    for page in state.escalations:
        who = ", ".join(contact.name for contact in page.contacts) or "nobody"
        said = f"{who}, {counted(page.pages, 'time')}: {short(page.reason, 200)}"
        if page.acknowledged_at:
            after = duration(page.acknowledged_at - page.opened_at)
            said += f". Acknowledged by {name(page.acknowledged_by)} after {after}"
        facts.append((f"Page {page.number}", line(said)))
    approvals = [
        f"step {row.number} by {name(step.approved_by)}"
        for row, step in zip(plan.runbook.steps, state.steps, strict=True)
        if step.approved_by
    ]
    if approvals:
        facts.append(("Approved", line(", ".join(approvals))))
    return tuple(facts)


def _timeline(entries: Sequence[Mapping[str, Any]], name: Name) -> list[Block]:
    lines = [
        line(f"{datetime.fromisoformat(entry['at']):%H:%M:%S}  {said}")
        for entry in entries
        if (said := _said(entry, name))
    ]
    if not lines:
        return [Paragraph(line("The audit log holds nothing of this run any more."))]
    if len(lines) > TIMELINE:
        half = TIMELINE // 2
        missing = line(f"… {counted(len(lines) - TIMELINE, 'line')} are in the audit log")
        lines = [*lines[:half], missing, *lines[-half:]]
    return [Bullets(tuple(lines))]


def _said(entry: Mapping[str, Any], name: Name) -> str:
    """One line of the timeline; empty for what says nothing to a reader."""
    kind, detail = str(entry["kind"]), entry["detail"]
    who = name(entry["actor"]) if entry["actor"] else ""
    step = f"step {detail.get('step', '')}"
    noun, _, what = kind.partition(".")
    match noun, what:
        case "run", "started":
            return f"{who} asked for it: {detail['command']}"
        case "press", "ack":
            return ""  # told by the escalation
        case "press", "approve":
            return f"{who} approved {step} (plan {detail.get('digest', '')})"
        case "press", _:
            because = f": {detail['reason']}" if detail.get("reason") else ""
            return f"{who}: {what.replace('_', ' ')}, {step}{because}"
        case "action", "begun":
            attempt = f", try {detail['attempt']}" if detail.get("attempt", 1) > 1 else ""
            return f"{step} begins{attempt}: {detail.get('action', '')}"
        case "action", "ended":
            seen = f" (seen: {short(detail['observed'], 160)})" if detail.get("observed") else ""
            outcome = f", {detail['outcome']}" if detail.get("outcome") else ""
            return f"{step} {detail.get('status', '')}{outcome}: {short(detail.get('summary', ''), 200)}{seen}"
        case "step", "overdue":
            return f"{step} has used up its budget"
        case "step", "slow":
            return f"{step} takes longer than usual"
        case "step", "waiting":
            return f"{step} waits for a person"
        case "step", "approval":
            return f"{step} waits for an approval"
        case "step", "skipped":
            return f"{step} is left out"
        case "escalation", "opened":
            return f"page {detail['number']} is opened: {short(str(detail.get('reason', '')), 200)}"
        case "escalation", "acknowledged":
            return f"{name(str(detail.get('acknowledged_by', '')))} acknowledges page {detail['number']}"
        case "escalation", "paged" if detail.get("pages", 1) > 1:
            return f"page {detail['number']} is sent again ({detail['pages']})"
        case "run", "overdue":
            return "the run has used up its budget"
        case "run", "done" | "failed" | "cancelled":
            return f"the run is {what}" + (f", by {who}" if who else "")
    return ""


def _steps(state: RunState) -> Table:
    plan = state.plan
    rows = []
    for index, (row, step) in enumerate(zip(plan.runbook.steps, state.steps, strict=True)):
        budget = duration(row.budget) if row.budget else ""
        rows.append(
            (
                row.number,
                plain_step(row),
                row.expectation.replace("`", ""),
                step.observed or step.summary,
                _outcome(step),
                _took(step),
                budget,
                in_words(usual_of(plan, index)),
            )
        )
    return Table(("Step", "Action", "Expected", "Seen", "Outcome", "Took", "Budget", "Usual"), tuple(rows))


def _outcome(step: StepState) -> str:
    marks = [step.outcome or "", "over its budget" if step.overdue else "", "uncertain" if step.uncertain else ""]
    return ", ".join(part for part in (step.status, *marks) if part)


def _took(step: StepState) -> str:
    return duration(step.finished_at - step.started_at) if step.finished_at and step.started_at else ""


def _outputs(state: RunState) -> list[Block]:
    found: list[Block] = []
    for row, step in zip(state.plan.runbook.steps, state.steps, strict=True):
        if step.evidence:
            title = f"Step {row.number}: {plain_step(row)}"
            found.append(CodeBlock(tail(step.evidence, OUTPUT), step.language, title))
    return found
