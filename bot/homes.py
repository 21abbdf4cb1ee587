"""Home tabs that stay true: published when somebody opens theirs, and again when something in it has changed.

Only for people who opened it within the last day, and for each at most once in a few seconds: Slack takes about a
hundred ``views.publish`` a minute, and nobody looks at most of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock
from bot.commands.registry import CommandGroup, Level
from bot.incoming import Actor
from bot.messages import Message
from bot.redaction import redacted
from bot.runs.desk import RunDesk
from bot.runs.freeze import frozen
from bot.runs.model import RunState
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.home import LAST_RUNS, Crossed, Situation, Viewer, home

log = structlog.get_logger("opsbot.homes")

KEPT_FOR = timedelta(days=1)
AT_MOST_EVERY = timedelta(seconds=5)  # for one person
LOOK_EVERY = 2.0  # seconds
MOST_RUNS = 60
LOOKED_BACK = 200  # runs, for the last ones of somebody


class Publisher(Protocol):
    """Draws a message as somebody's home tab and publishes it. Raises ``TryLater`` or ``Undeliverable``."""

    async def __call__(self, user: str, channel: str, message: Message) -> None: ...


class Homes:
    """Who has opened their home tab, and what it shows."""

    def __init__(self, desk: RunDesk, groups: Mapping[str, CommandGroup], publish: Publisher, clock: Clock) -> None:
        self._desk = desk
        self._store = desk.engine.store
        self._groups = tuple(sorted(groups.values(), key=lambda group: group.root == "runs"))  # the products first
        self._publish = publish
        self._clock = clock
        self._seen: tuple[Any, ...] = ()  # what the last look at the tables came to
        self._channels: dict[str, str] = {}
        self._opened_at: dict[str, datetime] = {}
        self._shown: dict[str, str] = {}  # digest of what was published last, by person
        self._not_before: dict[str, datetime] = {}
        self._due: set[str] = set()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="opsbot homes")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def opened(self, user: str, channel: str) -> None:
        """Somebody looks at their home tab; ``channel`` is their conversation with the bot."""
        now, table = self._clock.now(), tables.homes
        self._channels[user], self._opened_at[user] = channel, now
        try:
            async with self._store.write() as connection:
                await connection.execute(
                    self._store.insert_new(table).values(user=user, channel=channel, opened_at=now)
                )
                await connection.execute(
                    table.update().where(table.c.user == user).values(channel=channel, opened_at=now)
                )
            self._shown.pop(user, None)
            self._not_before.pop(user, None)
            await self.refresh(only=user)
        except (sa.exc.SQLAlchemyError, OSError) as error:
            log.error("a home tab cannot be built", reason=tables.reason(error))

    async def refresh(self, only: str = "") -> None:
        """Publish what has changed, for everybody who looks, or for one person."""
        async with self._lock:
            now = self._clock.now()
            viewers = [
                user
                for user, opened in self._opened_at.items()
                if (not only or user == only) and now - opened <= KEPT_FOR and self._not_before.get(user, now) <= now
            ]
            if not viewers:
                return
            seen = await self._fingerprint()
            if seen == self._seen and not self._due.intersection(viewers) and not only:
                return
            situation = await self._situation()
            if seen != self._seen:
                self._seen = seen
                self._due = set(self._opened_at)  # those whose turn is not yet come later
            for user in viewers:
                await self._show(user, situation)

    async def _show(self, user: str, situation: Situation) -> None:
        message = redacted(home(situation, await self._viewer(user)))
        digest = hashlib.sha256(repr(message).encode("utf-8", "replace")).hexdigest()
        if self._shown.get(user) == digest:
            self._due.discard(user)
            return
        self._not_before[user] = self._clock.now() + AT_MOST_EVERY
        try:
            await self._publish(user, self._channels[user], message)
        except TryLater as error:
            self._not_before[user] = self._clock.now() + timedelta(seconds=max(error.after, 5.0))
        except Undeliverable as error:
            log.warning("a home tab cannot be published", user=user, reason=str(error))
            self._shown[user] = digest  # again when it has something else to say
            self._due.discard(user)
        else:
            self._shown[user] = digest
            self._due.discard(user)

    async def _run(self) -> None:
        loaded = False
        while True:
            try:
                if not loaded:
                    await self._load()
                    loaded = True
                await self.refresh()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("the home tabs cannot be built", reason=tables.reason(error))
            except Exception:
                log.exception("the home tabs cannot be built")
            await self._clock.sleep(LOOK_EVERY)

    async def _load(self) -> None:
        """Who had it open before a restart."""
        table = tables.homes
        since = self._clock.now() - KEPT_FOR
        for row in await self._store.rows(sa.select(table).where(table.c.opened_at >= since)):
            self._channels.setdefault(row.user, row.channel)
            self._opened_at.setdefault(row.user, row.opened_at)

    # -- what there is

    async def _fingerprint(self) -> tuple[Any, ...]:
        """What tells cheaply whether anything may have changed."""
        runs, cards, standings, freeze = tables.runs, tables.cards, tables.standings, tables.freeze
        looks: list[sa.Select[Any]] = [
            sa.select(runs.c.id, runs.c.version).where(runs.c.open).order_by(runs.c.id),
            sa.select(sa.func.max(runs.c.id).label("newest")).add_columns(sa.func.count(runs.c.id)),
            sa.select(sa.func.count(cards.c.run_id)).where(cards.c.link != ""),
            sa.select(standings.c.key, standings.c.level, standings.c.shown).where(standings.c.level != "ok"),
            sa.select(freeze.c.since, freeze.c.reason),
        ]
        return tuple([tuple(map(tuple, await self._store.rows(look))) for look in looks])

    async def _situation(self) -> Situation:
        desk = self._desk
        runs, cards, standings = tables.runs, tables.cards, tables.standings
        query = sa.select(runs.c.state).where(runs.c.open).order_by(runs.c.id.desc()).limit(MOST_RUNS)
        states = await self._states(query)
        linked = sa.select(cards.c.run_id, cards.c.link).where(cards.c.surface == "slack", cards.c.link != "")
        links = await self._store.rows(linked.order_by(cards.c.run_id.desc()).limit(LOOKED_BACK))
        crossed = await self._store.rows(sa.select(standings).where(standings.c.level.in_(("warning", "critical"))))
        cold = await frozen(self._store)
        return Situation(
            open=states,
            crossed=[_crossed(row) for row in crossed],
            groups=self._groups,
            links={row.run_id: row.link for row in links},
            name=desk.name,
            frozen=f"{desk.name(cold.actor)}: {cold.reason}" if cold else "",
        )

    async def _states(self, query: sa.Select[Any]) -> list[RunState]:
        """Read one by one: hundreds of runs are not to keep everybody else waiting."""
        found = []
        for row in await self._store.rows(query):
            found.append(RunState.model_validate_json(row.state))
            await asyncio.sleep(0)
        return found

    async def _viewer(self, user: str) -> Viewer:
        access, actor = self._desk.access, Actor(surface="slack", id=user)

        def allows(level: Level) -> bool:
            return access.allows(actor, level)

        def is_mine(state: RunState) -> bool:
            mine = access.same_person(actor, state.plan.actor)
            return state.owner == access.person_of(actor) if state.owner else mine

        return Viewer(
            person=access.person_of(actor) or "",
            allows=allows,
            may_approve=lambda state: access.may_approve(actor, state.plan.actor) or access.only_operator(actor),
            is_mine=is_mine,
            last=await self._last_of(actor) if allows("viewer") else (),
        )

    async def _last_of(self, actor: Actor) -> list[RunState]:
        """The runs that somebody asked for, on any surface; the audit log knows who started which."""
        audit, runs = tables.audit, tables.runs
        started = sa.select(audit.c.run_id, audit.c.actor).where(audit.c.kind == "run.started")
        rows = await self._store.rows(started.order_by(audit.c.number.desc()).limit(LOOKED_BACK))
        people = {row.actor: self._desk.access.same_person(actor, _actor(row.actor)) for row in rows}
        mine = [row.run_id for row in rows if people[row.actor]][:LAST_RUNS]
        return await self._states(sa.select(runs.c.state).where(runs.c.id.in_(mine)).order_by(runs.c.id.desc()))


def _actor(text: str) -> Actor:
    """``slack:U0ALICE`` as it stands in the audit log."""
    surface, _, name = text.partition(":")
    if surface == "github":
        return Actor(surface="github", id=name if name.isdecimal() else "", login="" if name.isdecimal() else name)
    return Actor(surface="slack" if surface == "slack" else "opsbot", id=name)


def _crossed(row: Any) -> Crossed:
    metric, _, subject = row.key.partition(":")
    return Crossed(row.product, metric, subject, row.level, row.shown, row.since)
