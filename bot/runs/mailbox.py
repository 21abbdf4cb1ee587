"""What people pressed, until the run has taken it in: a button or ``/runs cancel`` is a letter in the run's mailbox.

A letter belongs to the run, whoever works on it now or later. It is marked as read in the transaction that stores what
came of it, so it counts once; its key keeps it from being put in twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from pydantic import TypeAdapter

from bot.clock import Clock
from bot.runs.model import Event
from bot.store import Store, events

_events: TypeAdapter[Event] = TypeAdapter(Event)


@dataclass(frozen=True, slots=True)
class Letter:
    """An event that was stored and not read yet."""

    number: int
    event: Event


class Mailbox:
    """The letters of all runs."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def put(self, run_id: str, event: Event, key: str) -> None:
        """Store an event; the same key is taken once. Raises what the database raises: then nothing was stored."""
        async with self.store.write() as connection:
            await connection.execute(
                self.store.insert_new(events).values(
                    key=f"{run_id}:{key}",
                    run_id=run_id,
                    event=event.model_dump_json(),
                    stored_at=self.clock.now(),
                    read=False,
                )
            )

    async def unread(self, run_id: str) -> list[Letter]:
        """In the order in which they came."""
        rows = await self.store.rows(
            sa.select(events.c.number, events.c.event)
            .where(events.c.run_id == run_id, sa.not_(events.c.read))
            .order_by(events.c.number)
        )
        return [Letter(row.number, _events.validate_json(row.event)) for row in rows]

    async def forget(self, before: datetime) -> None:
        """Delete what was read long ago."""
        async with self.store.write() as connection:
            await connection.execute(events.delete().where(events.c.read, events.c.stored_at < before))
