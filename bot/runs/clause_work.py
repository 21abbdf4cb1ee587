"""``attach: [step 3, handle.journal()]`` and ``issue: …``: what a clause of a runbook's escalation fetches and files.

The page goes out at once; this goes on beside the run, and the page shows it as soon as it is there. What is attached
is only read, so that it may be read again after a crash. An issue is filed once: its intent is in the journal, and one
whose filing was interrupted is found again by the mark that is hidden in it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock, first_of
from bot.errors import UserError
from bot.handler import ActionContext, ActionResult, Danger, Observation, Provenance
from bot.runbooks.binding import fill, find_action, parse_call
from bot.runbooks.clauses import attached_step
from bot.runbooks.model import Clause
from bot.runs.engine import RunEngine
from bot.runs.model import Gathered, RunState
from bot.runs.paging import Attachment, Fired
from bot.runs.perform import Connected, Performer
from bot.runs.storable import clean
from bot.runs.values import of_start
from bot.store import Store
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.page import issue_message, issue_title
from bot.surfaces.port import FilesIssues, Surface
from bot.surfaces.step_text import both_ends, plain_step
from bot.words import counted

log = structlog.get_logger("opsbot.runs")

READ_TIMEOUT = 60.0  # seconds for one attachment
KEPT = 8000  # characters of one attachment, from both its ends
FIRST_RETRY, LAST_RETRY = 15.0, 600.0  # seconds
SHOWN_AFTER = 3  # failed tries


class ClauseWork:
    """Does what clauses that have come true ask for, one task for each run."""

    def __init__(
        self, store: Store, clock: Clock, engine: RunEngine, performer: Performer, surfaces: dict[str, Surface]
    ) -> None:
        self.store = store
        self.clock = clock
        self.engine = engine
        self.performer = performer
        github = surfaces.get("github")
        self.github = github
        self.issues = github if isinstance(github, FilesIssues) else None
        self._task: asyncio.Task[None] | None = None
        self._working: dict[tuple[str, int], asyncio.Task[None]] = {}

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="opsbot clauses")

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._working.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def problems(self) -> list[str]:
        """What could not be fetched or filed after several tries."""
        rows = await self.store.rows(
            sa.select(tables.clauses).where(
                sa.not_(tables.clauses.c.done),
                tables.clauses.c.problem != "",
                tables.clauses.c.attempts >= SHOWN_AFTER,
            )
        )
        return [
            f"The escalation of run {row.run_id} is not complete after {counted(row.attempts, 'try', 'tries')}: "
            f"{row.problem}"
            for row in rows
        ]

    async def _run(self) -> None:
        while True:
            try:
                for row in await self._due():
                    key = (row.run_id, row.clause)
                    working = self._working.get(key)
                    if working is None or working.done():
                        self._working[key] = asyncio.create_task(self._do(row), name=f"opsbot clause {key}")
                self._working = {key: task for key, task in self._working.items() if not task.done()}
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("the clauses cannot be read", reason=tables.reason(error))
            except Exception:
                log.exception("the clauses cannot be read")
            await first_of(self.clock.sleep(5.0), self.engine.clause_fired.wait(5.0))

    async def _due(self) -> Sequence[sa.Row[Any]]:
        table = tables.clauses
        return await self.store.rows(
            sa.select(table).where(
                sa.not_(table.c.done),
                sa.or_(table.c.next_try_at.is_(None), table.c.next_try_at <= self.clock.now()),
            )
        )

    async def _do(self, row: sa.Row[Any]) -> None:
        try:
            state = await self.engine.state(row.run_id)
            fired = next((each for each in state.fired if each.clause == row.clause), None) if state else None
            if state is None or fired is None or not fired.pending:
                await self._set(row, done=True)
                return
            await self._fetch(row, state, fired)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.error("a clause has to wait", run=row.run_id, reason=tables.reason(error))
        except Exception as error:  # the page is out; what it lacks is tried again
            log.exception("a clause failed unexpectedly", run=row.run_id)
            await self._again(row, f"unexpected {type(error).__name__}")

    async def _fetch(self, row: sa.Row[Any], state: RunState, fired: Fired) -> None:
        clause = state.plan.runbook.clauses[fired.clause]
        attachments = fired.attachments or await self._attachments(state, clause)
        issue, problem, later = "", "", ""
        try:
            issue, problem = await self._filed(row, state, fired, attachments)
        except TryLater as error:
            later = problem = f"{error.reason or 'GitHub does not answer'}; it is tried again"
        if not later or attachments != fired.attachments or problem != fired.problem:
            event = Gathered(
                at=self.clock.now(),
                clause=fired.clause,
                attachments=attachments,
                issue=issue,
                problem=problem,
                pending=bool(later),
            )
            # A try that was interrupted behind this line is made again; what it then finds is news all the same.
            which = f"later:{row.attempts}" if later else "done"
            await self.engine.send(row.run_id, event, f"gathered:{fired.clause}:{which}")
        if later:
            await self._again(row, later)
        else:
            await self._set(row, done=True, problem="")

    async def _again(self, row: sa.Row[Any], problem: str) -> None:
        after = min(LAST_RETRY, FIRST_RETRY * 2 ** min(row.attempts, 10))
        await self._set(
            row,
            attempts=row.attempts + 1,
            problem=problem,
            next_try_at=self.clock.now() + timedelta(seconds=after),
        )

    async def _set(self, row: sa.Row[Any], **values: Any) -> None:
        table = tables.clauses
        async with self.store.write() as connection:
            await connection.execute(
                table.update().where(table.c.run_id == row.run_id, table.c.clause == row.clause).values(**values)
            )

    # -- the issue

    async def _filed(
        self, row: sa.Row[Any], state: RunState, fired: Fired, attachments: tuple[Attachment, ...]
    ) -> tuple[str, str]:
        """Its address, and why there is none. Raises ``TryLater``."""
        clause = state.plan.runbook.clauses[fired.clause]
        if clause.issue is None:
            return "", ""
        title = issue_title(state, clause)
        if state.plan.drill:
            return "", f'this is a drill, else "{title}" would be filed'
        if self.issues is None or self.github is None:
            return "", f'GitHub is not configured. File it yourself, with what is attached here: "{title}"'
        cards = tables.cards
        links = await self.store.rows(sa.select(cards.c.link).where(cards.c.run_id == row.run_id, cards.c.link != ""))
        body = self.github.draw(issue_message(state, fired, attachments, links[0].link if links else ""))
        operation = f"{row.run_id}:clause{row.clause}:issue"
        known = await self.performer.journal.known(operation)
        if known is not None and known.result:
            return str(json.loads(known.result)["result"]["evidence"]), ""
        await self.performer.journal.begin(operation, asyncio.Event())
        try:
            filed = await self.issues.file_issue(
                title, body, clause.issue.labels, f"{row.run_id}:{row.clause}", maybe_filed=known is not None
            )
        except Undeliverable as error:
            return "", f'{error} File it yourself, with what is attached here: "{title}"'
        result = ActionResult(status="done", summary=f"Filed #{filed.number}", evidence=filed.url)
        await self.performer.journal.end(operation, result, self.clock.now())
        log.info("an issue was filed", run=row.run_id, issue=filed.url)
        return filed.url, ""

    # -- what is attached

    async def _attachments(self, state: RunState, clause: Clause) -> tuple[Attachment, ...]:
        """In the order in which the runbook names them; facts together."""
        made: list[Attachment] = []
        facts = [text for text in clause.attach if not attached_step(text) and parse_call(text) is None]
        for text in clause.attach:
            if number := attached_step(text):
                made.append(_of_step(state, number))
            elif text not in facts:
                made.append(await self._read(state, text))
        if facts:
            made.append(await self._facts(state, facts))
        return tuple(made)

    async def _read(self, state: RunState, text: str) -> Attachment:
        """What an action that reads says now."""
        call = parse_call(text)
        plan = state.plan
        try:
            connected = await self.performer.connected(plan)
            action = find_action(connected.product, call.name) if connected and call else None
            if connected is None or action is None or call is None:
                return Attachment(title=text, problem="no configured product has this action")
            if action.danger is not Danger.READ:
                return Attachment(title=text, problem="it does more than read, so it is not done here")
            context = ActionContext(
                target=plan.target,
                arguments=fill(call.arguments, of_start(plan.inputs, plan.target)),
                inputs=plan.inputs,
                actor=plan.person,
                reason=plan.reason or plan.command,
                run_id=plan.run_id,
                operation_id=f"{plan.run_id}:attach:{call.name}",
                clock=self.clock,
                deadline=None,
            )
            async with asyncio.timeout(READ_TIMEOUT):
                result = await action.perform(connected.handler, context)
        except TimeoutError:
            return Attachment(title=text, problem=f"nothing was answered within {READ_TIMEOUT:.0f} s")
        except UserError as error:
            return Attachment(title=text, problem=clean(error.message))
        except Exception as error:
            log.exception("an attachment cannot be read", run=plan.run_id, action=text)
            return Attachment(title=text, problem=f"reading failed with an unexpected {type(error).__name__}")
        if result.status != "done":
            return Attachment(title=text, problem=clean(result.summary))
        said = "\n".join(part for part in (result.summary, result.evidence) if part)
        return Attachment(title=f"{action.help} ({text})", text=_kept(said), language=result.language)

    async def _facts(self, state: RunState, names: Sequence[str]) -> Attachment:
        plan = state.plan
        title = f"Facts at {self.clock.now():%H:%M:%S} UTC"
        try:
            connected = await self.performer.connected(plan)
            if connected is None:
                return Attachment(title=title, problem="the runbook's product is not configured")
            async with asyncio.timeout(READ_TIMEOUT):
                seen = await _observed(connected, state, names)
        except TimeoutError:
            return Attachment(title=title, problem=f"nothing was answered within {READ_TIMEOUT:.0f} s")
        except UserError as error:
            return Attachment(title=title, problem=clean(error.message))
        except Exception as error:
            log.exception("facts cannot be read", run=plan.run_id)
            return Attachment(title=title, problem=f"reading failed with an unexpected {type(error).__name__}")
        return Attachment(title=title, text=_kept("\n".join(map(_fact, seen))))


async def _observed(connected: Connected, state: RunState, names: Sequence[str]) -> list[Observation]:
    plan = state.plan
    seen = {fact.name: fact for fact in await connected.handler.observe(frozenset(names), plan.target, plan.inputs)}
    return [seen.get(name) or Observation(name=name, provenance=Provenance.UNAVAILABLE) for name in names]


def _fact(fact: Observation) -> str:
    if fact.provenance is Provenance.UNAVAILABLE:
        return f"{fact.name} cannot be known: {fact.source or 'the product does not tell it'}"
    return f"{fact.name} = {fact.value}" + (f"  ({fact.source})" if fact.source else "")


def _of_step(state: RunState, number: str) -> Attachment:
    """What a step has shown."""
    rows = zip(state.plan.runbook.steps, state.steps, strict=True)
    found = next(((row, step) for row, step in rows if row.number == number), None)
    if found is None:
        return Attachment(title=f"Step {number}", problem="the runbook has no such step")
    row, step = found
    title = f"Step {number}: {plain_step(row)}"
    if step.status == "pending":
        return Attachment(title=title, problem="it was not reached")
    if row.action is None:
        by = f" by {step.decided_by}" if step.decided_by else ""
        return Attachment(title=title, problem=f"it is for a person ({step.status}{by}), so the bot has not seen it")
    said = "\n".join(part for part in (step.summary, step.observed, step.evidence) if part)
    if not said:
        return Attachment(title=title, problem=f"it is {step.status} and has shown nothing")
    return Attachment(title=title, text=_kept(said), language=step.language)


def _kept(text: str) -> str:
    return both_ends(clean(text), KEPT)
