"""``/runs start P1-002 worker-3``, ``/runs list``, ``/runs show <run>``, ``/runs verify``.

What people do to a run (``/runs ack``, ``/runs retry``) is in ``press_commands.py``, whose turn it is
(``/runs freeze``, ``/runs watch``) in ``turn_commands.py``.

In a run's thread ``@opsbot ack`` is enough. Every button of a card is one of these commands.
"""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa

from bot import store as tables
from bot.commands.registry import Answer, CommandContext, CommandGroup, Metavar, Offered, OneOf, Reply
from bot.handler import Danger
from bot.messages import Block, Message, Note, Paragraph, Table, line, message
from bot.runs.desk import RunDesk
from bot.runs.freeze import frozen
from bot.runs.model import RunState
from bot.runs.press_commands import Run, presses
from bot.runs.request import Asked, danger_of, find_runbook, level_of, start_request
from bot.runs.shift_commands import shift
from bot.runs.turn_commands import turns
from bot.runs.usual import beside, usual_of
from bot.runs.verified import answer
from bot.surfaces import card
from bot.surfaces.step_text import plain_step, short
from bot.words import counted, duration

__all__ = ["RunDesk", "runs"]

runs = CommandGroup("runs", "Runs: what is going on, and what people do to it")


@runs.command(
    danger=Danger.CHANGE,
    level="viewer",
    examples=(
        "/runs start P1-002 worker-3",
        "/runs start restart project-42 --input stage=verify --dry-run",
        "/runs start P1-002 worker-3 --drill --fault ignores-cancellation",
    ),
)
async def start(
    ctx: CommandContext,
    runbook: Annotated[str, Metavar("runbook"), Offered("runbook")],
    target: Annotated[str | None, Offered("anything")] = None,
    *,
    input: Annotated[list[str] | None, Metavar("NAME=VALUE")] = None,
    scope: str = "",
    reason: str = "",
    dry_run: Annotated[bool, OneOf("rehearsal")] = False,
    drill: Annotated[bool, OneOf("rehearsal")] = False,
    fault: Annotated[list[str] | None, Metavar("NAME")] = None,
) -> Reply:
    """Start a runbook: one of a product, or one of your own folders.

    A runbook that only reads may be started by viewers, every other one by operators.

    Parameters
    ----------
    runbook
        Its id, for example P1-002.
    target
        What it works on; not needed when there is only one.
    input
        A value that the runbook asks for, as name=value; once for each.
    scope
        What the target belongs to, when several have one of that name: the supervised process of a child.
    reason
        Why; it goes to the product and into the history.
    dry_run
        Only show what would be done.
    drill
        Rehearse it: everything happens in a simulation, nothing real is touched and nobody is paged.
    fault
        What goes wrong in the rehearsal; once for each. Without it, what the runbook's front matter says.
    """
    desk: RunDesk = ctx.handler
    asked = Asked(runbook, target, scope, input or (), reason, dry_run, drill, fault or ())
    book = find_runbook(await desk.folders.library(), asked)
    connected = desk.connected.get(book.product)
    level = level_of(danger_of(book, connected))
    if not desk.access.allows(ctx.actor, level):
        return Answer(desk.access.refusal(ctx.actor, level, f"/runs start {book.id}"), private=True)
    return await start_request(book, asked, connected, desk.engine.performer.simulations)


@runs.command(danger=Danger.READ, verb="list", examples=("/runs list", "/runs list --all"))
async def list_runs(ctx: CommandContext, *, all: bool = False) -> Reply:
    """The runs that are open; with --all the last twenty, ended ones too."""
    desk: RunDesk = ctx.handler
    states = await desk.states(only_open=not all)
    now = ctx.clock.now()
    more = await _waiting(desk, ctx)
    if not states:
        none = "No run is open." if not all else "No run has been started yet."
        return Answer(message(none, *more) if more else message(none))
    rows = tuple(
        (
            state.plan.run_id,
            ("DRILL: " if state.plan.drill else "")
            + (
                state.plan.runbook.title
                if state.plan.target.name in state.plan.runbook.title
                else f"{state.plan.runbook.title}: {state.plan.target.name}"
            ),
            _status(state),
            duration((state.finished_at or now) - state.plan.started_at),
            desk.name(state.plan.person),
        )
        for state in states
    )
    return Answer(
        Message(
            counted(len(states), "run") + (" open" if not all else ""),
            (
                Table(("Run", "What", "Status", "Age", "Asked for by"), rows),
                Note(line("/runs show RUN shows one of them")),
                *more,
            ),
        )
    )


async def _waiting(desk: RunDesk, ctx: CommandContext) -> list[Block]:
    """Whether new changing runs are frozen, and who waits in line for a target."""
    blocks: list[Block] = []
    now = ctx.clock.now()
    if cold := await frozen(desk.engine.store):
        age = duration(now - cold.since)
        blocks.append(
            Paragraph(line(f"New changing runs are frozen by {desk.name(cold.actor)} since {age}: {cold.reason}"))
        )
    queue = tables.queue
    line_up = await desk.engine.store.rows(sa.select(queue).order_by(queue.c.target, queue.c.turn, queue.c.number))
    if line_up:
        rows = tuple(
            (str(row.number), short(row.command, 120), desk.name(row.owner), duration(now - row.since))
            for row in line_up
        )
        blocks.append(Table(("Queued", "What", "Asked for by", "Age"), rows))
        blocks.append(Note(line("/runs leave NUMBER takes one of them out of the queue")))
    return blocks


def _status(state: RunState) -> str:
    step = f"step {state.plan.runbook.steps[state.current].number} of {len(state.steps)}"
    paged = ", paged" if state.page else ""
    return f"{state.status}{paged}" if state.closed else f"{state.status}, {step}{paged}"


@runs.command(danger=Danger.READ, examples=("/runs show 01JD0000000000000000000000",))
async def show(ctx: CommandContext, run: Run) -> Reply:
    """One run as its card shows it, with the outcome of every step."""
    desk: RunDesk = ctx.handler
    state = await desk.state(run)
    progress = desk.engine.performer.progress.get(run)
    shown = card.card(state, ctx.clock.now(), desk.name, progress, await desk.around(state))
    details = tuple(
        (
            row.number,
            plain_step(row),
            step.status,
            step.outcome or "",
            step.observed or step.summary,
            beside(row.budget, usual_of(state.plan, index)),
        )
        for index, (row, step) in enumerate(zip(state.plan.runbook.steps, state.steps, strict=True))
    )
    table = Table(("Step", "Action", "Status", "Outcome", "Seen", "Time"), details)
    pages = tuple(
        Paragraph(
            line(
                f"Page {page.number}: {page.reason.rstrip('.')}. Sent {counted(page.pages, 'time')}, "
                + (f"acknowledged by {desk.name(page.acknowledged_by)}" if not page.open else "not acknowledged")
            )
        )
        for page in state.escalations
    )
    return Answer(Message(shown.summary, (*shown.blocks[:-1], table, *pages, shown.blocks[-1]), shown.colour))


@runs.command(danger=Danger.READ, examples=("/runs verify", "/runs verify P1-002"))
async def verify(
    ctx: CommandContext, runbook: Annotated[str | None, Metavar("runbook"), Offered("runbook")] = None
) -> Reply:
    """Compare the runbooks, or one of them, with the live systems: what they say and what is there."""
    desk: RunDesk = ctx.handler
    return Answer(answer(await desk.verifier.library(runbook or ""), runbook or ""))


runs.include(presses)
runs.include(turns)
runs.include(shift)
