"""Chat transcripts: a whole bot and a local Slack over real HTTP, with the time in the test's hands.

``chat.types("alice", "/supervisor quarantine worker-3")`` is a slash command, ``chat.reads("ops")`` what people see.
Whatever nobody has read when the test ends fails it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

from bot.app import Bot, installed_products
from bot.clock import ManualClock
from bot.commands.generated import SCOPES
from bot.demo.slack import LocalMessage, LocalSlack
from bot.runs.model import RunState
from bot.settings import read

T = TypeVar("T")

PEOPLE = {"alice": "U0ALICE", "bob": "U0BOB", "scotlaclair": "U0SCOT", "carol": "U0CAROL"}
CHANNELS = {"ops": "C0OPS", "dev": "C0DEV", "secret": "C0SECRET"}

SETTINGS = """
[server]
port = 0
[database]
url = "sqlite:///{folder}/opsbot.db"
[slack]
channel = "C0OPS"
api_url = "{api_url}"
[escalation]
contact = "scotlaclair"
[people.scotlaclair]
slack = "U0SCOT"
[people.alice]
slack = "U0ALICE"
[people.bob]
slack = "U0BOB"
[access]
admins = ["slack:U0SCOT"]
operators = ["slack:U0ALICE", "slack:U0BOB"]
viewers = ["*"]
"""


class Chat:
    """A conversation under test."""

    def __init__(
        self, folder: Path, products: str = "", *, settings: str = SETTINGS, clock: ManualClock | None = None
    ) -> None:
        self.folder = folder
        self.clock = clock or ManualClock()
        self._products = products
        self._settings = settings
        self._secret = secrets.token_hex(16)
        self._stack = AsyncExitStack()
        self.slack = LocalSlack(
            signing_secret=self._secret,
            bot_token="xoxb-test",
            clock=self.clock,
            scopes=SCOPES,
            request_time=lambda: self.clock.now().timestamp(),
        )
        self.bot: Bot | None = None

    async def __aenter__(self) -> Chat:
        await self.slack.start()
        self._stack.push_async_callback(self.slack.stop)
        for name, identity in PEOPLE.items():
            self.slack.add_person(identity, name)
        members = [*PEOPLE.values(), "U0OPSBOT"]
        self.slack.add_channel("C0OPS", "ops", members=members)
        self.slack.add_channel("C0DEV", "dev", members=members)
        self.slack.add_channel("C0SECRET", "secret", members=list(PEOPLE.values()))
        await self.start_bot()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.stop_bot()
        await self._stack.aclose()
        if kind is None:
            unread = self.slack.unread()
            assert not unread, f"nobody read: {[message.text for message in unread]}\n\n{self.slack.transcript()}"

    async def start_bot(self) -> None:
        path = self.folder / "opsbot.toml"
        path.write_text(self._settings.format(folder=self.folder, api_url=self.slack.api_url) + self._products)
        environment = {"SLACK_BOT_TOKEN": "xoxb-test", "SLACK_SIGNING_SECRET": self._secret}
        products = installed_products()
        settings = read(path, environment, products)
        self.bot = Bot(settings, products, clock=self.clock, engine_poll_seconds=0.02)
        await self.bot.start()
        self.slack.deliver_to(f"http://127.0.0.1:{self.bot.port}/slack/events")

    async def stop_bot(self) -> None:
        if self.bot:
            await self.bot.stop()
            self.bot = None

    # -- what people do

    async def types(self, who: str, command: str, channel: str = "ops") -> None:
        answer = await self.slack.slash(PEOPLE[who], CHANNELS[channel], command)
        assert answer.status == 200, answer

    async def says(self, who: str, text: str, channel: str = "ops", thread: LocalMessage | None = None) -> None:
        said = text.replace("@opsbot", "<@U0OPSBOT>")
        await self.slack.say(PEOPLE[who], CHANNELS[channel], said, thread_ts=thread.ts if thread else None)

    async def presses(self, who: str, label: str, message: LocalMessage, channel: str = "ops") -> None:
        await self.slack.press(PEOPLE[who], CHANNELS[channel], message.ts, label=label)

    # -- what people see

    async def sees(self, wanted: str, channel: str = "ops", thread: LocalMessage | None = None) -> LocalMessage:
        """Wait until a message with this text is there, moving the clock on when nothing happens."""

        def look() -> LocalMessage | None:
            messages = self.slack.messages(CHANNELS[channel], thread.ts if thread else None, peek=True)
            return next((message for message in messages if wanted in message.shown), None)

        found = await self.until(look, f"{wanted!r} in #{channel}")
        self.read(channel, thread)
        return found

    async def is_told(self, who: str, wanted: str, channel: str = "ops") -> LocalMessage:
        """Wait until this person alone is told something."""

        def look() -> LocalMessage | None:
            messages = self.slack.ephemerals(PEOPLE[who], CHANNELS[channel], peek=True)
            return next((message for message in messages if wanted in message.shown), None)

        found = await self.until(look, f"{who} being told {wanted!r}")
        self.slack.ephemerals(PEOPLE[who], CHANNELS[channel])
        return found

    def read(self, channel: str = "ops", thread: LocalMessage | None = None) -> list[LocalMessage]:
        return self.slack.messages(CHANNELS[channel], thread.ts if thread else None)

    def thread_text(self, card: LocalMessage, channel: str = "ops") -> str:
        return "\n".join(message.shown for message in self.read(channel, card))

    async def until(self, look: Callable[[], T | None], what: str, *, virtual_seconds: float = 120) -> T:
        """Let things happen; when nothing more does, let a second pass. Fails with the transcript."""
        spent = 0.0
        while True:
            for _ in range(12):
                found = look()
                if found:
                    return found
                await asyncio.sleep(0.025)
            if spent >= virtual_seconds:
                raise AssertionError(f"never saw {what}\n\n{self.slack.transcript()}")
            await self.clock.advance(1)
            spent += 1

    async def run(self, run_id: str) -> RunState:
        assert self.bot is not None
        state = await self.bot.engine.state(run_id)
        assert state is not None
        return state
