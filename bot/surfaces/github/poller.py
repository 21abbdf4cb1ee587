"""Commands that no webhook brought: the repository's comments since a cursor, asked for again and again.

GitHub never sends a lost delivery again by itself, and a bot without a public address gets none at all. The poller
makes the same ``Incoming`` keys as the webhook, so a command that both see runs once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog

from bot.clock import Clock
from bot.incoming import Incoming
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.client import CommentPage, GitHubSurface
from bot.surfaces.github.webhook import Accept, Comment, incoming_from, is_person

Load = Callable[[], Awaitable[str]]
Save = Callable[[str], Awaitable[None]]

PAGE = 100
FORGOTTEN_AFTER = timedelta(days=29)  # what was handled is remembered for 30: an edit must not run an old command again
OVERLAP = timedelta(seconds=5)  # a list of GitHub's can show a comment later than one that was written after it
REMEMBERED_KEYS = 10_000
LONGEST_PAUSE = 600.0  # seconds between two tries while GitHub refuses
_log = structlog.get_logger(__name__)


class CommentPoller:
    """Calls ``accept`` for each command of a person that was written or edited since the cursor.

    ``load`` gives the stored cursor, an ISO 8601 time, empty at the very first start: then it begins with the comments
    of now, old commands are not run. ``save`` stores it, and only after everything before it was accepted.
    """

    def __init__(
        self,
        surface: GitHubSurface,
        *,
        roots: Collection[str],
        accept: Accept,
        load: Load,
        save: Save,
        clock: Clock,
        seconds: float = 60.0,
        mention: str = "opsbot",
    ) -> None:
        self._surface = surface
        self._roots = frozenset(roots)
        self._accept = accept
        self._load = load
        self._save = save
        self._clock = clock
        self._seconds = seconds
        self._mention = mention
        self._etags: dict[str, str] = {}  # of the one address that is asked again: the first page at the cursor
        self._accepted: OrderedDict[str, None] = OrderedDict()

    async def run(self) -> None:
        """Poll until cancelled."""
        failures = 0
        while True:
            try:
                await self.poll()
                failures, pause = 0, self._seconds
            except TryLater as error:
                pause = max(error.after, self._seconds)
            except Exception:
                # The bot stays up without GitHub; what was missed is read when it is back.
                failures += 1
                pause = min(self._seconds * 2**failures, LONGEST_PAUSE)
                _log.exception("github.poller.failed", again_in=pause)
            await self._clock.sleep(pause)

    async def poll(self) -> int:
        """Read everything that changed since the cursor; how many new commands were accepted.

        Raises ``TryLater``, ``Undeliverable`` and what ``accept`` raises; the cursor stays before what is not stored.
        """
        since = await self._load()
        if not since:
            await self._save(_iso(self._clock.now() - timedelta(seconds=1)))
            return 0
        await self._surface.identify()
        accepted, number = 0, 1
        while True:
            page = await self._page(since, number)
            if page.comments is None:
                return accepted
            for raw in page.comments:
                accepted += await self._comment(raw)
            last = max(since, _before(page.comments[-1]["updated_at"])) if page.comments else since
            # Moving the cursor instead of the page number: a comment that changes meanwhile moves to the end of the
            # list and would push another one over the page's edge. Only a page of very few seconds needs numbers.
            moved = last != since
            if moved:
                await self._save(last)
            if len(page.comments) < PAGE:
                if number == 1 and not moved:
                    self._etags = {since: page.etag}
                return accepted
            since, number = (last, 1) if moved else (since, number + 1)

    async def _page(self, since: str, number: int) -> CommentPage:
        etag = self._etags.get(since, "") if number == 1 else ""
        return await self._surface.comments_since(since, page=number, etag=etag)

    async def _comment(self, raw: dict[str, Any]) -> int:
        comment = msgspec.convert(raw, Comment)
        author = comment.user
        issue = comment.issue_url.rpartition("/")[2]
        if author is None or not issue.isdecimal() or not is_person(author, self._surface.own_login):
            return 0
        if comment.created_at and self._clock.now() - comment.created_at > FORGOTTEN_AFTER:
            return 0
        incoming = incoming_from(
            repository=self._surface.repository,
            issue=int(issue),
            comment=comment,
            by=author,
            before=None,
            roots=self._roots,
            mention=self._mention,
            received_at=self._clock.now(),
        )
        unknown = [command for command in incoming if command.key not in self._accepted]
        if not unknown or not await self._written_by_author(comment, author.id):
            return 0
        return sum([await self._take(command) for command in unknown])

    async def _written_by_author(self, comment: Comment, author: int) -> bool:
        """Whoever may edit the comments of others could put a command into the mouth of an admin.

        The webhook says who edited; the list of comments does not, so an edited comment's editors are asked for.
        """
        if comment.created_at == comment.updated_at:
            return True
        try:
            editors = await self._surface.editors(comment.node_id)
        except Undeliverable as error:
            _log.warning("github.poller.editors_unknown", comment=comment.id, error=str(error))
            return False
        if editors is not None and editors <= {author}:
            return True
        _log.warning("github.poller.edited_by_others", comment=comment.id)
        return False

    async def _take(self, command: Incoming) -> int:
        new = await self._accept(command)
        self._accepted[command.key] = None
        if len(self._accepted) > REMEMBERED_KEYS:
            self._accepted.popitem(last=False)
        await asyncio.sleep(0)  # a long page leaves the loop to others
        return 1 if new else 0


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _before(updated_at: str) -> str:
    return _iso(datetime.fromisoformat(updated_at) - OVERLAP)
