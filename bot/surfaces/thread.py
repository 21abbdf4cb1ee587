"""What is said in a run's thread, and the pages that wake somebody: pure functions of the run's state."""

from __future__ import annotations

import re

from bot.handler import Danger, Preview, Provenance
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
    Text,
    When,
    line,
    plain_line,
)
from bot.runbooks.model import Step
from bot.runs.model import Plan, Post, Quoted, RunState, StepState
from bot.runs.presses import runs_short
from bot.runs.usual import usual_of
from bot.surfaces.buttons import button_of, buttons_of, draft_button
from bot.surfaces.page import attached_message, page_message
from bot.surfaces.step_text import (
    EVIDENCE_IN_THREAD,
    MARKS,
    Name,
    brief_step,
    either,
    expected,
    instruction,
    number_of,
    plain_step,
    short,
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
            blocks += _previewed(row, step.preview)
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
            return _warning(state, f"Step {row.number} has used 80 % of its {left}", text)
        case "slow":
            return _slow(state, post.index, row)
        case "run warning":
            budget = duration(state.deadline - plan.started_at) if state.deadline else ""
            text = line(Bold(f"The run has used 80 % of its {budget}"), ", until ")
            if state.deadline:
                text += line(When(state.deadline), ".")
            return _warning(state, f"The run has used 80 % of its {budget}", text)
        case "page" if post.escalation:
            return page_message(state, post.escalation, in_thread=True, name=name)
        case "attached" if post.fired:
            return attached_message(state, post.fired)
        case "acknowledged" if post.escalation:
            said = f"{who} acknowledged the page: {post.escalation.reason}"
            return Message(
                said, (Paragraph(line(Bold(who), f" acknowledged the page: {post.escalation.reason}")),), "good"
            )
        case "note" if post.quoted is not None:
            return _noted(post.quoted, post.text, who, name)
        case "note":
            said_to: Line = (Mention(post.notify), Text(" ")) if post.notify else ()
            until = line(", until ", When(post.until)) if post.until else ()
            because = f": {post.reason}" if post.reason else "."
            return Message(
                f"{who} {post.text}", (Paragraph((*said_to, *line(Bold(who), f" {post.text}"), *until, Text(because))),)
            )
        case "end":
            return _end(state, who, post.text)
        case _:
            if step.status == "skipped":
                head = f"Step {row.number} was {'skipped by ' + who if who else 'not needed'}"
            elif step.decided_by:
                head = f"Step {row.number}: {who} says it is done"
            elif post.text:
                head = f"Step {row.number} {post.text}: {plain_step(row)}"
            else:
                head = f"Step {row.number}: {plain_step(row)}"
            return _with_summary(_report(plan, row, step, head), f"{head}. {step.summary}")


def _noted(quoted: Quoted, text: str, who: str, name: Name) -> Message:
    """A note of a person, and the message that they attach: who wrote it, when, where, and its words as they are."""
    said = f": {text}" if text else ""
    if not quoted.text and not quoted.link:
        return Message(f"{who} notes{said}", (Paragraph(line(Bold(f"{who} notes"), said)),))
    author = name(quoted.author) if quoted.author else "somebody"
    about: Line = line(f"{author} wrote")
    if quoted.at:
        about += line(" on ", When(quoted.at, "date_time"))
    blocks: list[Block] = [Paragraph(line(Bold(f"{who} attached a message"), said))]
    if quoted.text:
        blocks.append(CodeBlock(quoted.text, file="message.txt", keep="beginning"))
    blocks.append(Note((*about, *(line(" · ", Link("the message", quoted.link)) if quoted.link else ()))))
    return Message(f"{who} attached a message of {author}{said}", tuple(blocks))


def _report(plan: Plan, row: Step, step: StepState, head: str) -> list[Block]:
    mark = MARKS["done" if step.status == "done" else step.status]
    blocks: list[Block] = [Paragraph(line(Bold(f"{mark} {head}")))]
    if step.summary:
        blocks.append(Paragraph(line(step.summary)))
    fields: list[tuple[str, Line]] = []
    if row.condition and step.observed and step.status == "skipped":
        fields.append(("Condition", line(Code(row.condition.replace("`", "")))))
    elif row.expectation:
        fields.append(("Expected", line(Code(expected(row)))))
    if step.observed:
        fields.append(("Seen", line(Code(short(step.observed.replace("`", ""), 600)))))
    if step.outcome:
        fields.append(("Outcome", line(Bold(step.outcome))))
    if fields:
        blocks.append(Fields(tuple(fields)))
    if step.evidence and not _as_previewed(step):
        in_sight = EVIDENCE_OF_SUCCESS if step.status == "done" else EVIDENCE_IN_THREAD
        file = _file_name(f"step-{row.number}", step.language)
        blocks.append(CodeBlock(step.evidence, step.language, file=file, in_sight=in_sight))
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


def _previewed(row: Step, preview: Preview) -> list[Block]:
    """What the step will do, and what is there at this moment; it may be other things when the step is done.

    Whoever approves can read all of it.
    """
    blocks: list[Block] = []
    if preview.detail:
        file = _file_name(f"step-{row.number}-preview", preview.language)
        blocks.append(CodeBlock(preview.detail, preview.language, file=file, keep="beginning"))
    if preview.now:
        file = _file_name(f"step-{row.number}-now", "")
        blocks.append(CodeBlock(preview.now, title="As it is now", file=file, keep="beginning"))
    return blocks


_ENDINGS = {"json": "json", "diff": "diff", "yaml": "yaml", "toml": "toml", "markdown": "md"}


def _file_name(stem: str, language: str) -> str:
    return f"{re.sub('[^A-Za-z0-9-]+', '-', stem).strip('-').lower()}.{_ENDINGS.get(language, 'txt')}"


def _approval(state: RunState, row: Step, step: StepState) -> Message:
    head = f"Step {row.number} needs approval: {plain_step(row)}"
    blocks: list[Block] = [Paragraph(line(Bold(head)))]
    if step.preview:
        blocks.append(Paragraph(line("Will do exactly this: ", step.preview.summary)))
        blocks += _previewed(row, step.preview)
    until = line(", until ", When(step.approve_by), ".") if step.approve_by else line(".")
    if state.plan.approvers:
        asked = f"Somebody other than the one who asked has to approve: {either(state.plan.approvers)}"
        blocks.append(Note((*line(asked), *until)))
    else:
        blocks.append(Note((*line("Only one operator is configured: type the target's name to confirm"), *until)))
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
    blocks: tuple[Block, ...] = (Paragraph(spans),)
    if state.status != "done":
        again = f"@opsbot retry --from {number_of(state)}"
        blocks += (Paragraph(line(_what_was_done(state))), Note(line("Once more from there: ", Code(again))))
    if draft := draft_button(state):
        blocks += (Buttons(draft),)
    return Message(plain_line(spans), blocks, "good" if state.status == "done" else "bad")


def _what_was_done(state: RunState) -> str:
    """``Already done, and it stays so: step 1 (…).`` Reading changes nothing, and is not told."""
    done, tried, unsure = [], [], []
    for row, step, danger in zip(state.plan.runbook.steps, state.steps, state.plan.dangers, strict=True):
        told = f"step {row.number} ({brief_step(row)})"
        if danger is Danger.READ:
            continue
        if step.uncertain:
            unsure.append(told)
        elif step.status == "done":
            done.append(told)
        elif step.tried:
            tried.append(told)
    sentences = [
        f"Already done, and it stays so: {', '.join(done)}." if done else "",
        f"Tried, so look at what it has left behind: {', '.join(tried)}." if tried else "",
        f"Nobody can tell whether it happened: {', '.join(unsure)}." if unsure else "",
    ]
    return " ".join(each for each in sentences if each) or "Nothing was changed."


def _slow(state: RunState, index: int, row: Step) -> Message:
    usual = usual_of(state.plan, index)
    most = f" {usual.count} times it was done, 95 % took at most {duration(usual.p95)}." if usual else ""
    head = f"Step {row.number} takes longer than usual"
    step = state.steps[index]
    left = line(" Its budget lasts until ", When(step.deadline), ".") if step.deadline else ()
    of = line(f". Of the{most}" if most else ".")
    return _warning(state, f"{head}.", (*line(Bold(head)), *of, *left))


def _warning(state: RunState, summary: str, text: Line) -> Message:
    more = (button_of(state, "extend"),) if runs_short(state) else ()
    return Message(summary, (Paragraph(text), *((Buttons(more),) if more else ())), "warning")


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
