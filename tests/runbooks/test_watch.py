"""Expectations that take time: ``within``, ``after``, ``for``. Time is a number of seconds here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.handler import Observation, Provenance
from bot.runbooks.expectations import Tree, Verdict, Waiting, begin, evaluate, is_temporal, parse
from tests.runbooks.trees import FACTS, PROSE, TREES

START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def seen(**values: Any) -> dict[str, Observation]:
    return {name: Observation(name=name, value=value) for name, value in values.items()}


def play(
    text: str,
    world: Callable[[float], Mapping[str, Observation]],
    budget: float | None = None,
    late: float = 0,
) -> tuple[str, list[float]]:
    """Look whenever the watch asks for it; the outcome and the seconds at which it looked."""
    watch = begin(parse(text), START, at(budget) if budget is not None else None)
    now, looks = 0.0, []
    while True:
        looks.append(now)
        answer = watch.feed(at(now), world(now))
        if isinstance(answer, Verdict):
            assert watch.feed(at(now + 1000), {}) == answer, "a verdict stays"
            return answer.outcome, looks
        assert answer.next_look_at > at(now), "no busy loop"
        assert answer.next_look_at <= answer.until
        now = (answer.next_look_at - START).total_seconds() + late
        assert len(looks) < 1000


def rises(second: float) -> Callable[[float], Mapping[str, Observation]]:
    """``a`` is 0 before that second, and 1 from then on."""
    return lambda now: seen(a=int(now >= second))


def test_without_a_span_one_look_decides() -> None:
    assert play("a == 1", rises(0)) == ("met", [0])
    assert play("a == 1", rises(1)) == ("not met", [0])
    assert play("", rises(0)) == ("nothing expected", [0])
    assert play("It is fine", rises(0)) == ("cannot tell", [0])


def test_within_is_met_as_soon_as_it_holds() -> None:
    assert play("a == 1 within 30s", rises(0)) == ("met", [0])
    assert play("a == 1 within 30s", rises(2.5)) == ("met", [0, 1, 2, 3])
    assert play("a == 1 within 3s", rises(3)) == ("met", [0, 1, 2, 3])
    assert play("a == 1 within 3s", rises(4)) == ("not met", [0, 1, 2, 3])


def test_within_looks_until_the_end_even_when_nothing_can_be_read() -> None:
    def world(now: float) -> Mapping[str, Observation]:
        return seen(a=1) if now >= 2 else {}

    assert play("a == 1 within 3s", world) == ("met", [0, 1, 2])
    assert play("a == 1 within 3s", lambda now: {})[0] == "cannot tell"


def test_a_look_that_comes_far_too_late_proves_nothing() -> None:
    assert play("a == 1 within 3s", rises(3.2), late=0.3)[0] == "met"  # the last look, a little behind its time
    assert play("a == 1 within 3s", rises(60), late=100)[0] == "cannot tell"  # the bot was down meanwhile
    assert play("a == 1 within 3s", rises(600), late=100)[0] == "not met"


def test_after_does_not_look_before_its_time() -> None:
    assert play("a == 1 after 5s", lambda now: seen(a=int(now >= 5))) == ("met", [0, 5])
    assert play("a == 1 after 5s", lambda now: seen(a=int(now < 5))) == ("not met", [0, 5])


def test_for_must_hold_at_every_look() -> None:
    assert play("a == 1 for 3s", rises(0)) == ("met", [0, 1, 2, 3])
    assert play("a == 1 for 3s", lambda now: seen(a=int(now != 2))) == ("not met", [0, 1, 2])
    assert play("a == 1 for 3s", rises(1)) == ("not met", [0])
    assert play("a == 1 for 3s", lambda now: seen(a=1) if now != 2 else {})[0] == "cannot tell"


def test_spans_combine() -> None:
    # It may take 5 s to come, and must then stay for 3 s.
    assert play("a == 1 within 5s for 3s", rises(2)) == ("met", [0, 1, 2, 3, 4, 5])
    assert play("a == 1 within 5s for 3s", lambda now: seen(a=int(2 <= now < 4)))[0] == "not met"
    # It must have stayed for 3 s before the 8 s are over; a relapse starts it anew.
    assert play("a == 1 for 3s within 8s", lambda now: seen(a=int(now in (0, 1) or now >= 4)))[0] == "met"
    assert play("a == 1 for 3s within 8s", lambda now: seen(a=int(now >= 6)))[0] == "not met"
    # From the fifth second on, until the tenth.
    assert play("a == 1 after 5s within 10s", rises(7)) == ("met", [0, 5, 6, 7])
    # The window opens when the delay is over.
    assert play("a == 1 within 5s after 5s", rises(9)) == ("met", [0, 5, 6, 7, 8, 9])


def test_and_or_end_as_soon_as_one_side_decides() -> None:
    def both(now: float) -> Mapping[str, Observation]:
        return seen(a=int(now >= 2), b=int(now >= 4))

    assert play("a == 1 within 5s and b == 1 within 5s", both)[1][-1] == 4
    assert play("a == 1 within 5s or b == 1 within 5s", both) == ("met", [0, 1, 2])
    assert play("b == 0 and a == 1 within 5s", both) == ("met", [0, 1, 2])
    assert play("b == 1 and a == 1 within 5s", both) == ("not met", [0])  # b is judged at the first look
    assert play("(b == 1 and a == 1) within 5s", both) == ("met", [0, 1, 2, 3, 4])
    assert play("The relay comes back; a == 1 within 5s", both) == ("cannot tell", [0, 1, 2])
    assert play("The relay comes back; a == 2 within 2s", both) == ("not met", [0, 1, 2])


def test_the_end_of_the_budget_is_the_end_of_waiting() -> None:
    assert play("a == 1 within 30s", rises(9), budget=2.5) == ("not met", [0, 1, 2, 2.5])
    assert play("b == 0; a == 1 within 30s", lambda now: seen(a=0, b=0), budget=2) == ("not met", [0, 1, 2])
    assert play("a == 1 for 30s", rises(0), budget=2) == ("cannot tell", [0, 1, 2])
    assert play("a == 1 after 30s", rises(0), budget=2) == ("cannot tell", [0, 2])
    assert play("a == 1 within 5s after 30s", rises(0), budget=2) == ("cannot tell", [0, 2])
    assert play("a == 1 for 30s within 60s", rises(0), budget=2) == ("cannot tell", [0, 1, 2])
    assert play("a == 1 for 30s within 60s", rises(9), budget=2) == ("not met", [0, 1, 2])
    assert play("a == 1 within 30s", rises(2.5), budget=2.5) == ("met", [0, 1, 2, 2.5])


def test_the_countdown_and_what_is_known_so_far() -> None:
    watch = begin(parse("a == 1 within 30s"), START, at(20))
    waiting = watch.feed(at(4), seen(a=0))
    assert isinstance(waiting, Waiting)
    assert (waiting.next_look_at, waiting.until) == (at(5), at(20))
    assert waiting.verdict_so_far.outcome == "not met"
    assert waiting.verdict_so_far.observed == "a = 0"


def test_why_it_was_not_met_is_told() -> None:
    watch = begin(parse("a == 1 for 2min"), START)
    watch.feed(at(0), seen(a=1))
    verdict = watch.feed(at(40), seen(a=0))
    assert isinstance(verdict, Verdict)
    assert verdict.details == ("it held for 40s of 2min",)


@given(TREES, st.lists(FACTS, min_size=1, max_size=4), st.lists(st.integers(0, 90_000), min_size=1, max_size=12))
def test_no_tree_and_no_world_make_it_raise_or_wait_forever(
    tree: Tree, worlds: list[dict[str, Observation]], delays: list[int]
) -> None:
    watch = begin(tree, START, poll=timedelta(seconds=20))
    now = START
    for look in range(400):
        answer = watch.feed(now, worlds[look % len(worlds)])
        if isinstance(answer, Verdict):
            assert answer.outcome in ("met", "not met", "cannot tell")
            return
        assert answer.next_look_at > now
        now = answer.next_look_at + timedelta(milliseconds=delays[look % len(delays)])
    pytest.fail("it is still waiting")


@given(PROSE, FACTS)
def test_a_question_is_never_met_however_long_one_waits(text: str, world: dict[str, Observation]) -> None:
    tree = parse(text)
    watch = begin(tree, START, at(30))
    for second in (0, 10, 31):
        answer = watch.feed(at(second), world)
        if isinstance(answer, Verdict) and evaluate(tree, world).outcome == "cannot tell" and not is_temporal(tree):
            assert answer.outcome == "cannot tell"


def test_unavailable_facts_are_told_at_the_end() -> None:
    missing = Observation(name="a", provenance=Provenance.UNAVAILABLE, source="IPC does not expose it")
    watch = begin(parse("a == 1 within 1s"), START)
    watch.feed(at(0), {"a": missing})
    verdict = watch.feed(at(1), {"a": missing})
    assert isinstance(verdict, Verdict)
    assert verdict.outcome == "cannot tell"
    assert verdict.details == ("a cannot be known: IPC does not expose it", "the 1s are over")
