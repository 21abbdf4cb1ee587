"""What is special about a page: it must reach somebody, and what became of it is told wherever it stands.

A page that one surface does not take goes to the other, at once when its breaker is open; one that none takes is tried
again, less and less often, and shown on ``/readyz`` and on the run's card until it arrives. A newer page stands in for
one that never arrived. When the page is acknowledged, every message that ever said it is edited, so that no old button
is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock
from bot.incoming import Place
from bot.messages import message
from bot.runs.model import Escalation, RunState
from bot.runs.record import Said
from bot.store import Store, dumps
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.port import Body, FilesIssues, Surface

log = structlog.get_logger("opsbot.delivery")

MOVE_AFTER = timedelta(minutes=2)  # that a surface has not taken a page
FIRST_RETRY, LAST_RETRY = 30.0, 600.0  # seconds between two tries of a page that is refused
EDITS = ("close pages", "update pages")  # rows of the outbox that say what pages say from now on
ACKNOWLEDGED = "acknowledged before it was sent"
SUPERSEDED = "a newer page stands in for it"
PAGES_ISSUE = message(
    "The comments below are pages that could not be delivered where they should have been. Keep this issue open, or "
    "name another one with issue = NUMBER in the section escalation of the configuration.",
    summary="Pages of opsbot that could not be delivered elsewhere",
)
TITLES = {"slack": "Slack", "github": "GitHub"}


class DrawsPages(Protocol):
    """``bot.runs.speak.Speaker``."""

    def page(
        self, state: RunState, page: Escalation, key: str, place: Place, links: Mapping[str, str], note: str = ""
    ) -> Said: ...

    def labelled(self, state: RunState, page: Escalation, place: Place) -> list[Said]: ...


class PageDelivery:
    """Moves, edits and watches pages.

    ``places``: where each surface takes pages that another one did not take. ``unreachable``: why a surface is not even
    asked at the moment, by its name; empty for one that is.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        surfaces: Mapping[str, Surface],
        speaker: DrawsPages,
        places: Mapping[str, Place],
        unreachable: Callable[[str], str] = lambda surface: "",
    ) -> None:
        self.store = store
        self.clock = clock
        self.surfaces = surfaces
        self.speaker = speaker
        self.places = dict(places)
        self.unreachable = unreachable

    def retry_after(self, attempts: int) -> float:
        """Seconds until a page that was refused is tried again."""
        return float(min(LAST_RETRY, FIRST_RETRY * 2 ** min(attempts, 10)))

    # -- another way

    async def late(self) -> Sequence[sa.Row[Any]]:
        """Pages that wait for too long, or for a surface that is not even asked, and have not been moved yet."""
        outbox = tables.outbox
        silent = [surface for surface in self.surfaces if self.unreachable(surface)]
        return await self.store.rows(
            sa.select(outbox).where(
                outbox.c.status == "waiting",
                outbox.c.kind == "page",
                outbox.c.address == "{}",
                outbox.c.escalation > 0,
                sa.or_(outbox.c.created_at <= self.clock.now() - MOVE_AFTER, outbox.c.surface.in_(silent)),
            )
        )

    async def move(self, row: sa.Row[Any], reason: str) -> None:
        """Say the page on another surface too; this one goes on trying. Nothing happens when there is no other."""
        if row.address != "{}" or row.kind != "page" or not row.escalation:
            return
        reason = reason or self.unreachable(row.surface)
        state, page = await self._state(row)
        if page and page.acknowledged_at:
            await self._give_up(row, ACKNOWLEDGED)
            return
        said: list[Said] = []
        try:
            if state and page and not state.plan.drill:  # a drill pages nobody, so nobody misses it
                said = await self._elsewhere(row, state, page, reason)
        except TryLater as error:  # the other surface is away too; ``late`` brings the page here again
            log.error("a page cannot go another way yet", run=row.run_id, surface=row.surface, reason=error.reason)
            return
        async with self.store.write() as connection:
            for one in said:
                await connection.execute(
                    self.store.insert_new(tables.outbox).values(
                        key=one.key,
                        kind=one.kind,
                        surface=one.place.surface,
                        channel=one.place.channel,
                        thread=one.place.thread,
                        run_id=row.run_id,
                        escalation=row.escalation,
                        body=dumps(one.body),
                        address=dumps({"moved_from": row.surface}),
                        created_at=self.clock.now(),
                    )
                )
            address = dumps({"moved_to": [one.place.surface for one in said if one.kind == "page"]})
            await connection.execute(
                tables.outbox.update().where(tables.outbox.c.number == row.number).values(address=address)
            )
            await self._redraw_card(connection, row.run_id)
        log.error("a page goes another way", run=row.run_id, surface=row.surface, reason=reason, to=address)

    async def _elsewhere(self, row: sa.Row[Any], state: RunState, page: Escalation, reason: str) -> list[Said]:
        """The page for every surface that does not have it."""
        said = []
        for name in self.surfaces:
            if name == row.surface or await self._paged_there(row, name):
                continue
            place = await self.place_on(name)
            if place:
                from_ = TITLES.get(row.surface, row.surface)
                note = f"{from_} did not take this page, so it comes here: {reason.rstrip('.') or 'no answer'}."
                links = await self._links(row.run_id)
                said.append(self.speaker.page(state, page, f"{row.key}:{name}", place, links, note))
                said += self.speaker.labelled(state, page, place)
        return said

    async def others(self, surface: str) -> list[Place]:
        """Where a page goes that this surface does not take. Raises ``TryLater``."""
        places = [await self.place_on(name) for name in self.surfaces if name != surface]
        return [place for place in places if place]

    async def place_on(self, surface: str) -> Place | None:
        """Where pages of other surfaces go; on GitHub one issue is opened for them when none is configured.

        None when this surface takes none. Raises ``TryLater``.
        """
        place = self.places.get(surface)
        port = self.surfaces[surface]
        if place is None or place.surface != "github" or place.thread:
            return place
        if not isinstance(port, FilesIssues):
            return None
        try:
            filed = await port.file_issue(PAGES_ISSUE.summary, port.draw(PAGES_ISSUE), (), "pages", maybe_filed=True)
        except Undeliverable as error:
            log.error("no issue can be opened for pages", reason=str(error))
            return None
        self.places[surface] = place.model_copy(update={"thread": str(filed.number)})
        return self.places[surface]

    async def _paged_there(self, row: sa.Row[Any], surface: str) -> bool:
        """Whether this very page was said on the other surface anyway: the run is shown on both."""
        outbox = tables.outbox
        stem = ":".join(row.key.split(":")[:3])  # run, version, number of the post
        found = await self.store.rows(
            sa.select(outbox.c.key).where(
                outbox.c.run_id == row.run_id,
                outbox.c.escalation == row.escalation,
                outbox.c.surface == surface,
                outbox.c.kind == "page",
                outbox.c.key.startswith(f"{stem}:", autoescape=True),
            )
        )
        return bool(found)

    # -- what stands there already

    async def superseded(self, row: sa.Row[Any]) -> bool:
        """Whether a page that could not be delivered so far need not be any more, because a newer one waits."""
        outbox = tables.outbox
        if row.kind != "page" or not row.attempts or not row.run_id:
            return False
        newer = await self.store.rows(
            sa.select(outbox.c.number).where(
                outbox.c.run_id == row.run_id,
                outbox.c.escalation == row.escalation,
                outbox.c.surface == row.surface,
                outbox.c.channel == row.channel,
                outbox.c.kind == "page",
                outbox.c.number > row.number,
            )
        )
        if newer:
            await self._give_up(row, SUPERSEDED)
        return bool(newer)

    async def delivered(self, surface: Surface, row: sa.Row[Any], place: Place, remote_id: str) -> None:
        """A page that was on its way while it was acknowledged, or changed, says so at once."""
        outbox = tables.outbox
        news = await self.store.rows(
            sa.select(outbox.c.body)
            .where(
                outbox.c.run_id == row.run_id,
                outbox.c.escalation == row.escalation,
                outbox.c.surface == row.surface,
                outbox.c.kind.in_(EDITS),
                outbox.c.number > row.number,
            )
            .order_by(outbox.c.number.desc())
            .limit(1)
        )
        for each in news:
            await surface.update(place, remote_id, json.loads(each.body))
        if row.problem or row.address != "{}":
            async with self.store.write() as connection:
                await self._redraw_card(connection, row.run_id)

    async def edit(self, surface: Surface, row: sa.Row[Any], body: Body) -> None:
        """Every page of the escalation on this surface says that it was acknowledged; or the newest what is new.

        What was not sent yet is not sent when it was acknowledged, and says what is new else. Raises ``TryLater``.
        """
        outbox = tables.outbox
        if row.kind == "update pages" and await self._newer_than(row):
            return
        pages = await self.store.rows(
            sa.select(outbox)
            .where(
                outbox.c.run_id == row.run_id,
                outbox.c.escalation == row.escalation,
                outbox.c.surface == row.surface,
                outbox.c.kind.in_(("page", "thread")),
                outbox.c.number < row.number,
            )
            .order_by(outbox.c.number.desc())
        )
        closing, seen = row.kind == "close pages", set[tuple[str, str]]()
        for page in pages:
            newest = (page.kind, page.channel) not in seen
            seen.add((page.kind, page.channel))
            if page.status == "waiting" and closing:
                await self._give_up(page, ACKNOWLEDGED)
            elif page.status == "waiting" and newest:
                await self._say_instead(page, body)
            elif page.remote_id and (closing or newest):
                await self._edit(surface, page, body)

    async def _newer_than(self, row: sa.Row[Any]) -> bool:
        """Whether a page, or what is said of one, knows more than this row."""
        outbox = tables.outbox
        newer = await self.store.rows(
            sa.select(outbox.c.number)
            .where(
                outbox.c.run_id == row.run_id,
                outbox.c.escalation == row.escalation,
                outbox.c.surface == row.surface,
                outbox.c.kind.in_(("page", *EDITS)),
                outbox.c.number > row.number,
            )
            .limit(1)
        )
        return bool(newer)

    async def _edit(self, surface: Surface, page: sa.Row[Any], body: Body) -> None:
        place = Place(surface=page.surface, channel=page.channel, thread=page.thread)
        if page.kind == "thread":  # it went where the card is
            place = await thread_of_card(self.store, page) or place
        try:
            await surface.update(place, page.remote_id, body)
        except Undeliverable as error:
            log.warning("a page cannot be edited", key=page.key, reason=str(error))

    # -- what is wrong

    async def trouble(self, run_id: str) -> str:
        """For the card: why nobody may have seen the page; empty when all is well."""
        outbox = tables.outbox
        rows = await self.store.rows(
            sa.select(outbox).where(outbox.c.run_id == run_id, outbox.c.kind == "page", outbox.c.status == "waiting")
        )
        stuck = [row for row in rows if row.problem or row.address != "{}"]
        if not stuck:
            return ""
        row = stuck[-1]
        moved = json.loads(row.address).get("moved_to") or []
        went = f" It went to {' and '.join(TITLES.get(each, each) for each in moved)}." if moved else ""
        where = TITLES.get(row.surface, row.surface)
        return f"{where} does not take the page: {row.problem.rstrip('.') or 'no answer'}.{went} It is tried again."

    # -- rows

    async def _state(self, row: sa.Row[Any]) -> tuple[RunState | None, Escalation | None]:
        rows = await self.store.rows(sa.select(tables.runs.c.state).where(tables.runs.c.id == row.run_id))
        if not rows:
            return None, None
        state = RunState.model_validate_json(rows[0].state)
        return state, next((each for each in state.escalations if each.number == row.escalation), None)

    async def _links(self, run_id: str) -> dict[str, str]:
        cards = tables.cards
        rows = await self.store.rows(sa.select(cards.c.surface, cards.c.link).where(cards.c.run_id == run_id))
        return {row.surface: row.link for row in rows}

    async def _give_up(self, row: sa.Row[Any], why: str) -> None:
        await self._set(row, status="given up", problem=why, next_try_at=None)

    async def _say_instead(self, row: sa.Row[Any], body: Body) -> None:
        await self._set(row, body=dumps(body))

    async def _set(self, row: sa.Row[Any], **values: Any) -> None:
        async with self.store.write() as connection:
            await connection.execute(
                tables.outbox.update()
                .where(tables.outbox.c.number == row.number, tables.outbox.c.status == "waiting")
                .values(**values)
            )

    @staticmethod
    async def _redraw_card(connection: Any, run_id: str) -> None:
        await connection.execute(tables.cards.update().where(tables.cards.c.run_id == run_id).values(version=-1))


async def thread_of_card(store: Store, row: sa.Row[Any]) -> Place | None:
    """Where the run's messages go on this surface: under its card, wherever that could be posted."""
    found = await store.rows(
        sa.select(tables.cards).where(tables.cards.c.run_id == row.run_id, tables.cards.c.surface == row.surface)
    )
    if not found or not found[0].remote_id:
        return None
    card_row = found[0]
    return Place(surface=row.surface, channel=card_row.channel, thread=card_row.thread or card_row.remote_id)
