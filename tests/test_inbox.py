"""Nothing is acknowledged before it is on the disk, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from bot import store as tables
from bot.inbox import Inbox
from bot.incoming import Actor, Incoming, Place
from bot.store import Store


def command(number: int, text: str = "/somas status", person: str = "U0ALICE") -> Incoming:
    return Incoming(
        key=f"slack:{number}",
        actor=Actor(surface="slack", id=person),
        place=Place(surface="slack", channel="C0OPS"),
        text=text,
        received_at=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
    )


class Commits:
    """Counts the commits of an inbox; while it is ``broken`` each of them fails as on a full disk."""

    def __init__(self, inbox: Inbox) -> None:
        assert inbox._file is not None
        self.count, self.broken, self.inner = 0, False, inbox._file._connect
        inbox._file._connect = self._connect  # type: ignore[method-assign]

    def _connect(self) -> sqlite3.Connection:
        connection = self.inner()
        connection.set_trace_callback(self._said)
        connection.execute(f"PRAGMA query_only = {int(self.broken)}")
        return connection

    def _said(self, statement: str) -> None:
        self.count += statement.startswith("INSERT INTO opsbot_inbox")  # each a transaction of its own


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield store
    await store.close()


async def stored(store: Store) -> list[str]:
    rows = await store.rows(sa.select(tables.inbox.c.key).order_by(tables.inbox.c.number))
    return [row.key for row in rows]


async def test_many_at_once_share_a_few_commits(store: Store) -> None:
    inbox = Inbox(store)
    commits = Commits(inbox)
    assert all(await asyncio.gather(*(inbox.accept(command(number)) for number in range(200))))
    assert commits.count <= 3
    assert await stored(store) == [f"slack:{number}" for number in range(200)]


async def test_one_alone_does_not_wait_for_others(store: Store) -> None:
    inbox = Inbox(store)
    commits = Commits(inbox)
    async with asyncio.timeout(5):
        assert await inbox.accept(command(1))
    assert commits.count == 1


async def test_what_comes_while_a_commit_is_under_way_goes_into_the_next(store: Store) -> None:
    inbox = Inbox(store)
    commits = Commits(inbox)
    first = asyncio.create_task(inbox.accept(command(1)))
    while not commits.count:  # the first is on its way
        await asyncio.sleep(0)
    rest = [asyncio.create_task(inbox.accept(command(number))) for number in range(2, 50)]
    assert await first
    assert all(await asyncio.gather(*rest))
    assert commits.count == 2


async def test_it_is_on_the_disk_when_it_is_accepted(store: Store, tmp_path: Path) -> None:
    inbox = Inbox(store)
    await inbox.accept(command(1))
    inbox.close()
    other = Store(f"sqlite:///{tmp_path}/opsbot.db")
    assert await stored(other) == ["slack:1"]
    await other.close()


async def test_a_redelivery_is_told_apart_in_one_batch_and_in_two(store: Store) -> None:
    inbox = Inbox(store)
    assert sorted(await asyncio.gather(*(inbox.accept(command(1)) for _ in range(5)))) == [False] * 4 + [True]
    assert not await inbox.accept(command(1, "/somas failed"))
    assert [one.text for one in await inbox.unhandled()] == ["/somas status"]  # the first is kept


async def test_of_old_and_new_ones_in_one_commit_each_learns_what_it_is(store: Store) -> None:
    inbox = Inbox(store)
    commits = Commits(inbox)
    for number in (3, 1, 8):
        await inbox.accept(command(number))
    before = commits.count
    numbers = (0, 1, 1, 2, 2, 3, 4, 8, 9, 0)
    news = await asyncio.gather(*(inbox.accept(command(number)) for number in numbers))
    assert [number for number, new in zip(numbers, news, strict=True) if new] == [0, 2, 4, 9]
    assert commits.count == before + 1
    assert len(await stored(store)) == 7
    assert not any(await asyncio.gather(*(inbox.accept(command(number)) for number in numbers)))


async def test_a_failure_reaches_everybody_who_waits_and_nothing_is_stored(store: Store) -> None:
    inbox = Inbox(store)
    commits = Commits(inbox)
    commits.broken = True
    results = await asyncio.gather(*(inbox.accept(command(number)) for number in range(50)), return_exceptions=True)
    assert all(isinstance(result, sa.exc.SQLAlchemyError) for result in results)
    commits.broken = False
    assert await stored(store) == []
    assert await inbox.accept(command(0)), "the same command, sent again, is new"


async def test_one_that_cannot_be_stored_harms_no_other(store: Store) -> None:
    inbox = Inbox(store)
    bad = command(2).model_copy(update={"text": "/somas restart \ud800"})
    results = await asyncio.gather(
        *(inbox.accept(each) for each in (command(1), bad, command(3))), return_exceptions=True
    )
    assert [result is True for result in results] == [True, False, True]
    assert isinstance(results[1], ValueError)
    assert await stored(store) == ["slack:1", "slack:3"]


async def test_somebody_who_hangs_up_takes_nobody_along(store: Store) -> None:
    inbox = Inbox(store)
    gone, staying = (asyncio.create_task(inbox.accept(command(number))) for number in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await staying
    assert await stored(store) == ["slack:1", "slack:2"]  # asked is asked: it may already have been on its way


async def test_handled_ones_are_gone_and_a_busy_person_hides_nobody(store: Store) -> None:
    inbox = Inbox(store)
    for number in range(60):
        await inbox.accept(command(number))
    await inbox.accept(command(99, person="U0BOB"))
    assert {str(one.actor) for one in await inbox.unhandled()} == {"slack:U0ALICE", "slack:U0BOB"}
    assert [str(one.actor) for one in await inbox.unhandled(besides=("slack:U0ALICE",))] == ["slack:U0BOB"]
    assert await inbox.is_waiting("slack:99")
    async with store.write() as connection:
        await connection.execute(tables.inbox.update().values(handled=True))
    assert await inbox.unhandled() == []
    assert not await inbox.is_waiting("slack:99")


async def test_a_row_that_cannot_be_read_hides_no_other(store: Store) -> None:
    inbox = Inbox(store)
    await inbox.accept(command(1))
    async with store.write() as connection:
        await connection.execute(tables.inbox.update().values(incoming='{"of": "another version"}'))
    await inbox.accept(command(2))
    assert [one.key for one in await inbox.unhandled()] == ["slack:2"]


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=50))
def test_any_text_can_be_stored_and_comes_back_as_it_was(text: str) -> None:
    assert Incoming.model_validate_json(command(1, text).model_dump_json()).text == text


def test_half_a_surrogate_pair_is_no_text_and_is_replaced() -> None:
    assert command(1, "/somas restart \ud800").text == "/somas restart \ufffd"


async def test_whoever_else_writes_is_waited_for_and_comes_after(store: Store) -> None:
    """An acknowledgement comes as soon as a transaction of somebody else ends, although others wait for it too."""
    inbox, order = Inbox(store), list[str]()
    assert await inbox.accept(command(0))
    other = sqlite3.connect(store.path or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write(number: int) -> None:
        async with store.write() as connection:
            await connection.execute(tables.cursors.insert().values(name=f"n{number}", value=""))
        order.append("another")

    async def accept() -> None:
        await inbox.accept(command(1))
        order.append("accepted")

    writing = [asyncio.create_task(write(number)) for number in range(5)]
    await asyncio.sleep(0.05)
    accepting = asyncio.create_task(accept())
    await asyncio.sleep(0.05)
    assert order == []
    other.execute("COMMIT")
    await asyncio.gather(accepting, *writing)
    assert order.index("accepted") <= 1
    other.close()
    inbox.close()


async def test_closing_ends_the_thread_after_what_was_added(store: Store) -> None:
    inbox = Inbox(store)
    accepting = [asyncio.create_task(inbox.accept(command(number))) for number in range(20)]
    await asyncio.sleep(0)
    inbox.close()
    assert all(await asyncio.gather(*accepting))
    assert inbox._file is not None and inbox._file._thread is None


async def test_handling_waits_for_those_who_type_but_not_for_ever(store: Store) -> None:
    inbox = Inbox(store)
    await inbox.accept(command(0))
    other = sqlite3.connect(store.path or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    accepting = asyncio.create_task(inbox.accept(command(1)))
    await asyncio.sleep(0)
    started = time.monotonic()
    await inbox.calm()
    assert 0.04 < time.monotonic() - started < 5
    other.execute("ROLLBACK")
    assert await accepting
    await inbox.calm()
    other.close()
    inbox.close()
