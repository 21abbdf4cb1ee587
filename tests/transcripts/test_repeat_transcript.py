"""An ended run once more from a chosen step, a run in other hands, and a cancel that does not wait."""

from __future__ import annotations

import time
from pathlib import Path

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import Chat, notifies, run_id

COLUMNS = "| Step | Action | Expected Metrics | Estimated Duration |\n|---|---|---|---|\n"
OWN = f"""---
id: own
product: supervisor
target: child
danger: change
---

# Own

{COLUMNS}| 1 | Look: `handle.current_state()` | `children.running > 0` | 1min |
| 2 | Stop it: `handle.quarantine_child()` | Child marked as `Quarantined` within 30s | 1min |
| 3 | Tell the customer about {{children.running}} children | | 10min |
"""


def own(folder: Path) -> str:
    folder = folder / "own"
    folder.mkdir()
    (folder / "own.md").write_text(OWN)
    return f'[runbooks]\npaths = ["{folder}"]\n'


async def test_a_failed_run_is_repeated_from_a_chosen_step(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments + own(tmp_path)) as chat:
        await chat.types("alice", "/runs start own worker-1 --reason 'it leaks'")
        first = await chat.sees("Own: worker-1")
        asked = await chat.sees("Step 3 is for a person", thread=first)
        await chat.says("bob", "@opsbot retry --from 1", thread=first)
        await chat.is_told("bob", "This run is still open. Cancel it before it is repeated")
        await chat.presses("alice", "Failed", asked)
        await chat.sees("Already done, and it stays so: step 2 (Stop it).", thread=first)
        await chat.says("bob", "@opsbot retry --from 4", thread=first)
        await chat.is_told("bob", 'own has no step "4". There are 1, 2, 3.')
        await chat.says("bob", "@opsbot retry --from 3 --dry-run", thread=first)
        dry = await chat.is_told("bob", "Dry run: Own", "Nothing was done")
        assert "Tell the customer" in dry.shown and "Stop it" not in dry.shown

        await chat.says("bob", "@opsbot retry --from 3 --reason 'now with the customer'", thread=first)
        second = await chat.sees("Own: worker-1", f"repeats run {run_id(first)} from step 3", "now with the customer")
        await chat.shows(
            second, f"✓  1. Look — met, in run {run_id(first)}", f"✓  2. Stop it — met, in run {run_id(first)}"
        )
        await chat.sees("bob repeats this run from step 3", thread=first)
        await chat.shows(first, f"repeated by run {run_id(second)}")
        asked = await chat.sees("Step 3 is for a person: Tell the customer about ", thread=second)
        assert "{" not in asked.shown
        await chat.presses("alice", "Done", asked)
        await chat.thread(second, until="Run done")
        await chat.thread(first, until="bob repeats this run")
        assert process.executed == ["quarantine_child /worker-1"]

        await chat.says("bob", "@opsbot retry", thread=second)
        await chat.is_told("bob", "This run was done. Say from which step it is to be repeated: 1, 2, 3.")


async def test_a_run_is_handed_over(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments + own(tmp_path)) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own: worker-1")
        asked = await chat.sees("Step 3 is for a person", thread=card)
        await chat.says("alice", "@opsbot assign bobb", thread=card)
        await chat.is_told("alice", 'Nobody named "bobb" stands under [people]. Did you mean bob?')
        await chat.says("alice", "@opsbot assign bob --reason 'end of my shift'", thread=card)
        note = await chat.sees("alice handed this run over to bob (end of my shift)", thread=card)
        assert notifies(note) == {"@U0BOB"}
        await chat.shows(card, "handed over to bob")
        await chat.types("scotlaclair", "/runs start own worker-1")
        await chat.is_told("scotlaclair", "bob already works on worker-1")
        await chat.presses("bob", "Done", asked)
        await chat.thread(card, until="Run done")


async def test_cancel_stops_within_a_second_also_while_a_step_waits_for_what_it_expects(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    file = OWN.replace("Child marked as `Quarantined` within 30s | 1min", "`children.running == 99` within 1h | 2h")
    settings = own(tmp_path)
    (tmp_path / "own" / "own.md").write_text(file)
    async with Chat(tmp_path, payments + settings) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own: worker-1")
        await chat.shows(card, "Waiting up to")
        await chat.rests()
        began, then = time.monotonic(), chat.clock.now()
        await chat.says("alice", "@opsbot cancel --reason 'wrong child'", thread=card)
        assert chat.bot is not None
        while not (state := await chat.state(card)).closed:  # no time passes on the bot's clock
            assert time.monotonic() - began < 20, state
        assert state.status == "cancelled"
        assert chat.clock.now() == then
        assert state.finished_at == then
        lines = await chat.thread(card, until="Run cancelled by alice")
        assert any(line.startswith("Run cancelled by alice") and "wrong child" in line for line in lines)
        await chat.shows(card, "Cancelled at step 2 of 3")


async def test_cancel_while_an_approval_is_waited_for(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    settings = own(tmp_path)
    file = OWN.replace("danger: change", "danger: destructive").replace("quarantine_child()", "remove_child()")
    (tmp_path / "own" / "own.md").write_text(file)
    async with Chat(tmp_path, payments + settings) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own: worker-1", "Needs a second person")
        await chat.presses("alice", "Cancel run", await chat.sees("Step 2 needs approval", thread=card))
        await chat.sees("Run cancelled by alice", "Nothing was changed.", thread=card)
        await chat.thread(card, until="Run cancelled by alice")
        assert process.executed == []
