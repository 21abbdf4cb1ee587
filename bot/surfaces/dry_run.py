"""``--dry-run``: what would be done now, step by step, and what stands in the way. Pure; nothing of it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.handler import Danger, Preview
from bot.messages import Block, Bold, Code, CodeBlock, Divider, Heading, Message, Note, Paragraph, line
from bot.runs.model import Plan, Post, RunState
from bot.runs.usual import in_words, usual_of
from bot.surfaces.step_text import EVIDENCE_IN_THREAD, Name, either, excerpt, expected, plain_step, sentence, short
from bot.surfaces.thread import thread_message
from bot.words import duration


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What can be told of a step before the run: its preview, whether its condition holds now, what is in the way."""

    preview: Preview | None = None
    condition: str = ""
    problem: str = ""


def run_message(plan: Plan, steps: Sequence[Foreseen], in_the_way: Sequence[str]) -> Message:
    """Every step of a run that does not take place; the preview of each is the one that the run would show."""
    title = f"Dry run: {plan.runbook.title}"
    blocks: list[Block] = [Heading(title), Paragraph(line("Nothing was done. This is what would be done now:"))]
    blocks += [Paragraph(line(Bold("It would not start now: "), each.rstrip(".") + ".")) for each in in_the_way]
    first = len(plan.ancestor.steps) if plan.ancestor else 0
    rows = list(zip(plan.runbook.steps, plan.dangers, steps, strict=True))
    for index, (row, danger, foreseen) in enumerate(rows[first:], start=first):
        blocks.append(Divider())
        kind = "by a person" if danger is None else danger.value
        budget = f", {duration(row.budget)}" if row.budget else ""
        blocks.append(Paragraph(line(f"{row.number}. {plain_step(row)} ({kind}{budget})")))
        if known := in_words(usual_of(plan, index)):
            blocks.append(Note(line(f"{known[:1].upper()}{known[1:]}")))
        if row.condition:
            blocks.append(Note(line("Only if: ", Code(row.condition.replace("`", "")), f". {foreseen.condition}")))
        if row.expectation:
            blocks.append(Note(line("Expected: ", Code(expected(row)))))
        if danger is Danger.DESTRUCTIVE:
            blocks.append(Note(line(_approval(plan))))
        if foreseen.problem:
            blocks.append(Paragraph(line(Bold("Cannot be previewed now: "), sentence(foreseen.problem))))
        if preview := foreseen.preview:
            blocks.append(Paragraph(line(preview.summary)))
            if preview.detail:
                blocks.append(CodeBlock(excerpt(preview.detail, EVIDENCE_IN_THREAD), preview.language))
            if preview.now:
                blocks.append(CodeBlock(excerpt(preview.now, EVIDENCE_IN_THREAD), title="As it is now"))
    return Message(title, tuple(blocks))


def _approval(plan: Plan) -> str:
    within = f"within {duration(plan.approval_timeout)}, with {plan.target.name} typed"
    if plan.approvers:
        return f"Needs the approval of a second person {within}: {either(plan.approvers)}."
    return f"Only one operator is configured, so it needs your own typed confirmation {within}."


def press_message(before: RunState, after: RunState, posts: Sequence[Post], starts: str, name: Name) -> Message:
    """What a button or a command would do to a run."""
    title = f"Dry run: run {before.plan.run_id}"
    told = [Paragraph(line(thread_message(after, post, name).summary)) for post in posts]
    if starts:
        told.append(Paragraph(line(f"Then step {starts} would be done.")))
    if after.status != before.status:
        told.append(Paragraph(line(f"The run would be {after.status} (it is {before.status}).")))
    return Message(title, (Paragraph(line(Bold("Nothing was done."), " This is what would happen:")), *told))


def simple_message(would: str) -> Message:
    """What any other command would do, in one sentence."""
    return Message(
        short(f"Dry run: would {would}", 300), (Paragraph(line(Bold("Nothing was done."), f" It would {would}.")),)
    )
