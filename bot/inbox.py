"""Nothing is acknowledged before it is stored, and nothing is stored twice.

``accept`` returns when the command is on the disk. Commands that arrive together share one commit: the first waits for
nobody, those that come while a commit is under way go into the next one. On SQLite a thread does that
(bot/inbox_file.py), on PostgreSQL a task. While a burst of them is acknowledged, handling them waits (``calm``).
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import Collection
from functools import partial

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

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
QUIET = 0.005  # seconds in which nobody has asked for anything
LONGEST_WAIT_FOR_CALM = 0.25  # seconds


class Inbox:
    """The durable front of the bot."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.arrived = Signal()
        self._file = InboxFile(store.path, self.arrived.set) if store.path else None
        self._waiting: list[tuple[Incoming, str, asyncio.Future[bool]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._unreadable: set[str] = set()
        self._asked_at = 0.0  # by the event loop's clock
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
        loop = asyncio.get_running_loop()
        self._asked_at = loop.time()
        if self._calm.is_set():
            self._calm.clear()
            loop.call_later(QUIET, self._is_it_calm, loop)
        if self._file:
            try:
                return await self._file.add(incoming.key, stored, incoming.received_at, reactions.due(incoming))
            except sqlite3.Error as error:  # as the store would raise it
                raise sa.exc.OperationalError("INSERT INTO opsbot_inbox", None, error) from error
        accepted: asyncio.Future[bool] = loop.create_future()
        self._waiting.append((incoming, stored, accepted))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="opsbot inbox")
        return await accepted

    def _is_it_calm(self, loop: asyncio.AbstractEventLoop) -> None:
        quiet_at = self._asked_at + QUIET
        if (self._file is not None and self._file.waits) or self._waiting or loop.time() < quiet_at:
            loop.call_at(max(quiet_at, loop.time() + QUIET / 2), self._is_it_calm, loop)
        else:
            self._calm.set()

    async def calm(self, for_seconds: float = LONGEST_WAIT_FOR_CALM) -> None:
        """Until a burst is over, but not for long: what is accepted can wait, who types does not."""
        if self._calm.is_set() or for_seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(for_seconds):
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
        news = await self.store.transaction(partial(self._insert, batch))
        return [news.pop(incoming.key, False) for incoming, _ in batch]  # of two with one key the first is new

    async def _insert(self, batch: list[tuple[Incoming, str]], connection: AsyncConnection) -> dict[str, bool]:
        """One statement for all of them; the keys that are new."""
        rows = [
            {"key": incoming.key, "incoming": stored, "received_at": incoming.received_at, "handled": False}
            for incoming, stored in batch
        ]
        insert = self.store.insert_new(tables.inbox).returning(tables.inbox.c.key)
        news = {row.key: True for row in await connection.execute(insert, rows)}
        for incoming, _ in batch:
            if incoming.on_github and incoming.key in news:
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
