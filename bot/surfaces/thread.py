"""What is said in a run's thread, and the pages that wake somebody: pure functions of the run's state."""

from __future__ import annotations

from bot.handler import Provenance
from bot.messages import (
    Block,
    Bold,
    Buttons,
    Code,
    CodeBlock,
    Fields,
    Line,
    Link,
    Mention,
    Message,
    Note,
    Paragraph,
    Span,
    Text,
    When,
    line,
    plain_line,
)
from bot.runbooks.model import Step
from bot.runs.decide import allowed
from bot.runs.model import Escalation, Plan, Post, RunState, StepState
from bot.surfaces.buttons import button_of, buttons_of
from bot.surfaces.step_text import (
    EVIDENCE_IN_THREAD,
    MARKS,
    Name,
    excerpt,
    expected,
    instruction,
    plain_step,
    sentence,
    short,
    tail,
    title_of,
)
from bot.words import counted, duration

EVIDENCE_OF_SUCCESS = 700


def thread_message(state: RunState, post: Post, name: Name) -> Message:
    """One message of the run's thread."""
    plan = state.plan
    row = plan.runbook.steps[post.index]
    step = post.step or StepState()
    who = name(post.actor) if post.actor else ""
    match post.kind:
        case "preview" if step.preview:
            blocks: list[Block] = [
                Paragraph(line(Bold(f"Step {row.number}: "), plain_step(row))),
                Paragraph(line("Will do: ", step.preview.summary)),
            ]
            if step.preview.detail:
                blocks.append(CodeBlock(excerpt(step.preview.detail, EVIDENCE_IN_THREAD), step.preview.language))
            return _with_summary(blocks, f"Step {row.number} will do: {step.preview.summary}")
        case "approval":
            return _approval(state, row, step)
        case "question" if plan.dangers[post.index] is None:
            asked = line(Bold(f"Step {row.number} is for a person: "))
            manual: list[Block] = [Paragraph((*asked, *instruction(row)))]
            if row.expectation:
                manual.append(Paragraph(line("Expected: ", Code(expected(row)))))
            return _with_buttons(state, manual, f"Step {row.number} is for a person: {plain_step(row)}")
        case "question":
            return _with_buttons(
                state,
                [*_report(plan, row, step, f"Step {row.number} needs a decision")],
                f"Step {row.number} needs a decision: {step.summary}",
            )
        case "warning":
            left = duration(step.deadline - step.started_at) if step.deadline and step.started_at else ""
            text = line(Bold(f"Step {row.number} has used 80 % of its {left}"), ", until ")
            if step.deadline:
                text += line(When(step.deadline), ".")
            return Message(f"Step {row.number} has used 80 % of its {left}", (Paragraph(text),), "warning")
        case "page" if post.escalation:
            return page_message(state, post.escalation, in_thread=True)
        case "acknowledged" if post.escalation:
            said = f"{who} acknowledged the page: {post.escalation.reason}"
            return Message(
                said, (Paragraph(line(Bold(who), f" acknowledged the page: {post.escalation.reason}")),), "good"
            )
        case "note":
            return Message(f"{who} {post.text}", (Paragraph(line(Bold(who), f" {post.text}.")),))
        case "end":
            return _end(state, who, post.text)
        case _:
            if step.status == "skipped":
                head = f"Step {row.number} was {'skipped by ' + who if who else 'not needed'}"
            elif step.decided_by:
                head = f"Step {row.number}: {who} says it is done"
            else:
                head = f"Step {row.number}: {plain_step(row)}"
            return _with_summary(_report(plan, row, step, head), f"{head}. {step.summary}")


def _report(plan: Plan, row: Step, step: StepState, head: str) -> list[Block]:
    mark = MARKS["done" if step.status == "done" else step.status]
    blocks: list[Block] = [Paragraph(line(Bold(f"{mark} {head}")))]
    if step.summary:
        blocks.append(Paragraph(line(step.summary)))
    fields: list[tuple[str, Line]] = []
    if row.condition and step.observed and step.status == "skipped":
        fields.append(("Condition", line(Code(row.condition))))
    elif row.expectation:
        fields.append(("Expected", line(Code(expected(row)))))
    if step.observed:
        fields.append(("Seen", line(Code(short(step.observed, 600)))))
    if step.outcome:
        fields.append(("Outcome", line(Bold(step.outcome))))
    if fields:
        blocks.append(Fields(tuple(fields)))
    if step.evidence and not _as_previewed(step):
        limit = EVIDENCE_OF_SUCCESS if step.status == "done" else EVIDENCE_IN_THREAD
        blocks.append(CodeBlock(tail(step.evidence, limit), step.language))
    honest = [
        f"{fact.name} {_PROVENANCE[fact.provenance]} {fact.source}"
        for fact in step.sources
        if fact.source and fact.provenance in _PROVENANCE
    ]
    if honest:
        blocks.append(Note(line(short(" · ".join(honest), 900))))
    return blocks


_PROVENANCE = {
    Provenance.RENAMED: "is read from",
    Provenance.DERIVED: "is derived:",
    Provenance.UNAVAILABLE: "cannot be known:",
}


def _as_previewed(step: StepState) -> bool:
    """Whether the evidence says again what the message above it has shown: a change is made as it was previewed."""
    return step.status == "done" and step.preview is not None and step.preview.language == step.language


def _approval(state: RunState, row: Step, step: StepState) -> Message:
    head = f"Step {row.number} needs approval: {plain_step(row)}"
    blocks: list[Block] = [Paragraph(line(Bold(head)))]
    if step.preview:
        blocks.append(Paragraph(line("Will do exactly this: ", step.preview.summary)))
        if step.preview.detail:
            blocks.append(CodeBlock(excerpt(step.preview.detail, EVIDENCE_IN_THREAD), step.preview.language))
    if state.plan.approvers:
        blocks.append(
            Note(line(f"Somebody other than the one who asked has to approve: {', '.join(state.plan.approvers)}"))
        )
    else:
        blocks.append(Note(line("Only one operator is configured: type the target's name to confirm.")))
    typed = f"@opsbot approve --digest {step.digest} --confirm {state.plan.target.name}"
    blocks.append(Note(line("Or type in this thread: ", Code(typed))))
    return _with_buttons(state, blocks, head)


def _end(state: RunState, who: str, reason: str) -> Message:
    took = duration((state.finished_at or state.plan.started_at) - state.plan.started_at)
    done = sum(step.status == "done" for step in state.steps)
    skipped = sum(step.status == "skipped" for step in state.steps)
    text = f"{counted(done, 'step')} done" + (f", {skipped} not needed or skipped" if skipped else "")
    by = f" by {who}" if who else ""
    words = {"done": "Run done", "failed": f"Run ended as failed{by}", "cancelled": f"Run cancelled{by}"}[state.status]
    over = [state.plan.runbook.steps[i].number for i, step in enumerate(state.steps) if step.overdue]
    late = f" Over budget: step {', '.join(over)}." if over else ""
    because = f" Reason: {reason}" if reason else ""
    spans = line(Bold(words), f" after {took}: {text}.{late}{because}")
    return Message(plain_line(spans), (Paragraph(spans),), "good" if state.status == "done" else "bad")


def page_message(state: RunState, page: Escalation, *, in_thread: bool, name: Name = str, link: str = "") -> Message:
    """What wakes somebody: everything the next person needs, and one button."""
    plan, row, step = state.plan, state.plan.runbook.steps[state.current], state.steps[state.current]
    again = f" (page {page.pages})" if page.pages > 1 else ""
    mentions: list[Span] = []
    for contact in plan.contacts:
        mentions += [Mention(contact), Text(" ")]
    blocks: list[Block] = [
        Paragraph((*mentions, Bold(f"{title_of(plan)} needs you{again}."), Text(f" {sentence(page.reason)}")))
    ]
    if page.acknowledged_at:
        spans = line(Bold(f"Acknowledged by {name(page.acknowledged_by)}"), " at ", When(page.acknowledged_at), ".")
        return Message(
            f"Acknowledged by {name(page.acknowledged_by)}: {title_of(plan)}",
            (Paragraph(line(f"{title_of(plan)}: {sentence(page.reason)}")), Paragraph(spans)),
            "good",
        )
    fields: list[tuple[str, Line]] = [("Step", line(f"{row.number} of {len(state.steps)}: {plain_step(row)}"))]
    if row.expectation:
        fields.append(("Expected", line(Code(expected(row)))))
    if step.observed:
        fields.append(("Seen", line(Code(short(step.observed, 600)))))
    elif step.summary and plan.dangers[state.current] and step.summary.rstrip(".") not in page.reason:
        fields.append(("Seen", line(short(step.summary, 600))))
    fields.append(("Severity", line(plan.severity)))
    blocks.append(Fields(tuple(fields)))
    if step.evidence:
        blocks.append(CodeBlock(tail(step.evidence, 1200), step.language))
    if link:
        blocks.append(Paragraph(line(Link("Open the run", link))))
    if page.next_page_at:
        blocks.append(
            Note(line("Repeats at ", When(page.next_page_at), f" until somebody acknowledges · run {plan.run_id}"))
        )
    verbs = [verb for verb in allowed(state) if verb in ("ack", "retry", "cancel")] if in_thread else ["ack"]
    blocks.append(Buttons(tuple(button_of(state, verb) for verb in verbs[:3])))
    return Message(
        f"{', '.join(plan.contacts)}: {title_of(plan)} needs you{again}. {page.reason}", tuple(blocks), "bad"
    )


def moved_message(state: RunState, link: str) -> Message:
    """For the one who asked in a channel that the bot cannot post to: where the run is shown instead."""
    where = line(Link("Open the run", link)) if link else line(f"run {state.plan.run_id}")
    said = f"{title_of(state.plan)}: I am not a member of this channel, so the run is shown elsewhere."
    hint = line(" To have runs here, type ", Code("/invite @opsbot"), ".")
    return Message(said, (Paragraph((*line(f"{said} "), *where, *hint)),))


def _with_summary(blocks: list[Block], summary: str) -> Message:
    return Message(short(summary, 300), tuple(blocks))


def _with_buttons(state: RunState, blocks: list[Block], summary: str) -> Message:
    buttons = tuple(button for button in buttons_of(state) if not button.command.startswith("/runs ack "))
    return Message(short(summary, 300), (*blocks, Buttons(buttons[:5])), "warning")
