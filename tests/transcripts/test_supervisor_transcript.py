"""What people see of ``/supervisor`` in Slack."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import ANY

from bot.clock import ManualClock
from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import Chat, notifies, run_id


async def crashed(process: SupervisedProcess, times: int) -> None:
    """Until worker-3 has failed so often."""
    async with asyncio.timeout(20):
        while len(process.tree.children["worker-3"].failures) < times:
            await asyncio.sleep(0.05)


def now() -> ManualClock:
    """The process dates its failures with the clock of the machine, so the bot's begins there too."""
    return ManualClock(datetime.now(UTC))


# -- status


async def test_status_shows_every_child_and_what_to_do_about_the_one_in_trouble(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    await crashed(process, 2)
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("carol", "/supervisor status")
        said = await chat.sees("payments: ", "worker-1", "ledger-writer", "fraud-scorer")
        assert "times in 60 s." in said.shown
        assert said.labels == ["Run P1-002 on worker-3", "Quarantine worker-3"]
        await chat.types("carol", "/supervisor status payments")
        await chat.sees("payments: ")
        assert process.executed == []


async def test_the_button_of_the_status_is_the_command(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    await crashed(process, 2)
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("bob", "/supervisor status")
        await chat.presses("alice", "Quarantine worker-3", await chat.sees("payments: "))
        card = await chat.sees("Quarantine worker-3 of payments", "Asked for by alice")
        await chat.thread(card, until="Run done")
        assert process.executed == ["quarantine_child /worker-3"]


async def test_a_process_that_is_not_there(tmp_path: Path, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor status")
        said = await chat.sees("payments", "Not reached", "payments.sock")
        assert said.labels == []
        await chat.types("alice", "/supervisor quarantine worker-3")
        told = await chat.is_told("alice", "payments.sock")
        assert "The process is not running, or serves another path" in told.shown
        assert chat.channel() == [said]


# -- quarantine


async def test_quarantine_is_shown_done_and_seen_to_have_worked(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1 --reason 'looks ill'")
        card = await chat.sees("Quarantine worker-1 of payments", "Reason: looks ill", "Asked for by alice")
        await chat.sees("Will do: ", '"reason": "looks ill"', '"requested_by": "opsbot:slack:U0ALICE"', thread=card)
        await chat.sees("worker-1 is quarantined and has no running attempt", "Outcome: met", thread=card)
        preview, result, end = await chat.thread(card, until="Run done")
        assert preview == "Step 1: Stop worker-1 and keep it from being restarted"
        assert result == "✓ Step 1: Stop worker-1 and keep it from being restarted"
        assert end.startswith("Run done after ") and end.endswith(": 1 step done.")
        await chat.shows(card, "Done after", "✓  1. Stop worker-1")
        assert card.labels == []
        assert process.executed == ["quarantine_child /worker-1"]


async def test_quarantine_ends_a_crash_loop(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    await crashed(process, 1)
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-3")
        card = await chat.sees("Quarantine worker-3 of payments")
        await chat.thread(card, until="Run done")
        child = process.tree.children["worker-3"]
        assert (child.operation, child.attempt) == ("quarantined", None)


async def test_what_is_quarantined_already_is_said_to_be(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1")
        await chat.thread(await chat.sees("Quarantine worker-1 of payments"), until="Run done")
        await chat.types("alice", "/supervisor quarantine worker-1")
        again = await chat.sees("Quarantine worker-1 of payments")
        await chat.sees("It was so before, nothing was sent", thread=again)
        await chat.thread(again, until="Run done")
        assert process.executed == ["quarantine_child /worker-1"]


async def test_a_child_that_ignores_cancellation_pages_scot(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """In the thread and in the channel, with a mention that notifies; acknowledged by button it is quiet everywhere."""
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine fraud-scorer", channel="dev")
        card = await chat.sees("Quarantine fraud-scorer of payments", channel="dev")
        asked = await chat.sees("Step 1 needs a decision", "did not stop within the graceful timeout", thread=card)
        assert asked.labels == ["Retry", "Done", "Failed", "Skip", "Cancel run"]
        in_thread = await chat.sees("needs you", "only a restart of the process ends it", thread=card)
        in_channel = await chat.sees("needs you", channel="ops")
        for page in (in_thread, in_channel):
            assert notifies(page) == {"@U0SCOT"}
            assert page.fallback.startswith("scotlaclair: Quarantine fraud-scorer of payments needs you")
        await chat.shows(card, "waiting for a decision", "Paged scotlaclair 1 time, not acknowledged yet.")

        await chat.presses("scotlaclair", "Acknowledge", in_channel)
        for page in (in_thread, in_channel):
            await chat.shows(page, "Acknowledged by scotlaclair")
            assert page.labels == []
            assert notifies(page) == set()
        await chat.shows(card, "page acknowledged by scotlaclair")
        assert "Acknowledge" not in card.labels
        await chat.sees("scotlaclair acknowledged the page", thread=card)

        await chat.presses("alice", "Failed", asked)
        assert [line.split(" after ")[0] for line in await chat.thread(card, until="Run ended as failed")] == [
            "Step 1: Stop fraud-scorer and keep it from being restarted",
            "? Step 1 needs a decision",
            "Quarantine fraud-scorer of payments: " + in_thread.shown.split("\n")[0].partition(": ")[2],
            ANY,
            "Run ended as failed by alice",
        ]
        await chat.shows(card, "Failed at step 1 of 1", "page acknowledged by scotlaclair")


async def test_retry_does_not_send_again_what_was_ignored_and_done_is_a_persons_word(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("Quarantine fraud-scorer of payments")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        await chat.sees("needs you", thread=card)
        page = await chat.sees("needs you")
        await chat.presses("bob", "Retry", asked)
        await chat.sees("bob retries step 1", thread=card)
        again = await chat.sees("Step 1 needs a decision", "attempt 1 runs on", thread=card)
        await chat.until(lambda: "Done" in card.labels, "the card asking again")
        await chat.presses("bob", "Done", again)
        await chat.sees("Step 1: bob says it is done", thread=card)
        await chat.thread(card, until="Run done")
        await chat.shows(card, "said by a person")
        assert process.executed == ["quarantine_child /fraud-scorer"]
        await chat.presses("scotlaclair", "Acknowledge", page)  # the page outlives the run
        await chat.shows(page, "Acknowledged by scotlaclair")
        await chat.sees("scotlaclair acknowledged the page", thread=card)


async def test_a_child_that_does_not_exist_and_the_button_with_the_right_one(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-11")
        told = await chat.is_told("alice", 'There is no child "worker-11". Did you mean worker-1', "^^^^^^^^^")
        assert told.labels[0] == "/supervisor quarantine worker-1"
        assert chat.channel() == []
        await chat.presses("alice", "/supervisor quarantine worker-1", told)
        card = await chat.sees("Quarantine worker-1 of payments", "Asked for by alice")
        await chat.thread(card, until="Run done")
        assert process.executed == ["quarantine_child /worker-1"]


async def test_a_target_that_is_not_configured(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1 --target paymants")
        told = await chat.is_told("alice", 'There is no target "paymants"', "payments")
        assert "/supervisor quarantine worker-1 --target payments" in told.labels
        assert process.executed == []


async def test_a_dry_run_changes_nothing_and_tells_only_the_one_who_asked(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1 —dry-run")  # as a phone writes it
        await chat.is_told("alice", "Dry run: Quarantine worker-1", "Nothing was done", '"child_path": "/worker-1"')
        await chat.types("bob", "/supervisor quarantine worker-1 --dry-run")  # nothing was locked either
        await chat.is_told("bob", "Dry run: Quarantine worker-1")
        await chat.types("bob", "/runs list --all")
        await chat.sees("No run has been started yet")
        assert process.executed == []


async def test_one_changing_run_at_a_time(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    """The second one is told who holds the child, why and since when; when the run has ended, it is free."""
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor quarantine fraud-scorer --reason 'eats memory'")
        card = await chat.sees("Quarantine fraud-scorer of payments")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        await chat.presses("alice", "Acknowledge", await chat.sees("needs you", thread=card))
        await chat.sees("Acknowledged by alice")
        await chat.passes(minutes=1)
        await chat.types("bob", "/supervisor runbook P1-002 fraud-scorer")
        told = await chat.is_told(
            "bob", "alice already works on fraud-scorer: eats memory", "since 12:00, 1 min", run_id(card)
        )
        await chat.presses("bob", "Show that run", told)
        await chat.sees("Quarantine fraud-scorer of payments", "eats memory")
        await chat.presses("alice", "Failed", asked)
        await chat.thread(card, until="Run ended as failed by alice")
        await chat.types("bob", "/supervisor quarantine fraud-scorer")
        second = await chat.sees("Quarantine fraud-scorer of payments", "Asked for by bob")
        await chat.presses("bob", "Cancel run", await chat.sees("Step 1 needs a decision", thread=second))
        await chat.thread(second, until="Run cancelled by bob")
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you"))
        await chat.thread(second, until="bob acknowledged the page")


# -- P1-002


async def test_p1_002_from_the_symptom_to_the_verified_end(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    await crashed(process, 3)
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("alice", "/supervisor runbook p1-002 worker-3")
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-3", "Asked for by alice")
        await chat.sees("✓ Step 1: Query the current state", "children.failed = 1", "Outcome: met", thread=card)
        await chat.sees("✓ Step 2: Find the exit reason", "invoice 4711 has no currency", thread=card)
        await chat.sees("✓ Step 3: Read the restart budget", "The token bucket itself is not told", thread=card)
        await chat.sees("✓ Step 4", "worker-3 is quarantined and has no running attempt", thread=card)

        asked = await chat.sees("Step 5 needs approval: Remove the faulty child", '"remove_child"', thread=card)
        assert "Somebody other than the one who asked has to approve: bob or scotlaclair, until" in asked.shown
        await chat.shows(card, "Step 5 of 6: waiting for approval", "Needs a second person")
        form = await chat.opens("alice", "Approve…", asked)
        typed = {"Type worker-3 to approve": "worker-3"}
        await chat.is_refused("alice", form, typed, "so somebody else has to approve it: bob, scotlaclair")
        form = await chat.opens("bob", "Approve…", card)
        assert '"command": "remove_child"' in form.shown
        mistyped = {"Type worker-3 to approve": "worker-2"}
        await chat.is_refused("bob", form, mistyped, 'you typed "worker-2", and this step works on worker-3')
        assert "remove_child /worker-3" not in process.executed
        await chat.sends("bob", form, {"Type worker-3 to approve": "worker-3"})

        await chat.sees("child.present = false", "children.running = 4", "target_count = 4", thread=card)
        assert await chat.thread(card, until="Run done") == [
            "✓ Step 1: Query the current state",
            "✓ Step 2: Find the exit reason of the child in the log of the process. The socket does not tell it",
            "✓ Step 3: Read the restart budget, as far as it is told",
            "Step 4: Stop the child and keep it from being restarted. The supervisor never does this by itself, "
            "whatever is left of the budget",
            "✓ Step 4: Stop the child and keep it from being restarted. The supervisor never does this by itself, "
            "whatever is left of the budget",
            "Step 5 needs approval: Remove the faulty child; it comes back when the process starts again",
            "bob approved step 5.",
            "✓ Step 5: Remove the faulty child; it comes back when the process starts again",
            "✓ Step 6: Verify that no slot lingers and that the others run",
            ANY,
        ]
        await chat.shows(card, "Done after", "✓  6. Verify that no slot lingers")
        assert process.executed == ["quarantine_child /worker-3", "remove_child /worker-3"]


async def test_the_symptom_is_not_there(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    """A runbook for a crash loop on a steady child: the first step says so and pages, nothing was changed."""
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor runbook P1-002 worker-1")
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-1")
        await chat.sees("Step 1 needs a decision", "The 30s are over.", "Outcome: not met", thread=card)
        await chat.sees("needs you", "the expectation was not met", thread=card)
        page = await chat.sees("needs you")
        await chat.says("alice", "@opsbot cancel --reason 'wrong child'", thread=card)
        await chat.sees("Run cancelled by alice", "wrong child", thread=card)
        await chat.presses("scotlaclair", "Acknowledge", page)
        await chat.sees("scotlaclair acknowledged the page", thread=card)
        assert process.executed == []


async def test_deny_ends_the_run_and_nothing_is_removed(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    await crashed(process, 3)
    async with Chat(tmp_path, payments, clock=now()) as chat:
        await chat.types("alice", "/supervisor runbook P1-002 worker-3")
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-3")
        asked = await chat.sees("Step 5 needs approval", thread=card)
        await chat.presses("bob", "Deny", asked)
        await chat.sees("bob denied step 5", thread=card)
        await chat.thread(card, until="Run ended as failed by bob")
        await chat.shows(card, "Failed at step 5 of 6", "ended by bob")
        assert process.executed == ["quarantine_child /worker-3"]
