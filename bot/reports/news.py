"""``[notifications.NAME]``: what happens in a product, told in a channel within seconds.

What was told is remembered together with where reading goes on, in one transaction: a restart neither misses nor
doubles anything. Several events of one look are one message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock, Signal, first_of
from bot.errors import Unavailable
from bot.incoming import Place
from bot.messages import Bold, Bullets, Line, Message, Note, When, line
from bot.repository_events import RepositoryEvents
from bot.store import Store, dumps
from bot.surfaces.port import Surface
from bot.words import counted

log = structlog.get_logger("opsbot.reports")

MOST_TOLD = 15  # of one look
BEGUN = ""  # the row that says that the first look was taken


@dataclass(frozen=True, slots=True)
class NewsItem:
    """One thing that happened."""

    subject: str  # project-42
    event: str  # stage_completed
    text: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found, and the new marks of the sources that have changed."""

    items: tuple[NewsItem, ...]
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NewsSource:
    """``look`` takes the handler, the marks by source, whether there was a look before, and the events that are wanted
    (none: those that the product's own configuration names). Raises ``Unavailable``."""

    events: tuple[str, ...]
    look: Callable[[Any, Mapping[str, str], bool, Sequence[str]], Awaitable[Seen]]


def news_message(title: str, items: Sequence[NewsItem]) -> Message:
    """One line for each; the summary names the first."""
    head = f"{items[0].subject}: {items[0].text}"
    if len(items) > 1:
        head += f", and {counted(len(items) - 1, 'more event')}"
    rows: list[Line] = []
    for item in items[:MOST_TOLD]:
        when = (" ", When(item.at)) if item.at else ()
        rows.append(line(Bold(item.subject), f": {item.text}", *when))
    rest = (Note(line(f"and {len(items) - MOST_TOLD} more.")),) if len(items) > MOST_TOLD else ()
    colour = "bad" if any(item.event == "error_occurred" for item in items) else "none"
    return Message(f"{title}: {head}", (Bullets(tuple(rows)), *rest), colour)  # type: ignore[arg-type]  # one of two literals


class Notifier:
    """Follows one product for one ``[notifications.NAME]``."""

    def __init__(
        self,
        name: str,
        title: str,
        source: NewsSource,
        handler: Any,
        place: Place,
        events: Sequence[str],
        seconds: float,
        *,
        store: Store,
        clock: Clock,
        surfaces: Mapping[str, Surface],
        changed: Signal,
        repository: RepositoryEvents | None = None,
    ) -> None:
        self.name = name
        self.title = title
        self.source = source
        self.handler = handler
        self.place = place
        self.events = tuple(events)
        self.seconds = seconds
        self.store = store
        self.clock = clock
        self.surfaces = surfaces
        self.changed = changed
        self.repository = repository
        self.trouble = ""
        self._marks: dict[str, str] | None = None  # as they are in the database

    async def run(self) -> None:
        while True:
            heard = self.repository.heard if self.repository else 0
            try:
                await self.look()
                self.trouble = ""
            except Unavailable as error:
                self.trouble = error.message
            except (sa.exc.SQLAlchemyError, OSError) as error:
                self.trouble = tables.reason(error)
                self._marks = None  # whether it was written is not known
                log.error("news cannot be stored", name=self.name, reason=self.trouble)
            except Exception as error:
                self.trouble = str(error) or type(error).__name__
                self._marks = None
                log.exception("news cannot be read", name=self.name)
            if self.repository is None:
                await self.clock.sleep(self.seconds)
            else:  # GitHub has told something meanwhile: look now
                await first_of(self.clock.sleep(self.seconds), self.repository.another(heard))

    async def problems(self) -> list[str]:
        return [f"The notifications {self.name} cannot be read: {self.trouble}"] if self.trouble else []

    async def look(self) -> int:
        """Tell what is new; how many events there were."""
        if self._marks is None:
            rows = await self.store.rows(sa.select(tables.marks).where(tables.marks.c.name == self.name))
            self._marks = {row.source: row.mark for row in rows}
        begun = BEGUN in self._marks
        seen = await self.source.look(self.handler, self._marks, begun, self.events)
        changed = dict(seen.marks) if begun else {BEGUN: self.clock.now().isoformat(), **seen.marks}
        if not changed:
            return 0
        surface = self.surfaces.get(self.place.surface)
        async with self.store.write() as connection:
            names = list(changed)
            for start in range(0, len(names), 500):
                part = names[start : start + 500]
                await connection.execute(
                    tables.marks.delete().where(tables.marks.c.name == self.name, tables.marks.c.source.in_(part))
                )
                rows_of_part = [{"name": self.name, "source": each, "mark": changed[each]} for each in part]
                await connection.execute(tables.marks.insert(), rows_of_part)
            if seen.items and surface is not None:
                digest = hashlib.blake2b(dumps(changed).encode(), digest_size=12).hexdigest()
                await connection.execute(
                    self.store.insert_new(tables.outbox).values(
                        key=f"news:{self.name}:{digest}",
                        kind="news",
                        surface=self.place.surface,
                        channel=self.place.channel,
                        thread=self.place.thread,
                        body=dumps(surface.draw(news_message(self.title, seen.items))),
                        created_at=self.clock.now(),
                    )
                )
        self._marks |= changed
        self.changed.set()
        return len(seen.items)
