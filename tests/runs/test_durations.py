"""``Usually 40 s, 95 % under 1 min 30 s, n=23``: what steps took before, and the one that takes longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.messages import plain_text
from bot.runs.decide import decide, new_run, next_due
from bot.runs.durations import KEPT, Durations
from bot.runs.model import Begin, RunState, Tick, Usual
from bot.runs.usual import LEAST, beside, in_words, learned, step_key, usual
from bot.store import Store
from bot.surfaces.card import card
from bot.surfaces.thread import thread_message
from tests.runs.plans import CHANGE, MANUAL, NOON, READ, Played, plan, row, run

SECOND = timedelta(seconds=1)
FORTY = Usual(p50=40 * SECOND, p95=90 * SECOND, count=23)


def with_usual(*found: Usual | None, minutes: float = 5) -> Played:
    """A run of one step of so many minutes that has begun at noon."""
    played = Played(new_run(plan(row("restart it", READ, minutes=minutes)).model_copy(update={"usual": found})))
    played.take(Begin(at=NOON))
    return played


# -- what is usual


@given(st.lists(st.floats(0, 100_000), min_size=LEAST, max_size=200))
def test_half_and_nearly_all_of_the_times_were_at_most_so_long(seconds: list[float]) -> None:
    found = usual(seconds)
    assert found is not None
    assert found.count == len(seconds)
    below = [sum(each <= limit.total_seconds() + 0.001 for each in seconds) for limit in (found.p50, found.p95)]
    assert below[0] >= len(seconds) * 0.5 - 1
    assert below[1] >= len(seconds) * 0.95 - 1
    assert found.p50 <= found.p95


def test_too_few_times_say_nothing() -> None:
    assert usual([1.0] * (LEAST - 1)) is None
    assert in_words(None) == ""


def test_in_words() -> None:
    assert in_words(FORTY) == "usually 40 s, 95 % under 1 min 30 s, n=23"
    assert beside(120 * SECOND, FORTY) == "estimate 2 min · usually 40 s, 95 % under 1 min 30 s, n=23"
    assert beside(None, None) == ""


# -- what is learned


def test_what_the_bot_did_alone_is_learned() -> None:
    played = run(row("look", READ), row("do it", CHANGE))
    before = played.state
    played.now += 7 * SECOND
    played.finished("done", "met")
    assert learned(before, played.state) == [(step_key(played.state.plan.runbook, 0), 7.0)]
    played.now += 60 * SECOND  # the preview takes its time: that is not the action's
    played.prepared(shows="will do it")
    before = played.state
    played.now += 3 * SECOND
    played.finished("done")
    assert learned(before, played.state) == [(step_key(played.state.plan.runbook, 1), 3.0)]
    assert step_key(played.state.plan.runbook, 0) != step_key(played.state.plan.runbook, 1)


def test_what_people_did_or_what_failed_is_not() -> None:
    played = run(row("call them", MANUAL), row("look", READ))
    before = played.state
    played.press("done")
    assert learned(before, played.state) == []
    before = played.state
    played.finished("failed")
    assert learned(before, played.state) == []
    before = played.state
    played.press("done")
    assert learned(before, played.state) == []


def test_a_rehearsal_teaches_nothing() -> None:
    rehearsed = plan(row("look", READ)).model_copy(update={"drill": True})
    played = Played(new_run(rehearsed))
    played.take(Begin(at=NOON))
    before = played.state
    played.finished("done")
    assert learned(before, played.state) == []


# -- the table


@pytest.fixture
async def durations(tmp_path: Path) -> AsyncIterator[Durations]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield Durations(store)
    await store.close()


async def add(durations: Durations, run_id: str, seconds: float) -> None:
    key = step_key(plan(row("look", READ)).runbook, 0)
    async with durations.store.write() as connection:
        await durations.add(connection, run_id, [(key, seconds)], NOON)


async def test_only_the_newest_are_kept_and_each_run_once(durations: Durations) -> None:
    book = plan(row("look", READ), row("call them", MANUAL)).runbook
    assert await durations.of(book) == (None, None)
    for number in range(KEPT + 20):
        await add(durations, f"run-{number}", 1000.0 if number < 20 else 10.0)
    await add(durations, f"run-{KEPT}", 5.0)  # said again after a crash
    found = await durations.of(book)
    assert found == (Usual(p50=10 * SECOND, p95=10 * SECOND, count=KEPT), None)


# -- the step that takes longer


def test_it_is_marked_when_it_takes_longer_than_nearly_ever() -> None:
    played = with_usual(FORTY)
    assert next_due(played.state) == NOON + 90 * SECOND
    played.take(Tick(at=NOON + 89 * SECOND))
    assert not played.state.steps[0].slow
    assert "Usually 40 s, 95 % under 1 min 30 s, n=23" in shown(played.state, 89)
    played.take(Tick(at=NOON + 90 * SECOND))
    assert played.state.steps[0].slow
    assert played.said == ["slow"]
    said = thread_message(played.state, played.posts[0], str)
    assert said.summary == "Step 1 takes longer than usual."
    assert plain_text(said.blocks) == (
        "Step 1 takes longer than usual. Of the 23 times it was done, 95 % took at most 1 min 30 s. "
        "Its budget lasts until 12:05 UTC."
    )
    assert "slower than usual" in shown(played.state, 91)
    assert next_due(played.state) == NOON + timedelta(minutes=4), "the next is the 80 % warning"
    played.take(Tick(at=NOON + 100 * SECOND))
    assert played.said == ["slow"], "it is said once"
    played.finished("done")
    assert "slower than usual" in shown(played.state, 120), "the card of the ended run shows it, too"


def test_it_is_not_marked_while_it_waits_for_people_or_after_its_budget() -> None:
    short = with_usual(FORTY, minutes=1)
    assert next_due(short.state) == NOON + 48 * SECOND
    short.take(Tick(at=NOON + 200 * SECOND))
    assert "slow" not in short.said, "the budget has said all there is to say"
    waiting = with_usual(FORTY)
    waiting.finished("failed")
    waiting.take(Tick(at=NOON + 200 * SECOND))
    assert "slow" not in waiting.said


def test_every_try_is_measured_anew() -> None:
    played = with_usual(FORTY)
    played.take(Tick(at=NOON + 90 * SECOND))
    played.now = NOON + 100 * SECOND
    played.finished("failed")
    played.now = NOON + 110 * SECOND
    played.press("retry")
    assert not played.state.steps[0].slow
    assert next_due(played.state) == NOON + 200 * SECOND


def test_a_run_of_an_older_version_has_no_history() -> None:
    played = with_usual()
    assert decide(played.state, Tick(at=NOON + 200 * SECOND)).state.steps[0].slow is False


def shown(state: RunState, seconds: float) -> str:
    return plain_text(card(state, NOON + seconds * SECOND, str).blocks)
