"""Bots that are processes of their own, on one database, and a local Slack that outlives them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import aiohttp
import sqlalchemy as sa

from bot import store as tables
from bot.clock import SystemClock
from bot.commands.generated import SCOPES
from bot.demo.slack import LocalMessage, LocalSlack
from bot.runs.model import RunState
from tests.ports import free_port

SECRET = "secret"
CONFIGURATION = """
[server]
port = {port}
[database]
url = "{database}"
[slack]
channel = "C0OPS"
api_url = "{api_url}"
[line]
effects = "{effects}"
[escalation]
contact = "scotlaclair"
[escalation.repeat]
high = "PT{repeat}S"
[people.scotlaclair]
slack = "U0SCOT"
[access]
operators = ["slack:U0ALICE", "slack:U0BOB"]
viewers = ["*"]
"""


class BotProcess:
    """One bot."""

    def __init__(self, folder: Path, name: str, database: str, api_url: str, repeat: int) -> None:
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self._configuration = folder / f"{name}.toml"
        self._configuration.write_text(
            CONFIGURATION.format(
                port=self.port, database=database, api_url=api_url, effects=folder / "effects", repeat=repeat
            )
        )
        self.process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        environment = {**os.environ, "SLACK_BOT_TOKEN": "xoxb-test", "SLACK_SIGNING_SECRET": SECRET}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.crash.line_bot", str(self._configuration),
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    async def says(self, path: str = "/readyz") -> tuple[int, str]:
        """Status and text; 0 when nothing listens."""
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError):
            return 0, ""

    async def until(self, status: int, text: str = "", within: float = 60) -> None:
        """Until ``/readyz`` says so."""
        given_up = time.monotonic() + within
        while True:
            said = await self.says()
            if said[0] == status and text in said[1]:
                return
            assert self.process is not None
            assert self.process.returncode is None, self.log.read_text()[-3000:]
            assert time.monotonic() < given_up, f"{said}\n{self.log.read_text()[-3000:]}"
            await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """kill -9."""
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


class Workshop:
    """The local Slack, the database, the effects, and whoever types."""

    def __init__(self, folder: Path, database: str, repeat: int = 4) -> None:
        self.folder = folder
        self.database = database
        self.repeat = repeat
        self.slack = LocalSlack(signing_secret=SECRET, bot_token="xoxb-test", clock=SystemClock(), scopes=SCOPES)
        self.bots: list[BotProcess] = []
        self._engine = sa.create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
        self._typed = 0

    async def __aenter__(self) -> Workshop:
        await self.slack.start()
        for identity, name in (("U0ALICE", "alice"), ("U0BOB", "bob"), ("U0SCOT", "scotlaclair")):
            self.slack.add_person(identity, name)
        self.slack.add_channel("C0OPS", "ops", members=["U0ALICE", "U0BOB", "U0SCOT", "U0OPSBOT"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bot in self.bots:
            await bot.kill()
        self._engine.dispose()
        await self.slack.stop()

    def bot(self, name: str) -> BotProcess:
        bot = BotProcess(self.folder, name, self.database, self.slack.api_url, self.repeat)
        self.bots.append(bot)
        return bot

    # -- people

    def payload(self, text: str, person: str = "U0ALICE") -> bytes:
        """A slash command as Slack sends it; sent again it is the same command."""
        self._typed += 1
        command, _, rest = text.partition(" ")
        return urlencode(
            {
                "token": "x", "team_id": "T0OPS", "team_domain": "ops", "channel_id": "C0OPS", "channel_name": "ops",
                "user_id": person, "user_name": person, "command": command, "text": rest, "api_app_id": "A0OPS",
                "is_enterprise_install": "false", "response_url": f"{self.slack.api_url}response/none",
                "trigger_id": f"trigger.{self._typed}",
            }
        ).encode()  # fmt: skip

    async def deliver(self, bot: BotProcess, payload: bytes) -> int:
        """The bot's status; 0 when it cannot be reached or dies meanwhile."""
        now = str(int(time.time()))
        signature = hmac.new(SECRET.encode(), f"v0:{now}:".encode() + payload, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Slack-Request-Timestamp": now,
            "X-Slack-Signature": f"v0={signature}",
        }
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session,
                session.post(f"{bot.url}/slack/events", data=payload, headers=headers) as answer,
            ):
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, OSError):
            return 0

    async def types(self, bot: BotProcess, text: str) -> None:
        """Type a command and have it accepted."""
        payload = self.payload(text)
        while await self.deliver(bot, payload) != 200:
            await asyncio.sleep(0.1)

    # -- what can be seen

    async def runs(self) -> list[RunState]:
        return [RunState.model_validate_json(row.state) for row in await self.rows(sa.select(tables.runs.c.state))]

    async def rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        def read() -> list[sa.Row[Any]]:
            with self._engine.connect() as connection:
                return list(connection.execute(query).all())

        try:
            return await asyncio.to_thread(read)
        except sa.exc.OperationalError:  # nobody has made the tables yet
            return []

    def effects(self) -> Counter[str]:
        """How often each operation has happened in the world."""
        path = self.folder / "effects"
        return Counter(path.read_text().split() if path.exists() else [])

    def posted(self) -> Counter[str]:
        """How often each message of the bot stands in Slack, by the key in its metadata."""
        return Counter(key for message in self._messages() if (key := _key(message)))

    def stands(self) -> set[str]:
        """The ids of everything that stands in Slack."""
        return {message.ts for message in self._messages()}

    def _messages(self) -> list[LocalMessage]:
        top = self.slack.messages("C0OPS", peek=True)
        return [each for card in top for each in (self.slack.messages("C0OPS", card.ts, peek=True) or [card])]


def _key(message: LocalMessage) -> str:
    return str(((message.metadata or {}).get("event_payload") or {}).get("key", ""))


def shuffled(payloads: list[bytes], chance: random.Random) -> list[bytes]:
    """Everything twice, in any order."""
    twice = payloads * 2
    chance.shuffle(twice)
    return twice
