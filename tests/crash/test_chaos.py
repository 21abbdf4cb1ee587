"""``make soak``: many runs, every command twice and in any order, ``kill -9`` at random; then everything is counted.

Nothing is lost, nothing happens twice, every message stands in Slack once, and who runs over a budget is paged once a
period until somebody acknowledges. ``--chaos-runs``, ``--chaos-kills`` and ``--chaos-seed`` say how large and which.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot import store as tables
from bot.runs.model import RunState
from tests.crash.processes import BotProcess, Workshop, shuffled

PERIOD = 4  # seconds between two pages
ACKNOWLEDGED_AFTER = timedelta(seconds=6)  # so that some are paged twice


class Chaos:
    """Types, answers, repeats itself, and kills."""

    def __init__(self, workshop: Workshop, bot: BotProcess, chance: random.Random) -> None:
        self.workshop = workshop
        self.bot = bot
        self.chance = chance
        self.queue: list[bytes] = []  # not acknowledged yet
        self.answered: set[tuple[str, int, int]] = set()
        self.kills = 0

    async def kill_now_and_then(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(self.chance.uniform(0.3, 2.5))
            await self.bot.kill()
            self.kills += 1
            await self.bot.start()
            await self.bot.until(200)

    async def deliver_until(self, ended: asyncio.Event) -> None:
        """What a dead bot did not take is delivered again, as Slack and people do."""
        while not ended.is_set():
            taken, self.queue = self.queue[:12], self.queue[12:]
            results = await asyncio.gather(*(self.workshop.deliver(self.bot, payload) for payload in taken))
            self.queue += [payload for payload, status in zip(taken, results, strict=True) if status != 200]
            await asyncio.sleep(0.02 if self.queue else 0.1)

    def type(self, *commands: str) -> None:
        self.queue += shuffled([self.workshop.payload(command) for command in commands], self.chance)

    async def answer(self, state: RunState) -> None:
        """Done to every question, together with what does not fit; acknowledge what has paged for long enough."""
        run_id, step = state.plan.run_id, state.steps[state.current]
        key = (run_id, state.current, step.attempt)
        if not state.closed and step.status == "waiting" and key not in self.answered:
            self.answered.add(key)
            self.type(f"/runs done {run_id}", f"/runs approve {run_id} --digest 000000000000")
        page = state.page
        key = (run_id, -1, page.number if page else 0)
        if page and key not in self.answered and page.opened_at + ACKNOWLEDGED_AFTER < _now():
            self.answered.add(key)
            self.type(f"/runs ack {run_id}")


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_many_runs_in_chaos(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    option = request.config.getoption
    runs, kills, chance = option("--chaos-runs"), option("--chaos-kills"), random.Random(option("--chaos-seed"))
    url = f"sqlite:///{tmp_path}/opsbot.db"
    if kind == "postgresql":
        url = request.getfixturevalue("postgresql").database()
    began = time.monotonic()
    async with Workshop(tmp_path, url, PERIOD) as workshop:
        bot = workshop.bot("bot")
        await bot.start()
        await bot.until(200)
        chaos, ended = Chaos(workshop, bot, chance), asyncio.Event()
        chaos.type(*(f"/line work belt-{number}" for number in range(runs)))
        delivering = asyncio.create_task(chaos.deliver_until(ended))
        killing = asyncio.create_task(chaos.kill_now_and_then(kills))
        async with asyncio.timeout(60 + 10 * runs + 15 * kills):
            while not (killing.done() and await _is_over(workshop, runs)):
                for state in await workshop.runs():
                    await chaos.answer(state)
                await asyncio.sleep(0.2)
        await killing
        ended.set()
        await delivering
        uncertain, paged = await _count(workshop, runs)
        said = f"{kind}: {runs} runs, {chaos.kills} kills, {uncertain} uncertain, {paged} over budget"
        print(f"{said}, {sum(workshop.posted().values())} messages, {time.monotonic() - began:.0f} s")
        log = bot.log.read_text()
        assert "Traceback" not in log, log[-4000:]


async def _is_over(workshop: Workshop, runs: int) -> bool:
    """Everything was typed, done, acknowledged and said."""
    rows = await workshop.rows(sa.select(tables.runs.c.open))
    waiting = await workshop.rows(sa.select(tables.outbox.c.key).where(tables.outbox.c.status == "waiting"))
    unhandled = await workshop.rows(sa.select(tables.inbox.c.key).where(~tables.inbox.c.handled))
    return len(rows) == runs and not any(row.open for row in rows) and not waiting and not unhandled


async def _count(workshop: Workshop, runs: int) -> tuple[int, int]:
    states = await workshop.runs()
    effects, uncertain, paged = workshop.effects(), 0, 0

    # Nothing is lost: every run that was asked for was started once and came to its end.
    assert sorted(state.plan.target.name for state in states) == sorted(f"belt-{number}" for number in range(runs))
    assert {state.status for state in states} == {"done"}
    assert not await workshop.rows(sa.select(tables.locks.c.target))
    unread = await workshop.rows(sa.select(tables.events.c.key).where(~tables.events.c.read))
    assert not [row.key for row in unread if ":ack" in row.key]

    # Nothing happened twice, and what is done has happened, unless nobody could tell and a person was asked.
    assert set(effects.values()) <= {1}, [key for key, times in effects.items() if times > 1]
    for state in states:
        for row, step in zip(state.plan.runbook.steps, state.steps, strict=True):
            if row.action in ("line.put", "line.throw", "line.slow"):
                operations = [f"{state.plan.run_id}:{row.number}:{n}" for n in range(1, step.attempt + 1)]
                happened = sum(effects[operation] for operation in operations)
                if step.decided_by:
                    uncertain += 1
                    assert row.action == "line.throw", "what can be looked up is looked up"
                    assert happened <= 1
                else:
                    assert happened == 1, (state.plan.run_id, row.number)

    # Every message stands in Slack once; each run has one card.
    posted = workshop.posted()
    assert set(posted.values()) <= {1}, [key for key, times in posted.items() if times > 1]
    sent = await workshop.rows(
        sa.select(tables.outbox.c.key, tables.outbox.c.remote_id).where(
            tables.outbox.c.kind == "thread", tables.outbox.c.status == "sent"
        )
    )
    assert len({row.remote_id for row in sent}) == len(sent)
    stands = workshop.stands()
    missing = [row.key for row in sent if row.remote_id not in stands]
    assert not missing, missing

    # Who ran over a budget was paged, and once a period until somebody acknowledged.
    for state in states:
        late = int(state.plan.target.name.partition("-")[2]) % 3 == 0
        assert bool(late) <= any(step.overdue for step in state.steps), state.plan.run_id
        paged += bool(late)
        query = sa.select(tables.audit.c.at).where(
            tables.audit.c.run_id == state.plan.run_id, tables.audit.c.kind == "escalation.paged"
        )
        times = [row.at for row in await workshop.rows(query.order_by(tables.audit.c.number))]
        assert len(times) == sum(page.pages for page in state.escalations)
        assert bool(times) >= bool(late)
        for page in state.escalations:
            assert page.acknowledged_by
            most = (page.acknowledged_at or page.opened_at) - page.opened_at
            assert page.pages <= most.total_seconds() // PERIOD + 1 + _reasons(page.reason)
    return uncertain, paged


def _reasons(reason: str) -> int:
    """How many new causes were added while the page was open; each is told at once."""
    return reason.count("; before that, ")


def _now() -> datetime:
    return datetime.now(UTC)
