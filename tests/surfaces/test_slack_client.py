"""What the bot says in Slack: once, in order, and with a plain word about why it could not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.clock import ManualClock, SystemClock
from bot.messages import Button, Buttons, CodeBlock, Heading, Message, Paragraph, line, message
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.slack.app import SlackReceiver
from bot.surfaces.slack.blocks import SlackMessage, draw
from bot.surfaces.slack.client import MessageGone, SlackSurface, new_session
from bot.surfaces.slack.socket import SlackSocket
from tests.surfaces.slack_bot import SECRET, TOKEN, Bot, Notebook, mention_body, running_bot

HELLO = draw(message("Hello"), {})
CARD = draw(Message("Run", (Heading("Run 01J"), Paragraph(line("Step 1 of 4"))), "running"), {})


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    async with running_bot(clock=ManualClock()) as running:
        yield running


def calls(bot: Bot, method: str) -> list[dict[str, Any]]:
    return [arguments for name, arguments in bot.slack.calls if name == method]


async def test_a_card_is_posted_changed_and_linked(bot: Bot) -> None:
    ts = await bot.surface.post("C0OPS", None, CARD, key="01J/card")
    reply = await bot.surface.post("C0OPS", ts, HELLO, key="01J/1")
    done = draw(Message("Run done", (Heading("Run 01J done"), Paragraph(line("Step 4 of 4"))), "good"), {})
    assert await bot.surface.update("C0OPS", ts, done)
    card, answer = bot.slack.messages("C0OPS", thread_ts=ts)
    assert "Run 01J done" in card.shown
    assert "Step 4 of 4" in card.shown
    assert card.attachments[0]["color"] == "#2eb67d"
    assert (answer.shown, answer.ts) == ("Hello", reply)
    assert card.metadata == {"event_type": "opsbot_message", "event_payload": {"key": "01J/card"}}
    assert ts.replace(".", "") in await bot.surface.permalink("C0OPS", ts)


async def test_a_change_without_colour_takes_the_stripe_away(bot: Bot) -> None:
    ts = await bot.surface.post("C0OPS", None, CARD, key="k")
    await bot.surface.update("C0OPS", ts, HELLO)
    (card,) = bot.slack.messages("C0OPS")
    assert (card.shown, card.attachments) == ("Hello", [])


async def test_an_answer_that_was_lost_does_not_make_a_second_message(bot: Bot) -> None:
    root = await bot.surface.post("C0OPS", None, CARD, key="card")
    for thread in (None, root):
        bot.slack.faults.lost_answer("chat.postMessage")
        with pytest.raises(TryLater) as caught:
            await bot.surface.post("C0OPS", thread, HELLO, key=f"page/{thread}")
        assert caught.value.maybe_posted
        ts = await bot.surface.post("C0OPS", thread, HELLO, key=f"page/{thread}")
        said = [one for one in bot.slack.messages("C0OPS", thread_ts=thread) if one.shown == "Hello"]
        assert [one.ts for one in said] == [ts]
    assert len(calls(bot, "chat.postMessage")) == 3


async def test_after_a_restart_the_message_is_looked_for_first(bot: Bot) -> None:
    root = await bot.surface.post("C0OPS", None, CARD, key="card")
    for number in range(230):  # more than one page of the thread
        await bot.surface.post("C0OPS", root, HELLO, key=f"step/{number}")
    another = SlackSurface(TOKEN, ManualClock(), api_url=bot.slack.api_url)
    await another.start()
    try:
        assert await another.post("C0OPS", None, CARD, key="card", look_first=True) == root
        found = await another.post("C0OPS", root, HELLO, key="step/229", look_first=True)
        assert found == bot.slack.messages("C0OPS", thread_ts=root)[-1].ts
        assert await another.find("C0OPS", root, "step/never") is None
        fresh = await another.post("C0OPS", root, HELLO, key="step/new", look_first=True)
        assert fresh == bot.slack.messages("C0OPS", thread_ts=root)[-1].ts
    finally:
        await another.close()


async def test_an_error_of_the_server_is_tried_again_once_by_the_caller(bot: Bot) -> None:
    bot.slack.faults.server_error("chat.postMessage", status=503)
    with pytest.raises(TryLater):
        await bot.surface.post("C0OPS", None, HELLO, key="k")
    await bot.surface.post("C0OPS", None, HELLO, key="k")
    assert len(bot.slack.messages("C0OPS")) == 1


async def test_what_looks_for_a_lost_message_and_fails_does_not_post(bot: Bot) -> None:
    bot.slack.faults.lost_answer("chat.postMessage")
    with pytest.raises(TryLater):
        await bot.surface.post("C0OPS", None, HELLO, key="k")
    bot.slack.faults.error("conversations.history", "missing_scope")
    with pytest.raises(TryLater) as caught:
        await bot.surface.post("C0OPS", None, HELLO, key="k")
    assert caught.value.maybe_posted
    bot.slack.faults.server_error("conversations.history")
    with pytest.raises(TryLater):
        await bot.surface.post("C0OPS", None, HELLO, key="k")
    assert len(bot.slack.messages("C0OPS")) == 1


@pytest.mark.parametrize(
    ("channel", "reason", "hint"),
    [
        ("C0NONE", "channel_not_found", "Check the channel id"),
        ("C0PRIV", "not_in_channel", "/invite @opsbot"),
        ("C0OLD", "is_archived", "Unarchive the channel"),
    ],
)
async def test_a_channel_that_takes_nothing_is_named(bot: Bot, channel: str, reason: str, hint: str) -> None:
    with pytest.raises(Undeliverable) as caught:
        await bot.surface.post(channel, None, HELLO, key="k")
    assert caught.value.reason == reason
    assert hint in caught.value.hint


async def test_a_deleted_card_is_gone(bot: Bot) -> None:
    with pytest.raises(MessageGone):
        await bot.surface.update("C0OPS", "1795350600.999999", CARD)
    bot.slack.faults.error("chat.update", "cant_update_message")
    with pytest.raises(MessageGone):
        await bot.surface.update("C0OPS", await bot.surface.post("C0OPS", None, CARD, key="k"), CARD)


async def test_a_revoked_token_is_a_problem_until_it_works_again(bot: Bot) -> None:
    assert await bot.surface.problems() == []
    bot.slack.faults.error("chat.postMessage", "token_revoked")
    with pytest.raises(Undeliverable):
        await bot.surface.post("C0OPS", None, HELLO, key="k")
    (problem,) = await bot.surface.problems()
    assert problem.startswith(
        "Slack refuses the bot: token_revoked. SLACK_BOT_TOKEN was revoked; install the app again"
    )
    await bot.surface.post("C0OPS", None, HELLO, key="k")
    assert await bot.surface.problems() == []


async def test_slack_that_cannot_be_reached_is_a_problem_and_not_a_crash() -> None:
    clock = ManualClock()
    surface = SlackSurface(TOKEN, clock, api_url="http://127.0.0.1:9/api/")
    await surface.start()
    try:
        assert surface.identity is None
        (problem,) = await surface.problems()
        assert problem.startswith("Slack: auth.test failed: cannot connect to 127.0.0.1:9")
        with pytest.raises(TryLater) as caught:
            await surface.post("C0OPS", None, HELLO, key="k")
        assert not caught.value.maybe_posted
    finally:
        await surface.close()


async def test_a_failed_auth_test_is_tried_again_by_readyz() -> None:
    clock = ManualClock()
    async with running_bot(clock=clock) as bot:
        late = SlackSurface(TOKEN, clock, api_url=bot.slack.api_url)
        bot.slack.faults.server_error("auth.test")
        await late.start()
        assert len(await late.problems()) == 1
        await clock.advance(15)
        assert await late.problems() == []
        assert late.identity is not None
        assert (late.identity.team_id, late.identity.bot_user) == ("T0OPS", "U0OPSBOT")
        await late.close()


# ---- limits ----------------------------------------------------------------------------------------------------------


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_short_rate_limit_is_waited_for_and_other_channels_go_on(bot: Bot) -> None:
    clock = bot.surface._clock
    assert isinstance(clock, ManualClock)
    bot.slack.add_channel("C0TWO", "two", members=["U0OPSBOT"])
    bot.slack.faults.rate_limited("chat.postMessage", retry_after=2)
    limited = asyncio.create_task(bot.surface.post("C0OPS", None, HELLO, key="a"))
    await until(lambda: clock._sleepers)
    behind = asyncio.create_task(bot.surface.post("C0OPS", None, draw(message("Second"), {}), key="b"))
    await bot.surface.post("C0TWO", None, HELLO, key="c")
    assert not limited.done()
    assert not behind.done()
    await clock.advance(2)
    await asyncio.gather(limited, behind)
    assert [one.shown for one in bot.slack.messages("C0OPS")] == ["Hello", "Second"]


async def test_a_long_rate_limit_is_raised_and_slack_is_left_alone_until_it_ends(bot: Bot) -> None:
    clock = bot.surface._clock
    assert isinstance(clock, ManualClock)
    bot.slack.faults.rate_limited("chat.postMessage", retry_after=30)
    with pytest.raises(TryLater) as caught:
        await bot.surface.post("C0OPS", None, HELLO, key="a")
    assert (caught.value.after, caught.value.maybe_posted) == (30, False)
    await clock.advance(20)
    with pytest.raises(TryLater) as caught:
        await bot.surface.post("C0OPS", None, HELLO, key="a")
    assert caught.value.after == 10
    assert len(calls(bot, "chat.postMessage")) <= 1
    await clock.advance(10)
    await bot.surface.post("C0OPS", None, HELLO, key="a")
    assert len(bot.slack.messages("C0OPS")) == 1


async def test_a_newer_change_of_a_card_replaces_one_that_waits(bot: Bot) -> None:
    ts = await bot.surface.post("C0OPS", None, CARD, key="card")
    drawn = [draw(message(f"Step {number}"), {}) for number in range(5)]
    sent = await asyncio.gather(*(bot.surface.update("C0OPS", ts, one) for one in drawn))
    assert sent[-1] is True
    assert sent.count(True) <= 2
    (card,) = bot.slack.messages("C0OPS")
    assert card.shown == "Step 4"


async def test_nothing_is_kept_about_channels_that_are_quiet(bot: Bot) -> None:
    for number in range(3):
        ts = await bot.surface.post("C0OPS", None, HELLO, key=str(number))
        await bot.surface.update("C0OPS", ts, CARD)
    surface = bot.surface
    assert not (surface._lines or surface._waiting or surface._quiet_until or surface._unsure or surface._newest)


async def test_a_message_that_slack_will_not_draw_goes_out_as_text(bot: Bot) -> None:
    wrong = SlackMessage("Page: out of time &lt;@U0SCOT", [{"type": "header"}])
    ts = await bot.surface.post("C0OPS", None, wrong, key="k")
    (said,) = bot.slack.messages("C0OPS")
    assert said.shown == "Page: out of time <@U0SCOT"
    await bot.surface.update("C0OPS", ts, SlackMessage("Still here", [{"type": "header"}]))
    (said,) = bot.slack.messages("C0OPS")
    assert said.shown == "Still here"


# ---- private ---------------------------------------------------------------------------------------------------------


async def asked(bot: Bot) -> str:
    """The address for answers of a command that alice typed."""
    await bot.slack.slash("U0ALICE", "C0OPS", "/somas status")
    return bot.notebook.last.response_url


async def test_a_private_answer_goes_where_it_was_asked(bot: Bot) -> None:
    await bot.surface.private("C0OPS", "U0ALICE", await asked(bot), CARD)
    (told,) = bot.slack.ephemerals("U0ALICE", "C0OPS")
    assert "Run 01J" in told.shown
    assert bot.slack.messages("C0OPS") == []
    assert calls(bot, "chat.postEphemeral") == []


async def test_a_used_up_address_is_replaced_by_a_private_message(bot: Bot) -> None:
    url = await asked(bot)
    for _ in range(7):
        await bot.surface.private("C0OPS", "U0ALICE", url, HELLO)
    assert len(bot.slack.ephemerals("U0ALICE", "C0OPS")) == 7
    assert len(calls(bot, "chat.postEphemeral")) == 2


async def test_an_address_that_is_not_slacks_is_never_called(bot: Bot, unused_tcp_port_factory: Any) -> None:
    for url in (
        f"http://127.0.0.1:{unused_tcp_port_factory()}/steal",
        "https://slack.com.evil.example/x",
        "http://hooks.slack.com/commands/1",
        "file:///etc/passwd",
    ):
        assert not bot.surface._ours(url)
    assert bot.surface._ours("https://hooks.slack.com/commands/T0/1/x")
    await bot.surface.private("C0OPS", "U0ALICE", "http://127.0.0.1:9/steal", HELLO)
    assert len(bot.slack.ephemerals("U0ALICE", "C0OPS")) == 1


async def test_where_the_bot_is_not_the_person_gets_a_direct_message(bot: Bot) -> None:
    await bot.surface.private("C0PRIV", "U0ALICE", "", HELLO)
    assert [arguments["channel"] for arguments in calls(bot, "chat.postMessage")] == ["U0ALICE"]


# ---- Socket Mode -----------------------------------------------------------------------------------------------------


async def test_socket_mode_uses_the_same_listeners_and_acknowledges_what_is_stored(bot: Bot) -> None:
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sockets: list[web.WebSocketResponse] = []

    async def connections_open(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer xapp-local"
        return web.json_response({"ok": True, "url": f"ws://{request.host}/link"})

    async def auth_test(request: web.Request) -> web.Response:
        known = {"ok": True, "team_id": "T0OPS", "user_id": "U0OPSBOT", "bot_id": "B0OPS", "team": "ops"}
        return web.json_response(known)

    async def link(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": 1})
        sockets.append(socket)
        async for frame in socket:
            if frame.type is aiohttp.WSMsgType.TEXT:
                answers.put_nowait(json.loads(frame.data))
        return socket

    app = web.Application()
    app.router.add_post("/api/apps.connections.open", connections_open)
    app.router.add_post("/api/auth.test", auth_test)
    app.router.add_get("/link", link)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    session = new_session()
    clock = SystemClock()
    surface = SlackSurface(TOKEN, clock, api_url=f"http://127.0.0.1:{runner.addresses[0][1]}/api/", session=session)
    await surface.start()
    notebook = Notebook()
    receiver = SlackReceiver(signing_secret=SECRET, surface=surface, accept=notebook.accept, clock=clock)
    link_up = SlackSocket(receiver, surface, "xapp-local")
    try:
        assert await link_up.problems()
        await link_up.start()
        await until(lambda: sockets)
        assert await link_up.problems() == []
        slash = {
            "team_id": "T0OPS", "channel_id": "C0OPS", "user_id": "U0ALICE", "command": "/somas", "text": "status",
            "trigger_id": "1.2", "api_app_id": "A0OPS",
        }  # fmt: skip
        await sockets[0].send_json(
            {"type": "slash_commands", "envelope_id": "one", "payload": slash, "accepts_response_payload": True}
        )
        assert await asyncio.wait_for(answers.get(), 5) == {"envelope_id": "one"}
        notebook.failure = OSError("disk full")
        event = {"type": "events_api", "payload": mention_body(), "accepts_response_payload": False}
        await sockets[0].send_json({**event, "envelope_id": "two"})
        await until(lambda: notebook.failed and not receiver._tasks)
        notebook.failure = None
        await sockets[0].send_json({**event, "envelope_id": "three"})  # not acknowledged, so it comes again
        assert await asyncio.wait_for(answers.get(), 5) == {"envelope_id": "three"}
        assert notebook.texts == ["/somas status", "@opsbot ack"]
    finally:
        await link_up.close()
        await receiver.close()
        await surface.close()
        await session.close()
        await runner.cleanup()


async def test_what_was_pressed_reads_the_same_in_both_modes(bot: Bot) -> None:
    buttons = Message("m", (Buttons((Button("Acknowledge", "/runs ack 01J"),)),))
    ts = await bot.surface.post("C0OPS", None, draw(buttons, {}), key="k")
    (card,) = bot.slack.messages("C0OPS")
    assert card.shown == "[Acknowledge]"
    await bot.slack.press("U0SCOT", "C0OPS", ts, label="Acknowledge")
    assert bot.notebook.texts == ["/runs ack 01J"]


async def test_what_one_person_alone_reads_has_no_file_and_says_so(bot: Bot) -> None:
    long = draw(message(CodeBlock("\n".join(f"line {number}" for number in range(900)), file="step-1.txt")), {})
    await bot.surface.private("C0OPS", "U0ALICE", "", long)
    (told,) = bot.slack.ephemerals("U0ALICE", "C0OPS")
    assert "line 899" in told.shown and "lines before this" in told.shown
    assert (
        "All of it, 900 lines, could not be attached as step-1.txt: only messages to everybody have files."
        in told.shown
    )
    assert not bot.slack.space.files


async def test_a_rate_limit_of_uploads_is_waited_for(bot: Bot) -> None:
    long = draw(message(CodeBlock("x\n" * 3_000, file="step-1.txt")), {})
    bot.slack.faults.rate_limited("files.getUploadURLExternal", retry_after=3)
    with pytest.raises(TryLater) as refused:
        await bot.surface.post("C0OPS", None, long, key="k")
    assert (refused.value.reason, refused.value.after) == ("ratelimited", 3)
    await bot.surface.post("C0OPS", None, long, key="k")
    (posted,) = bot.slack.messages("C0OPS")
    assert [file["name"] for file in posted.files] == ["step-1.txt"]
