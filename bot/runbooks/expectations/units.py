"""``200ms``, ``80%``, ``10 MiB``: units of a literal, and the unit that a fact's own name tells.

A number is compared with a literal that has a unit only when the fact says what it counts: by the end of its name
(``uptime_secs``, ``memory_bytes``) or because its value is a text with a unit (``"90s"``). Else it cannot be told.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import isfinite

# unit -> (what it measures, how many of the smallest unit)
UNITS: dict[str, tuple[str, Fraction]] = {
    "ns": ("time", Fraction(1, 1_000_000_000)),
    "ms": ("time", Fraction(1, 1000)),
    "s": ("time", Fraction(1)),
    "min": ("time", Fraction(60)),
    "h": ("time", Fraction(3600)),
    "d": ("time", Fraction(86400)),
    "%": ("share", Fraction(1)),
    "B": ("size", Fraction(1)),
    "kB": ("size", Fraction(1000)),
    "MB": ("size", Fraction(1000**2)),
    "GB": ("size", Fraction(1000**3)),
    "KiB": ("size", Fraction(1024)),
    "MiB": ("size", Fraction(1024**2)),
    "GiB": ("size", Fraction(1024**3)),
}
_SPELLINGS = {
    "ns": "ns", "nanos": "ns", "nanoseconds": "ns",
    "ms": "ms", "millis": "ms", "millisecond": "ms", "milliseconds": "ms",
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "m": "min", "min": "min", "mins": "min", "minute": "min", "minutes": "min",
    "h": "h", "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
    "%": "%", "percent": "%", "pct": "%",
    "b": "B", "bytes": "B", "kb": "kB", "mb": "MB", "gb": "GB", "kib": "KiB", "mib": "MiB", "gib": "GiB",
}  # fmt: skip
_QUANTITY = re.compile(r"(-?[0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{1,12}|%)")


def unit_named(text: str) -> str:
    """``Seconds`` -> ``s``; empty when it is no unit."""
    return _SPELLINGS.get(text.strip().lower(), "")


def unit_of_fact(name: str) -> str:
    """The unit in the last word of a fact's name: ``health.uptime_secs`` -> ``s``. A lone letter is no unit."""
    last = re.split(r"[._\[\]-]+", name.rstrip("[]"))[-1]
    return unit_named(last) if len(last) > 1 else ""


def in_unit(value: object, name: str, unit: str) -> Fraction | None:
    """The observed value in ``unit``; None when it cannot be known what it counts."""
    amount: Fraction
    if isinstance(value, str):
        quantity = _QUANTITY.fullmatch(value.strip())
        own = unit_named(quantity[2]) if quantity else ""
        if quantity is None or not own:
            return None
        amount = Fraction(quantity[1])
    elif isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value):
        own = unit_of_fact(name)
        amount = Fraction(value)
    else:
        return None
    if not own or UNITS[own][0] != UNITS[unit][0]:
        return None
    return amount * UNITS[own][1] / UNITS[unit][1]
