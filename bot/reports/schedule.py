"""``cron = "0 9 * * mon-fri"``, ``timezone = "Europe/Berlin"``: when a report is due.

Pure; the trigger is APScheduler's.

A tick is the instant for which a report was scheduled, and is the same on every replica. After a pause of the bot the
latest tick that was missed is made up for when it is not older than ``GRACE``; the ones before it are counted and
left out, because a report says what is true now.

On the wall clock's way into summer a time that does not exist is taken an hour later; on the way back a time that
comes twice is taken once, the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

GRACE = timedelta(hours=1)
MOST_MISSED = 1000  # counted one by one


@dataclass(frozen=True, slots=True)
class Due:
    """The latest tick that has come, and how many before it were missed. ``skip``: it is too old to be made up for."""

    tick: datetime
    missed: int = 0
    skip: bool = False


def trigger(cron: str, timezone: str) -> CronTrigger:
    """Raises ``ValueError`` for what is not five fields of cron or not a time zone."""
    try:
        zone = ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"there is no time zone {timezone!r}; use a name such as Europe/Berlin or UTC") from None
    try:
        return CronTrigger.from_crontab(cron, timezone=zone)
    except ValueError as error:
        raise ValueError(
            f'"{cron}" is no schedule ({str(error).rstrip(".")}); write minute, hour, day, month and weekday, such as '
            '"0 9 * * mon-fri"'
        ) from None


def next_tick(each: CronTrigger, after: datetime) -> datetime | None:
    """The first tick later than ``after``, in UTC; None when there will be none."""
    found: datetime | None = after
    while found is not None:
        # In UTC: on a wall clock that is put back, adding to a local time would go back with it.
        found = each.get_next_fire_time(None, found.astimezone(UTC) + timedelta(microseconds=1))
        if found is not None and not _comes_again(each, found):
            return found.astimezone(UTC)
    return None


def _comes_again(each: CronTrigger, tick: datetime) -> bool:
    """Whether a time of day that was asked for has been there already, before the wall clock was put back.

    What is due every hour, or every few minutes, goes on through that hour as always.
    """
    hour = next(field for field in each.fields if field.name == "hour")
    return tick.fold == 1 and not str(hour).startswith("*")


def due(each: CronTrigger, last: datetime, now: datetime) -> Due | None:
    """What has become due since the tick ``last``; None: nothing."""
    tick = next_tick(each, last)
    if tick is None or tick > now:
        return None
    missed = 0
    while (later := next_tick(each, tick)) is not None and later <= now:
        tick, missed = later, missed + 1
        if missed >= MOST_MISSED:  # off for months: leap, or counting would take seconds
            half = next_tick(each, tick + (now - tick) / 2)
            tick = half if half is not None and half <= now else tick
    return Due(tick, missed, skip=now - tick > GRACE)
