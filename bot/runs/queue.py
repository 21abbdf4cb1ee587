"""``/somas restart project-42 --queue``: whoever comes second waits in line, or takes over, or is told when it is free.

A queued command is kept as it was typed. When its turn has come it goes through the inbox once more, so that rights,
names and the plan are those of that moment; its place in the line is given up in the transaction that takes the lock.
All of it is in the database: a restart changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import Clock, Signal
from bot.incoming import Incoming
from bot.runs.freeze import still_frozen
from bot.runs.locks import lock_key
from bot.runs.model import Plan, RunState
from bot.store import Store

log = structlog.get_logger("opsbot.runs")

FIRST, IN_ORDER = 0, 1  # whose turn it is: those who take over come before those who queue
LOOK_EVERY = 2.0  # real seconds, when nothing says that a run has ended

TakeOver = Callable[[str, Incoming, str], Awaitable[None]]
"""Cancels the run for whoever takes its target over: the run, who wants it, the key under which it happens once."""
EndNews = Callable[[AsyncConnection, RunState, Incoming], Awaitable[None]]
"""Tells whoever watched a run that it has ended."""


async def enqueue(
    store: Store, connection: AsyncConnection, plan: Plan, incoming: Incoming, command: str, *, cancels: str = ""
) -> tuple[int, int]:
    """Stand in line; (its number, how many are before it). The same person's same command stands there once.

    ``cancels``: the run that is taken over; whoever does that is the next.
    """
    queue, key = tables.queue, lock_key(plan)
    line = (
        await connection.execute(sa.select(queue).where(queue.c.target == key).order_by(queue.c.turn, queue.c.number))
    ).all()
    turn = FIRST if cancels else IN_ORDER
    for position, row in enumerate(line):
        if row.key == incoming.key or (row.owner, row.command, row.turn) == (plan.person, command, turn):
            return row.number, position
    added = await connection.execute(
        queue.insert()
        .values(
            target=key,
            turn=turn,
            key=incoming.key,
            command=command,
            incoming=incoming.model_dump_json(),
            owner=plan.person,
            since=plan.started_at,
            cancels=cancels,
            tries=0,
            starting=False,
        )
        .returning(queue.c.number)
    )
    before = sum(row.turn <= turn for row in line)
    return added.scalar_one(), before


async def leave(connection: AsyncConnection, number: int) -> bool:
    """Give the place in the line up; False when it is there no more, or its run is just being started."""
    left = await connection.execute(
        tables.queue.delete()
        .where(tables.queue.c.number == number, sa.not_(tables.queue.c.starting))
        .returning(tables.queue.c.number)
    )
    return left.first() is not None


async def watch(store: Store, connection: AsyncConnection, run_id: str, incoming: Incoming) -> None:
    await connection.execute(
        store.insert_new(tables.watchers).values(
            key=f"{run_id}:{incoming.actor}", run_id=run_id, incoming=incoming.model_dump_json()
        )
    )


def entry_of(incoming: Incoming) -> int:
    """The number in the line of a command whose turn it is; 0 for one that somebody has just typed."""
    kind, _, rest = incoming.key.partition(":")
    number = rest.partition(":")[0]
    return int(number) if kind == "queued" and number.isdecimal() else 0


async def put_back(connection: AsyncConnection, entry: int) -> None:
    """Its turn had come, and the target was not free after all: it keeps its place."""
    await connection.execute(tables.queue.update().where(tables.queue.c.number == entry).values(starting=False))


async def drop(connection: AsyncConnection, entry: int) -> None:
    """The command cannot be started any more (its target is gone, its person has lost the right)."""
    await connection.execute(tables.queue.delete().where(tables.queue.c.number == entry, tables.queue.c.starting))


class QueueKeeper:
    """Starts what is queued when its target is free, and tells those who watch."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        ended: Signal,
        arrived: Signal,
        changed: Signal,
        take_over: TakeOver,
        tell: EndNews,
    ) -> None:
        self.store = store
        self.clock = clock
        self.news = ended  # a run has ended, somebody has queued, it was thawed
        self._arrived = arrived  # there is something in the inbox
        self._changed = changed  # there is something in the outbox
        self._take_over = take_over
        self._tell = tell
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="opsbot queue")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("the queue cannot be read", reason=tables.reason(error))
            except Exception:
                log.exception("the queue cannot go on")
            await self.news.wait(LOOK_EVERY)

    async def sweep(self) -> None:
        """One look; doing it twice does nothing."""
        for row in await self.store.rows(
            sa.select(tables.queue.c.number, tables.queue.c.cancels, tables.queue.c.incoming)
            .join(tables.locks, tables.locks.c.run_id == tables.queue.c.cancels)
            .where(tables.queue.c.cancels != "")
        ):
            await self._take_over(row.cancels, Incoming.model_validate_json(row.incoming), f"take over:{row.number}")
        if await self.store.rows(self._free().limit(1)):
            await self._promote()
        ended = (
            sa.select(tables.watchers, tables.runs.c.state)
            .join(tables.runs, tables.runs.c.id == tables.watchers.c.run_id)
            .where(tables.runs.c.status.in_(("done", "failed", "cancelled")))
        )
        for row in await self.store.rows(ended):
            await self._tell_end(row)

    def _free(self) -> sa.Select[Any]:
        """Those who wait for a target on which nobody works and nobody is just being started."""
        busy = sa.select(tables.locks.c.target).union(sa.select(tables.queue.c.target).where(tables.queue.c.starting))
        queue = tables.queue
        return sa.select(queue).where(queue.c.target.not_in(busy)).order_by(queue.c.turn, queue.c.number)

    async def _promote(self) -> None:
        """Put the first of every free target's line into the inbox."""
        async with self.store.write() as connection:
            if await still_frozen(self.store, connection):
                return
            first: dict[str, sa.Row[Any]] = {}
            for row in await connection.execute(self._free()):
                first.setdefault(row.target, row)
            for row in first.values():
                asked = Incoming.model_validate_json(row.incoming)
                again = asked.model_copy(
                    update={
                        "key": f"queued:{row.number}:{row.tries + 1}",
                        "text": row.command,
                        "received_at": self.clock.now(),
                        "first_key": asked.key,
                    }
                )
                await connection.execute(
                    tables.queue.update()
                    .where(tables.queue.c.number == row.number)
                    .values(starting=True, tries=row.tries + 1)
                )
                await connection.execute(
                    self.store.insert_new(tables.inbox).values(
                        key=again.key,
                        incoming=again.model_dump_json(),
                        received_at=again.received_at,
                        handled=False,
                    )
                )
        self._arrived.set()

    async def _tell_end(self, row: sa.Row[Any]) -> None:
        async with self.store.write() as connection:
            mine = await connection.execute(
                tables.watchers.delete().where(tables.watchers.c.key == row.key).returning(tables.watchers.c.key)
            )
            if mine.first() is not None:
                state = RunState.model_validate_json(row.state)
                await self._tell(connection, state, Incoming.model_validate_json(row.incoming))
        self._changed.set()
