"""What people type, press and fill in, delivered to a real bolt app, with Slack's signatures and Slack's patience."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from bot.clock import ManualClock
from bot.demo.slack import SlashCommand
from tests.demo.local_slack_app import (
    ALICE,
    BOB,
    BOT,
    OPS,
    PRIVATE,
    SECRET,
    actions,
    bolt,
    button,
    client_of,
    modal,
    sample_app,
    section,
    served,
    text_input,
    workspace,
)


async def test_a_slash_command_is_answered_only_to_the_one_who_typed_it() -> None:
    async with workspace() as slack, bolt(slack, sample_app(slack)):
        answer = await slack.slash(ALICE, OPS, "/somas status")
        assert (answer.status, answer.failure) == (200, "")
        assert [str(one) for one in slack.ephemerals(ALICE, OPS)] == ["@opsbot (only to @alice): 2 projects, all fine"]
        assert slack.ephemerals(BOB, OPS) == []
        await slack.slash(ALICE, OPS, "/somas tell @bob in #ops: a & b")
        heard = slack.ephemerals(ALICE, OPS)[-1]
        assert heard.text == "I heard: tell <@U0BOB|bob> in <#C0OPS|ops>: a &amp; b"
        assert heard.shown == "I heard: tell @bob in #ops: a & b"
        await slack.slash(ALICE, OPS, "/somas quiet")
        await slack.wait_for(lambda: slack.ephemerals(ALICE, OPS)[-1].shown == "only for you")


async def test_a_button_opens_a_modal_and_the_modal_finishes_the_card() -> None:
    async with workspace() as slack, bolt(slack, sample_app(slack)):
        await slack.slash(ALICE, OPS, "/somas restart project-42")
        (card,) = await slack.wait_for(lambda: slack.messages(OPS))
        assert card.shown == "Restart *project-42*?\n[Restart]"
        assert (await slack.press(BOB, OPS, card.ts, label="Restart")).status == 200
        (view,) = await slack.wait_for(lambda: slack.open_views(BOB))
        assert view.labels == ["Type the project", "Reason"]

        empty = await slack.submit(BOB, view.id, {})
        assert empty.errors == {"target": "Please complete this required field."}
        assert empty.status == 0  # Slack's client refuses by itself; the bot does not hear of it

        wrong = await slack.submit(BOB, view.id, {"Type the project": "project-4"})
        assert wrong.errors == {"target": "Type project-42 to go on."}
        assert "! Type project-42 to go on." in slack.open_views(BOB)[0].shown

        right = await slack.submit(BOB, view.id, {"target": "project-42", "Reason": "stuck since noon"})
        assert right.ok
        assert slack.open_views(BOB) == []
        await slack.wait_for(lambda: len(slack.messages(OPS, card.ts)) == 2)
        assert [one.shown for one in slack.messages(OPS, card.ts)] == [":white_check_mark: Restarted", "Done for @bob"]


async def test_a_mention_is_answered_in_its_thread() -> None:
    async with workspace() as slack, bolt(slack, sample_app(slack)):
        said = await slack.say(ALICE, OPS, "@opsbot ack")
        assert said.text == f"<@{BOT}> ack"
        await slack.wait_for(lambda: len(slack.messages(OPS, said.ts)) == 2)
        assert slack.messages(OPS, said.ts)[1].shown == "Acknowledged."
        await slack.say(ALICE, OPS, "not for the bot", said.ts)
        assert [one.kind for one in slack.deliveries] == ["app_mention"]


async def test_the_bot_does_not_hear_what_is_said_where_it_is_not() -> None:
    async with workspace() as slack, bolt(slack, sample_app(slack)):
        await slack.say(ALICE, PRIVATE, "@opsbot help")
        assert slack.deliveries == []
        assert [one.shown for one in slack.ephemerals(ALICE, PRIVATE)] == [
            "@opsbot is not in this channel, so it does not hear you."
        ]


class Recorder:
    """A bot that only keeps what it receives, and answers as it is told."""

    def __init__(self, *statuses: int) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses = list(statuses)
        self.changed = asyncio.Condition()

    async def receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self.changed:
            self.requests.append((dict(request.headers), body))
            self.changed.notify_all()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def received(self, count: int) -> None:
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(lambda: len(self.requests) >= count)

    def form(self, position: int = -1) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.requests[position][1].decode(), True).items()}


async def test_every_request_carries_a_signature_that_slack_sdk_accepts() -> None:
    bot = Recorder()
    async with workspace() as slack, served(slack, bot.receive):
        await slack.slash(ALICE, OPS, "/somas restart “project-42” — now ☂")
        await client_of(slack).chat_postMessage(channel=OPS, text="x", blocks=[actions(button("Gö", "go"))])
        await slack.press(ALICE, OPS, slack.messages(OPS)[0].ts, label="Gö")
        await slack.say(ALICE, OPS, "@opsbot häng dich rein")
    assert len(bot.requests) == 3
    for headers, body in bot.requests:
        assert SignatureVerifier(SECRET).is_valid_request(body, headers)
        assert not SignatureVerifier(SECRET).is_valid_request(body + b" ", headers)
        assert not SignatureVerifier("another secret").is_valid_request(body, headers)


async def test_a_slash_command_has_all_the_fields_of_slack() -> None:
    bot = Recorder()
    async with workspace() as slack, served(slack, bot.receive):
        await slack.slash(ALICE, OPS, "/somas  status   project-42 ")
        form = bot.form()
        assert bot.requests[0][0]["Content-Type"] == "application/x-www-form-urlencoded"
        assert form.pop("response_url").startswith(slack.page_url + "response/")
        assert form.pop("trigger_id")
        assert form.pop("token")
        assert form == {
            "team_id": "T0OPS",
            "team_domain": "opsbot-demo",
            "channel_id": OPS,
            "channel_name": "ops",
            "user_id": ALICE,
            "user_name": "alice",
            "command": "/somas",
            "text": "status   project-42",
            "api_app_id": "A0OPS",
            "is_enterprise_install": "false",
        }


async def test_a_slow_bot_is_reported_as_slack_reports_it() -> None:
    never = asyncio.Event()

    async def asleep(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async with workspace(ack_seconds=0.05) as slack, served(slack, asleep):
        answer = await slack.slash(ALICE, OPS, "/somas status")
        assert (answer.status, answer.failure) == (0, "operation_timeout")
        assert slack.ephemerals(ALICE, OPS)[0].shown == '/somas failed with the error "operation_timeout"'
        await client_of(slack).chat_postMessage(channel=OPS, text="x", blocks=[actions(button("Go", "go"))])
        assert (await slack.press(ALICE, OPS, slack.messages(OPS)[0].ts, label="Go")).failure == "operation_timeout"
        never.set()


@pytest.mark.parametrize(
    ("status", "body", "failure"),
    [
        (500, "", "http_service_error"),
        (200, '{"blocks": [{"type": "divider"}]}', "missing_fallback_text"),
        (200, '{"text": "a & b"}', "invalid_text_markup"),
        (200, '{"text": "x", "response_type": "loud"}', "invalid_arguments"),
    ],
)
async def test_a_wrong_answer_to_a_slash_command_is_shown(status: int, body: str, failure: str) -> None:
    async def wrong(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/json")

    async with workspace() as slack, served(slack, wrong):
        answer = await slack.slash(ALICE, OPS, "/somas status")
        assert failure in answer.failure
        assert failure in slack.ephemerals(ALICE, OPS)[0].shown


async def test_an_event_is_sent_again_at_once_after_a_minute_and_after_five() -> None:
    clock = ManualClock()
    bot = Recorder(500, 500, 500, 500)
    async with workspace(clock) as slack, served(slack, bot.receive):

        def delivered(count: int) -> bool:
            return len(slack.deliveries) == count

        await slack.say(ALICE, OPS, "@opsbot ack")
        await bot.received(2)  # the first retry follows at once
        for seconds, count in ((60, 3), (300, 4)):
            await slack.wait_for(partial(delivered, count - 1))
            await asyncio.sleep(0)  # the courier goes to sleep on the clock
            await clock.advance(seconds)
            await bot.received(count)
        numbers = [headers.get("X-Slack-Retry-Num") for headers, _ in bot.requests]
        assert numbers == [None, "1", "2", "3"]
        assert {headers.get("X-Slack-Retry-Reason") for headers, _ in bot.requests[1:]} == {"http_error"}
        assert len({body for _, body in bot.requests}) == 1  # the same event_id: the bot must do it once


async def test_an_acknowledged_event_is_not_sent_again() -> None:
    bot = Recorder(500, 200)
    async with workspace(ManualClock()) as slack, served(slack, bot.receive):
        await slack.say(ALICE, OPS, "@opsbot ack")
        await bot.received(2)
        await slack.wait_for(lambda: len(slack.deliveries) == 2)
        assert [(one.status, one.retry) for one in slack.deliveries] == [(500, 0), (200, 1)]


async def test_duplicates_are_the_same_request_at_the_same_time() -> None:
    bot = Recorder()
    async with workspace() as slack, served(slack, bot.receive):
        slack.duplicate_deliveries = 2
        await slack.slash(ALICE, OPS, "/somas status")
        assert len(bot.requests) == 3
        assert len({body for _, body in bot.requests}) == 1


async def test_a_bot_that_does_not_run_is_reported() -> None:
    async with workspace() as slack:
        slack.deliver_to("http://127.0.0.1:9/slack/events")
        assert (await slack.slash(ALICE, OPS, "/somas status")).failure == "connection_failed"


async def test_slash_commands_that_do_not_exist_or_stand_in_threads() -> None:
    async with workspace() as slack, bolt(slack, sample_app(slack)):
        slack.commands = [SlashCommand("/somas status"), SlashCommand("/runs list")]
        assert (await slack.slash(ALICE, OPS, "/soma status")).failure == "invalid_command"
        assert slack.ephemerals(ALICE, OPS)[-1].shown == "/soma is not a valid command."
        root = await slack.say(ALICE, OPS, "root")
        await slack.enter(ALICE, OPS, "/somas status", root.ts)
        assert slack.ephemerals(ALICE, OPS)[-1].shown == "/somas is not supported in threads. Sorry!"
        assert slack.deliveries == []


async def test_nobody_can_press_what_they_do_not_see() -> None:
    async with workspace() as slack, bolt(slack, sample_app(slack)):
        client = client_of(slack)
        await client.chat_postEphemeral(channel=OPS, user=ALICE, text="x", blocks=[actions(button("Go", "go"))])
        ts = slack.ephemerals(ALICE, OPS)[0].ts
        with pytest.raises(LookupError, match="U0BOB sees no message"):
            await slack.press(BOB, OPS, ts, label="Go")
        with pytest.raises(LookupError, match=r"the message has \['Go'\]"):
            await slack.press(ALICE, OPS, ts, label="Stop")
        with pytest.raises(LookupError, match="U0BOB is not in #private"):
            await slack.say(BOB, PRIVATE, "x")


async def test_the_payloads_of_buttons_menus_and_threads() -> None:
    bot = Recorder()
    async with workspace() as slack, served(slack, bot.receive):
        menu = {
            "type": "static_select",
            "action_id": "stage",
            "placeholder": {"type": "plain_text", "text": "Stage"},
            "options": [{"text": {"type": "plain_text", "text": "Verify"}, "value": "verify"}],
        }
        client = client_of(slack)
        root = (await client.chat_postMessage(channel=OPS, text="root"))["ts"]
        blocks = [actions(button("Go", "go", value="42", style="primary"), menu, block_id="row")]
        attachments = [{"color": "good", "fallback": "x", "blocks": blocks}]
        ts = (await client.chat_postMessage(channel=OPS, thread_ts=root, text="x", attachments=attachments))["ts"]
        await slack.press(ALICE, OPS, ts, action_id="go")
        payload = _payload(bot)
        action = payload["actions"][0]
        assert (action["action_id"], action["block_id"], action["value"], action["style"]) == (
            "go",
            "row",
            "42",
            "primary",
        )
        assert payload["container"]["thread_ts"] == root
        assert payload["container"]["type"] == "message_attachment"
        assert payload["message"]["ts"] == ts
        assert payload["user"]["id"] == ALICE
        await slack.press(ALICE, OPS, ts, action_id="stage", option="Verify")
        assert _payload(bot)["actions"][0]["selected_option"]["value"] == "verify"
        with pytest.raises(LookupError, match="no option 'Deploy'"):
            await slack.press(ALICE, OPS, ts, action_id="stage", option="Deploy")


def _payload(bot: Recorder) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(bot.form()["payload"])
    return payload


async def test_a_modal_that_is_closed_tells_the_bot_when_it_asked_for_it() -> None:
    bot = Recorder()
    async with workspace() as slack, served(slack, bot.receive):
        view = modal(text_input("Name", "name"), notify_on_close=True)
        await client_of(slack).views_open(trigger_id=slack.space.new_trigger(ALICE), view=view)
        (opened,) = slack.open_views(ALICE)
        with pytest.raises(KeyError, match="no field Nmae"):
            await slack.submit(ALICE, opened.id, {"Nmae": "x"})
        await slack.close_view(ALICE, opened.id)
        assert slack.open_views(ALICE) == []
        assert _payload(bot)["type"] == "view_closed"


async def test_errors_for_a_field_that_does_not_exist_are_a_mistake_of_the_bot() -> None:
    async def wrong(_: web.Request) -> web.Response:
        return web.json_response({"response_action": "errors", "errors": {"nmae": "too short"}})

    async with workspace() as slack, served(slack, wrong):
        view = modal(section("x"), text_input("Name", "name"))
        await client_of(slack).views_open(trigger_id=slack.space.new_trigger(ALICE), view=view)
        answer = await slack.submit(ALICE, slack.open_views(ALICE)[0].id, {"Name": "x"})
        assert not answer.ok
        assert "invalid_errors" in answer.failure


async def test_the_timestamps_of_the_signatures_can_be_set() -> None:
    bot = Recorder()
    async with workspace(request_time=lambda: time.time() - 600) as slack, served(slack, bot.receive):
        await slack.slash(ALICE, OPS, "/somas status")
        headers, body = bot.requests[0]
        assert not SignatureVerifier(SECRET).is_valid_request(body, headers)  # ten minutes old: a replay
