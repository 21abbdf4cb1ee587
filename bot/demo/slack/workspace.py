"""Who and what there is in the local workspace: people, channels, messages, views, and the passes that Slack hands out.

State only: no HTTP. Time comes from the clock; every change is told to whoever waits (``changed``), so that neither the
tests nor the page ever poll.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.clock import Clock
from bot.demo.slack import reading
from bot.demo.slack.mrkdwn import readable

Json = dict[str, Any]
SLACKBOT = "USLACKBOT"
TRIGGER_SECONDS = 3.0
RESPONSE_URL_SECONDS = 30 * 60.0
RESPONSE_URL_USES = 5


class Refused(Exception):
    """Slack's answer ``{"ok": false, "error": error}``; ``messages`` go to ``response_metadata``."""

    def __init__(self, error: str, *messages: str, **extra: object) -> None:
        super().__init__(f"{error}: {'; '.join(messages)}" if messages else error)
        self.error = error
        self.messages = list(messages)
        self.extra = extra


@dataclass(slots=True)
class Person:
    id: str
    name: str
    real_name: str
    is_bot: bool = False
    title: str = ""  # what the person does, for the page


@dataclass(slots=True)
class Channel:
    id: str
    name: str
    members: list[str]
    archived: bool = False
    is_im: bool = False


@dataclass(slots=True)
class UserGroup:
    id: str
    handle: str
    members: list[str]


@dataclass(slots=True)
class StoredFile:
    id: str
    name: str
    length: int
    content: bytes | None = None
    title: str = ""
    completed_at: float | None = None  # seconds since the epoch


@dataclass(slots=True)
class LocalMessage:
    """A message as the workspace keeps it. ``shown`` is what a person reads; ``str()`` is the same, with the author."""

    channel: str
    ts: str
    user: str
    text: str
    names: Mapping[str, str] = field(repr=False)  # of the workspace: id -> what is shown
    blocks: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    metadata: Json | None = None
    thread_ts: str | None = None
    only_for: str | None = None  # an ephemeral message: who sees it
    broadcast: bool = False
    edited_ts: str | None = None
    updates: int = 0  # how often the bot has changed it
    files: list[Json] = field(default_factory=list)
    reactions: dict[str, list[str]] = field(default_factory=dict)
    app_id: str | None = None
    seen: bool = False

    @property
    def in_thread(self) -> bool:
        return self.thread_ts is not None and self.thread_ts != self.ts

    @property
    def shown(self) -> str:
        """What a person reads, as plain text: blocks if there are any, else the text; buttons as ``[Label]``."""
        parts = reading.lines(self.blocks, self.names)
        if not parts and self.text:
            parts.append(readable(self.text, self.names))
        for attachment in self.attachments:
            parts.extend(reading.lines(attachment.get("blocks", []), self.names))
            if "text" in attachment:
                parts.append(readable(attachment["text"], self.names))
        parts.extend(f"(file: {file['name']})" for file in self.files)
        return "\n".join(parts)

    @property
    def fallback(self) -> str:
        """What a notification says."""
        first = next((one["fallback"] for one in self.attachments if one.get("fallback")), "")
        return readable(self.text or first, self.names)

    @property
    def buttons(self) -> list[reading.LocalButton]:
        found = list(reading.buttons(self.blocks))
        for position, attachment in enumerate(self.attachments, start=1):
            found.extend(reading.buttons(attachment.get("blocks", []), position))
        return found

    @property
    def labels(self) -> list[str]:
        """The labels of the buttons, in order."""
        return [button.label for button in self.buttons]

    def __str__(self) -> str:
        audience = f" (only to {self.names.get(self.only_for, self.only_for)})" if self.only_for else ""
        return f"{self.names.get(self.user, self.user)}{audience}: {self.shown}"


@dataclass(slots=True)
class LocalView:
    """A modal on somebody's screen, or a home tab. ``errors`` are those under the fields, by block id."""

    id: str
    user: str
    view: Json
    hash: str
    root_id: str
    previous_id: str | None = None
    errors: dict[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        return str(self.view.get("title", {}).get("text", ""))

    @property
    def shown(self) -> str:
        """Title, blocks and errors as plain text."""
        parts = [self.title, *reading.lines(self.view["blocks"], self.names)]
        parts += [f"! {message}" for message in self.errors.values()]
        return "\n".join(part for part in parts if part)

    @property
    def labels(self) -> list[str]:
        """The labels of the inputs, in order."""
        return [block["label"]["text"] for block in self.view["blocks"] if block["type"] == "input"]


@dataclass(slots=True)
class Trigger:
    user: str
    expires: float
    used: bool = False


@dataclass(slots=True)
class ResponsePass:
    """What a ``response_url`` allows: messages in one channel, on behalf of one person, five times in 30 minutes."""

    user: str
    channel: str
    thread_ts: str | None
    original: LocalMessage | None
    expires: float
    uses: int = 0


class Workspace:
    """The state behind ``LocalSlack``; see there for what the parts mean."""

    def __init__(self, *, clock: Clock, team_id: str, app_id: str, bot_user_id: str) -> None:
        self.clock = clock
        self.team_id = team_id
        self.team_domain = "opsbot-demo"
        self.app_id = app_id
        self.bot_user_id = bot_user_id
        self.bot_id = "B" + bot_user_id.removeprefix("U")
        self.people: dict[str, Person] = {}
        self.channels: dict[str, Channel] = {}
        self.groups: dict[str, UserGroup] = {}
        self.names: dict[str, str] = {}
        self.posted: dict[str, dict[str, LocalMessage]] = {}  # channel -> ts -> message, in order
        self.private: list[LocalMessage] = []  # ephemeral ones
        self.views: dict[str, list[LocalView]] = {}  # person -> open modals, the topmost last
        self.homes: dict[str, LocalView] = {}
        self.files: dict[str, StoredFile] = {}
        self.triggers: dict[str, Trigger] = {}
        self.passes: dict[str, ResponsePass] = {}
        self.version = 0
        self._listeners: set[Callable[[Json], None]] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._last_micros = 0
        self._serial = itertools.count(1)
        self.add_person(Person(SLACKBOT, "slackbot", "Slackbot", is_bot=True))

    # -- people and places ---------------------------------------------------------------------------------------------

    def add_person(self, person: Person) -> None:
        self.people[person.id] = person
        self.names[person.id] = f"@{person.name}"
        self.changed({"type": "reload"})

    def add_channel(self, channel: Channel) -> None:
        self.channels[channel.id] = channel
        self.posted.setdefault(channel.id, {})
        self.names[channel.id] = f"#{channel.name}"
        self.changed({"type": "reload"})

    def add_group(self, group: UserGroup) -> None:
        self.groups[group.id] = group
        self.names[group.id] = f"@{group.handle}"
        self.changed({"type": "reload"})

    def direct_channel(self, user: str) -> Channel:
        """The conversation between the app and one person, opened when there is none."""
        channel_id = "D" + user.removeprefix("U")
        if channel_id not in self.channels:
            person = self.people[user]
            self.add_channel(Channel(channel_id, person.name, [user, self.bot_user_id], is_im=True))
        return self.channels[channel_id]

    # -- time and ids --------------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.clock.now().timestamp()

    def new_ts(self) -> str:
        """A timestamp that is the message's id: never twice the same, always growing."""
        micros = max(round(self.now() * 1_000_000), self._last_micros + 1)
        self._last_micros = micros
        return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"

    def new_id(self, prefix: str) -> str:
        return f"{prefix}{next(self._serial):06d}{secrets.token_hex(3).upper()}"

    # -- messages ------------------------------------------------------------------------------------------------------

    def post(self, message: LocalMessage) -> LocalMessage:
        self._fill_ids(message)
        if message.only_for is not None:
            self.private.append(message)
        else:
            self.posted[message.channel][message.ts] = message
        self.changed({"type": "message", "message": message})
        return message

    def touched(self, message: LocalMessage) -> None:
        """A message was edited in place."""
        self._fill_ids(message)
        self.changed({"type": "message", "message": message})

    def remove(self, message: LocalMessage) -> None:
        if message.only_for is not None:
            self.private = [one for one in self.private if one is not message]
        else:
            self.posted[message.channel].pop(message.ts, None)
        self.changed({"type": "deleted", "message": message})

    def _fill_ids(self, message: LocalMessage) -> None:
        """Slack gives a block id to every block that has none."""
        for blocks in (message.blocks, *(one.get("blocks", []) for one in message.attachments)):
            for block in blocks:
                block.setdefault("block_id", secrets.token_urlsafe(4))

    def slackbot(self, user: str, channel: str, text: str) -> LocalMessage:
        """What Slack itself says to one person. Nobody has to read it: it is not the bot's message."""
        ts = self.new_ts()
        return self.post(LocalMessage(channel, ts, SLACKBOT, text, self.names, only_for=user))

    def find(self, channel: str, ts: str, user: str | None = None) -> LocalMessage | None:
        """A message by its timestamp; ``user`` finds that person's ephemeral messages too."""
        found = self.posted.get(channel, {}).get(ts)
        if found is None and user is not None:
            found = next((m for m in self.private if (m.channel, m.ts, m.only_for) == (channel, ts, user)), None)
        return found

    def thread(self, channel: str, root_ts: str) -> list[LocalMessage]:
        return [m for m in self.posted[channel].values() if m.ts == root_ts or m.thread_ts == root_ts]

    def all_messages(self) -> Iterator[LocalMessage]:
        for messages in self.posted.values():
            yield from messages.values()
        yield from self.private

    # -- passes --------------------------------------------------------------------------------------------------------

    def new_trigger(self, user: str) -> str:
        trigger_id = f"{next(self._serial)}.{self.team_id}.{secrets.token_hex(8)}"
        self.triggers[trigger_id] = Trigger(user, self.now() + TRIGGER_SECONDS)
        return trigger_id

    def use_trigger(self, trigger_id: str) -> str:
        """The person whose interaction the trigger stands for; a trigger opens one view, within three seconds."""
        trigger = self.triggers.get(trigger_id)
        if trigger is None:
            raise Refused("invalid_trigger_id", "this trigger_id was never given out")
        if trigger.used:
            raise Refused("exchanged_trigger_id", "a trigger_id opens one view only")
        if self.now() > trigger.expires:
            raise Refused("expired_trigger_id", f"a trigger_id is good for {TRIGGER_SECONDS:.0f} s")
        trigger.used = True
        return trigger.user

    def new_pass(self, user: str, channel: str, *, thread_ts: str | None, original: LocalMessage | None) -> str:
        token = secrets.token_urlsafe(18)
        self.passes[token] = ResponsePass(user, channel, thread_ts, original, self.now() + RESPONSE_URL_SECONDS)
        return token

    # -- telling -------------------------------------------------------------------------------------------------------

    def changed(self, event: Json) -> None:
        """Wakes everybody who waits and tells the pages."""
        self.version += 1
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
        for listener in tuple(self._listeners):
            listener(event)

    async def next_change(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def listen(self, listener: Callable[[Json], None]) -> Callable[[], None]:
        """Calls ``listener`` with every event until the returned function is called."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)
