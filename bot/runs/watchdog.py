"""Whether anybody is really being paged: looked at every minute, by somebody who has no part in the paging.

The watchdog reads the tables, and nothing else: for each open escalation a page has to have gone out when it was due,
the next one has to lie ahead, and the newest one has to have reached at least one surface; and no run may have slept
through its deadline. What is wrong at two looks with running time between them is an alarm: the watchdog sends the page
itself, ``/readyz`` says so, and the heartbeat stops. The heartbeat is a request to an address of the user's choice, so
that a bot that has died, or a watchdog that has, is noticed from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import aiohttp
import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock
from bot.incoming import Place
from bot.messages import Bold, Line, Mention, Note, Paragraph, Text, line, message
from bot.page_delivery import MOVE_AFTER
from bot.runs.model import RunState
from bot.runs.record import Said
from bot.runs.speak import Speaker, pages_missed
from bot.settings import WatchdogSettings
from bot.store import Store, dumps
from bot.surfaces.delivery import TryLater
from bot.surfaces.step_text import title_of
from bot.words import duration

log = structlog.get_logger("opsbot.watchdog")

EVERY = 60.0  # seconds
GRACE = timedelta(seconds=90)  # that a page or a deadline may be late; a page is moved to another surface after 120
UNDELIVERED_AFTER = timedelta(minutes=4)  # by then it has been tried on every surface
CONFIRMED_AFTER = 30.0  # seconds of running time: a clock that jumps, or a machine that slept, makes nobody late
BLIND_AFTER = 200.0  # seconds of running time without a look
HEARTBEAT_TIMEOUT = 10.0  # seconds

Kind = Literal["late", "undelivered", "stuck"]


@dataclass(frozen=True, slots=True)
class OpenPage:
    """An escalation that nobody has acknowledged, as the tables tell it."""

    run_id: str
    number: int
    title: str
    opened_at: datetime
    paged_at: datetime | None  # when its newest page was put into the outbox
    next_page_at: datetime | None
    delivered_at: datetime | None  # when the newest of its pages that reached people was put there
    refused: str = ""  # what the surface said of one that did not


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A run whose next deadline is in the past."""

    run_id: str
    title: str
    due: datetime


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that keeps people from being called."""

    kind: Kind
    run_id: str
    number: int  # of the escalation; 0: of none
    text: str
    since: datetime

    @property
    def key(self) -> tuple[str, str, int]:
        return self.kind, self.run_id, self.number


def judge(pages: Sequence[OpenPage], sleepers: Sequence[Sleeper], now: datetime) -> list[Alarm]:
    """What is wrong at this look; empty when every open escalation is progressing. Pure."""
    alarms = []
    for page in pages:
        what = f"The escalation of run {page.run_id} ({page.title})"
        if page.next_page_at is None or page.paged_at is None:
            said = f"{what} is open, and no page is planned for it"
            alarms.append(Alarm("late", page.run_id, page.number, said, page.paged_at or page.opened_at))
        elif now > page.next_page_at + GRACE:
            late = duration(now - page.next_page_at)
            said = f"{what} should have been paged again {late} ago"
            alarms.append(Alarm("late", page.run_id, page.number, said, page.next_page_at))
        delivered = page.delivered_at is not None and page.paged_at is not None and page.delivered_at >= page.paged_at
        if page.paged_at is not None and not delivered and now > page.paged_at + UNDELIVERED_AFTER:
            why = f": {page.refused}" if page.refused else ""
            said = f"{what} was paged {duration(now - page.paged_at)} ago, and the page has reached nobody{why}"
            alarms.append(Alarm("undelivered", page.run_id, page.number, said, page.paged_at))
    paged = {alarm.run_id for alarm in alarms}
    for run in sleepers:
        if run.run_id not in paged and now > run.due + GRACE:
            said = f"Nobody works on run {run.run_id} ({run.title}): a deadline passed {duration(now - run.due)} ago"
            alarms.append(Alarm("stuck", run.run_id, 0, said, run.due))
    return alarms


class Watchdog:
    """Looks every minute. ``running`` is a clock that only runs while the process does; the event loop's by default."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        speaker: Speaker,
        settings: WatchdogSettings,
        *,
        place: Place | None,
        others: Callable[[str], Awaitable[Sequence[Place]]] | None = None,
        wake: Callable[[], None] = lambda: None,
        confirmed_after: float = CONFIRMED_AFTER,
        running: Callable[[], float] | None = None,
    ) -> None:
        """``place``: where a run without an escalation is paged; None: where it was asked for.

        ``others``: where such a page goes when the surface named does not take it. ``wake``: tells that something is to
        be delivered.
        """
        self.store = store
        self.clock = clock
        self.speaker = speaker
        self.settings = settings
        self.place = place
        self.others = others
        self.wake = wake
        self.confirmed_after = confirmed_after
        self.alarms: tuple[Alarm, ...] = ()  # confirmed ones, of the last look
        self.looked_at: datetime | None = None
        self.heartbeats = 0  # that were taken
        self._running = running or asyncio.get_running_loop().time
        self._started = self._last_look = self._running()
        self._suspected: dict[tuple[str, str, int], float] = {}  # since when, in running time
        self._heartbeat_trouble = ""
        self._session: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="opsbot watchdog")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def problems(self) -> list[str]:
        """For ``/readyz``: alarms, a watchdog that does not look any more, a heartbeat that nobody takes."""
        found = [f"{alarm.text}." for alarm in self.alarms]
        blind = self._running() - self._last_look
        if blind > BLIND_AFTER:
            found.append(f"The watchdog has not looked after the escalations for {blind:.0f} s.")
        if self._heartbeat_trouble:
            found.append(f"watchdog.heartbeat_url does not take the heartbeat: {self._heartbeat_trouble}.")
        return found

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("the watchdog cannot read", reason=tables.reason(error))
            except Exception:
                log.exception("the watchdog failed")
            await self.clock.sleep(EVERY)

    async def look(self) -> None:
        """One look: judge, page if need be, tell the outside world."""
        now = self.clock.now()
        pages, sleepers = await self._open_pages(), await self._sleepers(now)
        seen = judge(pages, sleepers, now)
        running = self._running()
        self._suspected = {alarm.key: self._suspected.get(alarm.key, running) for alarm in seen}
        confirmed = [alarm for alarm in seen if running - self._suspected[alarm.key] >= self.confirmed_after]
        known = {alarm.key for alarm in self.alarms}
        self.alarms = tuple(confirmed)
        self.looked_at, self._last_look = now, running
        for alarm in confirmed:
            if alarm.key not in known:
                log.error("an escalation does not go on", kind=alarm.kind, run=alarm.run_id, reason=alarm.text)
            if alarm.kind != "undelivered":
                await self._page(alarm, now)
        if not seen:
            await self._tell(self.settings.heartbeat_url.get_secret_value(), "GET", "")
        elif confirmed:
            await self._tell(self.settings.fail_url.get_secret_value(), "POST", "\n".join(a.text for a in confirmed))

    # -- what the tables say

    async def _open_pages(self) -> list[OpenPage]:
        pages, outbox = tables.escalations, tables.outbox
        rows = await self.store.rows(sa.select(pages).where(pages.c.acknowledged_at.is_(None)))
        found = []
        for row in rows:
            sent = await self.store.rows(
                sa.select(outbox.c.status, outbox.c.created_at, outbox.c.problem)
                .where(
                    outbox.c.run_id == row.run_id,
                    outbox.c.escalation == row.number,
                    outbox.c.kind.in_(("page", "thread")),
                )
                .order_by(outbox.c.number)
            )
            delivered = [each.created_at for each in sent if each.status == "sent"]
            refused = [each.problem for each in sent if each.status == "waiting" and each.problem]
            found.append(
                OpenPage(
                    row.run_id,
                    row.number,
                    row.title,
                    row.opened_at,
                    row.paged_at,
                    row.next_page_at,
                    max(delivered, default=None),
                    refused[-1] if refused else "",
                )
            )
        return found

    async def _sleepers(self, now: datetime) -> list[Sleeper]:
        runs = tables.runs
        rows = await self.store.rows(
            sa.select(runs.c.id, runs.c.next_due, runs.c.state)
            .where(runs.c.open, runs.c.version > 0, runs.c.next_due < now - GRACE)
            .limit(100)
        )
        states = [(row, RunState.model_validate_json(row.state)) for row in rows]
        return [Sleeper(row.id, title_of(state.plan), row.next_due) for row, state in states if not state.plan.drill]

    # -- paging

    async def _page(self, alarm: Alarm, now: datetime) -> None:
        """What the run should have said, said in its place, once in each period."""
        rows = await self.store.rows(sa.select(tables.runs.c.state).where(tables.runs.c.id == alarm.run_id))
        if not rows:
            return
        state = RunState.model_validate_json(rows[0].state)
        cards = await self.store.rows(sa.select(tables.cards).where(tables.cards.c.run_id == alarm.run_id))
        links = {card.surface: card.link for card in cards}
        page = state.page
        if page and page.number == alarm.number:
            key = f"{alarm.run_id}:watchdog:{alarm.since.isoformat()}:{(now - alarm.since) // page.repeat}"
            note = "The run itself does not page any more, so the watchdog does. The bot's log says why, and /readyz."
            said = self.speaker.pages(state, pages_missed(page, now), key, links, note)
        else:
            repeat = state.plan.paging.repeat.get(state.plan.severity, timedelta(minutes=20))
            key = f"{alarm.run_id}:watchdog:stuck:{alarm.since.isoformat()}:{(now - alarm.since) // repeat}"
            place = self.place or state.plan.place
            said = [_stuck(self.speaker, place, state, alarm, key)]
            said += [
                _stuck(self.speaker, other, state, alarm, f"{key}:{other.surface}")
                for other in await self._instead_of(place, key, now)
            ]
        async with self.store.write() as connection:
            for one in said:
                await connection.execute(
                    self.store.insert_new(tables.outbox).values(
                        key=one.key,
                        kind=one.kind,
                        surface=one.place.surface,
                        channel=one.place.channel,
                        thread=one.place.thread,
                        run_id=alarm.run_id,
                        escalation=one.escalation,
                        body=dumps(one.body),
                        created_at=now,
                    )
                )
        self.wake()

    async def _instead_of(self, place: Place, key: str, now: datetime) -> Sequence[Place]:
        """Where else to say what was said in this place a while ago and has not arrived; nowhere when it has."""
        outbox = tables.outbox
        rows = await self.store.rows(
            sa.select(outbox.c.key).where(
                outbox.c.key == key,
                outbox.c.status == "waiting",
                sa.or_(outbox.c.problem != "", outbox.c.created_at <= now - MOVE_AFTER),
            )
        )
        if not rows or self.others is None:
            return ()
        try:
            return await self.others(place.surface)
        except TryLater as error:
            log.error("a page cannot go another way yet", surface=place.surface, reason=error.reason)
            return ()

    # -- the heartbeat

    async def _tell(self, url: str, method: str, text: str) -> None:
        """One request; that it fails is told by ``problems`` and changes nothing else."""
        if not url:
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HEARTBEAT_TIMEOUT))
        try:
            body: dict[str, Any] = {"data": text.encode()} if text else {}
            async with self._session.request(method, url, **body) as answer:
                trouble = "" if answer.status < 400 else f"it answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            trouble = type(error).__name__  # never its text: the address is a secret
        if trouble and trouble != self._heartbeat_trouble:
            log.error("a heartbeat was not taken", reason=trouble)
        self._heartbeat_trouble = trouble
        self.heartbeats += not trouble


def _stuck(speaker: Speaker, place: Place, state: RunState, alarm: Alarm, key: str) -> Said:
    """The page for a run that nobody works on."""
    plan = state.plan
    first: Line = ()
    for contact in plan.paging.chain[:1]:
        first = (Mention(contact.name, slack=contact.slack, github=contact.github), Text(" "))
    said = message(
        Paragraph((*first, Bold(f"{title_of(plan)} is stuck."), Text(f" {alarm.text}."))),
        Paragraph(line("Look at the bot's log and at /readyz, and restart the bot if nothing else helps.")),
        Note(line(f"Sent by the watchdog · run {plan.run_id}")),
        summary=f"{title_of(plan)} is stuck. {alarm.text}",
    )
    return speaker.message(place, said, key)
