"""Facts that are honest: what the software does not tell is derived and says how, or cannot be told and says why."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bot.clock import ManualClock, SystemClock
from bot.demo.somas_projects import generate
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from bot.handler import Handler, Observation, Product, Provenance, Services, Target
from handlers import somas, supervisor
from handlers.somas.settings import SomasSettings
from handlers.supervisor.settings import SupervisorSettings
from tests.somas.conftest import NOW, run_blocking

CHILD = Target(product="supervisor", kind="child", name="worker-1", scope="payments")
GUESSES = re.compile(r"\b(?:probably|assume|default(?:s)? to|maybe)\b", re.IGNORECASE)

# Every name of the user's supervisor runbook, and how far the process tells it.
NAMES: Mapping[str, Provenance] = {
    "health.status": Provenance.DERIVED,
    "health.dashboard_link": Provenance.DERIVED,
    "dashboard_link": Provenance.DERIVED,
    "health.uptime_secs": Provenance.DERIVED,
    "health.control_loop_iterations": Provenance.DERIVED,
    "iterations_per_sec": Provenance.DERIVED,
    "children.failed": Provenance.DERIVED,
    "children.running": Provenance.DERIVED,
    "target_count": Provenance.DERIVED,
    "child_runtime_records[].restart_count": Provenance.RENAMED,
    "restart_budget.tokens": Provenance.UNAVAILABLE,
    "CommandResult": Provenance.UNAVAILABLE,  # until the bot has sent a command
    "TaskExit": Provenance.UNAVAILABLE,
    "ShutdownPhase": Provenance.UNAVAILABLE,
    "BlockForever": Provenance.UNAVAILABLE,
    "IgnoreCancel": Provenance.UNAVAILABLE,
    "threshold": Provenance.UNAVAILABLE,
}


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Handler]:
    socket = tmp_path / "payments.sock"
    children = payment_children(crash_after=60, stop_takes=0.1)
    async with SupervisedProcess(ProcessConfig(socket=socket, name="payments", children=children)):
        settings = SupervisorSettings.model_validate({"targets": {"payments": {"socket": socket, "max_backoff": 0.2}}})
        handler = await supervisor.product.connect(settings, Services(SystemClock(), run_blocking))
        yield handler
        await handler.close()


def honest(fact: Observation) -> None:
    """A value or a reason, never both; what is not told under this very name says where it comes from."""
    if fact.provenance is Provenance.UNAVAILABLE:
        assert fact.value is None, f"{fact.name} cannot be known and is {fact.value!r}"
    if fact.provenance is not Provenance.EXACT:
        assert len(fact.source) > 10, f"{fact.name} does not say {'why' if fact.value is None else 'how'}"
    assert not GUESSES.search(fact.source), f"{fact.name} guesses: {fact.source}"


async def every_fact(product: Product, handler: Handler, target: Target) -> dict[str, Observation]:
    names = frozenset(fact.name for fact in product.facts)
    return {fact.name: fact for fact in await handler.observe(names, target, {})}


async def test_the_names_of_the_supervisor_runbook(process: Handler) -> None:
    seen = {fact.name: fact for fact in await process.observe(frozenset(NAMES), CHILD, {})}
    assert {name: fact.provenance for name, fact in seen.items()} == dict(NAMES)
    for fact in seen.values():
        honest(fact)


async def test_every_fact_of_a_process_and_the_exact_ones_stand_in_its_answer(process: Any) -> None:
    state = await process.clients["payments"].state()
    answer = msgspec.to_builtins(state)
    for fact in (await every_fact(supervisor.product, process, CHILD)).values():
        honest(fact)
        declared = next(one for one in supervisor.product.facts if one.name == fact.name)
        assert fact.provenance in (declared.provenance, Provenance.UNAVAILABLE)
        if fact.provenance is Provenance.EXACT and fact.name.startswith("child_runtime_records[]."):
            row: Any = answer["child_runtime_records"][0]
            for key in fact.name.split(".")[1:]:
                assert key in row, f"{fact.name} does not stand in the answer under this name"
                row = row[key]


async def test_nothing_is_told_of_a_process_that_is_gone(tmp_path: Path) -> None:
    settings = SupervisorSettings.model_validate({"targets": {"payments": {"socket": tmp_path / "gone.sock"}}})
    handler = await supervisor.product.connect(settings, Services(SystemClock(), run_blocking))
    probed = frozenset({"health.status", "dashboard_link", "children.running", "health.uptime_secs", "TaskExit"})
    seen = {fact.name: fact for fact in await handler.observe(probed, CHILD, {})}
    assert seen["health.status"].value == "unreachable"
    assert seen["dashboard_link"].value == "disconnected"
    for name in ("children.running", "health.uptime_secs", "TaskExit"):
        assert seen[name].provenance is Provenance.UNAVAILABLE
        honest(seen[name])


async def test_every_fact_of_every_somas_project(tmp_path: Path) -> None:
    generate(tmp_path, NOW)
    settings = SomasSettings(root=tmp_path)
    handler = await somas.product.connect(settings, Services(ManualClock(NOW), run_blocking))
    projects = await handler.inventory("project")
    assert len(projects) > 5
    for name in projects:
        for fact in (
            await every_fact(somas.product, handler, Target(product="somas", kind="project", name=name))
        ).values():
            honest(fact)
