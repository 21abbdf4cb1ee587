"""The GitHub surface as the bot sees it: everything is a comment."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from bot.incoming import Place
from bot.messages import Message
from bot.surfaces.github.client import GitHubSurface
from bot.surfaces.github.markdown import draw
from bot.surfaces.port import Body

PROBLEMS_KEPT = 15.0  # seconds


class GitHubPort:
    """Draws Markdown and comments with it. ``remote_id`` is ``<comment id>:<marker>``: an edit keeps the marker."""

    name = "github"

    def __init__(self, surface: GitHubSurface, people: Mapping[str, str], api_url: str) -> None:
        self.surface = surface
        self.people = people
        self.web_url = web_url(api_url)
        self._asking = asyncio.Lock()
        self._problems: list[str] = []
        self._ask_again_at = -math.inf  # of the event loop's clock

    def draw(self, message: Message) -> Body:
        return {"body": draw(message, self.people)}

    async def post(self, place: Place, body: Body, key: str, *, maybe_posted: bool) -> str:
        marker = f"<!-- opsbot:run={key} -->"
        comment = await self.surface.post(
            place.channel, int(place.thread), str(body["body"]), marker, maybe_posted=maybe_posted
        )
        return f"{comment}:{key}"

    async def link(self, place: Place, remote_id: str) -> str:
        comment = remote_id.partition(":")[0]
        return f"{self.web_url}/{place.channel}/issues/{place.thread}#issuecomment-{comment}"

    async def update(self, place: Place, remote_id: str, body: Body) -> None:
        comment, _, key = remote_id.partition(":")
        marker = f"<!-- opsbot:run={key} -->"
        await self.surface.update(place.channel, int(comment), str(body["body"]), marker)

    async def answer(
        self, place: Place, body: Body, key: str, *, private_to: str, response_url: str, maybe_posted: bool
    ) -> None:
        """GitHub has no private answers: what is asked in public is answered in public."""
        await self.post(place, body, key, maybe_posted=maybe_posted)

    async def problems(self) -> list[str]:
        """Asked of GitHub now and then: whoever may ask /readyz must not use up the bot's requests of an hour."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now >= self._ask_again_at:
                self._problems = await self.surface.problems()
                self._ask_again_at = now + PROBLEMS_KEPT
            return self._problems


def web_url(api_url: str) -> str:
    """Where people read what the API at ``api_url`` serves; on GitHub Enterprise Server that is the same host."""
    return api_url.rstrip("/").replace("://api.github.com", "://github.com").removesuffix("/api/v3")
