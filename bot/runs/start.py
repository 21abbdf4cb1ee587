"""From what a command asks for to a stored run: its plan is frozen, its target locked, its cards laid out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from bot import store as tables
from bot.access import Access
from bot.clock import Clock
from bot.commands.registry import StartRun
from bot.errors import UserError
from bot.handler import Danger, KnowsIssues
from bot.incoming import Incoming, Place
from bot.runs.decide import new_run, next_due
from bot.runs.freeze import Frozen, still_frozen
from bot.runs.locks import Held, take
from bot.runs.model import Plan
from bot.runs.paging import paging_of
from bot.runs.perform import Connected
from bot.runs.values import fill_at_start, fill_text, of_start
from bot.settings import Settings
from bot.store import Store
from bot.surfaces.port import HasIssues

log = structlog.get_logger("opsbot.runs")


class RunStarter:
    """Makes runs out of requests."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        access: Access,
        products: Mapping[str, Connected],
        issues: HasIssues | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.access = access
        self.products = products
        self.issues = issues
        self.paging = paging_of(settings.escalation, settings.people)

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
        in_thread_of_another = request.ancestor is not None and incoming.place.surface == "slack"
        return Plan(
            run_id=str(ULID.from_datetime(now)),
            command=incoming.text,
            runbook=book,
            target=request.target,
            actor=incoming.actor,
            # A run that repeats another one has a card of its own in the channel, not in the thread of the other.
            place=incoming.place.model_copy(update={"thread": ""}) if in_thread_of_another else incoming.place,
            reason=request.reason,
            inputs=inputs,
            changes=request.changes,
            dangers=tuple(_danger(connected, step.action) for step in steps),
            started_at=now,
            deadline=now + total if total else None,
            severity=severity,
            paging=self.paging,
            approvers=self.access.approvers(incoming.actor),
            deciders=self.access.deciders(),
            approval_timeout=self.settings.runs.approval_timeout,
            ancestor=request.ancestor,
            drill=request.drill,
            faults=request.faults,
            verified=verified,
        )

    async def with_issue(self, plan: Plan) -> Plan:
        """With the GitHub issue of its target, where it has one that is there. A rehearsal is nobody's news."""
        connected, github = self.products.get(plan.target.product), self.settings.github
        if github is None or self.issues is None or connected is None or plan.drill:
            return plan
        if not isinstance(connected.handler, KnowsIssues):
            return plan
        try:
            number = await connected.handler.issue_of(plan.target)
        except UserError as error:  # the run itself will say what is wrong with its product
            log.warning("nobody can tell the issue of a target", target=plan.target.key, reason=error.message)
            return plan
        if number is None:
            return plan
        place = await self.issues.issue(number)
        configured = self.settings.escalation.issue
        instead = Place(surface="github", channel=github.repository, thread=str(configured)) if configured else None
        return plan.model_copy(update={"issue": place if github.mirror else None, "paged_on": place or instead})

    async def store_run(
        self, connection: AsyncConnection, plan: Plan, incoming: Incoming, entry: int = 0
    ) -> Held | Frozen | None:
        """Lock the target and store the run, in the caller's transaction; or say what is in the way.

        ``entry`` is the place in the queue of a command whose turn it is.
        """
        if plan.changes:
            if not plan.drill and (cold := await still_frozen(self.store, connection)):
                return cold
            if busy := await take(self.store, connection, plan, entry):
                return busy
        if plan.ancestor:
            await self._repeats(connection, plan, plan.ancestor.run_id)
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

    async def _repeats(self, connection: AsyncConnection, plan: Plan, ancestor: str) -> None:
        """The earlier run's cards say from now on that there is a later one."""
        await connection.execute(tables.retries.insert().values(run_id=plan.run_id, ancestor=ancestor))
        await connection.execute(tables.cards.update().where(tables.cards.c.run_id == ancestor).values(version=-1))

    def places(self, plan: Plan) -> list[Place]:
        """Where the run is shown: where it was asked for, always in Slack when Slack is there, and on its issue."""
        places = [plan.place]
        slack = self.settings.slack
        if slack and plan.place.surface != "slack":
            places.append(Place(surface="slack", channel=slack.channel))
        if plan.issue and plan.place.surface != plan.issue.surface:
            places.append(plan.issue)
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
