"""What the bot remembers: one database, SQLite in a file or PostgreSQL, beside the tables of the engine.

The inbox holds what people asked before it is acknowledged; ``runs`` the state of every run as it was last decided;
``locks`` who works on which target; the outbox what has to be said and, later, where it was said; the journal which
actions were begun. Everything that belongs together is written in one transaction.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bot.errors import SettingsError
from bot.redaction import redacted_json

log = structlog.get_logger("opsbot")

T = TypeVar("T")

SCHEMA_VERSION = 2
"""A change of a table needs a step in ``bot/migrations.py``, which says how; a new table needs none."""

metadata = sa.MetaData()


class Instant(sa.types.TypeDecorator[datetime]):
    """A UTC instant as text that sorts: SQLite has no time zones of its own."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:
        return value.astimezone(UTC).isoformat(timespec="microseconds") if value else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if value else None


class Told(sa.types.TypeDecorator[str]):
    """Text or JSON that somebody wrote. A known secret that got past the gates before does not get into the file."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return redacted_json(value) if value else value


schema = sa.Table("opsbot_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))

inbox = sa.Table(
    "opsbot_inbox",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),
    sa.Column("incoming", Told, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("handled", sa.Boolean, nullable=False, default=False, index=True),
    sa.Column("outcome", Told, nullable=False, default=""),
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
    sa.Column("state", Told, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("continuation", sa.Integer, nullable=False, default=0),  # how often it was taken up without getting on
)

events = sa.Table(  # a run's mailbox: what people pressed, until the run has taken it in
    "opsbot_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(400), nullable=False, unique=True),
    sa.Column("run_id", sa.String(26), nullable=False, index=True),
    sa.Column("event", Told, nullable=False),
    sa.Column("stored_at", Instant, nullable=False),
    sa.Column("read", sa.Boolean, nullable=False, default=False, index=True),
)

repository_events = sa.Table(  # what happened on GitHub without anybody asking the bot
    "opsbot_repository_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),  # of the delivery
    sa.Column("event", Told, nullable=False),
    sa.Column("at", Instant, nullable=False, index=True),
    sqlite_autoincrement=True,  # a number is never given again: readers remember how far they have come
)

locks = sa.Table(
    "opsbot_locks",
    metadata,
    sa.Column("target", sa.String(300), primary_key=True),
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("reason", Told, nullable=False),
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
    sa.Column("problem", Told, nullable=False, default=""),
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
    sa.Column("body", Told, nullable=False),  # drawn for its surface
    sa.Column("address", Told, nullable=False, default="{}"),  # of a private answer
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("status", sa.String(10), nullable=False, default="waiting", index=True),  # waiting, sent, given up
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("remote_id", sa.String(200), nullable=False, default=""),
    sa.Column("problem", Told, nullable=False, default=""),
)

journal = sa.Table(
    "opsbot_journal",
    metadata,
    sa.Column("operation", sa.String(100), primary_key=True),
    sa.Column("begun_at", Instant, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),  # how often
    sa.Column("result", Told),
)

cursors = sa.Table(
    "opsbot_cursors",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


escalations = sa.Table(  # what the watchdog judges by; the runs have the rest
    "opsbot_escalations",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("title", Told, nullable=False),
    sa.Column("severity", sa.String(10), nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("pages", sa.Integer, nullable=False),
    sa.Column("paged_at", Instant),
    sa.Column("next_page_at", Instant),
    sa.Column("acknowledged_at", Instant, index=True),
    sa.Column("acknowledged_by", sa.String(200), nullable=False, default=""),
)

clauses = sa.Table(  # clauses of runbooks that have come true: something is to be fetched or filed
    "opsbot_clauses",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("clause", sa.Integer, primary_key=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False, default=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("problem", Told, nullable=False, default=""),
)

verifications = sa.Table(
    "opsbot_verifications",
    metadata,
    sa.Column("runbook", sa.String(200), primary_key=True),  # its id in lower case
    sa.Column("digest", sa.String(16), nullable=False),  # of what the document said
    sa.Column("verified_at", Instant, nullable=False),
    sa.Column("drifts", sa.Integer, nullable=False),
    sa.Column("findings", Told, nullable=False),
)

reports = sa.Table(
    "opsbot_reports",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("last_tick", Instant, nullable=False),  # the latest that was dealt with
    sa.Column("memory", sa.Text, nullable=False),  # what it has told
)

report_ticks = sa.Table(
    "opsbot_report_ticks",
    metadata,
    sa.Column("key", sa.String(200), primary_key=True),  # the report and the instant for which it was scheduled
    sa.Column("done_at", Instant, nullable=False, index=True),
)

standings = sa.Table(
    "opsbot_standings",
    metadata,
    sa.Column("product", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(300), primary_key=True),  # metric:subject
    sa.Column("level", sa.String(10), nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
)

levels = sa.Table(  # every change of a level, so that it can be said since when and how often
    "opsbot_levels",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("product", sa.String(40), nullable=False),
    sa.Column("metric", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("level", sa.String(10)),  # NULL: its subject is gone
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False, index=True),
)

level_counts = sa.Table(  # how many subjects had which level, for the trend
    "opsbot_level_counts",
    metadata,
    sa.Column("product", sa.String(40), primary_key=True),
    sa.Column("at", Instant, primary_key=True),
    sa.Column("critical", sa.Integer, nullable=False),
    sa.Column("warning", sa.Integer, nullable=False),
    sa.Column("ok", sa.Integer, nullable=False),
)

silences = sa.Table(
    "opsbot_silences",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),  # of the command
    sa.Column("product", sa.String(40), nullable=False),
    sa.Column("metric", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("until", Instant, nullable=False, index=True),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", Instant, nullable=False),
)

marks = sa.Table(  # up to where a notifier has read each log
    "opsbot_marks",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("source", sa.String(200), primary_key=True),
    sa.Column("mark", sa.Text, nullable=False),
)

alarms = sa.Table(  # a critical crossing pages once, however many reports tell it
    "opsbot_alarms",
    metadata,
    sa.Column("product", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(300), primary_key=True),  # metric:subject
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("at", Instant, nullable=False),
)


audit = sa.Table(
    "opsbot_audit",  # rows are added by ``bot/audit.py`` alone; the triggers below refuse everything else
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(340), nullable=False, unique=True),  # what it tells of, so that it is told once
    sa.Column("at", Instant, nullable=False, index=True),
    sa.Column("kind", sa.String(60), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False, index=True),
    sa.Column("run_id", sa.String(26), nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),  # canonical JSON, all of the above included
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

audit_head = sa.Table(
    "opsbot_audit_head",  # one row; whoever adds to the chain locks it first
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("pruned", sa.Integer, nullable=False),  # entries up to this number may be deleted, and no others
)

durations = sa.Table(
    "opsbot_durations",  # how long steps took; outlives the runs
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("step", sa.String(300), nullable=False, index=True),
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.UniqueConstraint("step", "run_id"),
)


def _guard(statement: str, dialect: str, table: sa.Table) -> None:
    made = sa.DDL(statement)  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it
    sa.event.listen(table, "after_create", made.execute_if(dialect=dialect))


_guard(
    "CREATE TRIGGER opsbot_audit_no_update BEFORE UPDATE ON opsbot_audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "sqlite",
    audit,
)
_guard(
    "CREATE TRIGGER opsbot_audit_no_delete BEFORE DELETE ON opsbot_audit "
    "WHEN OLD.number > coalesce((SELECT pruned FROM opsbot_audit_head), 0) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "sqlite",
    audit,
)
_guard(
    "CREATE OR REPLACE FUNCTION opsbot_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF TG_OP = 'DELETE' THEN IF OLD.number <= coalesce((SELECT pruned FROM opsbot_audit_head), 0) THEN "
    "RETURN OLD; END IF; END IF; RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "postgresql",
    audit,
)
_guard(
    "CREATE TRIGGER opsbot_audit_rows BEFORE UPDATE OR DELETE ON opsbot_audit "
    "FOR EACH ROW EXECUTE FUNCTION opsbot_audit_guard()",
    "postgresql",
    audit,
)
_guard(
    "CREATE TRIGGER opsbot_audit_truncate BEFORE TRUNCATE ON opsbot_audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION opsbot_audit_guard()",
    "postgresql",
    audit,
)


queue = sa.Table(
    "opsbot_queue",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("target", sa.String(300), nullable=False, index=True),  # as in locks
    sa.Column("turn", sa.Integer, nullable=False),  # 0: takes the target over, so comes before 1: queued
    sa.Column("key", sa.String(300), nullable=False, unique=True),  # of the incoming that asked for it
    sa.Column("command", Told, nullable=False),  # to be dealt with anew when its turn comes
    sa.Column("incoming", Told, nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("cancels", sa.String(26), nullable=False, default=""),  # the run that has to go first
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("starting", sa.Boolean, nullable=False, default=False),  # its command is in the inbox
)

watchers = sa.Table(
    "opsbot_watchers",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),
    sa.Column("run_id", sa.String(26), nullable=False, index=True),
    sa.Column("incoming", Told, nullable=False),  # who wants to be told, and where
)

reactions = sa.Table(  # to comments on GitHub
    "opsbot_reactions",
    metadata,
    sa.Column("comment", sa.String(300), primary_key=True),  # the front of the inbox keys of its commands
    sa.Column("surface", sa.String(20), nullable=False),
    sa.Column("channel", sa.String(200), nullable=False),
    sa.Column("thread", sa.String(200), nullable=False, default=""),
    sa.Column("comment_id", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("shown", sa.String(10), nullable=False, default=""),
    sa.Column("reaction", sa.String(40), nullable=False, default=""),  # its id on the surface
    sa.Column("settled", sa.Boolean, nullable=False, default=False, index=True),
    sa.Column("next_try_at", Instant),
)

freeze = sa.Table(
    "opsbot_freeze",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # there is one row, for ever
    sa.Column("actor", sa.String(200), nullable=False, default=""),
    sa.Column("reason", Told, nullable=False, default=""),
    sa.Column("since", Instant),  # None: not frozen
)

homes = sa.Table(  # whose home tab is kept up to date
    "opsbot_homes",
    metadata,
    sa.Column("user", sa.String(40), primary_key=True),
    sa.Column("channel", sa.String(40), nullable=False),  # their conversation with the bot
    sa.Column("opened_at", Instant, nullable=False),
)

retries = sa.Table(
    "opsbot_retries",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("ancestor", sa.String(26), nullable=False, index=True),
)


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
            _private_file(self.path)
            self.engine = _sqlite_engine(self.path)
            self._inline: _InThread | None = _InThread(self.path)
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


class _InThread:
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


def dumps(value: Any) -> str:
    """JSON that any database stores: lone surrogates stay escaped."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
