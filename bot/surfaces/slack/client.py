"""The card that changes in place, the private answer, the page: what the bot says in Slack.

``SlackSurface`` says it once. ``chat.postMessage`` cannot be repeated blindly after a time-out, so every message
carries a key in its metadata, and before a message is posted again the bot looks whether it is already there. What
cannot be delivered is raised as ``TryLater`` or ``Undeliverable`` (bot/surfaces/delivery.py); when and how often to try
again is for the one who keeps the outbox. Calls for one channel go out one after the other, channels do not wait for
each other. Error codes: https://docs.slack.dev/reference/methods, limits: https://docs.slack.dev/apis/web-api/rate-limits.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient

from bot.breakers import Breaker, BreakerOpen
from bot.clock import Clock
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.slack.blocks import SlackMessage
from bot.surfaces.slack.elements import Json
from bot.surfaces.slack.files import Files, without_files
from bot.surfaces.slack.groups import Group

log = structlog.get_logger("opsbot.slack")

EVENT_TYPE = "opsbot_message"
SERVICE = "Slack"  # the breaker's name
TIMEOUT = 10.0  # seconds for one call
LOOK_BACK = timedelta(hours=24)  # how far a lost message is looked for when nobody knows when it was posted
SKEW = timedelta(minutes=5)  # by which this machine's clock may be ahead of Slack's timestamps
PAGES = 5  # of 200 messages each
RECHECK = timedelta(seconds=15)  # how often a failed auth.test is tried again by /readyz

_HINTS = {
    "channel_not_found": "Check the channel id in opsbot.toml; invite the bot with /invite @opsbot if it is private.",
    "not_in_channel": "Invite the bot to the channel: /invite @opsbot.",
    "is_archived": "Unarchive the channel or name another one in opsbot.toml.",
    "restricted_action": "A workspace preference forbids apps to post there; an admin can allow it.",
    "missing_scope": "Add the scope to the app (see manifest.yml) and install it again.",
    "user_not_in_channel": "The person is not a member of the channel.",
    "user_not_found": "Check the Slack id under [people].",
    "message_limit_exceeded": "The workspace is over its message limit.",
    "invalid_auth": "SLACK_BOT_TOKEN is not valid for this workspace; copy the bot token again.",
    "not_authed": "SLACK_BOT_TOKEN is missing.",
    "token_revoked": "SLACK_BOT_TOKEN was revoked; install the app again and set the new token.",
    "token_expired": "SLACK_BOT_TOKEN has expired; install the app again and set the new token.",
    "account_inactive": "The app was removed from the workspace; install it again.",
    "expired_trigger_id": "Press the button again.",
    "trigger_expired": "Press the button again.",
}
_TOKEN = {"invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive"}
_PASSING = {
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
    "external_channel_migrating",
}
_UNDRAWABLE = {"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_attachments", "msg_too_long"}
_NO_PLACE = {"channel_not_found", "not_in_channel", "is_archived", "restricted_action", *_TOKEN}
_GONE = {"message_not_found", "cant_update_message", "edit_window_closed", "thread_not_found"}


class MessageGone(Undeliverable):
    """The message that was to be changed is not there any more: post a new one."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the bot is, as ``auth.test`` says."""

    team_id: str
    bot_user: str
    bot_id: str
    team: str = ""
    enterprise_id: str = ""
    whole_enterprise: bool = False


def new_session() -> aiohttp.ClientSession:
    """One session for everything that is said to Slack: connections are kept, JSON is written by msgspec."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=TIMEOUT), json_serialize=lambda value: msgspec.json.encode(value).decode()
    )


class SlackSurface:
    """The Web API. ``start`` first, ``close`` in the end; both once."""

    def __init__(
        self,
        token: str,
        clock: Clock,
        *,
        api_url: str = "https://slack.com/api/",
        session: aiohttp.ClientSession | None = None,
        patience: float = 2.0,
        breaker: Breaker | None = None,
    ) -> None:
        """``patience``: a rate limit of at most so many seconds is waited for, a longer one is raised."""
        self._breaker = breaker or Breaker(SERVICE, clock)
        self._token = token
        self._clock = clock
        self._api_url = api_url if api_url.endswith("/") else f"{api_url}/"
        self._session = session
        self._own_session = session is None
        self._patience = patience
        self._client: AsyncWebClient | None = None
        self._identity: Identity | None = None
        self._checked_at: datetime | None = None
        self._trouble = "Slack: auth.test was not asked yet."
        self._lines: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._quiet_until: dict[str, datetime] = {}
        self._unsure: dict[tuple[str, str], datetime] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count()
        self._files = Files(clock, self._call)

    # ---- who the bot is ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the session and ask ``auth.test`` once. An error does not stop the start; ``problems`` tells it."""
        if self._session is None:
            self._session = new_session()
        await self._introduce()

    async def close(self) -> None:
        if self._own_session and self._session is not None:
            await self._session.close()

    @property
    def identity(self) -> Identity | None:
        """None as long as Slack has not answered ``auth.test``."""
        return self._identity

    @property
    def client(self) -> AsyncWebClient:
        """The shared client, without retries of its own."""
        if self._client is None:
            self._client = AsyncWebClient(
                token=self._token,
                base_url=self._api_url,
                session=self._session,
                timeout=int(TIMEOUT),
                retry_handlers=[],
            )
        return self._client

    async def problems(self) -> list[str]:
        """What keeps Slack from working, one sentence each. A failed ``auth.test`` is tried again, not too often."""
        due = self._checked_at is None or self._clock.now() - self._checked_at >= RECHECK
        if self._trouble and due:
            await self._introduce()
        return [self._trouble] if self._trouble else []

    async def channel_problems(self, channel: str) -> list[str]:
        """Whether the bot can read the channel, which it can only as a member of it (``opsbot doctor``)."""
        if self._trouble:
            return [f"slack.channel: {channel} was not looked at, because Slack does not let the bot in."]
        try:
            await self._call(self.client.conversations_history, channel=channel, limit=1)
        except (TryLater, Undeliverable) as error:
            return [f"slack.channel: {channel} cannot be used: {error}"]
        return []

    async def connection_problems(self, app_token: str) -> list[str]:
        """Whether Slack would open a Socket Mode connection for this token (``opsbot doctor``)."""
        try:
            await self.connection_url(app_token)
        except (TryLater, Undeliverable) as error:
            return [f"Slack: {error}"]
        return []

    async def connection_url(self, app_token: str) -> str:
        """Where to open one Socket Mode connection, within some seconds. Raises TryLater, Undeliverable."""
        asked = "apps.connections.open failed"
        try:
            answer = await self.client.apps_connections_open(app_token=app_token)
        except SlackApiError as error:
            headers = getattr(error.response, "headers", {})
            reason = error.response.get("error") if isinstance(error.response.data, dict) else None
            if error.response.status_code == 429:
                raise TryLater(_retry_after(headers), f"{asked}: ratelimited") from error
            if error.response.status_code >= 500 or reason in (*_PASSING, None):
                raise TryLater(2.0, f"{asked}: {reason or error.response.status_code}") from error
            hint = "SLACK_APP_TOKEN has to be an app-level token with connections:write."
            raise Undeliverable(f"{asked}: {reason}", hint) from error
        except (aiohttp.ClientError, TimeoutError, SlackClientError, ValueError, AttributeError) as error:
            raise TryLater(0.0, f"{asked}: {error or type(error).__name__}") from error
        return str(answer["url"])

    async def user_groups(self) -> dict[str, Group]:
        """The user groups that are not disabled, by id. Raises TryLater, Undeliverable."""
        answer = await self._call(self.client.usergroups_list, include_users=True)
        return {
            group["id"]: Group(str(group.get("handle") or group["id"]), frozenset(group.get("users") or ()))
            for group in answer.get("usergroups") or ()
        }

    async def _introduce(self) -> None:
        self._checked_at = self._clock.now()
        try:
            answer = await self._call(self.client.auth_test)
        except (TryLater, Undeliverable) as error:
            self._trouble = f"Slack: auth.test failed: {error}"
            log.warning("slack.auth_test_failed", reason=error.reason)
            return
        self._identity = Identity(
            team_id=answer.get("team_id") or "",
            bot_user=answer.get("user_id") or "",
            bot_id=answer.get("bot_id") or "",
            team=answer.get("team") or "",
            enterprise_id=answer.get("enterprise_id") or "",
            whole_enterprise=answer.get("is_enterprise_install") is True,
        )
        self._trouble = ""

    # ---- saying ------------------------------------------------------------------------------------------------------

    async def post(
        self, channel: str, thread_ts: str | None, drawn: SlackMessage, *, key: str, look_first: bool = False
    ) -> str:
        """Post the message with this key, once; its ``ts`` is returned.

        ``look_first``: it may be there already, from before a restart. After an attempt whose end is unknown this
        object looks by itself. Raises TryLater (``maybe_posted`` tells the next process to look first), Undeliverable.
        """
        async with self._line(channel):
            since = self._unsure.get((channel, key))
            if (look_first or since) and (found := await self._find(channel, thread_ts, key, since)):
                self._unsure.pop((channel, key), None)
                return found
            return await self._post(channel, thread_ts, drawn, key)

    async def _post(self, channel: str, thread_ts: str | None, drawn: SlackMessage, key: str) -> str:
        metadata = {"event_type": EVENT_TYPE, "event_payload": {"key": key}}
        optional = {"thread_ts": thread_ts} if thread_ts else {}
        asked_at = self._clock.now()
        try:
            answer = await self._say(
                channel, self.client.chat_postMessage, drawn, channel=channel, metadata=metadata, **optional
            )
        except TryLater as error:
            if error.maybe_posted:
                self._unsure[channel, key] = asked_at - SKEW
            raise
        self._unsure.pop((channel, key), None)
        return str(answer["ts"])

    async def update(self, channel: str, ts: str, drawn: SlackMessage) -> bool:
        """Change a message in place. False when a newer change of it was asked for while this one waited its turn.

        Raises MessageGone when there is nothing to change, else TryLater or Undeliverable. May be repeated.
        """
        number = next(self._numbers)
        self._newest[channel, ts] = number
        try:
            async with self._line(channel):
                if self._newest.get((channel, ts)) != number:
                    return False
                await self._say(channel, self.client.chat_update, drawn, channel=channel, ts=ts)
        finally:
            if self._newest.get((channel, ts)) == number:
                del self._newest[channel, ts]
        return True

    async def private(
        self, channel: str, user: str, response_url: str, drawn: SlackMessage, *, thread_ts: str | None = None
    ) -> None:
        """Say it to one person: where they asked, else as a private message of the channel, else directly."""
        thread = {"thread_ts": thread_ts} if thread_ts else {}
        if response_url and self._ours(response_url) and await self._respond(response_url, drawn):
            return
        if not user:
            raise Undeliverable("response_url_expired", "Type the command again.")
        try:
            await self._say(channel, self.client.chat_postEphemeral, drawn, channel=channel, user=user, **thread)
        except Undeliverable as error:
            if error.reason not in ("channel_not_found", "not_in_channel", "user_not_in_channel", "is_archived"):
                raise
            await self._say(user, self.client.chat_postMessage, drawn, channel=user)

    async def open_view(self, trigger_id: str, view: Json) -> None:
        """Show a modal; the trigger is good for three seconds and for one modal."""
        await self._call(self.client.views_open, trigger_id=trigger_id, view=view)

    async def publish_home(self, user: str, view: Json) -> None:
        """Show somebody their home tab as it is now."""
        await self._patiently(f"home of {user}", self.client.views_publish, user_id=user, view=view)

    async def permalink(self, channel: str, ts: str) -> str:
        """The address of a message, for people."""
        answer = await self._call(self.client.chat_getPermalink, channel=channel, message_ts=ts)
        return str(answer["permalink"])

    async def find(self, channel: str, thread_ts: str | None, key: str, since: datetime | None = None) -> str | None:
        """The ``ts`` of our message with this key, looked for in the thread, or else in the channel."""
        async with self._line(channel):
            return await self._find(channel, thread_ts, key, since)

    # ---- how it is said ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _line(self, channel: str) -> AsyncIterator[None]:
        """One call for a channel at a time, in the order in which they were asked for."""
        line = self._lines.setdefault(channel, asyncio.Lock())
        self._waiting[channel] = self._waiting.get(channel, 0) + 1
        try:
            async with line:
                yield
        finally:
            self._waiting[channel] -= 1
            if not self._waiting[channel]:
                del self._waiting[channel], self._lines[channel]

    async def _say(
        self, place: str, method: Callable[..., Awaitable[Any]], drawn: SlackMessage, **arguments: Any
    ) -> Mapping[str, Any]:
        """Call with the message's parts; when Slack refuses how it is drawn, its text goes out rather than nothing."""
        if drawn.files:
            try:
                return await self._say_drawn(place, method, await self._uploaded(drawn), **arguments)
            except Undeliverable as error:
                if error.reason in _UNDRAWABLE and self._files.may_be_processing(drawn):
                    raise TryLater(2.0, "Slack has not looked at a picture yet") from error
                if error.reason in (*_GONE, *_NO_PLACE):
                    raise
                log.warning("slack.refused_picture", reason=error.reason, place=place)
            drawn = without_files(drawn)
        try:
            return await self._say_drawn(place, method, drawn, **arguments)
        except Undeliverable as error:
            if error.reason not in _UNDRAWABLE:
                raise
            log.error("slack.refused_blocks", reason=error.reason, place=place)
            bare: dict[str, Any] = {"text": drawn.text[:3_000]}
            if "ts" in arguments:
                bare |= {"blocks": [], "attachments": []}
            return await self._patiently(place, method, **arguments, **bare)

    async def _uploaded(self, drawn: SlackMessage) -> SlackMessage:
        if self._session is None:
            raise RuntimeError("SlackSurface.start was not called")
        return await self._files.upload(drawn, self.client, self._session)

    async def _say_drawn(
        self, place: str, method: Callable[..., Awaitable[Any]], drawn: SlackMessage, **arguments: Any
    ) -> Mapping[str, Any]:
        looks: dict[str, Any] = {"text": drawn.text, "blocks": drawn.blocks, "unfurl_links": False}
        if drawn.attachments or "ts" in arguments:  # without the list an update would keep the old ones
            looks["attachments"] = drawn.attachments
        if "ts" in arguments or "user" in arguments:  # chat.update and chat.postEphemeral do not unfurl
            del looks["unfurl_links"]
        return await self._patiently(place, method, **arguments, **looks)

    async def _patiently(
        self, place: str, method: Callable[..., Awaitable[Any]], **arguments: Any
    ) -> Mapping[str, Any]:
        """Wait for a short rate limit, remember a long one: until it ends Slack is not asked for this channel."""
        for _ in range(3):
            left = (self._quiet_until.get(place, self._clock.now()) - self._clock.now()).total_seconds()
            if left > self._patience:
                raise TryLater(left, "ratelimited")
            if left > 0:
                await self._clock.sleep(left)
            try:
                answer = await self._call(method, **arguments)
            except TryLater as error:
                if error.reason != "ratelimited":
                    raise
                self._quiet_until[place] = self._clock.now() + timedelta(seconds=error.after)
                continue
            self._quiet_until.pop(place, None)
            return answer
        raise TryLater(self._patience or 1.0, "ratelimited")

    async def _call(self, method: Callable[..., Awaitable[Any]], **arguments: Any) -> Mapping[str, Any]:
        """One request; whatever goes wrong becomes TryLater or Undeliverable, and so does an open breaker."""
        try:
            with self._breaker.calling() as call:
                try:
                    return await self._asked(method, **arguments)
                except TryLater as error:
                    if error.reason == "ratelimited":
                        call.answered()
                    else:
                        call.failed(error.reason)
                    raise
                except Undeliverable:
                    call.answered()
                    raise
        except BreakerOpen as error:
            raise TryLater(error.after, error.message) from None

    async def _asked(self, method: Callable[..., Awaitable[Any]], **arguments: Any) -> Mapping[str, Any]:
        try:
            answer = await method(**arguments)
        except SlackApiError as error:
            raise self._judged(error) from error
        except aiohttp.ClientConnectorError as error:
            raise TryLater(5.0, f"cannot connect to {urlsplit(self._api_url).netloc}: {error.strerror}") from error
        # slack_sdk trips over answers that are not a JSON object with ValueError and AttributeError
        except (aiohttp.ClientError, TimeoutError, SlackClientError, ValueError, AttributeError) as error:
            reason = str(error) or type(error).__name__
            raise TryLater(2.0, f"no answer from Slack: {reason}", maybe_posted=True) from error
        if self._identity is not None:
            self._trouble = ""
        data: Mapping[str, Any] = answer.data
        return data

    def _judged(self, error: SlackApiError) -> Exception:
        response = error.response
        status: int = getattr(response, "status_code", 0) or getattr(response, "status", 0) or 0
        data = getattr(response, "data", None)
        reason = str(data.get("error", "")) if isinstance(data, dict) else ""
        if status == 429 or reason in ("ratelimited", "rate_limited"):
            return TryLater(_retry_after(getattr(response, "headers", {})), "ratelimited")
        if status >= 500 or reason in _PASSING or not reason:
            said = status >= 500 or status == 200 or bool(reason)  # it may have gone through all the same
            return TryLater(2.0, reason or f"Slack answered {status}", maybe_posted=said)
        if reason in _TOKEN:
            self._trouble = f"Slack refuses the bot: {reason}. {_HINTS[reason]}"
        if reason in _GONE:
            return MessageGone(reason, "It was deleted or can no longer be edited.")
        hint = _HINTS.get(reason, "")
        needed = data.get("needed") if isinstance(data, dict) else None
        return Undeliverable(reason, f"{hint} Needed: {needed}." if needed else hint)

    async def _find(self, channel: str, thread_ts: str | None, key: str, since: datetime | None) -> str | None:
        oldest = f"{(since or self._clock.now() - LOOK_BACK).timestamp():.6f}"
        search: dict[str, Any] = {"channel": channel, "include_all_metadata": True, "limit": 200, "oldest": oldest}
        method: Callable[..., Awaitable[Any]] = self.client.conversations_history
        if thread_ts:
            method, search = self.client.conversations_replies, {**search, "ts": thread_ts}
        for _ in range(PAGES):
            try:
                answer = await self._patiently(channel, method, **search)
            except MessageGone:  # the whole thread is gone, and our message with it
                return None
            except TryLater as error:
                raise TryLater(error.after, error.reason, maybe_posted=True) from error
            except Undeliverable as error:
                if error.reason != "missing_scope":
                    raise
                self._trouble = f"Slack: cannot look for lost messages: missing_scope. {error.hint}"
                raise TryLater(60.0, "missing_scope: cannot look for the message", maybe_posted=True) from error
            for message in answer.get("messages") or ():
                if _key(message) == key:
                    return str(message["ts"])
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                break
            search["cursor"] = cursor
        return None

    def _ours(self, response_url: str) -> bool:
        """Whether an address for answers is Slack's, or that of the API that is configured."""
        url, api = urlsplit(response_url), urlsplit(self._api_url)
        if url.netloc == api.netloc and url.scheme == api.scheme:
            return True
        host = url.hostname or ""
        return url.scheme == "https" and host.endswith((".slack.com", ".slack-gov.com"))

    async def _respond(self, response_url: str, drawn: SlackMessage) -> bool:
        """False when the address takes nothing any more: five answers, thirty minutes."""
        body: Json = {"response_type": "ephemeral", "replace_original": False, "text": drawn.text}
        body |= {"blocks": drawn.blocks, "attachments": drawn.attachments}
        if self._session is None:
            raise RuntimeError("SlackSurface.start was not called")
        try:
            async with self._session.post(response_url, json=body, allow_redirects=False) as answer:
                if answer.status == 429:
                    raise TryLater(_retry_after(answer.headers), "ratelimited")
                said = (await answer.text())[:200]
                if answer.status == 200 and not said.startswith('{"ok":false'):
                    return True
                log.info("slack.response_url_refused", status=answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.info("slack.response_url_failed", reason=type(error).__name__)
        return False


def _key(message: Mapping[str, Any]) -> str | None:
    metadata = message.get("metadata")
    if not isinstance(metadata, Mapping) or metadata.get("event_type") != EVENT_TYPE:
        return None
    payload = metadata.get("event_payload")
    return payload.get("key") if isinstance(payload, Mapping) else None


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        seconds = float(headers.get("Retry-After") or 1)
    except (TypeError, ValueError):
        return 1.0
    return min(max(seconds, 0.1), 3600.0) if math.isfinite(seconds) else 1.0
