"""A database that an older opsbot made: it is brought forward, keeps everything, and its runs go on."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations

from bot import migrations
from bot import store as tables
from bot.clock import ManualClock
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from bot.errors import SettingsError
from bot.runs.model import RunState
from bot.store import SCHEMA_VERSION, Store
from tests.transcript import Chat

DUMPS = sorted((Path(__file__).parent / "databases").glob("version-*.sql"))
RUN = "01M81J18G05P1P72VW0JHZZPV9"  # of version 1: /supervisor quarantine fraud-scorer waits for a person


def restored(dump: Path, path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(dump.read_text())
    return path


def contents(path: Path) -> dict[str, list[dict[str, object]]]:
    """Every row of every table of ours, but the schema's number."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")]
            for name in names
            if name.startswith("opsbot_") and name != "opsbot_schema"
        }


def differences(connection: sa.Connection) -> list[object]:
    """Between the tables of the database and those of this version."""
    ours = set(tables.metadata.tables)

    def is_ours(_: object, name: str | None, kind: str, *__: object) -> bool:
        return kind != "table" or name in ours

    options = {"include_object": is_ours, "compare_type": True}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata))


def test_every_version_has_a_step_and_a_database_to_try_it_on() -> None:
    assert list(migrations.STEPS) == list(range(2, SCHEMA_VERSION + 1))
    assert [dump.stem for dump in DUMPS] == [f"version-{number}" for number in range(1, SCHEMA_VERSION)]


@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: dump.stem)
async def test_an_older_database_is_brought_forward_and_keeps_everything(tmp_path: Path, dump: Path) -> None:
    path = restored(dump, tmp_path / "opsbot.db")
    before = contents(path)
    store = Store(f"sqlite:///{path}")
    await store.open()
    async with store.read() as connection:
        assert await connection.run_sync(differences) == [], "bot/migrations.py lacks a step for a changed table"
        assert (await connection.execute(sa.select(tables.schema.c.version))).scalars().all() == [SCHEMA_VERSION]
    await store.close()
    after = contents(path)
    for name, rows in before.items():
        kept = [{column: new[column] for column in old} for old, new in zip(rows, after[name], strict=True)]
        assert kept == rows, name
    for row in after["opsbot_runs"]:
        RunState.model_validate_json(str(row["state"]))


@pytest.fixture
def failing_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step changes a table, then fails: the disk is full."""

    def step(op: Operations) -> None:
        op.execute("UPDATE opsbot_runs SET status = 'lost'")
        op.execute("CREATE TABLE opsbot_new (a INTEGER)")
        raise sa.exc.OperationalError("ALTER", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(migrations, "STEPS", {**migrations.STEPS, SCHEMA_VERSION: step})


async def test_what_cannot_be_brought_forward_stays_as_it_was(tmp_path: Path, failing_step: None) -> None:
    path = restored(DUMPS[-1], tmp_path / "opsbot.db")
    before = contents(path)
    store = Store(f"sqlite:///{path}")
    with pytest.raises(SettingsError, match=r"opsbot\.db cannot be used: database or disk is full"):
        await store.open()
    await store.close()
    assert contents(path) == before


async def test_a_run_of_version_1_goes_on(tmp_path: Path) -> None:
    """It was left waiting for a person; its page is acknowledged and its question answered by this version."""
    restored(DUMPS[0], tmp_path / "opsbot.db")
    section = f'[supervisor.targets.payments]\nsocket = "{tmp_path}/p.sock"\n'
    process = SupervisedProcess(ProcessConfig(socket=tmp_path / "p.sock", children=payment_children()))
    clock = ManualClock()
    await clock.advance(timedelta(minutes=1).total_seconds())
    async with process, Chat(tmp_path, section, clock=clock) as chat:
        await chat.types("alice", f"/runs done {RUN}")
        card = await chat.sees("Quarantine fraud-scorer of payments", "said by a person")
        await chat.thread(card, until="Run done")
        assert (await chat.state(card)).status == "done"
        await chat.types("scotlaclair", f"/runs ack {RUN}")
        await chat.thread(card, until="scotlaclair acknowledged the page")
        chat.read()
