"""How the bot says durations, counts and names; shared by every text that people read."""

from __future__ import annotations

from datetime import timedelta


def duration(span: timedelta) -> str:
    """``2 min 30 s``, ``1 h 5 min``, ``3 days 4 h``: the two largest units, rounded down; never negative."""
    if span < timedelta(seconds=1):
        return "less than 1 s"
    seconds = int(span.total_seconds())
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [
        (days, "day" if days == 1 else "days"),
        (hours, "h"),
        (minutes, "min"),
        (rest, "s"),
    ]
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    shown = [f"{count} {unit}" for count, unit in parts[first : first + 2] if count or (unit == "s" and first == 3)]
    return " ".join(shown)


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``11th``."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 step``, ``3 steps``."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
