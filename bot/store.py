"""What the bot remembers: one database, SQLite in a file or PostgreSQL, beside the tables of the engine.

Everything that belongs together is written in one transaction. The tables are defined in ``bot/tables/`` and used from
here (``from bot import store as tables``); ``bot/sqlite.py`` has what an SQLite file needs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bot.errors import SettingsError
from bot.sqlite import InstanceLock as InstanceLock
from bot.sqlite import InThread, open_engine, private_file
from bot.tables.asked import cursors as cursors
from bot.tables.asked import homes as homes
from bot.tables.asked import inbox as inbox
from bot.tables.asked import reactions as reactions
from bot.tables.asked import repository_events as repository_events
from bot.tables.audit import audit as audit
from bot.tables.audit import audit_head as audit_head
from bot.tables.columns import Instant as Instant
from bot.tables.columns import Told as Told
from bot.tables.columns import metadata as metadata
from bot.tables.columns import schema as schema
from bot.tables.reports import alarms as alarms
from bot.tables.reports import level_counts as level_counts
from bot.tables.reports import levels as levels
from bot.tables.reports import marks as marks
from bot.tables.reports import report_ticks as report_ticks
from bot.tables.reports import reports as reports
from bot.tables.reports import silences as silences
from bot.tables.reports import standings as standings
from bot.tables.runs import clauses as clauses
from bot.tables.runs import durations as durations
from bot.tables.runs import escalations as escalations
from bot.tables.runs import events as events
from bot.tables.runs import freeze as freeze
from bot.tables.runs import journal as journal
from bot.tables.runs import locks as locks
from bot.tables.runs import queue as queue
from bot.tables.runs import retries as retries
from bot.tables.runs import runs as runs
from bot.tables.runs import verifications as verifications
from bot.tables.runs import watchers as watchers
from bot.tables.said import cards as cards
from bot.tables.said import outbox as outbox

log = structlog.get_logger("opsbot")

T = TypeVar("T")

SCHEMA_VERSION = 2
"""A change of a table needs a step in ``bot/migrations.py``, which says how; a new table needs none."""


def _migrated(connection: sa.Connection) -> int:
    """Have the tables of this version; the version that was found. Those of a newer one are left alone."""
    if not sa.inspect(connection).has_table(schema.name):
        metadata.create_all(connection)
        connection.execute(schema.insert().values(version=SCHEMA_VERSION))
    found = int(connection.execute(sa.select(schema.c.version)).scalar_one())
    if found <= SCHEMA_VERSION:
        metadata.create_all(connection)
    if found < SCHEMA_VERSION:
        from bot.migrations import migrate  # its library takes a moment to load, and is seldom needed

        migrate(connection, found, SCHEMA_VERSION)
        connection.execute(schema.update().values(version=SCHEMA_VERSION))
    return found


class Store:
    """The database. ``write`` is one transaction; ``read`` sees what is committed."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.path: Path | None = None
        if self.url.get_backend_name() == "sqlite":
            if not self.url.database:
                raise SettingsError('database.url: names no file. Example: url = "sqlite:///opsbot.db"')
            self.path = Path(self.url.database).absolute()
            private_file(self.path)
            self.engine = open_engine(self.path)
            self._inline: InThread | None = InThread(self.path)
        else:
            self.engine = create_async_engine(
                self.url.set(drivername="postgresql+psycopg"), pool_size=5, pool_pre_ping=True
            )
            self._inline = None
        self._writing = asyncio.Lock()  # SQLite has one writer; who waits for it in the file sleeps too long

    @property
    def engine_url(self) -> str:
        """The same database, for the durable engine."""
        if self.path:
            return sa.URL.create("sqlite", database=str(self.path)).render_as_string()
        return self.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    async def open(self) -> None:
        """Make the tables that are missing, and bring older ones forward. All of it or nothing.

        Raises ``SettingsError`` when the database cannot be used, or was made by a newer opsbot.
        """
        try:
            async with self.write() as connection:
                found = await connection.run_sync(_migrated)
        except sa.exc.SQLAlchemyError as error:
            raise SettingsError(f"database.url: {self.where} cannot be used: {reason(error)}") from error
        if found > SCHEMA_VERSION:
            raise SettingsError(
                f"database.url: {self.where} was made by a newer opsbot (schema {found}, this one knows "
                f"{SCHEMA_VERSION}). Use that opsbot, or a copy of the database from before it. Nothing was changed"
            )
        if found < SCHEMA_VERSION:
            log.info("the database was brought forward", before=found, now=SCHEMA_VERSION)

    @property
    def where(self) -> str:
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            if self.path:
                await stack.enter_async_context(self._writing)
            yield await stack.enter_async_context(self.engine.begin())

    async def transaction(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """``write`` for what is done often: on SQLite all of it is one visit to a thread, instead of four a statement.

        ``work`` may await its connection and nothing else.
        """
        if self._inline is None:
            async with self.engine.begin() as connection:
                return await work(connection)
        async with self._writing:
            return await self._inline.write(work)

    async def execute(self, statement: sa.Executable) -> None:
        """One statement that is a transaction of its own."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self.transaction(work)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self.engine.connect() as plain:
            yield await plain.execution_options(isolation_level="AUTOCOMMIT")

    async def rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        if self._inline:
            return await self._inline.rows(query)
        async with self.read() as connection:
            rows: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
            return rows

    def insert_new(self, table: sa.Table) -> Any:
        """An INSERT that leaves a row with the same key as it is."""
        if self.path:
            return sqlite_insert(table).on_conflict_do_nothing()
        return postgresql_insert(table).on_conflict_do_nothing()

    async def problem(self) -> str:
        """Why nothing can be stored right now; empty when all is well."""
        try:
            async with self.write() as connection:
                if self.path:
                    await connection.exec_driver_sql("UPDATE opsbot_schema SET version = version")
                else:
                    await connection.execute(sa.select(1))
        except (sa.exc.SQLAlchemyError, OSError) as error:
            return f"The database {self.where} cannot be written: {reason(error)}"
        return ""

    async def close(self) -> None:
        await self.engine.dispose()
        if self._inline:
            self._inline.close()


def reason(error: BaseException) -> str:
    """The database's own words, without SQL and without parameters."""
    original = getattr(error, "orig", None) or error
    return str(original).strip().split("\n", 1)[0] or type(original).__name__


def dumps(value: Any) -> str:
    """JSON that any database stores: lone surrogates stay escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
