"""P1-001, P1-003 and P1-004 on a process that is well, one that hangs and one that is gone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from bot.errors import UserError
from bot.handler import Observation, Provenance, Target
from bot.runbooks import expectations
from bot.runbooks.expectations import Verdict, Watch
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.model import Runbook
from handlers.supervisor import product
from tests.supervisor.conftest import STEADY, Desk, Desks

LIBRARY = RunbookLibrary([product])
PROCESS = Target(product="supervisor", kind="target", name="payments")
CHILD = Target(product="supervisor", kind="child", name="worker-1", scope="payments")


async def outcome(desk: Desk, runbook: Runbook, text: str) -> str:
    """What a condition or an expectation of the runbook comes to; spans of time run a hundred times as fast."""
    tree = expectations.parse(text, product.phrases)
    target = CHILD if runbook.target_kind == "child" else PROCESS
    inputs = {
        # A machine that is busy with other tests answers more slowly than a process that is well.
        name: Observation(name=name, value=2 if name == "slow" else int(v), provenance=Provenance.INPUT)
        for name, v in runbook.inputs.items()
    }
    now = datetime.now(UTC)
    watch = Watch(tree, now, None, timedelta(seconds=1))
    async with asyncio.timeout(20):
        while True:
            wanted = expectations.names(tree) - inputs.keys()
            try:
                found = {one.name: one for one in await desk.handler.observe(wanted, target, {})}
            except UserError:  # the engine takes that for facts that nobody can tell
                found = {}
            answer = watch.feed(now, found | inputs)
            if isinstance(answer, Verdict):
                return answer.outcome
            now = answer.next_look_at
            await asyncio.sleep(0.01)


async def shown(desk: Desk, runbook: Runbook) -> list[str]:
    """Each row: its condition, or its expectation where the bot acts."""
    rows = []
    for step in runbook.steps:
        text = f"{step.number}"
        needed = "met"
        if step.condition:
            needed = await outcome(desk, runbook, step.condition)
            text += f" if: {needed}"
        if step.expectation and needed == "met":
            text += f" expects: {await outcome(desk, runbook, step.expectation)}"
        rows.append(text)
    return rows


@pytest.mark.parametrize("name", ["P1-001", "P1-003", "P1-004"])
async def test_every_action_of_the_procedures_is_there(name: str) -> None:
    known = {each.name for each in product.actions}
    assert {step.action for step in LIBRARY.get(name).steps if step.action} <= known


async def test_a_process_that_is_well_needs_nothing(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    assert await shown(desk, LIBRARY.get("P1-001")) == [
        "1",
        "2 if: not met",
        "3 if: not met",
        "4 if: not met",
        "5 if: not met",
        "6 expects: met",
    ]
    assert await shown(desk, LIBRARY.get("P1-003")) == [
        "1",
        "2",
        "3 if: not met",  # no relay is configured
        "4 if: not met",
        "5 if: not met",
        "6 expects: met",
    ]
    assert await shown(desk, LIBRARY.get("P1-004")) == [
        "1",
        "2 if: not met",
        "3 if: not met",
        "4 if: not met",
        "5 expects: met",
    ]


async def test_a_process_that_is_gone_has_to_be_started(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.processes["payments"].__aexit__(None, None, None)
    assert await shown(desk, LIBRARY.get("P1-001")) == [
        "1",
        "2 if: met expects: cannot tell",  # no log is configured
        "3 if: cannot tell",
        "4 if: not met",  # it has taken its socket along
        "5 if: met expects: not met",
        "6 expects: not met",
    ]
    assert await shown(desk, LIBRARY.get("P1-003")) == [
        "1",
        "2",
        "3 if: not met",
        "4 if: not met",
        "5 if: met expects: not met",
        "6 expects: not met",
    ]


async def test_a_control_loop_that_hangs_is_starvation(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    desk.faults["payments"].active.add("hang-control-loop")
    rows = await shown(desk, LIBRARY.get("P1-004"))
    assert rows[0:2] == ["1", "2 if: met"]
    assert rows[2] == "3 if: met expects: cannot tell"  # a stalled loop tells nothing of its children
    assert rows[3] == "4 if: cannot tell"
    assert rows[4] == "5 expects: not met"
    desk.faults["payments"].active.clear()
    assert (await shown(desk, LIBRARY.get("P1-004")))[4] == "5 expects: met"
