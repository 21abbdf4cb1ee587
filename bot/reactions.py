"""👀 on a comment as soon as it is heard, 🚀 when its run is done: the shortest answer there is on GitHub.

A command in the text of a new issue gets its reaction on the issue itself; its ``comment_id`` is 0.

A reaction is a function of what became of the comment's commands, like the card is of its run: what could not be shown
is shown later, and a restart loses nothing. Several commands of one comment share it; the worst outcome is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import Clock, Signal, first_of
from bot.incoming import Incoming, Place
from bot.store import Store
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.port import Reacts, Surface

log = structlog.get_logger("opsbot.delivery")

HEARD = "eyes"
DONE, ANSWERED, REFUSED, FAILED = "rocket", "+1", "confused", "-1"
BY_OUTCOME = {
    "answered": ANSWERED,
    "sent": ANSWERED,
    "done": ANSWERED,
    "dry_run": ANSWERED,
    "refused": REFUSED,
    "failed": FAILED,
}
BY_STATUS = {"done": DONE, "failed": FAILED, "cancelled": FAILED}
WORST_FIRST = (FAILED, REFUSED, DONE, ANSWERED)
GIVE_UP_AFTER = timedelta(hours=1)  # that GitHub refuses it
MOST_AT_ONCE = 50


def comment_of(incoming: Incoming) -> str:
    """What all commands of a comment, or of an issue's own text, have in common at the front of their keys.

    Empty when it is neither.
    """
    mark = f"#issue-{incoming.place.thread}:" if incoming.issue_body else f"#{incoming.comment_id}:"
    head, found, _ = incoming.key.partition(mark)
    return head + mark if incoming.on_github and found else ""


def due(incoming: Incoming) -> dict[str, Any] | None:
    """The row of the reaction that becomes due with a new command of a comment; None for any other command."""
    comment = comment_of(incoming)
    if not comment:
        return None
    return {
        "comment": comment,
        "surface": incoming.place.surface,
        "channel": incoming.place.channel,
        "thread": incoming.place.thread,
        "comment_id": incoming.comment_id,
        "created_at": incoming.received_at,
    }


async def heard(store: Store, connection: AsyncConnection, incoming: Incoming) -> None:
    """A new command of a comment was stored: in the same transaction its reaction becomes due."""
    row = due(incoming)
    if row is None:
        return
    reactions = tables.reactions
    await connection.execute(store.insert_new(reactions).values(**row))
    await connection.execute(reactions.update().where(reactions.c.comment == row["comment"]).values(settled=False))


async def became(connection: AsyncConnection, incoming: Incoming, outcome: str, run_id: str = "") -> None:
    """What became of a command. One that stood in the queue became that under its first key, too."""
    inbox = tables.inbox
    keys = (incoming.key, incoming.first_key) if incoming.first_key else (incoming.key,)
    told = f"{outcome} {run_id}".strip()
    await connection.execute(inbox.update().where(inbox.c.key.in_(keys)).values(outcome=told))


class Reactions:
    """Shows on each comment what became of it."""

    def __init__(self, store: Store, clock: Clock, surfaces: Mapping[str, Surface]) -> None:
        self.store = store
        self.clock = clock
        self.surfaces = {name: surface for name, surface in surfaces.items() if isinstance(surface, Reacts)}
        self.news = Signal()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self.surfaces:
            self._task = asyncio.create_task(self._run(), name="opsbot reactions")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.show_all()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.error("reactions have to wait", reason=tables.reason(error))
            except Exception:
                log.exception("reactions have to wait")
            await first_of(self.clock.sleep(1.0), self.news.wait(2.0))

    async def show_all(self) -> None:
        """Every comment whose reaction is not the last one yet."""
        reactions = tables.reactions
        due = sa.or_(reactions.c.next_try_at.is_(None), reactions.c.next_try_at <= self.clock.now())
        for row in await self.store.rows(
            sa.select(reactions)
            .where(sa.not_(reactions.c.settled), due)
            .order_by(reactions.c.created_at)
            .limit(MOST_AT_ONCE)
        ):
            await self._show(row)

    async def _show(self, row: sa.Row[Any]) -> None:
        surface = self.surfaces.get(row.surface)
        if surface is None:
            return
        wanted, last = await self._wanted(row.comment)
        shown, given = row.shown, row.reaction
        place = Place(surface=row.surface, channel=row.channel, thread=row.thread)
        if wanted != shown:
            try:
                given = await surface.react(place, row.comment_id, wanted, instead_of=given)
            except TryLater as later:
                await self._store(row, next_try_at=self.clock.now() + timedelta(seconds=later.after))
                return
            except Undeliverable as error:  # the comment was deleted, or the bot may not react: nothing depends on it
                log.warning("no reaction", comment=row.comment_id, reason=str(error))
                last = last or self.clock.now() - row.created_at > GIVE_UP_AFTER
                again = self.clock.now() + timedelta(minutes=10)
                await self._store(row, settled=last, next_try_at=again)
                return
        if last or wanted != shown:
            await self._store(row, shown=wanted, reaction=given, settled=last, next_try_at=None)

    async def _wanted(self, comment: str) -> tuple[str, bool]:
        """The reaction, and whether it is the last one."""
        inbox, runs, queue = tables.inbox, tables.runs, tables.queue
        rows = await self.store.rows(
            sa.select(inbox.c.key, inbox.c.handled, inbox.c.outcome).where(
                inbox.c.key.startswith(comment, autoescape=True)
            )
        )
        found: list[str] = []
        for row in rows:
            outcome, _, run_id = row.outcome.partition(" ")
            if not row.handled:
                return HEARD, False
            if outcome == "started":
                status = await self.store.rows(sa.select(runs.c.status).where(runs.c.id == run_id))
                if status and status[0].status not in BY_STATUS:
                    return HEARD, False
                found.append(BY_STATUS[status[0].status] if status else ANSWERED)
            elif outcome == "queued":
                if await self.store.rows(sa.select(queue.c.number).where(queue.c.key == row.key)):
                    return HEARD, False
                found.append(REFUSED)  # somebody took it out of the line
            else:
                found.append(BY_OUTCOME.get(outcome, ANSWERED))
        return next((each for each in WORST_FIRST if each in found), ANSWERED), True

    async def _store(self, row: sa.Row[Any], *, settled: bool = False, **values: Any) -> None:
        """A command that an edit has added meanwhile keeps the reaction unsettled."""
        reactions, inbox = tables.reactions, tables.inbox
        async with self.store.write() as connection:
            added = await connection.execute(
                sa.select(inbox.c.number)
                .where(inbox.c.key.startswith(row.comment, autoescape=True), sa.not_(inbox.c.handled))
                .limit(1)
            )
            settled = settled and added.first() is None
            await connection.execute(
                reactions.update().where(reactions.c.comment == row.comment).values(settled=settled, **values)
            )


async def forget(connection: AsyncConnection, before: datetime) -> None:
    """Delete what was asked before this instant; its commands are deleted with it."""
    await connection.execute(tables.reactions.delete().where(tables.reactions.c.created_at < before))
