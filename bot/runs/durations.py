"""What a step took, kept for the next runs; ``usual.py`` says what is made of it. The history outlives the runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.runbooks.model import Runbook
from bot.runs.model import Usual
from bot.runs.usual import step_key, usual
from bot.store import Store

KEPT = 200  # of each step, the newest


class Durations:
    """The table of what was learned."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def of(self, book: Runbook) -> tuple[Usual | None, ...]:
        """What is usual for each step of the runbook."""
        keys = [step_key(book, index) if step.action else "" for index, step in enumerate(book.steps)]
        taken: dict[str, list[float]] = {}
        table = tables.durations
        query = sa.select(table.c.step, table.c.seconds).where(table.c.step.in_({*keys} - {""}))
        for row in await self.store.rows(query):
            taken.setdefault(row.step, []).append(row.seconds)
        return tuple(usual(taken.get(key, ())) for key in keys)

    async def add(
        self, connection: AsyncConnection, run_id: str, learned: Sequence[tuple[str, float]], at: datetime
    ) -> None:
        """Learn what ``usual.learned`` found, in the caller's transaction; of one run each step once."""
        table = tables.durations
        for key, seconds in learned:
            await connection.execute(
                self.store.insert_new(table).values(step=key, run_id=run_id, seconds=seconds, at=at)
            )
            oldest = (
                sa.select(table.c.number)
                .where(table.c.step == key)
                .order_by(table.c.number.desc())
                .offset(KEPT)
                .limit(1)
                .scalar_subquery()
            )
            await connection.execute(table.delete().where(table.c.step == key, table.c.number <= oldest))
