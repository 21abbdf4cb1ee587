"""Stints on the durable engine: who works on a run, and that somebody always does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from dbos import DBOS

from bot import store as tables
from bot.clock import ManualClock
from bot.handler import ActionContext, ActionResult, Target
from bot.runs import engine as engine_module
from bot.runs import sweep
from bot.runs.decide import decide, new_run, next_due
from bot.runs.engine import RunEngine
from bot.runs.model import Plan, Press, RunState
from bot.runs.perform import Connected, Performer
from bot.runs.record import MovedOn
from bot.store import Store
from tests.runs.plans import CHANGE, RUN_ID, plan, row
from tests.runs.products import Shelf, product


class Bench:
    """An engine on a file, with a run of one manual step; ``again`` is the next process on the same file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.engine = self._made()

    def _made(self) -> RunEngine:
        self.store = Store(f"sqlite:///{self.folder}/opsbot.db")
        self.shelf = Shelf()
        performer = Performer(self.store, self.clock, {"shelf": Connected(product, self.shelf)})
        return RunEngine(self.store, self.clock, performer, lambda *_: [])

    async def open(self) -> None:
        await self.store.open()
        await self.engine.launch(0.02)

    async def close(self) -> None:
        await self.engine.stop()
        await self.store.close()

    async def again(self) -> None:
        await self.close()
        self.engine = self._made()
        await self.open()

    async def put(self, made: Plan) -> None:
        state = new_run(made)
        async with self.store.write() as connection:
            await connection.execute(
                tables.runs.insert().values(
                    id=RUN_ID, key="k", version=0, open=True, status=state.status, next_due=next_due(state),
                    state=state.model_dump_json(), started_at=made.started_at,
                )
            )  # fmt: skip

    async def state(self) -> RunState:
        state = await self.engine.state(RUN_ID)
        assert state is not None
        return state

    async def until(self, look: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(30):
            while not await look():
                await asyncio.sleep(0.01)

    async def until_status(self, status: str) -> None:
        async def look() -> bool:
            return (await self.state()).status == status

        await self.until(look)

    async def until_parked(self) -> None:
        async def look() -> bool:
            return not self.engine._stints

        await self.until(look)

    def done(self) -> Press:
        return Press(at=self.clock.now(), verb="done", actor="slack:U0ALICE")


def throwing() -> Plan:
    """A run of one step whose action cannot be looked up afterwards."""
    made = row("Throw it there", CHANGE)
    step = made.step.model_copy(update={"action": "shelf.throw"})
    target = Target(product="shelf", kind="shelf", name="shelf-1")
    return plan(replace(made, step=step)).model_copy(update={"target": target})


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.open()
    yield bench
    await bench.close()


async def test_a_run_that_waits_costs_nothing_but_its_row(bench: Bench) -> None:
    await bench.put(plan(row("Do it", None)))
    await bench.engine.start(RUN_ID)
    await bench.engine.start(RUN_ID)  # twice is once
    await bench.until_status("waiting")
    await bench.until_parked()

    async def over() -> bool:
        return all(each.status == "SUCCESS" for each in await DBOS.list_workflows_async())

    await bench.until(over)
    await bench.engine.press(RUN_ID, bench.done(), "click-1")
    await bench.until_status("done")


async def test_the_same_click_counts_once(bench: Bench) -> None:
    await bench.put(plan(row("Do it", None), row("Do it", None)))
    await bench.engine.start(RUN_ID)
    await bench.until_status("waiting")
    for _ in range(3):
        await bench.engine.press(RUN_ID, bench.done(), "click-1")
    await bench.until_parked()
    assert [step.status for step in (await bench.state()).steps] == ["done", "waiting"]


async def test_a_click_that_nobody_has_read_reaches_the_next_stint(bench: Bench) -> None:
    """The process died between storing the click and reading it."""
    await bench.put(plan(row("Do it", None)))
    await bench.engine.start(RUN_ID)
    await bench.until_status("waiting")
    await bench.until_parked()
    await bench.engine.mailbox.put(RUN_ID, bench.done(), "click-1")
    await bench.again()
    await bench.until_status("done")
    unread = sa.select(tables.events.c.key).where(~tables.events.c.read)
    assert not await bench.store.rows(unread)


async def test_a_run_that_nobody_works_on_is_taken_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stored, and the disk was full when it was to be begun."""
    monkeypatch.setattr(sweep, "SWEEP_EVERY", 0.05)
    await bench.put(plan(row("Do it", None)))
    await bench.again()
    await bench.until_status("waiting")


async def test_what_is_long_over_is_forgotten(bench: Bench) -> None:
    await bench.put(plan(row("Do it", None)))
    await bench.engine.start(RUN_ID)
    await bench.until_status("waiting")
    await bench.engine.press(RUN_ID, bench.done(), "click-1")
    await bench.until_status("done")
    await bench.until_parked()
    await asyncio.sleep(0)
    await bench.engine.forget_old(bench.clock.now() - timedelta(days=365))
    assert len(await DBOS.list_workflows_async()) == 2

    async def forgotten() -> bool:
        await bench.engine.forget_old(datetime.now(UTC) + timedelta(days=365))
        return not await DBOS.list_workflows_async()

    await bench.until(forgotten)
    assert not await bench.store.rows(sa.select(tables.events.c.key))
    assert (await bench.state()).status == "done"


async def test_a_stop_lets_the_action_under_way_end(bench: Bench) -> None:
    """It ends while the bot is being stopped: the next start knows how, and looks nothing up."""
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow(_: ActionContext) -> ActionResult:
        begun.set()
        await may_end.wait()
        return ActionResult(status="done", summary="It stands on the shelf.")

    bench.shelf.perform = slow
    await bench.put(throwing())
    await bench.engine.start(RUN_ID)
    async with asyncio.timeout(10):
        await begun.wait()
    stopping = asyncio.create_task(bench.engine.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    may_end.set()
    await stopping
    journal = await bench.store.rows(sa.select(tables.journal))
    assert ["It stands on the shelf." in each.result for each in journal] == [True]
    await bench.again()
    await bench.until_status("done")
    assert (await bench.state()).steps[0].summary == "It stands on the shelf."


async def test_a_stop_does_not_wait_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "STOP_GRACE", 0.2)
    begun = asyncio.Event()

    async def endless(_: ActionContext) -> ActionResult:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    bench.shelf.perform = endless
    await bench.put(throwing())
    await bench.engine.start(RUN_ID)
    async with asyncio.timeout(10):
        await begun.wait()
    await bench.again()
    await bench.until_status("waiting")
    assert "cannot tell whether it happened" in (await bench.state()).steps[0].summary


async def test_another_process_has_worked_on_it(bench: Bench) -> None:
    """What was decided about an older state is not stored over the newer one."""
    await bench.put(plan(row("Do it", None)))
    await bench.engine.start(RUN_ID)
    await bench.until_status("waiting")
    await bench.until_parked()
    before = await bench.state()
    event = bench.done()
    decision = decide(before, event)
    moved_on = tables.runs.update().values(version=before.version + 5)
    await bench.store.transaction(lambda connection: connection.execute(moved_on))
    with pytest.raises(MovedOn):
        await bench.engine._save(before, event, decision, None)
    assert (await bench.store.rows(sa.select(tables.runs.c.status)))[0].status == "waiting"
