"""What comes in from Slack: only Slack's, once, stored before it is acknowledged, and never with a 500."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import Unavailable
from bot.incoming import Actor, Incoming, Place
from bot.messages import Button, Buttons, CodeBlock, Dialog, Heading, Input, Message, Paragraph, line
from bot.surfaces.slack import payloads
from bot.surfaces.slack.blocks import draw
from bot.surfaces.slack.verify import signature_problem
from tests.surfaces.slack_bot import FORM, SECRET, Bot, mention_body, running_bot, slash_body

CANCEL = Button(
    "Cancel…",
    "/runs cancel 01JABC",
    "danger",
    Dialog("Cancel the run?", "Cancel it", (Paragraph(line("Step 2 stops.")),), (Input("reason", "Why?"),)),
)
CARD = Message(
    "Run 01JABC", (Heading("Quarantine worker-3"), Buttons((Button("Acknowledge", "/runs ack 01JABC"), CANCEL))), "bad"
)


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    async with running_bot() as running:
        yield running


# ---- signatures ------------------------------------------------------------------------------------------------------


async def test_a_command_is_stored_and_acknowledged(bot: Bot) -> None:
    assert await bot.signed(slash_body()) == (200, "")
    (incoming,) = bot.notebook.entries.values()
    assert incoming == Incoming(
        key="slack:T0OPS:cmd:1.2.3",
        actor=Actor(surface="slack", id="U0ALICE"),
        place=Place(surface="slack", channel="C0OPS"),
        text="/somas restart project-42",
        received_at=incoming.received_at,
        response_url="https://hooks.slack.com/commands/T0OPS/1/xyz",
        trigger_id="1.2.3",
    )


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, "X-Slack-Request-Timestamp is missing"),
        ({"X_Slack_Request_Timestamp": "now"}, "X-Slack-Signature is missing"),
        ({"X_Slack_Request_Timestamp": "abc", "X_Slack_Signature": "v0=00"}, "is not a number of seconds"),
        ({"X_Slack_Request_Timestamp": "١٧٩٥٣٥٠٦٠٠", "X_Slack_Signature": "v0=00"}, "is not a number of seconds"),
        ({"X_Slack_Request_Timestamp": "9" * 400, "X_Slack_Signature": "v0=00"}, "is not a number of seconds"),
        ({"X_Slack_Request_Timestamp": "-1", "X_Slack_Signature": "v0=00"}, "is not a number of seconds"),
        ({"X_Slack_Request_Timestamp": "0", "X_Slack_Signature": "v0=00"}, "300 seconds away"),
        ({"X_Slack_Request_Timestamp": "{now}", "X_Slack_Signature": ""}, "does not match"),
        ({"X_Slack_Request_Timestamp": "{now}", "X_Slack_Signature": "v0=" + "0" * 64}, "does not match"),
        ({"X_Slack_Request_Timestamp": "{now}", "X_Slack_Signature": "v0=é\udcff"}, "does not match"),
    ],
)
async def test_unsigned_requests_get_401(bot: Bot, headers: dict[str, str], problem: str) -> None:
    given = {name: value.replace("{now}", str(int(time.time()))) for name, value in headers.items()}
    status, text = await bot.send(
        slash_body(), **{k: v.encode("utf-8", "surrogateescape").decode("latin-1") for k, v in given.items()}
    )
    assert status == 401
    assert problem in text
    assert not bot.notebook.entries


async def test_stale_future_and_foreign_signatures_get_401(bot: Bot) -> None:
    assert (await bot.signed(slash_body(), age=301))[0] == 401
    assert (await bot.signed(slash_body(), age=-302))[0] == 401
    assert (await bot.signed(slash_body(), secret="another"))[0] == 401
    assert (await bot.signed(slash_body(), age=290))[0] == 200
    assert len(bot.notebook.entries) == 1


@given(st.text(max_size=30), st.text(max_size=30), st.binary(max_size=30))
def test_no_header_makes_the_check_fail_otherwise_than_by_saying_no(
    timestamp: str, signature: str, body: bytes
) -> None:
    headers = {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signature}
    assert signature_problem(SECRET, headers, body, datetime(2026, 11, 22, tzinfo=UTC))


# ---- what is not Slack's ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b"null", "application/json"),
        (b"{}", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"type":"event_callback","event":"x"}', "application/json"),
        (b'{"type":"event_callback","event":{"type":7}}', "application/json"),
        (
            b'{"type":"event_callback","event":{"type":"app_mention"},"team_id":"T0OPS","event_id":"E"}',
            "application/json",
        ),
        (b"\xff\xfe", "application/json"),
        (b"hello", FORM),
        (b"", FORM),
        (b"payload=%7B", FORM),
        (b"payload=%5B%5D", FORM),
        (b"payload=%FF", FORM),
        (b'payload={"type":"block_actions","actions":[]}', FORM),
        (b'payload={"type":"block_actions","actions":[7]}', FORM),
        (b'payload={"type":"block_actions","actions":[{"action_id":7}]}', FORM),
        (b'payload={"type":"view_submission","view":{}}', FORM),
        (b"&".join(b"a=1" for _ in range(500)), FORM),
        (b"<xml/>", "text/xml"),
        (slash_body(user_id=""), FORM),
        (slash_body(trigger_id=""), FORM),
    ],
)
async def test_broken_bodies_get_400(bot: Bot, body: bytes, content_type: str) -> None:
    status, _ = await bot.signed(body, content_type)
    assert status == 400
    assert not bot.notebook.entries


async def test_a_body_of_two_megabytes_gets_413(bot: Bot) -> None:
    assert (await bot.signed(slash_body(text="x" * 2 * 1024**2)))[0] == 413


async def test_a_command_that_is_too_long_is_refused_whole(bot: Bot) -> None:
    _, text = await bot.signed(slash_body(text="restart project-42 --reason " + "x" * 5_000))
    assert json.loads(text)["text"] == "That is 5028 characters long, a command has at most 4000; nothing was done."
    assert (await bot.signed_json(mention_body("<@U0OPSBOT> " + "x" * 5_000, thread_ts="")))[0] == 200
    (told,) = await bot.slack.wait_for(lambda: bot.slack.ephemerals("U0ALICE", "C0OPS"))
    assert "nothing was done" in told.shown
    assert not bot.notebook.entries


async def test_the_address_is_verified_by_its_challenge(bot: Bot) -> None:
    status, text = await bot.signed_json({"type": "url_verification", "token": "x", "challenge": "3eZbrw1aB"})
    assert (status, json.loads(text)) == (200, {"challenge": "3eZbrw1aB"})


async def test_what_nobody_listens_to_is_taken_quietly(bot: Bot) -> None:
    person = {"id": "U0ALICE", "team_id": "T0OPS"}
    shortcut = {"type": "shortcut", "callback_id": "x", "trigger_id": "1", "team": {"id": "T0OPS"}, "user": person}
    closed = {"type": "view_closed", "team": {"id": "T0OPS"}, "user": person, "view": {"callback_id": "x"}}
    assert await bot.signed_payload(shortcut) == (200, "")
    assert await bot.signed_payload(closed) == (200, "")
    assert await bot.signed_json(mention_body(type="reaction_added")) == (200, "")
    assert not bot.notebook.entries


async def test_another_workspace_reads_why_nothing_was_done(bot: Bot) -> None:
    for changes in ({"team_id": "T0OTHER"}, {"api_app_id": "A0OTHER"}, {"team_id": ""}):
        status, text = await bot.signed(slash_body(**changes))
        answer = json.loads(text)
        assert (status, answer["response_type"]) == (200, "ephemeral")
        assert re.fullmatch(
            r"This opsbot belongs to another (workspace|Slack app), so nothing was done\.", answer["text"]
        )
    assert (await bot.signed_json({**mention_body(), "team_id": "T0OTHER"}))[0] == 200
    assert (await bot.signed_json(mention_body(user_team="T0PARTNER")))[0] == 200
    assert not bot.notebook.entries


async def test_somebody_of_another_organisation_presses_in_vain(bot: Bot) -> None:
    """In a channel that is shared with them they see the buttons."""
    pressed = {
        "type": "block_actions",
        "api_app_id": "A0OPS",
        "team": {"id": "T0OPS"},
        "user": {"id": "U0ALICE", "team_id": "T0PARTNER"},
        "container": {"type": "message", "message_ts": "1.1", "channel_id": "C0OPS"},
        "channel": {"id": "C0OPS"},
        "trigger_id": "1.2.3",
        "actions": [{"type": "button", "action_id": "opsbot:0", "action_ts": "1.2", "value": "/runs cancel 01JABC"}],
    }
    assert await bot.signed_payload(pressed) == (200, "")
    assert not bot.notebook.entries
    told = await bot.slack.wait_for(lambda: bot.slack.ephemerals("U0ALICE", "C0OPS"))
    assert told[0].text == "You are of another organisation than this opsbot, so nothing was done."
    own = {**pressed, "user": {"id": "U0ALICE", "team_id": "T0OPS"}}
    assert await bot.signed_payload(own) == (200, "")
    assert [each.text for each in bot.notebook.entries.values()] == ["/runs cancel 01JABC"]


async def test_before_slack_was_reached_nothing_is_taken() -> None:
    async with running_bot() as bot:
        bot.surface._identity = None
        _, text = await bot.signed(slash_body())
        assert "has not reached Slack yet" in json.loads(text)["text"]
        assert (await bot.signed_json(mention_body()))[0] == 503
        assert not bot.notebook.entries


# ---- once ------------------------------------------------------------------------------------------------------------


async def test_everything_that_slack_repeats_is_stored_once(bot: Bot) -> None:
    bot.slack.duplicate_deliveries = 3
    await bot.slack.slash("U0ALICE", "C0OPS", "/somas status")
    card = await bot.surface.post("C0OPS", None, draw(CARD, {}), key="card")
    await bot.slack.press("U0ALICE", "C0OPS", card, label="Acknowledge")
    await bot.slack.say("U0ALICE", "C0OPS", "@opsbot ack", thread_ts=card)
    assert bot.notebook.texts == ["/somas status", "/runs ack 01JABC", "@opsbot ack"]
    assert {delivery.status for delivery in bot.slack.deliveries} == {200}
    assert len(bot.slack.deliveries) == 12


async def test_no_request_asks_slack_who_the_bot_is(bot: Bot) -> None:
    await asyncio.gather(*(bot.signed(slash_body(trigger_id=str(number))) for number in range(30)))
    assert len(bot.notebook.entries) == 30
    assert [method for method, _ in bot.slack.calls] == ["auth.test"]


# ---- buttons, forms, mentions ----------------------------------------------------------------------------------------


async def test_a_button_is_the_same_as_typing_its_command(bot: Bot) -> None:
    card = await bot.surface.post("C0OPS", None, draw(CARD, {}), key="card")
    await bot.slack.press("U0SCOT", "C0OPS", card, label="Acknowledge")
    incoming = bot.notebook.last
    assert (incoming.text, str(incoming.actor)) == ("/runs ack 01JABC", "slack:U0SCOT")
    assert incoming.place == Place(surface="slack", channel="C0OPS")
    assert incoming.response_url.startswith("http")


async def test_a_form_is_asked_and_what_was_entered_becomes_the_command(bot: Bot) -> None:
    card = await bot.surface.post("C0OPS", None, draw(CARD, {}), key="card")
    await bot.slack.press("U0ALICE", "C0OPS", card, label="Cancel…")
    (view,) = await bot.slack.wait_for(lambda: bot.slack.open_views("U0ALICE"))
    assert not bot.notebook.entries
    answer = await bot.slack.submit("U0ALICE", view.id, {"Why?": "it is fine; $(rm -rf) again"})
    assert answer.ok
    assert bot.notebook.texts == ['/runs cancel 01JABC --reason "it is fine; $(rm -rf) again"']
    assert bot.notebook.last.place == Place(surface="slack", channel="C0OPS")
    assert bot.slack.open_views("U0ALICE") == []


async def test_a_form_that_does_not_open_is_told(bot: Bot) -> None:
    card = await bot.surface.post("C0OPS", None, draw(CARD, {}), key="card")
    bot.slack.faults.error("views.open", "expired_trigger_id")
    await bot.slack.press("U0ALICE", "C0OPS", card, label="Cancel…")
    (told,) = await bot.slack.wait_for(lambda: bot.slack.ephemerals("U0ALICE", "C0OPS"))
    assert re.fullmatch(
        r"The form did not open \(expired_trigger_id\. Press the button again\.\)\. "
        r"Press the button again, or type: /runs cancel 01JABC \(id [0-9A-F]{8}\)",
        told.shown,
    )


async def test_a_button_of_another_version_is_told(bot: Bot) -> None:
    card = await bot.surface.post("C0OPS", None, draw(Message("m", (Buttons((Button("Old", "x"),)),)), {}), key="card")
    bot.slack.space.posted["C0OPS"][card].blocks[0]["elements"][0]["value"] = '["/runs ack 1",["future"]]'
    await bot.slack.press("U0ALICE", "C0OPS", card, label="Old")
    (told,) = await bot.slack.wait_for(lambda: bot.slack.ephemerals("U0ALICE", "C0OPS"))
    assert told.shown.startswith("This button cannot be used: it was drawn by another version of opsbot")
    assert not bot.notebook.entries


async def test_a_mention_in_a_thread_carries_its_thread(bot: Bot) -> None:
    assert (await bot.signed_json(mention_body("hey <@U0OPSBOT>\u00a0cancel &amp; tell <@U0SCOT|scot>\nthanks")))[
        0
    ] == 200
    assert bot.notebook.last.text == "@opsbot cancel & tell @U0SCOT"
    assert bot.notebook.last.place.thread == "1795350600.000100"
    assert bot.notebook.last.key == "slack:evt:Ev01"


@pytest.mark.parametrize(
    "event",
    [
        {"bot_id": "B0OTHER"},
        {"subtype": "bot_message"},
        {"user": "U0OPSBOT"},
        {"edited": {"user": "U0ALICE", "ts": "1"}},
        {"bot_profile": {"id": "B1"}},
    ],
)
async def test_bots_and_edited_messages_are_not_listened_to(bot: Bot, event: dict[str, Any]) -> None:
    assert (await bot.signed_json(mention_body(**event)))[0] == 200
    assert not bot.notebook.entries


@pytest.mark.parametrize(
    ("sent", "typed"),
    [
        ("restart project-42", "restart project-42"),
        ("restart <http://project-42.io|project-42.io>", "restart project-42.io"),
        ("see <https://a.example/x|the docs> &lt;now&gt; &amp;amp;", "see https://a.example/x <now> &amp;"),
        ("<@U0SCOT|scot> <@U0OPSBOT|opsbot> <#C0OPS|ops> <!here>", "@U0SCOT @opsbot #C0OPS @here"),
        ("a < b > c", "a < b > c"),
    ],
)
def test_markup_of_slack_is_undone(sent: str, typed: str) -> None:
    assert payloads.typed(sent, "U0OPSBOT") == typed


@given(st.text(alphabet="<>@|&;!#^amplt U0", max_size=40))
def test_any_text_can_be_read(text: str) -> None:
    payloads.typed(text, "U0")


# ---- when it cannot be stored ----------------------------------------------------------------------------------------


class StatementError(Exception):
    """Talks like SQLAlchemy: statement and parameters after the first line."""


FULL = StatementError("database or disk is full\n[SQL: INSERT INTO inbox …]\n[parameters: ('secret',)]")


async def test_a_command_that_cannot_be_stored_says_so_at_once(bot: Bot) -> None:
    bot.notebook.failure = FULL
    answer = await bot.slack.slash("U0ALICE", "C0OPS", "/somas restart project-42")
    assert answer.status == 200
    assert answer.message is not None
    assert re.fullmatch(
        r"opsbot cannot store your command, so nothing was done: database or disk is full\. "
        r"Try again; id [0-9A-F]{8}\.",
        answer.message.shown,
    )
    bot.notebook.failure = None
    assert (await bot.slack.slash("U0ALICE", "C0OPS", "/somas restart project-42")).message is None
    assert len(bot.notebook.entries) == 1


async def test_the_reason_of_a_known_error_is_told_and_cannot_mention(bot: Bot) -> None:
    bot.notebook.failure = Unavailable("the database <!channel> is read-only")
    _, text = await bot.signed(slash_body())
    assert "the database &lt;!channel&gt; is read-only" in json.loads(text)["text"]


async def test_an_event_that_cannot_be_stored_is_sent_again(bot: Bot) -> None:
    bot.notebook.failure = FULL
    assert (await bot.signed_json(mention_body()))[0] == 503
    bot.notebook.failure = None
    assert (await bot.signed_json(mention_body()))[0] == 200
    assert bot.notebook.texts == ["@opsbot ack"]


async def test_a_press_that_cannot_be_stored_is_told_privately(bot: Bot) -> None:
    card = await bot.surface.post("C0OPS", None, draw(CARD, {}), key="card")
    bot.notebook.failure = FULL
    await bot.slack.press("U0ALICE", "C0OPS", card, label="Acknowledge")
    (told,) = await bot.slack.wait_for(lambda: bot.slack.ephemerals("U0ALICE", "C0OPS"))
    assert told.shown.startswith("opsbot cannot store what you pressed, so nothing was done: database or disk is full.")


async def test_a_form_that_cannot_be_stored_stays_open(bot: Bot) -> None:
    card = await bot.surface.post("C0OPS", None, draw(CARD, {}), key="card")
    await bot.slack.press("U0ALICE", "C0OPS", card, label="Cancel…")
    (view,) = await bot.slack.wait_for(lambda: bot.slack.open_views("U0ALICE"))
    bot.notebook.failure = FULL
    answer = await bot.slack.submit("U0ALICE", view.id, {"Why?": "enough"})
    (said,) = answer.errors.values()
    assert said.startswith("opsbot cannot store your form, so nothing was done")
    bot.notebook.failure = None
    assert (await bot.slack.submit("U0ALICE", view.id, {"Why?": "enough"})).ok
    assert bot.notebook.texts == ["/runs cancel 01JABC --reason enough"]


async def test_a_form_without_fields_becomes_the_message(bot: Bot) -> None:
    ask = Button("Sure?", "/runs fail 1", dialog=Dialog("Sure?", "Yes", (CodeBlock("x"),)))
    card = await bot.surface.post("C0OPS", None, draw(Message("m", (Buttons((ask,)),)), {}), key="card")
    await bot.slack.press("U0ALICE", "C0OPS", card, label="Sure?")
    (view,) = await bot.slack.wait_for(lambda: bot.slack.open_views("U0ALICE"))
    bot.notebook.failure = FULL
    assert (await bot.slack.submit("U0ALICE", view.id, {})).ok
    assert "cannot store your form" in str(bot.slack.open_views("U0ALICE")[-1].shown)


async def test_a_store_that_hangs_does_not_time_out_the_person() -> None:
    async with running_bot(patience=0.05) as bot:
        release = asyncio.Event()
        storing: list[asyncio.Task[bool]] = []

        async def late(incoming: Incoming) -> bool:
            await release.wait()
            return await bot.notebook.accept(incoming)

        async def slowly(incoming: Incoming) -> bool:
            storing.append(asyncio.create_task(late(incoming)))
            return await asyncio.shield(storing[-1])

        bot.receiver._accept = slowly
        answer = await bot.slack.slash("U0ALICE", "C0OPS", "/somas status")
        assert answer.message is not None
        assert answer.message.shown.startswith("opsbot is still storing your command; it runs as soon as it is stored.")
        assert (await bot.signed_json(mention_body()))[0] == 503
        release.set()
        await asyncio.gather(*storing)
        assert bot.notebook.texts == ["/somas status", "@opsbot ack"]


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    """Everything that is logged, at every level."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    with structlog.testing.capture_logs() as events:
        yield events
    structlog.configure(**before)


async def test_no_log_holds_what_people_wrote(bot: Bot, logged: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    for logger in ("", "slack_bolt", "slack_sdk"):
        caplog.set_level(logging.INFO, logger)
    await bot.signed(slash_body(text="the-secret-word"))
    await bot.signed(slash_body(text="the-secret-word"), secret="wrong")
    await bot.signed(slash_body(text="the-secret-word", team_id="T0OTHER"))
    bot.notebook.failure = FULL
    await bot.signed(slash_body(text="the-secret-word", trigger_id="9"))
    await bot.signed_json(mention_body("<@U0OPSBOT> the-secret-word"))
    await bot.signed_payload({"type": "shortcut", "callback_id": "the-secret-word", "team": {"id": "T0OPS"}})
    assert "the-secret-word" not in caplog.text + repr(logged)
    assert {entry["event"] for entry in logged} == {
        "slack.refused",
        "slack.other_team",
        "slack.not_stored",
        "slack.ignored",
    }


async def test_a_mistake_of_ours_is_told_with_an_id_and_without_what_was_typed(
    bot: Bot, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    def mistake(body: object, now: object) -> Incoming:
        raise ZeroDivisionError

    monkeypatch.setattr(payloads, "from_slash", mistake)
    status, text = await bot.signed(slash_body(text="the-secret-word"))
    answer = json.loads(text)
    assert (status, answer["response_type"]) == (200, "ephemeral")
    told = re.fullmatch(r"Something went wrong inside opsbot before .* id ([0-9A-F]{8})\.", answer["text"])
    assert told
    (entry,) = logged
    assert (entry["event"], entry["id"]) == ("slack.failed", told[1])
    assert "ZeroDivisionError" in entry["traceback"]
    assert "the-secret-word" not in repr(entry)
