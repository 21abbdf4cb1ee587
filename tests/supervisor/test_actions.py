"""``handle.quarantine_child()`` and its kin on real children: done only when it was seen, else what is true."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.errors import UserError
from bot.handler import Danger
from handlers.supervisor import product
from handlers.supervisor.actions import child
from handlers.supervisor.link import LinkError
from tests.supervisor.conftest import (
    CHILDREN,
    FAST,
    STEADY,
    Desk,
    Desks,
    Scripted,
    a_state,
    action,
    connected,
    said,
    until,
)


async def test_quarantine_stops_a_child_in_a_crash_loop_for_good(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    result = await desk.do("handle.quarantine_child()", "worker-3")
    assert result.status == "done"
    assert result.summary == "payments: worker-3 is quarantined and has no running attempt."
    record = await desk.record("worker-3")
    assert (record.operation, record.attempt, record.stop_state) == ("quarantined", None, "no_active_attempt")
    assert {fact.name: fact.value for fact in result.observations}["child.operation"] == "quarantined"
    assert ["worker-3", "quarantined"] in [row.split()[:2] for row in result.evidence.splitlines()]


async def test_quarantine_of_what_is_quarantined_sends_nothing(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.do("handle.quarantine_child()", "worker-1")
    again = await desk.do("handle.quarantine_child()", "worker-1")
    assert again.status == "done"
    assert again.summary.endswith("It was so before, nothing was sent.")
    assert desk.processes["payments"].executed == ["quarantine_child /worker-1"]


async def test_a_slow_child_is_waited_for(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    result = await desk.do("handle.pause_child()", "ledger-writer")
    assert result.summary == "payments: ledger-writer is paused and has no running attempt."


async def test_a_child_that_ignores_cancellation_is_no_success(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    result = await desk.do("handle.quarantine_child()", "fraud-scorer")
    assert result.status == "failed"
    assert "did not stop within the graceful timeout (stop_state failed)" in result.summary
    assert "labelled quarantined, but attempt 1 runs on" in result.summary
    assert (await desk.value("children.ignoring_cancellation")) == 1

    again = await desk.do("handle.quarantine_child()", "fraud-scorer")
    assert again.status == "failed"
    assert again.summary.endswith("It was so before, nothing was sent.")

    # A restart aborts what yields, as the process promises.
    restarted = await desk.do("handle.restart_child()", "fraud-scorer")
    assert restarted.summary == "payments: fraud-scorer runs attempt 2 after attempt 1."


async def test_restart_is_seen_by_its_new_attempt(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    result = await desk.do("handle.restart_child()", "worker-1")
    assert (result.status, result.summary) == ("done", "payments: worker-1 runs attempt 2 after attempt 1.")


async def test_resume_starts_nothing_and_says_so(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.do("handle.pause_child()", "worker-1")
    resumed = await desk.do("handle.resume_child()", "worker-1")
    assert resumed.summary == "payments: worker-1 is called active; no attempt runs."
    assert await desk.value("child.running") is False
    restarted = await desk.do("handle.restart_child()", "worker-1")
    assert restarted.summary == "payments: worker-1 runs attempt 2 after no attempt."


async def test_remove_leaves_no_slot_and_a_restart_brings_a_declared_child_back(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    removed = await desk.do("handle.remove_child()", "worker-1")
    assert removed.summary == "payments: worker-1 has no record any more."
    assert await desk.record("worker-1") is None
    assert (await desk.value("target_count"), await desk.value("children.running")) == (1, 1)
    with pytest.raises(UserError, match=r"was removed; only handle\.restart_child"):
        await desk.do("handle.pause_child()", "worker-1")
    back = await desk.do("handle.restart_child()", "worker-1")
    assert back.summary == "payments: worker-1 runs attempt 2 after no attempt."


async def test_an_unknown_child_is_refused_before_anything_is_sent(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    for name in ("quarantine", "pause", "resume", "restart", "remove"):
        with pytest.raises(UserError, match=r'There is no child "worker-9" in payments\. Did you mean worker-1'):
            await desk.do(f"handle.{name}_child()", "worker-9")
        with pytest.raises(UserError, match='There is no child "worker-9"'):
            await desk.preview(f"handle.{name}_child()", "worker-9")
    assert desk.processes["payments"].executed == []
    assert await desk.value("children.ghosts") == 0


async def test_the_preview_is_the_request_and_does_not_change(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    preview = await desk.preview("handle.remove_child()", "worker-3")
    assert await desk.preview("handle.remove_child()", "worker-3") == preview
    request = json.loads(preview.detail)
    assert request == {
        "request_id": "<a new UUID>",
        "method": "command.remove_child",
        "params": {
            "command_id": "<a new UUID>",
            "target_id": "payments",
            "command": "remove_child",
            "target": {"child_path": "/worker-3"},
            "reason": "crash loop",
            "requested_by": "opsbot:slack:U0ALICE",
            "confirmed": True,
            "requested_at_unix_nanos": "<now, in nanoseconds>",
        },
    }
    assert desk.processes["payments"].executed == []


# --- the answer is lost -------------------------------------------------------------------------------------------


async def test_carried_out_and_the_answer_lost(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    desk.faults["payments"].active = {"close-after-command"}
    result = await desk.do("handle.quarantine_child()", "worker-1")
    assert result.status == "done"
    assert result.summary.endswith("The answer was lost; this was read from the state.")
    assert desk.processes["payments"].executed == ["quarantine_child /worker-1"]


async def test_lost_and_not_carried_out(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    desk.faults["payments"].active = {"close-before-command"}
    result = await desk.do("handle.remove_child()", "worker-1")
    assert result.status == "failed"
    assert "the connection was lost after command.remove_child was sent" in result.summary
    assert "The state shows that it was not" in result.summary
    assert desk.processes["payments"].executed == []


async def test_a_control_loop_that_hangs_leaves_it_uncertain_until_it_answers_again(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    client = desk.handler.clients["payments"]
    client.target = client.target.model_copy(update={"stop_timeout": 0.6})
    faults, process = desk.faults["payments"], desk.processes["payments"]
    faults.active = {"hang-on-command"}
    result = await desk.do("handle.quarantine_child()", "worker-1")
    assert result.status == "uncertain"
    assert "no answer to command.quarantine_child within 0.5 s; it may still be carried out" in result.summary
    assert "Look with /supervisor status before trying again" in result.summary
    assert process.executed == []

    with pytest.raises(LinkError, match="the control loop is stalled"):  # so that the engine leaves it to a person
        await desk.check("handle.quarantine_child()", "worker-1")

    faults.active = set()
    await until(lambda: _true(process.executed == ["quarantine_child /worker-1"]))
    checked = await desk.check("handle.quarantine_child()", "worker-1")
    assert checked is not None
    assert checked.status == "done"


async def test_a_control_loop_that_comes_back_in_time_settles_it(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    faults, process = desk.faults["payments"], desk.processes["payments"]
    faults.active = {"hang-on-command"}
    doing = asyncio.create_task(desk.do("handle.quarantine_child()", "worker-1"))
    await until(lambda: _true("hang-control-loop" in faults.active and process.requests > 2))  # it is being followed
    faults.active = set()
    result = await doing
    assert result.status == "done"
    assert result.summary.endswith("The answer was lost; this was read from the state.")


async def _true(value: bool) -> bool:
    return value


async def test_a_command_that_nobody_answers_may_still_be_done_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state is answered and unchanged; that proves nothing while the command may wait somewhere."""
    monkeypatch.setattr(child, "SETTLE_SECONDS", 0.1)

    def deaf_to_commands(request: dict[str, Any]) -> bytes:
        return a_state(request) if request["method"] == "state" else b""

    async with Scripted(folder / "p.sock", deaf_to_commands) as process:
        handler = await connected({"payments": {"socket": folder / "p.sock", **FAST, "stop_timeout": 0.6}})
        result = await Desk(handler, {}, {}).do("handle.pause_child()", "steady")
        await handler.close()
    assert result.status == "uncertain"
    assert "steady: operation active, attempt 1, status running" in result.summary
    assert [request["method"] for request in process.requests].count("command.pause_child") == 1


async def test_accepted_is_not_done(folder: Path) -> None:
    """A process that takes every command and does nothing: what the oldest generation does, with records."""

    def yes(request: dict[str, Any]) -> bytes:
        if request["method"] == "state":
            return a_state(request)
        result = {"command_id": "c", "accepted": True, "status": "completed"}
        return said(request, type="command_result", target_id="t", result=result)

    async with Scripted(folder / "p.sock", yes):
        handler = await connected({"payments": {"socket": folder / "p.sock", **FAST, "stop_timeout": 0.3}})
        result = await Desk(handler, {}, {}).do("handle.quarantine_child()", "steady")
        await handler.close()
    assert result.status == "failed"
    assert "quarantine_child was accepted, but not seen within" in result.summary


# --- waiting ------------------------------------------------------------------------------------------------------


async def test_waiting_ends_at_the_deadline_of_the_step(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN, options={"graceful_timeout": 30.0})
    soon = datetime.now(UTC) + timedelta(seconds=0.6)
    result = await desk.do("handle.quarantine_child()", "fraud-scorer", deadline=soon)
    assert result.status == "failed"
    assert "quarantine_child was accepted, but not seen within 1 s" in result.summary
    assert "operation quarantined, attempt 1, status cancelling" in result.summary


async def test_a_cancelled_run_stops_waiting_and_says_what_was_sent(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN, options={"graceful_timeout": 30.0})
    abort = asyncio.Event()
    doing = asyncio.create_task(desk.do("handle.quarantine_child()", "fraud-scorer", abort=abort))
    await until(lambda: _true(bool(desk.processes["payments"].executed)))
    abort.set()
    result = await doing
    assert result.status == "uncertain"
    assert "The run was cancelled after quarantine_child was sent" in result.summary


# --- after the bot itself was stopped in the middle -----------------------------------------------------------------


async def test_check_tells_what_happened_from_what_did_not(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    for name in ("quarantine", "pause", "remove"):
        assert await desk.check(f"handle.{name}_child()", "worker-1") is None
    assert await desk.check("handle.restart_child()", "worker-1") is None  # its first attempt still runs

    await desk.do("handle.quarantine_child()", "worker-1")
    happened = await desk.check("handle.quarantine_child()", "worker-1")
    assert happened is not None
    assert happened.status == "done"
    assert await desk.check("handle.pause_child()", "worker-1") is None

    await desk.do("handle.remove_child()", "worker-2")
    gone = await desk.check("handle.remove_child()", "worker-2")
    assert gone is not None
    assert gone.summary == "payments: worker-2 has no record any more."

    await desk.do("handle.restart_child()", "ledger-writer")
    perhaps = await desk.check("handle.restart_child()", "ledger-writer")
    assert perhaps is not None
    assert perhaps.status == "uncertain"


async def test_check_follows_a_stop_that_is_under_way(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    client = desk.handler.clients["payments"]
    await client.command(
        "quarantine_child", target_id="payments", child_path="/ledger-writer", reason="r", requested_by="opsbot:x"
    )
    found = await desk.check("handle.quarantine_child()", "ledger-writer")
    assert found is not None
    assert (found.status, found.summary) == (
        "done",
        "payments: ledger-writer is quarantined and has no running attempt.",
    )


# --- reading --------------------------------------------------------------------------------------------------------


async def test_current_state_is_evidence_that_can_be_read(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    await desk.do("handle.pause_child()", "worker-2")
    result = await desk.do("current_state()", "worker-1")
    assert result.summary == "payments: 1 of 2 children run; worker-2 is paused."
    assert result.evidence.splitlines() == [
        "Child     State    Attempt  Failures             Last stop",
        "worker-1  running  1        0 in 60 s, no limit  idle",
        "worker-2  paused   -        0 in 60 s, no limit  no_active_attempt",
    ]


async def test_health_says_where_each_number_comes_from(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    result = await desk.do("handle.health().control_loop_iterations", "worker-1")
    assert "the control loop answers" in result.summary
    assert "iterations_per_sec = " in result.evidence
    assert "the process counts no iterations" in result.evidence


def test_every_change_can_be_previewed_and_checked() -> None:
    changes = [one for one in product.actions if one.danger is not Danger.READ]
    assert [one.name for one in changes if one.preview is None or one.check is None] == []
    assert action("handle.remove_child()").danger is Danger.DESTRUCTIVE
    assert action("quarantine_child()").danger is Danger.CHANGE
