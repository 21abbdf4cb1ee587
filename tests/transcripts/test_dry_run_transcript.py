"""``--dry-run`` on everything that changes something: it shows the plan, and nothing is done or kept but the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot import store as tables
from bot.commands.registry import Command, CommandGroup
from bot.commands.signature import syntax
from bot.demo.supervised_process import SupervisedProcess
from bot.handler import Danger
from tests.transcript import ON_GITHUB_TOO, Chat, run_id

OWN = """---
id: own
product: supervisor
target: child
danger: destructive
---

# Own

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Stop it: `handle.quarantine_child()` | Child marked as `Quarantined` within 30s | 1min |
| 2 | If `children.failed == 99`, remove it: `handle.remove_child()` | | 5min |
| 3 | Tell the customer | | 10min |
"""
KEPT = ("runs", "locks", "cards", "journal", "queue", "watchers", "freeze", "retries", "escalations")


@pytest.fixture
def own(tmp_path: Path) -> str:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.md").write_text(OWN)
    return f'[runbooks]\npaths = ["{folder}"]\n'


async def everything(chat: Chat) -> dict[str, list[Any]]:
    """What the bot remembers of runs and of the world."""
    assert chat.bot is not None
    found = {}
    for name in KEPT:
        if isinstance(table := getattr(tables, name, None), sa.Table):
            shown = [column for column in table.c if column.name not in ("drawn_at",)]
            found[name] = [tuple(row) for row in await chat.bot.store.rows(sa.select(*shown))]
    return found


@pytest.mark.parametrize("where", ["slack", "github"])
async def test_the_plan_of_a_run(
    tmp_path: Path, process: SupervisedProcess, payments: str, own: str, where: str
) -> None:
    async with Chat(tmp_path, payments + own, settings=ON_GITHUB_TOO) as chat:
        before = await everything(chat)
        if where == "github":
            await chat.comments("alice", "/runs start own worker-1 --dry-run")
            shown = await chat.sees_comment("Dry run: Own", "Nothing was done")
        else:
            await chat.types("alice", "/runs start own worker-1 --dry-run")
            shown = (await chat.is_told("alice", "Dry run: Own", "Nothing was done")).shown
        plain = shown.replace("`", "").replace("\\", "")
        for text in (
            "1. Stop it (change, 1 min)",
            '"command": "quarantine_child"',
            "2. If children.failed == 99, remove it (destructive, 5 min)",
            "Only if: children.failed == 99",
            "It does not hold now, so the step would be left out",
            "Needs the approval of a second person within 15 min, with worker-1 typed: bob or scotlaclair.",
            '"command": "remove_child"',
            "3. Tell the customer (by a person, 10 min)",
        ):
            assert text in plain
        assert await everything(chat) == before
        assert process.executed == []
        assert chat.channel() == []


async def test_what_is_in_the_way_is_told(tmp_path: Path, process: SupervisedProcess, payments: str, own: str) -> None:
    async with Chat(tmp_path, payments + own) as chat:
        await chat.types("bob", "/supervisor quarantine fraud-scorer --reason 'eats memory'")
        card = await chat.sees("Asked for by bob")
        asked = await chat.sees("Step 1 needs a decision", thread=card)
        await chat.presses("bob", "Acknowledge", await chat.sees("needs you"))
        await chat.types("alice", "/supervisor quarantine fraud-scorer --dry-run")
        await chat.is_told("alice", "It would not start now: bob works on fraud-scorer (since 12:00 UTC", "eats memory")
        await chat.types("bob", "/runs freeze release")
        await chat.sees("has frozen")
        await chat.types("alice", "/runs start own worker-1 --dry-run")
        await chat.is_told("alice", "It would not start now: bob has frozen new changing runs: release.")
        await chat.presses("bob", "Failed", asked)
        await chat.thread(card, until="Run ended as failed")


async def test_every_changing_command_takes_it_and_then_changes_nothing(
    tmp_path: Path, process: SupervisedProcess, payments: str, somas: str, own: str
) -> None:
    """A command that is added tomorrow is tried here by its own first example."""
    async with Chat(tmp_path, payments + somas + own) as chat:
        assert chat.bot is not None
        await chat.types("bob", "/runs start own worker-2")
        card = await chat.sees("Own: worker-2")
        asked = await chat.sees("Step 3 is for a person", thread=card)
        await chat.types("bob", "/runs start own worker-2 --queue")
        await chat.sees("Queued as number 1")
        await chat.rests()
        run, before = run_id(card), await everything(chat)
        for group in chat.bot.dispatcher.groups.values():
            for command in group.commands.values():
                if command.danger is Danger.READ:
                    continue
                assert syntax(command).option("--dry-run"), command.verb
                await chat.types("alice", f"{example(group, command, run)} --dry-run")
                told = await chat.is_told("alice", "")
                assert "Something went wrong" not in told.shown, (command.verb, told.shown)
        for line, wanted in (
            (f"/runs done {run}", "Step 3: alice says it is done"),
            (f"/runs cancel {run}", "The run would be cancelled (it is waiting)."),
            (f"/runs extend {run} 10m slow", "alice gave step 3 10 min more"),
            (f"/runs assign {run} bob", "alice handed this run over to bob"),
            ("/runs leave 1", "It would take number 1 out of the queue."),
            ("/runs freeze release", "It would freeze new changing runs: release."),
        ):
            await chat.types("alice", f"{line} --dry-run")
            await chat.is_told("alice", "Nothing was done.", wanted)
        await chat.rests()
        assert await everything(chat) == before
        assert process.executed == ["quarantine_child /worker-2"]
        await chat.types("alice", "/runs leave 1")
        await chat.sees("Number 1 is out of the queue")
        await chat.presses("bob", "Failed", asked)
        await chat.thread(card, until="Run ended as failed")


def example(group: CommandGroup, command: Command, run: str) -> str:
    """The command's first example, about what there is."""
    line = command.examples[0].replace("01JD0000000000000000000000", run).replace("--dry-run", "")
    return line.replace("P1-002 worker-3", "own worker-1").replace("/runs leave 7", "/runs leave 1")
