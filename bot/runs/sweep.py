"""What a crash or a full disk left behind: a run that wants something and that nobody works on is taken up.

The last net below the durable engine's own recovery, which gives a run up that takes the process with it every time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Protocol

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock
from bot.store import Store

log = structlog.get_logger("opsbot.runs")

MOST_CONTINUATIONS = 5  # quick ones, of a run that was given up
SWEEP_EVERY = 5.0  # seconds
LONG_PAUSE = 300.0  # seconds


class Attendance(Protocol):
    """Who works on which run in this process."""

    def is_attended(self, run_id: str) -> bool: ...

    def give_up(self, run_ids: Set[str]) -> None:
        """Expect nobody for these any more: the engine was asked to begin them and has not."""
        ...

    async def wake(self, run_id: str) -> None:
        """Have somebody look at the run."""
        ...


class Sweep:
    """Looks every few seconds."""

    def __init__(self, store: Store, clock: Clock, attendance: Attendance) -> None:
        self.store = store
        self.clock = clock
        self._attendance = attendance
        self._suspects: set[str] = set()  # runs that the last look found unattended
        self._pausing: dict[str, float] = {}  # until when, on the loop's clock

    async def keep(self) -> None:
        """Take up runs that want something and that nobody works on: the last net below the engine's own."""
        pause = 0.0  # what the last process left is taken up soon; the engine itself is quicker where it knows of it
        while True:
            await asyncio.sleep(pause)
            pause = min(SWEEP_EVERY, 1.0 + 2 * pause)
            try:
                await self._look()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("open runs cannot be read", reason=tables.reason(error))
            except Exception:
                log.exception("open runs cannot be continued")

    async def _look(self) -> None:
        """Take up what two looks have found unattended: at the first, the engine may be just about to."""
        self._attendance.give_up(self._suspects)
        unread = sa.select(tables.events.c.run_id).where(sa.not_(tables.events.c.read))
        rows = await self.store.rows(
            sa.select(tables.runs.c.id, tables.runs.c.continuation)
            .where(
                tables.runs.c.open,
                sa.or_(
                    tables.runs.c.status == "running",
                    tables.runs.c.next_due <= self.clock.now(),
                    tables.runs.c.id.in_(unread),
                ),
            )
            .limit(1000)
        )
        unattended = {row.id: row.continuation for row in rows if not self._attendance.is_attended(row.id)}
        for run_id in unattended.keys() & self._suspects:
            number = unattended[run_id]
            if number >= MOST_CONTINUATIONS and not self._is_time_to_continue(run_id):
                continue
            log.warning("nobody works on a run; it is taken up from its stored state", run=run_id)
            async with self.store.write() as connection:
                await connection.execute(
                    tables.runs.update().where(tables.runs.c.id == run_id).values(continuation=number + 1)
                )
            await self._attendance.wake(run_id)
        self._suspects = set(unattended)

    def _is_time_to_continue(self, run_id: str) -> bool:
        """A run that does not get on however often it is taken up is continued only now and then."""
        now = asyncio.get_running_loop().time()
        if run_id not in self._pausing:
            log.error("a run was given up too often; it pauses", run=run_id, seconds=LONG_PAUSE)
        if now < self._pausing.setdefault(run_id, now + LONG_PAUSE):
            return False
        del self._pausing[run_id]
        return True

    async def problems(self) -> list[str]:
        """Runs that nobody works for at the moment."""
        return [f"Run {run_id} was given up by the engine again and again, and pauses" for run_id in self._pausing]
