"""A whole night in a second: the clock that a test moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bot.clock import ManualClock, SystemClock

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def test_it_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    assert clock.now() == NOON
    await asyncio.sleep(0.01)
    assert clock.now() == NOON
    await clock.advance(90)
    assert clock.now() == NOON + timedelta(seconds=90)


async def test_sleepers_wake_in_the_order_of_their_time_each_at_its_own() -> None:
    clock, woken = ManualClock(), list[tuple[str, float]]()

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, (clock.now() - NOON).total_seconds()))

    tasks = [asyncio.create_task(sleep(*each)) for each in (("late", 30), ("soon", 10), ("first", 5), ("soon too", 10))]
    await asyncio.sleep(0)
    await clock.advance(20)
    assert woken == [("first", 5), ("soon", 10), ("soon too", 10)]
    await clock.advance(9)
    assert len(woken) == 3
    await clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken[-1] == ("late", 30)


async def test_who_sleeps_again_on_the_way_wakes_again_on_the_way() -> None:
    clock, ticks = ManualClock(), list[float]()

    async def tick() -> None:
        while True:
            await clock.sleep(1)
            ticks.append((clock.now() - NOON).total_seconds())

    task = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await clock.advance(5)
    task.cancel()
    assert ticks == [1, 2, 3, 4, 5]


async def test_a_cancelled_sleeper_harms_nobody() -> None:
    clock = ManualClock()
    gone, staying = asyncio.create_task(clock.sleep(1)), asyncio.create_task(clock.sleep(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await clock.advance(3)
    await staying
    assert clock.now() == NOON + timedelta(seconds=3)


@pytest.mark.parametrize("seconds", [0, -1])
async def test_no_time_at_all_only_lets_others_run(seconds: float) -> None:
    async with asyncio.timeout(1):
        await ManualClock().sleep(seconds)
        await SystemClock().sleep(seconds)


def test_the_real_clock_is_in_utc() -> None:
    now = SystemClock().now()
    assert now.utcoffset() == timedelta()
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)
