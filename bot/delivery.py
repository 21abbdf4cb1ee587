"""Brings cards, thread messages, pages and answers to people, whatever the surface does meanwhile.

What has to be said is in the database before anybody tries to say it. A failing surface never stops a run: the card is
drawn from the run's state whenever the surface is back, and everything else waits in the outbox. Each channel has a
lane of its own, so that a slow one delays no other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock, Signal, first_of
from bot.incoming import Incoming, Place
from bot.issue_labels import IssueLabels
from bot.messages import Bold, Paragraph, line
from bot.outdated import Outdated
from bot.page_delivery import EDITS, PageDelivery, thread_of_card
from bot.progress import STOPPED
from bot.reports.delivery import deliver_report, is_superseded
from bot.runs.model import Progress, RunState
from bot.store import Store, dumps
from bot.surfaces import card
from bot.surfaces.delivery import Gone, TryLater, Undeliverable
from bot.surfaces.issue_card import issue_card
from bot.surfaces.port import Body, Surface
from bot.surfaces.step_text import Name
from bot.surfaces.thread import moved_message

log = structlog.get_logger("opsbot.delivery")

REDRAW_AFTER = timedelta(seconds=15)  # the time left on the card of a run that goes on
REDRAW_SELDOM = timedelta(minutes=1)  # where edits are counted: GitHub takes 500 writes an hour
COUNT_DOWN_EVERY = timedelta(seconds=2)  # the card of a step that waits for what it expects
COUNTS_DOWN_ON = ("slack",)  # GitHub limits edits to far fewer
WITHOUT_THREADS = ("github",)  # the card itself has to tell what the thread tells elsewhere
GIVE_UP_ANSWERS_AFTER = timedelta(minutes=30)  # Slack's response_url is good for as long
RETRY_UNDELIVERABLE_AFTER = 60.0
MOST_ATTEMPTS_OF_ANSWERS = 8
LAST = (("outdated",), ("answer", "private"))  # what nobody waits for, and what anybody can ask for
SOON = timedelta(seconds=30)
MOST_ATTEMPTS_IN_ORDER = 8  # of a message in a thread; the ones behind it wait for no more
MOST_AT_ONCE = 20  # of one channel, then it is looked whether something more urgent has come


class Delivery:
    """The lanes."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        surfaces: Mapping[str, Surface],
        changed: Signal,
        name: Name,
        *,
        pages: PageDelivery,
        fallback: Place | None,
        progress: Mapping[str, Progress] | None = None,
        around: Callable[[RunState], Awaitable[card.Around]] | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.surfaces = surfaces
        self.changed = changed
        self.name = name
        self.pages = pages
        self.fallback = fallback  # where a card goes whose channel cannot be posted to
        self.progress = progress if progress is not None else {}  # by run: what its step waits for now
        self.labels = IssueLabels(store, clock)
        self.outdated = Outdated(store, clock)
        self.around = around  # what the card shows beside the run's own state
        self._lanes: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._redrawn: dict[tuple[str, str], datetime] = {}  # when a lane was last given a card that is only later
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="opsbot delivery")

    async def stop(self) -> None:
        tasks = [task for task in (self._task, *self._lanes.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                for page in await self.pages.late():
                    await self.pages.move(page, page.problem)
                for lane in await self._lanes_with_work():
                    running = self._lanes.get(lane)
                    if running is None or running.done():
                        self._lanes[lane] = asyncio.create_task(self._serve(lane), name=f"opsbot lane {lane}")
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("the outbox cannot be read", reason=tables.reason(error))
            except Exception:
                log.exception("the outbox cannot be read")
            await self._wait()

    async def _wait(self) -> None:
        """Until there is news, a retry is due or a card wants its time redrawn."""
        await first_of(self.clock.sleep(1.0), self.changed.wait(2.0))

    def _due(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.or_(table.c.next_try_at.is_(None), table.c.next_try_at <= self.clock.now())

    def _to_say(self) -> sa.ColumnElement[bool]:
        """What waits and is due. In a run's thread nothing overtakes what was refused and is tried again soon.

        What belongs into the thread of a card waits for the card.
        """
        outbox, earlier, cards = tables.outbox, tables.outbox.alias(), tables.cards
        now = self.clock.now()
        has_card = sa.exists().where(
            cards.c.run_id == outbox.c.run_id,
            cards.c.surface == outbox.c.surface,
            cards.c.remote_id != "",
        )
        held_up = sa.exists().where(
            earlier.c.status == "waiting",
            earlier.c.kind == "thread",
            earlier.c.run_id == outbox.c.run_id,
            earlier.c.surface == outbox.c.surface,
            earlier.c.number < outbox.c.number,
            earlier.c.next_try_at > now,
            earlier.c.next_try_at <= now + SOON,
            earlier.c.attempts <= MOST_ATTEMPTS_IN_ORDER,
        )
        in_order = sa.or_(outbox.c.kind != "thread", sa.and_(has_card, sa.not_(held_up)))
        return sa.and_(outbox.c.status == "waiting", self._due(outbox), in_order)

    def _stale_cards(self) -> sa.Select[Any]:
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
                self._due(cards),
                sa.or_(
                    cards.c.version < runs.c.version,
                    sa.and_(runs.c.open, runs.c.status.in_(("running", "waiting")), old),
                    counting,
                ),
            )
            .order_by(cards.c.run_id)
        )

    async def _lanes_with_work(self) -> set[tuple[str, str]]:
        columns = tables.cards.c
        wanted = (columns.surface, columns.channel, columns.version, columns.drawn_at)
        run_version = tables.runs.c.version.label("run_version")
        found = await self.store.rows(self._stale_cards().with_only_columns(*wanted, run_version))
        cards = self._to_draw(found)
        waiting = await self.store.rows(
            sa.select(tables.outbox.c.surface, tables.outbox.c.channel).where(self._to_say()).distinct()
        )
        return {(row.surface, row.channel) for row in (*cards, *waiting) if row.surface in self.surfaces}

    def _to_draw(self, stale: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
        """Every card whose run has changed; of those where only time went by one for each channel in two seconds.

        The one that was drawn longest ago: in a channel with many runs each has its turn, and what changes waits for
        none of them.
        """
        due = self.clock.now() - COUNT_DOWN_EVERY
        drawn = [row for row in stale if row.version < row.run_version]
        older: dict[tuple[str, str], sa.Row[Any]] = {}
        for row in stale:
            lane = (row.surface, row.channel)
            if row.version < row.run_version or self._redrawn.get(lane, due) > due:
                continue
            if lane not in older or row.drawn_at < older[lane].drawn_at:
                older[lane] = row
        return [*drawn, *older.values()]

    async def _serve(self, lane: tuple[str, str]) -> None:
        """Deliver what one channel is waiting for: cards first, because threads hang on them; answers last.

        Anybody can ask for answers, as many as they like: no page waits behind them.
        """
        try:
            surface, channel = lane
            stale = await self.store.rows(
                self._stale_cards().where(tables.cards.c.surface == surface, tables.cards.c.channel == channel)
            )
            for row in self._to_draw(stale):
                if row.version == row.run_version:
                    self._redrawn[lane] = self.clock.now()
                await self._deliver_card(self.surfaces[surface], row)
            for row in await self.store.rows(
                sa.select(tables.outbox)
                .where(self._to_say(), tables.outbox.c.surface == surface, tables.outbox.c.channel == channel)
                .order_by(*(tables.outbox.c.kind.in_(kinds) for kinds in LAST), tables.outbox.c.number)
                .limit(MOST_AT_ONCE)
            ):
                if not await self._deliver(self.surfaces[surface], row):
                    break  # later ones must not overtake it
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.error("a lane cannot go on", lane=lane, reason=tables.reason(error))
        except Exception:
            log.exception("a lane failed", lane=lane)
        self.changed.set()

    # -- cards

    async def _deliver_card(self, surface: Surface, row: sa.Row[Any]) -> None:
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
        async with self.store.write() as connection:
            await connection.execute(
                tables.cards.update()
                .where(tables.cards.c.run_id == row.run_id, tables.cards.c.surface == row.surface)
                .values(next_try_at=retry, **values)
            )

    # -- everything else

    async def _deliver(self, surface: Surface, row: sa.Row[Any]) -> bool:
        """Deliver one row of the outbox; False when the lane has to wait."""
        if await self.pages.superseded(row):
            return True
        place = Place(surface=row.surface, channel=row.channel, thread=row.thread)
        body = json.loads(row.body)
        maybe_posted = row.attempts > 0
        if row.kind not in (*EDITS, "unlabel", "outdated"):
            await self._row(row, attempts=row.attempts + 1)  # before: whoever comes after a crash looks first
        try:
            match row.kind:
                case "thread":
                    thread_place = await thread_of_card(self.store, row)
                    if thread_place is None:
                        return True  # its card is not there yet; others need not wait for it
                    place = thread_place
                    remote_id = await surface.post(place, body, row.key, maybe_posted=maybe_posted)
                case "close pages" | "update pages":
                    remote_id = ""
                    await self.pages.edit(surface, row, body)
                case "label" | "unlabel":
                    remote_id = ""
                    if unneeded := await self.labels.deliver(surface, row):
                        await self._row(row, status="given up", problem=unneeded)
                        return True
                case "outdated":
                    remote_id = ""
                    await self.outdated.deliver(surface, row)
                case "answer" | "private":
                    remote_id = ""
                    address = json.loads(row.address)
                    if await self._replaced(surface, place, row.kind, address.get("replaces", ""), body):
                        await self._row(row, status="sent", remote_id=address["replaces"], problem="")
                        return True
                    await surface.answer(
                        place,
                        body,
                        row.key,
                        private_to=address.get("user", "") if row.kind == "private" else "",
                        response_url=address.get("response_url", ""),
                        maybe_posted=maybe_posted,
                    )
                case "report":
                    if await is_superseded(self.store, row):
                        await self._row(row, status="given up", problem="acknowledged: a later report says it")
                        return True
                    remote_id = await deliver_report(self.store, surface, place, row, body, maybe_posted=maybe_posted)
                case _:
                    remote_id = await surface.post(place, body, row.key, maybe_posted=maybe_posted)
        except TryLater as later:
            await self._row(row, problem=later.reason, after=later.after)
            return self._too_late(row) and await self._give_up(row, later.reason)
        except Undeliverable as error:
            log.error("a message cannot be delivered", kind=row.kind, channel=row.channel, reason=str(error))
            if row.kind in ("answer", "private"):
                return await self._give_up(row, str(error))
            after = self.pages.retry_after(row.attempts) if row.kind == "page" else RETRY_UNDELIVERABLE_AFTER
            await self._row(row, problem=str(error), after=after)
            await self.pages.move(row, str(error).rstrip("."))
            return True
        await self._row(row, status="sent", remote_id=remote_id, problem="")
        await self.outdated.behind_page(row)
        if row.escalation and remote_id:
            await self._catch_up(surface, row, place, remote_id)
        return True

    async def _catch_up(self, surface: Surface, row: sa.Row[Any], place: Place, remote_id: str) -> None:
        try:
            await self.pages.delivered(surface, row, place, remote_id)
        except (TryLater, Undeliverable) as error:  # it has arrived all the same
            log.warning("a page is older than its run", key=row.key, reason=str(error))

    @staticmethod
    async def _replaced(surface: Surface, place: Place, kind: str, progress: str, body: Body) -> bool:
        """Whether the message that showed the progress became the answer. A private answer must not be seen there."""
        if not progress:
            return False
        try:
            await surface.update(place, progress, surface.draw(STOPPED) if kind == "private" else body)
        except Undeliverable as error:  # somebody has deleted it
            log.info("an answer is posted anew", channel=place.channel, reason=str(error))
            return False
        return kind != "private"

    def _too_late(self, row: sa.Row[Any]) -> bool:
        if row.kind not in ("answer", "private"):
            return False
        old = self.clock.now() - row.created_at > GIVE_UP_ANSWERS_AFTER
        return bool(old or row.attempts + 1 >= MOST_ATTEMPTS_OF_ANSWERS)

    async def _give_up(self, row: sa.Row[Any], reason: str) -> bool:
        log.error("an answer is given up", key=row.key, reason=reason)
        await self._row(row, status="given up", problem=reason)
        return True

    async def _row(self, row: sa.Row[Any], *, after: float | None = None, **values: Any) -> None:
        retry = self.clock.now() + timedelta(seconds=after) if after is not None else None
        async with self.store.write() as connection:
            await connection.execute(
                tables.outbox.update().where(tables.outbox.c.number == row.number).values(next_try_at=retry, **values)
            )

    async def problems(self) -> list[str]:
        """Runs, pages and cards that nobody can see, one sentence each."""
        cards = await self.store.rows(sa.select(tables.cards).where(tables.cards.c.problem != ""))
        messages = await self.store.rows(
            sa.select(tables.outbox).where(tables.outbox.c.status == "waiting", tables.outbox.c.problem != "")
        )
        named = [("The card", row) for row in cards]
        named += [("A page" if row.kind == "page" else "A message", row) for row in messages]
        return [
            f"{what} of run {row.run_id} does not reach {row.surface} {row.channel}".rstrip() + f": {row.problem}"
            for what, row in named
        ]


def said_row(key: str, kind: str, place: Place, body: Body, address: Mapping[str, str]) -> dict[str, Any]:
    """The outbox row of an answer to a command."""
    return {
        "key": key,
        "kind": kind,
        "surface": place.surface,
        "channel": place.channel,
        "thread": place.thread,
        "body": dumps(body),
        "address": dumps(address),
    }
