"""``/somas report``, ``/somas report list``, ``/somas silence dead-letters project-57 4h being repaired``.

Every product that is measured has these commands; ``add_report_commands`` puts them into its group.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.clock import Clock
from bot.commands.nearest import nearest
from bot.commands.registry import Answer, Change, CommandContext, CommandGroup, Metavar, Offered, Reply
from bot.errors import UserError
from bot.handler import Danger
from bot.messages import Block, Bullets, Button, Buttons, Heading, Message, Note, Table, When, line, message
from bot.reports.model import Silence
from bot.reports.runner import Report, ReportRunner
from bot.reports.schedule import next_tick
from bot.reports.text import silence_line
from bot.runs.perform import Connected
from bot.settings import ReportSettings
from bot.surfaces.dry_run import simple_message
from bot.surfaces.step_text import Name
from bot.words import counted, duration

LONGEST = timedelta(days=30)
NOT_SCHEDULED = ReportSettings(product="none", cron="0 0 1 1 *", channel="C0")


class ReportDesk:
    """What the commands work with: the reports of one product."""

    def __init__(self, runner: ReportRunner, product: str, clock: Clock, name: Name, measured: Report) -> None:
        self.runner = runner
        self.product = product
        self.clock = clock
        self.name = name
        self.measured = measured  # stands for the product when no report of it is scheduled

    @property
    def reports(self) -> list[Report]:
        return [each for each in self.runner.reports.values() if each.product.name == self.product]

    def named(self, name: str | None) -> Report:
        """Raises ``UserError`` for a report that is not configured, or when it has to be said which is meant."""
        names = [each.name for each in self.reports]
        if name is None and len(names) == 1:
            return self.reports[0]
        if name is None or name not in names:
            if not names:
                raise UserError(
                    f"No report of {self.product} is scheduled. Add a section [reports.NAME] to opsbot.toml.",
                    suggestions=(f"/{self.product} report",),
                )
            asked = f'There is no report "{name}"' if name else "Say which report"
            close = nearest(name, tuple(names)) if name else tuple(names[:3])
            raise UserError(
                f"{asked}. Reports of {self.product}: {', '.join(names)}.",
                suggestions=tuple(f"/{self.product} report preview {each}" for each in close),
            )
        return next(each for each in self.reports if each.name == name)

    async def silence(self, connection: AsyncConnection, silence: Silence, key: str) -> None:
        """In the caller's transaction."""
        await connection.execute(self.runner.store.insert_new(tables.silences).values(key=key, **silence.model_dump()))

    async def end_silence(self, connection: AsyncConnection, metric: str, subject: str) -> None:
        """In the caller's transaction."""
        now = self.clock.now()
        silences = tables.silences
        await connection.execute(
            silences.update()
            .where(
                silences.c.product == self.product,
                silences.c.metric == metric,
                silences.c.subject == subject,
                silences.c.until > now,
            )
            .values(until=now)
        )

    async def subjects(self) -> tuple[str, ...]:
        """What has a level: the subjects that were measured last."""
        rows = await self.runner.store.rows(
            sa.select(tables.standings.c.key).where(tables.standings.c.product == self.product)
        )
        known = {row.key.partition(":")[2] for row in rows}
        if not known:
            reading = await self.runner.measure(self.measured)
            known = {each.subject for each in reading.measured}
        return tuple(sorted(known))


def report_desks(
    runner: ReportRunner, connected: Mapping[str, Connected], clock: Clock, name: Name
) -> dict[str, ReportDesk]:
    """By product, for those that are measured."""
    return {
        product: ReportDesk(runner, product, clock, name, Report("", NOT_SCHEDULED, each, ""))
        for product, each in connected.items()
        if each.product.report is not None
    }


def add_report_commands(group: CommandGroup) -> None:
    """``report``, ``silence`` and ``unsilence`` for a product that has a ``ReportSource``."""
    root = group.root

    @group.command(
        danger=Danger.READ,
        examples=(f"/{root} report", f"/{root} report list", f"/{root} report preview daily"),
    )
    async def report(
        context: CommandContext, what: Literal["now", "list", "preview"] = "now", name: str | None = None
    ) -> Reply:
        """Show the thresholds as they are now, the scheduled reports, or what one of them would say.

        Parameters
        ----------
        what
            now: the levels of this moment, for everybody here. list: what is scheduled, and what is silenced. preview:
            what a scheduled report would say now; nobody else sees it and nothing is remembered.
        name
            The report to preview.
        """
        desk = _desk(context)
        match what:
            case "now":
                if name is not None:
                    raise UserError(
                        f"now takes no name. To see what {name} would say: /{root} report preview {name}",
                        suggestions=(f"/{root} report preview {name}",),
                    )
                return Answer(await desk.runner.current(desk.measured))
            case "list":
                return Answer(await _list(desk, context.clock.now()))
            case "preview":
                return Answer(await desk.runner.preview(desk.named(name)), private=True)

    @group.command(
        danger=Danger.CHANGE,
        starts_run=False,
        examples=(_silence_example(root), f"/{root} silence * * 2h planned maintenance"),
    )
    async def silence(
        context: CommandContext,
        metric: Annotated[str, Offered("metric")],
        subject: Annotated[str, Offered("subject")],
        time: Annotated[timedelta, Metavar("time")],
        *reason: Annotated[str, Metavar("reason")],
    ) -> Reply:
        """Keep reports from telling, and from paging about, changes of one metric for a while.

        Parameters
        ----------
        metric
            As the report names it; * for all of them.
        subject
            What is measured, such as a project; * for all of them.
        time
            For how long: 30m, 4h, 2d. At most 30 days. What is still true afterwards is told then.
        reason
            Why; everybody reads it in the reports.
        """
        desk = _desk(context)
        if not reason:
            raise UserError("Say why, so that the others know. " + f"For example: {_silence_example(root)}")
        if not timedelta() < time <= LONGEST:
            raise UserError(f"A silence lasts at most {duration(LONGEST)}; this would be {duration(time)}.")
        now = context.clock.now()
        made = Silence(
            product=desk.product,
            metric=_metric(desk, metric),
            subject=await _subject(desk, metric, subject, " ".join(reason), root),
            until=now + time,
            by=str(context.actor),
            reason=" ".join(reason),
            since=now,
        )
        undo = Buttons((Button("End the silence", f"/{root} unsilence {made.metric} {made.subject}"),))

        async def store(connection: AsyncConnection) -> Answer:
            await desk.silence(connection, made, context.key)
            return Answer(message(Bullets((silence_line(made, desk.name),)), undo))

        return Change(simple_message(f"silence {made.metric} of {made.subject} for {duration(time)}"), store=store)

    @group.command(danger=Danger.CHANGE, starts_run=False, examples=(f"/{root} unsilence * *",))
    async def unsilence(
        context: CommandContext,
        metric: Annotated[str, Offered("silenced metric")],
        subject: Annotated[str, Offered("silenced subject")],
    ) -> Reply:
        """End a silence before its time.

        Parameters
        ----------
        metric
            As it was silenced.
        subject
            As it was silenced.
        """
        desk = _desk(context)
        silences = await desk.runner.silences(desk.product)
        if not any((each.metric, each.subject) == (metric, subject) for each in silences):
            now = [f"/{root} unsilence {each.metric} {each.subject}" for each in silences]
            raise UserError(f"Nothing silences {metric} of {subject}.", suggestions=tuple(now[:3]))

        async def store(connection: AsyncConnection) -> Answer:
            await desk.end_silence(connection, metric, subject)
            return Answer(message(f"{desk.name(str(context.actor))} ended the silence of {metric} of {subject}."))

        return Change(simple_message(f"end the silence of {metric} of {subject}"), store=store)


def _silence_example(root: str) -> str:
    if root == "somas":
        return "/somas silence dead-letters project-57 4h the provider limits us until noon"
    return f"/{root} silence * * 4h known and being repaired"


def _desk(context: CommandContext) -> ReportDesk:
    if not isinstance(context.reports, ReportDesk):
        raise UserError("Nothing is measured here.")
    return context.reports


def _metric(desk: ReportDesk, typed: str) -> str:
    metrics = tuple(metric.name for metric in desk.measured.source.metrics)
    if typed == "*" or typed in metrics:
        return typed
    raise UserError(f'There is no metric "{typed}". Metrics: {", ".join(metrics)}, or * for all of them.')


async def _subject(desk: ReportDesk, metric: str, typed: str, reason: str, root: str) -> str:
    known = await desk.subjects()
    if typed == "*" or typed in known:
        return typed
    whole = [each for each in known if each.endswith((f"-{typed}", f"/{typed}"))]
    if len(whole) == 1:
        return whole[0]
    close = whole or nearest(typed, known)
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    hint = f" Did you mean {' or '.join(close)}?" if close else f" Measured are {', '.join(known[:8])}{more}."
    raise UserError(
        f'Nothing called "{typed}" is measured.{hint}',
        suggestions=tuple(f"/{root} silence {metric} {each} 4h {reason}" for each in close[:3]),
    )


async def _list(desk: ReportDesk, now: datetime) -> Message:
    """What is scheduled, when it comes next and where; what is silenced."""
    rows = []
    for each in desk.reports:
        upcoming = next_tick(each.trigger, now)
        where = each.settings.channel or f"issue #{each.settings.issue}"
        rest = [
            *(["digest"] if each.settings.digest else []),
            *([f"quiet {each.settings.quiet}"] if each.settings.quiet else []),
            *([] if each.settings.escalate else ["pages nobody"]),
        ]
        soon = f"in {duration(upcoming - now)}" if upcoming else "never"
        rows.append((each.name, f"{each.settings.cron} {each.settings.timezone}", soon, where, ", ".join(rest)))
    silences = await desk.runner.silences(desk.product)
    if not rows:
        head = f"No report of {desk.product} is scheduled"
        return message(
            Heading(head), Note(line("Add a section [reports.NAME] to opsbot.toml; docs/reports.md says how."))
        )
    head = f"{counted(len(rows), 'report')} of {desk.product}"
    blocks: list[Block] = [
        Heading(head),
        Table(("Report", "When", "Next", "Where", ""), tuple(rows)),
        Bullets(tuple(silence_line(each, desk.name) for each in silences[:10]))
        if silences
        else Note(line("Nothing is silenced.")),
        Note(line("Now: ", When(now, "date_time"), ".")),
    ]
    return Message(head, tuple(blocks))
