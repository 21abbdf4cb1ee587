"""The GitHub surface as the bot sees it: everything is a comment."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

import structlog

from bot.incoming import Place
from bot.messages import Message
from bot.settings import GitHubSettings
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.client import GitHubSurface
from bot.surfaces.github.markdown import draw
from bot.surfaces.port import Body, FiledIssue, Wanted
from bot.surfaces.run_links import with_run_links

PROBLEMS_KEPT = 15.0  # seconds
ISSUE_PATIENCE = 2.0  # seconds; the start of a run waits for it

log = structlog.get_logger("opsbot.github")


class GitHubPort:
    """Draws Markdown and comments with it. ``remote_id`` is ``<comment id>:<marker>``: an edit keeps the marker."""

    name = "github"

    def __init__(self, surface: GitHubSurface, people: Mapping[str, str], settings: GitHubSettings) -> None:
        self.surface = surface
        self.people = people
        self.web_url = settings.web_url
        self.home = settings.home
        self._asking = asyncio.Lock()
        self._issues: set[int] = set()  # known to be there
        self._problems: list[str] = []
        self._ask_again_at = -math.inf  # of the event loop's clock

    def draw(self, message: Message) -> Body:
        return {"body": draw(with_run_links(message, self.home), self.people)}

    async def post(self, place: Place, body: Body, key: str, *, maybe_posted: bool) -> str:
        marker = f"<!-- opsbot:run={key} -->"
        comment = await self.surface.post(
            place.channel, int(place.thread), str(body["body"]), marker, maybe_posted=maybe_posted
        )
        return f"{comment}:{key}"

    async def link(self, place: Place, remote_id: str) -> str:
        comment = remote_id.partition(":")[0]
        return f"{self.web_url}/{place.channel}/issues/{place.thread}#issuecomment-{comment}"

    async def file_issue(
        self, title: str, body: Body, labels: Sequence[str], key: str, *, maybe_filed: bool
    ) -> FiledIssue:
        marker = f"<!-- opsbot:issue={key} -->"
        return await self.surface.file_issue(
            self.surface.repository, title, str(body["body"]), labels, marker, maybe_filed=maybe_filed
        )

    async def issue(self, number: int) -> Place | None:
        """Where to write about an issue. When GitHub cannot say in time, it is taken to be there."""
        place = Place(surface="github", channel=self.surface.repository, thread=str(number))
        if number not in self._issues:
            try:
                async with asyncio.timeout(ISSUE_PATIENCE):
                    if not await self.surface.has_issue(place.channel, number):
                        return None
            except (TimeoutError, TryLater, Undeliverable) as error:
                log.warning("nobody can tell whether an issue is there", issue=number, reason=str(error))
                return place
            self._issues.add(number)
        return place

    async def add_label(self, place: Place, label: str, wanted: Wanted) -> None:
        await self.surface.add_label(place.channel, int(place.thread), label, wanted)

    async def remove_label(self, place: Place, label: str) -> None:
        await self.surface.remove_label(place.channel, int(place.thread), label)

    async def fold_away(self, place: Place, remote_id: str) -> None:
        await self.surface.minimise(place.channel, int(remote_id.partition(":")[0]))

    async def react(self, place: Place, comment_id: int, reaction: str, *, instead_of: str) -> str:
        issue = int(place.thread)
        given = await self.surface.react(place.channel, issue, comment_id, reaction, instead_of=int(instead_of or 0))
        return str(given)

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
