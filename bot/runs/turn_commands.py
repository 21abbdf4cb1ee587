"""``/runs freeze <reason>``, ``/runs thaw``, ``/runs watch <run>``, ``/runs leave <number>``: whose turn it is."""

from __future__ import annotations

from typing import Annotated, Any

from bot.commands.registry import Answer, Change, CommandContext, CommandGroup, Existing, Metavar, Reply
from bot.errors import UserError
from bot.handler import Danger
from bot.messages import message
from bot.runs import queue
from bot.runs.desk import RunDesk
from bot.runs.freeze import Frozen, frozen, set_frozen
from bot.runs.press_commands import Run
from bot.surfaces.busy import announced
from bot.surfaces.dry_run import simple_message
from bot.surfaces.step_text import title_of
from bot.words import duration

turns = CommandGroup("runs", "Whose turn it is")


@turns.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs freeze release 4.2 is going out",))
async def freeze(ctx: CommandContext, *reason: str) -> Reply:
    """Stop new changing runs, on every target, until somebody types thaw. Runs that have begun and reading go on.

    Parameters
    ----------
    reason
        Why; everybody who is refused reads it.
    """
    desk: RunDesk = ctx.handler
    why = " ".join(reason).strip()
    if not why:
        raise UserError("Say why, for those who are refused: /runs freeze release 4.2 is going out")
    new = Frozen(str(ctx.actor), why, ctx.clock.now())
    if cold := await frozen(desk.engine.store):
        raise UserError(_already(desk, cold, ctx))

    async def store(connection: Any) -> Answer | None:
        before = await set_frozen(desk.engine.store, connection, new)
        if before:
            return Answer(message(_already(desk, before, ctx)), private=True)
        return await desk.announce(connection, ctx, announced(new, new.actor, desk.name))

    return Change(simple_message(f"freeze new changing runs: {why}"), store=store)


def _already(desk: RunDesk, cold: Frozen, ctx: CommandContext) -> str:
    age = duration(ctx.clock.now() - cold.since)
    return f"It is frozen already: by {desk.name(cold.actor)}, {age} ago: {cold.reason}. /runs thaw ends it."


@turns.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs thaw",))
async def thaw(ctx: CommandContext) -> Reply:
    """End the freeze: changing runs may start again, and what is queued starts."""
    desk: RunDesk = ctx.handler
    cold = await frozen(desk.engine.store)
    if cold is None:
        raise UserError("Nothing is frozen.")

    async def store(connection: Any) -> Answer | None:
        before = await set_frozen(desk.engine.store, connection, None)
        desk.engine.ended.set()  # the queue looks
        if before is None:
            return Answer(message("Nothing is frozen."), private=True)
        return await desk.announce(connection, ctx, announced(None, str(ctx.actor), desk.name, before))

    return Change(simple_message(f"end the freeze of {desk.name(cold.actor)}: {cold.reason}"), store=store)


@turns.command(danger=Danger.READ, examples=("/runs watch 01JD0000000000000000000000",))
async def watch(ctx: CommandContext, run: Run) -> Reply:
    """Be told here when a run has ended."""
    desk: RunDesk = ctx.handler
    state = await desk.state(run)
    if state.closed:
        raise UserError(f"This run has ended already: {state.status}.", suggestions=(f"/runs show {run}",))

    async def store(connection: Any) -> Answer | None:
        if ctx.incoming:
            await queue.watch(desk.engine.store, connection, run, ctx.incoming)
        return Answer(message(f"I tell you here as soon as {title_of(state.plan)} has ended."), private=True)

    return Change(simple_message(f"tell you when run {run} has ended"), store=store)


@turns.command(danger=Danger.CHANGE, starts_run=False, examples=("/runs leave 7",))
async def leave(ctx: CommandContext, number: Annotated[str, Existing("queued command"), Metavar("number")]) -> Reply:
    """Take a queued command out of the queue: it is not started.

    Parameters
    ----------
    number
        Its number in the queue, as ``/runs list`` shows it.
    """

    async def store(connection: Any) -> Answer | None:
        left = await queue.leave(connection, int(number))
        said = "is out of the queue" if left else "is in the queue no more, or is just being started"
        return Answer(message(f"Number {number} {said}."), private=not left)

    return Change(simple_message(f"take number {number} out of the queue"), store=store)
