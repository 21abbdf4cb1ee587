"""Two bots on one PostgreSQL database: one leads, the other is ready to take over within seconds.

``/readyz`` of the second says ``standby: opsbot on web-2 (process 17) holds the lock``. Both are real processes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot import store as tables
from tests.crash.processes import BotProcess, Workshop
from tests.postgresql import Server

pytestmark = [pytest.mark.crash, pytest.mark.timeout(180)]
TAKEN_OVER_WITHIN = 20.0  # seconds, on a busy machine


async def both(workshop: Workshop) -> tuple[BotProcess, BotProcess]:
    first, second = workshop.bot("first"), workshop.bot("second")
    await first.start()
    await first.until(200)
    await second.start()
    await second.until(503, "holds the lock")
    return first, second


async def status(workshop: Workshop, step: int) -> str:
    states = await workshop.runs()
    return states[0].steps[step].status if states else ""


async def until(look: Callable[[], Awaitable[bool]], what: str, within: float = 60) -> None:
    given_up = time.monotonic() + within
    while not await look():
        assert time.monotonic() < given_up, what
        await asyncio.sleep(0.03)


async def test_the_second_bot_finishes_the_run_of_the_first(tmp_path: Path, postgresql: Server) -> None:
    async with Workshop(tmp_path, postgresql.database()) as workshop:
        first, second = await both(workshop)
        said = await second.says()
        assert said[0] == 503
        assert f"(process {first.process.pid if first.process else 0}) holds the lock" in said[1]
        assert (await second.says("/healthz"))[0] == 200
        assert await workshop.deliver(second, workshop.payload("/line work belt-3")) == 503

        await workshop.types(first, "/line work belt-3")

        async def slow_at_work() -> bool:
            return await status(workshop, 3) == "running"

        await until(slow_at_work, "the slow step")
        await first.kill()
        killed = time.monotonic()
        await second.until(200, within=TAKEN_OVER_WITHIN)
        print(f"took over after {time.monotonic() - killed:.1f} s")

        async def asked() -> bool:
            return await status(workshop, 4) == "waiting"

        await until(asked, "the question of the last step")
        state = (await workshop.runs())[0]
        await workshop.types(second, f"/runs done {state.plan.run_id}")
        await workshop.types(second, f"/runs ack {state.plan.run_id}")

        async def over() -> bool:
            rows = await workshop.rows(sa.select(tables.runs.c.open))
            waiting = await workshop.rows(sa.select(tables.outbox.c.key).where(tables.outbox.c.status == "waiting"))
            return not any(row.open for row in rows) and not waiting

        await until(over, "the end of the run")
        assert set(workshop.effects().values()) == {1}
        assert len(workshop.effects()) == 3
        assert set(workshop.posted().values()) == {1}


async def test_a_leader_that_lost_its_lock_stops(tmp_path: Path, postgresql: Server) -> None:
    """An administrator ended its session, and the other bot was faster: what it still did could be done twice."""
    async with Workshop(tmp_path, postgresql.database()) as workshop:
        first, second = await both(workshop)
        assert first.process is not None
        name = workshop.database.rpartition("/")[2]
        os.kill(first.process.pid, signal.SIGSTOP)  # so that the other one is the faster
        try:
            postgresql.execute(
                "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                f" WHERE l.locktype = 'advisory' AND l.granted AND l.objid = 1869640546 AND d.datname = '{name}'"
            )
            await second.until(200, within=TAKEN_OVER_WITHIN)
        finally:
            os.kill(first.process.pid, signal.SIGCONT)
        async with asyncio.timeout(20):
            assert await first.process.wait() == 1
        assert f"process {second.process.pid if second.process else 0}) holds the lock now. It stops." in (
            first.log.read_text()
        )


async def test_a_leader_that_gets_its_lock_back_goes_on(tmp_path: Path, postgresql: Server) -> None:
    async with Workshop(tmp_path, postgresql.database()) as workshop:
        bot = workshop.bot("only")
        await bot.start()
        await bot.until(200)
        name = workshop.database.rpartition("/")[2]
        postgresql.execute(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            f" WHERE l.locktype = 'advisory' AND l.granted AND l.objid = 1869640546 AND d.datname = '{name}'"
        )

        async def held_again() -> bool:
            return "the lock is held again" in bot.log.read_text()

        await until(held_again, "the lock")
        await workshop.types(bot, "/line work belt-1")
        assert bot.process is not None
        assert bot.process.returncode is None


async def test_a_bot_that_stands_by_can_be_stopped(tmp_path: Path, postgresql: Server) -> None:
    async with Workshop(tmp_path, postgresql.database()) as workshop:
        _, second = await both(workshop)
        assert second.process is not None
        second.process.terminate()
        async with asyncio.timeout(20):
            assert await second.process.wait() == 0
