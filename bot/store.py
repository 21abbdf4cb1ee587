"""What the bot remembers: one database, SQLite in a file or PostgreSQL, beside the tables of the engine.

The inbox holds what people asked before it is acknowledged; ``runs`` the state of every run as it was last decided;
``locks`` who works on which target; the outbox what has to be said and, later, where it was said; the journal which
actions were begun. Everything that belongs together is written in one transaction.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.errors import SettingsError

SCHEMA_VERSION = 1

metadata = sa.MetaData()


class Instant(sa.types.TypeDecorator[datetime]):
    """A UTC instant as text that sorts: SQLite has no time zones of its own."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:
        return value.astimezone(UTC).isoformat(timespec="microseconds") if value else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if value else None


schema = sa.Table("opsbot_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

inbox = sa.Table(
    "opsbot_inbox",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),
    sa.Column("incoming", sa.Text, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("handled", sa.Boolean, nullable=False, default=False, index=True),
    sa.Column("outcome", sa.Text, nullable=False, default=""),
)

runs = sa.Table(
    "opsbot_runs",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),  # of the incoming that asked for it
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False, index=True),  # the engine still has something to do for it
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("next_due", Instant, index=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("continuation", sa.Integer, nullable=False, default=0),  # which workflow of the engine works for it
)

locks = sa.Table(
    "opsbot_locks",
    metadata,
    sa.Column("target", sa.String(300), primary_key=True),
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", Instant, nullable=False),
)

cards = sa.Table(
    "opsbot_cards",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("surface", sa.String(20), primary_key=True),
    sa.Column("channel", sa.String(200), nullable=False),
    sa.Column("thread", sa.String(200), nullable=False),  # where the run's messages go; the card itself, mostly
    sa.Column("remote_id", sa.String(200), nullable=False, default=""),
    sa.Column("link", sa.Text, nullable=False, default=""),  # for people
    sa.Column("version", sa.Integer, nullable=False, default=0),  # of the run that the card shows
    sa.Column("drawn_at", Instant),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("problem", sa.Text, nullable=False, default=""),
)

outbox = sa.Table(
    "opsbot_outbox",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False),  # thread, page, answer, private
    sa.Column("surface", sa.String(20), nullable=False),
    sa.Column("channel", sa.String(200), nullable=False),
    sa.Column("thread", sa.String(200), nullable=False, default=""),
    sa.Column("run_id", sa.String(26), nullable=False, default="", index=True),
    sa.Column("escalation", sa.Integer, nullable=False, default=0),
    sa.Column("body", sa.Text, nullable=False),  # drawn for its surface
    sa.Column("address", sa.Text, nullable=False, default="{}"),  # of a private answer
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("status", sa.String(10), nullable=False, default="waiting", index=True),  # waiting, sent, given up
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("remote_id", sa.String(200), nullable=False, default=""),
    sa.Column("problem", sa.Text, nullable=False, default=""),
)

journal = sa.Table(
    "opsbot_journal",
    metadata,
    sa.Column("operation", sa.String(100), primary_key=True),
    sa.Column("begun_at", Instant, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),  # how often
    sa.Column("result", sa.Text),
)

cursors = sa.Table(
    "opsbot_cursors",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


verifications = sa.Table(
    "opsbot_verifications",
    metadata,
    sa.Column("runbook", sa.String(200), primary_key=True),  # its id in lower case
    sa.Column("digest", sa.String(16), nullable=False),  # of what the document said
    sa.Column("verified_at", Instant, nullable=False),
    sa.Column("drifts", sa.Integer, nullable=False),
    sa.Column("findings", sa.Text, nullable=False),
)


class Store:
    """The database. ``write`` is one transaction; ``read`` sees what is committed."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.path: Path | None = None
        if self.url.get_backend_name() == "sqlite":
            if not self.url.database:
                raise SettingsError('database.url: names no file. Example: url = "sqlite:///opsbot.db"')
            self.path = Path(self.url.database).absolute()
            _private_file(self.path)
            self.engine = _sqlite_engine(self.path)
        else:
            self.engine = create_async_engine(
                self.url.set(drivername="postgresql+psycopg"), pool_size=5, pool_pre_ping=True
            )

    @property
    def engine_url(self) -> str:
        """The same database, for the durable engine."""
        if self.path:
            return sa.URL.create("sqlite", database=str(self.path)).render_as_string()
        return self.url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    async def open(self) -> None:
        """Make the tables that are missing. Raises ``SettingsError`` when the database cannot be used."""
        try:
            async with self.write() as connection:
                await connection.run_sync(metadata.create_all)
                found = (await connection.execute(sa.select(schema.c.version))).scalar()
                if found is None:
                    await connection.execute(schema.insert().values(version=SCHEMA_VERSION))
        except sa.exc.SQLAlchemyError as error:
            raise SettingsError(f"database.url: {self.where} cannot be used: {reason(error)}") from error
        if found not in (None, SCHEMA_VERSION):
            raise SettingsError(
                f"database.url: {self.where} was made by another version of opsbot (schema {found}, "
                f"this one knows {SCHEMA_VERSION}). Use the opsbot that made it, or another file"
            )

    @property
    def where(self) -> str:
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with self.engine.begin() as connection:
            yield connection

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self.engine.connect() as plain:
            yield await plain.execution_options(isolation_level="AUTOCOMMIT")

    async def rows(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        async with self.read() as connection:
            result = await connection.execute(query)
            rows: Sequence[sa.Row[Any]] = result.all()
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


def reason(error: BaseException) -> str:
    """The database's own words, without SQL and without parameters."""
    original = getattr(error, "orig", None) or error
    return str(original).strip().split("\n", 1)[0] or type(original).__name__


def _private_file(path: Path) -> None:
    """Whoever can write this file can make the bot run code (engine.md, section 9): nobody but its owner may."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o600))
        if path.stat().st_uid == os.getuid() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
    except OSError as error:
        raise SettingsError(f"database.url: {path} cannot be opened: {error.strerror}") from error


def _sqlite_engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(sa.URL.create("sqlite+aiosqlite", database=str(path)), connect_args={"timeout": 30})

    @sa.event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA busy_timeout = 30000")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return  # a reader takes no lock, and reads on when nothing can be written
        # A transaction that starts as a reader and then writes can fail at once with "database is locked".
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


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


class DatabaseLock:
    """The same for PostgreSQL: a session lock, which the server frees when the process is gone."""

    NUMBER = 0x6F707362  # "opsb"

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection: AsyncConnection | None = None

    async def take(self) -> None:
        try:
            self._connection = await self._store.engine.connect()
            await self._connection.execution_options(isolation_level="AUTOCOMMIT")
            taken = await self._connection.scalar(sa.select(sa.func.pg_try_advisory_lock(self.NUMBER)))
        except sa.exc.SQLAlchemyError as error:
            await self.release()
            raise SettingsError(
                f"database.url: {self._store.where} cannot be reached: {reason(error)}. "
                'Example: url = "postgresql://opsbot@localhost/opsbot"'
            ) from error
        if not taken:
            await self.release()
            raise SettingsError(f"database.url: another opsbot is running on {self._store.where}. Stop it first")

    async def release(self) -> None:
        if self._connection:
            await self._connection.close()
            self._connection = None


def dumps(value: Any) -> str:
    """JSON that any database stores: lone surrogates stay escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
