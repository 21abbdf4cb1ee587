"""``opsbot_loop_longest_stall_seconds``: for how long the bot answered nobody, at worst, since Prometheus last asked.

Everything that waits for something takes turns on one event loop: whatever computes there keeps everybody waiting, who
types first of all. The watch wants to wake twenty times a second, and notes how late it was.
"""

from __future__ import annotations

import asyncio
import gc

EVERY = 0.05  # seconds
FULL_AFTER = 1000  # middle searches: some seven million objects more than there were


class LoopLag:
    def __init__(self) -> None:
        self._longest = 0.0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            self._longest = max(self._longest, loop.time() - due)

    def longest(self) -> float:
        """Seconds, since this was last asked."""
        longest, self._longest = self._longest, 0.0
        return longest


def collect_seldom() -> None:
    """Once everything is there: keep it out of Python's search for garbage, and make the full search rare.

    It goes through every object while nobody is answered: a quarter of a second for what a scan of 10,000 projects
    leaves. Garbage is nearly all found by the small searches, which stay as they are.
    """
    gc.collect()
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, FULL_AFTER)
