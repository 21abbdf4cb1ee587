"""How durations and counts are said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.words import counted, duration


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(), "less than 1 s"),
        (timedelta(milliseconds=999), "less than 1 s"),
        (timedelta(seconds=-5), "less than 1 s"),
        (timedelta(seconds=1), "1 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(minutes=1), "1 min"),
        (timedelta(minutes=2, seconds=30), "2 min 30 s"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=1, seconds=59), "1 h"),
        (timedelta(hours=1, minutes=5, seconds=59), "1 h 5 min"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=3, hours=4, minutes=59), "3 days 4 h"),
        (timedelta(days=3, minutes=59), "3 days"),
    ],
)
def test_a_duration_in_its_two_largest_units(span: timedelta, said: str) -> None:
    assert duration(span) == said


@given(st.timedeltas(timedelta(), timedelta(days=4000)))
def test_a_duration_is_never_longer_than_it_was(span: timedelta) -> None:
    units = {"day": 86400, "days": 86400, "h": 3600, "min": 60, "s": 1}
    words = duration(span).removeprefix("less than ").split()
    said = sum(int(count) * units[unit] for count, unit in zip(words[::2], words[1::2], strict=True))
    assert len(words) <= 4
    assert said <= max(1.0, span.total_seconds()) < said + 3601 + 86400 * (said >= 86400)


@pytest.mark.parametrize(("count", "said"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps")])
def test_counts(count: int, said: str) -> None:
    assert counted(count, "step") == said


def test_an_uncommon_plural() -> None:
    assert (counted(1, "child", "children"), counted(2, "child", "children")) == ("1 child", "2 children")
