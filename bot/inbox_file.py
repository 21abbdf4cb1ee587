"""The write that an acknowledgement waits for, on SQLite: one thread, one connection, one commit for all who wait.

A tenth of what the same insert costs through SQLAlchemy and an executor. What else the bot writes goes its own way
(bot/sqlite.py). An SQLite file has one writer at a time, and who finds it busy sleeps in steps of up to a tenth of a
second; here it is looked after three times in a millisecond, so that an acknowledgement comes next, however many others
wait. Checkpoints of the write-ahead log are left to the others too.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

from bot.redaction import redacted_json

MOST_IN_ONE_COMMIT = 500
LOOK_AGAIN = 0.0003  # seconds, while somebody else writes
PATIENCE = 30.0  # seconds; the same as the store's

_INSERT = (
    "INSERT INTO opsbot_inbox (key, incoming, received_at, handled, outcome) VALUES (?, ?, ?, 0, '') "
    "ON CONFLICT DO NOTHING"
)


@dataclass(slots=True)
class _Waiting:
    key: str
    incoming: str
    received_at: datetime
    accepted: asyncio.Future[bool]


class InboxFile:
    """``add`` from one event loop; ``close`` once nobody waits any more. The thread starts with the first row."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None

    def add(self, key: str, incoming: str, received_at: datetime) -> asyncio.Future[bool]:
        """Whether the row is new, as soon as it is on the disk; or the ``sqlite3.Error`` because of which it is not."""
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future[bool] = loop.create_future()
        self._queue.put(_Waiting(key, incoming, received_at, accepted))
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, args=(loop,), name="opsbot inbox", daemon=True)
            self._thread.start()
        return accepted

    def close(self) -> None:
        """End the thread, after what was added before."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    # -- in the thread

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while (first := self._queue.get()) is not None:
                batch, last = self._all_that_wait(first)
                news = self._store(batch)
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_tell, batch, news)
                if last:
                    return
        finally:
            self._disconnect()

    def _all_that_wait(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        batch = [first]
        while len(batch) < MOST_IN_ONE_COMMIT:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting is None:
                return batch, True
            batch.append(waiting)
        return batch, False

    def _store(self, batch: Sequence[_Waiting]) -> list[bool] | Exception:
        rows = [
            (
                each.key,
                redacted_json(each.incoming),
                each.received_at.astimezone(UTC).isoformat(timespec="microseconds"),
            )
            for each in batch
        ]
        try:
            connection = self._connect()
            self._begin(connection)
            try:
                news = [connection.execute(_INSERT, row).rowcount == 1 for row in rows]
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except Exception as error:
            self._disconnect()  # a full or a failing disk: the next one begins anew
            return error
        return news

    def _begin(self, connection: sqlite3.Connection) -> None:
        given_up_at = time.monotonic() + PATIENCE
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > given_up_at:
                    raise
                time.sleep(LOOK_AGAIN)
            else:
                return

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


def _tell(batch: Sequence[_Waiting], news: list[bool] | Exception) -> None:
    for place, waiting in enumerate(batch):
        if waiting.accepted.done():  # whoever asked has gone; asked is asked
            continue
        if isinstance(news, Exception):
            waiting.accepted.set_exception(news)
        else:
            waiting.accepted.set_result(news[place])
