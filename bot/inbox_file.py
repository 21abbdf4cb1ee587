"""The write that an acknowledgement waits for, on SQLite: one thread, one connection, one statement for all who wait.

What arrives in one turn of the event loop, and what arrives while a commit is under way, goes into the next commit: one
handing over to the thread, one ``INSERT`` that is a transaction of its own, one waking of the loop, however many
commands there are. A twentieth of what the same insert costs through SQLAlchemy and an executor. What else the bot
writes goes its own way (bot/sqlite.py). An SQLite file has one writer at a time, and who finds it busy sleeps in steps
of up to a tenth of a second; here it is looked after three times in a millisecond, so that an acknowledgement comes
next, however many others wait. Checkpoints of the write-ahead log are left to the others too.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import structlog

from bot.redaction import redacted_json

log = structlog.get_logger("opsbot.commands")

MOST_IN_ONE_COMMIT = 500
LOOK_AGAIN = 0.0003  # seconds, while somebody else writes
PATIENCE = 30.0  # seconds; the same as the store's

_INSERT = "INSERT INTO opsbot_inbox (key, incoming, received_at, handled, outcome) VALUES"
_ROW = "(?, ?, ?, 0, '')"
_REACTION = (  # see bot/reactions.py
    "INSERT INTO opsbot_reactions "
    "(comment, surface, channel, thread, comment_id, created_at, shown, reaction, settled) VALUES "
    "(:comment, :surface, :channel, :thread, :comment_id, :created_at, '', '', 0) "
    "ON CONFLICT (comment) DO UPDATE SET settled = 0"
)


@cache
def _insert(rows: int) -> str:
    return f"{_INSERT} {', '.join([_ROW] * rows)} ON CONFLICT DO NOTHING"


@dataclass(slots=True)
class _Waiting:
    key: str
    incoming: str
    received_at: datetime
    reaction: dict[str, Any] | None
    accepted: asyncio.Future[bool]


class InboxFile:
    """``add`` from one event loop; ``close`` once nobody waits any more. The thread starts with the first row.

    ``arrived`` is called in the loop after each commit that stored something new.
    """

    def __init__(self, path: Path, arrived: Callable[[], None]) -> None:
        self._path = path
        self._arrived = arrived
        self._gathered: list[_Waiting] = []
        self._busy = False  # a batch is about to be handed over, or is not told of yet
        self._queue: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def waits(self) -> bool:
        """Whether somebody waits to be acknowledged."""
        return self._busy

    def add(
        self, key: str, incoming: str, received_at: datetime, reaction: dict[str, Any] | None = None
    ) -> asyncio.Future[bool]:
        """Whether the row is new, as soon as it is on the disk; or the ``sqlite3.Error`` because of which it is not.

        ``reaction``: the row of what becomes due with a new command, in the same transaction. Whoever stops waiting for
        it does not take it back.
        """
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[bool] = loop.create_future()
        self._gathered.append(_Waiting(key, incoming, received_at, reaction, accepted))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._hand_over, loop)  # after everybody else whose turn it is now
        return accepted

    def close(self) -> None:
        """End the thread, after what was added before."""
        while self._gathered:
            self._hand_over(asyncio.get_running_loop())
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._busy = bool(self._gathered)
        if not self._busy:
            return
        batch, self._gathered = self._gathered[:MOST_IN_ONE_COMMIT], self._gathered[MOST_IN_ONE_COMMIT:]
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, args=(loop,), name="opsbot inbox", daemon=True)
            self._thread.start()
        self._queue.put(batch)

    def _tell(self, loop: asyncio.AbstractEventLoop, batch: Sequence[_Waiting], news: set[str] | Exception) -> None:
        self._hand_over(loop)  # first: the disk works while those who waited are told
        if isinstance(news, Exception):
            for waiting in batch:
                if not waiting.accepted.done():
                    waiting.accepted.set_exception(news)
                else:
                    log.error("a command was not stored, and nobody was told", key=waiting.key, reason=str(news))
            return
        if news:
            self._arrived()
        for waiting in batch:
            new = waiting.key in news
            news.discard(waiting.key)  # another one with this key in the same batch is not new
            if not waiting.accepted.done():  # else whoever asked has gone; asked is asked
                waiting.accepted.set_result(new)

    # -- in the thread

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while (batch := self._queue.get()) is not None:
                news = self._store(batch)
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(self._tell, loop, batch, news)
        finally:
            self._disconnect()

    def _store(self, batch: Sequence[_Waiting]) -> set[str] | Exception:
        """The keys that are new."""
        try:
            connection = self._connect()
            if not any(each.reaction for each in batch):
                return self._insert_all(connection, batch)  # a statement is a transaction
            self._execute(connection, "BEGIN IMMEDIATE", ())
            news = self._insert_all(connection, batch)
            due = [
                each.reaction | {"created_at": _instant(each)} for each in batch if each.reaction and each.key in news
            ]
            connection.executemany(_REACTION, due)
            connection.execute("COMMIT")
            return news
        except Exception as error:
            self._disconnect()  # a full or a failing disk: the next one begins anew
            return error

    def _insert_all(self, connection: sqlite3.Connection, batch: Sequence[_Waiting]) -> set[str]:
        values: list[str] = []
        for each in batch:
            values += each.key, redacted_json(each.incoming), _instant(each)
        done = self._execute(connection, _insert(len(batch)), values)
        if done.rowcount == len(batch):
            return {each.key for each in batch}
        if not done.rowcount:
            return set()
        # one statement numbers its rows without a gap
        first = (done.lastrowid or 0) - done.rowcount
        query = "SELECT key FROM opsbot_inbox WHERE number > ? AND number <= ?"
        return {key for (key,) in connection.execute(query, (first, done.lastrowid))}

    def _execute(self, connection: sqlite3.Connection, statement: str, values: Sequence[str]) -> sqlite3.Cursor:
        given_up_at = time.monotonic() + PATIENCE
        while True:
            try:
                return connection.execute(statement, values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > given_up_at:
                    raise
                time.sleep(LOOK_AGAIN)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=0)
            connection.execute("PRAGMA synchronous = FULL")  # acknowledged is on the disk, also when the power fails
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _instant(each: _Waiting) -> str:
    return each.received_at.astimezone(UTC).isoformat(timespec="microseconds")
