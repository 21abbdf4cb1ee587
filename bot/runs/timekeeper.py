"""Deadlines of runs: whoever is due is looked at, without anybody asking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock, Signal, first_of
from bot.store import Store

log = structlog.get_logger("opsbot.runs")


class Timekeeper:
    """Sleeps until the next deadline in the table of runs. ``wake`` has somebody look at a run."""

    def __init__(self, store: Store, clock: Clock, wake: Callable[[str], Awaitable[None]]) -> None:
        self.store = store
        self.clock = clock
        self._wake = wake
        self._changed = Signal()
        self._next_look: datetime | None = None

    def note(self, due: datetime | None) -> None:
        """A run has a deadline, maybe one before the next that was known."""
        if due and (self._next_look is None or due < self._next_look):
            self._changed.set()

    async def keep(self) -> None:
        """Have every run looked at when one of its deadlines has passed."""
        while True:
            try:
                wait = await self._wake_due()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("deadlines cannot be read", reason=tables.reason(error))
                wait = 5.0
            except Exception:  # whatever it is, the deadlines of all runs hang on this loop
                log.exception("deadlines cannot be kept")
                wait = 5.0
            await self._until_due_or_change(wait)

    async def _wake_due(self) -> float:
        """Wake what is due; seconds until the next deadline."""
        now, self._next_look = self.clock.now(), None
        rows = await self.store.rows(
            sa.select(tables.runs.c.id, tables.runs.c.next_due)
            .where(tables.runs.c.open, tables.runs.c.next_due.is_not(None))
            .order_by(tables.runs.c.next_due)
            .limit(500)
        )
        for row in rows:
            if row.next_due > now:
                self._next_look = row.next_due
                return float((row.next_due - now).total_seconds())
            await self._wake(row.id)
        return 60.0 if not rows else 1.0

    async def _until_due_or_change(self, seconds: float) -> None:
        """Until the clock has moved on by ``seconds`` or a run changed; looks again every few real seconds."""
        await first_of(self.clock.sleep(max(0.05, seconds)), self._changed.wait(5.0))
