"""``project-57 dead letters is critical``: a critical crossing pages somebody, and goes on until it is acknowledged.

An alarm is a run: of one step that a person does, on what crossed its limit. So it has a card, it is paged, repeated,
acknowledged and recorded like everything else that needs somebody. However many reports tell one crossing, and however
often, it raises one alarm; only when the level has been left, and is reached anew, there is another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import Clock
from bot.commands.registry import StartRun
from bot.handler import Target
from bot.incoming import Actor, Incoming
from bot.reports.model import Crossing, Reading
from bot.reports.runner import Report
from bot.runbooks.model import Runbook, Step
from bot.runs.model import Press, Verb
from bot.runs.start import RunStarter
from bot.settings import Settings
from bot.store import Store

ID = "threshold"
KEY = "alarm"
ACTOR = "opsbot:reports"
MOST_NAMED = 10


class Alarms:
    """Starts the runs of alarms."""

    def __init__(self, store: Store, clock: Clock, starter: RunStarter, settings: Settings) -> None:
        self.store = store
        self.clock = clock
        self.starter = starter
        self.settings = settings

    async def close_ended(self, press: Callable[[str, Press, str], Awaitable[None]]) -> None:
        """Close the alarms of which every level has been left. Safe to repeat, so that a crash leaves none open."""
        alarms, runs = tables.alarms, tables.runs
        rows = await self.store.rows(
            sa.select(runs.c.id, runs.c.key).where(
                runs.c.open,
                runs.c.key.startswith(f"{KEY}:"),
                ~sa.exists().where(alarms.c.run_id == runs.c.id),
            )
        )
        verbs: tuple[Verb, ...] = ("ack", "done")
        for row in rows:
            for verb in verbs:
                ended = Press(at=self.clock.now(), verb=verb, actor=ACTOR, reason="every level is below critical again")
                await press(row.id, ended, f"{row.key}:{verb}")

    async def raise_alarm(
        self, connection: AsyncConnection, report: Report, crossings: Sequence[Crossing], reading: Reading, key: str
    ) -> None:
        """One alarm for the crossings that nobody was called about yet, in the transaction of their report."""
        new = []
        for each in crossings:
            taken = await connection.execute(
                self.store.insert_new(tables.alarms)
                .values(product=report.product.name, key=each.key, run_id="", at=reading.at)
                .returning(tables.alarms.c.key)
            )
            if taken.first() is not None:
                new.append(each)
        if not new:
            return
        incoming = Incoming(
            key=f"{KEY}:{key}",
            actor=Actor(surface="opsbot", id="reports"),
            place=report.place,
            text=f"/{report.product.name} report",
            received_at=reading.at,
        )
        plan = self.starter.plan(alarm_request(report, new), incoming)
        plan = plan.model_copy(update={"alarm": alarm_text(report, new)})
        await self.starter.store_run(connection, plan, incoming)
        for each in new:
            await connection.execute(
                tables.alarms.update()
                .where(tables.alarms.c.product == report.product.name, tables.alarms.c.key == each.key)
                .values(run_id=plan.run_id)
            )


def alarm_text(report: Report, crossings: Sequence[Crossing]) -> str:
    """``project-57 dead letters is critical: 12 open``: the reason of the page."""
    titles = {metric.name: metric.title.lower() for metric in report.source.metrics}
    named = [
        f"{each.subject} {titles.get(each.metric, each.metric)} is critical: {each.shown}"
        for each in crossings[:MOST_NAMED]
    ]
    if len(crossings) > MOST_NAMED:
        named.append(f"and {len(crossings) - MOST_NAMED} more")
    return "; ".join(named)


def alarm_request(report: Report, crossings: Sequence[Crossing]) -> StartRun:
    """A run of one manual step, which names the command that starts the runbook that fits."""
    first = crossings[0]
    remedies = list(dict.fromkeys(each.remedy for each in crossings if each.remedy))
    todo = " or ".join(f"`{remedy}`" for remedy in remedies[:3])
    text = "Look at it, and say how it went" if not todo else f"Look at it: {todo}; then say how it went"
    subject = first.subject if len({each.subject for each in crossings}) == 1 else f"{len(crossings)} crossings"
    book = Runbook(
        id=ID,
        title=f"{report.product.title} is over a critical limit",
        product=report.product.name,
        target_kind="subject",
        severity="critical",
        steps=(Step(number="1", text=text),),  # no budget: whoever has acknowledged it is at work
    )
    return StartRun(
        runbook=book,
        target=Target(product=report.product.name, kind="subject", name=subject),
        reason=alarm_text(report, crossings),
        changes=False,
    )
