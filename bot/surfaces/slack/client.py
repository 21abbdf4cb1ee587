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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog

from bot.breakers import Breaker
from bot.clock import Clock
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.slack.blocks import SlackMessage
from bot.surfaces.slack.elements import Json
from bot.surfaces.slack.errors import GONE, NO_PLACE, UNDRAWABLE, MessageGone, retry_after
from bot.surfaces.slack.files import Files, without_files
from bot.surfaces.slack.web_api import SERVICE, Identity, WebApi, new_session

__all__ = ["SERVICE", "Identity", "MessageGone", "SlackSurface", "new_session"]

log = structlog.get_logger("opsbot.slack")

EVENT_TYPE = "opsbot_message"
LOOK_BACK = timedelta(hours=24)  # how far a lost message is looked for when nobody knows when it was posted
SKEW = timedelta(minutes=5)  # by which this machine's clock may be ahead of Slack's timestamps
PAGES = 5  # of 200 messages each


class SlackSurface(WebApi):
    """What is said, once, and in order. ``start`` first, ``close`` in the end; both once."""

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
        super().__init__(token, clock, api_url=api_url, session=session, patience=patience, breaker=breaker)
        self._lines: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._unsure: dict[tuple[str, str], datetime] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._numbers = itertools.count()
        self._files = Files(clock, self._call)

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
        drawn = without_files(drawn, "only messages to everybody have files")
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
                if error.reason in UNDRAWABLE and self._files.may_be_processing(drawn):
                    raise TryLater(2.0, "Slack has not looked at a picture yet") from error
                if error.reason in (*GONE, *NO_PLACE):
                    raise
                log.warning("slack.refused_files", reason=error.reason, place=place)
                drawn = without_files(drawn, str(error))
        try:
            return await self._say_drawn(place, method, drawn, **arguments)
        except Undeliverable as error:
            if error.reason not in UNDRAWABLE:
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
        # chat.update and chat.postEphemeral do not unfurl, and what is attached by its link must
        if "ts" in arguments or "user" in arguments or drawn.files:
            del looks["unfurl_links"]
        return await self._patiently(place, method, **arguments, **looks)

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
                    raise TryLater(retry_after(answer.headers), "ratelimited")
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
