"""The simulation of a drill: made for one run, connected to nothing real, gone with the run."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bot.app import installed_products
from bot.clock import SystemClock
from bot.demo.rehearsal import SIMULATIONS, Rehearsals
from bot.errors import UserError
from bot.handler import Target
from bot.runbooks.model import Runbook
from bot.runs.model import Plan
from tests.runs.plans import plan, row

T = TypeVar("T")
PRODUCTS = {product.name: product for product in installed_products()}
STATE = frozenset({"children.running", "child.present"})


async def run_blocking(function: Callable[..., T], /, *args: Any) -> T:
    return await asyncio.to_thread(function, *args)


@pytest.fixture
async def rehearsals() -> AsyncIterator[Rehearsals]:
    made = Rehearsals(PRODUCTS, SystemClock(), run_blocking)
    yield made
    await made.close()


def drill(target: Target | None = None, *faults: str, run_id: str = "01JD0000000000000000000000") -> Plan:
    made = plan(row("Look"))
    return made.model_copy(
        update={"drill": True, "faults": faults, "run_id": run_id, "target": target or made.target},
    )


def book(product: str, kind: str) -> Runbook:
    return Runbook(id="R-1", title="R", product=product, target_kind=kind, steps=())


async def test_a_simulation_lasts_as_long_as_its_run(rehearsals: Rehearsals) -> None:
    connected, new = await rehearsals.connected(drill())
    assert connected is not None and new
    again, new = await rehearsals.connected(drill())
    assert again is connected and not new
    other, new = await rehearsals.connected(drill(run_id="01JD0000000000000000000001"))
    assert other is not connected and new
    (facts,) = [await connected.handler.observe(frozenset({"child.present"}), drill().target, {})]
    assert [fact.value for fact in facts] == [True]
    handler: Any = connected.handler
    folder = handler.settings.targets["payments"].socket.parent
    assert folder.exists() and folder.name.startswith("opsbot-drill-")
    rehearsals.end(drill().run_id)
    await rehearsals.close()
    assert not folder.exists()


async def test_a_child_that_the_simulation_has_not_is_added_with_its_fault(rehearsals: Rehearsals) -> None:
    target = Target(product="supervisor", kind="child", name="billing", scope="shop")
    connected, _ = await rehearsals.connected(drill(target, "crash-loop"))
    assert connected is not None
    async with asyncio.timeout(10):
        while True:
            (fact,) = await connected.handler.observe(frozenset({"child_runtime_records[].restart_count"}), target, {})
            if any(fact.value or []):
                break
            await asyncio.sleep(0.1)


async def test_a_process_that_hangs_is_told_by_the_handler(rehearsals: Rehearsals) -> None:
    connected, _ = await rehearsals.connected(drill(None, "control-loop-gone"))
    assert connected is not None
    assert "control loop is gone" in " ".join(await connected.handler.problems())


@pytest.mark.parametrize("product", sorted(SIMULATIONS))
async def test_every_fault_can_be_played(rehearsals: Rehearsals, product: str) -> None:
    names = tuple(SIMULATIONS[product].faults)
    assert rehearsals.faults(product, [name.replace("-", "_").upper() for name in names]) == names
    for number, name in enumerate(names):
        made = drill(rehearsals.target(book(product, ""), ""), name, run_id=f"01JD{number:022}")
        connected, _ = await rehearsals.connected(made)
        assert connected is not None


async def test_a_simulation_that_cannot_be_started_is_told(
    rehearsals: Rehearsals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(UserError, match="The simulation of Supervisor cannot be started"):
        await rehearsals.connected(drill())
    assert list(deep.iterdir()) == []


def test_targets_of_drills(rehearsals: Rehearsals) -> None:
    assert rehearsals.target(book("somas", "project"), "7").name == "project-7"
    assert rehearsals.target(book("somas", "project"), "").name == "project-42"
    assert rehearsals.target(book("supervisor", "child"), "").key == "supervisor/payments/child/worker-3"
    assert rehearsals.target(book("", ""), "").product == "runbook"
    with pytest.raises(UserError, match="cannot be a project"):
        rehearsals.target(book("somas", "project"), "../../etc")
    with pytest.raises(UserError, match="There is no simulation of kettle"):
        rehearsals.target(book("kettle", ""), "")
