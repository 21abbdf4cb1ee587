"""The database as one SQLite file: private to its owner, one writer, one process.

``InThread`` is where its transactions run.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.errors import SettingsError

T = TypeVar("T")


def private_file(path: Path) -> None:
    """Whoever can write this file can make the bot run code (engine.md, section 9): nobody but its owner may."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
        if path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise SettingsError(f"database.url: {path} cannot be opened: {error.strerror}") from error


def open_engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(sa.URL.create("sqlite+aiosqlite", database=str(path)), connect_args={"timeout": 30})
    _prepared(engine.sync_engine)
    return engine


def _prepared(engine: sa.Engine) -> None:
    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA busy_timeout = 30000")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return  # a reader takes no lock, and reads on when nothing can be written
        # A transaction that starts as a reader and then writes can fail at once with "database is locked".
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class InThread:
    """Whole transactions on an SQLite file, each in one visit to a thread.

    aiosqlite visits its thread for every cursor, statement, fetch and close, a tenth of a millisecond each. Here the
    coroutine itself is taken to the thread: its connection answers at once, so that it never has to be suspended.
    """

    def __init__(self, path: Path) -> None:
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": 30, "check_same_thread": False}
        )
        _prepared(self._engine)
        self._open_threads()

    def _open_threads(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="opsbot writer")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="opsbot reader")

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        def whole() -> T:
            with self._engine.begin() as connection:
                return _at_once(work(cast(AsyncConnection, _Connection(connection))))

        return await asyncio.get_running_loop().run_in_executor(self._writer, whole)

    async def rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        def whole() -> Sequence[sa.Row[Any]]:
            with self._engine.connect() as plain:
                return plain.execution_options(isolation_level="AUTOCOMMIT").execute(query).all()

        return await asyncio.get_running_loop().run_in_executor(self._readers, whole)

    def close(self) -> None:
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
        self._open_threads()  # they are made when they are used again


class _Connection:
    """What transactions use of an ``AsyncConnection``, answered without waiting."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        return self._connection.execute(*arguments, **options)

    async def scalar(self, *arguments: Any, **options: Any) -> Any:
        return self._connection.scalar(*arguments, **options)

    async def exec_driver_sql(self, *arguments: Any, **options: Any) -> Any:
        return self._connection.exec_driver_sql(*arguments, **options)


def _at_once(work: Awaitable[T]) -> T:
    """The result of what never has to wait."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("a transaction awaited something else than its connection")


class InstanceLock:
    """Only one process may use an SQLite file: two would both recover the same runs."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._descriptor = -1

    def take(self) -> None:
        import fcntl

        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise SettingsError(
                f"database.url: another opsbot is running on {self._path.with_suffix('')}. "
                "Stop it first: one bot at a time works on a database"
            ) from None
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
