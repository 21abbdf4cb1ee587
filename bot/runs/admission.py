"""A command that wants a run: it starts, or stands in line, or learns who is there before it, or what it would do.

``--queue`` and ``--take-over TARGET`` matter when somebody works on the target already; ``--dry-run`` stops before
anything is stored. A command whose turn has come is dealt with here once more, with its place in the line.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.access import Access
from bot.commands.registry import Answer, Standing, StartRun
from bot.errors import UserError
from bot.handler import Danger
from bot.incoming import Actor, Incoming
from bot.messages import Message
from bot.outbox import said_row
from bot.runs import queue
from bot.runs.decide import new_run
from bot.runs.desk import RunDesk
from bot.runs.engine import RunEngine
from bot.runs.freeze import Frozen, frozen
from bot.runs.locks import Held, held, lock_key
from bot.runs.model import Plan, Press, RunState
from bot.runs.perform import Performer
from bot.runs.start import RunStarter
from bot.runs.values import fill_row
from bot.surfaces.busy import (
    ended_message,
    frozen_message,
    held_message,
    queued_message,
    repeated_message,
    taken_over_message,
    waits_message,
)
from bot.surfaces.dry_run import Foreseen, run_message
from bot.surfaces.port import Surface
from bot.words import duration

log = structlog.get_logger("opsbot.runs")

Handled = Callable[[AsyncConnection, Plan], Awaitable[None]]
"""Marks the command as handled because its run is stored, in the same transaction."""
QUEUED = "queued"


class Admission:
    """Decides which runs begin, and tells the others why not."""

    def __init__(
        self,
        engine: RunEngine,
        starter: RunStarter,
        performer: Performer,
        desk: RunDesk,
        access: Access,
        surfaces: Mapping[str, Surface],
    ) -> None:
        self.engine = engine
        self.store = engine.store
        self.clock = engine.clock
        self.starter = starter
        self.performer = performer
        self.desk = desk
        self.access = access
        self.surfaces = surfaces

    async def start(
        self, request: StartRun, incoming: Incoming, command: str, standing: Standing, handled: Handled
    ) -> tuple[Answer | None, str]:
        """Store the run and begin it; else what to answer, and why in a few words for the audit log ("" when it began).

        ``command`` is the line as it would be typed again. Raises ``UserError`` for a plan that cannot be made, and for
        a target's name that was not typed right.
        """
        plan = self.starter.plan(request, incoming, await self.desk.verifier.small_print(request.runbook))
        if not self._may_start(plan, incoming):
            return Answer(self.access.refusal(incoming.actor, "admin", command), private=True), "needs admin"
        plan = plan.model_copy(update={"usual": await self.engine.durations.of(plan.runbook)})
        plan = await self.starter.with_issue(plan)
        target = plan.target.name
        if standing.take_over and standing.take_over != target:
            raise UserError(
                f'Nothing was taken over: you typed "{standing.take_over[:60]}", and this works on {target}. '
                f"Type {target} behind --take-over."
            )
        entry = queue.entry_of(incoming)
        async with self.store.write() as connection:
            way = await self.starter.store_run(connection, plan, incoming, entry)
            if way is None:
                if plan.ancestor:
                    await self._tell_ancestor(connection, plan)
                await handled(connection, plan)
            elif entry:
                await queue.put_back(connection, entry)
                return None, QUEUED
            elif standing.queue or (standing.take_over and isinstance(way, Held)):
                return await self._queue(
                    connection, plan, incoming, command, way, over=bool(standing.take_over)
                ), QUEUED
            else:
                return self._refused(plan, way, command)
        try:
            await self.engine.start(plan.run_id)
        except Exception:  # it is stored, so the engine's sweep begins it as soon as that is possible
            log.exception("a run begins later", run=plan.run_id)
        self.engine.changed.set()
        return None, ""

    def _may_start(self, plan: Plan, incoming: Incoming) -> bool:
        """What a command asks of people its runbook asks too: ``/runs start``, and whoever repeats the run."""
        connected = self.starter.products.get(plan.target.product)
        actions = [connected.action(row.action) for row in plan.runbook.steps if row.action] if connected else []
        for_admins = not plan.drill and any(action and action.level == "admin" for action in actions)
        return not for_admins or self.access.allows(incoming.actor, "admin")

    def _refused(self, plan: Plan, way: Held | Frozen, command: str) -> tuple[Answer, str]:
        now, name = self.clock.now(), self.desk.name
        if isinstance(way, Frozen):
            return Answer(frozen_message(way, command, now, name), private=True), f"frozen by {way.actor}: {way.reason}"
        why = f"{way.owner} already works on {plan.target.key} with run {way.run_id}"
        return Answer(held_message(plan, way, command, now, name), private=True), why

    async def _queue(
        self,
        connection: AsyncConnection,
        plan: Plan,
        incoming: Incoming,
        command: str,
        way: Held | Frozen,
        *,
        over: bool,
    ) -> Answer:
        """Stand in line, the owner's run learns of it; whoever takes over is the next, and that run is cancelled."""
        name = self.desk.name
        cancels = way.run_id if over and isinstance(way, Held) else ""
        number, before = await queue.enqueue(self.store, connection, plan, incoming, command, cancels=cancels)
        self.engine.ended.set()  # the queue looks
        if isinstance(way, Frozen):
            return Answer(queued_message(plan, command, number, before, "the freeze of changing runs ends"))
        if cancels:
            return Answer(taken_over_message(plan, number, way, name))
        if way.run_id:
            told = waits_message(name(plan.person), command, number)
            await self._say_in_thread(connection, way.run_id, told, f"queue:{number}")
        return Answer(
            queued_message(plan, command, number, before, f"{name(way.owner)} is done with {plan.target.name}")
        )

    # -- what is said beside the run itself

    async def _tell_ancestor(self, connection: AsyncConnection, plan: Plan) -> None:
        if plan.ancestor is None:
            return
        step = plan.runbook.steps[len(plan.ancestor.steps)].number
        told = repeated_message(self.desk.name(plan.person), plan.run_id, step)
        await self._say_in_thread(connection, plan.ancestor.run_id, told, f"repeated:{plan.run_id}")

    async def _say_in_thread(self, connection: AsyncConnection, run_id: str, told: Message, key: str) -> None:
        """In the thread of a run's card, where it has one."""
        state = await self.engine.state(run_id)
        for place in self.starter.places(state.plan) if state else ():
            surface = self.surfaces.get(place.surface)
            if surface is not None and place.surface == "slack":
                row = said_row(f"{run_id}:{key}", "thread", place, surface.draw(told), {}) | {"thread": ""}
                await connection.execute(
                    self.store.insert_new(tables.outbox).values(run_id=run_id, created_at=self.clock.now(), **row)
                )

    async def take_over(self, run_id: str, incoming: Incoming, key: str) -> None:
        """Cancel the run for whoever takes its target over; its owner is told by name. Doing it twice does nothing."""
        state = await self.engine.state(run_id)
        if state is None or state.closed or state.cancelling:
            return
        press = Press(
            at=self.clock.now(),
            verb="take over",
            actor=str(incoming.actor),
            is_requester=self.access.same_person(state.plan.actor, incoming.actor),
            reason=incoming.text,
            notify=self._owner(state, incoming.actor),
        )
        await self.engine.press(run_id, press, key)

    def _owner(self, state: RunState, actor: Actor) -> str:
        """Who has the run, as ``[people]`` names them; "" for nobody there, and for the one who acts."""
        owner = state.owner or self.access.person_of(state.plan.actor) or ""
        return "" if owner == self.access.person_of(actor) else owner

    async def tell_end(self, connection: AsyncConnection, state: RunState, incoming: Incoming) -> None:
        """For somebody who watched the run, in the place where they asked for that."""
        surface = self.surfaces.get(incoming.place.surface)
        if surface is None:
            return
        told = ended_message(state, self.access.person_of(incoming.actor), self.desk.name(str(incoming.actor)))
        row = said_row(f"ended:{incoming.key}", "answer", incoming.place, surface.draw(told), {})
        await connection.execute(self.store.insert_new(tables.outbox).values(created_at=self.clock.now(), **row))

    # -- only to see

    async def dry_run(self, request: StartRun, incoming: Incoming) -> Answer:
        """What every step would do, and what is in the way. Nothing is done, locked or stored. Raises ``UserError``."""
        plan = self.starter.plan(request, incoming)
        if not self._may_start(plan, incoming):
            return Answer(self.access.refusal(incoming.actor, "admin", incoming.text), private=True)
        plan = plan.model_copy(update={"usual": await self.engine.durations.of(plan.runbook)})
        way: list[str] = []
        if plan.changes:
            if not plan.drill and (cold := await frozen(self.store)):
                way.append(f"{self.desk.name(cold.actor)} has frozen new changing runs: {cold.reason}")
            async with self.store.read() as connection:
                busy = await held(connection, lock_key(plan))
            if busy:
                since = f"{busy.since:%H:%M} UTC, {duration(self.clock.now() - busy.since)} ago"
                run = f", run {busy.run_id}" if busy.run_id else ", queued"
                owner = self.desk.name(busy.owner)
                way.append(f"{owner} works on {plan.target.name} (since {since}{run}): {busy.reason}")
        state = new_run(plan)
        rows = tuple(fill_row(state, index) for index in range(len(plan.runbook.steps)))  # what a retry knows already
        plan = plan.model_copy(update={"runbook": plan.runbook.model_copy(update={"steps": rows})})
        foreseen = []
        for row, danger in zip(plan.runbook.steps, plan.dangers, strict=True):
            try:
                changes = danger in (Danger.CHANGE, Danger.DESTRUCTIVE)
                condition = await self.performer.condition_now(plan, row)
                foreseen.append(Foreseen(await self.performer.dry_run(plan, row) if changes else None, condition))
            except UserError as error:
                foreseen.append(Foreseen(problem=error.message))
        return Answer(run_message(plan, foreseen, way), private=True)
