"""The card of a run, the messages of its thread and its pages: what people see, as pure functions of the run's state.

A reader at 3 a.m. sees in two seconds: which step, whether it is fine, how much time is left, who has to act.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Literal

from bot.handler import Provenance
from bot.messages import (
    Block,
    Bold,
    Button,
    Buttons,
    Code,
    CodeBlock,
    Dialog,
    Fields,
    Heading,
    Input,
    Line,
    Lines,
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
from bot.runbooks.model import Runbook, Step
from bot.runs.decide import allowed
from bot.runs.model import Escalation, Plan, Post, Progress, RunState, StepState
from bot.surfaces.drill import marked
from bot.words import counted, duration

MARKS = {"done": "✓", "failed": "✗", "skipped": "–", "running": "●", "waiting": "?", "approval": "?", "pending": "○"}
EVIDENCE_IN_THREAD = 2500  # characters; a message of Slack holds about 13,200 in all

BAR = "▰▱"  # time that is left, time that is gone
BAR_CELLS = 10
BUTTONS_ON_CARD = 4
BRIEF_STEP = 62  # characters of a step on the card; the whole text is in the thread

DOCUMENT_ID = re.compile(r"[A-Z]+\d+-\d+")  # P1-002: an id that people say; others are names of commands
CALL_AT_END = re.compile(r"[:\s]*`[^`]*`\.?\s*$")
EVIDENCE_OF_SUCCESS = 700

Colour = Literal["none", "running", "good", "warning", "bad"]
Name = Callable[[str], str]  # slack:U0ALICE -> Alice, without notifying her


def card(state: RunState, now: datetime, name: Name, progress: Progress | None = None) -> Message:
    """The one message that shows the run; edited in place. ``progress`` is what its step waits for, when it waits."""
    plan = state.plan
    headline, colour = _headline(state, now)
    blocks: list[Block] = [
        Heading(_title(plan)),
        Paragraph(headline),
        Lines(tuple(_step_line(state, index, now) for index in range(len(state.steps)))),
    ]
    if waits_for := _countdown(state, progress, now) or _waits_for(state):
        blocks.append(Paragraph(waits_for))
    if question := _question(state):
        blocks.append(Paragraph(question))
    if state.page:
        blocks.append(Paragraph(_page_line(state.plan, state.page)))
    if plan.runbook.stale:
        blocks.append(Paragraph(line(Bold("This is an earlier version of the runbook"), f": {_stale(plan.runbook)}")))
    blocks.append(Note(_small_print(state, now, name)))
    if buttons := buttons_of(state):
        blocks.append(Buttons(_one_primary(buttons[:BUTTONS_ON_CARD])))
    summary = f"{_title(plan)}: {without_bar(plain_line(headline))}"
    message = Message(summary=summary, blocks=tuple(blocks), colour=colour)
    return marked(message) if plan.drill else message


def _title(plan: Plan) -> str:
    book = plan.runbook
    title = book.title if plan.target.name in book.title else f"{book.title}: {plan.target.name}"
    return f"{book.id} {title}" if DOCUMENT_ID.fullmatch(book.id) else title


def _headline(state: RunState, now: datetime) -> tuple[Line, Colour]:
    step = state.steps[state.current]
    total = len(state.steps)
    took = duration((state.finished_at or now) - state.plan.started_at)
    match state.status:
        case "done":
            late = " It took longer than its budget." if any(s.overdue for s in state.steps) or state.overdue else ""
            return line(Bold("Done"), f" after {took}.{late}"), "good" if not late else "warning"
        case "failed":
            return line(Bold(f"Failed at step {_number(state)} of {total}"), f" after {took}."), "bad"
        case "cancelled":
            return line(Bold(f"Cancelled at step {_number(state)} of {total}"), f" after {took}."), "bad"
        case "waiting":
            asked = {"approval": "waiting for approval"}.get(step.status, "waiting for a decision")
            spans = line(Bold(f"Step {_number(state)} of {total}: {asked}"), *_time_left(step, now))
            return spans, "bad" if step.overdue or state.page else "warning"
    verb = "being cancelled" if state.cancelling else "running"
    colour: Colour = "bad" if step.overdue or state.page else "warning" if step.warned else "running"
    return line(Bold(f"Step {_number(state)} of {total}: {verb}"), *_time_left(step, now)), colour


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


def without_bar(text: str) -> str:
    """For screen readers and notifications, which would name every cell of it."""
    return re.sub(rf"[{BAR}]+ ", "", text)


def _step_line(state: RunState, index: int, now: datetime) -> Line:
    row, step = state.plan.runbook.steps[index], state.steps[index]
    spans: list[Span] = [Text(f"{MARKS[step.status]}  {row.number}. ")]
    title = _brief_step(row)
    spans.append(Bold(title) if index == state.current and not state.closed else Text(title))
    detail = _detail(step, now)
    if detail:
        spans.append(Text(f" — {detail}"))
    return tuple(spans)


def _detail(step: StepState, now: datetime) -> str:
    taken = duration((step.finished_at or now) - step.started_at) if step.started_at else ""
    late = ", over its budget" if step.overdue else ""
    match step.status:
        case "pending" | "running" | "approval":
            return "over its budget" if step.overdue else ""
        case "waiting":
            return f"{step.outcome}{late}" if step.outcome else late.removeprefix(", ")
        case "skipped":
            return "not needed" if not step.decided_by else "skipped"
        case "done":
            said = "said by a person" if step.decided_by else step.outcome or "done"
            return f"{said}, {taken}{late}"
        case _:
            return f"{step.outcome or 'failed'}, {taken}{late}"


def _countdown(state: RunState, progress: Progress | None, now: datetime) -> Line:
    """``Waiting up to 22 s more for children.failed == 0; seen: children.failed = 2``."""
    if progress is None or progress.work != state.busy:
        return ()
    spans = line(f"Waiting up to {duration(progress.until - now)} more for ", Code(_short(progress.waiting_for, 300)))
    if progress.observed:
        spans += line("; seen: ", Code(_short(progress.observed, 300)))
    return spans


def _stale(book: Runbook) -> str:
    return f"the file cannot be read as it is now ({_short(book.stale, 300)})."


def _waits_for(state: RunState) -> Line:
    """What the step that runs has to show."""
    row = state.plan.runbook.steps[state.current]
    if state.status != "running" or state.steps[state.current].status != "running" or not row.expectation:
        return ()
    return line("Waits for ", Code(_expected(row)))


def _question(state: RunState) -> Line:
    if state.closed:
        return ()
    row, step = state.plan.runbook.steps[state.current], state.steps[state.current]
    if step.status == "approval":
        preview = step.preview.summary if step.preview else plain_step(row)
        if state.plan.approvers:
            return line(Bold("Needs a second person: "), preview)
        return line(Bold("Needs a typed confirmation: "), preview, " Only one operator is configured, so that is you.")
    if step.status != "waiting":
        return ()
    if state.plan.dangers[state.current] is None:
        return (*line(Bold("For a person: ")), *_instruction(row), *line(". Then say how it went."))
    spans = line(Bold("Decide: "), step.summary)
    if step.observed:
        spans += line(" Seen: ", Code(_short(step.observed, 300)))
    return spans


def _page_line(plan: Plan, page: Escalation) -> Line:
    paged = "Would have paged" if plan.drill else "Paged"
    spans = line(Bold(f"{paged} {', '.join(plan.contacts)} {counted(page.pages, 'time')}"), ", not acknowledged yet.")
    if page.next_page_at:
        spans += line(" Again at ", When(page.next_page_at), ".")
    return spans


def _small_print(state: RunState, now: datetime, name: Name) -> Line:
    plan = state.plan
    spans = line(f"Asked for by {name(plan.person)} at ", When(plan.started_at), ": ", Code(plan.command))
    if plan.reason:
        spans += line(f" · Reason: {plan.reason}")
    if plan.deadline and not state.closed:
        spans += line(" · whole run until ", When(plan.deadline))
    if state.closed and state.ended_by:
        spans += line(f" · ended by {name(state.ended_by)}")
    acknowledged = [old for old in state.escalations if not old.open]
    if acknowledged:
        spans += line(f" · page acknowledged by {name(acknowledged[-1].acknowledged_by)}")
    if plan.verified:
        spans += line(f" · runbook {plan.verified}")
    spans += line(f" · run {plan.run_id}")
    return spans


# -- buttons

LABELS = {
    "ack": "Acknowledge",
    "approve": "Approve…",
    "deny": "Deny",
    "proceed": "Needed: go on",
    "retry": "Retry",
    "done": "Done",
    "fail": "Failed",
    "skip": "Skip",
    "cancel": "Cancel run",
}
STYLES: dict[str, Literal["primary", "danger"]] = {
    "ack": "primary",
    "done": "primary",
    "approve": "danger",
    "fail": "danger",
}


def buttons_of(state: RunState) -> tuple[Button, ...]:
    """Only those that apply now, most likely first."""
    return tuple(_button(state, verb) for verb in allowed(state))


def _one_primary(buttons: tuple[Button, ...]) -> tuple[Button, ...]:
    """Only the first is made prominent: two green buttons side by side ask to be mistaken for one another."""
    first = next((button for button in buttons if button.style == "primary"), None)
    return tuple(
        replace(button, style="default") if button.style == "primary" and button is not first else button
        for button in buttons
    )


def _button(state: RunState, verb: str) -> Button:
    run = state.plan.run_id
    command = f"/runs {verb} {run}"
    dialog = None
    if verb == "approve":
        step = state.steps[state.current]
        command += f" --digest {step.digest}"
        target = state.plan.target.name
        preview = step.preview
        about: tuple[Block, ...] = (Paragraph(line(preview.summary if preview else "")),)
        if preview and preview.detail:
            about += (CodeBlock(excerpt(preview.detail, EVIDENCE_IN_THREAD), preview.language),)
        dialog = Dialog(
            title="DRILL: approve the step" if state.plan.drill else "Approve this step",
            submit="Approve",
            blocks=about,
            inputs=(Input(option="confirm", label=f"Type {target} to approve", placeholder=target),),
        )
    return Button(LABELS[verb], command, STYLES.get(verb, "default"), dialog)


# -- the thread


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
            manual: list[Block] = [Paragraph((*asked, *_instruction(row)))]
            if row.expectation:
                manual.append(Paragraph(line("Expected: ", Code(_expected(row)))))
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
        fields.append(("Expected", line(Code(_expected(row)))))
    if step.observed:
        fields.append(("Seen", line(Code(_short(step.observed, 600)))))
    if step.outcome:
        fields.append(("Outcome", line(Bold(step.outcome))))
    if fields:
        blocks.append(Fields(tuple(fields)))
    if step.evidence and not _as_previewed(step):
        limit = EVIDENCE_OF_SUCCESS if step.status == "done" else EVIDENCE_IN_THREAD
        blocks.append(CodeBlock(_tail(step.evidence, limit), step.language))
    honest = [
        f"{fact.name} {_PROVENANCE[fact.provenance]} {fact.source}"
        for fact in step.sources
        if fact.source and fact.provenance in _PROVENANCE
    ]
    if honest:
        blocks.append(Note(line(_short(" · ".join(honest), 900))))
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


# -- pages


def page_message(state: RunState, page: Escalation, *, in_thread: bool, name: Name = str, link: str = "") -> Message:
    """What wakes somebody: everything the next person needs, and one button."""
    plan, row, step = state.plan, state.plan.runbook.steps[state.current], state.steps[state.current]
    again = f" (page {page.pages})" if page.pages > 1 else ""
    mentions: list[Span] = []
    for contact in plan.contacts:
        mentions += [Mention(contact), Text(" ")]
    blocks: list[Block] = [
        Paragraph((*mentions, Bold(f"{_title(plan)} needs you{again}."), Text(f" {_sentence(page.reason)}")))
    ]
    if page.acknowledged_at:
        spans = line(Bold(f"Acknowledged by {name(page.acknowledged_by)}"), " at ", When(page.acknowledged_at), ".")
        return Message(
            f"Acknowledged by {name(page.acknowledged_by)}: {_title(plan)}",
            (Paragraph(line(f"{_title(plan)}: {_sentence(page.reason)}")), Paragraph(spans)),
            "good",
        )
    fields: list[tuple[str, Line]] = [("Step", line(f"{row.number} of {len(state.steps)}: {plain_step(row)}"))]
    if row.expectation:
        fields.append(("Expected", line(Code(_expected(row)))))
    if step.observed:
        fields.append(("Seen", line(Code(_short(step.observed, 600)))))
    elif step.summary and plan.dangers[state.current] and step.summary.rstrip(".") not in page.reason:
        fields.append(("Seen", line(_short(step.summary, 600))))
    fields.append(("Severity", line(plan.severity)))
    blocks.append(Fields(tuple(fields)))
    if step.evidence:
        blocks.append(CodeBlock(_tail(step.evidence, 1200), step.language))
    if link:
        blocks.append(Paragraph(line(Link("Open the run", link))))
    if page.next_page_at:
        blocks.append(
            Note(line("Repeats at ", When(page.next_page_at), f" until somebody acknowledges · run {plan.run_id}"))
        )
    verbs = [verb for verb in allowed(state) if verb in ("ack", "retry", "cancel")] if in_thread else ["ack"]
    blocks.append(Buttons(tuple(_button(state, verb) for verb in verbs[:3])))
    return Message(f"{', '.join(plan.contacts)}: {_title(plan)} needs you{again}. {page.reason}", tuple(blocks), "bad")


def moved_message(state: RunState, link: str) -> Message:
    """For the one who asked in a channel that the bot cannot post to: where the run is shown instead."""
    where = line(Link("Open the run", link)) if link else line(f"run {state.plan.run_id}")
    said = f"{_title(state.plan)}: I am not a member of this channel, so the run is shown elsewhere."
    hint = line(" To have runs here, type ", Code("/invite @opsbot"), ".")
    return Message(said, (Paragraph((*line(f"{said} "), *where, *hint)),))


# -- small pieces


def plain_step(row: Step) -> str:
    """The Action cell without its Markdown marks and without the call that it binds to."""
    text = CALL_AT_END.sub("", row.text) if row.action else row.text
    return (text or row.text).replace("`", "").replace("**", "").strip().rstrip(".")


def _instruction(row: Step) -> Line:
    """What a person should do; what stands between backticks can be copied as it is."""
    parts = re.split(r"`([^`]+)`", row.text.replace("**", "").strip().rstrip("."))
    return tuple(Code(part) if index % 2 else Text(part) for index, part in enumerate(parts) if part)


def _brief_step(row: Step) -> str:
    """The first sentence of the step; what comes after it explains."""
    first = re.split(r"(?<=\w)[.;] ", plain_step(row), maxsplit=1)[0]
    if len(first) <= BRIEF_STEP:
        return first
    clause = first[:BRIEF_STEP].rpartition(", ")[0]
    return clause if len(clause) > BRIEF_STEP / 3 else f"{first[:BRIEF_STEP].rpartition(' ')[0]} …"


def _expected(row: Step) -> str:
    return _short(row.expectation.replace("`", ""), 300)


def _number(state: RunState) -> str:
    return state.plan.runbook.steps[state.current].number


def _with_summary(blocks: list[Block], summary: str) -> Message:
    return Message(_short(summary, 300), tuple(blocks))


def _with_buttons(state: RunState, blocks: list[Block], summary: str) -> Message:
    buttons = tuple(button for button in buttons_of(state) if not button.command.startswith("/runs ack "))
    return Message(_short(summary, 300), (*blocks, Buttons(buttons[:5])), "warning")


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def excerpt(text: str, limit: int) -> str:
    """The beginning of a preview, whole lines only, and how much is missing."""
    if len(text) <= limit:
        return text
    kept = text[:limit].rpartition("\n")[0] or text[:limit]
    return f"{kept}\n… and {counted(text[len(kept) :].strip().count(chr(10)) + 1, 'more line')}"


def _tail(text: str, limit: int) -> str:
    """The end of an output says more than its beginning."""
    if len(text) <= limit:
        return text
    return f"… {len(text) - limit} characters before this are in the run's record\n{text[-limit:]}"
