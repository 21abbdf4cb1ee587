"""The bot's own circuit breakers: five failures, a minute, three trials; and that nothing is lost by them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.breakers import Breaker, BreakerOpen, Breakers, Limits
from bot.clock import ManualClock
from bot.demo.somas_projects import generate
from tests.transcript import SETTINGS, Chat


class Down(Exception):
    pass


def ask(breaker: Breaker, *, works: bool) -> None:
    with breaker.calling(Down):
        if not works:
            raise Down("no answer")


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Down):
            ask(breaker, works=False)


async def test_five_failures_in_a_row_open_it_and_a_success_between_them_does_not() -> None:
    breaker = Breaker("GitHub", ManualClock())
    fail(breaker, 4)
    ask(breaker, works=True)
    fail(breaker, 4)
    assert (breaker.state, breaker.failures) == ("closed", 4)
    fail(breaker, 1)
    assert breaker.state == "open"
    with pytest.raises(
        BreakerOpen, match=r"the bot's breaker for GitHub is open \(no answer\); it tries again in 60 s"
    ):
        ask(breaker, works=True)


async def test_after_a_minute_three_trials_close_it_and_one_failure_opens_it_again() -> None:
    clock = ManualClock()
    breaker = Breaker("Slack", clock)
    fail(breaker, 5)
    await clock.advance(59)
    with pytest.raises(BreakerOpen) as refused:
        ask(breaker, works=True)
    assert refused.value.after == pytest.approx(1)
    await clock.advance(1)
    assert (breaker.state, breaker.tries_again_at) == ("half-open", None)
    ask(breaker, works=True)
    ask(breaker, works=True)
    fail(breaker, 1)
    assert breaker.tries_again_at == clock.now() + timedelta(seconds=60)
    await clock.advance(60)
    for _ in range(3):
        ask(breaker, works=True)
    assert breaker.state == "closed"
    assert [change.state for change in breaker.changes] == ["open", "half-open", "open", "half-open", "closed"]


async def test_half_open_lets_three_calls_in_and_no_fourth_beside_them() -> None:
    clock = ManualClock()
    breaker = Breaker("Slack", clock)
    fail(breaker, 5)
    await clock.advance(60)
    gate = asyncio.Event()

    async def call() -> str:
        try:
            with breaker.calling(Down):
                await gate.wait()
        except BreakerOpen:
            return "refused"
        return "went"

    calls = [asyncio.create_task(call()) for _ in range(5)]
    await asyncio.sleep(0)
    gate.set()
    assert sorted(await asyncio.gather(*calls)) == ["refused", "refused", "went", "went", "went"]
    assert breaker.state == "closed"


async def test_a_cancelled_call_says_nothing_about_the_service() -> None:
    clock = ManualClock()
    breaker = Breaker("Slack", clock)
    fail(breaker, 5)
    await clock.advance(60)

    async def hang() -> None:
        with breaker.calling(Down):
            await asyncio.sleep(60)

    for _ in range(4):
        hanging = asyncio.create_task(hang())
        await asyncio.sleep(0)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
    assert breaker.state == "half-open"


async def test_people_trip_and_reset_it_and_it_comes_back_by_itself() -> None:
    clock = ManualClock()
    breakers = Breakers(clock, Limits(seconds=10))
    breaker = breakers.of("GitHub")
    breaker.trip("alice: maintenance")
    with pytest.raises(BreakerOpen, match="alice: maintenance"):
        ask(breaker, works=True)
    breaker.reset("bob")
    ask(breaker, works=True)
    breaker.trip("alice")
    await clock.advance(10)
    ask(breaker, works=True)
    assert breaker.state == "half-open"
    assert breakers.find("github") is breaker
    assert breakers.find("nowhere") is None


@given(st.lists(st.sampled_from(["works", "fails", "second", "minute"]), max_size=60))
def test_whatever_happens_it_follows_the_rule(history: list[str]) -> None:
    """Against the rule written down a second time, as a person would count."""

    async def play() -> None:
        clock = ManualClock()
        breaker = Breaker("x", clock)
        state, failures, successes, opened = "closed", 0, 0, clock.now()
        for what in history:
            if what in ("second", "minute"):
                await clock.advance(60 if what == "minute" else 1)
                continue
            if state == "open" and clock.now() - opened >= timedelta(seconds=60):
                state, successes = "half-open", 0
            refused = state == "open"
            try:
                ask(breaker, works=what == "works")
            except BreakerOpen:
                assert refused
                continue
            except Down:
                pass
            assert not refused
            if what == "works":
                failures = 0
                if state == "half-open":
                    successes += 1
                    state = "closed" if successes == 3 else state
            else:
                failures += 1
                if state == "half-open" or failures >= 5:
                    state, opened, failures = "open", clock.now(), 0
            assert breaker.state == state

    asyncio.run(play())


async def test_an_answer_waits_behind_an_open_breaker_and_arrives_once(tmp_path: Path) -> None:
    root = tmp_path / "somas"
    generate(root, ManualClock().now())
    async with Chat(tmp_path, f'[somas]\nroot = "{root}"\n', settings=SETTINGS) as chat:
        assert chat.bot is not None
        breaker = chat.bot.breakers.of("Slack")
        breaker.trip("a test")
        await chat.types("alice", "/somas status")
        await chat.rests()
        assert chat.channel() == []
        await chat.passes(seconds=61)
        await chat.sees("SOMAS: 3 critical")
        assert len(chat.read()) == 1
        assert breaker.state in ("half-open", "closed")
