"""``Services.github_api``: a product's requests, with the bot's credentials, its breaker and its pace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bot.clock import Clock
from bot.errors import NotNow, Unavailable
from bot.github_api import GitHubAnswer
from bot.handler import BlockingRunner
from bot.messages import Message
from bot.settings import GitHubSettings
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.connection import Connection, NoAnswer
from bot.surfaces.github.exchange import OUTAGE_PAUSE, is_rate_limit, wait_asked
from bot.surfaces.github.limiter import WriteLimiter
from bot.surfaces.github.markdown import draw
from bot.surfaces.run_links import with_run_links


class RepositoryCalls:
    """``bot.github_api.GitHubApi`` over a ``Connection``. The limiter is the surface's: GitHub counts them together."""

    def __init__(
        self,
        settings: GitHubSettings,
        connection: Connection,
        writes: WriteLimiter,
        *,
        clock: Clock,
        run_blocking: BlockingRunner,
    ) -> None:
        self.repository = settings.repository
        self.web_url = settings.home
        self._connection = connection
        self._writes = writes
        self._clock = clock
        self._run_blocking = run_blocking

    async def __call__(
        self,
        verb: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> GitHubAnswer:
        try:
            if verb == "GET":
                self._writes.check()
                return await self._send(verb, path, parameters, body)
            async with self._writes:
                return await self._send(verb, path, parameters, body)
        except TryLater as later:
            reason = f"GitHub: {later.reason}; it may be asked again in {later.after:.0f} s."
            raise NotNow(reason, later.after, maybe_done=later.maybe_posted) from None
        except Undeliverable as error:
            raise Unavailable(f"GitHub: {error}") from None

    async def _send(
        self, verb: str, path: str, parameters: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> GitHubAnswer:
        whole = f"/repos/{self.repository}{path}"
        try:
            reply = await self._run_blocking(self._connection.request, verb, whole, parameters, None, body)
        except NoAnswer as error:
            raise TryLater(
                error.after or OUTAGE_PAUSE, f"no answer ({error})", maybe_posted=error.sent and verb != "GET"
            ) from None
        if reply.status >= 500:
            raise TryLater(OUTAGE_PAUSE, f"it answered {reply.status}", maybe_posted=verb != "GET")
        said = reply.data.get("message", "") if isinstance(reply.data, dict) else ""
        if reply.status >= 400 and is_rate_limit(reply, said):
            after = self._writes.pause(wait_asked(reply, self._clock.now()))
            raise TryLater(after, "its rate limit is used up")
        self._writes.succeeded()
        return GitHubAnswer(reply.status, reply.data, reply.headers)

    def draw(self, message: Message) -> str:
        return draw(with_run_links(message, self.web_url), {})
