"""Two people, one target: who waits, who watches, who takes over, and what a freeze stops."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import ON_GITHUB_TOO, Chat, notifies, run_id

KEY = """# Rotate the key

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Make a new key | | 30min |
| 2 | Take the old one away | | 30min |

**Escalation**: Call the security people.
"""
START = "/runs start rotate-the-key vault"


@pytest.fixture
def keys(tmp_path: Path) -> str:
    """A runbook that people do by hand, on whatever name they give."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "key.md").write_text(KEY)
    return f'[runbooks]\npaths = ["{folder}"]\n'


async def test_the_second_one_queues_and_starts_by_itself(tmp_path: Path, keys: str) -> None:
    async with Chat(tmp_path, keys) as chat:
        await chat.types("alice", f"{START} --reason 'it is old'")
        first = await chat.sees("Rotate the key: vault", "Asked for by alice")
        asked = await chat.sees("Step 1 is for a person", thread=first)
        await chat.passes(minutes=4)
        await chat.types("bob", START)
        told = await chat.is_told("bob", "alice already works on vault: it is old (since 12:00, 4 min", "One changing")
        assert told.labels == ["Queue", "Watch", "Take over…", "Show that run"]

        await chat.presses("bob", "Queue", told)
        queued = await chat.sees("Queued as number 1", "as soon as alice is done with vault; it is the next")
        assert queued.labels == ["Leave the queue"]
        await chat.sees("bob waits for this run to end (number 1)", thread=first)
        await chat.passes(seconds=16)
        await chat.shows(first, "Waiting for this run to end: bob (queued, number 1).")
        await chat.types("carol", "/runs list")
        await chat.sees("waiting, step 1 of 2", START, "bob")
        await chat.types("bob", f"{START} --queue")  # once is enough
        await chat.sees("Queued as number 1")

        await chat.presses("alice", "Failed", asked)
        await chat.thread(first, until="Run ended as failed by alice")
        second = await chat.sees("Rotate the key: vault", "Asked for by bob")
        assert run_id(second) != run_id(first)
        await chat.presses("bob", "Failed", await chat.sees("Step 1 is for a person", thread=second))
        await chat.thread(second, until="Run ended as failed by bob")


async def test_who_queues_is_served_in_order_also_after_a_restart_and_may_leave(tmp_path: Path, keys: str) -> None:
    async with Chat(tmp_path, keys) as chat:
        await chat.types("alice", START)
        first = await chat.sees("Asked for by alice")
        asked = await chat.sees("Step 1 is for a person", thread=first)
        await chat.types("bob", f"{START} --queue --reason second")
        await chat.sees("Queued as number 1", "it is the next")
        await chat.types("scotlaclair", f"{START} --queue --reason third")
        await chat.sees("Queued as number 2", "1 command before it")
        await chat.types("alice", f"{START} --queue --reason fourth")
        leaving = await chat.sees("Queued as number 3", "2 commands before it")
        await chat.presses("alice", "Leave the queue", leaving)
        await chat.sees("Number 3 is out of the queue")
        await chat.rests()
        await chat.stop_bot()
        await chat.start_bot()
        await chat.presses("alice", "Done", asked)
        await chat.presses("alice", "Done", await chat.sees("Step 2 is for a person", thread=first))
        for who, reason in (("bob", "second"), ("scotlaclair", "third")):
            card = await chat.sees("Rotate the key: vault", f"Asked for by {who}", f"Reason: {reason}")
            await chat.presses(who, "Cancel run", await chat.sees("Step 1 is for a person", thread=card))
            await chat.thread(card, until=f"Run cancelled by {who}")
        await chat.thread(first, until="Run done")
        await chat.types("carol", "/runs list")
        await chat.sees("No run is open.")
        await chat.types("alice", "/runs leave 3")
        await chat.is_told("alice", "3")


async def test_a_queued_command_is_judged_anew_when_its_turn_comes(tmp_path: Path, keys: str) -> None:
    """What cannot be started any more is told, and leaves the queue to those behind it."""
    async with Chat(tmp_path, keys) as chat:
        await chat.types("alice", START)
        first = await chat.sees("Asked for by alice")
        asked = await chat.sees("Step 1 is for a person", thread=first)
        await chat.types("bob", f"{START} --queue")
        await chat.sees("Queued as number 1")
        (tmp_path / "own" / "key.md").unlink()
        await chat.presses("alice", "Failed", asked)
        await chat.sees('There is no runbook "rotate-the-key"')
        await chat.thread(first, until="Run ended as failed")
        await chat.types("alice", "/runs list")
        await chat.sees("No run is open.")


async def test_who_watches_is_told_where_they_asked(tmp_path: Path, keys: str) -> None:
    async with Chat(tmp_path, keys) as chat:
        await chat.types("alice", START)
        card = await chat.sees("Asked for by alice")
        asked = await chat.sees("Step 1 is for a person", thread=card)
        await chat.types("bob", START, channel="dev")
        told = await chat.is_told("bob", "alice already works on vault", channel="dev")
        await chat.presses("bob", "Watch", told)
        await chat.is_told("bob", "I tell you here as soon as Rotate the key: vault has ended", channel="dev")
        await chat.presses("alice", "Failed", asked)
        news = await chat.sees("Rotate the key: vault has ended: failed after", "vault is free", channel="dev")
        assert notifies(news) == {"@U0BOB"}
        await chat.thread(card, until="Run ended as failed")
        await chat.types("bob", f"/runs watch {run_id(card)}")
        await chat.is_told("bob", "This run has ended already: failed.")


async def test_taking_over_wants_the_name_typed_and_tells_the_owner(tmp_path: Path, keys: str) -> None:
    async with Chat(tmp_path, keys) as chat:
        await chat.types("alice", START)
        first = await chat.sees("Asked for by alice")
        await chat.sees("Step 1 is for a person", thread=first)
        await chat.types("scotlaclair", f"{START} --queue")
        await chat.sees("Queued as number 1")
        await chat.types("bob", START)
        told = await chat.is_told("bob", "alice already works on vault", "1 command queued for it already")
        form = await chat.opens("bob", "Take over…", told)
        assert "The run of alice is cancelled" in form.shown
        await chat.sends("bob", form, {"Type vault to take over": "valt"})
        await chat.is_told("bob", 'Nothing was taken over: you typed "valt", and this works on vault')
        form = await chat.opens("bob", "Take over…", told)
        await chat.sends("bob", form, {"Type vault to take over": "vault"})
        await chat.sees("vault is taken over from alice", "is being cancelled")
        note = await chat.sees("bob takes vault over, so this run is cancelled", thread=first)
        assert notifies(note) == {"@U0ALICE"}
        await chat.thread(first, until="Run cancelled by bob")
        second = await chat.sees("Rotate the key: vault", "Asked for by bob")  # before those who queued
        await chat.presses("bob", "Cancel run", await chat.sees("Step 1 is for a person", thread=second))
        await chat.thread(second, until="Run cancelled by bob")
        third = await chat.sees("Rotate the key: vault", "Asked for by scotlaclair")
        await chat.presses("bob", "Cancel run", await chat.sees("Step 1 is for a person", thread=third))
        await chat.thread(third, until="Run cancelled by bob")


async def test_a_take_over_survives_a_restart(tmp_path: Path, keys: str) -> None:
    async with Chat(tmp_path, keys) as chat:
        await chat.types("alice", START)
        first = await chat.sees("Asked for by alice")
        await chat.sees("Step 1 is for a person", thread=first)
        assert chat.bot is not None
        chat.bot.engine.ended.set = lambda: None  # type: ignore[method-assign]  # the queue learns nothing before the restart
        await chat.types("bob", f"{START} --take-over vault")
        await chat.stop_bot()
        await chat.start_bot()
        await chat.sees("vault is taken over from alice")
        await chat.thread(first, until="Run cancelled by bob")
        second = await chat.sees("Asked for by bob")
        await chat.presses("bob", "Cancel run", await chat.sees("Step 1 is for a person", thread=second))
        await chat.thread(second, until="Run cancelled by bob")


async def test_on_github_the_choices_are_lines_to_reply_with(tmp_path: Path, keys: str) -> None:
    async with Chat(tmp_path, keys, settings=ON_GITHUB_TOO) as chat:
        await chat.types("bob", START)
        first = await chat.sees("Asked for by bob")
        asked = await chat.sees("Step 1 is for a person", thread=first)
        await chat.comments("alice", START)
        told = await chat.sees_comment("bob already works on vault")
        for choice in (f"{START} --queue", f"/runs watch {run_id(first)}", f'{START} --take-over "…"'):
            assert f"Reply with: `{choice}`" in told
        await chat.comments("alice", f"{START} --queue")
        await chat.sees_comment("Queued as number 1")
        await chat.comments("alice", f"/runs watch {run_id(first)}")
        await chat.sees_comment("I tell you here as soon as")
        await chat.presses("bob", "Failed", asked)
        await chat.thread(first, until="Run ended as failed")
        await chat.sees_comment("Rotate the key: vault has ended: failed", "@alice")
        card = await chat.sees("Asked for by alice")
        await chat.presses("bob", "Cancel run", await chat.sees("Step 1 is for a person", thread=card))
        await chat.thread(card, until="Run cancelled by bob")
        await chat.sees_comment("Cancelled at step 1 of 2")


@pytest.mark.parametrize("where", ["slack", "github"])
async def test_a_freeze_stops_new_changes_and_nothing_else(
    tmp_path: Path, process: SupervisedProcess, payments: str, keys: str, where: str
) -> None:
    async with Chat(tmp_path, payments + keys, settings=ON_GITHUB_TOO) as chat:

        async def alice(command: str) -> None:
            await (chat.comments("alice", command) if where == "github" else chat.types("alice", command))

        async def told(*wanted: str) -> str:
            if where == "github":
                return await chat.sees_comment(*wanted)
            return (await chat.is_told("alice", *wanted)).shown

        await chat.types("bob", START)
        running = await chat.sees("Asked for by bob")
        asked = await chat.sees("Step 1 is for a person", thread=running)
        await alice("/runs freeze")
        await told("Say why, for those who are refused")
        await alice("/runs freeze --dry-run release 4.2")
        await told("Nothing was done. It would freeze new changing runs: release 4.2")
        await alice("/runs freeze release 4.2 is going out")
        await chat.sees("alice has frozen new changing runs: Release 4.2 is going out.", "Runs that have begun go on")
        if where == "github":
            await chat.sees_comment("alice has frozen new changing runs")
        await alice("/runs freeze again")
        await told("It is frozen already: by alice", "release 4.2 is going out")
        await chat.passes(minutes=5)
        await alice("/supervisor quarantine worker-1")
        refused = await told("alice has frozen new changing runs: release 4.2 is going out", "5 min")
        assert "/supervisor quarantine worker-1 --queue" in refused or "Queue" in refused or where == "slack"
        assert process.executed == []
        await alice("/supervisor quarantine worker-1 --queue")
        await (chat.sees_comment if where == "github" else chat.sees)("as soon as the freeze of changing runs ends")
        await chat.types("carol", "/supervisor status")  # reading goes on
        await chat.sees("payments: ")
        await chat.types("carol", "/runs list")
        await chat.sees("New changing runs are frozen by alice", "release 4.2", "/supervisor quarantine worker-1")
        await chat.shows(running, "New changing runs are frozen by alice: release 4.2 is going out. This one goes on.")
        await chat.presses("bob", "Done", asked)  # and so does what has begun
        await chat.presses("bob", "Done", await chat.sees("Step 2 is for a person", thread=running))
        await chat.thread(running, until="Run done")
        assert chat.bot is not None
        async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{chat.bot.port}/readyz") as answer:
            ready = await answer.json()
        assert ready["notices"] == [
            "New changing runs are frozen by alice since 2026-11-22 12:00 UTC: release 4.2 is going out"
        ]
        await chat.types("carol", "/runs thaw")
        await chat.is_told("carol", "/runs thaw needs an operator", "Who may: alice, bob, scotlaclair")
        await chat.rests()
        await chat.stop_bot()
        await chat.start_bot()
        await chat.types("bob", "/runs thaw")
        await chat.sees("bob has ended the freeze of changing runs (release 4.2 is going out)")
        card = await chat.sees("Quarantine worker-1 of payments", "Asked for by alice")
        await chat.thread(card, until="Run done")
        if where == "github":
            await chat.sees_comment("Quarantine worker-1 of payments", "Done")
        assert process.executed == ["quarantine_child /worker-1"]
        await chat.types("bob", "/runs thaw")
        await chat.is_told("bob", "Nothing is frozen.")
