"""A bot's Slack surface between a local workspace and a notebook: what was accepted is written down, in order."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from bot.clock import Clock, SystemClock
from bot.demo.slack.local import LocalSlack
from bot.incoming import Incoming
from bot.surfaces.slack.app import SlackReceiver, slack_routes
from bot.surfaces.slack.client import SlackSurface

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"  # not anybody's
TOKEN = "xoxb-local"
FORM = "application/x-www-form-urlencoded"


@dataclass
class Notebook:
    """``accept`` of the tests: an entry per key, and an error when the disk is said to be full."""

    entries: dict[str, Incoming] = field(default_factory=dict)
    failure: BaseException | None = None
    failed: int = 0

    async def accept(self, incoming: Incoming) -> bool:
        if self.failure is not None:
            self.failed += 1
            raise self.failure
        return self.entries.setdefault(incoming.key, incoming) is incoming

    @property
    def texts(self) -> list[str]:
        return [entry.text for entry in self.entries.values()]

    @property
    def last(self) -> Incoming:
        return list(self.entries.values())[-1]


@dataclass
class Bot:
    slack: LocalSlack
    surface: SlackSurface
    receiver: SlackReceiver
    notebook: Notebook
    url: str
    session: aiohttp.ClientSession

    async def send(self, body: bytes, content_type: str = FORM, **headers: str) -> tuple[int, str]:
        """A request as it comes, with nothing signed."""
        given = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.post(self.url, data=body, headers=given) as answer:
            return answer.status, await answer.text()

    async def signed(
        self, body: bytes, content_type: str = FORM, *, age: float = 0, secret: str = SECRET
    ) -> tuple[int, str]:
        """A request with the headers that Slack would send, ``age`` seconds ago."""
        timestamp = str(int(time.time() - age))
        digest = hmac.new(secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256).hexdigest()
        return await self.send(
            body, content_type, X_Slack_Request_Timestamp=timestamp, X_Slack_Signature=f"v0={digest}"
        )

    async def signed_json(self, body: object) -> tuple[int, str]:
        return await self.signed(json.dumps(body).encode(), "application/json")

    async def signed_payload(self, payload: object) -> tuple[int, str]:
        return await self.signed(urlencode({"payload": json.dumps(payload)}).encode())


@asynccontextmanager
async def running_bot(*, clock: Clock | None = None, patience: float = 2.0) -> AsyncIterator[Bot]:
    """The workspace, the surface and the real HTTP handler on the loopback interface, together."""
    clock = clock or SystemClock()
    notebook = Notebook()
    async with LocalSlack(signing_secret=SECRET, bot_token=TOKEN, clock=clock) as slack:
        slack.add_person("U0ALICE", "alice")
        slack.add_person("U0SCOT", "scotlaclair")
        slack.add_channel("C0OPS", "ops", members=["U0ALICE", "U0SCOT", "U0OPSBOT"])
        slack.add_channel("C0OLD", "old", members=["U0ALICE", "U0OPSBOT"], archived=True)
        slack.add_channel("C0PRIV", "private", members=["U0ALICE"])
        surface = SlackSurface(TOKEN, clock, api_url=slack.api_url)
        await surface.start()
        receiver = SlackReceiver(
            signing_secret=SECRET,
            surface=surface,
            accept=notebook.accept,
            clock=SystemClock(),  # signatures are dated by the real time
            people={"scotlaclair": "U0SCOT"},
            app_id="A0OPS",
            patience=patience,
        )
        app = web.Application(client_max_size=1024**2)
        app.add_routes(slack_routes(receiver))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        url = f"http://127.0.0.1:{port}/slack/events"
        slack.deliver_to(url)
        async with aiohttp.ClientSession() as session:
            try:
                yield Bot(slack, surface, receiver, notebook, url, session)
            finally:
                await receiver.close()
                await surface.close()
                await runner.cleanup()


def slash_body(**changes: str) -> bytes:
    """A slash command's form in the shape that Slack documents."""
    form = {
        "token": "deprecated",
        "team_id": "T0OPS",
        "team_domain": "ops",
        "enterprise_id": "E0",
        "enterprise_name": "Ops & Co",
        "channel_id": "C0OPS",
        "channel_name": "ops",
        "user_id": "U0ALICE",
        "user_name": "alice",
        "command": "/somas",
        "text": "restart project-42",
        "api_app_id": "A0OPS",
        "is_enterprise_install": "false",
        "response_url": "https://hooks.slack.com/commands/T0OPS/1/xyz",
        "trigger_id": "1.2.3",
    }
    return urlencode({**form, **changes}).encode()


def mention_body(text: str = "<@U0OPSBOT> ack", **event: Any) -> dict[str, Any]:
    """An app_mention in the shape that Slack documents."""
    return {
        "token": "deprecated",
        "team_id": "T0OPS",
        "api_app_id": "A0OPS",
        "type": "event_callback",
        "event_id": "Ev01",
        "event_time": 1795350600,
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": "T0OPS",
                "user_id": "U0OPSBOT",
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "event": {
            "type": "app_mention",
            "user": "U0ALICE",
            "text": text,
            "ts": "1795350600.000200",
            "thread_ts": "1795350600.000100",
            "channel": "C0OPS",
            "event_ts": "1795350600.000200",
            **event,
        },
    }
