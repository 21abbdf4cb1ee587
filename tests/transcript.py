"""Chat transcripts: a whole bot, a local Slack and a local GitHub over real HTTP, the time in the test's hands.

``chat.types("alice", "/supervisor quarantine worker-3")`` is a slash command, ``chat.sees("Done")`` what people read,
``chat.passes(minutes=8)`` what nobody does. Whatever the bot has said and nobody has read when the test ends fails it,
and so does whatever it could not say.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from bot import store as tables
from bot.app import Bot, installed_products
from bot.clock import ManualClock
from bot.commands.generated import SCOPES
from bot.demo.github import LocalGitHub
from bot.demo.slack import LocalMessage, LocalSlack, LocalView
from bot.runs.model import RunState
from bot.settings import read
from bot.surfaces.github.port import GitHubPort

T = TypeVar("T")

PEOPLE = {"alice": "U0ALICE", "bob": "U0BOB", "scotlaclair": "U0SCOT", "carol": "U0CAROL"}
CHANNELS = {"ops": "C0OPS", "dev": "C0DEV", "secret": "C0SECRET"}  # the bot is not in #secret
RUN_ID = re.compile(r"\brun ([0-9A-Z]{26})\b")
PATIENCE = 30.0  # real seconds; only a test that fails waits for so long

ALWAYS = """
[server]
port = 0
[database]
url = "sqlite:///{folder}/opsbot.db"
[escalation]
contact = "scotlaclair"
[people.scotlaclair]
slack = "U0SCOT"
github = "scotlaclair"
[people.alice]
slack = "U0ALICE"
github = "alice"
[people.bob]
slack = "U0BOB"
"""
ACCESS = """
[access]
admins = ["slack:U0SCOT", "github:scotlaclair"]
operators = ["slack:U0ALICE", "slack:U0BOB", "github:alice"]
viewers = ["*"]
"""
SLACK = """
[slack]
channel = "C0OPS"
api_url = "{slack_url}"
"""
GITHUB = """
[github]
api_url = "{github_url}"
repository = "acme/somas"
poll_seconds = 60
"""
SETTINGS = ALWAYS + ACCESS + SLACK
ON_GITHUB_TOO = SETTINGS + GITHUB
NOT_MIRRORED = ON_GITHUB_TOO + "mirror = false\n"  # what Slack asks for is shown in Slack alone
ON_GITHUB_ALONE = ALWAYS + ACCESS + GITHUB


class Chat:
    """A conversation under test. ``products`` are further sections of opsbot.toml."""

    def __init__(
        self,
        folder: Path,
        products: str = "",
        *,
        settings: str = SETTINGS,
        clock: ManualClock | None = None,
        socket: bool = False,
    ) -> None:
        """``socket``: Slack reaches the bot in Socket Mode."""
        self.socket = socket
        self.folder = folder
        self.clock = clock or ManualClock()
        self._settings = settings
        self._products = products
        self._secret = secrets.token_hex(16)
        self._stack = AsyncExitStack()
        self.slack = LocalSlack(
            signing_secret=self._secret,
            bot_token="xoxb-test",
            app_token="xapp-test",
            clock=self.clock,
            scopes=SCOPES,
            request_time=lambda: self.clock.now().timestamp(),
        )
        self.github = LocalGitHub("acme/somas", clock=self.clock)
        self.bot: Bot | None = None

    async def __aenter__(self) -> Chat:
        await self.slack.start()
        self._stack.push_async_callback(self.slack.stop)
        await self._stack.enter_async_context(self.github)
        for name, identity in PEOPLE.items():
            self.slack.add_person(identity, name)
        members = [*PEOPLE.values(), "U0OPSBOT"]
        self.slack.add_channel("C0OPS", "ops", members=members)
        self.slack.add_channel("C0DEV", "dev", members=members)
        self.slack.add_channel("C0SECRET", "secret", members=list(PEOPLE.values()))
        self.github.issue("Webhook relay", number=42)
        await self.start_bot()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                await self.rests()
                for _second in range(60):  # what Slack refused for now is tried again
                    if await self._unsaid():
                        await self.clock.advance(1)
                        await self.rests()
                assert not await self._unsaid(), f"could not be said: {await self._unsaid()}\n\n{self.transcript()}"
                unread = [message.text for message in self.slack.unread()] + self.github.unread()
                assert not unread, f"nobody read: {unread}\n\n{self.transcript()}"
        finally:
            await self.stop_bot()
            await self._stack.aclose()

    async def start_bot(self) -> None:
        path = self.folder / "opsbot.toml"
        urls = {"slack_url": self.slack.api_url, "github_url": self.github.api_url}
        path.write_text(self._settings.format(folder=self.folder, **urls) + self._products)
        environment = {
            **({"OPSBOT_SLACK__MODE": "socket"} if self.socket else {}),
            "SLACK_APP_TOKEN": "xapp-test",
            "SLACK_BOT_TOKEN": "xoxb-test",
            "SLACK_SIGNING_SECRET": self._secret,
            "GITHUB_TOKEN": self.github.token,
            "GITHUB_WEBHOOK_SECRET": self._secret,
        }
        products = installed_products()
        settings = read(path, environment, products)
        self.bot = Bot(settings, products, clock=self.clock, engine_poll_seconds=0.02)
        await self.bot.start()
        address = f"http://127.0.0.1:{self.bot.port}"
        self.slack.deliver_to(f"{address}/slack/events")
        if self.socket:
            self.slack.deliver_through_sockets()
        self.github.deliveries.hooks.clear()
        self.github.add_hook(f"{address}/github/webhook", self._secret)

    async def stop_bot(self) -> None:
        if self.bot:
            await self.bot.stop()
            self.bot = None

    # -- what people do

    async def types(self, who: str, command: str, channel: str = "ops") -> None:
        """A slash command."""
        answer = await self.slack.slash(PEOPLE[who], CHANNELS[channel], command)
        assert answer.status == 200 and not answer.failure, answer

    async def says(self, who: str, text: str, channel: str = "ops", thread: LocalMessage | None = None) -> None:
        """A message, in a thread if there is one; ``@opsbot`` reaches the bot."""
        where = thread.channel if thread else CHANNELS[channel]
        await self.slack.say(PEOPLE[who], where, text, thread_ts=(thread.thread_ts or thread.ts) if thread else None)

    async def presses(self, who: str, label: str, message: LocalMessage) -> None:
        """A button, as soon as the message has it."""
        await self.until(lambda: label in message.labels, f"a button {label!r}")
        pressed = await self.slack.press(PEOPLE[who], message.channel, message.ts, label=label)
        assert pressed.ok, pressed

    async def opens(self, who: str, label: str, message: LocalMessage) -> LocalView:
        """Press a button that asks something first: the form that opens, on top of any that is open."""
        before = {view.id for view in self.slack.open_views(PEOPLE[who])}
        await self.presses(who, label, message)

        def look() -> LocalView | None:
            views = self.slack.open_views(PEOPLE[who])
            return views[-1] if views and views[-1].id not in before else None

        return await self.until(look, "a form", passing=0)

    async def sends(self, who: str, view: LocalView, answers: Mapping[str, str]) -> None:
        """Fill in the form, by the labels of its fields, and send it."""
        sent = await self.slack.submit(PEOPLE[who], view.id, answers)
        assert sent.ok, sent

    async def is_refused(self, who: str, view: LocalView, answers: Mapping[str, str], *wanted: str) -> str:
        """Send a form that is wrong: it stays open with what was entered, and says what is wrong; all that it says."""
        sent = await self.slack.submit(PEOPLE[who], view.id, answers)
        said = "\n".join(sent.errors.values())
        assert sent.errors and not sent.failure and all(text in said for text in wanted), sent
        return said

    async def form(self, who: str, title: str) -> LocalView:
        """The form that has opened on somebody's screen."""

        def look() -> LocalView | None:
            views = self.slack.open_views(PEOPLE[who])
            return views[-1] if views and views[-1].title == title else None

        return await self.until(look, f"the form {title!r} of {who}", passing=0)

    async def attaches(self, who: str, message: LocalMessage) -> LocalView:
        """Choose "Turn into incident note" in the menu of a message; the form."""
        done = await self.slack.use_shortcut(PEOPLE[who], message.channel, message.ts, "incident_note")
        assert done.ok, done
        return await self.form(who, "Incident note")

    async def home(self, who: str, *wanted: str) -> LocalView:
        """Somebody opens the home tab, and waits until it says so."""
        await self.slack.open_home(PEOPLE[who])
        return await self.home_shows(who, *wanted)

    async def home_shows(self, who: str, *wanted: str) -> LocalView:
        """Wait until an open home tab says so, without opening it again."""

        def look() -> LocalView | None:
            view = self.slack.home(PEOPLE[who])
            return view if view and all(text in view.shown for text in wanted) else None

        return await self.until(look, f"{wanted} on the home tab of {who}")

    async def comments(self, who: str, text: str, issue: int = 42) -> int:
        """A comment on the GitHub issue; its id."""
        comment = self.github.comment(who, issue, text)
        await self.github.settled()
        return comment

    async def passes(self, **span: float) -> None:
        """Time goes by: ``passes(minutes=8)``. What is under way comes to rest first, and at each deadline of a run."""
        await self.rests()
        end = self.clock.now() + timedelta(**span)
        while (due := await self._next_due()) and due < end:
            await self.clock.advance((due - self.clock.now()).total_seconds())
            await self.rests()
        await self.clock.advance((end - self.clock.now()).total_seconds())

    async def _next_due(self) -> datetime | None:
        """The next deadline of an open run that lies ahead."""
        if self.bot is None:
            return None
        runs = tables.runs
        ahead = sa.select(runs.c.next_due).where(runs.c.open, runs.c.next_due > self.clock.now())
        rows = await self.bot.store.rows(ahead.order_by(runs.c.next_due).limit(1))
        return rows[0].next_due if rows else None

    # -- what people see; whatever is found is read

    async def sees(self, *wanted: str, channel: str = "ops", thread: LocalMessage | None = None) -> LocalMessage:
        """Wait for a message with these texts that nobody has read yet; in a thread, for an answer in it."""

        def look() -> LocalMessage | None:
            where = thread.channel if thread else CHANNELS[channel]
            found = self.slack.messages(where, thread.ts if thread else None, peek=True)
            news = [one for one in found if one is not thread and one.user == "U0OPSBOT" and not one.seen]
            return next((one for one in news if all(text in one.shown for text in wanted)), None)

        found = await self.until(look, f"{wanted} in {'the thread' if thread else '#' + channel}")
        found.seen = True
        return found

    async def is_told(self, who: str, *wanted: str, channel: str = "ops") -> LocalMessage:
        """Wait until this person alone is told something."""

        def look() -> LocalMessage | None:
            news = [one for one in self.slack.ephemerals(PEOPLE[who], CHANNELS[channel], peek=True) if not one.seen]
            return next((one for one in news if all(text in one.shown for text in wanted)), None)

        found = await self.until(look, f"{who} being told {wanted}")
        found.seen = True
        return found

    async def shows(self, message: LocalMessage, *wanted: str) -> None:
        """Wait until this message, a card mostly, has been edited to say so."""
        await self.until(lambda: all(text in message.shown for text in wanted), f"{wanted} in:\n{message.shown}")

    async def thread(self, card: LocalMessage, *, until: str) -> list[str]:
        """The bot's answers in the thread as soon as one says ``until``: the first line of each."""

        def look() -> bool:
            return any(until in one.shown for one in self.slack.messages(card.channel, card.ts, peek=True)[1:])

        await self.until(look, f"{until!r} in the thread")
        await self.rests()
        messages = self.slack.messages(card.channel, card.ts)
        return [
            message.shown.split("\n")[0] for message in messages if message is not card and message.user == "U0OPSBOT"
        ]

    async def sees_comment(self, *wanted: str, issue: int = 42) -> str:
        """Wait for a comment of the bot with these texts, the newest one; the issue is then read."""

        def look() -> str | None:
            bodies = [body for login, body in self.github.comments(issue) if login == "opsbot"]
            return next(
                (body for body in reversed(bodies) if all(text.replace("`", "") in _plain(body) for text in wanted)),
                None,
            )

        found = await self.until(look, f"a comment with {wanted} on #{issue}")
        self.github.read(issue)
        return found

    def read(self, channel: str = "ops", thread: LocalMessage | None = None) -> list[LocalMessage]:
        """Everything in the channel or in the thread, read."""
        return self.slack.messages(CHANNELS[channel], thread.ts if thread else None)

    def channel(self, channel: str = "ops") -> list[LocalMessage]:
        """What the bot has said to everybody in this channel; none of it is read by this."""
        found = self.slack.messages(CHANNELS[channel], peek=True)
        return [message for message in found if message.user == "U0OPSBOT"]

    def transcript(self) -> str:
        comments = (f"{login}: {body}" for login, body in self.github.comments(42))
        return "\n".join((self.slack.transcript(), "#42 on GitHub", *comments))

    # -- behind the scenes

    async def state(self, card: LocalMessage | str) -> RunState:
        """The run that a card shows."""
        assert self.bot is not None
        state = await self.bot.engine.state(run_id(card))
        assert state is not None
        return state

    async def until(self, look: Callable[[], T | None], what: str, *, passing: float = 60) -> T:
        """Wait until ``look`` finds something. When the bot has nothing left to say a second passes, then the next.

        ``passing`` is how many seconds may pass; 0: none. Fails with the transcript.
        """
        given_up_at, passed, looks = time.monotonic() + PATIENCE, 0.0, 0
        while not (found := look()):
            if time.monotonic() > given_up_at or 0 < passing <= passed:
                raise AssertionError(f"never saw {what}\n\n{self.transcript()}")
            await asyncio.sleep(0.02)
            looks += 1
            # Whoever has been busy for long may itself be waiting for time to pass.
            if passing and looks % 4 == 0 and (self._pausing() or looks >= 32 or not (looks % 8 or await self._busy())):
                await self.clock.advance(1)
                passed, looks = passed + 1, 0
        return found

    async def rests(self) -> None:
        """Wait until the bot has nothing to do or to say, without any time passing."""
        given_up_at, idle = time.monotonic() + PATIENCE / 10, 0
        while idle < 4 and time.monotonic() < given_up_at:
            await asyncio.sleep(0.03)
            idle = 0 if await self._busy() or await self._acting() else idle + 1

    def _pausing(self) -> bool:
        """Whether a comment waits for nothing but the second that GitHub wants between two."""
        github = self.bot.delivery.surfaces.get("github") if self.bot else None
        return isinstance(github, GitHubPort) and github.surface.pausing

    async def _acting(self) -> bool:
        """Whether an action is at work. One that has ended and whose expectation is watched waits for time to pass."""
        if self.bot is None:
            return False
        rows = await self.bot.store.rows(sa.select(tables.runs.c.state).where(tables.runs.c.open))
        for state in (RunState.model_validate_json(row.state) for row in rows):
            if not state.busy:
                continue
            watching = self.bot.engine.performer.progress.get(state.plan.run_id)
            if watching is None or watching.work != state.busy:
                return True
        return False

    async def _busy(self) -> bool:
        """Whether a command waits to be handled, or something waits to be said and could be said now."""
        if self.bot is None:
            return False
        store, now = self.bot.store, self.clock.now()
        inbox, outbox, cards, runs = tables.inbox, tables.outbox, tables.cards, tables.runs
        due = [sa.or_(table.c.next_try_at.is_(None), table.c.next_try_at <= now) for table in (outbox, cards)]
        return bool(
            await store.rows(sa.select(inbox.c.key).where(~inbox.c.handled).limit(1))
            or await store.rows(sa.select(outbox.c.key).where(outbox.c.status == "waiting", due[0]).limit(1))
            or await store.rows(
                sa.select(cards.c.run_id)
                .join(runs, runs.c.id == cards.c.run_id)
                .where(cards.c.version < runs.c.version, due[1])
                .limit(1)
            )
        )

    async def _unsaid(self) -> list[str]:
        """What waits to be said, or was given up although nobody had acknowledged it meanwhile."""
        if self.bot is None:
            return []
        outbox = tables.outbox
        rows = await self.bot.store.rows(
            sa.select(outbox).where(
                sa.or_(
                    outbox.c.status == "waiting",
                    sa.and_(
                        outbox.c.status == "given up",
                        ~outbox.c.problem.startswith("acknowledged"),
                        ~outbox.c.problem.startswith("a newer"),
                    ),
                )
            )
        )
        return [f"{row.kind} for {row.surface} {row.channel}: {row.problem or row.status}" for row in rows]


def _plain(markdown: str) -> str:
    """What people read: without what makes it bold, small or code, and of a link what it is called."""
    return re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", re.sub(r"</?\w+>|\*\*|`|\\(?=\W)", "", markdown))


def notifies(message: LocalMessage) -> set[str]:
    """Whom the message notifies: ``@`` and the id of each person, ``!channel``."""
    alive = live([message.text, message.blocks, message.attachments])
    return {each for each in alive if "://" not in each}


def live(drawn: Any, *, markup: bool = True) -> set[str]:
    """What notifies or can be followed in a message as Slack reads it: ids of people, ``!channel``, addresses.

    Slack looks for ``<@U0SCOT>`` in plain fields and in ``mrkdwn``; what ``rich_text`` and ``plain_text`` say is text.
    """
    match drawn:
        case str():
            return set(re.findall(r"<((?!!date\^)[^<>|]+)", drawn)) if markup else set()
        case {"type": "user", "user_id": str(identity)}:
            return {f"@{identity}"}
        case {"type": "broadcast" | "usergroup" | "channel" | "link" as kind}:
            return {str(drawn.get("url", kind))}
        case dict():
            literal = drawn.get("type") in ("text", "plain_text", "raw_text")
            return {
                found
                for key, value in drawn.items()
                if key not in ("value", "metadata", "private_metadata")
                for found in live(value, markup=key in ("text", "fallback", "pretext", "title") and not literal)
            }
        case list() | tuple():
            return {found for each in drawn for found in live(each, markup=markup)}
    return set()


def run_id(card: LocalMessage | str) -> str:
    """The id at the end of the small print of a card or of a page; other runs may be named before it."""
    found: list[str] = RUN_ID.findall(card if isinstance(card, str) else card.shown)
    assert found, card
    return found[-1]
