"""One request of the bot to GitHub, and what its answer means: a result, ``TryLater`` or ``Undeliverable``.

Nothing sleeps until a rate limit resets: who would have to wait is told until when.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import TypeVar

from bot.clock import Clock
from bot.handler import BlockingRunner
from bot.surfaces.delivery import Gone, TryLater, Undeliverable
from bot.surfaces.github.connection import Connection, Installation, NoAnswer, Reply
from bot.surfaces.github.limiter import WriteLimiter

T = TypeVar("T")

OUTAGE_PAUSE = 5.0  # seconds until it is worth to ask again after a 5xx or no answer
_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")


def repository_path(repo: str) -> str:
    """``/repos/owner/name``. Raises ``ValueError`` for what is no repository."""
    if not _REPOSITORY.fullmatch(repo):
        raise ValueError(f"{repo!r} is no repository; it looks like owner/name")
    return f"/repos/{repo}"


class Exchange:
    """Requests in the bot's own threads. ``where`` says in each what is asked about, for people.

    All methods raise ``TryLater`` and ``Undeliverable``. What changes something is sent inside ``async with writes``.
    """

    def __init__(
        self, connection: Connection, writes: WriteLimiter, *, clock: Clock, run_blocking: BlockingRunner
    ) -> None:
        self.connection = connection
        self.writes = writes
        self._clock = clock
        self._run_blocking = run_blocking

    async def get(
        self,
        path: str,
        where: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        missing_is: int = 0,
    ) -> Reply:
        self.writes.check()
        call = self._run_blocking(self.connection.request, "GET", path, parameters, headers)
        return await self._meaning("GET", call, where, missing_is)

    async def send(self, verb: str, path: str, where: str, body: object | None = None, *, allowed: int = 0) -> Reply:
        call = self._run_blocking(self.connection.request, verb, path, None, None, body)
        return await self._meaning(verb, call, where, allowed)

    async def query(self, text: str, node_id: str, where: str) -> Reply:
        """A GraphQL query: it changes nothing, although it is sent with POST."""
        body = {"query": text, "variables": {"id": node_id}}
        call = self._run_blocking(self.connection.request, "POST", "/graphql", None, None, body)
        return await self._meaning("GET", call, where)

    async def installation(self) -> Installation:
        """Where the GitHub App is installed."""
        return await self._meaning("GET", self._run_blocking(self.connection.installation), "the app")

    async def _meaning(self, verb: str, call: Awaitable[T], where: str, missing_is: int = 0) -> T:
        """What ``call`` returns, or the exception that says what to do about its failure."""
        try:
            reply = await call
        except NoAnswer as error:
            after = error.after or OUTAGE_PAUSE
            raise TryLater(
                after, f"GitHub does not answer ({error})", maybe_posted=error.sent and verb != "GET"
            ) from None
        if not isinstance(reply, Reply):
            return reply
        if reply.status < 400 or reply.status == missing_is:
            self.writes.succeeded()
            return reply
        if reply.status >= 500:
            raise TryLater(OUTAGE_PAUSE, f"GitHub answered {reply.status}", maybe_posted=verb != "GET")
        said = reply.data.get("message", "") if isinstance(reply.data, dict) else ""
        if is_rate_limit(reply, said):
            after = self.writes.pause(wait_asked(reply, self._clock.now()))
            raise TryLater(after, self.writes.silence)
        raise _undeliverable(reply, said, where)


def is_rate_limit(reply: Reply, said: str) -> bool:
    """Whether GitHub refused for rate, primary or secondary; ``said`` is its message."""
    if reply.status == 429:
        return True
    return reply.status == 403 and (
        "retry-after" in reply.headers
        or reply.headers.get("x-ratelimit-remaining") == "0"
        or "rate limit" in said.casefold()
    )


def wait_asked(reply: Reply, now: datetime) -> float | None:
    """How long GitHub asks us to wait, seconds; None when it does not say (docs: then at least a minute)."""
    headers = reply.headers
    if headers.get("retry-after", "").isdecimal():
        return max(float(headers["retry-after"]), 1.0)
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdecimal():
        return max(float(headers["x-ratelimit-reset"]) - now.timestamp(), 0.0) + 1.0
    return None


def _undeliverable(reply: Reply, said: str, where: str) -> Undeliverable:
    answered = f"GitHub answered {reply.status} for {where}" + (f": {said.rstrip('.')}" if said else "")
    match reply.status:
        case 401:
            hint = "The bot's credentials are not accepted: renew GITHUB_TOKEN, or check the app's id and key."
        case 403 if "locked" in said.casefold():
            hint = "The conversation is locked; unlock it or give the bot write access."
        case 403:
            needed = reply.headers.get("x-accepted-github-permissions", "")
            hint = (
                f"The bot's token or app lacks the permission {needed}."
                if needed
                else "The bot's token or app lacks a permission; it needs Issues: Read and write."
            )
        case 404:
            hint = "It does not exist, or the bot may not see it."
        case 410:
            hint = "It was deleted, or issues are switched off in the repository."
        case _:
            hint = ""
    kind = Gone if reply.status in (404, 410) else Undeliverable
    return kind(answered, hint)
