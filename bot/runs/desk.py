"""What the commands of ``/runs`` work with: the runs, the documents, and what a press would do or does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.access import Access
from bot.clock import Clock
from bot.commands.registry import Answer, Change, CommandContext
from bot.errors import UserError
from bot.incoming import Actor, Place
from bot.messages import Message
from bot.outbox import said_row
from bot.runbooks.folders import RunbookFolders
from bot.runs.around import around
from bot.runs.decide import decide, refusal
from bot.runs.engine import RunEngine
from bot.runs.model import Press, RunState, Verb
from bot.runs.perform import Connected
from bot.runs.presses import askers
from bot.runs.verified import Verifier
from bot.surfaces.card import Around
from bot.surfaces.dry_run import press_message
from bot.surfaces.port import Surface
from bot.surfaces.step_text import Name


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
        surfaces: Mapping[str, Surface],
        channel: Place | None,
    ) -> None:
        self.engine = engine
        self.clock = clock
        self.access = access
        self.name = name
        self.folders = folders
        self.connected = connected
        self.surfaces = surfaces
        self.channel = channel  # where everybody reads; None without Slack
        self.verifier = Verifier(engine.store, clock, folders, connected)

    async def inventory(self, kind: str) -> list[str]:
        """Names of a kind: runs, or the numbers of queued commands."""
        if kind == "queued command":
            numbers = await self.engine.store.rows(sa.select(tables.queue.c.number).order_by(tables.queue.c.number))
            return [str(row.number) for row in numbers]
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

    async def around(self, state: RunState) -> Around:
        return await around(self.engine.store, self.name, state)

    def refused_ack(self, state: RunState, actor: Actor) -> str:
        """Why the actor may not acknowledge; empty for an operator, and for somebody whom the open page calls."""
        called = [contact.name for contact in state.page.chain] if state.page else []
        if self.access.allows(actor, "operator") or self.access.person_of(actor) in called:
            return ""
        who = dict.fromkeys((*called, *self.access.deciders()))
        return f"Only an operator, or somebody whom the page calls, can acknowledge it: {', '.join(who)}."

    async def press(self, ctx: CommandContext, run_id: str, verb: Verb, **more: Any) -> Change:
        """What a person does to the run, to be sent; or refuse it with the reason."""
        state = await self.state(run_id)
        press = Press(
            at=self.clock.now(),
            verb=verb,
            actor=str(ctx.actor),
            is_requester=any(self.access.same_person(asker, ctx.actor) for asker in askers(state)),
            given_by=ctx.actor if more.get("given") else None,
            **more,
        )
        if refused := refusal(state, press):
            raise UserError(refused)
        would = decide(state, press)
        starts = state.plan.runbook.steps[would.start.step].number if would.start else ""

        async def send() -> None:
            await self.engine.press(run_id, press, ctx.key)

        return Change(press_message(state, would.state, would.posts, starts, self.name), send=send)

    async def announce(self, connection: AsyncConnection, ctx: CommandContext, said: Message) -> Answer | None:
        """Say it in the configured channel, and where it was asked for when that is another place."""
        place, slack = self.channel, self.surfaces.get("slack")
        if place is None or slack is None:
            return Answer(said)
        row = said_row(f"announced:{ctx.key}", "notice", place, slack.draw(said), {})
        await connection.execute(self.engine.store.insert_new(tables.outbox).values(created_at=self.clock.now(), **row))
        there = ctx.place.surface == place.surface and ctx.place.channel == place.channel
        return None if there else Answer(said)

    async def problems(self) -> list[str]:
        return await self.engine.problems()

    async def close(self) -> None:
        return None
