"""``cron = "30 2 * * *"`` in Berlin: every tick once, whatever the wall clock does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.reports.schedule import GRACE, due, next_tick, trigger

BERLIN = "Europe/Berlin"


def ticks(cron: str, zone: str, start: datetime, count: int) -> list[str]:
    each, found, at = trigger(cron, zone), [], start
    for _ in range(count):
        following = next_tick(each, at)
        assert following is not None
        at = following
        found.append(f"{at:%d %H:%M}")
    return found


def test_a_time_that_does_not_exist_is_taken_an_hour_later() -> None:
    """On 29 March 2026 half past two is left out; the next day it is back."""
    assert ticks("30 2 * * *", BERLIN, datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == ["29 01:30", "30 00:30"]


def test_a_time_that_comes_twice_is_taken_once() -> None:
    """On 25 October 2026 half past two comes at 00:30 and again at 01:30 UTC."""
    found = ticks("30 2 * * *", BERLIN, datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert found == ["25 00:30", "26 01:30"]


def test_what_is_due_every_half_hour_goes_on_through_the_hour_that_comes_twice() -> None:
    found = ticks("*/30 * * * *", BERLIN, datetime(2026, 10, 24, 23, 59, tzinfo=UTC), 6)
    assert found == ["25 00:00", "25 00:30", "25 01:00", "25 01:30", "25 02:00", "25 02:30"]


def test_nothing_is_due_before_its_time_and_exactly_at_its_time_it_is() -> None:
    each, nine = trigger("0 9 * * *", "UTC"), datetime(2026, 11, 22, 9, tzinfo=UTC)
    assert due(each, nine - timedelta(hours=1), nine - timedelta(microseconds=1)) is None
    found = due(each, nine - timedelta(hours=1), nine)
    assert found is not None and found.tick == nine and found.missed == 0 and not found.skip
    assert due(each, nine, nine) is None, "a tick that was dealt with is not due again"


def test_of_several_missed_ticks_the_latest_is_made_up_for() -> None:
    each, now = trigger("*/10 * * * *", "UTC"), datetime(2026, 11, 22, 12, 5, tzinfo=UTC)
    found = due(each, now - timedelta(hours=3), now)
    assert found is not None and found.tick == datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert found.missed == 17 and not found.skip


@pytest.mark.parametrize(("late", "skip"), [(GRACE, False), (GRACE + timedelta(seconds=1), True)])
def test_a_missed_tick_is_too_old_after_an_hour(late: timedelta, skip: bool) -> None:
    nine = datetime(2026, 11, 22, 9, tzinfo=UTC)
    found = due(trigger("0 9 * * *", "UTC"), nine - timedelta(days=1), nine + late)
    assert found is not None and found.tick == nine and found.skip is skip


def test_a_bot_that_was_off_for_a_year_does_not_count_for_ever() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    found = due(trigger("* * * * *", "UTC"), now - timedelta(days=365), now)
    assert found is not None and found.tick == now and found.missed >= 1000


@given(
    st.sampled_from(["*/7 * * * *", "0 * * * *", "30 2 * * *", "15 1-3 * * *", "0 9 * * mon-fri"]),
    st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
)
def test_ticks_always_go_forward(cron: str, zone: str, start: datetime) -> None:
    each, at = trigger(cron, zone), start.replace(tzinfo=UTC)
    for _ in range(5):
        following = next_tick(each, at)
        assert following is not None and following > at
        at = following


@pytest.mark.parametrize(
    ("cron", "zone", "told"),
    [("0 9 * *", "UTC", "Wrong number of fields"), ("0 25 * * *", "UTC", "higher"), ("0 9 * * *", "Mars", "time zone")],
)
def test_what_is_no_schedule_is_refused(cron: str, zone: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        trigger(cron, zone)
