"""Events of GitHub: stored once, read on from a number, and whoever waits is woken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.clock import ManualClock
from bot.repository_events import Kind, RepositoryEvent, RepositoryEvents
from bot.store import Store


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[RepositoryEvents]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield RepositoryEvents(store)
    await store.close()


def event(key: str, kind: Kind = "label_added", days_ago: float = 0) -> RepositoryEvent:
    return RepositoryEvent(key=key, kind=kind, at=ManualClock().now() - timedelta(days=days_ago), label="x")


async def test_each_is_stored_once_and_read_in_order(events: RepositoryEvents) -> None:
    assert [await events.add(event(key)) for key in ("a", "b", "a", "c")] == [True, True, False, True]
    found = await events.after(0)
    assert [each.key for _, each in found] == ["a", "b", "c"]
    assert [each.key for _, each in await events.after(found[0][0])] == ["b", "c"]
    assert await events.newest() == found[-1][0]


async def test_numbers_are_never_given_again(events: RepositoryEvents) -> None:
    await events.add(event("old", days_ago=40))
    last = await events.newest()
    await events.forget(ManualClock().now() - timedelta(days=30))
    assert await events.after(0) == []
    await events.add(event("new"))
    assert [each.key for _, each in await events.after(last)] == ["new"]


async def test_who_waits_is_woken_by_the_kind_that_they_wait_for(events: RepositoryEvents) -> None:
    before = events.heard
    any_kind = asyncio.ensure_future(events.another(before))
    ended = asyncio.ensure_future(events.another(before, ("workflow_ended",)))
    await asyncio.sleep(0)
    await events.add(event("a"))
    await asyncio.wait_for(any_kind, 5)
    assert not ended.done()
    await events.add(event("b", "workflow_ended"))
    await asyncio.wait_for(ended, 5)


async def test_what_came_before_the_wait_counts(events: RepositoryEvents) -> None:
    before = events.heard
    await events.add(event("a", "workflow_ended"))
    await events.add(event("b"))
    await asyncio.wait_for(events.another(before, ("workflow_ended",)), 5)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(events.another(events.heard), 0.05)
