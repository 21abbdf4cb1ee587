"""The same reading twice tells nothing the second time; what was held back is told as soon as it may be."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.reports.crossings import QuietHours, crossings, standings, tell
from bot.reports.model import Level, Measured, Memory, Reading, Silence, Standing

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUIET = QuietHours(time(22), time(7), "Europe/Berlin")


def reading(at: datetime = NOON, whole: bool = True, **levels: Level | None) -> Reading:
    """``reading(p57="critical")``: the dead letters of some subjects."""
    return Reading(
        at=at,
        whole=whole,
        subjects=frozenset(levels),
        measured=tuple(
            Measured(metric="dead-letters", subject=subject, level=level, shown=f"{level}!")
            for subject, level in levels.items()
        ),
    )


def told_of(memory: Memory, seen: Reading, *silences: Silence, quiet: QuietHours | None = None) -> list[str]:
    return [f"{each.subject} {each.after}" for each in tell(memory, seen, silences, quiet).crossings]


def after(*seen: Reading) -> Memory:
    """The memory of a report that told all of these."""
    memory = Memory()
    for each in seen:
        memory = tell(memory, each).memory.model_copy(update={"message": "m"})
    return memory


def test_the_first_report_tells_what_is_over_and_not_what_is_fine() -> None:
    first = tell(Memory(), reading(a="ok", b="warning", c="critical"))
    assert [each.subject for each in first.crossings] == ["c", "b"] and first.notify


def test_the_same_again_is_an_edit_that_counts() -> None:
    memory = after(reading(a="warning"))
    for repeats in (1, 2, 3):
        told = tell(memory, reading(NOON + timedelta(hours=repeats), a="warning"))
        assert not told.notify and not told.crossings and told.memory.repeats == repeats
        memory = told.memory
    assert tell(memory, reading(NOON + timedelta(hours=9), a="critical")).memory.repeats == 0


def test_up_down_and_gone() -> None:
    memory = after(reading(a="warning", b="critical", c="warning"))
    assert told_of(memory, reading(a="critical", b="ok")) == ["a critical", "b ok", "c None"]


def test_what_is_not_told_of_a_subject_that_was_looked_at_is_ok() -> None:
    """A product tells of thousands of numbers only those that are not ok."""
    memory = after(reading(a="critical", b="warning"))
    assert told_of(memory, Reading(at=NOON, subjects=frozenset({"a"}))) == ["a ok", "b None"]


def test_what_cannot_be_known_keeps_its_level() -> None:
    memory = after(reading(a="critical"))
    unknown = tell(memory, reading(a=None))
    assert not unknown.crossings and not unknown.notify
    assert told_of(unknown.memory, reading(a="critical")) == []


def test_a_reading_that_is_not_whole_ends_nothing() -> None:
    memory = after(reading(a="critical"))
    assert told_of(memory, reading(whole=False)) == []
    assert told_of(tell(memory, reading(whole=False)).memory, reading(a="ok")) == ["a ok"]


def test_since_when_survives_a_change_of_the_number() -> None:
    known = standings({}, reading(a="critical"))
    later = standings(known, reading(NOON + timedelta(hours=5), a="critical"))
    assert later["dead-letters:a"].since == NOON
    assert crossings(known, reading(NOON + timedelta(hours=5), a="ok"))[0].since == NOON


SILENCE = Silence(
    product="somas",
    metric="dead-letters",
    subject="a",
    until=NOON + timedelta(hours=4),
    by="slack:U0ALICE",
    reason="repair",
    since=NOON,
)


def test_a_silence_holds_back_and_its_end_tells() -> None:
    held = tell(after(reading(a="ok")), reading(a="critical"), (SILENCE,))
    assert not held.crossings and [each.subject for each in held.held] == ["a"] and not held.notify
    assert told_of(held.memory, reading(NOON + timedelta(hours=3), a="critical"), SILENCE) == []
    assert told_of(held.memory, reading(NOON + timedelta(hours=4), a="critical"), SILENCE) == ["a critical"]
    assert told_of(held.memory, reading(NOON + timedelta(hours=4), a="ok"), SILENCE) == [], "it came and went unseen"


def test_a_silence_of_everything() -> None:
    everything = SILENCE.model_copy(update={"metric": "*", "subject": "*"})
    assert told_of(Memory(), reading(a="critical", b="warning"), everything) == []


@pytest.mark.parametrize(
    ("at", "quiet"),
    [("20:59", False), ("21:00", True), ("03:00", True), ("05:59", True), ("06:00", False), ("12:00", False)],
)
def test_quiet_hours_over_midnight_on_the_wall_clock(at: str, quiet: bool) -> None:
    """22:00 to 07:00 in Berlin are 21:00 to 06:00 UTC in winter."""
    assert QUIET.cover(datetime.combine(NOON.date(), time.fromisoformat(at), UTC)) is quiet


def test_quiet_hours_hold_back_all_but_critical() -> None:
    night, morning = NOON.replace(hour=23), NOON.replace(day=23, hour=8)
    memory = after(reading(a="ok"))
    told = tell(memory, reading(night, a="warning", b="critical"), quiet=QUIET)
    assert [each.subject for each in told.crossings] == ["b"] and told.notify
    assert told_of(told.memory, reading(morning, a="warning", b="critical"), quiet=QUIET) == ["a warning"]


levels = st.sampled_from(["ok", "warning", "critical", None])


@given(st.lists(st.dictionaries(st.sampled_from("abc"), levels), max_size=12), st.data())
def test_nothing_is_told_twice_and_nothing_is_forgotten(
    rounds: list[dict[str, Level | None]], data: st.DataObject
) -> None:
    """Replaying what was told gives the levels that were there, whatever was silenced meanwhile."""
    memory, known, told = Memory(), dict[str, Standing](), dict[str, Level]()
    for number, each in enumerate([*rounds, {}]):
        at = NOON + timedelta(hours=number)
        last = number == len(rounds)
        hushed = data.draw(st.booleans()) and not last
        silences = (SILENCE.model_copy(update={"metric": "*", "subject": "*", "until": at + timedelta(1)}),)
        seen = reading(at, whole=not last, **each)
        known = standings(known, seen)
        result = tell(memory, seen, silences if hushed else ())
        for crossing in result.crossings:
            assert told.get(crossing.subject, "ok") == (crossing.before or "ok")
            assert crossing.after != told.get(crossing.subject, "ok")
            if crossing.after is None:
                told.pop(crossing.subject)
            else:
                told[crossing.subject] = crossing.after
        if not hushed and seen.whole:
            # What cannot be known at this moment is told as soon as it is known again.
            now = {key.partition(":")[2]: one.level for key, one in known.items() if one.level != "ok"}
            unknown = {subject for subject, level in each.items() if level is None}
            still = {subject: level for subject, level in told.items() if level != "ok"}
            assert {s: still.get(s) for s in still.keys() - unknown} == {s: now[s] for s in now.keys() - unknown}
        memory = result.memory
