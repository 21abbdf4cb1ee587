"""A Slack workspace on this machine: what people type, press and fill in reaches the bot as Slack would send it.

``opsbot demo`` shows it in the browser; the tests drive it from Python. Stricter than Slack, never more lenient: what
this workspace takes, Slack takes.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from bot.clock import Clock
from bot.demo.slack import mrkdwn, payloads
from bot.demo.slack.delivery import Courier, Delivery
from bot.demo.slack.faults import Faults, RateLimits
from bot.demo.slack.modals import Modals
from bot.demo.slack.page import Hint, Page, SlashCommand
from bot.demo.slack.reading import LocalButton, buttons
from bot.demo.slack.sight import Sight
from bot.demo.slack.sockets import Sockets
from bot.demo.slack.web_api import WebApi
from bot.demo.slack.workspace import (
    Channel,
    Json,
    LocalMessage,
    Person,
    Refused,
    UserGroup,
    Workspace,
)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
MAX_BODY = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SlashAnswer:
    """What came back at once for a slash command. ``message`` is the immediate answer, if there was one."""

    status: int  # HTTP; 0 when the bot did not answer in time or could not be reached
    seconds: float
    message: LocalMessage | None = None
    failure: str = ""  # Slack's word: operation_timeout, http_service_error, connection_failed, or a refused answer


class LocalSlack(Modals, Sight):
    """A workspace with people, channels and one app, over real HTTP on the loopback interface.

    ``clock`` gives messages their time and limits trigger ids (3 s), response URLs (30 min) and event retries;
    ``request_time`` (seconds since 1970) dates the signatures, which the bot compares with its own clock.
    ``app_token`` opens Socket Mode connections.
    ``ack_seconds`` is Slack's patience. ``scopes`` limits the bot's token; None allows everything.
    ``events`` are the event types that the app is subscribed to. ``commands``, when given, are the only slash commands
    that exist; the page completes them. ``hints`` are what the page offers to a first-time visitor.
    """

    def __init__(
        self,
        *,
        signing_secret: str,
        bot_token: str,
        clock: Clock,
        app_token: str = "",
        team_id: str = "T0OPS",
        app_id: str = "A0OPS",
        bot_user_id: str = "U0OPSBOT",
        bot_name: str = "opsbot",
        host: str = "127.0.0.1",
        port: int = 0,
        rate_limits: bool = False,
        scopes: Iterable[str] | None = None,
        ack_seconds: float = 3.0,
        request_time: Callable[[], float] = time.time,
    ) -> None:
        if host not in LOOPBACK:
            raise ValueError(f"the local Slack listens on this machine only: host must be one of {LOOPBACK}")
        self.space = Workspace(clock=clock, team_id=team_id, app_id=app_id, bot_user_id=bot_user_id)
        self.events: set[str] = {"app_mention", "app_home_opened", "message.im"}
        self.shortcuts: dict[str, str] = {}  # in the menu of each message: what it says, by its callback id
        self.commands: list[SlashCommand] = []
        self.hints: list[Hint] = []
        self.api = WebApi(
            self.space,
            token=bot_token,
            base_url=lambda: self._base,
            scopes=None if scopes is None else frozenset(scopes),
        )
        self.api.rate_limits = RateLimits() if rate_limits else None
        self.courier = Courier(secret=signing_secret, clock=clock, request_time=request_time)
        self.courier.ack_seconds = ack_seconds
        self.courier.on_delivery = lambda delivery: self.space.changed({"type": "delivery"})
        self.sockets = Sockets(
            token=app_token, app_id=app_id, base_url=lambda: self._base, faults=lambda: self.api.faults
        )
        self._reachable = asyncio.Event()
        self.bot_is_coming = False  # it is being started: what is done on the page waits for it
        self._page = Page(self)
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self.space.add_person(Person(bot_user_id, bot_name, bot_name, is_bot=True))

    # -- the server ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens; raises ``OSError`` when the port is taken."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=self._page.middlewares)
        app.add_routes([*self.sockets.routes(), *self.api.routes(), *self._page.routes()])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._host, self._port))
            await runner.setup()
            await web.SockSite(runner, listening).start()
        except OSError:
            listening.close()
            await runner.cleanup()
            raise
        self._port = listening.getsockname()[1]
        self._runner = runner

    async def stop(self) -> None:
        """Ends open pages and pending retries, and stops listening."""
        await self.courier.close()
        await self.sockets.close()
        self._page.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> LocalSlack:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @property
    def port(self) -> int:
        return self._port

    @property
    def _base(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def api_url(self) -> str:
        """For ``slack.api_url`` of the bot."""
        return f"{self._base}/api/"

    @property
    def page_url(self) -> str:
        """For a browser."""
        return f"{self._base}/"

    def deliver_to(self, url: str) -> None:
        """The bot's ``/slack/events``: commands, interactivity and events are sent there."""
        self.courier.url = url
        self._reachable.set()

    def deliver_through_sockets(self) -> None:
        """From now on everything goes through the connections that the bot opens with ``app_token`` (Socket Mode)."""
        self.courier.sockets = self.sockets
        self._reachable.set()

    async def bot_is_up(self, seconds: float) -> bool:
        """Whether there is a bot to deliver to, or none is coming, waiting for it for so long."""
        if not self.bot_is_coming or self._reachable.is_set():
            return True
        try:
            await asyncio.wait_for(self._reachable.wait(), seconds)
        except TimeoutError:
            return False
        return True

    @property
    def faults(self) -> Faults:
        """Makes the next calls of the bot fail: ``faults.rate_limited("chat.postMessage", retry_after=2)``."""
        return self.api.faults

    @property
    def duplicate_deliveries(self) -> int:
        """How many more copies of each request the bot receives, at the same time."""
        return self.courier.duplicates

    @duplicate_deliveries.setter
    def duplicate_deliveries(self, copies: int) -> None:
        self.courier.duplicates = copies

    @property
    def deliveries(self) -> list[Delivery]:
        """Every request to the bot, with how it was answered."""
        return self.courier.log

    @property
    def calls(self) -> list[tuple[str, Json]]:
        """Every Web API call of the bot that was well-formed: method and arguments."""
        return self.api.calls

    # -- who and what there is -----------------------------------------------------------------------------------------

    def add_person(self, id: str, name: str, *, real_name: str = "", title: str = "", is_bot: bool = False) -> None:
        self.space.add_person(Person(id, name, real_name or name.capitalize(), is_bot, title))

    def add_channel(self, id: str, name: str, *, members: Sequence[str], archived: bool = False) -> None:
        """``members`` are ids; the bot is in the channel only if its own id is among them."""
        self.space.add_channel(Channel(id, name, list(members), archived))

    def add_user_group(self, id: str, handle: str, members: Sequence[str]) -> None:
        self.space.add_group(UserGroup(id, handle, list(members)))

    # -- what people do ------------------------------------------------------------------------------------------------

    async def enter(self, user: str, channel: str, text: str, thread_ts: str | None = None) -> None:
        """What pressing Enter in the input box does: a slash command, or a message."""
        if not text.startswith("/"):
            await self.say(user, channel, text, thread_ts)
        elif thread_ts is not None:
            command = text.split(maxsplit=1)[0]
            refusal = self.space.slackbot(
                user, channel, f"{mrkdwn.escape(command)} is not supported in threads. Sorry!"
            )
            refusal.thread_ts = thread_ts
            self.space.touched(refusal)
        else:
            await self.slash(user, channel, text)

    async def slash(self, user: str, channel: str, text: str) -> SlashAnswer:
        """Sends ``/somas status`` to the bot. Whatever goes wrong is shown to the person as Slack shows it."""
        room = self._room(user, channel)
        command, _, rest = text.strip().partition(" ")
        if not command.startswith("/"):
            raise ValueError(f"a slash command starts with a slash: {text!r}")
        if self.commands and command not in {one.command.split()[0] for one in self.commands}:
            told = self.space.slackbot(user, channel, f"{mrkdwn.escape(command)} is not a valid command.")
            return SlashAnswer(0, 0.0, told, "invalid_command")
        token = self.space.new_pass(user, room.id, thread_ts=None, original=None)
        body = payloads.slash_form(
            self.space,
            user=user,
            channel=room,
            command=command,
            text=self._typed(rest.strip(), with_names=True),
            response_url=f"{self._base}/response/{token}",
            trigger_id=self.space.new_trigger(user),
        )
        delivery = await self.courier.deliver("slash", body, payloads.FORM)
        failure, message = delivery.failure, None
        if delivery.ok and delivery.body.strip():
            answer = delivery.json() or {"text": delivery.body.decode("utf-8", "replace")}
            try:
                message = self.api.reply(self.space.passes[token], answer)
            except Refused as refused:
                failure = str(refused)
        if failure:
            message = self.space.slackbot(user, room.id, mrkdwn.escape(f'{command} failed with the error "{failure}"'))
        return SlashAnswer(delivery.status, delivery.seconds, message, failure)

    async def press(
        self,
        user: str,
        channel: str,
        ts: str,
        *,
        action_id: str | None = None,
        label: str | None = None,
        block_id: str | None = None,
        option: str | None = None,
    ) -> Delivery:
        """Presses a button of a message; for a menu, ``option`` is the value or the text of what is chosen.

        A button with a link is delivered too, as Slack does. Raises ``LookupError`` when the person sees no such
        message or not exactly one such button.
        """
        self._room(user, channel)
        message = self.space.find(channel, ts, user)
        if message is None:
            raise LookupError(f"{user} sees no message {ts} in {channel}")
        wanted = [
            one
            for one in message.buttons
            if action_id in (None, one.action_id) and label in (None, one.label) and block_id in (None, one.block_id)
            if one.chosen is None or option in (None, one.chosen["value"], one.label)
        ]
        if len(wanted) != 1:
            what = f"{len(wanted)} buttons match label={label!r} action_id={action_id!r}"
            raise LookupError(f"{what}; the message has {message.labels}")
        token = self.space.new_pass(user, channel, thread_ts=message.thread_ts, original=message)
        body = payloads.block_actions_form(
            self.space,
            user=user,
            message=message,
            button=wanted[0],
            chosen=_chosen(wanted[0], option),
            trigger_id=self.space.new_trigger(user),
            response_url=f"{self._base}/response/{token}",
        )
        return await self.courier.deliver("block_actions", body, payloads.FORM)

    async def say(self, user: str, channel: str, text: str, thread_ts: str | None = None) -> LocalMessage:
        """Posts as the person. ``@name`` and ``#channel`` become mentions; the app hears what it is subscribed to."""
        room = self._room(user, channel)
        written = self._typed(text, with_names=False)
        message = LocalMessage(room.id, self.space.new_ts(), user, written, self.space.names, seen=True)
        if thread_ts is not None and self.space.find(room.id, thread_ts) is None:
            raise LookupError(f"there is no message {thread_ts} in {channel} to answer")
        message.thread_ts = thread_ts
        self.space.post(message)
        bot = self.space.bot_user_id
        heard = {"message", "message.im"} if room.is_im else {"message", "message.channels"}
        kinds = ["message"] if heard & self.events else []
        if f"<@{bot}>" in written and "app_mention" in self.events and not room.is_im:
            kinds.append("app_mention")
        if kinds and bot not in room.members:
            if f"<@{bot}>" in written:
                self.space.slackbot(user, room.id, f"<@{bot}> is not in this channel, so it does not hear you.")
            kinds = []
        for kind in kinds:
            event = payloads.message_event(self.space, message, kind)
            await self.courier.deliver_event(kind, payloads.event_body(self.space, event))
        return message

    async def use_shortcut(self, user: str, channel: str, ts: str, callback_id: str) -> Delivery:
        """Chooses a shortcut in the menu of a message."""
        self._room(user, channel)
        message = self.space.find(channel, ts, user)
        if message is None:
            raise LookupError(f"{user} sees no message {ts} in {channel}")
        token = self.space.new_pass(user, channel, thread_ts=message.thread_ts, original=None)
        body = payloads.message_action_form(
            self.space,
            user=user,
            message=message,
            callback_id=callback_id,
            trigger_id=self.space.new_trigger(user),
            response_url=f"{self._base}/response/{token}",
        )
        return await self.courier.deliver("message_action", body, payloads.FORM)

    async def open_home(self, user: str) -> None:
        """Opens the app's home tab; the app hears of it and publishes what it shows."""
        if user not in self.space.people:
            raise LookupError(f"there is no person {user}; add_person first")
        channel = self.space.direct_channel(user).id
        event = payloads.home_opened_event(self.space, user, channel, self.space.homes.get(user))
        if "app_home_opened" in self.events:
            await self.courier.deliver_event("app_home_opened", payloads.event_body(self.space, event))

    async def press_home(
        self,
        user: str,
        *,
        label: str | None = None,
        action_id: str | None = None,
        block_id: str | None = None,
        option: str | None = None,
    ) -> Delivery:
        """Presses a button of the home tab. Raises ``LookupError`` when there is not exactly one such button."""
        view = self.space.homes.get(user)
        found = list(buttons(view.view["blocks"])) if view else []
        wanted = [
            one
            for one in found
            if label in (None, one.label) and action_id in (None, one.action_id) and block_id in (None, one.block_id)
            if one.chosen is None or option in (None, one.chosen["value"], one.label)
        ]
        if view is None or len(wanted) != 1:
            raise LookupError(f"{len(wanted)} buttons match {label!r}; the home tab has {[one.label for one in found]}")
        body = payloads.home_actions_form(
            self.space,
            user=user,
            view=view,
            button=wanted[0],
            chosen=_chosen(wanted[0], option),
            trigger_id=self.space.new_trigger(user),
        )
        return await self.courier.deliver("block_actions", body, payloads.FORM)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _room(self, user: str, channel: str) -> Channel:
        if user not in self.space.people:
            raise LookupError(f"there is no person {user}; add_person first")
        if channel not in self.space.channels:
            raise LookupError(f"there is no channel {channel}; add_channel first")
        room = self.space.channels[channel]
        if user not in room.members:
            raise LookupError(f"{user} is not in #{room.name}; its members are {room.members}")
        if room.archived:
            raise LookupError(f"#{room.name} is archived")
        return room

    def _typed(self, text: str, *, with_names: bool) -> str:
        people = {one.name: one.id for one in self.space.people.values()}
        rooms = {one.name: one.id for one in self.space.channels.values() if not one.is_im}
        return mrkdwn.typed(text, people, rooms, with_names=with_names)


def _chosen(button: LocalButton, option: str | None) -> Json:
    """The part of the action that says what was chosen in a menu."""
    if button.chosen:
        return {"selected_option": button.chosen}
    if button.kind == "button":
        return {}
    if option is None:
        raise LookupError(f"{button.label!r} is a menu: say which option")
    if button.kind == "users_select":
        return {"selected_user": option}
    found: Any = [one for one in button.element["options"] if option in (one["value"], one["text"]["text"])]
    if not found:
        raise LookupError(f"{button.label!r} has no option {option!r}")
    return {"selected_option": found[0]}
