"""What a step really does: condition, preview, action, expectation; and what is known about it after a crash."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock
from bot.errors import UserError
from bot.handler import (
    Action,
    ActionContext,
    ActionResult,
    Danger,
    Handler,
    Observation,
    Preview,
    Product,
    Provenance,
)
from bot.runbooks import expectations
from bot.runbooks.model import Step
from bot.runs.model import Finished, Plan, Prepared, RunState, Work
from bot.store import Store
from bot.surfaces.printable import printable

log = structlog.get_logger("opsbot.runs")

EVIDENCE_LIMIT = 64 * 1024


@dataclass(frozen=True, slots=True)
class Connected:
    """A product together with its connected handler."""

    product: Product
    handler: Handler

    def action(self, name: str) -> Action | None:
        return next((a for a in self.product.actions if name == a.name or name in a.aliases), None)


def digest(preview: Preview) -> str:
    """What an approval is bound to: twelve hexadecimal digits of what was shown."""
    return hashlib.sha256(f"{preview.summary}\n{preview.detail}".encode("utf-8", "replace")).hexdigest()[:12]


def fill(text: str, values: Mapping[str, str]) -> str:
    """``{stage}`` becomes the input of that name; a name without a value stays as it is."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1]) or found[0], text)


class Performer:
    """Prepares and performs the steps of runs. Every outcome is data; nothing here raises."""

    def __init__(self, store: Store, clock: Clock, products: Mapping[str, Connected]) -> None:
        self.store = store
        self.clock = clock
        self.products = products

    # -- before anything is changed

    async def prepare(self, state: RunState, work: Work) -> Prepared:
        """Look at the step's condition and make its preview."""
        plan, row = state.plan, state.plan.runbook.steps[work.step]
        try:
            verdict = await self._condition(plan, row)
            if verdict and verdict.outcome != "met":
                unknown = verdict.outcome != "not met"
                seen = verdict.observed or " ".join(verdict.details)
                return Prepared(
                    at=self.clock.now(),
                    work=work,
                    condition="cannot tell" if unknown else "does not hold",
                    observed=_clean(f"{row.condition}: {seen}"),
                    **(await self._previewed(state, row, work) if unknown else {}),
                )
            return Prepared(
                at=self.clock.now(),
                work=work,
                condition="holds" if verdict else "none",
                observed=_clean(verdict.observed) if verdict else "",
                **await self._previewed(state, row, work),
            )
        except UserError as error:
            return Prepared(at=self.clock.now(), work=work, problem=_clean(error.message))
        except Exception as error:
            return Prepared(at=self.clock.now(), work=work, problem=_unexpected(error, plan, row))

    async def _condition(self, plan: Plan, row: Step) -> expectations.Verdict | None:
        if not row.condition:
            return None
        connected = self.products.get(plan.target.product)
        tree = expectations.parse(row.condition, connected.product.phrases if connected else {})
        observations = await self._look(plan, tree, ())
        return expectations.evaluate(tree, observations)

    async def _previewed(self, state: RunState, row: Step, work: Work) -> dict[str, Any]:
        preview = await self.preview(state.plan, row, self._context(state, row, work))
        if preview is None:
            return {}
        return {"preview": preview, "digest": digest(preview)}

    async def preview(self, plan: Plan, row: Step, context: ActionContext) -> Preview | None:
        """What the step is about to do; None for a manual step and for one that only reads.

        Raises ``UserError`` when it cannot be done at all.
        """
        connected, action = self._action(plan, row)
        if connected is None or action is None or action.danger is Danger.READ:
            return None
        if action.preview is None:
            return Preview(summary=action.help)
        made = await action.preview(connected.handler, context)
        return Preview(summary=_clean(made.summary), detail=_clean(made.detail), language=made.language)

    async def dry_run(self, plan: Plan, row: Step) -> Preview | None:
        """The preview of one step of a run that will not take place."""
        return await self.preview(plan, row, self._plan_context(plan, row, f"{plan.run_id}:dry", None, asyncio.Event()))

    def _action(self, plan: Plan, row: Step) -> tuple[Connected | None, Action | None]:
        connected = self.products.get(plan.target.product)
        if connected is None or row.action is None:
            return connected, None
        return connected, connected.action(row.action)

    def _context(self, state: RunState, row: Step, work: Work, abort: asyncio.Event | None = None) -> ActionContext:
        operation = f"{state.plan.run_id}:{row.number}:{work.attempt}"
        deadline = state.steps[work.step].deadline
        return self._plan_context(state.plan, row, operation, deadline, abort or asyncio.Event())

    def _plan_context(
        self, plan: Plan, row: Step, operation: str, deadline: datetime | None, abort: asyncio.Event
    ) -> ActionContext:
        values = {"target": plan.target.name, plan.target.kind: plan.target.name, **plan.inputs}
        return ActionContext(
            target=plan.target,
            arguments={name: fill(value, values) for name, value in row.arguments.items()},
            inputs=plan.inputs,
            actor=plan.person,
            reason=plan.reason or plan.command,
            run_id=plan.run_id,
            operation_id=operation,
            clock=self.clock,
            deadline=deadline,
            abort=abort,
        )

    # -- the action and its expectation

    async def perform(self, state: RunState, work: Work, abort: asyncio.Event) -> Finished:
        """Do the step once, then compare what is seen with what is expected."""
        plan, row = state.plan, state.plan.runbook.steps[work.step]
        try:
            return await self._perform(state, row, work, abort)
        except UserError as error:
            return self._finished(work, ActionResult(status="refused", summary=error.message))
        except Exception as error:
            return self._finished(work, ActionResult(status="failed", summary=_unexpected(error, plan, row)))

    async def _perform(self, state: RunState, row: Step, work: Work, abort: asyncio.Event) -> Finished:
        plan = state.plan
        connected, action = self._action(plan, row)
        if connected is None or action is None:
            return self._finished(work, ActionResult(status="manual", summary="Do this, then say how it went."))
        context = self._context(state, row, work, abort)
        if action.danger is Danger.DESTRUCTIVE:
            now_shown = await self.preview(plan, row, context)
            approved = state.steps[work.step].digest
            if now_shown and digest(now_shown) != approved and await self._journal(context.operation_id) is None:
                changed = ActionResult(
                    status="refused", summary="The plan changed after it was approved. Approve the new one."
                )
                return self._finished(work, changed).model_copy(
                    update={"status": "changed", "preview": now_shown, "digest": digest(now_shown)}
                )
        result, ended = await self._once(connected.handler, action, context)
        if result.status != "done" or not row.expectation:
            return self._finished(work, result)
        return await self._expect(plan, row, work, connected, result, ended, abort)

    async def _once(self, handler: Handler, action: Action, context: ActionContext) -> tuple[ActionResult, datetime]:
        """Perform the action at most once, across crashes; its result and when it ended.

        The journal knows whether this attempt was begun and how it ended. An attempt that was begun by a process that
        died is not repeated: it is looked up in the product, or left to a person.
        """
        known = await self._journal(context.operation_id)
        if known and known.result:
            saved = json.loads(known.result)
            return ActionResult.model_validate(saved["result"]), datetime.fromisoformat(saved["at"])
        if known is None:
            await self._begin(context.operation_id)
            result = await _performed(action, handler, context)
        else:
            log.warning("an action was interrupted", operation=context.operation_id, action=action.name)
            found = await self._interrupted(handler, action, context)
            result = found or await _performed(action, handler, context)
        result = _cleaned(result)
        ended = self.clock.now()
        await self._end(context.operation_id, result, ended)
        return result, ended

    async def _interrupted(self, handler: Handler, action: Action, context: ActionContext) -> ActionResult | None:
        """What became of an action whose process died; None when it certainly did not happen, so that it may run."""
        if action.danger is Danger.READ:
            return None
        if action.check is None:
            return ActionResult(
                status="uncertain",
                summary=f"The bot was stopped in the middle of {action.name} and cannot tell whether it happened.",
            )
        try:
            return await action.check(handler, context)
        except UserError as error:
            return ActionResult(
                status="uncertain",
                summary=f"The bot was stopped in the middle of {action.name} and cannot look it up: {error.message}",
            )

    async def _journal(self, operation: str) -> sa.Row[Any] | None:
        rows = await self.store.rows(sa.select(tables.journal).where(tables.journal.c.operation == operation))
        return rows[0] if rows else None

    async def _begin(self, operation: str) -> None:
        async with self.store.write() as connection:
            await connection.execute(
                tables.journal.insert().values(operation=operation, begun_at=self.clock.now(), begun=1)
            )

    async def _end(self, operation: str, result: ActionResult, at: datetime) -> None:
        saved = tables.dumps({"result": result.model_dump(mode="json"), "at": at.isoformat()})
        try:
            async with self.store.write() as connection:
                await connection.execute(
                    tables.journal.update().where(tables.journal.c.operation == operation).values(result=saved)
                )
        except sa.exc.SQLAlchemyError as error:  # it happened all the same, and the engine records that too
            log.error("the end of an action cannot be stored", operation=operation, reason=tables.reason(error))

    async def _expect(
        self,
        plan: Plan,
        row: Step,
        work: Work,
        connected: Connected,
        result: ActionResult,
        since: datetime,
        abort: asyncio.Event,
    ) -> Finished:
        """Look until the expectation is decided; a look that fails is no answer, and the next one may be."""
        tree = expectations.parse(row.expectation, connected.product.phrases)
        watch = expectations.begin(tree, since)  # a budget that runs out pages, and the looking goes on
        first = True
        while True:
            observations = await self._look(plan, tree, result.observations, fresh=not first)
            step = watch.feed(self.clock.now(), observations)
            if isinstance(step, expectations.Verdict):
                return self._finished(work, result, step)
            if abort.is_set():
                return self._finished(work, result, step.verdict_so_far)
            first = False
            await _either(self.clock.sleep((step.next_look_at - self.clock.now()).total_seconds()), abort)

    async def _look(
        self,
        plan: Plan,
        tree: expectations.Expectation,
        known: tuple[Observation, ...],
        *,
        fresh: bool = True,
    ) -> dict[str, Observation]:
        """The facts that the expectation needs, read now: from the product, else from the action, else an input."""
        names = expectations.names(tree)
        seen: dict[str, Observation] = {
            name: Observation(name=name, value=_number(value), provenance=Provenance.INPUT, source="input of the run")
            for name, value in plan.inputs.items()
            if name in names and value != ""
        }
        given = {fact.name: fact for fact in known if fact.name in names}
        seen |= given
        wanted = names - seen.keys() if not fresh else names - (seen.keys() - given.keys())
        connected = self.products.get(plan.target.product)
        if not wanted or connected is None:
            return seen
        try:
            read = await connected.handler.observe(frozenset(wanted), plan.target, plan.inputs)
        except UserError as error:
            read = [
                Observation(name=name, provenance=Provenance.UNAVAILABLE, source=error.message)
                for name in wanted
                if name not in given
            ]
        for fact in read:
            if fact.provenance is not Provenance.UNAVAILABLE or fact.name not in given:
                seen[fact.name] = fact
        return seen

    def _finished(
        self,
        work: Work,
        result: ActionResult,
        verdict: expectations.Verdict | None = None,
    ) -> Finished:
        result = _cleaned(result)
        summary = result.summary
        if verdict and verdict.outcome in ("not met", "cannot tell"):
            summary = ". ".join(part.strip().rstrip(".") for part in (summary, *verdict.details) if part) + "."
        return Finished(
            at=self.clock.now(),
            work=work,
            status=result.status,
            summary=summary,
            outcome=None if verdict is None or verdict.outcome == "nothing expected" else verdict.outcome,
            observed=_clean(verdict.observed) if verdict else "",
            evidence=result.evidence,
            language=result.language,
            sources=tuple(_clean_fact(fact) for fact in (verdict.sources if verdict else ())),
        )


async def _performed(action: Action, handler: Handler, context: ActionContext) -> ActionResult:
    """The action's result; what it refuses by raising ``UserError`` is a result too."""
    try:
        return await action.perform(handler, context)
    except UserError as error:
        return ActionResult(status="refused", summary=error.message)
    except Exception as error:
        log.exception("an action failed unexpectedly", run=context.run_id, action=action.name)
        return ActionResult(
            status="failed" if action.danger is Danger.READ else "uncertain",
            summary=f"Unexpected {type(error).__name__} in {action.name}: {error}. The log has it.",
        )


async def _either(sleeping: Any, abort: asyncio.Event) -> None:
    """Until the sleep is over or the run is cancelled."""
    tasks = (asyncio.ensure_future(sleeping), asyncio.ensure_future(abort.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _unexpected(error: Exception, plan: Plan, row: Step) -> str:
    if isinstance(error, sa.exc.SQLAlchemyError):
        return f"Nothing was done, because the bot's database cannot be used: {tables.reason(error)}"
    log.exception("a step failed unexpectedly", run=plan.run_id, step=row.number)
    return f"Unexpected {type(error).__name__}: {_clean(str(error))[:300]}. The log has it under {plan.run_id}."


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _clean(text: str) -> str:
    """Storable and printable: no half surrogates, no control characters."""
    return printable(text)[:EVIDENCE_LIMIT]


def _cleaned(result: ActionResult) -> ActionResult:
    return result.model_copy(
        update={
            "summary": _clean(result.summary),
            "evidence": _clean(result.evidence),
            "observations": tuple(_clean_fact(fact) for fact in result.observations),
        }
    )


def _clean_fact(fact: Observation) -> Observation:
    return fact.model_copy(update={"value": _clean_value(fact.value), "source": _clean(fact.source)})


def _clean_value(value: Any) -> Any:
    match value:
        case str():
            return _clean(value)
        case dict():
            return {_clean(str(key)): _clean_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_clean_value(inner) for inner in value]
        case _:
            return value
