"""Time that runs out: the warning at 80 %, the page, and what comes then; more time; an approval that lapses."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import ON_GITHUB_TOO, Chat

COLUMNS = "| Step | Action | Expected Metrics | Estimated Duration |\n|---|---|---|---|\n"


def write(folder: Path, front: str, rows: str, total: str = "") -> str:
    """A runbook of one's own, by its id ``own``; the settings that find it."""
    folder = folder / "own"
    folder.mkdir(exist_ok=True)
    told = f"\n**Total estimated duration**: {total}.\n" if total else ""
    (folder / "own.md").write_text(f"---\nid: own\n{front}---\n\n# Own\n\n{COLUMNS}{rows}\n{told}")
    return f'[runbooks]\npaths = ["{folder}"]\n'


BY_HAND = "| 1 | Do the first | | 10min |\n| 2 | Do the second | | 10min |"


async def test_80_percent_of_the_step_and_of_the_run_warn_and_the_card_says_who_is_waited_for(tmp_path: Path) -> None:
    own = write(tmp_path, "", "| 1 | Do the first | | 10min |", total="20min")
    async with Chat(tmp_path, own) as chat:
        await chat.types("alice", "/runs start own")
        card = await chat.sees("For a person: Do the first", "Waits for alice, bob or scotlaclair.")
        asked = await chat.sees("Step 1 is for a person", thread=card)
        await chat.passes(minutes=8, seconds=1)
        warned = await chat.sees("Step 1 has used 80 % of its 10 min", "until 12:10", thread=card)
        assert warned.labels == ["More time…"]
        await chat.passes(minutes=2)
        await chat.sees(
            "needs you", "step 1 has used up its 10 min: it waits for somebody to decide".capitalize(), thread=card
        )
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you"))
        await chat.passes(minutes=6)
        await chat.sees("The run has used 80 % of its 20 min", "until 12:20", thread=card)
        await chat.passes(minutes=4)
        await chat.presses("bob", "Acknowledge", await chat.sees("The run has used up its 20 min"))
        await chat.presses("alice", "Done", asked)
        await chat.thread(card, until="Run done")
        await chat.shows(card, "Done after 20 min", "It took longer than its budget.")


@pytest.mark.parametrize("where", ["slack", "github"])
async def test_more_time_is_told_and_warns_anew(tmp_path: Path, where: str) -> None:
    async with Chat(tmp_path, write(tmp_path, "", BY_HAND), settings=ON_GITHUB_TOO) as chat:
        await chat.types("bob", "/runs start own")
        card = await chat.sees("Do the first")
        asked = await chat.sees("Step 1 is for a person", thread=card)
        run = (await chat.state(card)).plan.run_id
        await chat.passes(minutes=8, seconds=1)
        warned = await chat.sees("Step 1 has used 80 %", thread=card)
        if where == "github":
            await chat.comments("alice", f"/runs extend {run} 20m the vault is slow")
        else:
            form = await chat.opens("alice", "More time…", warned)
            await chat.sends("alice", form, {"How much more": "20m", "Why": "the vault is slow"})
        await chat.sees("alice gave step 1 20 min more, until 12:30: the vault is slow", thread=card)
        await chat.shows(card, "until 12:30")
        before = await chat.state(card)
        assert before.steps[0].deadline == before.deadline  # the run's would have ended at 12:20
        await chat.rests()
        await chat.stop_bot()
        await chat.start_bot()
        assert await chat.state(card) == before
        await chat.passes(minutes=18)
        await chat.sees("Step 1 has used 80 % of its 30 min", thread=card)
        await chat.sees("The run has used 80 % of its 30 min", thread=card)
        await chat.says("bob", "@opsbot extend 10m", thread=card)
        await chat.is_told("bob", "Say why: extend 10m <reason>")
        await chat.says("bob", "@opsbot extend soon please", thread=card)
        await chat.is_told("bob", '"soon" is no span of time', "extend 10m <reason>")
        await chat.says("carol", "@opsbot extend 10m because", thread=card)
        await chat.is_told("carol", "needs an operator")
        await chat.passes(minutes=10)  # late: what is given counts from now
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you", "Step 1 has used up its 30 min"))
        await chat.says("bob", "@opsbot extend 1h 30m the vendor is looking", thread=card)
        await chat.sees("bob gave step 1 1 h 30 min more, until 14:06: the vendor is looking", thread=card)
        await chat.presses("bob", "Cancel run", asked)
        await chat.thread(card, until="Run cancelled by bob")


async def test_on_overdue_stop_ends_the_run(tmp_path: Path) -> None:
    async with Chat(tmp_path, write(tmp_path, "on_overdue: stop\n", BY_HAND)) as chat:
        await chat.types("alice", "/runs start own")
        card = await chat.sees("Do the first")
        await chat.passes(minutes=10, seconds=1)
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you", "Step 1 has used up its 10 min"))
        lines = await chat.thread(card, until="Run ended as failed")
        assert "✗ Step 1 was left, because its time ran out: Do the first" in lines
        await chat.shows(card, "Failed at step 1 of 2")


async def test_on_overdue_continue_goes_on_with_the_next_step_and_stops_the_work_first(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    own = write(
        tmp_path,
        "product: supervisor\ntarget: child\ndanger: change\non_overdue: {1: continue}\n",
        "| 1 | Stop it: `handle.quarantine_child()` | `children.running == 99` within 1min | 30s |\n"
        "| 2 | Look at it yourself | | 10min |",
    )
    async with Chat(tmp_path, payments + own) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own: worker-1")
        await chat.shows(card, "Waiting up to")
        await chat.passes(seconds=31)
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you", "Step 1 has used up its 30 s"))
        asked = await chat.sees("Step 2 is for a person: Look at it yourself", thread=card)
        await chat.presses("alice", "Done", asked)
        lines = await chat.thread(card, until="Run done")
        assert "✗ Step 1 was left, because its time ran out: Stop it" in lines
        await chat.shows(card, "✗  1. Stop it", "✓  2. Look at it yourself")
        assert process.executed == ["quarantine_child /worker-1"]


async def test_a_step_that_does_not_exist_cannot_have_a_policy(tmp_path: Path) -> None:
    async with Chat(tmp_path, write(tmp_path, "on_overdue: {9: stop}\n", BY_HAND)) as chat:
        await chat.types("alice", "/runs start own")
        await chat.is_told("alice", 'There is no runbook "own"')
        assert chat.bot is not None
        problems = await chat.bot.dispatcher.folders.problems()
        assert "on_overdue: own has no step 9; there are 1, 2 and run" in problems[0]


REMOVE = "| 1 | Remove it: `handle.remove_child()` | | 1h |"
BOUND = "product: supervisor\ntarget: child\ndanger: destructive\n"


@pytest.mark.parametrize("where", ["slack", "github"])
async def test_an_approval_that_nobody_gives_lapses(
    tmp_path: Path, process: SupervisedProcess, payments: str, where: str
) -> None:
    own = write(tmp_path, BOUND, REMOVE) + '[runs]\napproval_timeout = "PT5M"\n'
    async with Chat(tmp_path, payments + own, settings=ON_GITHUB_TOO) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Needs a second person", "Waits for bob or scotlaclair, until 12:05.")
        asked = await chat.sees("Step 1 needs approval", '"command": "remove_child"', thread=card)
        state = await chat.state(card)
        approve = f"/runs approve {state.plan.run_id} --digest {state.steps[0].digest} --confirm"
        await chat.comments("alice", f"{approve} worker-1")  # the same person on the other surface
        await chat.sees_comment("You asked for this run, so somebody else has to approve it: bob, scotlaclair")
        await chat.passes(minutes=5, seconds=1)
        await chat.sees(
            "Step 1 needs a decision", "Nobody approved this within 5 min, so nothing was done", thread=card
        )
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you", "Nobody approved step 1 within 5 min"))
        form = await chat.opens("bob", "Approve…", asked)  # the old button
        await chat.is_refused("bob", form, {"Type worker-1 to approve": "worker-1"}, "Nothing waits for an approval.")
        assert process.executed == []
        await chat.says("alice", "@opsbot retry", thread=card)
        again = await chat.sees("Step 1 needs approval", "until 12:10", thread=card)
        if where == "github":
            digest = (await chat.state(card)).steps[0].digest
            approve = f"/runs approve {state.plan.run_id} --digest {digest} --confirm"
            await chat.comments("scotlaclair", f"{approve} worker-2")
            await chat.sees_comment('Nothing was approved: you typed "worker-2", and this step works on worker-1')
            await chat.comments("scotlaclair", f"{approve} worker-1")
        else:
            form = await chat.opens("bob", "Approve…", again)
            await chat.sends("bob", form, {"Type worker-1 to approve": "worker-1"})
        await chat.thread(card, until="Run done")
        assert process.executed == ["remove_child /worker-1"]


async def test_an_only_operator_confirms_by_typing_and_the_card_says_so(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    alone = ON_GITHUB_TOO.replace('admins = ["slack:U0SCOT", "github:scotlaclair"]', "admins = []").replace(
        'operators = ["slack:U0ALICE", "slack:U0BOB", "github:alice"]', 'operators = ["slack:U0ALICE"]'
    )
    async with Chat(tmp_path, payments + write(tmp_path, BOUND, REMOVE), settings=alone) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Needs a typed confirmation", "Only one operator is configured, so that is you, until")
        asked = await chat.sees("Step 1 needs approval", "Only one operator is configured", thread=card)
        form = await chat.opens("alice", "Approve…", asked)
        told = 'Nothing was approved: you typed "worker", and this step works on worker-1'
        await chat.is_refused("alice", form, {"Type worker-1 to approve": "worker"}, told)
        await chat.sends("alice", form, {"Type worker-1 to approve": "worker-1"})
        await chat.thread(card, until="Run done")
        assert process.executed == ["remove_child /worker-1"]
