"""The card on a GitHub issue: Slack's card, with ``▸ Step 2: Read the state — met`` folded under it.

An issue has no threads, so what Slack shows in the thread of its card stands in the comment itself: every step's report
and evidence, and above them, open, the exact preview of what waits for an approval. Pure.
"""

from __future__ import annotations

from dataclasses import replace

from bot.messages import Block, Bold, Code, CodeBlock, Folded, Message, Note, Paragraph, line
from bot.runs.model import Post, RunState
from bot.surfaces.step_text import Name, excerpt, plain_step, short
from bot.surfaces.thread import thread_message

PREVIEW = 20_000  # characters of what is approved: all of it, but for the unreasonable
TITLE = 120


def issue_card(shown: Message, state: RunState, name: Name) -> Message:
    """``shown``, the card as every surface has it, with what the thread would say."""
    told = (*_to_approve(state), *_reports(state, name))
    if not told:
        return shown
    blocks = shown.blocks
    small_print = max((at for at, block in enumerate(blocks) if isinstance(block, Note)), default=len(blocks))
    return replace(shown, blocks=(*blocks[:small_print], *told, *blocks[small_print:]))


def _to_approve(state: RunState) -> tuple[Block, ...]:
    step = state.steps[state.current]
    if state.closed or step.status != "approval" or step.preview is None:
        return ()
    blocks: list[Block] = [Paragraph(line(Bold("Will do exactly this: "), step.preview.summary))]
    if step.preview.detail:
        blocks.append(CodeBlock(excerpt(step.preview.detail, PREVIEW), step.preview.language))
    target = state.plan.target.name
    short_form = line("Having read it, ", Code(f"/runs approve {step.digest}"), " in this issue is enough: ")
    blocks.append(Note((*short_form, *line(f"it names exactly this plan for {target}, and no other."))))
    return tuple(blocks)


def _reports(state: RunState, name: Name) -> list[Block]:
    told: list[Block] = []
    for index, (row, step) in enumerate(zip(state.plan.runbook.steps, state.steps, strict=True)):
        if step.status in ("pending", "running", "approval") or not (step.summary or step.evidence or step.observed):
            continue
        actor = step.decided_by if step.status in ("done", "skipped") else ""
        report = thread_message(state, Post(kind="step", index=index, step=step, actor=actor), name)
        outcome = step.outcome or step.status
        title = f"Step {row.number}: {short(plain_step(row), TITLE)} — {outcome}"
        told.append(Folded(title, report.blocks[1:]))
    return told
