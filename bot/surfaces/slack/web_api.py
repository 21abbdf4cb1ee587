"""The Web API, asked politely: rate limits are waited for, what fails says whether to try again.

Whatever goes wrong is raised as ``TryLater`` or ``Undeliverable`` (bot/surfaces/delivery.py). Limits:
https://docs.slack.dev/apis/web-api/rate-limits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
from bot.surfaces.slack.errors import HINTS, PASSING, TOKEN, judged, retry_after
from bot.surfaces.slack.groups import Group

log = structlog.get_logger("opsbot.slack")

SERVICE = "Slack"  # the breaker's name
TIMEOUT = 10.0  # seconds for one call
RECHECK = timedelta(seconds=15)  # how often a failed auth.test is tried again by /readyz


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


class WebApi:
    """``start`` first, ``close`` in the end; both once."""

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
        self._quiet_until: dict[str, datetime] = {}

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
                raise TryLater(retry_after(headers), f"{asked}: ratelimited") from error
            if error.response.status_code >= 500 or reason in (*PASSING, None):
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

    # ---- asking ------------------------------------------------------------------------------------------------------

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
            why = judged(error)
            if isinstance(why, Undeliverable) and why.reason in TOKEN:
                self._trouble = f"Slack refuses the bot: {why.reason}. {HINTS[why.reason]}"
            raise why from error
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
