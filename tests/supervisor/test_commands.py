"""``/supervisor status``, ``quarantine``, ``runbook`` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.commands.registry import Answer, StartRun
from bot.demo.supervised_process import ChildSpec
from bot.errors import Unavailable, UserError
from bot.messages import Button, Buttons, plain_text
from tests.supervisor.conftest import CHILDREN, FAST, STEADY, Desk, Desks, Scripted, a_state, connected, until


def text(reply: object) -> str:
    assert isinstance(reply, Answer)
    return plain_text(reply.message.blocks)


def buttons(reply: object) -> list[Button]:
    assert isinstance(reply, Answer)
    return [button for block in reply.message.blocks if isinstance(block, Buttons) for button in block.items]


async def test_status_of_a_healthy_process(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    reply = await desk.type("/supervisor status")
    shown = text(reply)
    assert "payments: 2 of 2 children run" in shown
    assert "Link: connected, pid " in shown
    assert "(start of pid " in shown
    assert "generation B or C (they differ after the first command)" in shown
    assert isinstance(reply, Answer)
    assert reply.message.colour == "good"
    assert buttons(reply) == []


async def test_status_names_the_child_that_fails_and_offers_what_applies(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)

    async def crashed() -> bool:
        return bool(await desk.value("children.failed"))

    await until(crashed)
    reply = await desk.type("/supervisor status payments")
    assert "worker-3: last failed 0 s ago" in text(reply)
    assert [button.command for button in buttons(reply)] == [
        "/supervisor runbook P1-002 worker-3 --target payments",
        "/supervisor quarantine worker-3 --target payments",
    ]
    for button in buttons(reply):
        assert isinstance(await desk.type(button.command), StartRun)


async def test_status_does_not_call_a_given_up_child_running(desks: Desks) -> None:
    doomed = ChildSpec("doomed", "crash_loop", crash_after=0.06, backoff=0.01, restart_limit=1, window=0.3)
    desk = await desks(payments=(doomed, ChildSpec("worker-1")))

    async def given_up() -> bool:
        record = await desk.record("doomed")
        return bool(record.restart_limit.exhausted)

    await until(given_up)
    shown = text(await desk.type("/supervisor status"))
    assert "called running, no attempt (backing off or given up)" in shown
    assert "1 of 1 in 0 s, exhausted" in shown
    assert await desk.value("children.failed") == 1
    # Once its window is over, only several samples tell a dead child from a pause between two attempts.

    async def window_over() -> bool:
        await desk.do("handle.current_state()", "doomed")
        found = await desk.handler.observe(frozenset({"children.failed"}), desk.context("doomed").target, {})
        return "no attempt in" in found[0].source

    await until(window_over)
    assert await desk.value("children.failed") == 1


async def test_status_of_one_that_is_down_beside_one_that_is_up(desks: Desks) -> None:
    desk = await desks(payments=STEADY, orders=STEADY)
    await desk.processes["orders"].stop()
    reply = await desk.type("/supervisor status")
    shown = text(reply)
    assert "payments: 2 of 2 children run" in shown
    assert "Not reached. There is no socket at " in shown
    assert isinstance(reply, Answer)
    assert reply.message.colour == "bad"
    assert await desk.handler.problems() == [
        f"orders: there is no socket at {desk.handler.clients['orders'].target.socket}. The process is not running, or "
        "serves another path: compare dashboard.path of its configuration with socket here."
    ]


async def test_many_processes_are_one_line_each(desks: Desks) -> None:
    desk = await desks(a=STEADY, b=STEADY, c=STEADY, d=STEADY)
    shown = text(await desk.type("/supervisor status"))
    assert shown.splitlines()[:2] == ["Process | Link | Children", "a | connected | 2 of 2 children run"]


async def test_quarantine_starts_a_run_of_one_step(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    run = await desk.type('/supervisor quarantine worker-3 --reason "crash loop" --dry-run')
    assert isinstance(run, StartRun)
    assert run.target.key == "supervisor/payments/child/worker-3"
    assert (run.reason, run.dry_run, run.changes) == ("crash loop", True, True)
    (step,) = run.runbook.steps
    assert step.action == "handle.quarantine_child()"
    assert step.expectation == "Child marked as `Quarantined` within 30s"
    assert desk.processes["payments"].executed == []


async def test_a_mistyped_child_is_answered_with_commands_that_work(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    with pytest.raises(UserError) as refused:
        await desk.type("/supervisor quarantine worker-33 --reason loop")
    assert "worker-3" in refused.value.message
    assert "/supervisor quarantine worker-3 --reason loop" in refused.value.suggestions
    assert isinstance(await desk.type("/supervisor quarantine worker-3 --reason loop"), StartRun)


async def test_a_child_of_two_processes_needs_its_target(desks: Desks) -> None:
    desk = await desks(payments=STEADY, orders=STEADY)
    with pytest.raises(UserError) as refused:
        await desk.type('/supervisor quarantine worker-1 --reason "too slow"')
    assert refused.value.message == "worker-1 exists in orders and in payments. Say which with --target."
    assert refused.value.suggestions == (
        '/supervisor quarantine worker-1 --reason "too slow" --target payments',
        '/supervisor quarantine worker-1 --reason "too slow" --target orders',
    )
    run = await desk.type(refused.value.suggestions[1])
    assert isinstance(run, StartRun)
    assert run.target.scope == "orders"


async def test_a_process_that_cannot_be_asked_might_have_it_too(desks: Desks) -> None:
    desk = await desks(payments=STEADY, orders=STEADY)
    await desk.processes["orders"].stop()
    with pytest.raises(UserError, match="orders could not be asked") as refused:
        await desk.type("/supervisor quarantine worker-1")
    assert refused.value.suggestions == ("/supervisor quarantine worker-1 --target payments",)


async def test_a_child_of_another_process_is_not_taken(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN, orders=STEADY)
    with pytest.raises(UserError, match='There is no child "worker-3" in orders') as refused:
        await desk.type("/supervisor quarantine worker-3 --target orders")
    assert "/supervisor quarantine worker-1" in refused.value.suggestions


async def test_a_child_of_a_process_that_went_down_is_told_what_is_wrong(desks: Desks) -> None:
    desk = await desks(payments=STEADY, orders=(*STEADY, ChildSpec("packer")))
    assert isinstance(await desk.type("/supervisor quarantine packer"), StartRun)
    await desk.processes["orders"].stop()
    with pytest.raises(Unavailable, match="orders: there is no socket at"):
        await desk.type("/supervisor quarantine packer --target orders")


async def test_a_process_that_is_not_driven_is_shown_with_the_reason(folder: Path) -> None:
    async with Scripted(folder / "p.sock", lambda request: a_state(request, child_runtime_records=...)):
        desk = Desk(await connected({"payments": {"socket": folder / "p.sock", **FAST}}), {}, {})
        shown = text(await desk.type("/supervisor status"))
        await desk.handler.close()
    assert "Connected, not driven. Refused: its state holds no child_runtime_records" in shown
    assert "Upgrade the crate to 0.1.4" in shown


async def test_nothing_answers_at_all(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.processes["payments"].stop()
    with pytest.raises(Unavailable, match="there is no socket at"):
        await desk.type("/supervisor quarantine worker-1")


async def test_runbook_starts_the_procedure_on_the_child(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    run = await desk.type("/supervisor runbook p1-002 worker-3 --threshold 5 --target-count 4")
    assert isinstance(run, StartRun)
    assert (run.runbook.id, run.target.name, run.target.scope) == ("P1-002", "worker-3", "payments")
    assert run.inputs == {"threshold": "5", "target_count": "4"}
    assert run.changes
    assert [step.action for step in run.runbook.steps] == [
        "handle.current_state()",
        "exit_reason()",
        "handle.restart_budget()",
        "handle.quarantine_child()",
        "handle.remove_child()",
        "handle.current_state()",
    ]


async def test_runbook_says_what_it_misses(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    with pytest.raises(UserError, match="P1-002 works on one child") as refused:
        await desk.type("/supervisor runbook P1-002")
    assert "/supervisor runbook P1-002 worker-1" in refused.value.suggestions
    with pytest.raises(UserError, match=r"There is no procedure .P1-22.") as unknown:
        await desk.type("/supervisor runbook P1-22 worker-1")
    assert unknown.value.suggestions[0] == "/supervisor runbook P1-002 worker-1"
