"""Makes the reports that are due: measures, decides what is new, and stores it together with what has to be said.

A tick is dealt with in one transaction that begins by writing down its key: whoever comes second, another replica or
the same bot after a crash, finds the key and does nothing. Before that transaction nothing is stored, so that a tick
that was cut off is simply made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog
from apscheduler.triggers.cron import CronTrigger
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import Clock, Signal
from bot.errors import Unavailable, UserError
from bot.incoming import Place
from bot.messages import Message, Picture
from bot.reports import text
from bot.reports.chart import Counts, alt_text, picture
from bot.reports.crossings import QuietHours, crossings, standings, tell
from bot.reports.model import Crossing, Measured, Memory, Metric, Reading, ReportSource, Silence, Standing
from bot.reports.schedule import due, next_tick, trigger
from bot.runs.perform import Connected
from bot.settings import ReportSettings
from bot.store import Store, dumps
from bot.surfaces.port import Surface
from bot.surfaces.step_text import Name

log = structlog.get_logger("opsbot.reports")

TREND = timedelta(days=7)
MOST_MOMENTS = 200  # of a trend; more cannot be told apart on a phone
READING = Metric(name="reading", title="Measuring", limits="when nothing can be read", beside=True)

Alarm = Callable[[AsyncConnection, "Report", Sequence[Crossing], Reading, str], Awaitable[None]]
"""Raises the alarm about critical crossings, in the transaction of their report; ``str`` is the key of the tick."""


class Report:
    """One ``[reports.NAME]``, ready to run."""

    def __init__(self, name: str, settings: ReportSettings, connected: Connected, repository: str) -> None:
        source = connected.product.report
        if source is None:
            raise UserError(f"reports.{name}.product: {settings.product} has nothing to report")
        self.name = name
        self.settings = settings
        self.product = connected.product
        self.source: ReportSource = source
        self.handler = connected.handler
        self.trigger: CronTrigger = trigger(settings.cron, settings.timezone)
        self.place = (
            Place(surface="slack", channel=settings.channel)
            if settings.channel
            else Place(surface="github", channel=repository, thread=str(settings.issue))
        )
        self.quiet: QuietHours | None = settings.quiet_hours


class ReportRunner:
    """Every report of the configuration, each on its own schedule."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        reports: Sequence[Report],
        surfaces: Mapping[str, Surface],
        changed: Signal,
        name: Name,
        alarm: Alarm,
        keep: timedelta,
        afterwards: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.reports = {report.name: report for report in reports}
        self.surfaces = surfaces
        self.changed = changed
        self.name = name
        self.alarm = alarm
        self.keep = keep
        self.afterwards = afterwards  # of every report: closes the alarms that have ended
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: dict[str, str] = {}

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(report), name=f"opsbot report {report.name}")
            for report in self.reports.values()
        ]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def problems(self) -> list[str]:
        """Reports that were due and could not be made."""
        return [f"The report {name} could not be made: {reason}" for name, reason in self._failing.items()]

    # -- time

    async def _run(self, report: Report) -> None:
        while True:
            try:
                last = await self._last_tick(report)
                now = self.clock.now()
                found = due(report.trigger, last, now)
                if found and found.skip:
                    log.warning("a report is left out", report=report.name, tick=found.tick.isoformat())
                    await self._skip(report, found.tick)
                elif found:
                    await self.tick(report, found.tick, missed=found.missed)
                self._failing.pop(report.name, None)
                upcoming = next_tick(report.trigger, max(last, found.tick) if found else last)
                wait = (upcoming - self.clock.now()).total_seconds() if upcoming else 3600.0
            except (sa.exc.SQLAlchemyError, OSError) as error:
                self._failing[report.name] = tables.reason(error)
                log.error("a report has to wait", report=report.name, reason=tables.reason(error))
                wait = 10.0
            except Exception as error:
                self._failing[report.name] = str(error) or type(error).__name__
                log.exception("a report failed", report=report.name)
                wait = 60.0
            # Not longer than a minute at once: the machine's clock may be set.
            await self.clock.sleep(min(max(wait, 0.05), 60.0))

    async def _last_tick(self, report: Report) -> datetime:
        """Where the schedule stands; a report that is new begins now, and makes up for nothing."""
        now = self.clock.now()
        async with self.store.write() as connection:
            await connection.execute(
                self.store.insert_new(tables.reports).values(
                    name=report.name, last_tick=now, memory=Memory().model_dump_json()
                )
            )
            found = await connection.scalar(
                sa.select(tables.reports.c.last_tick).where(tables.reports.c.name == report.name)
            )
        return found if isinstance(found, datetime) else now

    async def _skip(self, report: Report, tick: datetime) -> None:
        async with self.store.write() as connection:
            await connection.execute(
                tables.reports.update().where(tables.reports.c.name == report.name).values(last_tick=tick)
            )

    # -- one report

    async def tick(self, report: Report, tick: datetime, *, missed: int = 0) -> bool:
        """Make the report that was due at ``tick``; False when somebody else has made it."""
        key = f"report:{report.name}:{tick.isoformat()}"
        if await self.store.rows(sa.select(tables.report_ticks.c.key).where(tables.report_ticks.c.key == key)):
            await self._skip(report, tick)
            return False
        reading = await self.measure(report)
        image = await self._picture(report, reading) if report.settings.chart else None
        now = self.clock.now()
        late = tick if now - tick > timedelta(minutes=2) else None

        async def work(connection: AsyncConnection) -> bool:
            """All of it in the thread that writes: of thousands of projects it computes for a while."""
            first = await connection.execute(
                self.store.insert_new(tables.report_ticks)
                .values(key=key, done_at=now)
                .returning(tables.report_ticks.c.key)
            )
            if first.first() is None:
                return False
            memory = await self._memory(connection, report)
            silences = await self.silences(report.product.name, connection)
            told = tell(memory, reading, silences, report.quiet, digest=report.settings.digest)
            known = await self._keep(connection, report, reading)
            message = self._message(
                report, reading, told.crossings, told.memory, known, silences, missed=missed, late_for=late
            )
            await self._say(connection, report, key, message, image, edit=not told.notify)
            remembered = told.memory.model_copy(update={"message": key if told.notify else told.memory.message})
            await connection.execute(
                tables.reports.update()
                .where(tables.reports.c.name == report.name)
                .values(last_tick=tick, memory=remembered.model_dump_json())
            )
            worse = [each for each in told.crossings if each.after == "critical" and each.worse]
            if worse and report.settings.escalate:
                await self.alarm(connection, report, worse, reading, key)
            return True

        if not await self.store.transaction(work):
            return False
        self.changed.set()
        if self.afterwards is not None:
            await self.afterwards()
        return True

    async def measure(self, report: Report) -> Reading:
        """The product as it is now. One that cannot be read at all is a finding, and changes no other level."""
        now = self.clock.now()
        try:
            reading = await report.source.measure(report.handler, now)
        except (Unavailable, UserError) as error:
            gone = Measured(metric="reading", subject=report.product.title, level="warning", shown=error.message)
            return Reading(at=now, measured=(gone,), unread=(error.message,), whole=False, source="nothing was read")
        fine = Measured(metric="reading", subject=report.product.title, level="ok", shown="can be read")
        return reading.model_copy(update={"measured": (*reading.measured, fine)})

    async def preview(self, report: Report) -> Message:
        """What the report would say now; nothing is remembered and nobody is notified."""
        reading = await self.measure(report)
        async with self.store.read() as connection:
            memory = await self._memory(connection, report)
            silences = await self.silences(report.product.name, connection)
            before = await self._standings(connection, report.product.name)

        def said() -> Message:
            told = tell(memory, reading, silences, report.quiet, digest=report.settings.digest)
            known = standings(before, reading)
            return self._message(report, reading, told.crossings, told.memory, known, silences)

        return await asyncio.to_thread(said)

    async def current(self, report: Report) -> Message:
        """``/somas report``: the levels as they are, without a word on what any report has told before."""
        reading = await self.measure(report)
        async with self.store.read() as connection:
            silences = await self.silences(report.product.name, connection)
            before = await self._standings(connection, report.product.name)
        known = await asyncio.to_thread(standings, before, reading)
        message = await asyncio.to_thread(self._message, report, reading, (), Memory(), known, silences)
        image = await self._picture(report, reading)
        return message if image is None else Message(message.summary, (*message.blocks, image), message.colour)

    def _message(
        self,
        report: Report,
        reading: Reading,
        told: Sequence[Crossing],
        memory: Memory,
        known: Mapping[str, Standing],
        silences: Sequence[Silence],
        *,
        missed: int = 0,
        late_for: datetime | None = None,
    ) -> Message:
        return text.report_message(
            report.product.title,
            (*report.source.metrics, READING),
            reading,
            told,
            memory,
            known,
            silences=silences,
            missed=missed,
            late_for=late_for,
            name=self.name,
        )

    # -- what is remembered

    async def _memory(self, connection: AsyncConnection, report: Report) -> Memory:
        found = await connection.scalar(sa.select(tables.reports.c.memory).where(tables.reports.c.name == report.name))
        return Memory.model_validate_json(found) if found else Memory()

    async def _standings(self, connection: AsyncConnection, product: str) -> dict[str, Standing]:
        rows = await connection.execute(sa.select(tables.standings).where(tables.standings.c.product == product))
        return {row.key: Standing(level=row.level, since=row.since, shown=row.shown) for row in rows}

    async def _keep(self, connection: AsyncConnection, report: Report, reading: Reading) -> dict[str, Standing]:
        """Write the levels of this reading into the history; since when each has stood."""
        product = report.product.name
        before = await self._standings(connection, product)
        after = standings(before, reading)
        changes = crossings(before, reading)
        if changes:
            await connection.execute(
                tables.levels.insert(),
                [
                    {
                        "product": product,
                        "metric": each.metric,
                        "subject": each.subject,
                        "level": each.after,
                        "shown": each.shown,
                        "at": reading.at,
                    }
                    for each in changes
                ],
            )
        changed = [key for key in after if after[key] != before.get(key)]
        gone = [key for key in before if key not in after]
        for keys in (changed, gone):
            for start in range(0, len(keys), 500):
                await connection.execute(
                    tables.standings.delete().where(
                        tables.standings.c.product == product, tables.standings.c.key.in_(keys[start : start + 500])
                    )
                )
        if changed:
            await connection.execute(
                tables.standings.insert(), [{"product": product, "key": key, **dict(after[key])} for key in changed]
            )
        counted = text.counts(report.source.metrics, reading)
        await connection.execute(
            self.store.insert_new(tables.level_counts).values(
                product=product,
                at=reading.at,
                critical=counted.critical,
                warning=counted.warning,
                ok=counted.ok,
            )
        )
        critical = {key for key, standing in after.items() if standing.level == "critical"}
        known = await connection.execute(sa.select(tables.alarms.c.key).where(tables.alarms.c.product == product))
        ended = [row.key for row in known if row.key not in critical]
        if ended:  # the next time that it becomes critical is another alarm
            await connection.execute(
                tables.alarms.delete().where(tables.alarms.c.product == product, tables.alarms.c.key.in_(ended))
            )
        return after

    async def silences(self, product: str, connection: AsyncConnection | None = None) -> list[Silence]:
        """Those of the product that have not ended."""
        query = (
            sa.select(tables.silences)
            .where(tables.silences.c.product == product, tables.silences.c.until > self.clock.now())
            .order_by(tables.silences.c.until)
        )
        rows = (await connection.execute(query)).all() if connection else await self.store.rows(query)
        return [Silence.model_validate(dict(row._mapping)) for row in rows]

    async def trend(self, product: str) -> list[Counts]:
        counts = tables.level_counts
        rows = await self.store.rows(
            sa.select(counts)
            .where(counts.c.product == product, counts.c.at > self.clock.now() - TREND)
            .order_by(counts.c.at.desc())
            .limit(MOST_MOMENTS)
        )
        return [Counts.model_validate(dict(row._mapping)) for row in reversed(rows)]

    async def forget_old(self) -> None:
        """Delete the history that is older than the configuration keeps."""
        before = self.clock.now() - self.keep
        async with self.store.write() as connection:
            for table, column in (
                (tables.levels, tables.levels.c.at),
                (tables.level_counts, tables.level_counts.c.at),
                (tables.report_ticks, tables.report_ticks.c.done_at),
                (tables.silences, tables.silences.c.until),
            ):
                await connection.execute(table.delete().where(column < before))

    # -- saying it

    async def _picture(self, report: Report, reading: Reading) -> Picture | None:
        trend = [*await self.trend(report.product.name), text.counts(report.source.metrics, reading)]
        data = text.chart_data(report.product.title, report.source.metrics, reading, trend)
        drawn = await picture(data)
        return Picture(drawn, alt_text(data), f"{report.product.name}-levels.png") if drawn else None

    async def _say(
        self,
        connection: AsyncConnection,
        report: Report,
        key: str,
        message: Message,
        image: Picture | None,
        *,
        edit: bool,
    ) -> None:
        surface = self.surfaces.get(report.place.surface)
        if surface is None:
            return
        if image is not None:
            message = Message(message.summary, (*message.blocks, image), message.colour)
        await connection.execute(
            self.store.insert_new(tables.outbox).values(
                key=key,
                kind="report",
                surface=report.place.surface,
                channel=report.place.channel,
                thread=report.place.thread,
                body=dumps(surface.draw(message)),
                address=dumps({"report": report.name, "edit": edit}),
                created_at=self.clock.now(),
            )
        )
