"""From what a command asks for to a stored run: its plan is frozen, its target locked, its cards laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from bot import store as tables
from bot.access import Access
from bot.clock import Clock
from bot.commands.registry import StartRun
from bot.errors import UserError
from bot.handler import Danger
from bot.incoming import Incoming, Place
from bot.runs.decide import new_run, next_due
from bot.runs.model import Plan
from bot.runs.perform import Connected
from bot.runs.values import fill_at_start, fill_text, of_start
from bot.settings import Settings
from bot.store import Store
from bot.words import duration


@dataclass(frozen=True, slots=True)
class Held:
    """Who works on a target: the owner of its lock."""

    run_id: str
    owner: str
    reason: str
    since_text: str


class RunStarter:
    """Makes runs out of requests."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        access: Access,
        products: Mapping[str, Connected],
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.access = access
        self.products = products

    def plan(self, request: StartRun, incoming: Incoming, verified: str = "") -> Plan:
        """The frozen plan; ``verified`` says when its document was verified last.

        Raises ``UserError`` when an input that the runbook needs is missing.
        """
        book = request.runbook
        inputs = {**book.inputs, **request.inputs}
        missing = [name for name, value in inputs.items() if value == "" and _is_used(name, request)]
        if missing:
            raise UserError(f"{book.id} needs {', '.join(missing)}. Add for example --input {missing[0]}=VALUE")
        values = of_start(inputs, request.target)
        steps = tuple(fill_at_start(step, values) for step in book.steps)
        book = book.model_copy(update={"steps": steps, "title": fill_text(book.title, values)})
        now = self.clock.now()
        total = request.budget or book.sla or book.total or sum((s.budget or timedelta() for s in steps), timedelta())
        connected = self.products.get(request.target.product)
        severity = book.severity if book.severity in ("low", "medium", "high", "critical") else "high"
        escalation = self.settings.escalation
        return Plan(
            run_id=str(ULID.from_datetime(now)),
            command=incoming.text,
            runbook=book,
            target=request.target,
            actor=incoming.actor,
            place=incoming.place,
            reason=request.reason,
            inputs=inputs,
            changes=request.changes,
            dangers=tuple(_danger(connected, step.action) for step in steps),
            started_at=now,
            deadline=now + total if total else None,
            severity=severity,
            contacts=(escalation.contact,),
            repeat=getattr(escalation.repeat, severity),
            approvers=self.access.approvers(incoming.actor),
            drill=request.drill,
            faults=request.faults,
            verified=verified,
        )

    async def store_run(self, connection: AsyncConnection, plan: Plan, incoming: Incoming) -> Held | None:
        """Lock the target and store the run, in the caller's transaction; or say who holds the target."""
        target = f"drill/{plan.target.key}" if plan.drill else plan.target.key
        if plan.changes:
            taken = await connection.execute(
                self.store.insert_new(tables.locks)
                .values(
                    target=target,
                    run_id=plan.run_id,
                    owner=plan.person,
                    reason=plan.reason or plan.command,
                    since=plan.started_at,
                )
                .returning(tables.locks.c.target)
            )
            if taken.first() is None:
                row = (await connection.execute(sa.select(tables.locks).where(tables.locks.c.target == target))).one()
                age = duration(self.clock.now() - row.since)
                return Held(row.run_id, row.owner, row.reason, f"{row.since:%H:%M} UTC, {age} ago")
        state = new_run(plan)
        await connection.execute(
            tables.runs.insert().values(
                id=plan.run_id,
                key=incoming.key,
                version=0,
                open=True,
                status=state.status,
                next_due=next_due(state),
                state=state.model_dump_json(),
                started_at=plan.started_at,
            )
        )
        for place in self.places(plan):
            await connection.execute(
                tables.cards.insert().values(
                    run_id=plan.run_id, surface=place.surface, channel=place.channel, thread=place.thread, version=-1
                )
            )
        return None

    def places(self, plan: Plan) -> list[Place]:
        """Where the run is shown: where it was asked for, and always in Slack when Slack is there."""
        places = [plan.place]
        slack = self.settings.slack
        if slack and plan.place.surface != "slack":
            places.append(Place(surface="slack", channel=slack.channel))
        return places


def _is_used(name: str, request: StartRun) -> bool:
    """Whether an action or a text of the runbook needs the input; facts may take its place in expectations."""
    mark = "{" + name + "}"
    return any(
        any(mark in text for text in (step.text, step.expectation, step.condition or "", *step.arguments.values()))
        for step in request.runbook.steps
    )


def _danger(connected: Connected | None, name: str | None) -> Danger | None:
    action = connected.action(name) if connected and name else None
    return action.danger if action else None
