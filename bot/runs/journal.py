"""Which actions were begun and how they ended: what makes an action happen once although the process may die in it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import datetime
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import Clock, first_of
from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Handler
from bot.runs.storable import clean_result
from bot.store import Store

log = structlog.get_logger("opsbot.runs")


class Journal:
    """The intent of every action is stored before it, its result after it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self._closing = False
        self._under_way: set[str] = set()  # operations between their intent and their result
        self._one_ended = asyncio.Event()

    async def close(self, seconds: float) -> None:
        """Begin nothing any more, and wait so long for what is under way: what ends now need not be looked up later."""
        self._closing = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._under_way:
                    self._one_ended.clear()
                    await self._one_ended.wait()
        for operation in self._under_way:
            log.warning("an action is cut off; it is looked up at the next start", operation=operation)

    async def once(self, handler: Handler, action: Action, context: ActionContext) -> tuple[ActionResult, datetime]:
        """Perform the action at most once, across crashes; its result and when it ended.

        The journal knows whether this attempt was begun and how it ended. An attempt that was begun by a process that
        died is not repeated: it is looked up in the product, or left to a person. What only reads may be repeated, so
        nothing is remembered of it.
        """
        if action.danger is Danger.READ:
            return clean_result(await _performed(action, handler, context)), self.clock.now()
        if self._closing:
            await asyncio.Event().wait()  # until the run is cut off; it goes on here at the next start
        self._under_way.add(context.operation_id)
        try:
            return await self._once(handler, action, context)
        finally:
            self._under_way.discard(context.operation_id)
            self._one_ended.set()

    async def _once(self, handler: Handler, action: Action, context: ActionContext) -> tuple[ActionResult, datetime]:
        if await self.begin(context.operation_id, context.abort):
            result = await _performed(action, handler, context)
        else:
            known = await self.known(context.operation_id)
            if known and known.result:
                saved = json.loads(known.result)
                return ActionResult.model_validate(saved["result"]), datetime.fromisoformat(saved["at"])
            log.warning("an action was interrupted", operation=context.operation_id, action=action.name)
            found = await self._interrupted(handler, action, context)
            result = found or await _performed(action, handler, context)
        result = clean_result(result)
        ended = self.clock.now()
        await self.end(context.operation_id, result, ended)
        return result, ended

    async def _interrupted(self, handler: Handler, action: Action, context: ActionContext) -> ActionResult | None:
        """What became of an action whose process died; None when it certainly did not happen, so that it may run."""
        if action.check is None:
            return ActionResult(
                status="uncertain",
                summary=f"The bot was stopped in the middle of {action.name} and cannot tell whether it happened.",
            )
        try:
            return await action.check(handler, context)
        except UserError as error:
            why = error.message
        except Exception as error:
            log.exception("an interrupted action cannot be looked up", run=context.run_id, action=action.name)
            why = f"unexpected {type(error).__name__}: {error}"
        return ActionResult(
            status="uncertain",
            summary=f"The bot was stopped in the middle of {action.name} and cannot look it up: {why}",
        )

    async def known(self, operation: str) -> sa.Row[Any] | None:
        """The row of an operation that was begun; its result when it ended."""
        rows = await self.store.rows(sa.select(tables.journal).where(tables.journal.c.operation == operation))
        return rows[0] if rows else None

    async def begin(self, operation: str, abort: asyncio.Event) -> bool:
        """Store the intent; False when it was stored before.

        Without it nothing is done, so a full disk makes the step wait, not fail.
        """
        new = self.store.insert_new(tables.journal).values(operation=operation, begun_at=self.clock.now(), begun=1)

        async def stored(connection: AsyncConnection) -> bool:
            inserted = await connection.execute(new.returning(tables.journal.c.operation))
            return inserted.first() is not None

        pause = 0.5
        while True:
            try:
                return await self.store.transaction(stored)
            except sa.exc.SQLAlchemyError as error:
                if abort.is_set():
                    raise
                log.error("an action has to wait", operation=operation, reason=tables.reason(error))
            await first_of(asyncio.sleep(pause), abort.wait())
            pause = min(10.0, pause * 2)

    async def since(self, operation: str, at: datetime) -> datetime:
        """When something began that takes its time: ``at``, unless an earlier process has said so before.

        What reads is not journaled, so the end of a change is known after a crash and that of a look is not. Without
        this a ``within 30s`` would start over with every restart.
        """
        table = tables.journal
        new = self.store.insert_new(table).values(operation=operation, begun_at=at, begun=1)

        async def stored(connection: AsyncConnection) -> datetime:
            await connection.execute(new)
            found = await connection.execute(sa.select(table.c.begun_at).where(table.c.operation == operation))
            begun: datetime = found.scalar_one()
            return begun

        try:
            return await self.store.transaction(stored)
        except sa.exc.SQLAlchemyError as error:  # looking matters more than for how long
            log.error("the beginning of an expectation cannot be stored", reason=tables.reason(error))
            return at

    async def end(self, operation: str, result: ActionResult, at: datetime) -> None:
        saved = tables.dumps({"result": result.model_dump(mode="json"), "at": at.isoformat()})
        try:
            ended = tables.journal.update().where(tables.journal.c.operation == operation).values(result=saved)
            await self.store.transaction(lambda connection: connection.execute(ended))
        except sa.exc.SQLAlchemyError as error:  # it happened all the same, and the engine records that too
            log.error("the end of an action cannot be stored", operation=operation, reason=tables.reason(error))


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
