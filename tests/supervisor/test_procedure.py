"""P1-002 on a child in a crash loop, row by row: from the symptom to a process whose other children all run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from bot.runbooks import expectations
from bot.runbooks.expectations import Verdict, Watch
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.model import Step
from handlers.supervisor import product
from tests.supervisor.conftest import CHILDREN, WAIT_SECONDS, Desk, Desks

INPUTS = {"threshold": "2"}


async def judged(desk: Desk, step: Step) -> Verdict:
    """What came of the row's expectation on worker-3."""
    tree = expectations.parse(step.expectation, product.phrases)
    watch = Watch(tree, datetime.now(UTC), None, timedelta(seconds=0.1))
    target = desk.context("worker-3").target
    async with asyncio.timeout(2 * WAIT_SECONDS):
        while True:
            found = await desk.handler.observe(expectations.names(tree), target, INPUTS)
            answer = watch.feed(datetime.now(UTC), {one.name: one for one in found})
            if isinstance(answer, Verdict):
                return answer
            await asyncio.sleep(max(0.0, (answer.next_look_at - datetime.now(UTC)).total_seconds()))


async def test_every_row_that_the_bot_does_is_met(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    runbook = RunbookLibrary([product]).get("P1-002")
    shown = []
    for step in runbook.steps:
        if step.action is None:
            shown.append(f"{step.number} by a person")
            continue
        result = await desk.do(step.action, "worker-3", inputs=INPUTS)
        verdict = await judged(desk, step)
        shown.append(f"{step.number} {step.action} {result.status}, {verdict.outcome}")
    assert shown == [
        "1 handle.current_state() done, met",
        "2 exit_reason() manual, cannot tell",  # no log is configured
        "3 handle.restart_budget() done, nothing expected",
        "4 handle.quarantine_child() done, met",
        "5 handle.remove_child() done, met",
        "6 handle.current_state() done, met",
    ]
    assert desk.processes["payments"].executed == ["quarantine_child /worker-3", "remove_child /worker-3"]
    assert await desk.value("children.running") == await desk.value("target_count") == 4


async def test_the_symptom_is_not_seen_in_a_healthy_child(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN[:2])
    found = await desk.handler.observe(
        frozenset({"children.failed", "child_runtime_records[].restart_count"}), desk.context("worker-1").target, INPUTS
    )
    assert {one.name: one.value for one in found} == {
        "children.failed": 0,
        "child_runtime_records[].restart_count": [0],
    }
