"""One tick is one report: with two replicas at the same moment, and after a crash in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import ManualClock, Signal
from bot.commands.registry import CommandGroup
from bot.errors import Unavailable
from bot.handler import Product, ProductSettings
from bot.reports.model import Crossing, Level, Measured, Metric, Reading, ReportSource
from bot.reports.runner import Report, ReportRunner
from bot.runs.perform import Connected
from bot.settings import ReportSettings
from bot.store import Store
from bot.surfaces.slack.client import SlackSurface
from bot.surfaces.slack.port import SlackPort

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DEAD_LETTERS = Metric(name="dead-letters", title="Dead letters", limits="5 / 10 (runbook)")


class Pipeline:
    """A product whose levels the test sets."""

    def __init__(self) -> None:
        self.levels: dict[str, Level] = {}
        self.measured = 0
        self.reachable = True

    async def measure(self, handler: Any, now: datetime) -> Reading:
        self.measured += 1
        await asyncio.sleep(0)
        if not self.reachable:
            raise Unavailable("the disk is gone")
        found = [
            Measured(metric="dead-letters", subject=subject, level=level, shown=str(level))
            for subject, level in self.levels.items()
        ]
        return Reading(at=now, measured=tuple(found), subjects=frozenset(self.levels), source="a test")


class Bench:
    """Two replicas of a runner on one database."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.store = store
        self.clock = ManualClock(NOON)
        self.pipeline = Pipeline()
        self.alarms: list[list[str]] = []
        product = Product(
            name="test",
            title="Test",
            summary="",
            settings=ProductSettings,
            setup="",
            commands=CommandGroup("test", ""),
            connect=None,  # type: ignore[arg-type]  # it is connected already
            report=ReportSource(metrics=(DEAD_LETTERS,), measure=self.pipeline.measure),
        )
        chosen = {"product": "test", "cron": "0 * * * *", "channel": "C0OPS", "chart": False, **settings}
        self.report = Report("hourly", ReportSettings(**chosen), Connected(product, None), "")  # type: ignore[arg-type]
        surface = SlackPort(SlackSurface("xoxb-test", self.clock), {})
        self.replicas = [
            ReportRunner(
                store, self.clock, [self.report], {"slack": surface}, Signal(), str, self._alarm, timedelta(days=365)
            )
            for _ in range(2)
        ]

    async def _alarm(
        self, connection: AsyncConnection, report: Report, crossings: Sequence[Crossing], reading: Reading, key: str
    ) -> None:
        self.alarms.append([each.subject for each in crossings])

    async def said(self) -> list[str]:
        rows = await self.store.rows(sa.select(tables.outbox.c.body).order_by(tables.outbox.c.number))
        return [row.body for row in rows]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield store
    await store.close()


async def test_two_replicas_tick_together(store: Store) -> None:
    bench = Bench(store)
    bench.pipeline.levels = {"a": "critical"}
    for replica in bench.replicas:
        await replica._last_tick(bench.report)
    made = await asyncio.gather(*(replica.tick(bench.report, NOON) for replica in bench.replicas))
    assert sorted(made) == [False, True]
    assert len(await bench.said()) == 1 and bench.alarms == [["a"]]


async def test_the_schedules_of_two_replicas(store: Store) -> None:
    """Both run; every hour has one report."""
    bench = Bench(store, digest=True)
    for replica in bench.replicas:
        replica.start()
    try:
        async with asyncio.timeout(30):
            while len(await bench.said()) < 4:
                await bench.clock.advance(60)
                await asyncio.sleep(0.01)
        rows = await store.rows(sa.select(tables.report_ticks.c.key).order_by(tables.report_ticks.c.key))
        assert [row.key[-14:-12] for row in rows] == ["13", "14", "15", "16"]
    finally:
        for replica in bench.replicas:
            await replica.stop()


@pytest.mark.parametrize("broken", ["_keep", "_say", "alarm"])
async def test_cut_off_in_the_middle_it_is_made_again_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whatever fails on the way, nothing of the report is stored; the next try says everything once."""
    bench = Bench(store)
    bench.pipeline.levels = {"a": "critical"}
    runner = bench.replicas[0]
    await runner._last_tick(bench.report)

    async def dies(*_: object, **__: object) -> None:
        raise OSError("killed here")

    with monkeypatch.context() as patched:
        patched.setattr(runner, broken, dies)
        with pytest.raises(OSError, match="killed here"):
            await runner.tick(bench.report, NOON)
    for table in (tables.outbox, tables.levels, tables.report_ticks, tables.standings):
        assert not await store.rows(sa.select(table)), table.name
    assert await runner.tick(bench.report, NOON)
    said = await bench.said()
    assert len(said) == 1 and "1 newly critical" in said[0]


async def test_every_change_of_a_level_is_history(store: Store) -> None:
    bench = Bench(store)
    runner = bench.replicas[0]
    await runner._last_tick(bench.report)
    for hour, levels in enumerate(({"a": "warning"}, {"a": "warning"}, {"a": "critical"}, {}), start=1):
        bench.pipeline.levels = levels  # type: ignore[assignment]
        await bench.clock.advance(3600)
        await runner.tick(bench.report, NOON + timedelta(hours=hour))
    rows = await store.rows(sa.select(tables.levels).where(tables.levels.c.metric == "dead-letters"))
    assert [(row.level, row.at.hour) for row in rows] == [("warning", 13), ("critical", 15), (None, 16)]
    assert [(each.critical, each.warning) for each in await runner.trend("test")] == [(0, 1), (0, 1), (1, 0), (0, 0)]
    await bench.clock.advance(366 * 86400)
    await runner.forget_old()
    assert not await store.rows(sa.select(tables.levels)) and not await runner.trend("test")


async def test_what_cannot_be_measured_ends_nothing(store: Store) -> None:
    bench = Bench(store)
    runner = bench.replicas[0]
    await runner._last_tick(bench.report)
    bench.pipeline.levels = {"a": "critical"}
    await runner.tick(bench.report, NOON)
    bench.pipeline.reachable = False
    await bench.clock.advance(3600)
    await runner.tick(bench.report, NOON + timedelta(hours=1))
    rows = await store.rows(sa.select(tables.standings.c.key, tables.standings.c.level))
    assert {(row.key, row.level) for row in rows} == {("dead-letters:a", "critical"), ("reading:Test", "warning")}
