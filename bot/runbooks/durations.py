"""``1min``, ``30s``, ``1h 30min``: durations as people write them in a runbook."""

from __future__ import annotations

import re
from datetime import timedelta

# In microseconds, so that sums stay whole numbers.
_MICROSECONDS = {"ms": 1_000, "s": 1_000_000, "min": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_SPELLINGS = {
    "ms": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "m": "min", "min": "min", "mins": "min", "minute": "min", "minutes": "min",
    "h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
}  # fmt: skip
_PART = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*([A-Za-z]{1,12})")
LONGEST = timedelta(days=366)  # anything longer is a slip of the pen, not a budget


def parse_duration(text: str) -> timedelta:
    """``1h 30min`` -> 90 minutes. Raises ``ValueError`` with a sentence that says what can be written instead."""
    rest = text.strip()
    microseconds = 0
    position = 0
    while position < len(rest):
        part = _PART.match(rest, position)
        unit = _SPELLINGS.get(part[2].lower()) if part else None
        if part is None or unit is None:
            raise ValueError(f'"{text.strip()}" is not a duration; write it like 30s, 5min or 1h 30min')
        whole, _, fraction = part[1].partition(".")
        thousandths = int(whole) * 1000 + int(fraction.ljust(3, "0") or "0")
        microseconds += thousandths * _MICROSECONDS[unit] // 1000
        position = part.end()
    if position == 0:
        raise ValueError("the duration is empty; write it like 30s, 5min or 1h 30min")
    if microseconds > LONGEST // timedelta(microseconds=1):
        raise ValueError(f'"{text.strip()}" is longer than a year; write it like 30s, 5min or 1h 30min')
    return timedelta(microseconds=microseconds)


def format_duration(duration: timedelta) -> str:
    """The shortest text that ``parse_duration`` reads back: ``1h 30min``. Finer than a millisecond is cut off."""
    left = duration // timedelta(microseconds=1)
    parts = []
    for unit in ("d", "h", "min", "s", "ms"):
        amount, left = divmod(left, _MICROSECONDS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return " ".join(parts) or "0s"
