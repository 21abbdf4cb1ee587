"""``dead-letters of project-57: warning → critical``: what changed, who hears of it, and when nobody does.

Pure: the same reading twice tells nothing the second time. A number that cannot be known keeps the level that it had;
a subject that is no longer there ends what was told of it. Silences and quiet hours only put off the telling: what is
still true when they end is told then. Critical crossings are not put off by quiet hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo

from bot.reports.model import RANK, Crossing, Level, Measured, Memory, Reading, Silence, Standing


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From ``start`` to ``end`` on the wall clock of ``zone``; over midnight when ``end`` is earlier."""

    start: time
    end: time
    zone: str = "UTC"

    def cover(self, now: datetime) -> bool:
        wall = now.astimezone(ZoneInfo(self.zone)).time()
        if self.start <= self.end:
            return self.start <= wall < self.end
        return wall >= self.start or wall < self.end


@dataclass(frozen=True, slots=True)
class Told:
    """What a report does now. ``crossings`` are told, ``held`` wait for the end of a silence or of quiet hours."""

    crossings: tuple[Crossing, ...]
    held: tuple[Crossing, ...]
    notify: bool  # a new message; otherwise the last one is edited
    memory: Memory


def standings(known: Mapping[str, Standing], reading: Reading) -> dict[str, Standing]:
    """Every level that is not ok, and since when it has been so. What is not here is ok, as most numbers are."""
    found = {} if reading.whole else dict(known)
    for each in reading.measured:
        before = known.get(each.key)
        if each.level is None:
            if before:
                found[each.key] = before
        elif each.level == "ok":
            found.pop(each.key, None)
        elif before and before.level == each.level:
            found[each.key] = before.model_copy(update={"shown": each.shown})
        else:
            found[each.key] = Standing(level=each.level, since=reading.at, shown=each.shown)
    return found


def crossings(known: Mapping[str, Standing], reading: Reading) -> tuple[Crossing, ...]:
    """Every change of level since ``known``, the worst first."""
    found = []
    present = set()
    for each in reading.measured:
        present.add(each.key)
        before = known.get(each.key)
        if each.level is None or (before.level if before else "ok") == each.level:
            continue
        found.append(_crossing(each, before, reading.at))
    if reading.whole:
        for key, standing in known.items():
            if key not in present:
                metric, _, subject = key.partition(":")
                after: Level | None = "ok" if subject in reading.subjects else None
                found.append(
                    Crossing(
                        metric=metric,
                        subject=subject,
                        before=standing.level,
                        after=after,
                        shown=standing.shown if after is None else "",
                        since=standing.since,
                    )
                )
    return tuple(sorted(found, key=lambda each: (-RANK[each.after], RANK[each.before], each.metric, each.subject)))


def _crossing(each: Measured, before: Standing | None, at: datetime) -> Crossing:
    return Crossing(
        metric=each.metric,
        subject=each.subject,
        before=before.level if before else None,
        after=each.level,
        shown=each.shown,
        since=before.since if before else at,
        remedy=each.remedy,
        remedy_title=each.remedy_title,
    )


def tell(
    memory: Memory,
    reading: Reading,
    silences: Sequence[Silence] = (),
    quiet: QuietHours | None = None,
    *,
    digest: bool = False,
) -> Told:
    """What a report says of this reading. A digest is always a message of its own; so is the very first report."""
    now = reading.at
    hushed = quiet is not None and quiet.cover(now)
    told: list[Crossing] = []
    held: list[Crossing] = []
    for each in crossings(memory.told, reading):
        silenced = any(silence.covers(each.metric, each.subject, now) for silence in silences)
        (held if silenced or (hushed and each.after != "critical") else told).append(each)
    kept = {each.key for each in held}
    present = standings(memory.told, reading)
    remembered = {key: standing for key, standing in present.items() if key not in kept}
    remembered |= {key: standing for key, standing in memory.told.items() if key in kept}
    notify = bool(told) or not memory.message or digest
    if digest and hushed and not told:
        notify = False
    return Told(
        crossings=tuple(told),
        held=tuple(held),
        notify=notify,
        memory=Memory(
            told=remembered,
            message=memory.message,
            repeats=0 if notify else memory.repeats + 1,
            first_told_at=now if notify else memory.first_told_at,
        ),
    )
