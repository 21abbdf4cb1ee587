"""Comments that say what is no longer so are folded away on GitHub: cards of earlier runs, pages that were repeated.

What is to be folded stands in the outbox, behind everything that people wait for. Whether GitHub lets the bot do it is
of no consequence: nothing is lost when a comment stays open.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import Clock
from bot.incoming import Place
from bot.runs.model import RunState
from bot.store import Store, dumps
from bot.surfaces.delivery import Undeliverable
from bot.surfaces.port import FoldsAway, Surface

log = structlog.get_logger("opsbot.delivery")

KIND = "outdated"
SURFACES = ("github",)  # where old messages are in the way of new ones
MOST_RUNS = 20  # earlier ones of an issue that are looked at


class Outdated:
    """Finds what a new message makes old, and folds it away."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def behind_card(self, state: RunState, place: Place) -> None:
        """The card of a new run is there: those of ended runs on the same target, and their pages, are old."""
        if place.surface not in SURFACES:
            return
        cards, runs, outbox = tables.cards, tables.runs, tables.outbox
        rows = await self.store.rows(
            sa.select(cards.c.run_id, cards.c.remote_id, runs.c.state)
            .join(runs, runs.c.id == cards.c.run_id)
            .where(
                cards.c.surface == place.surface,
                cards.c.channel == place.channel,
                cards.c.thread == place.thread,
                cards.c.run_id < state.plan.run_id,
                cards.c.remote_id != "",
                sa.not_(runs.c.open),
            )
            .order_by(cards.c.run_id.desc())
            .limit(MOST_RUNS)
        )
        target = state.plan.target.key
        old = [row for row in rows if RunState.model_validate_json(row.state).plan.target.key == target]
        pages = await self.store.rows(
            sa.select(outbox.c.remote_id).where(
                outbox.c.run_id.in_([row.run_id for row in old]),
                outbox.c.surface == place.surface,
                outbox.c.channel == place.channel,
                outbox.c.thread == place.thread,
                outbox.c.kind == "page",
                outbox.c.remote_id != "",
            )
        )
        await self._add(place, state.plan.run_id, [row.remote_id for row in (*old, *pages)])

    async def behind_page(self, row: sa.Row[Any]) -> None:
        """A page was repeated: the ones before it are old."""
        if row.surface not in SURFACES or row.kind != "page" or not row.run_id:
            return
        outbox = tables.outbox
        pages = await self.store.rows(
            sa.select(outbox.c.remote_id).where(
                outbox.c.run_id == row.run_id,
                outbox.c.escalation == row.escalation,
                outbox.c.surface == row.surface,
                outbox.c.channel == row.channel,
                outbox.c.thread == row.thread,
                outbox.c.kind == "page",
                outbox.c.number < row.number,
                outbox.c.remote_id != "",
            )
        )
        place = Place(surface=row.surface, channel=row.channel, thread=row.thread)
        await self._add(place, row.run_id, [page.remote_id for page in pages])

    async def deliver(self, surface: Surface, row: sa.Row[Any]) -> None:
        """Fold one comment away, where that is allowed. Raises ``TryLater``."""
        if not isinstance(surface, FoldsAway):
            return
        place = Place(surface=row.surface, channel=row.channel, thread=row.thread)
        try:
            await surface.fold_away(place, str(json.loads(row.address)["remote_id"]))
        except Undeliverable as error:
            log.info("an old comment stays open", key=row.key, reason=str(error))

    async def _add(self, place: Place, run_id: str, remote_ids: list[str]) -> None:
        if not remote_ids:
            return
        async with self.store.write() as connection:
            for remote_id in remote_ids:
                await self._row(connection, place, run_id, remote_id)

    async def _row(self, connection: AsyncConnection, place: Place, run_id: str, remote_id: str) -> None:
        await connection.execute(
            self.store.insert_new(tables.outbox).values(
                key=f"{KIND}:{place.surface}:{remote_id}",
                kind=KIND,
                surface=place.surface,
                channel=place.channel,
                thread=place.thread,
                run_id=run_id,
                body="{}",
                address=dumps({"remote_id": remote_id}),
                created_at=self.clock.now(),
            )
        )
