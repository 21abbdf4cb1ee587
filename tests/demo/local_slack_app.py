"""A small real bolt app beside a local Slack: what the tests of the local workspace talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.async_app import AsyncApp
from slack_sdk.web.async_client import AsyncWebClient

from bot.clock import Clock, SystemClock
from bot.demo.slack import LocalSlack

SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "xoxb-local-test"
ALICE, BOB, SCOT, BOT = "U0ALICE", "U0BOB", "U0SCOT", "U0OPSBOT"
OPS, PRIVATE, OLD = "C0OPS", "C0PRIVATE", "C0OLD"


def plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text}


def mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def button(label: str, action_id: str, **more: Any) -> dict[str, Any]:
    return {"type": "button", "text": plain(label), "action_id": action_id, **more}


def section(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn(text), **more}


def actions(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements), **more}


def text_input(label: str, block_id: str, **more: Any) -> dict[str, Any]:
    element = {"type": "plain_text_input", "action_id": f"{block_id}_value"}
    return {"type": "input", "block_id": block_id, "label": plain(label), "element": element, **more}


def modal(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "modal",
        "callback_id": "restart",
        "title": plain("Restart"),
        "submit": plain("Restart"),
        "blocks": list(blocks),
        **more,
    }


@asynccontextmanager
async def workspace(clock: Clock | None = None, **options: Any) -> AsyncIterator[LocalSlack]:
    """A workspace with three people; the bot is in #ops, not in #private; #old is archived."""
    slack = LocalSlack(signing_secret=SECRET, bot_token=TOKEN, clock=clock or SystemClock(), **options)
    for user, name, real_name in ((ALICE, "alice", "Alice"), (BOB, "bob", "Bob"), (SCOT, "scotlaclair", "Scot")):
        slack.add_person(user, name, real_name=real_name)
    slack.add_channel(OPS, "ops", members=[ALICE, BOB, SCOT, BOT])
    slack.add_channel(PRIVATE, "private", members=[ALICE])
    slack.add_channel(OLD, "old", members=[ALICE, BOT], archived=True)
    slack.add_user_group("S0ONCALL", "oncall", [BOB, SCOT])
    async with slack:
        yield slack


def client_of(slack: LocalSlack, token: str = TOKEN) -> AsyncWebClient:
    return AsyncWebClient(token=token, base_url=slack.api_url, timeout=5)


@asynccontextmanager
async def bolt(slack: LocalSlack, app: AsyncApp) -> AsyncIterator[None]:
    """Serves the bolt app and has the workspace deliver to it."""

    async def events(request: web.Request) -> web.Response:
        return await to_aiohttp_response(await app.async_dispatch(await to_bolt_request(request)))

    async with served(slack, events):
        yield


@asynccontextmanager
async def served(slack: LocalSlack, handler: Any) -> AsyncIterator[None]:
    """Serves one aiohttp handler as the bot."""
    server = web.Application()
    server.router.add_post("/slack/events", handler)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    slack.deliver_to(f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events")
    try:
        yield
    finally:
        await runner.cleanup()


def sample_app(slack: LocalSlack) -> AsyncApp:
    """Answers /somas, a Restart button with a modal, and mentions."""
    app = AsyncApp(client=client_of(slack), signing_secret=SECRET)

    @app.command("/somas")
    async def somas(ack: Any, command: dict[str, Any], client: AsyncWebClient, respond: Any) -> None:
        text = command["text"]
        if text == "status":
            await ack("2 projects, all fine")
        elif text == "restart project-42":
            await ack()
            await client.chat_postMessage(
                channel=command["channel_id"],
                text="Restart project-42?",
                blocks=[section("Restart *project-42*?"), actions(button("Restart", "restart", value="project-42"))],
            )
        elif text == "quiet":
            await ack()
            await respond("only for you")
        else:
            await ack(f"I heard: {text}")

    @app.action("restart")
    async def restart(ack: Any, body: dict[str, Any], client: AsyncWebClient) -> None:
        await ack()
        await client.views_open(
            trigger_id=body["trigger_id"],
            view=modal(
                text_input("Type the project", "target"),
                text_input("Reason", "reason", optional=True),
                private_metadata=f"{body['channel']['id']} {body['container']['message_ts']}",
            ),
        )

    @app.view("restart")
    async def submitted(ack: Any, view: dict[str, Any], body: dict[str, Any], client: AsyncWebClient) -> None:
        typed = view["state"]["values"]["target"]["target_value"]["value"]
        if typed != "project-42":
            await ack(response_action="errors", errors={"target": "Type project-42 to go on."})
            return
        await ack()
        channel, ts = view["private_metadata"].split()
        await client.chat_update(
            channel=channel, ts=ts, text="Restarted project-42", blocks=[section(":white_check_mark: Restarted")]
        )
        await client.chat_postMessage(channel=channel, thread_ts=ts, text=f"Done for <@{body['user']['id']}>")

    @app.event("app_mention")
    async def mentioned(event: dict[str, Any], client: AsyncWebClient) -> None:
        root = event.get("thread_ts") or event["ts"]
        await client.chat_postMessage(channel=event["channel"], thread_ts=root, text="Acknowledged.")

    return app
