"""What a command really does, row by row of the protocol notes, in both worlds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from bot.demo.supervised_process import ChildSpec
from tests.real_supervisor.conftest import World
from tests.real_supervisor.session import Line

STEADY = (ChildSpec("worker-1"), ChildSpec("worker-2"))
CRASHING = (ChildSpec("worker-1"), ChildSpec("worker-3", "crash_loop", crash_after=0.05, backoff=0.01))
SLOW = (ChildSpec("worker-1"), ChildSpec("ledger-writer", "slow_to_stop", stop_takes=0.6))
STUBBORN = (ChildSpec("worker-1"), ChildSpec("fraud-scorer", "ignores_cancellation"))


async def ids(line: Line) -> list[str]:
    return [record["child_id"] for record in (await line.state())["child_runtime_records"]]


async def the(line: Line, child: str) -> dict[str, Any]:
    record = await line.record(child)
    assert record is not None
    return record


async def test_completed_means_only_that_it_was_handled(world: World) -> None:
    line = await world.serve(children=STEADY)
    for command in ("pause_child", "quarantine_child", "remove_child", "restart_child", "resume_child"):
        result = await line.command(command, "/typo")
        assert (result["accepted"], result["status"]) == (True, "completed")


async def test_only_resume_of_an_unknown_child_leaves_a_ghost(world: World) -> None:
    line = await world.serve(children=STEADY)
    for command in ("pause_child", "quarantine_child", "remove_child", "restart_child"):
        await line.command(command, "/typo")
    assert await ids(line) == ["worker-1", "worker-2"]
    await line.command("resume_child", "/typo")
    assert await ids(line) == ["worker-1", "worker-2", "typo"]
    assert (await the(line, "typo"))["attempt"] is None
    assert len((await line.state())["topology"]["nodes"]) == 3  # the root and two children
    # And restart does not make a child of it.
    fence = (await line.command("restart_child", "/typo"))["state_delta"]["outcome"]["generation_fence"]
    assert fence["decision"] == "rejected"


async def test_pause_ends_the_attempt_and_nothing_starts_again(world: World) -> None:
    line = await world.serve(children=STEADY)
    await line.command("pause_child", "/worker-1")
    await line.until("worker-1", {"operation": "paused", "attempt": None, "stop_state": "no_active_attempt"})


async def test_resume_changes_the_label_and_starts_nothing(world: World) -> None:
    line = await world.serve(children=STEADY)
    await line.command("pause_child", "/worker-1")
    await line.until("worker-1", {"attempt": None})
    await line.command("resume_child", "/worker-1")
    await line.until("worker-1", {"operation": "active", "managed_child_state": "running", "attempt": None})
    # The row says running: it follows the label.
    row = (await line.state())["runtime_state"][0]
    assert (row["lifecycle_state"], row["child_start_count"]) == ("running", 0)
    await line.command("restart_child", "/worker-1")
    await line.until("worker-1", {"attempt": 2, "generation": 1, "status": "running"})


async def test_restart_waits_for_the_old_attempt(world: World) -> None:
    line = await world.serve(children=SLOW, graceful_timeout=5.0)
    outcome = (await line.command("restart_child", "/ledger-writer"))["state_delta"]["outcome"]
    assert outcome["generation_fence"]["decision"] == "queued_after_stop"
    waiting = await the(line, "ledger-writer")
    assert (waiting["attempt"], waiting["generation_fence_phase"]) == (1, "waiting_for_old_stop")
    assert waiting["pending_restart"] == {"old_generation": 0, "old_attempt": 1, "target_generation": 1}
    done = {"attempt": 2, "status": "running", "generation_fence_phase": "open", "pending_restart": None}
    await line.until("ledger-writer", done)


async def test_restart_lifts_a_quarantine(world: World) -> None:
    line = await world.serve(children=STEADY)
    await line.command("quarantine_child", "/worker-1")
    await line.until("worker-1", {"operation": "quarantined", "attempt": None})
    await line.command("restart_child", "/worker-1")
    await line.until("worker-1", {"operation": "active", "attempt": 2})


async def test_remove_is_undone_by_restart_and_the_topology_never_changes(world: World) -> None:
    line = await world.serve(children=STEADY)
    await line.command("remove_child", "/worker-1")
    await line.until("worker-1", None)
    assert len((await line.state())["topology"]["nodes"]) == 3
    await line.command("restart_child", "/worker-1")
    await line.until("worker-1", {"operation": "active", "attempt": 2})


async def test_a_child_that_ignores_its_stop_fails_it_and_only_when_somebody_looks(world: World) -> None:
    line = await world.serve(children=STUBBORN, graceful_timeout=0.2)
    await line.command("quarantine_child", "/fraud-scorer")
    record = await the(line, "fraud-scorer")
    assert (record["operation"], record["status"], record["stop_state"]) == (
        "quarantined",
        "cancelling",
        "cancel_delivered",
    )
    await line.until("fraud-scorer", {"stop_state": "failed", "attempt": 1, "status": "cancelling"})
    failure = (await the(line, "fraud-scorer"))["failure"]
    assert (failure["phase"], failure["recoverable"]) == ("wait_completion", True)


async def test_restart_of_a_child_that_ignores_its_stop_aborts_the_old_attempt(world: World) -> None:
    line = await world.serve(children=STUBBORN, graceful_timeout=0.2)
    await line.command("restart_child", "/fraud-scorer")
    await line.until("fraud-scorer", {"attempt": 2, "status": "running", "generation_fence_phase": "open"})


async def test_three_crashes_in_ten_seconds_and_the_child_is_dead_and_called_running(world: World) -> None:
    line = await world.serve(children=tuple(replace(child, restart_limit=10_000) for child in CRASHING))
    await line.until("worker-3", {"attempt": None, "restart_limit.used": 3})
    for _ in range(5):  # longer than any back-off here: it is over
        await asyncio.sleep(0.05)
        record = await the(line, "worker-3")
        assert (record["operation"], record["managed_child_state"]) == ("active", "running")
        assert (record["attempt"], record["restart_limit"]["used"]) == (None, 3)
        assert (record["restart_limit"]["exhausted"], record["failure"]) == (False, None)
    # A restart by hand is one more attempt, and one more crash.
    await line.command("restart_child", "/worker-3")
    await line.until("worker-3", {"attempt": None, "restart_limit.used": 4})
    assert (await the(line, "worker-1"))["attempt"] == 1


async def test_shutdown_keeps_the_control_loop_busy_and_hello_answered(world: World) -> None:
    first = await world.serve(children=SLOW, graceful_timeout=5.0)
    second = await world.line()
    began = time.monotonic()
    down = asyncio.create_task(first.command("shutdown_tree", None, target={}))
    await asyncio.sleep(0.1)
    looking = asyncio.create_task(second.state())
    assert (await (await world.line()).ask("hello"))["ok"]
    assert not looking.done()
    assert not down.done()
    report = (await down)["state_delta"]["result"]
    assert time.monotonic() - began >= 0.5
    assert (report["phase"], report["idempotent"]) == ("Completed", False)
    ends = {end["child_id"]["value"]: (end["status"], end["exit"]) for end in report["report"]["outcomes"]}
    assert ends == {"worker-1": ("Graceful", "Cancelled"), "ledger-writer": ("Graceful", "Cancelled")}
    assert {row["shutdown_state"] for row in (await looking)["runtime_state"]} == {"completed"}
    # Process and socket stay, and nothing in it starts again.
    again = (await first.command("shutdown_tree", None, target={}))["state_delta"]["result"]
    assert again["idempotent"]
    fence = (await first.command("restart_child", "/worker-1"))["state_delta"]["outcome"]["generation_fence"]
    assert fence["decision"] == "blocked_by_shutdown"


async def test_shutdown_tells_what_a_dead_child_died_of_and_nothing_else_does(world: World) -> None:
    line = await world.serve(children=CRASHING)
    await line.until("worker-3", {"attempt": None, "restart_limit.used": 3})
    assert "4711" not in str(await line.state())
    report = (await line.command("shutdown_tree", None, target={}))["state_delta"]["result"]["report"]
    dead = next(end for end in report["outcomes"] if end["child_id"]["value"] == "worker-3")
    assert dead["status"] == "AlreadyExited"
    assert dead["exit"]["Failed"]["message"] == "worker-3: invoice 4711 has no currency"
    # The report's own verdict is a constant: it says so of a tree of which it looked at nothing.
    assert (report["reconcile"]["verified_clean"], report["reconcile"]["total_slots_checked"]) == (True, 0)


async def test_an_aborted_child_is_told_as_such(world: World) -> None:
    line = await world.serve(children=STUBBORN, graceful_timeout=0.2, abort_wait=0.5)
    report = (await line.command("shutdown_tree", None, target={}))["state_delta"]["result"]["report"]
    assert [(end["child_id"]["value"], end["status"]) for end in report["outcomes"]] == [
        ("fraud-scorer", "Aborted"),
        ("worker-1", "Graceful"),
    ]


async def test_add_starts_what_has_a_factory_and_restart_knows_it(world: World) -> None:
    line = await world.serve(children=STEADY)
    manifest = {"child_path": None, "child_manifest": "name: extra\nfactory_key: steady\n"}
    added = await line.command("add_child", None, target=manifest)
    assert added["state_delta"] == {"type": "child_added", "child_manifest": manifest["child_manifest"]}
    await line.until("extra", {"attempt": 1, "status": "running"})
    assert not (await line.command("add_child", None, target=manifest))["accepted"]
    await line.command("restart_child", "/extra")
    await line.until("extra", {"attempt": 2})


async def test_a_state_read_changes_nothing_and_a_command_counts_one(world: World) -> None:
    line = await world.serve(children=STEADY)
    first, second = await line.state(), await line.state()
    assert first["state_generation"] == second["state_generation"] == 1
    assert first["generated_at_unix_nanos"] == second["generated_at_unix_nanos"]
    await line.command("pause_child", "/typo")
    assert (await line.state())["state_generation"] == 2


async def test_without_registration_only_hello_fails(world: World) -> None:
    line = await world.serve(children=STEADY, registration=False)
    error = (await line.ask("hello"))["error"]
    assert (error["code"], error["stage"]) == ("validation_failed", "registration")
    assert await ids(line) == ["worker-1", "worker-2"]
