"""What goes wrong between the bot and Slack, and the way out of each: nothing is lost, and nothing is said twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from bot.demo.supervised_process import SupervisedProcess
from tests.transcript import ON_GITHUB_TOO, Chat, run_id

QUARANTINE = "/supervisor quarantine worker-1"
TITLE = "Quarantine worker-1 of payments"


async def readiness(chat: Chat) -> list[str]:
    assert chat.bot is not None
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{chat.bot.port}/readyz") as answer:
        problems: list[str] = (await answer.json())["problems"]
        return problems


def posted(chat: Chat, text: str) -> int:
    """How many messages of the bot hold the text, wherever they are."""
    return sum(text in one.shown for one in chat.slack.space.all_messages() if one.user == "U0OPSBOT")


async def test_who_answers_a_card_that_slack_has_not_acknowledged_yet_is_understood(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    """People see a message before the bot has its id, a little; then the answer in its thread waits."""
    async with Chat(tmp_path, payments) as chat:
        released = chat.slack.faults.late_answer("chat.postMessage")
        await chat.types("alice", "/runs start P1-002 worker-1 --drill")
        card = await chat.sees("P1-002")
        await chat.says("alice", "@opsbot cancel", thread=card)
        asyncio.get_running_loop().call_later(0.3, released.set)
        await chat.shows(card, "Cancelled")
        await chat.thread(card, until="Run cancelled by alice")


async def test_429_is_waited_for_as_long_as_slack_says(
    tmp_path: Path, process: SupervisedProcess, payments: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        chat.slack.faults.rate_limited("chat.postMessage", retry_after=30)
        await chat.types("alice", QUARANTINE)
        asked_at = chat.clock.now()
        card = await chat.sees(TITLE)
        assert 30 <= (chat.clock.now() - asked_at).total_seconds() < 40
        await chat.thread(card, until="Run done")
        assert posted(chat, TITLE) == 1
        assert process.executed == ["quarantine_child /worker-1"], "the run did not wait for Slack"


@pytest.mark.parametrize("fault", ["server_error", "lost_answer"])
async def test_an_answer_that_does_not_come_makes_no_second_message(
    tmp_path: Path, process: SupervisedProcess, payments: str, fault: str
) -> None:
    """Every first try of everything that is posted fails, before or after Slack has stored it."""
    async with Chat(tmp_path, payments) as chat:
        getattr(chat.slack.faults, fault)("chat.postMessage", times=1)
        await chat.types("alice", QUARANTINE)
        card = await chat.sees(TITLE)
        getattr(chat.slack.faults, fault)("chat.postMessage", times=2)
        getattr(chat.slack.faults, fault)("chat.update", times=2)
        await chat.thread(card, until="Run done")
        await chat.shows(card, "Done after")
        await settled(chat)
        _, *said = (one.shown.split("\n")[0] for one in chat.read(thread=card))
        assert [one.split(" ")[0] for one in said] == ["Step", "✓", "Run"], "each once, and in order"
        assert posted(chat, TITLE) == 1
        assert await readiness(chat) == []


async def test_a_deleted_card_is_posted_again(tmp_path: Path, process: SupervisedProcess, payments: str) -> None:
    async with Chat(tmp_path, payments) as chat:
        await chat.types("alice", "/supervisor runbook P1-002 worker-1")
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-1", "waiting for")
        thread = chat.read(thread=card)
        chat.slack.space.remove(card)
        assert thread
        again = await chat.sees("P1-002 Child Task Crash Loop: worker-1", "waiting for")
        assert again.ts != card.ts
        await chat.types("bob", f"/runs cancel {run_id(again)}")
        await chat.shows(again, "Cancelled")
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
        await chat.passes(seconds=61)  # what was meant for the thread of the deleted card is said under the new one
        await chat.thread(again, until="acknowledged the page")
        assert posted(chat, "Asked for by alice") == 1


@pytest.mark.parametrize("channel", ["secret", "dev"], ids=["not_in_channel", "is_archived"])
async def test_where_the_bot_cannot_post_the_card_goes_to_the_configured_channel_and_the_asker_is_told(
    tmp_path: Path, process: SupervisedProcess, payments: str, channel: str
) -> None:
    async with Chat(tmp_path, payments) as chat:
        if channel == "dev":
            chat.slack.faults.error("chat.postMessage", "is_archived")
        await chat.types("alice", QUARANTINE, channel=channel)
        card = await chat.sees(TITLE)
        await chat.is_told("alice", "so the run is shown elsewhere", channel=channel)
        await chat.thread(card, until="Run done")
        assert posted(chat, TITLE) >= 1


@pytest.mark.parametrize("reason", ["token_revoked", "channel_not_found", "is_archived"])
async def test_without_slack_the_run_goes_on_and_readyz_says_what_to_do(
    tmp_path: Path, process: SupervisedProcess, payments: str, reason: str
) -> None:
    hints = {
        "token_revoked": "install the app again and set the new token",
        "channel_not_found": "Check the channel id in opsbot.toml",
        "is_archived": "Unarchive the channel or name another one",
    }
    async with Chat(tmp_path, payments, settings=ON_GITHUB_TOO) as chat:
        chat.slack.faults.error("chat.postMessage", reason, times=40)
        await chat.types("alice", QUARANTINE)
        await chat.until(lambda: process.executed, "the child being stopped")
        problems = await named(chat, reason)
        assert any(hints[reason] in problem for problem in problems), problems
        await settled(chat)  # the run comes to its end meanwhile
        chat.slack.faults.clear()
        await chat.passes(seconds=61)
        card = await chat.sees(TITLE)
        await chat.thread(card, until="Run done")
        assert posted(chat, TITLE) == 1
        await settled(chat)
        assert await readiness(chat) == []


async def settled(chat: Chat) -> None:
    """What was refused is tried again."""
    for _second in range(5):
        await chat.passes(seconds=1)


async def named(chat: Chat, reason: str) -> list[str]:
    for _second in range(20):
        if found := [one for one in await readiness(chat) if reason in one]:
            return found
        await chat.passes(seconds=1)
    raise AssertionError(f"/readyz never named {reason}")
