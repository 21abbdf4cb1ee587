"""What a step really does: condition, preview, action, expectation; and what is known about it after a crash."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock, first_of
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
    Target,
)
from bot.repository_events import RepositoryEvents
from bot.runbooks import expectations
from bot.runbooks.binding import fill
from bot.runbooks.model import Runbook, Step
from bot.runs import values
from bot.runs.journal import Journal
from bot.runs.model import Finished, Plan, Prepared, Progress, RunState, Work
from bot.runs.storable import clean, clean_fact, clean_result
from bot.store import Store

log = structlog.get_logger("opsbot.runs")


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


class Simulations(Protocol):
    """Where a drill gets its product from: ``bot.demo.rehearsal``."""

    def target(self, book: Runbook, name: str) -> Target:
        """What a drill of this runbook works on; an empty name is the simulation's choice. Raises ``UserError``."""
        ...

    def faults(self, product: str, names: Sequence[str]) -> tuple[str, ...]:
        """The faults as the simulation of the product knows them. Raises ``UserError`` for one that it has not."""
        ...

    async def connected(self, plan: Plan) -> tuple[Connected | None, bool]:
        """The simulated product of a drill, and whether it was started just now.

        None for a runbook without a product. Raises ``UserError`` when it cannot be simulated.
        """
        ...

    def end(self, run_id: str) -> None:
        """The drill is over; nothing happens for a run that is none."""
        ...


class Performer:
    """Prepares and performs the steps of runs. Every outcome is data; nothing here raises."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        products: Mapping[str, Connected],
        simulations: Simulations | None = None,
        repository: RepositoryEvents | None = None,
    ) -> None:
        self.clock = clock
        self.repository = repository
        self.journal = Journal(store, clock)
        self.products = products
        self.simulations = simulations
        self.progress: dict[str, Progress] = {}  # by run: what its step waits for, for the card
        self._started_again: set[str] = set()  # drills whose simulation was lost with an earlier process

    def forget(self, run_id: str) -> None:
        """The run is over."""
        self.progress.pop(run_id, None)
        self._started_again.discard(run_id)
        if self.simulations:
            self.simulations.end(run_id)

    async def connected(self, plan: Plan) -> Connected | None:
        """The run's product; for a drill its simulation, never the real one."""
        if not plan.drill:
            return self.products.get(plan.target.product)
        if self.simulations is None:
            raise UserError("This bot has no simulations, so it cannot rehearse.")
        connected, new = await self.simulations.connected(plan)
        if new:
            operation = f"{plan.run_id}:simulation"
            if await self.journal.known(operation) is not None:
                self._started_again.add(plan.run_id)
            await self.journal.begin(operation, asyncio.Event())
        return connected

    # -- before anything is changed

    async def prepare(self, state: RunState, work: Work, abort: asyncio.Event | None = None) -> Prepared:
        """Look at the step's condition and make its preview."""
        plan, row = state.plan, state.plan.runbook.steps[work.step]
        try:
            if asked := _missing(plan, row):
                return Prepared(at=self.clock.now(), work=work, problem=clean(asked), missing=True)
            verdict = await self._condition(state, row, work, abort or asyncio.Event())
            if verdict and verdict.outcome != "met":
                unknown = verdict.outcome != "not met"
                why = _told_apart(verdict) if unknown and verdict.observed else []
                seen = "; ".join((verdict.observed, *why)) or " ".join(verdict.details)
                return Prepared(
                    at=self.clock.now(),
                    work=work,
                    condition="cannot tell" if unknown else "does not hold",
                    observed=clean(f"{row.condition}: {seen}"),
                    **(await self._previewed(state, row, work, abort) if unknown else {}),
                )
            return Prepared(
                at=self.clock.now(),
                work=work,
                condition="holds" if verdict else "none",
                observed=clean(verdict.observed) if verdict else "",
                **await self._previewed(state, row, work, abort),
            )
        except UserError as error:
            return Prepared(at=self.clock.now(), work=work, problem=clean(error.message))
        except Exception as error:
            return Prepared(at=self.clock.now(), work=work, problem=_unexpected(error, plan, row))
        finally:
            self.progress.pop(plan.run_id, None)

    async def _condition(
        self, state: RunState, row: Step, work: Work, abort: asyncio.Event
    ) -> expectations.Verdict | None:
        if not row.condition:
            return None
        connected = await self.connected(state.plan)
        tree = expectations.parse(row.condition, connected.product.phrases if connected else {})
        since = work.begun_at or self.clock.now()
        return await self._until_decided(state, tree, work, connected, (), since, abort)

    async def _previewed(self, state: RunState, row: Step, work: Work, abort: asyncio.Event | None) -> dict[str, Any]:
        preview = await self.preview(state.plan, row, self._context(state, row, work, abort))
        if preview is None:
            return {}
        return {"preview": preview, "digest": digest(preview)}

    async def preview(self, plan: Plan, row: Step, context: ActionContext) -> Preview | None:
        """What the step is about to do; None for a manual step and for one that only reads.

        Raises ``UserError`` when it cannot be done at all.
        """
        connected, action = await self._action(plan, row)
        if connected is None or action is None or action.danger is Danger.READ:
            return None
        if action.preview is None:
            return Preview(summary=action.help)
        made = await action.preview(connected.handler, context)
        return Preview(
            summary=clean(made.summary), detail=clean(made.detail), language=made.language, now=clean(made.now)
        )

    async def dry_run(self, plan: Plan, row: Step) -> Preview | None:
        """The preview of one step of a run that will not take place."""
        if names := values.missing(row, values.of_start(plan.inputs, plan.target)):
            return Preview(summary=f"Only the run itself can tell: it takes {', '.join(names)} from an earlier step.")
        return await self.preview(plan, row, self._plan_context(plan, row, f"{plan.run_id}:dry", None, asyncio.Event()))

    async def condition_now(self, plan: Plan, row: Step) -> str:
        """How a row's condition stands at one look, in words; for a run that will not take place."""
        if not row.condition:
            return ""
        if names := values.missing(row, values.of_start(plan.inputs, plan.target)):
            return f"Only the run itself can tell: it takes {', '.join(names)} from an earlier step."
        connected = await self.connected(plan)
        tree = expectations.parse(row.condition, connected.product.phrases if connected else {})
        now = self.clock.now()
        look = expectations.begin(tree, now).feed(now, await self._look(plan, tree, connected, (), {}))
        verdict = look if isinstance(look, expectations.Verdict) else look.verdict_so_far
        words = {"met": "It holds now", "not met": "It does not hold now, so the step would be left out"}
        seen = f": {verdict.observed}" if verdict.observed else ""
        return clean(f"{words.get(verdict.outcome, 'Nobody can tell now whether it holds')}{seen}.")

    async def _action(self, plan: Plan, row: Step) -> tuple[Connected | None, Action | None]:
        connected = await self.connected(plan)
        if connected is None or row.action is None:
            return connected, None
        return connected, connected.action(row.action)

    def _context(self, state: RunState, row: Step, work: Work, abort: asyncio.Event | None = None) -> ActionContext:
        operation = f"{state.plan.run_id}:{row.number}:{work.attempt}"
        deadline = state.steps[work.step].deadline
        context = self._plan_context(state.plan, row, operation, deadline, abort or asyncio.Event())
        return replace(context, tell=partial(self._tell, state.plan.run_id, work))

    def _plan_context(
        self, plan: Plan, row: Step, operation: str, deadline: datetime | None, abort: asyncio.Event
    ) -> ActionContext:
        return ActionContext(
            target=plan.target,
            arguments=fill(row.arguments, values.of_start(plan.inputs, plan.target)),
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
            finished = await self._perform(state, row, work, abort)
        except UserError as error:
            finished = self._finished(work, ActionResult(status="refused", summary=error.message))
        except Exception as error:
            finished = self._finished(work, ActionResult(status="failed", summary=_unexpected(error, plan, row)))
        finally:
            self.progress.pop(plan.run_id, None)
        if plan.run_id in self._started_again:
            self._started_again.discard(plan.run_id)
            summary = f"The simulation was started again with the bot, in its first state. {finished.summary}"
            finished = finished.model_copy(update={"summary": summary})
        return finished

    async def _perform(self, state: RunState, row: Step, work: Work, abort: asyncio.Event) -> Finished:
        plan = state.plan
        if asked := _missing(plan, row):
            return self._finished(work, ActionResult(status="manual", summary=asked))
        connected, action = await self._action(plan, row)
        if connected is None or action is None:
            return self._finished(work, ActionResult(status="manual", summary="Do this, then say how it went."))
        context = self._context(state, row, work, abort)
        if action.danger is Danger.DESTRUCTIVE:
            now_shown = await self.preview(plan, row, context)
            approved = state.steps[work.step].digest
            if now_shown and digest(now_shown) != approved and await self.journal.known(context.operation_id) is None:
                changed = ActionResult(
                    status="refused", summary="The plan changed after it was approved. Approve the new one."
                )
                return self._finished(work, changed).model_copy(
                    update={"status": "changed", "preview": now_shown, "digest": digest(now_shown)}
                )
        result, ended = await self.journal.once(connected.handler, action, context)
        verdict = None
        if result.status == "done" and row.expectation:
            tree = expectations.parse(row.expectation, connected.product.phrases)
            if action.danger is Danger.READ and expectations.is_temporal(tree):
                ended = await self.journal.since(f"{context.operation_id}:expectation", ended)
            verdict = await self._until_decided(state, tree, work, connected, result.observations, ended, abort)
        finished = self._finished(work, result, verdict)
        return finished.model_copy(update={"facts": await self._for_later(plan, connected, result, finished)})

    def _tell(self, run_id: str, work: Work, waiting_for: str, until: datetime, seen: str = "") -> None:
        """What a long action says of itself, for the card."""
        self.progress[run_id] = Progress(work=work, waiting_for=clean(waiting_for), until=until, observed=clean(seen))

    async def _for_later(
        self, plan: Plan, connected: Connected, result: ActionResult, finished: Finished
    ) -> tuple[Observation, ...]:
        """What later rows want of this step; what they want of no other step is read now, if it was not seen."""
        wanted, of_this_step = values.mentioned(plan.runbook, finished.work.step, connected.product.phrases)
        if not wanted:
            return ()
        found = values.kept((*result.observations, *finished.sources), wanted)
        unseen = of_this_step - {fact.name for fact in found}
        if unseen and result.status == "done":
            found += values.kept(await self._read(plan, connected, unseen), unseen)
        return tuple(clean_fact(fact) for fact in found)

    async def _until_decided(
        self,
        state: RunState,
        tree: expectations.Expectation,
        work: Work,
        connected: Connected | None,
        known: tuple[Observation, ...],
        since: datetime,
        abort: asyncio.Event,
    ) -> expectations.Verdict:
        """Look until it is decided; a look that fails is no answer, and the next one may be."""
        watch = expectations.begin(tree, since)  # a budget that runs out pages, and the looking goes on
        earlier = values.earlier_facts(state, work.step) if work.kind == "prepare" else {}
        first = True
        while True:
            heard = self.repository.heard if self.repository else 0
            observations = await self._look(state.plan, tree, connected, known, earlier, fresh=not first)
            step = watch.feed(self.clock.now(), observations)
            if isinstance(step, expectations.Verdict):
                return step
            if abort.is_set():
                return step.verdict_so_far
            first = False
            self.progress[state.plan.run_id] = Progress(
                work=work,
                waiting_for=clean(str(tree)),
                until=step.until,
                observed=clean(step.verdict_so_far.observed),
            )
            pause = self.clock.sleep((step.next_look_at - self.clock.now()).total_seconds())
            if self.repository is None:
                await first_of(pause, abort.wait())
            else:  # a workflow run that ended may be the one that this step waits for: look now
                await first_of(pause, abort.wait(), self.repository.another(heard, ("workflow_ended",)))

    async def _look(
        self,
        plan: Plan,
        tree: expectations.Expectation,
        connected: Connected | None,
        known: tuple[Observation, ...],
        earlier: Mapping[str, Observation],
        *,
        fresh: bool = True,
    ) -> dict[str, Observation]:
        """The facts that are compared, read now: from the product, else from the action, else an input.

        ``earlier`` is what earlier steps have seen; it stands in for what cannot be read now.
        """
        names = expectations.names(tree)
        seen: dict[str, Observation] = {
            name: Observation(name=name, value=_number(value), provenance=Provenance.INPUT, source="input of the run")
            for name, value in plan.inputs.items()
            if name in names and value != ""
        }
        given = {fact.name: fact for fact in known if fact.name in names}
        seen |= given
        wanted = names - seen.keys() if not fresh else names - (seen.keys() - given.keys())
        for fact in await self._read(plan, connected, frozenset(wanted)) if wanted and connected else ():
            if fact.provenance is not Provenance.UNAVAILABLE or fact.name not in given:
                seen[fact.name] = fact
        for name in names & earlier.keys():
            if name not in seen or seen[name].provenance is Provenance.UNAVAILABLE:
                seen[name] = earlier[name]
        return seen

    async def _read(self, plan: Plan, connected: Connected, names: frozenset[str]) -> list[Observation]:
        """Ask the product; what cannot be read comes back ``UNAVAILABLE``, with the reason."""
        try:
            return await connected.handler.observe(names, plan.target, plan.inputs)
        except UserError as error:
            return _unavailable(names, error.message)
        except Exception as error:  # the action was done all the same; what it led to is for a person to say
            log.exception("facts cannot be read", product=plan.target.product, run=plan.run_id)
            return _unavailable(names, f"reading failed with an unexpected {type(error).__name__}")

    def _finished(
        self,
        work: Work,
        result: ActionResult,
        verdict: expectations.Verdict | None = None,
    ) -> Finished:
        result = clean_result(result)
        summary = result.summary
        if verdict and verdict.outcome in ("not met", "cannot tell"):
            summary = clean(_sentences(summary, *_told_apart(verdict)))
        return Finished(
            at=self.clock.now(),
            work=work,
            status=result.status,
            summary=summary,
            outcome=None if verdict is None or verdict.outcome == "nothing expected" else verdict.outcome,
            observed=clean(verdict.observed) if verdict else "",
            evidence=result.evidence,
            language=result.language,
            sources=tuple(clean_fact(fact) for fact in (verdict.sources if verdict else ())),
        )


def _missing(plan: Plan, row: Step) -> str:
    """What has to be asked of a person before the step can be done or compared."""
    names = values.missing(row, values.of_start(plan.inputs, plan.target))
    return values.question(names, row.number, plan.run_id) if names else ""


def _told_apart(verdict: expectations.Verdict) -> list[str]:
    """The verdict's details without where its facts come from: that stands in small print below."""
    known = [f"{fact.name} is " for fact in verdict.sources if fact.provenance is not Provenance.UNAVAILABLE]
    return [detail for detail in verdict.details if not detail.startswith(tuple(known))]


def _sentences(*parts: str) -> str:
    """``("worker-3 runs", "the 30s are over")`` -> ``worker-3 runs. The 30s are over.``; names keep their case."""
    told = [part.strip().rstrip(".") for part in parts if part.strip()]
    first = [part.split(maxsplit=1)[0] for part in told]
    return (
        ". ".join(
            part[:1].upper() + part[1:] if number and word.isalpha() else part
            for number, (part, word) in enumerate(zip(told, first, strict=True))
        )
        + "."
    )


def _unexpected(error: Exception, plan: Plan, row: Step) -> str:
    if isinstance(error, sa.exc.SQLAlchemyError):
        return f"Nothing was done, because the bot's database cannot be used: {tables.reason(error)}"
    log.exception("a step failed unexpectedly", run=plan.run_id, step=row.number)
    return f"Unexpected {type(error).__name__}: {clean(str(error))[:300]}. The log has it under {plan.run_id}."


def _unavailable(names: Iterable[str], why: str) -> list[Observation]:
    return [Observation(name=name, provenance=Provenance.UNAVAILABLE, source=why) for name in names]


def _number(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
