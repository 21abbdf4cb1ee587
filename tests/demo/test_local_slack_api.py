"""The Web API of the local Slack, asked by the real slack_sdk client."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook.async_client import AsyncWebhookClient

from bot.clock import ManualClock
from bot.demo.slack import LocalSlack
from tests.demo.local_slack_app import (
    ALICE,
    BOB,
    BOT,
    OLD,
    OPS,
    PRIVATE,
    TOKEN,
    actions,
    button,
    client_of,
    modal,
    section,
    workspace,
)


async def refusal(call: Any) -> dict[str, Any]:
    with pytest.raises(SlackApiError) as error:
        await call
    answer: dict[str, Any] = error.value.response.data
    return answer


async def test_the_token_is_checked() -> None:
    async with workspace() as slack:
        assert (await client_of(slack).auth_test())["user_id"] == BOT
        assert (await refusal(client_of(slack, "xoxb-wrong").auth_test()))["error"] == "invalid_auth"
        assert (await refusal(client_of(slack, "").auth_test()))["error"] == "not_authed"


async def test_a_token_without_the_scope_is_told_which() -> None:
    async with workspace(scopes=["chat:write"]) as slack:
        await client_of(slack).chat_postMessage(channel=OPS, text="x")
        answer = await refusal(client_of(slack).users_info(user=ALICE))
        assert (answer["error"], answer["needed"], answer["provided"]) == ("missing_scope", "users:read", "chat:write")


async def test_an_unknown_method_and_unknown_arguments_are_refused() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        assert (await refusal(client.api_call("chat.postMesage", json={})))["error"] == "unknown_method"
        answer = await refusal(client.chat_postMessage(channel=OPS, text="x", colour="red"))
        assert answer["response_metadata"]["messages"] == ["[ERROR] unknown argument: colour"]
        answer = await refusal(client.api_call("chat.postMessage", json={"text": "x"}))
        assert answer["response_metadata"]["messages"] == ["[ERROR] missing required field: channel"]
        answer = await refusal(client.api_call("users.info", json={"user": ALICE}))
        assert "not JSON" in answer["response_metadata"]["messages"][0]


async def test_where_the_bot_may_post() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        for channel, error in ((PRIVATE, "not_in_channel"), (OLD, "is_archived"), ("C404", "channel_not_found")):
            assert (await refusal(client.chat_postMessage(channel=channel, text="x")))["error"] == error
        assert (await client.conversations_info(channel=PRIVATE))["channel"]["is_member"] is False
        await client.conversations_join(channel=PRIVATE)
        await client.chat_postMessage(channel=PRIVATE, text="now it works")
        direct = await client.chat_postMessage(channel=ALICE, text="psst")
        assert direct["channel"] == "D0ALICE"
        assert [str(one) for one in slack.messages("D0ALICE")] == ["@opsbot: psst"]


async def test_posting_updating_and_deleting() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        posted = await client.chat_postMessage(channel=OPS, text="fallback", blocks=[section("*one*")])
        ts = posted["ts"]
        await client.chat_update(channel=OPS, ts=ts, text="fallback", blocks=[section("*two*")])
        (message,) = slack.messages(OPS)
        assert (message.shown, message.edited_ts, message.updates) == ("*two*", None, 1)
        await client.chat_update(channel=OPS, ts=ts, text="only text")  # text alone removes the blocks
        assert (message.shown, message.blocks) == ("only text", [])
        assert message.edited_ts is not None
        assert (await refusal(client.chat_update(channel=OPS, ts="1.000001", text="x")))["error"] == "message_not_found"
        assert (await refusal(client.chat_update(channel=OPS, ts=ts, text="x" * 4001)))["error"] == "msg_too_long"
        hers = await slack.say(ALICE, OPS, "mine")
        assert (await refusal(client.chat_update(channel=OPS, ts=hers.ts, text="x")))["error"] == "cant_update_message"
        assert (await refusal(client.chat_delete(channel=OPS, ts=hers.ts)))["error"] == "cant_delete_message"
        await client.chat_delete(channel=OPS, ts=ts)
        assert slack.messages(OPS) == [hers]


async def test_an_invalid_block_list_is_refused_with_the_place_of_the_mistake() -> None:
    async with workspace() as slack:
        answer = await refusal(client_of(slack).chat_postMessage(channel=OPS, text="x", blocks=[section("a & b")]))
        assert answer["error"] == "invalid_blocks"
        assert "[json-pointer:/blocks/0/text/text]" in answer["response_metadata"]["messages"][0]
        assert slack.messages(OPS) == []


async def test_threads_metadata_and_paging() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        metadata = {"event_type": "opsbot_run", "event_payload": {"run": "01JD3"}}
        root = (await client.chat_postMessage(channel=OPS, text="root", metadata=metadata))["ts"]
        for number in range(5):
            await client.chat_postMessage(channel=OPS, text=f"step {number}", thread_ts=root)
        await client.chat_update(channel=OPS, ts=root, text="still root")  # keeps the metadata
        replies = await client.conversations_replies(channel=OPS, ts=root, include_all_metadata=True)
        assert [one["text"] for one in replies["messages"]] == ["still root", *(f"step {n}" for n in range(5))]
        assert replies["messages"][0]["metadata"] == metadata
        assert replies["messages"][0]["reply_count"] == 5
        bare = await client.conversations_replies(channel=OPS, ts=root)
        assert "metadata" not in bare["messages"][0]
        texts = []
        async for page in await client.conversations_replies(channel=OPS, ts=root, limit=2):
            texts += [one["text"] for one in page["messages"]]
        assert len(texts) == 6
        history = await client.conversations_history(channel=OPS)
        assert [one["text"] for one in history["messages"]] == ["still root"]
        link = (await client.chat_getPermalink(channel=OPS, message_ts=root))["permalink"]
        assert link == f"{slack.page_url}archives/{OPS}/p{root.replace('.', '')}"
        answer = await refusal(client.chat_postMessage(channel=OPS, text="x", thread_ts="1.000001"))
        assert answer["error"] == "thread_not_found"
        answer = await refusal(client.chat_postMessage(channel=OPS, text="x", thread_ts=bare["messages"][1]["ts"]))
        assert answer["error"] == "thread_not_found"  # a reply starts no thread


async def test_an_ephemeral_message_is_for_one_member_only() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        await client.chat_postEphemeral(channel=OPS, user=ALICE, text="psst")
        assert [str(one) for one in slack.ephemerals(ALICE, OPS)] == ["@opsbot (only to @alice): psst"]
        assert slack.ephemerals(BOB, OPS) == []
        assert slack.messages(OPS) == []
        answer = await refusal(client.chat_postEphemeral(channel=OPS, user="U404", text="x"))
        assert answer["error"] == "user_not_in_channel"


async def test_people_groups_and_reactions() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        assert (await client.users_info(user=ALICE))["user"]["real_name"] == "Alice"
        assert (await refusal(client.users_info(user="U404")))["error"] == "user_not_found"
        assert (await client.usergroups_users_list(usergroup="S0ONCALL"))["users"] == [BOB, "U0SCOT"]
        assert (await client.usergroups_list())["usergroups"][0]["handle"] == "oncall"
        said = await slack.say(ALICE, OPS, "look at this")
        await client.reactions_add(channel=OPS, timestamp=said.ts, name="eyes")
        assert said.reactions == {"eyes": [BOT]}
        answer = await refusal(client.reactions_add(channel=OPS, timestamp=said.ts, name="eyes"))
        assert answer["error"] == "already_reacted"


async def test_a_file_is_uploaded_in_slacks_three_steps() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        root = (await client.chat_postMessage(channel=OPS, text="report"))["ts"]
        await client.files_upload_v2(
            channel=OPS, thread_ts=root, filename="log.txt", content="a <script> b", title="Log"
        )
        assert slack.messages(OPS, root)[1].shown == "(file: log.txt)"
        url = slack.messages(OPS, root)[1].files[0]["url_private"]
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert (await answer.text(), answer.content_type) == ("a <script> b", "text/plain")
            assert "sandbox" in answer.headers["Content-Security-Policy"]
        asked = await client.files_getUploadURLExternal(filename="x.txt", length=3)
        answer_ = await refusal(client.files_completeUploadExternal(files=[{"id": asked["file_id"]}], channel_id=OPS))
        assert answer_["error"] == "file_not_found"  # nothing was sent to the upload URL


async def test_about_one_message_a_second_per_channel() -> None:
    clock = ManualClock()
    async with workspace(clock, rate_limits=True) as slack:
        client = client_of(slack)
        for number in range(4):
            await client.chat_postMessage(channel=OPS, text=str(number))
        with pytest.raises(SlackApiError) as error:
            await client.chat_postMessage(channel=OPS, text="too much")
        assert error.value.response.status_code == 429
        assert error.value.response.headers["Retry-After"] == "1"
        await client.chat_postMessage(channel=ALICE, text="another channel is another limit")
        await clock.advance(1)
        await client.chat_postMessage(channel=OPS, text="4")
        assert [one.text for one in slack.messages(OPS)] == ["0", "1", "2", "3", "4"]


async def test_faults_on_demand() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        slack.faults.rate_limited("chat.postMessage", retry_after=7)
        slack.faults.error("chat.postMessage", "fatal_error")
        slack.faults.server_error("chat.postMessage", status=502)
        with pytest.raises(SlackApiError) as limited:
            await client.chat_postMessage(channel=OPS, text="x")
        assert limited.value.response.headers["Retry-After"] == "7"
        assert (await refusal(client.chat_postMessage(channel=OPS, text="x")))["error"] == "fatal_error"
        with pytest.raises(SlackApiError) as broken:
            await client.chat_postMessage(channel=OPS, text="x")
        assert broken.value.response.status_code == 502
        assert slack.messages(OPS) == []
        slack.faults.lost_answer("chat.postMessage")
        client.retry_handlers.clear()
        with pytest.raises(aiohttp.ClientError):
            await client.chat_postMessage(channel=OPS, text="stored all the same")
        assert [one.text for one in slack.messages(OPS)] == ["stored all the same"]
        await client.chat_postMessage(channel=OPS, text="and then it works")


async def test_a_trigger_opens_one_view_within_three_seconds() -> None:
    clock = ManualClock()
    async with workspace(clock) as slack:
        client = client_of(slack)
        view = modal(section("x"))
        trigger = slack.space.new_trigger(ALICE)
        answer = await refusal(client.views_open(trigger_id=trigger, view=modal(section("x"), title={"type": "x"})))
        assert answer["error"] == "invalid_arguments"
        trigger = slack.space.new_trigger(ALICE)
        opened = await client.views_open(trigger_id=trigger, view=view)
        assert slack.open_views(ALICE)[0].shown == "Restart\nx"
        assert (await refusal(client.views_open(trigger_id=trigger, view=view)))["error"] == "exchanged_trigger_id"
        late = slack.space.new_trigger(ALICE)
        await clock.advance(3.1)
        assert (await refusal(client.views_open(trigger_id=late, view=view)))["error"] == "expired_trigger_id"
        assert (await refusal(client.views_open(trigger_id="1.2.3", view=view)))["error"] == "invalid_trigger_id"
        view_id, old_hash = opened["view"]["id"], opened["view"]["hash"]
        await client.views_update(view_id=view_id, view=modal(section("y")), hash=old_hash)
        answer = await refusal(client.views_update(view_id=view_id, view=modal(section("z")), hash=old_hash))
        assert answer["error"] == "hash_conflict"
        assert slack.open_views(ALICE)[0].shown == "Restart\ny"
        await client.views_publish(user_id=ALICE, view={"type": "home", "blocks": [section("home")]})
        home = slack.home(ALICE)
        assert home is not None
        assert home.shown == "home"


async def a_pass(slack: LocalSlack, original: bool = False) -> AsyncWebhookClient:
    message = None
    if original:
        await client_of(slack).chat_postMessage(channel=OPS, text="card", blocks=[actions(button("Go", "go"))])
        message = slack.messages(OPS)[-1]
    token = slack.space.new_pass(ALICE, OPS, thread_ts=None, original=message)
    return AsyncWebhookClient(f"{slack.page_url}response/{token}")


async def test_a_response_url_is_good_for_five_uses_within_thirty_minutes() -> None:
    clock = ManualClock()
    async with workspace(clock) as slack:
        webhook = await a_pass(slack)
        for number in range(5):
            assert (await webhook.send(text=str(number))).status_code == 200
        used = await webhook.send(text="6")
        assert (used.status_code, "used_url" in used.body) == (404, True)
        assert len(slack.ephemerals(ALICE, OPS)) == 5
        late = await a_pass(slack)
        await clock.advance(30 * 60 + 1)
        assert "expired_url" in (await late.send(text="x")).body


async def test_a_response_url_replaces_deletes_or_speaks_to_all() -> None:
    async with workspace() as slack:
        webhook = await a_pass(slack, original=True)
        assert (await webhook.send(text="done", replace_original=True)).body == "ok"
        assert [one.shown for one in slack.messages(OPS)] == ["done"]
        assert (await webhook.send(text="all hear this", response_type="in_channel")).body == "ok"
        assert (await webhook.send(text="a & b")).status_code == 400
        assert (await webhook.send(delete_original=True)).body == "ok"
        assert [one.shown for one in slack.messages(OPS)] == ["all hear this"]
        again = await webhook.send(text="x", replace_original=True)
        assert (again.status_code, "no_original_message" in again.body) == (400, True)


async def test_forms_and_queries_are_understood_and_bad_bodies_named() -> None:
    async with workspace() as slack, aiohttp.ClientSession() as session:
        auth = {"Authorization": f"Bearer {TOKEN}"}
        form = {"token": TOKEN, "channel": OPS, "text": "by form", "blocks": '[{"type":"divider"}]'}
        async with session.post(f"{slack.api_url}chat.postMessage", data=form) as answer:
            assert (await answer.json())["ok"] is True
        async with session.get(f"{slack.api_url}users.info", params={"user": ALICE}, headers=auth) as answer:
            assert (await answer.json())["user"]["name"] == "alice"
        in_json = {"token": TOKEN, "channel": OPS, "text": "x"}
        async with session.post(f"{slack.api_url}chat.postMessage", json=in_json) as answer:
            assert (await answer.json())["error"] == "not_authed"  # Slack ignores a token inside JSON
        for body, error in ((b"{", "invalid_json"), (b"[]", "json_not_object")):
            headers = auth | {"Content-Type": "application/json"}
            async with session.post(f"{slack.api_url}chat.postMessage", data=body, headers=headers) as answer:
                assert (await answer.json())["error"] == error
        headers = auth | {"Content-Type": "text/plain"}
        async with session.post(f"{slack.api_url}chat.postMessage", data=b"x", headers=headers) as answer:
            assert (await answer.json())["error"] == "invalid_post_type"


async def test_unread_is_what_nobody_looked_at() -> None:
    async with workspace() as slack:
        client = client_of(slack)
        root = (await client.chat_postMessage(channel=OPS, text="root"))["ts"]
        await client.chat_postMessage(channel=OPS, text="reply", thread_ts=root)
        await client.chat_postEphemeral(channel=OPS, user=ALICE, text="psst")
        assert [one.text for one in slack.unread()] == ["root", "reply", "psst"]
        slack.messages(OPS, peek=True)
        slack.messages(OPS)
        assert [one.text for one in slack.unread()] == ["reply", "psst"]
        slack.messages(OPS, root)
        slack.ephemerals(ALICE, OPS)
        assert slack.unread() == []


async def test_waiting_ends_with_the_change_or_with_the_transcript() -> None:
    async with workspace() as slack:
        await client_of(slack).chat_postMessage(channel=OPS, text="one")
        with pytest.raises(TimeoutError, match="@opsbot: one"):
            await slack.wait_for(lambda: len(slack.messages(OPS)) == 2, timeout=0.05)
        started = time.monotonic()
        assert await slack.wait_for(lambda: slack.messages(OPS)) != []
        assert time.monotonic() - started < 1


def test_only_loopback_is_served() -> None:
    with pytest.raises(ValueError, match="this machine only"):
        LocalSlack(signing_secret="s", bot_token="t", clock=ManualClock(), host="0.0.0.0")
