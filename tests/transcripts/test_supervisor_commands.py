"""Every command of ``/supervisor`` as people see it, against a process whose children really run."""

from __future__ import annotations

from pathlib import Path

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import Chat
from tests.transcripts.test_supervisor_transcript import crashed, now


async def approved(chat: Chat, asked: object, target: str) -> None:
    form = await chat.opens("bob", "Approve…", asked)  # type: ignore[arg-type]  # what chat.sees() returned
    await chat.sends("bob", form, {f"Type {target} to approve": target})


async def test_the_tree_is_drawn_and_a_crash_loop_does_not_count_as_running(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    await crashed(process, 2)
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("carol", "/supervisor tree")
        drawn = await chat.sees("payments: 4 of 5 children run; worker-3 fails: last failed", "├── ✓ worker-1")
        assert "✗ worker-3" in drawn.shown
        assert "└── ✓ fraud-scorer" in drawn.shown
        await chat.types("carol", "/supervisor status")
        await chat.sees("payments: 4 of 5 children run; worker-3 fails")
        await chat.types("carol", "/supervisor targets")
        await chat.sees("payments.sock", "nothing")
        await chat.types("carol", "/supervisor health")
        await chat.sees("health.status", "iterations_per_sec", "derived: control loop responses", "unknown")


async def test_one_child_and_what_applies_to_it(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor child worker-1")
        shown = await chat.sees("worker-1 of payments: running", "Attempt")
        assert shown.labels == ["Restart", "Quarantine", "Watch"]
        await chat.presses("alice", "Restart", shown)
        card = await chat.sees("Restart worker-1 of payments", "Asked for by alice")
        await chat.sees("worker-1 runs attempt 2 after attempt 1", "child.running = true", thread=card)
        await chat.thread(card, until="Run done")


async def test_pause_then_resume_starts_nothing_and_offers_the_restart(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor pause worker-1 --reason 'database is moved'")
        card = await chat.sees("Pause worker-1 of payments", "Reason: database is moved")
        await chat.sees("worker-1 is paused and has no running attempt", thread=card)
        await chat.thread(card, until="Run done")
        await chat.types("alice", "/supervisor resume worker-1")
        card = await chat.sees("Resume worker-1 of payments")
        await chat.sees("worker-1 is called active; no attempt runs", thread=card)
        offered = await chat.sees("Step 2", "worker-1 should run again now", thread=card)
        assert process.tree.children["worker-1"].attempt is None
        await chat.presses("alice", next(label for label in offered.labels if label not in ("Skip", "Failed")), offered)
        await chat.sees("worker-1 runs attempt 2", thread=card)
        await chat.thread(card, until="Run done")
        assert process.executed == ["pause_child /worker-1", "resume_child /worker-1", "restart_child /worker-1"]


async def test_remove_needs_a_second_person(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor remove worker-2")
        card = await chat.sees("Remove worker-2 of payments")
        asked = await chat.sees("Step 1 needs approval", '"command": "remove_child"', '"confirmed": true', thread=card)
        assert process.executed == []
        await approved(chat, asked, "worker-2")
        await chat.sees("worker-2 has no record any more", thread=card)
        await chat.thread(card, until="Run done")


async def test_add_starts_a_child_that_the_process_knows_how_to_make(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor add worker-9 --factory steady")
        card = await chat.sees("Add worker-9 to payments")
        await chat.sees("factory_key: steady", '"command": "add_child"', thread=card)
        await chat.sees("worker-9 is there and runs attempt 1", thread=card)
        await chat.thread(card, until="Run done")
        await chat.types("alice", "/supervisor add worker-9 --factory steady")
        await chat.is_told("alice", "payments has a child worker-9 already")
        await chat.types("alice", "/supervisor add worker-10 --manifest '{name: other, factory_key: steady}'")
        await chat.is_told("alice", "The manifest is of other, and the command of worker-10")
        await chat.types("alice", "/supervisor add worker-10")
        await chat.is_told("alice", "Say what the child is made by")


async def test_a_factory_that_the_process_does_not_know(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor add worker-9 --factory nobody")
        card = await chat.sees("Add worker-9 to payments")
        await chat.sees("add_child was not accepted (command_failed", thread=card)
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        await chat.thread(card, until="acknowledged the page")


async def test_shutdown_tells_how_each_child_ended(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor shutdown payments --reason 'moves to another host'")
        card = await chat.sees("Shut down the tree of payments")
        asked = await chat.sees("Step 1 needs approval", "nothing in it can be started again", thread=card)
        await approved(chat, asked, "payments")
        await chat.sees("the tree is shut down; the process itself still runs", "worker-1: Graceful", thread=card)
        await chat.thread(card, until="Run done")
        await chat.types("carol", "/supervisor diagnose")
        assert (await chat.sees("the tree was shut down; only a restart of the process")).labels == []
        await chat.types("alice", "/supervisor restart worker-1")
        card = await chat.sees("Restart worker-1 of payments")
        await chat.sees("blocked_by_shutdown: the tree was shut down, only a new process", thread=card)
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        await chat.thread(card, until="acknowledged the page")


async def test_events_are_differences_between_two_looks_and_say_so(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments.replace("poll_seconds = 0", "poll_seconds = 1")) as chat:
        await chat.types("alice", "/supervisor events")
        await chat.sees("Differences between two looks, not events of the process")
        await chat.types("alice", "/supervisor quarantine worker-1")
        card = await chat.sees("Quarantine worker-1 of payments")
        await chat.thread(card, until="Run done")
        await chat.passes(seconds=3)
        await chat.types("alice", "/supervisor events --child worker-1")
        await chat.sees("worker-1: active → quarantined", "worker-1: attempt 1 ended", "Looked at every 1 s")


async def test_watch_shows_a_child_live_and_tells_in_the_end(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("carol", "/supervisor watch worker-1 --for 20s")
        card = await chat.sees("Watch worker-1 of payments")
        await chat.shows(card, "the end of the watch", "seen: running, attempt 1")
        await chat.types("alice", "/supervisor pause worker-1")  # a watch locks nothing
        other = await chat.sees("Pause worker-1 of payments")
        await chat.thread(other, until="Run done")
        await chat.shows(card, "seen: paused")
        await chat.sees("worker-1 was watched for", "worker-1: active → paused", "Differences between two", thread=card)
        await chat.thread(card, until="Run done")
        await chat.types("carol", "/supervisor watch worker-1 --for soon")
        await chat.is_told("carol", "--for: ", "write it like 30s")


async def test_diagnose_picks_the_runbook_by_the_symptom(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await crashed(process, 2)
        await chat.types("alice", "/supervisor diagnose")
        said = await chat.sees("P1-002: worker-3: last failed")
        assert said.labels[0] == "Run P1-002 on worker-3"
        process.faults.active.add("hang-control-loop")
        await chat.types("alice", "/supervisor diagnose payments")
        await chat.sees("P1-004: hello is answered and state is not")
        process.faults.active.clear()
        await process.stop()
        await chat.types("alice", "/supervisor diagnose")
        said = await chat.sees("P1-001: the process does not run")
        assert said.labels == ["Run P1-001 on payments"]


async def test_a_procedure_can_be_rehearsed(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("alice", "/supervisor runbook P1-002 worker-1 --drill --threshold 0")
        card = await chat.sees("DRILL: P1-002 Child Task Crash Loop: worker-1")
        await chat.sees("DRILL: ✓ Step 4", "worker-1 is quarantined", thread=card)
        await chat.sees("DRILL: Step 5 needs approval", thread=card)
        await chat.says("alice", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        assert process.executed == []
