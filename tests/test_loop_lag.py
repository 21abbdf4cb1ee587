"""``opsbot_loop_longest_stall_seconds`` tells that something kept everybody waiting, once."""

from __future__ import annotations

import asyncio
import time

from bot.loop_lag import EVERY, LoopLag


async def test_what_blocks_the_loop_is_told_once() -> None:
    lag = LoopLag()
    watching = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    time.sleep(EVERY + 0.3)
    async with asyncio.timeout(5):
        while (longest := lag.longest()) < 0.2:
            await asyncio.sleep(EVERY / 5)
    assert longest < 5
    assert lag.longest() == 0.0, "it counts anew"
    watching.cancel()
