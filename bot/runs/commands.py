"""``/runs list``, ``/runs show <run>``, and what people do to a run: ``/runs ack <run>``, ``/runs retry <run>``, …

In a run's thread ``@opsbot ack`` is enough. Every button of a card is one of these commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import sqlalchemy as sa

from bot import store as tables
from bot.access import Access
from bot.clock import Clock
from bot.commands.registry import Answer, CommandContext, CommandGroup, Existing, Metavar, OneOf, Reply
from bot.errors import UserError
from bot.handler import Danger
from bot.messages import Message, Note, Paragraph, Table, line, message
from bot.runbooks.folders import RunbookFolders
from bot.runs.decide import refusal
from bot.runs.engine import RunEngine
from bot.runs.model import Press, RunState, Verb
from bot.runs.perform import Connected
from bot.runs.request import Asked, danger_of, find_runbook, level_of, start_request
from bot.runs.verified import Verifier, answer
from bot.surfaces import card
from bot.surfaces.step_text import Name, plain_step
from bot.words import counted, duration

runs = CommandGroup("runs", "Runs: what is going on, and what people do to it")


def _run_id(text: str) -> str:
    return text.strip().upper()


Run = Annotated[str, Existing("run", normalise=_run_id)]


class RunDesk:
    """What the commands of ``/runs`` work with."""

    def __init__(
        self,
        engine: RunEngine,
        clock: Clock,
        access: Access,
        name: Name,
        *,
        folders: RunbookFolders,
        connected: Mapping[str, Connected],
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.access = access
        self.name = name
        self.folders = folders
        self.connected = connected
        self.verifier = Verifier(engine.store, clock, folders, connected)

    async def inventory(self, kind: str) -> list[str]:
        rows = await self.engine.store.rows(sa.select(tables.runs.c.id).order_by(tables.runs.c.id.desc()).limit(2000))
        return [row.id for row in rows]

    async def states(self, *, only_open: bool, limit: int = 20) -> list[RunState]:
        query = sa.select(tables.runs.c.state).order_by(tables.runs.c.id.desc()).limit(limit)
        if only_open:
            query = query.where(tables.runs.c.open)
        return [RunState.model_validate_json(row.state) for row in await self.engine.store.rows(query)]

    async def state(self, run_id: str) -> RunState:
        state = await self.engine.state(run_id)
        if state is None:
            raise UserError(f"There is no run {run_id}.", suggestions=("/runs list",))
        return state

    async def press(self, ctx: CommandContext, run_id: str, verb: Verb, **more: Any) -> None:
        """Send what a person did to the run, or refuse it with the reason."""
        state = await self.state(run_id)
        press = Press(
            at=self.clock.now(),
            verb=verb,
            actor=str(ctx.actor),
            is_requester=self.access.same_person(state.plan.actor, ctx.actor),
            **more,
        )
        if refused := refusal(state, press):
            raise UserError(refused)
        await self.engine.press(run_id, press, ctx.key)

    async def problems(self) -> list[str]:
        return await self.engine.problems()

    async def close(self) -> None:
        return None


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
    runbook: Annotated[str, Metavar("runbook")],
    target: str | None = None,
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
    if not states:
        return Answer(message("No run is open." if not all else "No run has been started yet."))
    now = ctx.clock.now()
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
            ),
        )
    )


def _status(state: RunState) -> str:
    step = f"step {state.plan.runbook.steps[state.current].number} of {len(state.steps)}"
    paged = ", paged" if state.page else ""
    return f"{state.status}{paged}" if state.closed else f"{state.status}, {step}{paged}"


@runs.command(danger=Danger.READ, examples=("/runs show 01JD0000000000000000000000",))
async def show(ctx: CommandContext, run: Run) -> Reply:
    """One run as its card shows it, with the outcome of every step."""
    desk: RunDesk = ctx.handler
    state = await desk.state(run)
    shown = card.card(state, ctx.clock.now(), desk.name, desk.engine.performer.progress.get(run))
    details = tuple(
        (row.number, plain_step(row), step.status, step.outcome or "", step.observed or step.summary)
        for row, step in zip(state.plan.runbook.steps, state.steps, strict=True)
    )
    table = Table(("Step", "Action", "Status", "Outcome", "Seen"), details)
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
async def verify(ctx: CommandContext, runbook: Annotated[str | None, Metavar("runbook")] = None) -> Reply:
    """Compare the runbooks, or one of them, with the live systems: what they say and what is there."""
    desk: RunDesk = ctx.handler
    return Answer(answer(await desk.verifier.library(runbook or ""), runbook or ""))


@runs.command(danger=Danger.CHANGE, examples=("/runs cancel 01JD0000000000000000000000 --reason 'wrong project'",))
async def cancel(ctx: CommandContext, run: Run, *, reason: str = "") -> Reply:
    """Stop a run; what was already done stays done and is told."""
    await ctx.handler.press(ctx, run, "cancel", reason=reason)
    return None


@runs.command(
    danger=Danger.CHANGE,
    examples=(
        "/runs retry 01JD0000000000000000000000",
        "/runs retry 01JD0000000000000000000000 --input step2.exit_reason=panic",
    ),
)
async def retry(
    ctx: CommandContext, run: Run, *, input: Annotated[list[str] | None, Metavar("NAME=VALUE")] = None
) -> Reply:
    """Do the step again that waits for a decision; --input tells it a value that it asks for."""
    given = dict(each.partition("=")[::2] for each in input or ())
    if wrong := [name for name, value in given.items() if not value]:
        raise UserError(f'--input takes name=value, as in --input step2.exit_reason=panic; "{wrong[0][:60]}" is none.')
    await ctx.handler.press(ctx, run, "retry", given=given)
    return None


@runs.command(danger=Danger.CHANGE, examples=("/runs done 01JD0000000000000000000000",))
async def done(ctx: CommandContext, run: Run) -> Reply:
    """The step that waits is done (you did it, or you looked and it is fine): go on."""
    await ctx.handler.press(ctx, run, "done")
    return None


@runs.command(danger=Danger.CHANGE, examples=("/runs fail 01JD0000000000000000000000",))
async def fail(ctx: CommandContext, run: Run, *, reason: str = "") -> Reply:
    """The step that waits did not work out: end the run as failed."""
    await ctx.handler.press(ctx, run, "fail", reason=reason)
    return None


@runs.command(danger=Danger.CHANGE, examples=("/runs skip 01JD0000000000000000000000",))
async def skip(ctx: CommandContext, run: Run) -> Reply:
    """Leave the step out that waits, and go on with the next."""
    await ctx.handler.press(ctx, run, "skip")
    return None


@runs.command(danger=Danger.CHANGE, examples=("/runs proceed 01JD0000000000000000000000",))
async def proceed(ctx: CommandContext, run: Run) -> Reply:
    """The condition that nobody but you can tell holds: do the step."""
    await ctx.handler.press(ctx, run, "proceed")
    return None


@runs.command(danger=Danger.CHANGE, examples=("/runs ack 01JD0000000000000000000000",))
async def ack(ctx: CommandContext, run: Run) -> Reply:
    """Acknowledge the page: you have seen it, it stops repeating."""
    await ctx.handler.press(ctx, run, "ack")
    return None


@runs.command(
    danger=Danger.CHANGE,
    examples=("/runs approve 01JD0000000000000000000000 --digest 4f5a2c91d07b --confirm worker-3",),
)
async def approve(ctx: CommandContext, run: Run, *, confirm: str = "", digest: str = "") -> Reply:
    """Approve the step that waits for it, as a second person; --confirm takes the target's name."""
    await ctx.handler.press(ctx, run, "approve", typed=confirm.strip(), digest=digest)
    return None


@runs.command(danger=Danger.CHANGE, examples=("/runs deny 01JD0000000000000000000000",))
async def deny(ctx: CommandContext, run: Run, *, reason: str = "") -> Reply:
    """Refuse the step that waits for an approval; the run ends."""
    await ctx.handler.press(ctx, run, "deny", reason=reason)
    return None
