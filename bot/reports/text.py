"""What a report looks like: a headline that says what changed, the crossings, the table, the small print.

Pure builders, drawn for Slack and for GitHub alike. A picture is added by the surface that can show one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    Fields,
    Heading,
    Line,
    Message,
    Note,
    Paragraph,
    Table,
    Text,
    When,
    line,
)
from bot.reports.chart import Bar, ChartData, Counts
from bot.reports.model import RANK, Crossing, Level, Measured, Memory, Metric, Reading, Silence, Standing
from bot.words import counted, duration

MOST_CROSSINGS = 12
MOST_ROWS = 15
MOST_BUTTONS = 3
MOST_NAMED = 8
BRIEF = 60  # characters of what is beside
MINUTE = timedelta(minutes=1)
MOST_BARS = 8
LONGEST_LABEL = 28  # characters beside a bar

Name = Callable[[str], str]
Colour = Literal["good", "warning", "bad"]


def counts(metrics: Sequence[Metric], reading: Reading) -> Counts:
    """How many subjects have each level; a subject has the worst of its levels."""
    worst: dict[str, Level | None] = {}
    beside = {metric.name for metric in metrics if metric.beside}
    for each in reading.measured:
        if each.metric in beside:
            continue
        worst[each.subject] = max(worst.get(each.subject), each.level, key=lambda level: RANK[level])
    levels = list(worst.values())
    known_bad = sum(levels.count(level) for level in ("critical", "warning", None))
    ok = len(reading.subjects | worst.keys()) - known_bad
    return Counts(at=reading.at, critical=levels.count("critical"), warning=levels.count("warning"), ok=ok)


def headline(
    title: str, metrics: Sequence[Metric], reading: Reading, crossings: Sequence[Crossing], memory: Memory
) -> str:
    """``SOMAS: 2 new critical, 1 better``, or what is still true."""
    critical = sum(each.after == "critical" and each.worse for each in crossings)
    warning = sum(each.after == "warning" and each.worse for each in crossings)
    better = sum(not each.worse for each in crossings)
    parts = [
        *([f"{critical} newly critical"] if critical else []),
        *([f"{counted(warning, 'new warning')}"] if warning else []),
        *([f"{better} better"] if better else []),
    ]
    if parts:
        return f"{title}: {', '.join(parts)}"
    if not reading.measured:
        return f"{title}: nothing could be measured"
    now = counts(metrics, reading)
    if now.critical or now.warning:
        state = ", ".join(
            [
                *([f"{now.critical} critical"] if now.critical else []),
                *([f"{now.warning} warning"] if now.warning else []),
            ]
        )
        return f"{title}: {state}, as before" if memory.message else f"{title}: {state}"
    return f"{title}: all is within its limits"


def report_message(
    title: str,
    metrics: Sequence[Metric],
    reading: Reading,
    crossings: Sequence[Crossing],
    memory: Memory,
    known: Mapping[str, Standing],
    *,
    silences: Sequence[Silence] = (),
    missed: int = 0,
    late_for: datetime | None = None,
    name: Name = str,
) -> Message:
    """A whole report. ``known`` says since when each level has stood; ``late_for`` is the tick that was missed."""
    titles = {metric.name: metric for metric in metrics}
    head = headline(title, metrics, reading, crossings, memory)
    blocks: list[Block] = [Heading(head)]
    told = {each.key for each in crossings} if memory.message else set()
    if told:
        crossings = sorted(crossings, key=lambda each: (-RANK[each.after], _is_beside(each.metric, titles)))
        blocks.append(Bullets(tuple(_crossing(each, titles, reading.at) for each in crossings[:MOST_CROSSINGS])))
        if len(crossings) > MOST_CROSSINGS:
            blocks.append(Note(line(f"and {len(crossings) - MOST_CROSSINGS} more changes.")))
    elif memory.repeats:
        since = memory.first_told_at or reading.at
        times = f"Still true, {_ordinal(memory.repeats + 1)} time"
        blocks.append(Paragraph(line(f"{times}; nothing has changed since ", When(since, "date_time"), ".")))
    blocks += _remedies(crossings)
    blocks += [Paragraph(line(Bold("Could not be read: "), text)) for text in reading.unread[:3]]
    over = [each for each in reading.measured if each.level in ("warning", "critical")]
    standing = [each for each in over if each.key not in told]
    if told and standing:
        blocks.append(Paragraph(line(Bold("As before"))))
    for level in ("critical", "warning"):
        rows = [each for each in standing if each.level == level and not _is_beside(each.metric, titles)]
        if rows:
            cells = tuple(_row(each, titles, known, reading.at) for each in rows[:MOST_ROWS])
            blocks.append(Table((level.capitalize(), "", "Now", "Since"), cells))
        if len(rows) > MOST_ROWS:
            blocks.append(Note(line(f"and {len(rows) - MOST_ROWS} more.")))
    beside = [each for each in standing if _is_beside(each.metric, titles)]
    if beside:
        blocks.append(Bullets(tuple(_besides(beside, titles))))
    if reading.facts:
        blocks.append(Fields(tuple((label, line(text)) for label, text in reading.facts)))
    hushed = [each for each in silences if each.until > reading.at]
    if hushed:
        blocks.append(Bullets(tuple(silence_line(each, name) for each in hushed[:5])))
    if late_for is not None:
        blocks.append(Note(line("Late: this was due at ", When(late_for, "date_time"), ".")))
    if missed:
        blocks.append(Note(line(f"{counted(missed, 'earlier report')} could not be made and will not be.")))
    if not memory.message:
        used = {each.metric for each in over} or set(titles)
        limits = "; ".join(f"{titles[each].title.lower()} {titles[each].limits}" for each in titles if each in used)
        blocks.append(Note(line(f"Limits, warning / critical: {limits}.")))
    blocks.append(Note(line("Measured at ", When(reading.at, "date_time"), f", {reading.source}.")))
    colour: Colour = (
        "bad" if any(each.level == "critical" for each in over) else "warning" if over or reading.unread else "good"
    )
    said = "; ".join(_plain(each, titles) for each in crossings[:3])
    return Message(f"{head}. {said}" if said else head, tuple(blocks), colour)


def _crossing(each: Crossing, titles: Mapping[str, Metric], now: datetime) -> Line:
    if each.after is None:
        change = f"is gone; it was {each.before}"
    elif each.before is None:
        change = f"is now {each.after}"
    else:
        change = f"{each.before} → {each.after}"
    after = ""
    if each.before in ("warning", "critical") and now > each.since:
        after = f", after {duration(now - each.since)}"
    what = _title(each.metric, titles)
    shown = f" ({each.shown})" if each.after and each.shown else ""
    return line(Bold(each.subject), f" {what}: {change}{after}{shown}")


def _plain(each: Crossing, titles: Mapping[str, Metric]) -> str:
    return f"{each.subject} {_title(each.metric, titles)} {each.after or 'gone'}"


def _is_beside(metric: str, titles: Mapping[str, Metric]) -> bool:
    return metric not in titles or titles[metric].beside


def _title(metric: str, titles: Mapping[str, Metric]) -> str:
    found = titles.get(metric)
    return found.title.lower() if found else metric


def _remedies(crossings: Sequence[Crossing]) -> list[Block]:
    buttons: dict[str, Button] = {}
    for each in crossings:
        if each.worse and each.remedy:
            label = f"{each.remedy_title or 'Look at it'}: {each.subject}"[:75]
            buttons.setdefault(each.remedy, Button(label, each.remedy, "primary" if not buttons else "default"))
    return [Buttons(tuple(buttons.values())[:MOST_BUTTONS])] if buttons else []


def _row(
    each: Measured, titles: Mapping[str, Metric], known: Mapping[str, Standing], now: datetime
) -> tuple[str, str, str, str]:
    standing = known.get(each.key)
    age = now - standing.since if standing else timedelta()
    metric = titles.get(each.metric)
    what = (metric.short if metric else "") or _title(each.metric, titles)
    return each.subject, what, each.shown, duration(age - age % timedelta(minutes=1)) if age >= MINUTE else "new"


def _besides(measured: Sequence[Measured], titles: Mapping[str, Metric]) -> Iterator[Line]:
    """What does not count as a level, a line for each metric: the stuck stages, the damaged files, the alerts."""
    for metric in dict.fromkeys(each.metric for each in measured):
        of_it = [each for each in measured if each.metric == metric]
        named = [f"{each.subject} ({brief(each.shown, BRIEF)})" if len(of_it) <= 3 else each.subject for each in of_it]
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        yield line(Bold(_title(metric, titles).capitalize()), f": {', '.join(named[:MOST_NAMED])}{more}")


def brief(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def silence_line(each: Silence, name: Name) -> Line:
    """``dead-letters of project-57 silenced by alice until 16:00: being repaired``."""
    metric = "Everything" if each.metric == "*" else each.metric
    subject = "" if each.subject == "*" else f" of {each.subject}"
    parts: list[str | Text | Code | When] = [f"{metric}{subject} is silenced by {name(each.by)} until "]
    parts += [When(each.until, "date_time"), f": {each.reason}"]
    return line(*parts)


def chart_data(title: str, metrics: Sequence[Metric], reading: Reading, trend: Sequence[Counts]) -> ChartData:
    """The levels over time, and the numbers that are nearest to, or furthest over, their limits."""
    titles = {metric.name: metric for metric in metrics}
    bars = []
    for each in reading.measured:
        metric = titles.get(each.metric)
        if metric is None or each.value is None or each.level is None or not metric.critical or not metric.warning:
            continue
        bars.append(
            Bar(
                label=brief(
                    f"{each.subject.removeprefix('project-')} {metric.short or metric.title.lower()}", LONGEST_LABEL
                ),
                value=each.value,
                warning=metric.warning,
                critical=metric.critical,
                level=each.level,
                shown=each.shown,
            )
        )
    bars.sort(key=lambda bar: (-RANK[_level(bar.level)], -bar.value / bar.critical))
    shown = [bar for bar in bars if bar.value / bar.critical > 0.2][:MOST_BARS]
    return ChartData(
        title=f"{title}: over a limit",
        bars_title="Furthest over, or closest to, a limit",
        trend=tuple(trend),
        bars=tuple(shown),
    )


def _level(text: str) -> Level | None:
    return text if text in ("ok", "warning", "critical") else None  # type: ignore[return-value]  # narrowed by the test


def _ordinal(number: int) -> str:
    if 10 <= number % 100 <= 20:
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
