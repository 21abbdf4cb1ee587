"""What a step really does, and what is known of it after a crash; on a real database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot import store as tables
from bot.clock import ManualClock
from bot.errors import Unavailable
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Provenance, Target
from bot.incoming import Actor, Place
from bot.runbooks.model import Runbook, Step
from bot.runs.decide import new_run
from bot.runs.model import Finished, Plan, Prepared, RunState, StepState, Work
from bot.runs.perform import Connected, Performer, digest
from bot.store import Store
from tests.runs.plans import RUN_ID
from tests.runs.products import Shelf, product

ONCE = Work(kind="perform", step=0, attempt=1)


class Bench:
    """One step on a shelf, performed as often as a test wants."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        self.shelf = Shelf()
        self.performer = Performer(store, self.clock, {"shelf": Connected(product, self.shelf)})

    def state(
        self,
        action: str | None,
        expectation: str = "",
        condition: str | None = None,
        inputs: dict[str, str] | None = None,
        approved: str = "",
    ) -> RunState:
        found = next((each for each in product.actions if each.name == action), None)
        step = Step(number="1", text="Do it", action=action, expectation=expectation, condition=condition)
        plan = Plan(
            run_id=RUN_ID,
            command="/shelf put shelf-1",
            runbook=Runbook(id="shelf", title="Put it there", product="shelf", steps=(step,)),
            target=Target(product="shelf", kind="shelf", name="shelf-1"),
            actor=Actor(surface="slack", id="U0ALICE"),
            place=Place(surface="slack", channel="C0OPS"),
            inputs=inputs or {},
            dangers=(found.danger if found else None,),
            started_at=self.clock.now(),
        )
        return new_run(plan).model_copy(update={"steps": (StepState(digest=approved),)})

    async def prepare(self, *state: Any, **more: Any) -> Prepared:
        return await self.performer.prepare(self.state(*state, **more), Work(kind="prepare", step=0, attempt=1))

    async def perform(self, *state: Any, abort: asyncio.Event | None = None, **more: Any) -> Finished:
        return await self.performer.perform(self.state(*state, **more), ONCE, abort or asyncio.Event())

    async def interrupted(self, action: str) -> None:
        """A process died in the middle of the first try."""
        async with self.store.write() as connection:
            await connection.execute(
                tables.journal.insert().values(operation=f"{RUN_ID}:1:1", begun_at=self.clock.now(), begun=1)
            )

    async def journal(self) -> list[tuple[str, Any]]:
        rows = await self.store.rows(sa.select(tables.journal.c.operation, tables.journal.c.result))
        return [(row.operation, json.loads(row.result)["result"]["status"] if row.result else None) for row in rows]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    await store.open()
    yield Bench(store)
    await store.close()


# -- before anything is changed


async def test_a_change_is_shown_before_it_is_done(bench: Bench) -> None:
    prepared = await bench.prepare("shelf.put")
    assert prepared.preview is not None
    assert (prepared.preview.summary, prepared.preview.detail) == ("put it on the shelf", "+ shelf-1\n")
    assert prepared.digest == digest(prepared.preview)
    assert bench.shelf.things == []


@pytest.mark.parametrize(("fact", "condition"), [("open", "holds"), ("closed", "does not hold"), (None, "cannot tell")])
async def test_a_condition_is_looked_at(bench: Bench, fact: str | None, condition: str) -> None:
    bench.shelf.facts["shelf.state"] = fact
    prepared = await bench.prepare("shelf.put", condition='shelf.state == "open"')
    assert prepared.condition == condition
    assert (prepared.preview is None) == (condition == "does not hold")


async def test_a_condition_in_plain_words_is_for_a_person(bench: Bench) -> None:
    prepared = await bench.prepare("shelf.put", condition="the customer is angry")
    assert prepared.condition == "cannot tell"
    assert prepared.observed.startswith("the customer is angry")


async def test_what_cannot_be_prepared_says_why(bench: Bench) -> None:
    assert (await bench.prepare("shelf.jam")).problem == "The shelf is full. Take something away first."


async def test_a_condition_that_cannot_be_read_is_no_answer(bench: Bench) -> None:
    bench.shelf.facts["shelf.state"] = Unavailable("The shelf does not answer")
    assert (await bench.prepare("shelf.put", condition='shelf.state == "open"')).condition == "cannot tell"
    bench.shelf.facts["shelf.state"] = RuntimeError("a bug")
    assert (await bench.prepare("shelf.put", condition='shelf.state == "open"')).condition == "cannot tell"


# -- once


async def test_a_step_is_journalled_before_and_after(bench: Bench) -> None:
    async def perform(context: ActionContext) -> ActionResult:
        assert await bench.journal() == [(f"{RUN_ID}:1:1", None)], "the intent is stored before anything is done"
        return ActionResult(status="done", summary="Done")

    bench.shelf.perform = perform
    finished = await bench.perform("shelf.put")
    assert (finished.status, finished.outcome) == ("done", None)
    assert await bench.journal() == [(f"{RUN_ID}:1:1", "done")]


async def test_a_try_that_ended_is_not_done_again(bench: Bench) -> None:
    """The process died after the action and before the engine had recorded it."""
    first = await bench.perform("shelf.throw")
    assert await bench.perform("shelf.throw") == first
    assert len(bench.shelf.things) == 1


async def test_after_a_crash_the_product_is_asked_and_it_had_happened(bench: Bench) -> None:
    await bench.interrupted("shelf.put")
    bench.shelf.check_says = ActionResult(status="done", summary="It was already there")
    finished = await bench.perform("shelf.put")
    assert (finished.status, finished.summary) == ("done", "It was already there")
    assert bench.shelf.things == []


async def test_after_a_crash_it_is_done_when_it_certainly_had_not_happened(bench: Bench) -> None:
    await bench.interrupted("shelf.put")
    assert (await bench.perform("shelf.put")).status == "done"
    assert len(bench.shelf.things) == 1


@pytest.mark.parametrize(
    "says",
    [ActionResult(status="uncertain", summary="Half of it is there"), Unavailable("The shelf does not answer")],
    ids=["product", "unreachable"],
)
async def test_after_a_crash_nobody_can_tell(bench: Bench, says: Any) -> None:
    await bench.interrupted("shelf.put")
    bench.shelf.check_says = says
    finished = await bench.perform("shelf.put")
    assert finished.status == "uncertain"
    assert bench.shelf.things == []


async def test_after_a_crash_an_action_that_cannot_be_checked_is_uncertain(bench: Bench) -> None:
    await bench.interrupted("shelf.throw")
    finished = await bench.perform("shelf.throw")
    assert finished.status == "uncertain"
    assert finished.summary == ("The bot was stopped in the middle of shelf.throw and cannot tell whether it happened.")
    assert bench.shelf.things == []


async def test_after_a_crash_a_check_that_fails_unexpectedly_is_uncertain(bench: Bench) -> None:
    await bench.interrupted("shelf.put")
    bench.shelf.check_says = RuntimeError("a bug in the check")
    finished = await bench.perform("shelf.put")
    assert finished.status == "uncertain", "nobody knows, so nobody may say that it failed"
    assert bench.shelf.things == []


async def test_after_a_crash_what_only_reads_is_read_again(bench: Bench) -> None:
    await bench.interrupted("shelf.look")
    assert (await bench.perform("shelf.look")).status == "done"


# -- a destructive step


async def test_a_plan_that_changed_after_the_approval_is_not_done(bench: Bench) -> None:
    prepared = await bench.prepare("shelf.burn")
    bench.shelf.shown = "put it on another shelf"
    finished = await bench.perform("shelf.burn", approved=prepared.digest)
    assert finished.status == "changed"
    assert finished.preview is not None
    assert finished.preview.summary == "put it on another shelf"
    assert finished.digest == digest(finished.preview) != prepared.digest
    assert bench.shelf.things == []
    assert await bench.journal() == []
    assert (await bench.perform("shelf.burn", approved=finished.digest)).status == "done"


async def test_nothing_was_approved_so_nothing_is_burnt(bench: Bench) -> None:
    assert (await bench.perform("shelf.burn")).status == "changed"


async def test_after_a_crash_a_changed_world_does_not_hide_that_it_was_begun(bench: Bench) -> None:
    """Its own half-done work may be what changed the plan."""
    await bench.interrupted("shelf.burn")
    bench.shelf.shown = "there is nothing left to burn"
    bench.shelf.check_says = ActionResult(status="done", summary="It burnt down")
    assert (await bench.perform("shelf.burn", approved="0" * 12)).summary == "It burnt down"


# -- the expectation


@pytest.mark.parametrize(("count", "outcome"), [(3, "met"), (2, "not met"), (None, "cannot tell")])
async def test_an_expectation_is_compared(bench: Bench, count: int | None, outcome: str) -> None:
    bench.shelf.facts["shelf.count"] = count
    finished = await bench.perform("shelf.look", "shelf.count == 3")
    assert (finished.status, finished.outcome) == ("done", outcome)


async def test_an_input_of_the_run_is_a_fact(bench: Bench) -> None:
    bench.shelf.facts["shelf.count"] = 3
    finished = await bench.perform("shelf.look", "shelf.count >= wanted", inputs={"wanted": "3"})
    assert finished.outcome == "met"
    assert any(fact.provenance is Provenance.INPUT for fact in finished.sources)


async def test_what_the_action_saw_counts_first(bench: Bench) -> None:
    async def perform(context: ActionContext) -> ActionResult:
        seen = (Observation(name="shelf.count", value=3),)
        return ActionResult(status="done", summary="Counted", observations=seen)

    bench.shelf.perform, bench.shelf.facts["shelf.count"] = perform, 99
    assert (await bench.perform("shelf.look", "shelf.count == 3")).outcome == "met"
    assert bench.shelf.looks == 0


async def test_it_looks_until_it_is_so(bench: Bench) -> None:
    began = bench.clock.now()
    bench.shelf.facts["shelf.state"] = lambda: "open" if bench.clock.now() - began >= timedelta(seconds=7) else "closed"
    working = asyncio.create_task(bench.perform("shelf.look", "Shelf open within 30s"))
    await _until(bench, working, most=30)
    assert working.result().outcome == "met"
    assert bench.clock.now() - began == timedelta(seconds=7)


async def test_it_stops_looking_when_the_time_is_over(bench: Bench) -> None:
    began = bench.clock.now()
    bench.shelf.facts["shelf.state"] = "closed"
    working = asyncio.create_task(bench.perform("shelf.look", "Shelf open within 10s"))
    await _until(bench, working, most=30)
    finished = working.result()
    assert finished.outcome == "not met"
    assert "the 10s are over" in finished.summary or "10" in finished.summary
    assert bench.clock.now() - began == timedelta(seconds=10)


async def test_after_a_crash_the_time_counts_from_the_end_of_the_action(bench: Bench) -> None:
    await bench.perform("shelf.throw")  # ended now, says the journal
    await bench.clock.advance(8)
    began = bench.clock.now()
    bench.shelf.facts["shelf.state"] = "closed"
    working = asyncio.create_task(bench.perform("shelf.throw", "Shelf open within 10s"))
    await _until(bench, working, most=30)
    assert bench.clock.now() - began == timedelta(seconds=2)


@pytest.mark.parametrize("restarts", [1, 3])
async def test_a_look_that_is_interrupted_does_not_get_its_time_anew(bench: Bench, restarts: int) -> None:
    began = bench.clock.now()
    bench.shelf.facts["shelf.state"] = "closed"
    for _ in range(restarts):
        killed = asyncio.create_task(bench.perform("shelf.look", "Shelf open within 10s"))
        await _until(bench, killed, most=2)
        killed.cancel()
        await asyncio.wait([killed])
    working = asyncio.create_task(bench.perform("shelf.look", "Shelf open within 10s"))
    await _until(bench, working, most=30)
    assert working.result().outcome == "not met"
    assert bench.clock.now() - began == timedelta(seconds=10)


async def test_a_condition_that_is_interrupted_does_not_get_its_time_anew(bench: Bench) -> None:
    bench.shelf.facts["shelf.state"] = "closed"
    state = bench.state("shelf.put", condition='shelf.state == "open" within 10s')
    work = Work(kind="prepare", step=0, attempt=1, begun_at=bench.clock.now())
    await bench.clock.advance(60)  # it was being looked at, and the process died
    bench.shelf.facts["shelf.state"] = "open"
    prepared = await bench.performer.prepare(state, work)
    assert (prepared.condition, prepared.observed) == (
        "cannot tell",
        'shelf.state == "open" within 10s: shelf.state = "open"; '
        "it holds now, but this look came 50s late: the 10s are over",
    )


async def test_cancelled_in_the_middle_of_looking(bench: Bench) -> None:
    bench.shelf.facts["shelf.state"] = "closed"
    abort = asyncio.Event()
    working = asyncio.create_task(bench.perform("shelf.look", "Shelf open within 1h", abort=abort))
    await _until(bench, working, most=3)
    assert not working.done()
    abort.set()
    async with asyncio.timeout(5):
        finished = await working
    assert (finished.status, finished.outcome) == ("done", "not met")


async def _until(bench: Bench, working: asyncio.Task[Finished], most: int) -> None:
    """Let a second pass whenever the step sleeps."""
    for _ in range(most):
        async with asyncio.timeout(10):
            while not working.done() and not bench.clock._sleepers:
                await asyncio.sleep(0.001)
        if working.done():
            return
        await bench.clock.advance(1)
        await asyncio.sleep(0)


# -- what nobody expected


@pytest.mark.parametrize(
    ("action", "status"), [("shelf.look", "failed"), ("shelf.put", "uncertain"), ("shelf.throw", "uncertain")]
)
async def test_an_unexpected_exception_is_told_for_what_it_is(bench: Bench, action: str, status: str) -> None:
    async def perform(context: ActionContext) -> ActionResult:
        raise ZeroDivisionError("a bug \ud800")

    bench.shelf.perform = perform
    finished = await bench.perform(action)
    assert finished.status == status
    assert finished.summary.startswith(f"Unexpected ZeroDivisionError in {action}: a bug")
    assert await bench.perform(action) == finished  # and it is not tried again by itself


async def test_a_done_action_stays_done_when_its_facts_cannot_be_read(bench: Bench) -> None:
    bench.shelf.facts["shelf.count"] = RuntimeError("a bug")
    finished = await bench.perform("shelf.put", "shelf.count == 3")
    assert (finished.status, finished.outcome) == ("done", "cannot tell")
    assert "It is on the shelf" in finished.summary


async def test_what_a_product_must_not_say_cannot_break_the_run(bench: Bench) -> None:
    """Half surrogates, control characters, endless texts, values that JSON does not have."""
    facts: list[Any] = [
        "\ud800\x1b[2J",
        float("nan"),
        float("inf"),
        b"\xff",
        {1: {"\ud800"}},
        object(),
        [None, True, 2],
    ]

    async def perform(context: ActionContext) -> ActionResult:
        return ActionResult(
            status="done",
            summary="a \ud800 b",
            evidence="\udfff" + "x" * 100_000,
            observations=tuple(Observation(name="shelf.count", value=value, source="\ud800") for value in facts),
        )

    bench.shelf.perform = perform
    finished = await bench.perform("shelf.look", "shelf.count == 3")
    state = bench.state("shelf.look").model_copy(
        update={"steps": (StepState(summary=finished.summary, evidence=finished.evidence, sources=finished.sources),)}
    )
    stored = RunState.model_validate_json(state.model_dump_json())
    assert stored == state
    assert "\ud800" not in finished.summary
    assert len(finished.evidence) <= 64 * 1024
    json.dumps(finished.model_dump(mode="json"), allow_nan=False).encode()


@pytest.mark.parametrize("value", ["\ud800", float("nan"), b"\xff", object()])
async def test_facts_that_cannot_be_stored_are_made_storable(bench: Bench, value: Any) -> None:
    bench.shelf.facts["shelf.count"] = value
    finished = await bench.perform("shelf.look", "shelf.count == 3")
    assert finished.outcome != "met"
    json.dumps(finished.model_dump(mode="json"), allow_nan=False).encode()
    finished.model_dump_json()


async def test_a_full_disk_makes_a_step_wait_before_it_does_anything(bench: Bench) -> None:
    @sa.event.listens_for(sa.engine.Engine, "before_cursor_execute")
    def _full(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO opsbot_journal"):
            raise sa.exc.OperationalError(statement, {}, Exception("database or disk is full"))

    try:
        working = asyncio.create_task(bench.perform("shelf.put"))
        await asyncio.sleep(0.2)
        assert bench.shelf.things == []
        assert not working.done()
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", _full)
    async with asyncio.timeout(20):
        assert (await working).status == "done"
    assert len(bench.shelf.things) == 1


def test_a_product_declares_how_dangerous_its_actions_are() -> None:
    dangers = {action.name: action.danger for action in product.actions if isinstance(action, Action)}
    assert dangers["shelf.burn"] is Danger.DESTRUCTIVE
