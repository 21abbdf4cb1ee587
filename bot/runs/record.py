"""A run's row, and everything else that is stored when something was decided about it: one transaction, or nothing.

The new state, what there is to say about it, the mark that a click was read, the audit entries, the end of the lock. A
process that somebody else has overtaken stores nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.audit import AuditLog
from bot.clock import Clock
from bot.incoming import Place
from bot.runs.decide import Decision, next_due
from bot.runs.durations import Durations
from bot.runs.escalation_rows import store_escalations
from bot.runs.mailbox import Letter
from bot.runs.model import Event, Post, RunState
from bot.runs.trail import ignored, trail
from bot.runs.usual import learned
from bot.store import Store, dumps

log = structlog.get_logger("opsbot.runs")

T = TypeVar("T")


_SAVED = tables.runs.update().where(
    tables.runs.c.id == sa.bindparam("run"), tables.runs.c.version == sa.bindparam("decided_about")
)


@dataclass(frozen=True, slots=True)
class Said:
    """One thing to say, drawn for one surface, ready for the outbox."""

    key: str
    kind: str  # thread, page
    place: Place
    body: Mapping[str, Any]
    escalation: int = 0


Speaker = Callable[[RunState, Post, int, Mapping[str, str]], list[Said]]
"""Draws one post of a run for every place where it has to be said.

``int`` is its number within the version; the mapping has the link to the run's card by surface.
"""


class MovedOn(Exception):
    """The stored run is not the one that was decided about: another process has worked on it."""


class Record:
    """Reads runs, and stores what was decided about them."""

    def __init__(self, store: Store, clock: Clock, speaker: Speaker) -> None:
        self.store = store
        self.clock = clock
        self.speaker = speaker
        self.audit = AuditLog(store, clock)
        self.durations = Durations(store)

    async def state(self, run_id: str) -> RunState | None:
        rows = await self.store.rows(sa.select(tables.runs.c.state).where(tables.runs.c.id == run_id))
        return RunState.model_validate_json(rows[0].state) if rows else None

    async def save(self, before: RunState, event: Event, decision: Decision, letter: Letter | None) -> None:
        """Store the state and everything that is to be said about it, together. Raises ``MovedOn``."""
        store = partial(self._stored, before, event, decision, letter)
        await lasting(lambda: self.store.transaction(store))

    async def _stored(
        self,
        before: RunState,
        event: Event,
        decision: Decision,
        letter: Letter | None,
        connection: AsyncConnection,
    ) -> None:
        after, run_id, now = decision.state, decision.state.plan.run_id, self.clock.now()
        if letter:
            read = tables.events.update().where(tables.events.c.number == letter.number)
            await connection.execute(read.values(read=True))
        if after.version == before.version:
            if letter:
                await self.audit.add(connection, f"letter:{letter.number}", ignored(before, event))
            return
        stored = await connection.execute(
            _SAVED,
            {
                "run": run_id,
                "decided_about": before.version,
                "version": after.version,
                "open": not after.over,
                "status": after.status,
                "next_due": next_due(after),
                "state": after.model_dump_json(),
                "continuation": 0,
            },
        )
        if stored.rowcount != 1:
            raise MovedOn
        if said := await self._said(connection, after, decision.posts):
            await connection.execute(self.store.insert_new(tables.outbox), said)
        await store_escalations(connection, self.store, after, now)
        if after.closed:
            await connection.execute(tables.locks.delete().where(tables.locks.c.run_id == run_id))
        await self.durations.add(connection, run_id, tuple(learned(before, after)), now)
        await self.audit.add(connection, f"run:{run_id}:{after.version}", trail(before, event, after))

    async def _said(
        self, connection: AsyncConnection, state: RunState, posts: tuple[Post, ...]
    ) -> list[dict[str, Any]]:
        """Every post, drawn for every place where it is said."""
        if not posts:
            return []
        cards = tables.cards
        found = await connection.execute(
            sa.select(cards.c.surface, cards.c.link).where(cards.c.run_id == state.plan.run_id)
        )
        links = {row.surface: row.link for row in found}
        return [
            self._row(state, each)
            for number, post in enumerate(posts)
            for each in self.speaker(state, post, number, links)
        ]

    def _row(self, state: RunState, said: Said) -> dict[str, Any]:
        return {
            "key": said.key,
            "kind": said.kind,
            "surface": said.place.surface,
            "channel": said.place.channel,
            "thread": said.place.thread if said.kind in ("page", "label") else "",
            "run_id": state.plan.run_id,
            "escalation": said.escalation,
            "body": dumps(said.body),
            "created_at": self.clock.now(),
        }


async def lasting(work: Callable[[], Awaitable[T]]) -> T:
    """Do it as soon as the database can; a run that gave up for a full disk would hang."""
    pause = 0.5
    while True:
        try:
            return await work()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.error("a run has to wait for the database", reason=tables.reason(error))
        await asyncio.sleep(pause)
        pause = min(30.0, pause * 2)
