"""Every kind of payload that Slack sends, in the shape that its documentation gives: none is a 500, none is lost.

Shapes: https://docs.slack.dev/reference/interaction-payloads, https://docs.slack.dev/apis/events-api and
https://docs.slack.dev/reference/events. The kinds are those that the scenario tests of bolt-python go through.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.surfaces.slack_bot import FORM, Bot, mention_body, running_bot, slash_body

JSON = "application/json"
USER = {"id": "U0ALICE", "username": "alice", "name": "alice", "team_id": "T0OPS"}
COMMON: dict[str, Any] = {
    "token": "deprecated",
    "api_app_id": "A0OPS",
    "team": {"id": "T0OPS", "domain": "ops"},
    "user": USER,
    "enterprise": None,
    "is_enterprise_install": False,
}
STATE = {"values": {"0:reason": {"value": {"type": "plain_text_input", "value": "disk was full"}}}}
VIEW: dict[str, Any] = {
    "id": "V111",
    "team_id": "T0OPS",
    "app_id": "A0OPS",
    "bot_id": "B0OPSBOT",
    "type": "modal",
    "callback_id": "opsbot_dialog",
    "private_metadata": '["/runs cancel 01JABC","C0OPS",""]',
    "hash": "111.abc",
    "external_id": "",
    "previous_view_id": None,
    "root_view_id": "V111",
    "clear_on_close": False,
    "notify_on_close": False,
    "title": {"type": "plain_text", "text": "Cancel the run?"},
    "submit": {"type": "plain_text", "text": "Cancel it"},
    "close": {"type": "plain_text", "text": "Cancel"},
    "blocks": [
        {
            "type": "input",
            "block_id": "0:reason",
            "label": {"type": "plain_text", "text": "Why?"},
            "optional": False,
            "element": {"type": "plain_text_input", "action_id": "value"},
        }
    ],
    "state": STATE,
}
MESSAGE = {"type": "message", "user": "U0SCOT", "ts": "1795350600.000100", "text": "it began at 14:10", "team": "T0OPS"}
PRESS = {
    "type": "button",
    "action_id": "opsbot:0",
    "block_id": "run:01JABC:1",
    "text": {"type": "plain_text", "text": "Acknowledge"},
    "value": "/runs ack 01JABC",
    "action_ts": "1795350601.000100",
}
PLACE = {"type": "message", "message_ts": "1795350600.000100", "channel_id": "C0OPS", "is_ephemeral": False}


def action(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        **COMMON,
        "type": "block_actions",
        "trigger_id": "1.2.3",
        "container": PLACE,
        "channel": {"id": "C0OPS", "name": "ops"},
        "message": MESSAGE,
        "state": {"values": {}},
        "response_url": "https://hooks.slack.com/actions/T0OPS/1/x",
        "actions": [PRESS],
    }
    return {**body, **changes}


def event(**inner: Any) -> dict[str, Any]:
    body = mention_body()
    return {**body, "event_id": f"Ev{inner['type']}", "event": {"event_ts": "1795350600.000200", **inner}}


OVERFLOW = {
    "type": "overflow",
    "action_id": "opsbot:3",
    "block_id": "run:01JABC:1",
    "selected_option": {"text": {"type": "plain_text", "text": "Skip"}, "value": "/runs skip 01JABC --step 2"},
    "action_ts": "1795350602.000100",
}
HOME: dict[str, Any] = {
    **VIEW,
    "type": "home",
    "callback_id": "",
    "private_metadata": "D0ALICE",
    "blocks": [],
    "state": {"values": {}},
}
SUGGESTION = {
    **COMMON,
    "type": "block_suggestion",
    "action_id": "value",
    "block_id": "arg:project",
    "value": "project-4",
    "container": {"type": "view", "view_id": "V111"},
    "view": {**VIEW, "callback_id": "opsbot_form", "private_metadata": '["somas","restart","C0OPS",""]'},
}
SHORTCUT = {
    **COMMON,
    "type": "message_action",
    "callback_id": "incident_note",
    "action_ts": "1795350603.000100",
    "trigger_id": "1.2.4",
    "response_url": "https://hooks.slack.com/app/T0OPS/1/x",
    "message_ts": MESSAGE["ts"],
    "channel": {"id": "C0OPS", "name": "ops"},
    "message": MESSAGE,
}
HOME_PRESS = action(container={"type": "view", "view_id": "V111"}, view=HOME)
for name in ("channel", "message", "response_url"):
    del HOME_PRESS[name]

# name -> payload, and the command that it becomes; "" for what is no command
PAYLOADS: dict[str, tuple[dict[str, Any], str]] = {
    "a button": (action(), "/runs ack 01JABC"),
    "a button in a thread": (action(container={**PLACE, "thread_ts": "1795350500.000100"}), "/runs ack 01JABC"),
    "a button of an attachment": (
        action(container={**PLACE, "type": "message_attachment", "attachment_id": 1, "is_app_unfurl": False}),
        "/runs ack 01JABC",
    ),
    "a line behind three dots": (action(actions=[OVERFLOW]), "/runs skip 01JABC --step 2"),
    "a button of the home tab": (HOME_PRESS, "/runs ack 01JABC"),
    "a form": (
        {**COMMON, "type": "view_submission", "trigger_id": "1.2.5", "view": VIEW, "response_urls": []},
        ('/runs cancel 01JABC --reason "disk was full"'),
    ),
    "a closed form": ({**COMMON, "type": "view_closed", "view": VIEW, "is_cleared": False}, ""),
    "a menu": (SUGGESTION, ""),
    "a menu in a message": (
        {**{key: value for key, value in SUGGESTION.items() if key != "view"}, "container": PLACE, "message": MESSAGE},
        "",
    ),
    "the shortcut of a message": (SHORTCUT, ""),
    "another app's shortcut of a message": ({**SHORTCUT, "callback_id": "something-else"}, ""),
    "a global shortcut": (
        {**COMMON, "type": "shortcut", "callback_id": "anything", "trigger_id": "1.2.6", "action_ts": "1795350604.1"},
        "",
    ),
    "an old attachment button": (
        {
            **COMMON,
            "type": "interactive_message",
            "callback_id": "pick",
            "actions": [{"name": "channel_list", "type": "select", "selected_options": [{"value": "C111"}]}],
            "channel": {"id": "C0OPS", "name": "ops"},
            "action_ts": "1795350604.1",
            "attachment_id": "1",
        },
        "",
    ),
    "an old dialog": (
        {
            **COMMON,
            "type": "dialog_submission",
            "callback_id": "dialog",
            "submission": {"name": "x"},
            "state": "",
            "channel": {"id": "C0OPS", "name": "ops"},
            "action_ts": "1795350604.1",
        },
        "",
    ),
    "a step of a workflow": (
        {**COMMON, "type": "workflow_step_edit", "callback_id": "copy", "trigger_id": "1.2.7"},
        "",
    ),
    "a mention": (mention_body(), "@opsbot ack"),
    "a direct message": (
        event(type="message", channel="D0ALICE", channel_type="im", user="U0ALICE", text="somas status", ts="1.1"),
        "@opsbot somas status",
    ),
    "a direct message with a slash": (
        event(type="message", channel="D0ALICE", channel_type="im", user="U0ALICE", text="/somas status", ts="1.1"),
        "/somas status",
    ),
    "what the bot says itself": (
        event(type="message", channel="D0ALICE", channel_type="im", bot_id="B0OPSBOT", user="U0OPSBOT", text="hi"),
        "",
    ),
    "a message that was changed": (
        event(type="message", subtype="message_changed", channel="D0ALICE", channel_type="im", message=MESSAGE),
        "",
    ),
    "a message in a channel": (
        event(type="message", channel="C0OPS", channel_type="channel", user="U0ALICE", text="somas status"),
        "",
    ),
    "the home tab": (event(type="app_home_opened", user="U0ALICE", channel="D0ALICE", tab="home"), ""),
    "a file": (event(type="file_shared", file_id="F1", user_id="U0ALICE", channel_id="C0OPS"), ""),
    "somebody joins": (event(type="member_joined_channel", user="U0ALICE", channel="C0OPS", team="T0OPS"), ""),
    "tokens are revoked": (event(type="tokens_revoked", tokens={"bot": ["U0OPSBOT"]}), ""),
}


def written(body: dict[str, Any]) -> tuple[bytes, str]:
    if "event" in body:
        return json.dumps(body).encode(), JSON
    return urlencode({"payload": json.dumps(body)}).encode(), FORM


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    async with running_bot() as running:
        yield running


@pytest.mark.parametrize("name", PAYLOADS)
async def test_each_kind_of_payload(bot: Bot, name: str) -> None:
    body, command = PAYLOADS[name]
    assert (await bot.signed(*written(body)))[0] == 200
    assert bot.notebook.texts == ([command] if command else [])
    assert (await bot.signed(*written(body)))[0] == 200  # sent again
    assert len(bot.notebook.entries) == bool(command)
    assert (await bot.signed(*written(body), secret="another"))[0] == 401
    assert (await bot.signed(*written(body), age=301))[0] == 401


async def test_other_workspaces_and_apps_get_nothing(bot: Bot) -> None:
    for body, _ in PAYLOADS.values():
        elsewhere = {**body, "team": {"id": "T0EVIL", "domain": "evil"}, "team_id": "T0EVIL"}
        assert (await bot.signed(*written({**elsewhere, "user": {**USER, "team_id": "T0EVIL"}})))[0] == 200
        assert (await bot.signed(*written({**body, "api_app_id": "A0EVIL"})))[0] == 200
    assert bot.notebook.entries == {}
    assert not [call for call, _ in bot.slack.calls if call.startswith("views.")]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def broken(body: dict[str, Any], path: tuple[Any, ...], junk: Any) -> dict[str, Any]:
    copied = copy.deepcopy(body)
    holder: Any = copied
    for key in path[:-1]:
        holder = holder[key]
    if junk is None and isinstance(holder, dict):
        del holder[path[-1]]
    else:
        holder[path[-1]] = junk
    return copied


async def test_no_part_that_is_missing_or_strange_is_a_500(bot: Bot) -> None:
    chance = random.Random(9)
    tried = 0
    for body, _ in PAYLOADS.values():
        every = list(places(body))
        for path in chance.sample(every, min(14, len(every))):
            for junk in (None, chance.choice(["", 7, [], {}, "\ud800", [None], {"id": 1}, True])):
                raw = json.dumps(broken(body, path, junk)).encode()
                sent = (raw, JSON) if "event" in body else (urlencode({"payload": raw}).encode(), FORM)
                status, _ = await bot.signed(*sent)
                assert status in (200, 400, 503), (status, path, junk)
                tried += 1
    assert tried > 500


async def test_a_slash_command_and_the_check_of_a_certificate(bot: Bot) -> None:
    assert (await bot.signed(slash_body()))[0] == 200
    status, _ = await bot.signed(urlencode({"ssl_check": "1", "token": "deprecated"}).encode())
    assert status == 200
    assert bot.notebook.texts == ["/somas restart project-42"]
