"""``belt.clear == "yes" within 4s``, and ``kill -9`` in the middle of looking: a restart does not stretch the time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot import store as tables
from tests.crash.line import CLEAR_WITHIN, clear_file
from tests.crash.processes import Workshop

pytestmark = [pytest.mark.crash, pytest.mark.timeout(120)]


async def test_what_came_true_after_its_time_is_not_taken_for_met(tmp_path: Path) -> None:
    """The bot was dead while the time ran out and the belt became clear: nobody saw when, so a person says."""
    async with Workshop(tmp_path, f"sqlite:///{tmp_path}/opsbot.db") as workshop:
        bot = workshop.bot("bot")
        await bot.start()
        await bot.until(200)
        await workshop.types(bot, "/line watch belt-7")
        waits = sa.select(tables.journal.c.begun_at).where(tables.journal.c.operation.endswith(":expectation"))
        given_up = time.monotonic() + 60
        while not (began := await workshop.rows(waits)):
            assert time.monotonic() < given_up, bot.log.read_text()[-3000:]
            await asyncio.sleep(0.05)
        await bot.kill()
        await asyncio.sleep(CLEAR_WITHIN.total_seconds() + 1)
        clear_file(tmp_path / "effects", "belt-7").touch()

        await bot.start()
        while (state := (await workshop.runs())[0]).steps[0].outcome is None:
            assert time.monotonic() < given_up, bot.log.read_text()[-3000:]
            await asyncio.sleep(0.05)
        step = state.steps[0]
        assert (step.outcome, step.status) == ("cannot tell", "waiting")
        assert "It holds now, but this look came" in step.summary
        assert "the 4s are over" in step.summary
        assert [row.begun_at for row in await workshop.rows(waits)] == [row.begun_at for row in began]
