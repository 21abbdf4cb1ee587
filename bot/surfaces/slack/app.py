"""``/somas restart project-42`` arrives: checked, stored, acknowledged; everything else happens later.

``SlackReceiver`` is what Slack talks to. Its front door, ``handle``, looks at the signature of the raw bytes before
anything reads them. Slash commands have one listener for all of them, so that another verb costs nothing, and no
framework between: bolt's dispatch costs as much as all the rest. Bolt has the rest: one listener for buttons, one for
forms and one for mentions. Each makes one ``Incoming``, hands it to ``accept``, which stores it durably, and only then
acknowledges. Socket Mode (socket.py) comes in by ``answer``, behind the front door.

What is answered:

==========================================  ==========================================================================
no, wrong, stale or strange signature       401
not a form or JSON of Slack's               400 (413 over the size that the web application allows)
another workspace or app, rightly signed    200; who typed a command reads why nothing was done; logged
cannot be stored: command, button, form     200 at once, and the person reads why and that nothing was done
cannot be stored: event                     503, Slack sends it again
storing takes longer than Slack waits       200, and the person reads that it is being stored; event: 503
seen before                                 200, nothing else
==========================================  ==========================================================================

Bolt runs with ``process_before_response``: otherwise its answer waits for a poll of 10 ms. No request body is logged.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import structlog
from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response
from slack_bolt.async_app import AsyncAck, AsyncApp, AsyncBoltRequest
from slack_bolt.error import BoltUnhandledRequestError
from slack_bolt.response import BoltResponse
from slack_sdk.web.async_client import AsyncWebClient

from bot.clock import Clock
from bot.commands.generated import SHORTCUT
from bot.errors import UserError
from bot.incoming import Incoming, reference
from bot.messages import Message
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.printable import one_line
from bot.surfaces.slack import forms, payloads, shortcut
from bot.surfaces.slack.authorization import Known, quiet_logger
from bot.surfaces.slack.blocks import plain
from bot.surfaces.slack.body import NEVER_OURS, parsed
from bot.surfaces.slack.client import SlackSurface
from bot.surfaces.slack.elements import escape
from bot.surfaces.slack.home import home_view
from bot.surfaces.slack.modals import Modals, in_form, reason_of
from bot.surfaces.slack.verify import header_problem, signature_problem

if TYPE_CHECKING:
    from bot.homes import Homes

log = structlog.get_logger("opsbot.slack")

PATH = "/slack/events"
ANYTHING = re.compile(r"(?s).*")

Accept = Callable[[Incoming], Awaitable[bool]]
Body = Mapping[str, Any]
Read = Callable[[Body, datetime, str], Incoming | None]
MENU_SECONDS = 2.0  # a menu that Slack waits for in vain says that it could not be loaded; after three seconds

Stored = Literal["stored", "seen", "slow", "failed"]


class SlackReceiver:
    """Listens to Slack: ``handle`` by HTTP, ``answer`` by Socket Mode. ``close`` waits for what is still being said."""

    def __init__(
        self,
        *,
        signing_secret: str,
        surface: SlackSurface,
        accept: Accept,
        clock: Clock,
        people: Mapping[str, str] | None = None,
        app_id: str = "",
        patience: float = 2.0,
    ) -> None:
        """``accept`` stores durably and returns False for what it has seen before; it may raise. Asked is asked: when
        nobody waits for it any more, it stores all the same.

        ``people`` is for mentions in forms; ``app_id`` (optional) refuses payloads of other apps; ``patience`` is how
        long storing may take, in seconds, before the answer goes out without it (Slack gives up after three).
        """
        self._secret = signing_secret
        self._surface = surface
        self._accept = accept
        self._clock = clock
        self._app_id = app_id
        self._patience = patience
        self._tasks: set[asyncio.Task[Any]] = set()
        self.modals = Modals(surface, clock, people or {}, say=self._say, tell=self._tell)
        self.homes: Homes | None = None
        self.bolt = self._listeners()

    def _listeners(self) -> AsyncApp:
        app = AsyncApp(
            name="opsbot.slack.bolt",
            logger=quiet_logger(),
            client=AsyncWebClient(),  # bolt's own; the surface's is not lent, listeners do not call Slack
            authorize=Known(self._surface),
            process_before_response=True,
            raise_error_for_unhandled_request=True,
            request_verification_enabled=False,  # the front door did it; Socket Mode is signed by its connection
            attaching_function_token_enabled=False,
        )
        app.action(ANYTHING)(self._on_press)
        app.view(ANYTHING)(self._on_form)
        app.options(ANYTHING)(self._on_menu)
        app.message_shortcut(SHORTCUT)(self._on_shortcut)
        app.event("app_mention")(self._on_mention)
        app.event("message")(self._on_direct)
        app.event("app_home_opened")(self._on_home)
        app.event(ANYTHING)(self._ignored)
        app.error(self._on_error)
        return app

    async def publish_home(self, user: str, channel: str, message: Message) -> None:
        """``bot.homes.Publisher``."""
        await self._surface.publish_home(user, home_view(message, channel))

    async def close(self) -> None:
        """Let answers and stores that are under way come to their end."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    # ---- the front door ----------------------------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.Response:
        """``POST /slack/events``. The size limit is the application's ``client_max_size`` (413)."""
        now = self._clock.now()
        if problem := header_problem(request.headers, now):
            return self._refused(401, problem)
        raw = await request.read()
        if problem := signature_problem(self._secret, request.headers, raw, now):
            return self._refused(401, problem)
        try:
            answered = await self.answer(parsed(raw, request.content_type))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            return self._refused(400, str(error) if isinstance(error, payloads.MalformedError) else "cannot be read")
        if answered.status == 200 and not answered.body:
            return web.Response()
        return await to_aiohttp_response(answered)

    async def answer(self, body: dict[str, Any]) -> BoltResponse:
        """What Slack gets for a payload, however it came; nothing is acknowledged (200) that is not stored.

        Raises what bolt raises for a payload that it cannot take apart.
        """
        if "command" in body:
            try:
                return await self._on_command(body)
            except Exception as error:
                return await self._on_error(error, body)
        if payloads.get(body, "type") in NEVER_OURS:
            log.info("slack.ignored", kind=body["type"])
            return BoltResponse(status=200)
        # given as parsed, the way bolt takes Socket Mode's payloads: parsing twice is the dearest part of an answer
        return await self.bolt.async_dispatch(AsyncBoltRequest(body=body, mode="socket_mode"))

    def _refused(self, status: int, problem: str) -> web.Response:
        log.warning("slack.refused", status=status, problem=problem)
        return web.Response(status=status, text=f"{problem}\n")

    # ---- listeners ---------------------------------------------------------------------------------------------------

    async def _on_command(self, body: dict[str, Any]) -> BoltResponse:
        try:
            if problem := self._foreign(body):
                return await _whisper(problem)
            incoming = payloads.from_slash(body, self._clock.now())
        except payloads.MalformedError as error:
            return _malformed(error)
        except payloads.TooLongError as error:
            return await _whisper(str(error))
        if self.modals.opens_form(incoming):
            return BoltResponse(status=200)
        stored, said = await self._store(incoming, "your command")
        return await _whisper(said) if stored in ("slow", "failed") else BoltResponse(status=200)

    async def _on_press(self, body: dict[str, Any], ack: AsyncAck) -> BoltResponse:
        user, url = payloads.get(body, "user", "id"), payloads.get(body, "response_url")
        channel = payloads.get(body, "container", "channel_id") or payloads.get(body, "channel", "id")
        try:
            said = self._foreign(body)
            if not said:
                pressed = payloads.from_press(body, self._clock.now())
                incoming = pressed.incoming
                if payloads.is_home(body) and self.modals.desk is not None:
                    incoming = self.modals.desk.at_home(incoming)
                    channel = incoming.place.channel
                if pressed.dialog is not None:
                    self._say(self.modals.open(incoming, pressed.dialog))
                elif not self.modals.opens_form(incoming):
                    _, said = await self._store(incoming, "what you pressed")
        except payloads.MalformedError as error:
            return _malformed(error)
        except ValueError as error:
            said = f"This button cannot be used: {error}."
        if said:
            self._say(self._tell(channel, user, url, said))
        return await ack()

    async def _on_form(self, body: dict[str, Any], ack: AsyncAck) -> BoltResponse:
        field = ""
        try:
            said = self._foreign(body)
            if not said:
                incoming, composed = self.modals.filled_in(body)
                said, field = await self.modals.judged(incoming, composed)
                if not said:
                    _, said = await self._store(incoming, "your form")
        except payloads.MalformedError as error:
            return _malformed(error)
        except UserError as error:
            said = error.message
        except ValueError as error:
            said = f"This form cannot be used: {error}."
        return await ack() if not said else await ack(**in_form(body, said, field))

    async def _on_menu(self, body: dict[str, Any], ack: AsyncAck) -> BoltResponse:
        """The names for a menu, while somebody types into it."""
        if self._foreign(body):
            return await ack(options=[])
        try:
            looked = self.modals.offers(body)
            return await ack(options=forms.options(await asyncio.wait_for(looked, MENU_SECONDS)))
        except TimeoutError:
            log.warning("slack.slow_menu", block_id=one_line(payloads.get(body, "block_id"))[:60])
        except (UserError, ValueError) as error:
            log.info("slack.no_menu", reason=one_line(str(error))[:200])
        return await ack(options=[])

    async def _on_shortcut(self, body: dict[str, Any], ack: AsyncAck) -> BoltResponse:
        """“Turn into incident note”: asks for the run."""
        user, url = payloads.get(body, "user", "id"), payloads.get(body, "response_url")
        try:
            said = self._foreign(body)
            if not said:
                self._say(self.modals.open_note(shortcut.said_of(body), user, payloads.get(body, "trigger_id"), url))
        except ValueError as error:
            said = f"This message cannot be attached: {error}."
        if said:
            self._say(self._tell(payloads.get(body, "channel", "id"), user, url, said))
        return await ack()

    async def _on_home(self, body: dict[str, Any], ack: AsyncAck) -> BoltResponse:
        event = body["event"]
        user, channel = payloads.get(event, "user"), payloads.get(event, "channel")
        ours = not self._foreign(body) and not payloads.stranger(body)
        if self.homes is not None and ours and payloads.get(event, "tab") == "home" and user and channel:
            self._say(self.homes.opened(user, channel))
        return await ack()

    async def _on_direct(self, body: dict[str, Any], ack: AsyncAck) -> BoltResponse:
        return await self._on_message(body, ack, payloads.from_direct)

    async def _on_mention(self, body: dict[str, Any], ack: AsyncAck) -> BoltResponse:
        return await self._on_message(body, ack, payloads.from_mention)

    async def _on_message(self, body: dict[str, Any], ack: AsyncAck, read: Read) -> BoltResponse:
        if self._foreign(body):
            return BoltResponse(status=200 if self._surface.identity else 503)
        if payloads.stranger(body):
            log.warning("slack.stranger", event_id=payloads.get(body, "event_id"))
            return await ack()
        known = self._surface.identity
        try:
            incoming = read(body, self._clock.now(), known.bot_user if known else "")
        except payloads.MalformedError as error:
            return _malformed(error)
        except payloads.TooLongError as error:
            user, channel = payloads.get(body, "event", "user"), payloads.get(body, "event", "channel")
            thread = payloads.get(body, "event", "thread_ts")
            self._say(self._tell(channel, user, "", str(error), thread))
            return await ack()
        if incoming is None:
            return await ack()
        stored, _ = await self._store(incoming, "your message")
        return BoltResponse(status=503) if stored in ("slow", "failed") else await ack()

    async def _ignored(self, ack: AsyncAck) -> BoltResponse:
        return await ack()

    async def _on_error(self, error: Exception, body: dict[str, Any]) -> BoltResponse:
        """Nobody listens (a shortcut, a closed form: told 404, Slack would send it again), or a mistake of ours."""
        if isinstance(error, BoltUnhandledRequestError):
            log.info("slack.ignored", kind=one_line(payloads.get(body, "type"))[:40])
            return BoltResponse(status=200)
        short = reference(payloads.get(body, "trigger_id") or payloads.get(body, "event_id"))
        # as text: a renderer of exc_info may print local variables, and with them what people wrote
        log.error("slack.failed", id=short, traceback="".join(traceback.format_exception(error)))
        if "command" not in body:
            return BoltResponse(status=500)
        said = f"Something went wrong inside opsbot before your command was stored; its log tells more, id {short}."
        return BoltResponse(status=200, body={"response_type": "ephemeral", "text": said})

    # ---- what they share ---------------------------------------------------------------------------------------------

    def _foreign(self, body: Body) -> str:
        """Why a payload that is rightly signed is not for this bot: what the person reads; empty when it is."""
        known = self._surface.identity
        if known is None:
            log.warning("slack.not_ready", team=payloads.team(body))
            return "opsbot has not reached Slack yet, so nothing was done. Try again in a minute."
        team, app = payloads.team(body), payloads.get(body, "api_app_id")
        same_house = known.whole_enterprise and known.enterprise_id == payloads.enterprise(body) != ""
        if team != known.team_id and not same_house:
            log.warning("slack.other_team", team=one_line(team)[:40])
            return "This opsbot belongs to another workspace, so nothing was done."
        if payloads.presser_is_stranger(body, known.team_id):
            log.warning("slack.stranger", user=one_line(payloads.get(body, "user", "id"))[:40])
            return "You are of another organisation than this opsbot, so nothing was done."
        if self._app_id and app and app != self._app_id:
            log.warning("slack.other_app", app=one_line(app)[:40])
            return "This opsbot belongs to another Slack app, so nothing was done."
        return ""

    async def _store(self, incoming: Incoming, what: str) -> tuple[Stored, str]:
        """Hand over to ``accept``; the second value is what the person must read, empty when all is well."""
        try:
            async with asyncio.timeout(self._patience) as waiting:
                fresh = await self._accept(incoming)
        except Exception as error:
            short, reason = reference(incoming.key), reason_of(error)
            if waiting.expired():
                log.warning("slack.slow_store", id=short, key=incoming.key)
                return "slow", (
                    f"opsbot is still storing {what}; it runs as soon as it is stored. "
                    f"If no answer comes within a minute, send it again; id {short}."
                )
            log.error("slack.not_stored", id=short, key=incoming.key, reason=reason, error=type(error).__name__)
            return "failed", (
                f"opsbot cannot store {what}, so nothing was done: {reason.rstrip('.')}. Try again; id {short}."
            )
        if not fresh:  # no line for every command: the audit log has them, and a line costs as much as the answer
            log.info("slack.seen_before", id=reference(incoming.key), key=incoming.key)
        return ("stored" if fresh else "seen"), ""

    async def _tell(self, channel: str, user: str, response_url: str, said: str, thread: str = "") -> None:
        try:
            await self._surface.private(channel, user, response_url, plain(said), thread_ts=thread or None)
        except (TryLater, Undeliverable) as error:
            log.warning("slack.not_told", reason=str(error), user=user)

    def _keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run beside the answer, held on to until it ends."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _say(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something that nobody waits for."""
        self._keep(work).add_done_callback(_failed_late)


def _failed_late(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("slack.failed_late", error=type(error).__name__, reason=reason_of(error))


def slack_routes(receiver: SlackReceiver) -> list[web.RouteDef]:
    """For ``web.Application(client_max_size=1024**2).add_routes(...)``."""
    return [web.post(PATH, receiver.handle)]


async def _whisper(said: str) -> BoltResponse:
    """Answer a slash command so that only the one who typed it reads it."""
    ack = AsyncAck()  # type: ignore[no-untyped-call]  # bolt has no annotation there
    return await ack(text=escape(said), response_type="ephemeral")


def _malformed(error: payloads.MalformedError) -> BoltResponse:
    log.warning("slack.malformed", problem=str(error))
    return BoltResponse(status=400, body=f"{error}\n")
