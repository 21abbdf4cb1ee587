"""Nothing is acknowledged before it is stored, and nothing is stored twice.

``accept`` returns when the command is on the disk. Commands that arrive together share one commit: the first waits for
nobody, those that come while a commit is under way go into the next one. On SQLite a thread does that
(bot/inbox_file.py), on PostgreSQL a task.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import Collection

import sqlalchemy as sa
import structlog

from bot import reactions
from bot import store as tables
from bot.clock import Signal
from bot.inbox_file import InboxFile
from bot.incoming import Incoming
from bot.redaction import installed
from bot.store import Store

log = structlog.get_logger("opsbot.commands")

MOST_AT_ONCE = 200
MOST_OF_ONE = 20  # commands of one person at once
LONGEST_WAIT_FOR_CALM = 0.05  # seconds


class Inbox:
    """The durable front of the bot."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.arrived = Signal()
        self._file = InboxFile(store.path) if store.path else None
        self._waiting: list[tuple[Incoming, str, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._unreadable: set[str] = set()
        self._accepting = 0
        self._calm = asyncio.Event()
        self._calm.set()

    async def accept(self, incoming: Incoming) -> bool:
        """Store it; False when it was stored before. Raises what the database raises: then nothing was accepted.

        Raises ``ValueError`` for what no database can hold; the commands beside it are not harmed.
        """
        text = installed().command(incoming.text)
        if text != incoming.text:
            incoming = incoming.model_copy(update={"text": text})
        stored = incoming.model_dump_json()
        # What stands in a comment is given a reaction in the same transaction.
        if self._file and not incoming.on_github:
            return await self._add(self._file, incoming, stored)
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((incoming, stored, accepted))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="opsbot inbox")
        return await accepted

    async def _add(self, file: InboxFile, incoming: Incoming, stored: str) -> bool:
        self._accepting += 1
        self._calm.clear()
        try:
            new = await file.add(incoming.key, stored, incoming.received_at)
        except sqlite3.Error as error:  # as the store would raise it
            raise sa.exc.OperationalError("INSERT INTO opsbot_inbox", None, error) from error
        finally:
            self._accepting -= 1
            if not self._accepting:
                self._calm.set()
        if new:
            self.arrived.set()
        return new

    async def calm(self) -> None:
        """Until nobody waits to be acknowledged, but not for long: what is accepted can wait, who types does not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_WAIT_FOR_CALM):
                await self._calm.wait()

    def close(self) -> None:
        """End the thread that writes."""
        if self._file:
            self._file.close()

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                news = await self._store([(incoming, stored) for incoming, stored, _ in batch])
            except Exception as error:
                for _, _, accepted in batch:
                    if not accepted.done():
                        accepted.set_exception(error)
                continue
            for (_, _, accepted), new in zip(batch, news, strict=True):
                if not accepted.done():
                    accepted.set_result(new)
            if any(news):
                self.arrived.set()

    async def _store(self, batch: list[tuple[Incoming, str]]) -> list[bool]:
        news = []
        async with self.store.write() as connection:
            for incoming, stored in batch:
                done = await connection.execute(
                    self.store.insert_new(tables.inbox)
                    .values(
                        key=incoming.key,
                        incoming=stored,
                        received_at=incoming.received_at,
                        handled=False,
                    )
                    .returning(tables.inbox.c.key)
                )
                news.append(done.first() is not None)
                if news[-1] and incoming.on_github:
                    await reactions.heard(self.store, connection, incoming)
        return news

    async def is_waiting(self, key: str) -> bool:
        """Whether it is still to be dealt with."""
        rows = await self.store.rows(
            sa.select(tables.inbox.c.number).where(tables.inbox.c.key == key, sa.not_(tables.inbox.c.handled))
        )
        return bool(rows)

    async def unhandled(self, besides: Collection[str] = ()) -> list[Incoming]:
        """What was accepted and not dealt with yet, oldest first: a few of each person, so that nobody hides another.

        ``besides``: people, as ``str(actor)``, whose commands are not asked for.
        """
        found: list[Incoming] = []
        of_person: Counter[str] = Counter(dict.fromkeys(besides, MOST_OF_ONE))
        last = 0
        while len(found) < MOST_AT_ONCE:
            rows = await self.store.rows(
                sa.select(tables.inbox.c.number, tables.inbox.c.key, tables.inbox.c.incoming)
                .where(sa.not_(tables.inbox.c.handled), tables.inbox.c.number > last)
                .order_by(tables.inbox.c.number)
                .limit(MOST_AT_ONCE)
            )
            for row in rows:
                incoming = self._read(row.key, row.incoming)
                if incoming is not None and of_person[str(incoming.actor)] < MOST_OF_ONE:
                    of_person[str(incoming.actor)] += 1
                    found.append(incoming)
            if len(rows) < MOST_AT_ONCE:
                break
            last = rows[-1].number
        return found

    def _read(self, key: str, stored: str) -> Incoming | None:
        try:
            return Incoming.model_validate_json(stored)
        except ValueError as error:  # of another version of opsbot: the commands behind it are not to wait for it
            if key not in self._unreadable:
                log.error("a stored command cannot be read", key=key, reason=str(error).partition("\n")[0])
                self._unreadable.add(key)
            return None
