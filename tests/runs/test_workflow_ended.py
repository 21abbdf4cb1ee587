"""A step that waits for a workflow looks at once when GitHub says that one ended, not at its next look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.repository_events import Kind, RepositoryEvent, RepositoryEvents
from bot.store import Store
from tests.runs.test_perform import Bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    bench = Bench(store)
    bench.performer.repository = RepositoryEvents(store)
    yield bench
    await store.close()


async def happens(bench: Bench, kind: Kind) -> None:
    assert bench.performer.repository is not None
    await bench.performer.repository.add(RepositoryEvent(key=f"{kind}", kind=kind, at=bench.clock.now()))


async def looked(bench: Bench, more_than: int) -> None:
    async with asyncio.timeout(10):
        while bench.shelf.looks <= more_than:
            await asyncio.sleep(0.001)


async def test_the_clock_need_not_move(bench: Bench) -> None:
    bench.shelf.facts["shelf.state"] = "closed"
    working = asyncio.create_task(bench.perform("shelf.look", "Shelf open within 1h"))
    await looked(bench, 0)
    before = bench.shelf.looks
    bench.shelf.facts["shelf.state"] = "open"
    await happens(bench, "label_added")
    await asyncio.sleep(0.02)
    assert bench.shelf.looks == before, "a label is no reason to look"
    await happens(bench, "workflow_ended")
    finished = await asyncio.wait_for(working, 10)
    assert bench.shelf.looks > before
    assert finished.outcome == "met"
