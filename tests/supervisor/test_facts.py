"""``children.failed > 0``: every fact says where it comes from, and nothing is guessed."""

from __future__ import annotations

import pytest

from bot.errors import Unavailable
from bot.handler import Provenance, Target
from bot.runbooks import expectations
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.lint import check
from handlers.supervisor import product
from tests.supervisor.conftest import CHILDREN, STEADY, Desks, until


async def test_a_crash_loop_is_seen_in_the_records(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)

    async def looping() -> bool:
        return any(count == 3 for count in await desk.value("child_runtime_records[].restart_count", "worker-3"))

    await until(looping)
    assert await desk.value("children.failed", "worker-3") == 1
    assert await desk.value("child_runtime_records[].restart_count", "worker-1") == [0]
    everything = Target(product="supervisor", kind="target", name="payments")
    found = await desk.handler.observe(frozenset({"child_runtime_records[].restart_count"}), everything, {})
    assert len(found[0].value) == 5
    assert found[0].provenance is Provenance.RENAMED
    assert "failures within the window, not since the start" in found[0].source


async def test_all_declared_facts_can_be_asked_for(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    names = frozenset(fact.name for fact in product.facts)
    declared = {fact.name: fact.provenance for fact in product.facts}
    found = await desk.handler.observe(names, desk.context("worker-1").target, {})
    assert {one.name for one in found} == names
    for one in found:
        assert one.source
        assert one.provenance in (declared[one.name], Provenance.UNAVAILABLE)


async def test_what_nobody_tells_is_unavailable_with_the_reason(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    names = frozenset({"restart_budget.tokens", "TaskExit", "ShutdownPhase", "CommandResult", "no.such.fact"})
    found = await desk.handler.observe(names, desk.context("worker-1").target, {})
    assert {one.provenance for one in found} == {Provenance.UNAVAILABLE}
    assert {one.name: one.source for one in found}["TaskExit"].startswith(
        "exit reasons are not in the state, only in the log of the process. payments: no log is configured."
    )


async def test_an_input_comes_first(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    assert await desk.value("target_count") == 2
    assert await desk.value("target_count", target_count="7") == 7
    assert await desk.value("target_count", target_count="") == 2


async def test_the_last_command_is_a_fact(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.do("handle.pause_child()", "worker-1")
    assert await desk.value("CommandResult", "worker-1") == "Accepted"
    assert await desk.value("CommandResult", "worker-2") is None


async def test_a_removed_child_is_absent_not_unknown(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.do("handle.remove_child()", "worker-1")
    assert await desk.value("child.operation", "worker-1") == "absent"
    assert await desk.value("child.present", "worker-1") is False
    assert await desk.value("child.attempt", "worker-1") is None


async def test_a_process_that_is_down_is_a_finding_for_the_link_and_an_error_for_the_rest(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.processes["payments"].stop()
    assert await desk.value("dashboard_link") == "disconnected"
    assert await desk.value("process.running") is False
    both = frozenset({"dashboard_link", "children.running"})
    found = await desk.handler.observe(both, desk.context("worker-1").target, {})
    assert [one.provenance for one in found] == [Provenance.UNAVAILABLE, Provenance.DERIVED]
    with pytest.raises(Unavailable, match="there is no socket"):
        await desk.value("children.running")


def test_phrases_are_expectations_over_facts_that_exist() -> None:
    facts = {fact.name for fact in product.facts}
    for phrase, meaning in product.phrases.items():
        tree = expectations.parse(phrase, product.phrases)
        assert expectations.names(tree) <= facts, phrase
        assert tree == expectations.parse(meaning, {}), phrase


@pytest.mark.parametrize(
    "lie",
    [
        "Process running",
        "No child in BlockForever or IgnoreCancel state",
        "Budget exhausted; child quarantined automatically",
    ],
)
def test_what_cannot_be_checked_stays_a_question(lie: str) -> None:
    assert expectations.questions(expectations.parse(lie, product.phrases))


def test_the_procedure_compiles() -> None:
    library = RunbookLibrary([product])
    report = check(library)
    assert library.problems == ()
    assert report.errors == ()
    runbook = library.get("P1-002")
    assert runbook.total is not None
    budgets = [step.budget for step in runbook.steps]
    assert sum(budget.total_seconds() for budget in budgets if budget) == runbook.total.total_seconds() == 480
    assert runbook.inputs == {"threshold": "2"}
