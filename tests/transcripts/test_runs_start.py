"""What people see of ``/runs start``: any runbook, of a product or of one's own folder."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import Chat

COLUMNS = "| Step | Action | Expected Metrics | Estimated Duration |\n|---|---|---|---|\n"
BY_HAND = f"""\
# Rotate the signing key

{COLUMNS}| 1 | Make a new key in the vault | The vault shows two keys | 5min |
| 2 | Remove the old one | The vault shows one key | 2min |

**Escalation**: Call security.
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "runbooks"
    folder.mkdir()
    (folder / "rotate.md").write_text(BY_HAND)
    return folder


def paths(own: Path) -> str:
    return f'[runbooks]\npaths = ["{own}"]\n'


def bound(rows: str, *, inputs: str = "", danger: str = "read", id_: str = "own") -> str:
    """A runbook on a supervised process or a child."""
    return (
        f"---\nid: {id_}\nproduct: supervisor\ntarget: child\ndanger: {danger}\n{inputs}---\n\n"
        f"# Own runbook\n\n{COLUMNS}{rows}\n\n**Escalation**: Call somebody.\n"
    )


async def test_a_document_without_front_matter_is_done_by_people(tmp_path: Path, own: Path) -> None:
    async with Chat(tmp_path, paths(own)) as chat:
        await chat.types("alice", "/runs start ROTATE-the-signing-key --reason 'it is old'")
        card = await chat.sees("Rotate the signing key", "Reason: it is old", "For a person")
        await chat.presses("bob", "Done", await chat.sees("Step 1 is for a person", "The vault shows two", thread=card))
        await chat.presses("bob", "Done", await chat.sees("Step 2 is for a person", thread=card))
        said = await chat.thread(card, until="Run done")
        assert said[-1].endswith("2 steps done.")


async def test_what_does_not_exist_is_told_with_the_nearest(
    tmp_path: Path, own: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments + paths(own)) as chat:
        await chat.types("alice", "/runs start rotate-the-sining-key")
        told = await chat.is_told("alice", 'There is no runbook "rotate-the-sining-key"')
        assert "Did you mean rotate-the-signing-key?" in told.shown
        assert told.labels == ["/runs start rotate-the-signing-key"]
        await chat.types("alice", "/runs start P1-002 worker-33")
        told = await chat.is_told("alice", 'There is no child "worker-33". Did you mean worker-3')
        assert "/runs start P1-002 worker-3" in told.labels
        await chat.types("alice", "/runs start P1-002")
        told = await chat.is_told("alice", "P1-002 works on one child. Name it: /runs start P1-002 <child>")
        assert "/runs start P1-002 fraud-scorer" in told.labels
        assert chat.channel() == [] and process.executed == []


async def test_inputs_are_told_by_name(tmp_path: Path, own: Path, somas: str, root: Path) -> None:
    async with Chat(tmp_path, somas + paths(own)) as chat:
        await chat.types("alice", "/runs start recover-from-backup 42")
        await chat.is_told("alice", "recover-from-backup needs backup. Add --input backup=…")
        await chat.types("alice", "/runs start verify-restart 42 --dry-run")  # the product knows where it stands
        await chat.is_told("alice", "Watch verify until it runs or has ended")
        await chat.types("alice", "/runs start restart 42 --input stag=verify")
        await chat.is_told("alice", "restart has no input stag. Did you mean stage?", "Its inputs: stage, mode, why")
        await chat.types("alice", "/runs start restart 42 --input verify")
        await chat.is_told("alice", '--input takes name=value, as in --input threshold=5; "verify" is none')
        await chat.types("alice", "/runs start rotate-the-signing-key --input a=b")
        await chat.is_told("alice", "rotate-the-signing-key takes no input")
        await chat.types("alice", "/runs start restart 42 --input stage=verify --input why=tests --dry-run")
        told = await chat.is_told("alice", "Dry run: Restart a project at a stage", "Nothing was done")
        assert "Restart project-42 at verify" in told.shown or "verify" in told.shown
        assert chat.channel() == []


async def test_who_may_start_depends_on_what_the_runbook_does(
    tmp_path: Path, own: Path, process: SupervisedProcess, payments: str
) -> None:
    look = "| 1 | Look: `handle.current_state()` | `children.running > 0` | 1min |"
    (own / "look.md").write_text(bound(look, id_="look"))
    async with Chat(tmp_path, payments + paths(own)) as chat:
        await chat.types("carol", "/runs start P1-002 worker-3")
        await chat.is_told("carol", "/runs start P1-002 needs an operator, and you are not one")
        await chat.types("carol", "/runs start rotate-the-signing-key")
        await chat.is_told("carol", "needs an operator")
        await chat.types("carol", "/runs start look worker-1")
        await chat.thread(await chat.sees("Own runbook: worker-1", "Asked for by U0CAROL"), until="Run done")


async def test_a_saved_file_counts_at_once_and_a_broken_one_keeps_the_last_good_version(
    tmp_path: Path, own: Path
) -> None:
    async with Chat(tmp_path, paths(own)) as chat:
        await chat.types("alice", "/runs start rotate-the-signing-key")
        running = await chat.sees("1. Make a new key in the vault")
        file = own / "rotate.md"
        file.write_text(BY_HAND.replace("Make a new key", "Generate a key pair"))
        await chat.types("bob", "/runs start rotate-the-signing-key second")
        newer = await chat.sees("1. Generate a key pair in the vault")
        assert "Make a new key" in running.shown

        file.write_text(BY_HAND.replace("5min", "soon"))
        await chat.types("bob", "/runs start rotate-the-signing-key third")
        older = await chat.sees("1. Generate a key pair in the vault", "This is an earlier version of the runbook")
        assert "rotate.md:5" in older.shown and "soon" in older.shown
        assert chat.bot is not None
        async with aiohttp.ClientSession() as web, web.get(f"http://127.0.0.1:{chat.bot.port}/readyz") as answer:
            assert answer.status == 503
            (problem,) = (await answer.json())["problems"]
        assert "rotate.md:5" in problem and "rotate-the-signing-key goes on as it was read before" in problem

        file.unlink()
        (own / "other.md").write_text(BY_HAND.replace("Rotate the signing key", "Rotate the other key"))
        await chat.types("bob", "/runs start rotate-the-signing-key fourth")
        told = await chat.is_told("bob", "There is no runbook")
        assert "rotate-the-other-key" in told.shown
        for card in (running, newer, older):
            await chat.says("bob", "@opsbot cancel", thread=card)
            await chat.thread(card, until="Run cancelled")


# -- what an earlier step has seen


async def test_arguments_and_texts_take_what_earlier_steps_have_seen(
    tmp_path: Path, own: Path, process: SupervisedProcess, payments: str
) -> None:
    (own / "own.md").write_text(
        bound(
            "| 1 | Look: `handle.current_state()` | `children.running >= 1` within 30s | 1min |\n"
            "| 2 | Of {step1.target_count} children {children.running} ran, tell the team | The team knows | 1min |\n"
            "| 3 | Look again: `handle.current_state()` | `target_count == {step1.target_count}` | 1min |\n"
        )
    )
    async with Chat(tmp_path, payments + paths(own)) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own runbook: worker-1")
        asked = await chat.sees("Step 2 is for a person: Of 5 children ", " ran, tell the team", thread=card)
        assert "{" not in asked.shown
        await chat.presses("bob", "Done", asked)
        await chat.sees("Step 3: Look again", "target_count == 5", "met", thread=card)
        await chat.thread(card, until="Run done")


async def test_a_value_that_nobody_has_seen_is_asked_of_a_person(
    tmp_path: Path, own: Path, process: SupervisedProcess, payments: str
) -> None:
    (own / "own.md").write_text(
        bound(
            "| 1 | Find out which child is to blame | A name | 1min |\n"
            "| 2 | Stop it: `handle.quarantine_child(child={step1.culprit})` | | 1min |\n",
            danger="change",
        )
    )
    async with Chat(tmp_path, payments + paths(own)) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own runbook: worker-1")
        await chat.presses("bob", "Done", await chat.sees("Step 1 is for a person", thread=card))
        asked = await chat.sees("Step 2 needs step1.culprit, and no earlier step of this run has seen it", thread=card)
        assert asked.labels == ["Retry", "Done", "Failed", "Skip", "Cancel run"]
        await chat.says("bob", "@opsbot retry --input step1.wrong=x", thread=card)
        await chat.is_told("bob", "Step 2 does not ask for step1.wrong: it needs step1.culprit")
        assert process.executed == []
        await chat.says("bob", "@opsbot retry --input step1.culprit=worker-2", thread=card)
        await chat.sees("retries step 2, step1.culprit is worker-2", thread=card)
        await chat.thread(card, until="Run done")
        assert process.executed == ["quarantine_child /worker-2"]


# -- conditions


async def test_conditions_hold_or_not_or_are_asked(
    tmp_path: Path, own: Path, process: SupervisedProcess, payments: str
) -> None:
    (own / "own.md").write_text(
        bound(
            "| 1 | Look: `handle.current_state()` | `children.running >= 1` within 30s | 1min |\n"
            "| 2 | If children.running > 50, stop one: `handle.quarantine_child(child=worker-1)` | | 1min |\n"
            "| 3 | If children.running >= 1, look again: `handle.current_state()` | | 1min |\n"
            "| 4 | If the customers complain, stop one: `handle.quarantine_child(child=worker-2)` | | 1min |\n"
            "| 5 | If restart_budget.tokens == 0, stop one: `handle.quarantine_child(child=worker-1)` | | 1min |\n",
            danger="change",
        )
    )
    async with Chat(tmp_path, payments + paths(own)) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own runbook: worker-1")
        skipped = await chat.sees("Step 2 was not needed", "children.running > 50", thread=card)
        assert "children.running = " in skipped.shown
        await chat.sees("✓ Step 3: If children.running >= 1, look again", thread=card)
        asked = await chat.sees("Step 4 needs a decision", "whether this step is needed", thread=card)
        assert asked.labels[:3] == ["Needed: go on", "Skip", "Failed"]
        await chat.presses("bob", "Needed: go on", asked)
        await chat.sees("says that step 4 is needed", thread=card)
        asked = await chat.sees("Step 5 needs a decision", "restart_budget.tokens", thread=card)
        await chat.presses("bob", "Skip", asked)
        await chat.thread(card, until="Run done")
        assert process.executed == ["quarantine_child /worker-2"]


# -- the countdown


async def test_the_card_counts_down_while_it_waits(
    tmp_path: Path, own: Path, process: SupervisedProcess, payments: str
) -> None:
    (own / "own.md").write_text(
        bound("| 1 | Look: `handle.current_state()` | `children.running > 50` within 30s | 9min |\n")
    )
    async with Chat(tmp_path, payments + paths(own)) as chat:
        await chat.types("alice", "/runs start own worker-1")
        card = await chat.sees("Own runbook: worker-1")
        await chat.shows(card, "Waiting up to 2", " s more for children.running > 50", "; seen: children.running = ")
        await chat.shows(card, "Waiting up to 1", " s more for ")
        await chat.sees("Step 1 needs a decision", "30s are over", thread=card)
        await chat.until(lambda: "Waiting up to" not in card.shown, "a card without countdown")
        await chat.says("bob", "@opsbot cancel", thread=card)
        await chat.thread(card, until="Run cancelled")
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
        await chat.thread(card, until="acknowledged the page")
