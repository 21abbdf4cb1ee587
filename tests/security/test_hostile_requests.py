"""What anybody on the network can send: without a signature nothing is stored, and nothing is worn out."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import sqlalchemy as sa

import bot.web
from bot import store as tables
from bot.errors import SettingsError
from bot.incoming import Actor, Incoming, Place
from bot.messages import message
from bot.metrics import Metrics
from bot.outbox import said_row
from bot.settings import read
from bot.store import Store
from bot.surfaces.github import port as github_port
from bot.surfaces.github.port import GitHubPort
from bot.web import application, serve
from tests.surfaces.slack_bot import mention_body, running_bot, slash_body
from tests.transcript import ON_GITHUB_TOO, Chat

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with Chat(tmp_path) as chat:
        yield chat


def signed(chat: Chat, body: bytes, timestamp: str = "") -> dict[str, str]:
    timestamp = timestamp or str(int(chat.clock.now().timestamp()))
    digest = hmac.new(chat._secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {"Content-Type": FORM, "X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": f"v0={digest}"}


async def send(chat: Chat, data: bytes, headers: Any, path: str = "/slack/events") -> int:
    assert chat.bot is not None
    url = f"http://127.0.0.1:{chat.bot.port}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
        await answer.read()
        return answer.status


async def stored(chat: Chat) -> int:
    assert chat.bot is not None
    return len(await chat.bot.store.rows(sa.select(tables.inbox.c.key)))


async def test_a_request_that_is_sent_again_within_five_minutes_happens_once(chat: Chat) -> None:
    body = slash_body(command="/runs", text="list", response_url="")
    headers = signed(chat, body)
    assert [await send(chat, body, headers) for _ in range(3)] == [200, 200, 200]
    assert await stored(chat) == 1
    await chat.sees("No run is open")
    await chat.clock.advance(301)
    assert await send(chat, body, headers) == 401


@pytest.mark.parametrize(
    "timestamp", ["1e9", "٣٣٣٣٣٣٣٣٣٣", "+1795350600", "-1", "0x6b02d2e8", "9" * 12, "1795350600.5", "NaN"]
)
async def test_no_other_spelling_of_a_time_is_one(chat: Chat, timestamp: str) -> None:
    body = slash_body()
    assert await send(chat, body, signed(chat, body, timestamp)) == 401
    assert await stored(chat) == 0


async def test_a_second_signature_does_not_help_a_wrong_first_one(chat: Chat) -> None:
    body = slash_body()
    good = signed(chat, body)
    wrong_first = [("X-Slack-Signature", "v0=00"), *good.items()]
    assert await send(chat, body, wrong_first) == 401
    assert await stored(chat) == 0


async def test_a_body_that_grows_when_unpacked_is_refused_while_it_is_small(chat: Chat) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024), 9)
    for path in ("/slack/events", "/github/webhook"):
        headers = signed(chat, bomb) | {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        assert await send(chat, bomb, headers, path) in (401, 404, 413)
    assert await stored(chat) == 0


async def test_a_body_that_never_ends_is_given_up(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chat.bot is not None
    monkeypatch.setattr(bot.web, "REQUEST_TIMEOUT", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.bot.port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed(chat, b"").items())
    writer.write(f"POST /slack/events HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 1000\r\n\r\nab".encode())
    answer = await asyncio.wait_for(reader.read(), 5)  # to the end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /slack/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_one_line_in_the_log(
    chat: Chat, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """Whoever finds the port could otherwise fill the log with tracebacks, and hide in them."""
    assert chat.bot is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", chat.bot.port)
    writer.write(sent)
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.0 400 ")
    writer.close()
    [record] = [one for one in caplog.records if one.name == "aiohttp.server"]
    assert record.exc_info is None and "\n" not in record.getMessage() and len(record.getMessage()) < 250
    assert record.levelname == "WARNING"


async def test_half_a_surrogate_pair_is_stored_as_the_replacement_character() -> None:
    async with running_bot() as local:
        status, _ = await local.signed_json(mention_body("<@U0OPSBOT> status \ud800"))
        assert (status, local.notebook.texts) == (200, ["@opsbot status \ufffd"])
        local.notebook.last.model_dump_json()


def pressed(team: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "block_actions",
        "team": {"id": "T0OPS"},
        "user": {"id": "U0EVIL", "team_id": team},
        "container": {"channel_id": "C0OPS", "message_ts": "1.1"},
        "actions": [{"action_id": "opsbot:0", "action_ts": "1.5", "value": "/runs list"}],
        "trigger_id": "1.2",
        **more,
    }


async def test_a_button_in_a_shared_channel_does_nothing_for_people_of_another_organisation() -> None:
    async with running_bot() as local:
        assert (await local.signed_payload(pressed("T0EVIL")))[0] == 200
        assert local.notebook.texts == []
        assert (await local.signed_payload(pressed("T0OPS")))[0] == 200
        assert local.notebook.texts == ["/runs list"]
        another_workspace_of_the_enterprise = pressed("T0SISTER", enterprise={"id": "E0"}, trigger_id="1.3")
        another_workspace_of_the_enterprise["actions"][0]["action_ts"] = "1.6"
        await local.signed_payload(another_workspace_of_the_enterprise)
        assert len(local.notebook.texts) == 2


async def test_however_many_ask_for_readiness_at_once_the_systems_are_asked_once(tmp_path: Path) -> None:
    asked, answer = 0, asyncio.Event()

    async def check() -> list[str]:
        nonlocal asked
        asked += 1
        await answer.wait()
        return []

    store = Store(f"sqlite:///{tmp_path}/opsbot.db")
    runner, port = await serve(application(Metrics(store), [("it", check)], routes={}), "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            gets = [asyncio.create_task(session.get(f"http://127.0.0.1:{port}/readyz")) for _ in range(20)]
            while len(runner.server.connections if runner.server else ()) < 20:
                await asyncio.sleep(0.01)
            answer.set()
            assert {(await get).status for get in gets} == {200}
        assert asked == 1
    finally:
        await runner.cleanup()
        await store.close()


async def test_asking_for_readiness_does_not_use_up_the_hours_requests_at_github(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Chat(tmp_path, settings=ON_GITHUB_TOO) as chat:
        assert chat.bot is not None
        surface = chat.bot.delivery.surfaces["github"]
        assert isinstance(surface, GitHubPort)
        await surface.problems()
        before = len(chat.github.exchanges)
        for _ in range(50):
            assert await surface.problems() == []
        assert len(chat.github.exchanges) - before <= 2  # at most one more look
        monkeypatch.setattr(github_port, "PROBLEMS_KEPT", 0)


def command(person: str, number: int) -> Incoming:
    return Incoming(
        key=f"test:{person}:{number}",
        actor=Actor(surface="slack", id=person),
        place=Place(surface="slack", channel="C0OPS"),
        text="/runs list",
        received_at=datetime(2026, 11, 22, 10, tzinfo=UTC),
    )


async def test_a_thousand_commands_of_one_person_hide_nobody_elses(chat: Chat) -> None:
    assert chat.bot is not None
    await chat.bot.dispatcher.stop()  # look at what it would be given
    inbox = chat.bot.inbox
    await asyncio.gather(*(inbox.accept(command("U0ALICE", number)) for number in range(1000)))
    await inbox.accept(command("U0BOB", 0))
    people = [incoming.actor.id for incoming in await inbox.unhandled()]
    assert people.count("U0ALICE") <= 20 and people.count("U0BOB") == 1
    assert [one.actor.id for one in await inbox.unhandled(besides=("slack:U0ALICE",))] == ["U0BOB"]
    async with chat.bot.store.write() as connection:
        await connection.execute(tables.inbox.update().values(handled=True))


async def test_what_one_person_asks_for_all_at_once_is_answered_piece_by_piece(chat: Chat) -> None:
    """Slack takes one message a second for a channel: who asks there after a flood would wait for half an hour."""
    assert chat.bot is not None
    bot = chat.bot
    await bot.delivery.stop()
    await bot.dispatcher.stop()
    await asyncio.gather(*(bot.inbox.accept(command("U0CAROL", number)) for number in range(40)))
    await bot.inbox.accept(command("U0BOB", 0))
    bot.dispatcher.start()
    key = tables.outbox.c.key

    async def waiting(person: str) -> int:
        return len(await bot.store.rows(sa.select(key).where(key.like(f"answer:test:{person}:%"))))

    async with asyncio.timeout(20):
        while await waiting("U0CAROL") < 20 or not await waiting("U0BOB"):
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)  # that nothing more comes cannot be waited for
    assert await waiting("U0CAROL") == 20
    async with bot.store.write() as connection:
        await connection.execute(tables.outbox.update().values(status="sent"))
    async with asyncio.timeout(20):
        while await waiting("U0CAROL") < 40:  # the next twenty, as soon as these are said
            await asyncio.sleep(0.02)
    async with bot.store.write() as connection:
        await connection.execute(tables.inbox.update().values(handled=True))
        await connection.execute(tables.outbox.update().values(status="sent"))


async def test_a_stored_command_that_cannot_be_read_holds_up_no_other(chat: Chat) -> None:
    assert chat.bot is not None
    async with chat.bot.store.write() as connection:
        await connection.execute(
            tables.inbox.insert().values(
                key="old", incoming=json.dumps({"v": 0}), received_at=chat.clock.now(), handled=False
            )
        )
    await chat.types("bob", "/runs list")
    await chat.sees("No run is open")
    async with chat.bot.store.write() as connection:
        await connection.execute(tables.inbox.update().values(handled=True))


async def test_one_comment_cannot_have_the_bot_answer_thousands_of_times(tmp_path: Path) -> None:
    async with Chat(tmp_path, settings=ON_GITHUB_TOO) as chat:
        await chat.comments("mallory", "\n".join(["/runs list"] * 2000))
        await chat.rests()
        assert await stored(chat) == 10
        chat.github.read(42)
        assert chat.bot is not None
        async with chat.bot.store.write() as connection:  # the rest of the answers is not what this is about
            await connection.execute(tables.outbox.update().values(status="sent"))
        chat.github.read(42)


def test_a_password_in_a_wrong_database_address_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "opsbot.toml"
    file.write_text(
        '[database]\nurl = "postgresql+psycopg://opsbot:hunter2@db/opsbot"\n'
        '[slack]\nchannel = "C0OPS"\n[escalation]\ncontact = "scot"\n[people.scot]\nslack = "U0SCOT"\n'
    )
    with pytest.raises(SettingsError) as refused:
        read(file, {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_SIGNING_SECRET": "2"}, ())
    assert "database.url: must start with sqlite:/// or postgresql://" in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_page_does_not_wait_behind_answers_that_anybody_may_ask_for(tmp_path: Path) -> None:
    async with Chat(tmp_path) as chat:
        assert chat.bot is not None
        surface = chat.bot.delivery.surfaces["slack"]
        await chat.bot.delivery.stop()
        place = Place(surface="slack", channel="C0OPS")
        async with chat.bot.store.write() as connection:
            for number in range(60):
                row = said_row(f"answer:{number}", "answer", place, surface.draw(message("an answer")), {})
                await connection.execute(tables.outbox.insert().values(created_at=chat.clock.now(), **row))
            row = said_row("a page", "page", place, surface.draw(message("a page")), {})
            await connection.execute(tables.outbox.insert().values(created_at=chat.clock.now(), **row))
        chat.bot.delivery.start()
        await chat.sees("a page")
        await chat.rests()
        texts = [one.text for one in chat.read()]
        assert (texts[0], len(texts)) == ("a page", 61)


async def test_mending_an_old_comment_does_not_run_its_command_again(tmp_path: Path) -> None:
    async with Chat(tmp_path, settings=ON_GITHUB_TOO) as chat:
        assert chat.bot is not None
        comment = await chat.comments("alice", "/runs list")
        await chat.sees_comment("No run is open")
        chat.clock._now += timedelta(days=31)  # at once: nobody looks a million times meanwhile
        await chat.clock.advance(1)
        async with chat.bot.store.write() as connection:  # what the housekeeping does to handled commands
            await connection.execute(tables.inbox.delete())
        chat.github.deliveries.hooks.clear()  # no webhook tells: the poller finds the edit
        chat.github.edit("alice", comment, "/runs list\n\nthank you")
        await chat.clock.advance(61)
        await chat.rests()
        await chat.clock.advance(61)
        await chat.rests()
        assert await stored(chat) == 0
