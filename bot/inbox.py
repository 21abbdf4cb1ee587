"""Nothing is acknowledged before it is stored, and nothing is stored twice.

``accept`` returns when the command is on the disk. Commands that arrive together share one commit: the first waits for
nobody, those that come while a commit is under way go into the next one.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from bot import store as tables
from bot.incoming import Incoming
from bot.store import Signal, Store


class Inbox:
    """The durable front of the bot."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.arrived = Signal()
        self._waiting: list[tuple[Incoming, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def accept(self, incoming: Incoming) -> bool:
        """Store it; False when it was stored before. Raises what the database raises: then nothing was accepted."""
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((incoming, accepted))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="opsbot inbox")
        return await accepted

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                news = await self._store([incoming for incoming, _ in batch])
            except Exception as error:
                for _, accepted in batch:
                    if not accepted.done():
                        accepted.set_exception(error)
                continue
            for (_, accepted), new in zip(batch, news, strict=True):
                if not accepted.done():
                    accepted.set_result(new)
            if any(news):
                self.arrived.set()

    async def _store(self, batch: list[Incoming]) -> list[bool]:
        news = []
        async with self.store.write() as connection:
            for incoming in batch:
                done = await connection.execute(
                    self.store.insert_new(tables.inbox)
                    .values(
                        key=incoming.key,
                        incoming=incoming.model_dump_json(),
                        received_at=incoming.received_at,
                        handled=False,
                    )
                    .returning(tables.inbox.c.key)
                )
                news.append(done.first() is not None)
        return news

    async def unhandled(self, limit: int = 200) -> list[Incoming]:
        """What was accepted and not dealt with yet, oldest first."""
        rows = await self.store.rows(
            sa.select(tables.inbox.c.incoming)
            .where(sa.not_(tables.inbox.c.handled))
            .order_by(tables.inbox.c.number)
            .limit(limit)
        )
        return [Incoming.model_validate_json(row.incoming) for row in rows]
