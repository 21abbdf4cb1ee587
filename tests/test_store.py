"""The database: whose it is, which version, and what is said when it cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from bot import store as tables
from bot.errors import SettingsError
from bot.store import SCHEMA_VERSION, InstanceLock, Instant, Store, dumps


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield store
    await store.close()


async def refusal(url: str) -> str:
    """Why this database cannot be used."""
    with pytest.raises(SettingsError) as refused:
        store = Store(url)
        try:
            await store.open()
        finally:
            await store.close()
    return str(refused.value)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Root may write where nobody else may, so permissions are not enough: the folder becomes a read-only mount."""
    made = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("only root may mount")
    try:
        if subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], capture_output=True).returncode:
            pytest.skip("this machine mounts nothing read-only")
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


# -- the file


async def test_only_its_owner_may_read_or_write_it(tmp_path: Path) -> None:
    """Whoever can write it can make the bot do things; whoever can read it reads what people said."""
    path = tmp_path / "opsbot.db"
    path.touch(mode=0o644)
    previous = os.umask(0)
    try:
        store = Store(f"sqlite:///{path}")
        await store.open()
        async with store.write() as connection:
            await connection.execute(tables.cursors.insert().values(name="a", value="b"))
        made = [file for file in tmp_path.iterdir() if file.name.startswith("opsbot.db")]
        assert {file.name for file in made} >= {"opsbot.db", "opsbot.db-wal"}
        for file in made:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
        await store.close()
    finally:
        os.umask(previous)


async def test_folders_that_are_missing_are_made(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/a/b/opsbot.db")
    await store.open()
    assert await store.problem() == ""
    await store.close()


async def test_a_name_with_strange_characters_is_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "a?b%41 c#d"
    store = Store(f"sqlite:///{quote(str(folder))}/opsbot.db")
    await store.open()
    assert store.where == f"{folder}/opsbot.db"
    assert [file.name for file in tmp_path.iterdir()] == [folder.name]
    assert sa.make_url(store.engine_url).database == f"{folder}/opsbot.db"  # the durable engine's
    await store.close()


async def test_no_file_at_all(tmp_path: Path) -> None:
    assert await refusal("sqlite:///") == 'database.url: names no file. Example: url = "sqlite:///opsbot.db"'


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    assert await refusal(f"sqlite:///{tmp_path}") == f"database.url: {tmp_path} cannot be opened: Is a directory"


async def test_a_file_in_the_way_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = await refusal(f"sqlite:///{tmp_path}/file/opsbot.db")
    assert said.startswith(f"database.url: {tmp_path}/file/opsbot.db cannot be opened: ")


async def test_something_else_than_a_database(tmp_path: Path) -> None:
    path = tmp_path / "opsbot.db"
    path.write_text("this is a letter\n" * 500)
    assert await refusal(f"sqlite:///{path}") == (f"database.url: {path} cannot be used: file is not a database")


async def test_a_folder_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    with read_only(folder):
        assert await refusal(f"sqlite:///{folder}/opsbot.db") == (
            f"database.url: {folder}/opsbot.db cannot be opened: Read-only file system"
        )


async def test_an_existing_database_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    store = Store(f"sqlite:///{folder}/opsbot.db")
    await store.open()
    await store.close()
    with read_only(folder):
        said = await refusal(f"sqlite:///{folder}/opsbot.db")
    assert said.startswith(f"database.url: {folder}/opsbot.db cannot be ")
    assert "\n" not in said


async def test_a_newer_opsbot_made_it(tmp_path: Path, store: Store) -> None:
    async with store.write() as connection:
        await connection.execute(tables.schema.update().values(version=SCHEMA_VERSION + 1))
    assert await refusal(f"sqlite:///{tmp_path}/opsbot.db") == (
        f"database.url: {tmp_path}/opsbot.db was made by a newer opsbot (schema {SCHEMA_VERSION + 1}, this one knows "
        f"{SCHEMA_VERSION}). Use that opsbot, or a copy of the database from before it. Nothing was changed"
    )


async def test_opened_again_it_holds_what_it_held(tmp_path: Path, store: Store) -> None:
    async with store.write() as connection:
        await connection.execute(tables.cursors.insert().values(name="a", value="b"))
    again = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await again.open()
    assert [row.value for row in await again.rows(sa.select(tables.cursors))] == ["b"]
    await again.close()


# -- one bot on one file


def test_a_second_bot_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "opsbot.db"
    first, second = InstanceLock(path), InstanceLock(path)
    first.take()
    with pytest.raises(SettingsError) as refused:
        second.take()
    assert str(refused.value) == (
        f"database.url: another opsbot is running on {path}. Stop it first: one bot at a time works on a database"
    )
    first.release()
    second.take()
    second.release()
    second.release()


def test_a_killed_bot_leaves_no_lock_behind(tmp_path: Path) -> None:
    path = tmp_path / "opsbot.db"
    program = (
        "import pathlib, sys, time; from bot.store import InstanceLock\n"
        "InstanceLock(pathlib.Path(sys.argv[1])).take(); print('taken', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "taken\n"
    with pytest.raises(SettingsError):
        InstanceLock(path).take()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    lock = InstanceLock(path)
    lock.take()
    lock.release()


# -- reading and writing


async def test_a_reader_does_not_wait_for_a_writer(store: Store) -> None:
    async with store.write() as connection, asyncio.timeout(5):
        await connection.execute(tables.cursors.insert().values(name="a", value="b"))
        assert await store.rows(sa.select(tables.cursors)) == []  # and it does not see what is not committed
    assert len(await store.rows(sa.select(tables.cursors))) == 1


async def test_what_fails_in_the_middle_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.write() as connection:
            await connection.execute(tables.cursors.insert().values(name="a", value="b"))
            raise ZeroDivisionError
    assert await store.rows(sa.select(tables.cursors)) == []


async def test_what_is_on_the_disk_survives_the_machine(store: Store) -> None:
    async with store.write() as connection:
        assert (await connection.exec_driver_sql("PRAGMA synchronous")).scalar() == 2  # FULL
        assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"


async def test_a_database_that_cannot_be_written_is_a_problem_in_one_sentence(store: Store) -> None:
    assert await store.problem() == ""

    @sa.event.listens_for(store.engine.sync_engine, "begin")
    def _full(connection: sa.Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    assert await store.problem() == (
        f"The database {store.where} cannot be written: attempt to write a readonly database"
    )


async def test_a_database_that_is_gone_is_a_problem_in_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    store = Store(f"sqlite:///{folder}/opsbot.db")
    await store.open()
    await store.close()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert await store.problem() == (f"The database {folder}/opsbot.db cannot be written: unable to open database file")
    with pytest.raises(sa.exc.SQLAlchemyError):
        await store.rows(sa.select(tables.cursors))
    await store.close()


@given(st.datetimes(timezones=st.sampled_from((UTC, timezone(timedelta(hours=5, minutes=45))))))
def test_instants_sort_as_text_as_they_do_as_times(at: datetime) -> None:
    kind, dialect = Instant(), sa.engine.default.DefaultDialect()
    later = at + timedelta(microseconds=1) if at < datetime.max.replace(tzinfo=at.tzinfo) - timedelta(days=2) else at
    if not datetime(2, 1, 1, tzinfo=UTC) < at < datetime(9998, 1, 1, tzinfo=UTC):
        return
    stored = kind.process_bind_param(at, dialect)
    assert kind.process_result_value(stored, dialect) == at
    assert (stored or "") < (kind.process_bind_param(later, dialect) or "")


async def test_any_text_can_be_stored_as_json(store: Store) -> None:
    text = dumps({"a": "\ud800 ä \x00"})
    async with store.write() as connection:
        await connection.execute(tables.cursors.insert().values(name="a", value=text))
    assert (await store.rows(sa.select(tables.cursors.c.value)))[0].value == text
    with contextlib.closing(sqlite3.connect(store.where)) as plain:
        assert plain.execute("SELECT value FROM opsbot_cursors").fetchone() == (text,)
