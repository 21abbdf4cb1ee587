"""``/runs handover``: one screen for the next shift. ``/runs incident <run> --file``: the post-incident issue."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from bot import store as tables
from bot.commands.registry import Answer, Change, CommandContext, CommandGroup, Reply
from bot.errors import UserError
from bot.handler import ActionResult, Danger
from bot.messages import Button, Buttons, CodeBlock, Link, Message, Note, Paragraph, line, message
from bot.runs.desk import RunDesk
from bot.runs.freeze import frozen
from bot.runs.handover import Situation, Undelivered, Waiting, handover
from bot.runs.incident import Draft, draft, with_boxes
from bot.runs.model import RunState
from bot.runs.press_commands import Run
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.markdown import draw
from bot.surfaces.port import FilesIssues
from bot.surfaces.step_text import short

SHIFT = timedelta(hours=12)
LONGEST_SHIFT = timedelta(days=14)
MOST_ENDED = 200  # runs
ENDS = ("run.done", "run.failed", "run.cancelled")
PASTED = 9000  # characters of Markdown; a message of Slack holds about 13,200 in all

shift = CommandGroup("runs", "From shift to shift")


# -- /runs handover


@shift.command(danger=Danger.READ, verb="handover", examples=("/runs handover", "/runs handover --since 8h"))
async def hand_over(ctx: CommandContext, *, since: timedelta = SHIFT) -> Reply:
    """What the next shift has to know, on one screen, the most urgent first.

    Parameters
    ----------
    since
        How far back to look for runs that have ended.
    """
    if not timedelta() < since <= LONGEST_SHIFT:
        raise UserError("--since takes a time of up to 14 days: --since 8h.")
    desk: RunDesk = ctx.handler
    now = ctx.clock.now()
    return Answer(handover(await situation(desk, now, now - since), desk.name))


async def situation(desk: RunDesk, now: datetime, since: datetime) -> Situation:
    """What is in the tables now."""
    store = desk.engine.store
    cold = await frozen(store)
    queue = tables.queue
    rows = await store.rows(sa.select(queue).order_by(queue.c.target, queue.c.turn, queue.c.number))
    return Situation(
        now=now,
        since=since,
        open=await desk.states(only_open=True, limit=MOST_ENDED),
        ended=await _ended(desk, since),
        queued=[Waiting(row.number, row.target, row.owner, row.command, row.since) for row in rows],
        undelivered=await _undelivered(desk),
        frozen=(cold.actor, cold.reason, cold.since) if cold else None,
    )


async def _ended(desk: RunDesk, since: datetime) -> list[RunState]:
    """The newest first. The audit log knows when runs ended."""
    audit, runs = tables.audit, tables.runs
    ends = sa.select(audit.c.run_id).where(audit.c.at >= since, audit.c.kind.in_(ENDS))
    query = sa.select(runs.c.state).where(runs.c.id.in_(ends)).order_by(runs.c.id.desc()).limit(MOST_ENDED)
    return [RunState.model_validate_json(row.state) for row in await desk.engine.store.rows(query)]


async def _undelivered(desk: RunDesk) -> list[Undelivered]:
    store, outbox, cards = desk.engine.store, tables.outbox, tables.cards
    messages = await store.rows(
        sa.select(outbox).where(outbox.c.status == "waiting", outbox.c.problem != "").order_by(outbox.c.number)
    )
    drawn = await store.rows(sa.select(cards).where(cards.c.problem != "").order_by(cards.c.run_id))
    kinds = {"page": "A page", "thread": "A message"}
    found = [(kinds.get(row.kind, "An answer" if not row.run_id else "A message"), row) for row in messages] + [
        ("The card", row) for row in drawn
    ]
    return [Undelivered(f"{what}{_of(row.run_id)} to {row.surface} {row.channel}", row.problem) for what, row in found]


def _of(run_id: str) -> str:
    return f" of run {run_id}" if run_id else ""


# -- /runs incident


@shift.command(
    danger=Danger.CHANGE,
    level="viewer",
    starts_run=False,
    examples=("/runs incident 01JD0000000000000000000000", "/runs incident 01JD0000000000000000000000 --file"),
)
async def incident(ctx: CommandContext, run: Run, *, file: bool = False) -> Reply:
    """Draft the post-incident issue of a run that has ended: timeline, outputs, outcomes, who acknowledged.

    Parameters
    ----------
    run
        The run.
    file
        File it in the configured GitHub repository, once; operators may. The cause and what helped are then written
        there.
    """
    desk: RunDesk = ctx.handler
    state = await desk.state(run)
    if not state.closed:
        raise UserError(
            "This run has not ended yet. Its issue is drafted when it has.", suggestions=(f"/runs show {run}",)
        )
    store = desk.engine.store
    cards = tables.cards
    links = await store.rows(sa.select(cards.c.link).where(cards.c.run_id == run, cards.c.link != "").limit(1))
    made = draft(state, await desk.engine.audit.of_run(run), desk.name, links[0].link if links else "")
    github = desk.surfaces.get("github")
    filed = await _filed(desk, run)
    if filed:
        return Answer(_told(f"The issue of this run is filed: {made.title}", filed))
    if not file:
        return Answer(_shown(made, run, can_file=isinstance(github, FilesIssues)))
    if not desk.access.allows(ctx.actor, "operator"):
        return Answer(desk.access.refusal(ctx.actor, "operator", f"/runs incident {run} --file"), private=True)
    if github is None or not isinstance(github, FilesIssues):
        raise UserError("GitHub is not configured, so nothing was filed. Copy the draft instead.")
    if state.plan.drill:
        raise UserError("This was a drill: nothing happened that an issue could be about.")
    body = github.draw(made.body)
    body = {**body, "body": with_boxes(str(body["body"]))}

    async def send() -> None:
        await _file(desk, github, run, made.title, body)

    async def told(connection: Any) -> Answer | None:
        return Answer(_told(f"Filed: {made.title}", await _filed(desk, run)))

    return Change(_shown(made, run, can_file=False), send=send, store=told)


async def _file(desk: RunDesk, github: FilesIssues, run: str, title: str, body: Any) -> None:
    """Once: the intent is in the journal, and one whose filing was interrupted is found by its hidden mark."""
    journal, operation = desk.engine.performer.journal, _operation(run)
    known = await journal.known(operation)
    if known is not None and known.result:
        return
    await journal.begin(operation, asyncio.Event())
    try:
        filed = await github.file_issue(title, body, (), f"{run}:incident", maybe_filed=known is not None)
    except TryLater as later:
        raise UserError(
            f"GitHub does not take it now: {later.reason}. Try again in a minute; it is filed once."
        ) from later
    except Undeliverable as error:
        raise UserError(f"{error} Nothing was filed.") from error
    result = ActionResult(status="done", summary=f"Filed #{filed.number}", evidence=filed.url)
    await journal.end(operation, result, desk.clock.now())


async def _filed(desk: RunDesk, run: str) -> str:
    """Its address; empty when it was not filed."""
    known = await desk.engine.performer.journal.known(_operation(run))
    return str(json.loads(known.result)["result"]["evidence"]) if known is not None and known.result else ""


def _operation(run: str) -> str:
    return f"{run}:incident:issue"


def _told(said: str, url: str) -> Message:
    return Message(said, (Paragraph((*line(f"{said} "), Link("Open it", url))),))


def _shown(made: Draft, run: str, *, can_file: bool) -> Message:
    """The draft; with a button to file it, or as Markdown to paste where GitHub is not configured."""
    if can_file:
        button = Button("File it on GitHub", f"/runs incident {run} --file", "primary")
        return Message(made.title, (*made.body.blocks, Buttons((button,))))
    markdown = with_boxes(draw(made.body, {}))
    hint = "The whole draft is longer than a message; the rest is in the audit log." if len(markdown) > PASTED else ""
    return message(
        Paragraph(line("Copy this into an issue, then write the cause and what helped:")),
        CodeBlock(short(markdown, PASTED), "markdown"),
        *((Note(line(hint)),) if hint else ()),
        summary=made.title,
    )
