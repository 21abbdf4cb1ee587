"""What happened on GitHub that nobody asked the bot for: an issue opened, a label set, a workflow run over.

Events are hints that make the bot look at once instead of at its next poll, and news for people. They are stored before
GitHub's delivery is answered, once each, and products read them on from where they were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Literal

import sqlalchemy as sa
import structlog
from pydantic import BaseModel, ConfigDict

from bot import store as tables
from bot.store import Store

log = structlog.get_logger("opsbot.github")

Kind = Literal["issue_opened", "label_added", "label_removed", "workflow_ended"]
MOST_AT_ONCE = 200


class RepositoryEvent(BaseModel):
    """One event of the repository. ``key`` is GitHub's id of the delivery: the same when it is delivered again."""

    model_config = ConfigDict(frozen=True)
    key: str
    kind: Kind
    at: datetime
    by: str = ""  # login of who did it
    issue: int = 0
    label: str = ""
    workflow: str = ""  # its name
    run: int = 0  # GitHub's id of the workflow run
    conclusion: str = ""  # success, failure, cancelled, timed_out, ...
    branch: str = ""
    title: str = ""  # of the issue or the workflow run
    url: str = ""  # for people


Numbered = tuple[int, RepositoryEvent]


class RepositoryEvents:
    """The stored events, and a bell for those who wait for one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rung = asyncio.Event()
        self.heard = 0  # events that reached this process, to wait for the next one
        self._kinds: list[str] = []

    async def add(self, event: RepositoryEvent) -> bool:
        """Store it; False when it was stored before. Raises what the database raises: then nothing was stored."""
        async with self._store.write() as connection:
            done = await connection.execute(
                self._store.insert_new(tables.repository_events)
                .values(key=event.key, event=event.model_dump_json(), at=event.at)
                .returning(tables.repository_events.c.number)
            )
            new = done.first() is not None
        if new:
            self.heard += 1
            self._kinds.append(event.kind)
            del self._kinds[:-MOST_AT_ONCE]
            self._rung.set()
            self._rung = asyncio.Event()
        return new

    async def another(self, heard: int, kinds: Collection[str] = ()) -> None:
        """Until this process hears one more than ``heard`` of these kinds; without ``kinds``, of any."""
        while True:
            new = self._kinds[-(self.heard - heard) :] if self.heard > heard else []
            if any(not kinds or kind in kinds for kind in new):
                return
            heard = self.heard
            await self._rung.wait()

    async def after(self, number: int) -> list[Numbered]:
        """What was stored behind ``number``, oldest first, at most ``MOST_AT_ONCE``."""
        table = tables.repository_events
        rows = await self._store.rows(
            sa.select(table).where(table.c.number > number).order_by(table.c.number).limit(MOST_AT_ONCE)
        )
        found: list[Numbered] = []
        for row in rows:
            try:
                found.append((row.number, RepositoryEvent.model_validate_json(row.event)))
            except ValueError as error:  # of another version of opsbot
                log.error("a stored event cannot be read", key=row.key, reason=str(error).partition("\n")[0])
        return found

    async def newest(self) -> int:
        """The number of the newest stored event; 0 before the first."""
        rows = await self._store.rows(sa.select(sa.func.max(tables.repository_events.c.number).label("number")))
        return int(rows[0].number or 0)

    async def forget(self, before: datetime) -> None:
        """Delete what happened before this instant."""
        async with self._store.write() as connection:
            await connection.execute(tables.repository_events.delete().where(tables.repository_events.c.at < before))
