"""A step prints more than a message should hold: its end is in the thread, all of it is a file that hangs on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bot.demo.slack import LocalMessage
from bot.demo.slack.workspace import StoredFile
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from tests.transcript import ON_GITHUB_ALONE, SETTINGS, Chat

LOOK = """\
---
id: look
product: supervisor
target: child
danger: read
---

# Look at the process

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Query current state: `handle.current_state()` | `children.running > 100` | 1min |

**Escalation**: Call somebody.
"""
START = "/runs start look worker-1"


@asynccontextmanager
async def looks_at_a_crowd(tmp_path: Path, payments: str, settings: str = SETTINGS) -> AsyncIterator[Chat]:
    """A process with sixty children, of which one prints what nobody may see."""
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "look.md").write_text(LOOK)
    chat = Chat(tmp_path, f'{payments}\n[runbooks]\npaths = ["{tmp_path}/books"]\n', settings=settings)
    quiet = payment_children()[0]
    names = ("worker-1", f"job-{chat._secret}", *(f"extra-{number}" for number in range(58)))
    children = tuple(replace(quiet, id=name) for name in names)
    process = SupervisedProcess(ProcessConfig(socket=tmp_path / "payments.sock", name="payments", children=children))
    async with process, chat:
        yield chat


async def reported(chat: Chat) -> tuple[LocalMessage, LocalMessage]:
    """The card, and what is said in its thread of the step."""
    await chat.types("alice", START)
    card = await chat.sees("Look at the process")
    return card, await chat.sees("Step 1 needs a decision", thread=card)


async def ends(chat: Chat, card: LocalMessage) -> None:
    await chat.presses("bob", "Acknowledge", await chat.sees("needs you"))
    await chat.says("alice", "@opsbot cancel", thread=card)
    await chat.thread(card, until="Run cancelled by alice")


def stored(chat: Chat) -> list[StoredFile]:
    return list(chat.slack.space.files.values())


async def test_a_long_output_is_a_file_and_its_end_is_in_the_thread(tmp_path: Path, payments: str) -> None:
    async with looks_at_a_crowd(tmp_path, payments) as chat:
        card, report = await reported(chat)
        assert "lines before this" in report.shown and "extra-57" in report.shown
        assert "All of it, " in report.shown and "step-1.txt" in report.shown
        assert [file["name"] for file in report.files] == ["step-1.txt"], "it hangs on the message"
        (file,) = stored(chat)
        whole = (file.content or b"").decode()
        assert "extra-0" in whole and "extra-57" in whole and len(whole) > 5_000
        assert chat._secret not in whole and "[redacted" in whole, "what nobody may see is in no file either"
        assert len(report.shown) < 4_000
        await ends(chat, card)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (lambda chat: chat.slack.faults.error("files.getUploadURLExternal", "missing_scope"), "missing_scope"),
        (lambda chat: chat.slack.faults.server_error("files.getUploadURLExternal"), "Slack answered 5"),
        (lambda chat: chat.slack.faults.error("files.completeUploadExternal", "access_denied"), "access_denied"),
    ],
    ids=["missing_scope", "5xx", "refused_in_the_end"],
)
async def test_what_cannot_be_attached_holds_nothing_up_and_the_message_says_so(
    tmp_path: Path, payments: str, fault: object, why: str
) -> None:
    async with looks_at_a_crowd(tmp_path, payments) as chat:
        assert callable(fault)
        fault(chat)
        card, report = await reported(chat)
        assert "extra-57" in report.shown, "the end of it is there all the same"
        assert "could not be attached as step-1.txt" in report.shown and why in report.shown
        assert report.files == []
        await ends(chat, card)


async def test_a_lost_answer_makes_no_second_message_and_no_second_file(tmp_path: Path, payments: str) -> None:
    async with looks_at_a_crowd(tmp_path, payments) as chat:
        await chat.types("alice", START)
        card = await chat.sees("Look at the process")
        chat.slack.faults.lost_answer("chat.postMessage", times=2)
        await chat.sees("Step 1 needs a decision", thread=card)
        await ends(chat, card)
        said = [one for one in chat.read(thread=card) if "needs a decision" in one.shown]
        assert len(said) == 1 and len(said[0].files) == 1 and len(stored(chat)) == 1


async def test_on_github_the_same_output_is_folded(tmp_path: Path, payments: str) -> None:
    async with looks_at_a_crowd(tmp_path, payments, ON_GITHUB_ALONE) as chat:
        await chat.comments("alice", START)
        comment = await chat.sees_comment("Look at the process", "extra-1 ", "extra-57")
        folded = comment.partition("<details>")[2]
        assert "extra-1 " in folded and "extra-57" in folded and chat._secret not in comment
        await chat.comments("alice", "/runs cancel --reason enough")
        await chat.sees_comment("Cancelled")
        await chat.comments("scotlaclair", "/runs ack")
        await chat.sees_comment("Acknowledged by scotlaclair")
        for _second in range(3):
            await chat.passes(seconds=2)
        chat.github.read(42)
