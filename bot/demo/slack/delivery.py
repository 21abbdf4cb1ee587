"""``/somas failed with the error "operation_timeout"``: requests from Slack to the bot, signed, with Slack's patience.

An app has three seconds to answer. Commands and interactions are sent once; events are sent again, at once, after a
minute and after five (https://docs.slack.dev/apis/events-api#retries).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from bot.clock import Clock
from bot.demo.slack.signing import signed_headers
from bot.demo.slack.sockets import Sockets

ACK_SECONDS = 3.0
RETRY_DELAYS = (0.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request to the bot. ``status`` is 0 when it did not answer in time or could not be reached."""

    kind: str  # slash, block_actions, view_submission, view_closed, app_mention, message …
    status: int
    seconds: float
    body: bytes = b""  # of the answer
    failure: str = ""  # Slack's word for it, when the delivery failed
    retry: int = 0  # X-Slack-Retry-Num
    no_retry: bool = False

    @property
    def ok(self) -> bool:
        return not self.failure

    def json(self) -> dict[str, Any] | None:
        """The answer's body if it is a JSON object."""
        with contextlib.suppress(ValueError):
            value = json.loads(self.body)
            if isinstance(value, dict):
                return value
        return None


class Courier:
    """Signs, sends and times. ``url`` is the bot's; ``duplicates`` more copies of every request go out beside it.

    With ``sockets`` everything goes through the bot's Socket Mode connections instead.
    """

    def __init__(self, *, secret: str, clock: Clock, request_time: Callable[[], float]) -> None:
        self.url = ""
        self.sockets: Sockets | None = None
        self.duplicates = 0
        self.ack_seconds = ACK_SECONDS
        self.log: list[Delivery] = []
        self._secret = secret
        self._clock = clock
        self._request_time = request_time
        self._session: aiohttp.ClientSession | None = None
        self._retrying: set[asyncio.Task[None]] = set()
        self.on_delivery: Callable[[Delivery], None] = lambda delivery: None

    async def deliver(self, kind: str, body: bytes, content_type: str) -> Delivery:
        """Sends once (and its duplicates beside it); the answer to the first copy counts."""
        first, *_ = await asyncio.gather(
            *(self._send(kind, body, content_type, {}) for _ in range(1 + self.duplicates))
        )
        return first

    async def deliver_event(self, kind: str, body: bytes) -> Delivery:
        """Sends an event; when it is not acknowledged, the retries go on in the background."""
        first = await self.deliver(kind, body, "application/json")
        if not first.ok and not first.no_retry:
            task = asyncio.create_task(self._retry(kind, body, first))
            self._retrying.add(task)
            task.add_done_callback(self._retrying.discard)
        return first

    async def _retry(self, kind: str, body: bytes, last: Delivery) -> None:
        for count, delay in enumerate(RETRY_DELAYS, start=1):
            await self._clock.sleep(delay)
            headers = {"X-Slack-Retry-Num": str(count), "X-Slack-Retry-Reason": _retry_reason(last)}
            last = await self._send(kind, body, "application/json", headers, retry=count)
            if last.ok or last.no_retry:
                return

    async def _send(
        self, kind: str, body: bytes, content_type: str, headers: dict[str, str], retry: int = 0
    ) -> Delivery:
        if self.sockets is not None:
            return await self._send_envelope(self.sockets, kind, body, content_type, retry)
        if not self.url:
            raise RuntimeError("There is no bot to deliver to yet.")
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=True, trust_env=False)
        signed = signed_headers(self._secret, body, int(self._request_time()))
        sent = {**signed, **headers, "Content-Type": content_type, "User-Agent": "Slackbot 1.0 (local stand-in)"}
        started = time.monotonic()
        try:
            async with (
                asyncio.timeout(self.ack_seconds),
                self._session.post(self.url, data=body, headers=sent, allow_redirects=False) as answer,
            ):
                content = await answer.read()
                status, quiet = answer.status, answer.headers.get("X-Slack-No-Retry") == "1"
            failure = "" if status == 200 else "http_service_error"
        except TimeoutError:
            content, status, quiet, failure = b"", 0, False, "operation_timeout"
        except aiohttp.ClientError:
            content, status, quiet, failure = b"", 0, False, "connection_failed"
        done = Delivery(kind, status, time.monotonic() - started, content, failure, retry, quiet)
        self.log.append(done)
        self.on_delivery(done)
        return done

    async def _send_envelope(self, sockets: Sockets, kind: str, body: bytes, content_type: str, retry: int) -> Delivery:
        started = time.monotonic()
        content, status, failure = b"", 0, ""
        try:
            async with asyncio.timeout(self.ack_seconds):
                content, status = await sockets.send(kind, body, content_type, retry=retry), 200
        except TimeoutError:
            failure = "operation_timeout"
        except ConnectionError:
            failure = "connection_failed"
        done = Delivery(kind, status, time.monotonic() - started, content, failure, retry)
        self.log.append(done)
        self.on_delivery(done)
        return done

    async def close(self) -> None:
        for task in tuple(self._retrying):
            task.cancel()
        await asyncio.gather(*self._retrying, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None


def _retry_reason(last: Delivery) -> str:
    if last.failure == "operation_timeout":
        return "http_timeout"
    return "connection_failed" if last.failure == "connection_failed" else "http_error"
