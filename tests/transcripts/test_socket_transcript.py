"""Slack by HTTP and in Socket Mode: the same conversation, and nothing lost or doubled when connections come and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa

from bot import store as tables
from bot.demo.supervised_process import SupervisedProcess
from bot.incoming import Incoming
from tests.transcript import PEOPLE, Chat
from tests.transcripts.test_supervisor_transcript import crashed, now

BOTH = pytest.mark.parametrize("socket", [False, True], ids=["http", "socket"])


async def stored(chat: Chat) -> list[str]:
    assert chat.bot is not None
    rows = await chat.bot.store.rows(sa.select(tables.inbox.c.incoming).order_by(tables.inbox.c.number))
    return [row.incoming for row in rows]


@BOTH
async def test_commands_buttons_forms_and_mentions(
    tmp_path: Path, process: SupervisedProcess, payments: str, socket: bool
) -> None:
    await crashed(process, 2)
    async with Chat(tmp_path, payments, clock=now(), socket=socket) as chat:
        await chat.types("bob", "/supervisor status")
        await chat.presses("alice", "Run P1-002 on worker-3", await chat.sees("payments: "))
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-3", "Asked for by alice")
        asked = await chat.sees("Step 5 needs approval", thread=card)
        await chat.shows(card, "Step 5 of 6: waiting for approval")
        digest = asked.shown.split("--digest ")[1].split()[0]
        await chat.says("alice", f"@opsbot approve --digest {digest} --confirm worker-3", thread=card)
        await chat.is_told("alice", "You asked for this run, so somebody else has to approve it")
        form = await chat.opens("bob", "Approve…", card)
        await chat.sends("bob", form, {"Type worker-3 to approve": "worker-3"})
        await chat.thread(card, until="Run done")
        assert process.executed[-1] == "remove_child /worker-3"
        assert len(chat.slack.sockets.connections) == (2 if socket else 0)
        assert chat.slack.sockets.opened == len(chat.slack.sockets.connections)


@BOTH
async def test_what_slack_sends_three_times_happens_once(
    tmp_path: Path, process: SupervisedProcess, payments: str, socket: bool
) -> None:
    async with Chat(tmp_path, payments, socket=socket) as chat:
        chat.slack.duplicate_deliveries = 2
        await chat.types("alice", "/supervisor quarantine worker-1")
        await chat.thread(await chat.sees("Quarantine worker-1 of payments"), until="Run done")
        assert process.executed == ["quarantine_child /worker-1"]
        assert [each.status for each in chat.slack.deliveries if each.kind == "slash"] == [200] * 3


async def test_connections_are_replaced_while_people_type(tmp_path: Path) -> None:
    """Slack says that it will close them, twice, and a cable breaks; each command is answered, and each once."""
    async with Chat(tmp_path, socket=True) as chat:
        sockets = chat.slack.sockets
        typing = [asyncio.create_task(type_some(chat, name)) for name in PEOPLE]
        for turn in range(3):
            await chat.until(lambda: len(sockets.connections) >= 2, "two connections", passing=0)
            if turn == 1:
                sockets.drop()
            else:
                await sockets.refresh(reason="warning" if turn else "refresh_requested")
        await asyncio.gather(*typing)
        commands = await stored(chat)
        assert len(commands) == len(set(commands)) == len(PEOPLE) * 8
        for name in PEOPLE:
            for _ in range(8):
                await chat.is_told(name, "Runs: what is going on")
        assert sockets.opened >= 2 + 2 + 1 + 2


async def type_some(chat: Chat, name: str) -> None:
    for _ in range(8):
        await chat.types(name, "/runs help")
        await asyncio.sleep(0)


async def test_an_acknowledgement_that_is_lost_brings_the_envelope_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the command was stored and before Slack heard so."""
    async with Chat(tmp_path, socket=True) as chat:
        assert chat.bot is not None
        sockets, accept = chat.slack.sockets, chat.bot.inbox.accept

        async def stored_and_then_cut(incoming: Incoming) -> bool:
            new = await accept(incoming)
            if not seen:
                (through,) = (number for number, one in enumerate(sockets.connections) if one.waiting)
                sockets.drop(through)
            seen.append(new)
            return new

        seen: list[bool] = []
        monkeypatch.setattr(chat.bot.inbox, "accept", stored_and_then_cut)
        await chat.types("alice", "/runs help")
        await chat.is_told("alice", "Runs: what is going on")
        assert seen == [True, False]
        assert len(await stored(chat)) == 1


async def test_readyz_names_a_closed_door_and_the_bot_comes_back(tmp_path: Path) -> None:
    async with Chat(tmp_path, socket=True) as chat:
        assert chat.bot is not None
        (check,) = (check for name, check in chat.bot._checks if name == "Slack's socket")
        assert await check() == []
        chat.slack.faults.error("apps.connections.open", "invalid_auth", times=4)
        chat.slack.sockets.drop(0)
        chat.slack.sockets.drop(0)
        await asyncio.sleep(0)
        told: list[str] = []

        async def down() -> bool:
            told[:] = await check()
            return bool(told) and "invalid_auth" in told[0]

        async with asyncio.timeout(10):
            while not await down():
                await asyncio.sleep(0.02)
        assert "SLACK_APP_TOKEN has to be an app-level token with connections:write" in told[0]
        async with asyncio.timeout(20):
            while await check():
                await asyncio.sleep(0.05)
        await chat.types("alice", "/runs help")
        await chat.is_told("alice", "Runs: what is going on")
