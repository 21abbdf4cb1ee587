"""Brings cards, thread messages, pages and answers to people, whatever the surface does meanwhile.

What has to be said is in the database before anybody tries to say it. A failing surface never stops a run: the card is
drawn from the run's state whenever the surface is back, and everything else waits in the outbox. Each channel has a
lane of its own, so that a slow one delays no other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.card_delivery import CardDelivery
from bot.clock import Clock, Signal, first_of
from bot.incoming import Place
from bot.issue_labels import IssueLabels
from bot.outbox import RETRY_UNDELIVERABLE_AFTER, due
from bot.outdated import Outdated
from bot.page_delivery import EDITS, PageDelivery, thread_of_card
from bot.progress import STOPPED
from bot.reports.delivery import deliver_report, is_superseded
from bot.runs.model import Progress, RunState
from bot.store import Store
from bot.surfaces import card
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.port import Body, Surface
from bot.surfaces.step_text import Name

log = structlog.get_logger("opsbot.delivery")

GIVE_UP_ANSWERS_AFTER = timedelta(minutes=30)  # Slack's response_url is good for as long
MOST_ATTEMPTS_OF_ANSWERS = 8
LAST = (("outdated",), ("answer", "private"))  # what nobody waits for, and what anybody can ask for
SOON = timedelta(seconds=30)
MOST_ATTEMPTS_IN_ORDER = 8  # of a message in a thread; the ones behind it wait for no more
MOST_AT_ONCE = 20  # of one channel, then it is looked whether something more urgent has come


CROWD = 0.02  # seconds between two looks


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
        self.pages = pages
        self.labels = IssueLabels(store, clock)
        self.outdated = Outdated(store, clock)
        self.cards = CardDelivery(
            store,
            clock,
            name,
            pages=pages,
            outdated=self.outdated,
            fallback=fallback,
            progress=progress if progress is not None else {},
            around=around,
        )
        self._lanes: dict[tuple[str, str], asyncio.Task[None]] = {}
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
        """Until there is news, a retry is due or a card wants its time redrawn; news come in crowds."""
        looked_at = asyncio.get_running_loop().time()
        await first_of(self.clock.sleep(1.0), self.changed.wait(2.0))
        await asyncio.sleep(looked_at + CROWD - asyncio.get_running_loop().time())

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
        return sa.and_(outbox.c.status == "waiting", due(outbox, now), in_order)

    async def _lanes_with_work(self) -> set[tuple[str, str]]:
        columns = tables.cards.c
        wanted = (columns.surface, columns.channel, columns.version, columns.drawn_at)
        run_version = tables.runs.c.version.label("run_version")
        found = await self.store.rows(self.cards.stale().with_only_columns(*wanted, run_version))
        cards = self.cards.to_draw(found)
        waiting = await self.store.rows(
            sa.select(tables.outbox.c.surface, tables.outbox.c.channel).where(self._to_say()).distinct()
        )
        return {(row.surface, row.channel) for row in (*cards, *waiting) if row.surface in self.surfaces}

    async def _serve(self, lane: tuple[str, str]) -> None:
        """Deliver what one channel is waiting for: cards first, because threads hang on them; answers last.

        Anybody can ask for answers, as many as they like: no page waits behind them.
        """
        try:
            surface, channel = lane
            stale = await self.store.rows(
                self.cards.stale().where(tables.cards.c.surface == surface, tables.cards.c.channel == channel)
            )
            for row in self.cards.to_draw(stale):
                if row.version == row.run_version:
                    self.cards.redrawn[lane] = self.clock.now()
                await self.cards.deliver(self.surfaces[surface], row)
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
        await self.store.execute(
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
