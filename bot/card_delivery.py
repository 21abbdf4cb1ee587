"""The card of a run on each surface: posted once, drawn anew whenever its run has changed or time goes by.

A card that was deleted is posted again; one whose channel cannot be posted to goes to the configured channel, and who
asked is told where it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock
from bot.incoming import Incoming, Place
from bot.messages import Bold, Paragraph, line
from bot.outbox import RETRY_UNDELIVERABLE_AFTER, due, said_row
from bot.outdated import Outdated
from bot.page_delivery import PageDelivery
from bot.runs.model import Progress, RunState
from bot.store import Store
from bot.surfaces import card
from bot.surfaces.delivery import Gone, TryLater, Undeliverable
from bot.surfaces.issue_card import issue_card
from bot.surfaces.port import Surface
from bot.surfaces.step_text import Name
from bot.surfaces.thread import moved_message

log = structlog.get_logger("opsbot.delivery")

REDRAW_AFTER = timedelta(seconds=15)  # the time left on the card of a run that goes on
REDRAW_SELDOM = timedelta(minutes=1)  # where edits are counted: GitHub takes 500 writes an hour
COUNT_DOWN_EVERY = timedelta(seconds=2)  # the card of a step that waits for what it expects
COUNTS_DOWN_ON = ("slack",)  # GitHub limits edits to far fewer
WITHOUT_THREADS = ("github",)  # the card itself has to tell what the thread tells elsewhere


class CardDelivery:
    """``fallback``: where a card goes whose channel cannot be posted to. ``progress``, by run: what its step waits for
    now. ``around``: what the card shows beside the run's own state.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        name: Name,
        *,
        pages: PageDelivery,
        outdated: Outdated,
        fallback: Place | None,
        progress: Mapping[str, Progress],
        around: Callable[[RunState], Awaitable[card.Around]] | None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.name = name
        self.pages = pages
        self.outdated = outdated
        self.fallback = fallback
        self.progress = progress
        self.around = around
        self.redrawn: dict[tuple[str, str], datetime] = {}  # when a lane was last given a card that is only later

    def stale(self) -> sa.Select[Any]:
        """Cards that show an older state than the run's, or whose time left is old."""
        cards, runs = tables.cards, tables.runs
        now = self.clock.now()
        old = sa.or_(
            cards.c.drawn_at <= now - REDRAW_SELDOM,
            sa.and_(cards.c.drawn_at <= now - REDRAW_AFTER, cards.c.surface.in_(COUNTS_DOWN_ON)),
        )
        counting = sa.and_(
            cards.c.run_id.in_(tuple(self.progress)),
            cards.c.surface.in_(COUNTS_DOWN_ON),
            cards.c.drawn_at <= now - COUNT_DOWN_EVERY,
        )
        return (
            sa.select(cards, runs.c.state, runs.c.version.label("run_version"))
            .join(runs, runs.c.id == cards.c.run_id)
            .where(
                due(cards, now),
                sa.or_(
                    cards.c.version < runs.c.version,
                    sa.and_(runs.c.open, runs.c.status.in_(("running", "waiting")), old),
                    counting,
                ),
            )
            .order_by(cards.c.run_id)
        )

    def to_draw(self, stale: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
        """Every card whose run has changed; of those where only time went by one for each channel in two seconds.

        The one that was drawn longest ago: in a channel with many runs each has its turn, and what changes waits for
        none of them.
        """
        due = self.clock.now() - COUNT_DOWN_EVERY
        drawn = [row for row in stale if row.version < row.run_version]
        older: dict[tuple[str, str], sa.Row[Any]] = {}
        for row in stale:
            lane = (row.surface, row.channel)
            if row.version < row.run_version or self.redrawn.get(lane, due) > due:
                continue
            if lane not in older or row.drawn_at < older[lane].drawn_at:
                older[lane] = row
        return [*drawn, *older.values()]

    async def deliver(self, surface: Surface, row: sa.Row[Any]) -> None:
        """Post the card, or draw it anew in place; what went wrong stands in its row, with when to try again."""
        state = RunState.model_validate_json(row.state)
        around = await self.around(state) if self.around else card.ALONE
        shown = card.card(state, self.clock.now(), self.name, self.progress.get(row.run_id), around)
        if state.page and (trouble := await self.pages.trouble(row.run_id)):
            shown = replace(shown, blocks=(*shown.blocks[:-1], Paragraph(line(Bold(trouble))), *shown.blocks[-1:]))
        if row.surface in WITHOUT_THREADS:
            shown = issue_card(shown, state, self.name)
        body = surface.draw(shown)
        place = Place(surface=row.surface, channel=row.channel, thread=row.thread)
        try:
            if row.remote_id:
                await surface.update(place, row.remote_id, body)
                remote_id = row.remote_id
            else:
                await self._card(row, attempts=row.attempts + 1)  # before: whoever comes after a crash looks first
                remote_id = await surface.post(place, body, f"{row.run_id}:card", maybe_posted=row.attempts > 0)
                if row.attempts:  # what was found may be the card of an earlier state
                    await surface.update(place, remote_id, body)
        except TryLater as later:
            await self._card(row, problem=later.reason, after=later.after)
            return
        except Undeliverable as error:
            await self._card_undeliverable(row, error)
            return
        link = row.link if remote_id == row.remote_id else await self._link(surface, place, remote_id)
        asked_in = state.plan.place
        if not row.remote_id and asked_in.surface == row.surface and asked_in.channel != row.channel:
            await self._tell_moved(surface, state, link)
        await self._card(
            row, remote_id=remote_id, link=link, version=row.run_version, drawn_at=self.clock.now(), problem=""
        )
        if not row.remote_id:
            await self.outdated.behind_card(state, place)

    async def _link(self, surface: Surface, place: Place, remote_id: str) -> str:
        try:
            return await surface.link(place, remote_id)
        except (TryLater, Undeliverable) as error:  # pages then go out without it
            log.warning("a card has no link", channel=place.channel, reason=str(error))
            return ""

    async def _tell_moved(self, surface: Surface, state: RunState, link: str) -> None:
        """Who asked where the bot may not post reads there, privately, where the card is."""
        plan = state.plan
        asked = await self.store.rows(
            sa.select(tables.inbox.c.incoming)
            .join(tables.runs, tables.runs.c.key == tables.inbox.c.key)
            .where(tables.runs.c.id == plan.run_id)
        )
        response_url = Incoming.model_validate_json(asked[0].incoming).response_url if asked else ""
        address = {"response_url": response_url, "user": plan.actor.id}
        body = surface.draw(moved_message(state, link))
        row = said_row(f"{plan.run_id}:moved", "private", plan.place, body, address)
        async with self.store.write() as connection:
            await connection.execute(self.store.insert_new(tables.outbox).values(created_at=self.clock.now(), **row))

    async def _card_undeliverable(self, row: sa.Row[Any], error: Undeliverable) -> None:
        log.error("a card cannot be delivered", run=row.run_id, channel=row.channel, reason=str(error))
        fallback = self.fallback
        plan = RunState.model_validate_json(row.state).plan
        mirrored = plan.issue is not None and plan.place.surface != row.surface
        if isinstance(error, Gone) and mirrored and row.surface == "github" and not row.remote_id:
            await self._no_card(row)  # the run's issue is not there: it is shown where it was asked for
        elif row.remote_id:  # deleted, or no longer ours to edit: the next try posts a new one
            await self._card(row, remote_id="", attempts=0, problem=str(error), after=0.0)
        elif fallback and fallback.surface == row.surface and fallback.channel != row.channel:
            await self._card(row, channel=fallback.channel, thread="", problem=str(error), after=0.0)
        else:
            await self._card(row, problem=str(error), after=RETRY_UNDELIVERABLE_AFTER)

    async def _no_card(self, row: sa.Row[Any]) -> None:
        cards = tables.cards
        async with self.store.write() as connection:
            await connection.execute(cards.delete().where(cards.c.run_id == row.run_id, cards.c.surface == row.surface))

    async def _card(self, row: sa.Row[Any], *, after: float | None = None, **values: Any) -> None:
        retry = self.clock.now() + timedelta(seconds=after) if after is not None else None
        await self.store.execute(
            tables.cards.update()
            .where(tables.cards.c.run_id == row.run_id, tables.cards.c.surface == row.surface)
            .values(next_try_at=retry, **values)
        )
