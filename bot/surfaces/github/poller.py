"""Commands that no webhook brought: the repository's comments and issues since a cursor, asked for again and again.

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
from bot.handler import BlockingRunner
from bot.incoming import Incoming
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.changes import CommentPage
from bot.surfaces.github.client import GitHubSurface
from bot.surfaces.github.payloads import Accept, Comment, Issue, Reader, Text, is_person

Load = Callable[[str], Awaitable[str]]
Save = Callable[[str, str], Awaitable[None]]
Take = Callable[[dict[str, Any]], Awaitable[int]]

COMMENTS, ISSUES = "github comments", "github issues"  # the names of the cursors
BEGAN = "github began"  # of the instant since which the bot listens
PAGE = 100
FORGOTTEN_AFTER = timedelta(days=29)  # what was handled is remembered for 30: an edit must not run an old command again
OVERLAP = timedelta(seconds=5)  # a list of GitHub's can show a comment later than one that was written after it
REMEMBERED_KEYS = 10_000
LONGEST_PAUSE = 600.0  # seconds between two tries while GitHub refuses
_log = structlog.get_logger(__name__)


class CommentPoller:
    """Calls ``accept`` for each command of a person that was written or edited since the cursor.

    ``load`` gives a stored cursor by its name, an ISO 8601 time, empty at the very first start: then it begins with
    what is written from now on. ``save`` stores it, and only after everything before it was accepted. A comment that is
    older than the first start never runs, however it is edited later: nobody can tell which of its commands are new.
    (The webhook can: GitHub tells it the text before the edit.)
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
        run_blocking: BlockingRunner,
        seconds: float = 60.0,
        mention: str = "opsbot",
    ) -> None:
        self._surface = surface
        self._accept = accept
        self._load = load
        self._save = save
        self._clock = clock
        self._seconds = seconds
        self._reader = Reader(tuple(sorted(roots)), mention, run_blocking)
        self._etags: dict[str, tuple[str, str]] = {}  # by feed: of the first page at this cursor
        self._accepted: OrderedDict[str, None] = OrderedDict()
        self._began: datetime | None = None

    async def run(self) -> None:
        """Poll until cancelled."""
        failures = 0
        while True:
            try:
                await self.poll()
                failures, pause = 0, self._seconds
            except TryLater as error:
                pause = max(error.after, self._seconds)
                until = self._clock.now() + timedelta(seconds=pause)
                _log.warning("github.poller.waits", why=error.reason, until=_iso(until))
            except Exception:
                # The bot stays up without GitHub; what was missed is read when it is back.
                failures += 1
                pause = min(self._seconds * 2**failures, LONGEST_PAUSE)
                _log.exception("github.poller.failed", again_in=pause)
            await self._clock.sleep(pause)

    async def poll(self) -> int:
        """Read everything that changed since the cursors; how many new commands were accepted.

        Raises ``TryLater``, ``Undeliverable`` and what ``accept`` raises; a cursor stays before what is not stored.
        """
        await self._begin()
        comments = await self._follow(COMMENTS, self._surface.changes.comments_since, self._comment)
        return comments + await self._follow(ISSUES, self._surface.changes.issues_since, self._issue)

    async def _begin(self) -> None:
        if self._began is None:
            stored = await self._load(BEGAN)
            if not stored:  # a bot that had a cursor has listened at least since then
                stored = await self._load(COMMENTS) or _iso(self._clock.now() - timedelta(seconds=1))
                await self._save(BEGAN, stored)
            self._began = datetime.fromisoformat(stored)

    async def _follow(self, name: str, listed: Callable[..., Awaitable[CommentPage]], take: Take) -> int:
        since = await self._load(name)
        if not since:
            await self._save(name, _iso(self._clock.now() - timedelta(seconds=1)))
            return 0
        await self._surface.identify()
        accepted, number = 0, 1
        while True:
            at, tag = self._etags.get(name, ("", ""))
            page = await listed(since, page=number, etag=tag if number == 1 and at == since else "")
            if page.comments is None:
                return accepted
            for raw in page.comments:
                accepted += await take(raw)
            last = max(since, _before(page.comments[-1]["updated_at"])) if page.comments else since
            # Moving the cursor instead of the page number: a comment that changes meanwhile moves to the end of the
            # list and would push another one over the page's edge. Only a page of very few seconds needs numbers.
            moved = last != since
            if moved:
                await self._save(name, last)
            if len(page.comments) < PAGE:
                if number == 1 and not moved:
                    self._etags[name] = (since, page.etag)
                return accepted
            since, number = (last, 1) if moved else (since, number + 1)

    async def _comment(self, raw: dict[str, Any]) -> int:
        comment = msgspec.convert(raw, Comment)
        issue = comment.issue_url.rpartition("/")[2]
        if comment.user is None or not issue.isdecimal() or self._too_old(comment.created_at):
            return 0
        text = Text(self._surface.repository, int(issue), comment.id, comment.user, comment.body or "")
        return await self._text(text, comment.node_id, edited=comment.created_at != comment.updated_at)

    async def _issue(self, raw: dict[str, Any]) -> int:
        issue = msgspec.convert(raw, Issue)
        if issue.user is None or "pull_request" in raw or self._too_old(issue.created_at):
            return 0
        text = Text(self._surface.repository, issue.number, 0, issue.user, issue.body or "")
        return await self._text(text, issue.node_id, edited=issue.created_at != issue.updated_at)

    def _too_old(self, created_at: datetime | None) -> bool:
        if created_at is None:
            return False
        return created_at < (self._began or created_at) or self._clock.now() - created_at > FORGOTTEN_AFTER

    async def _text(self, text: Text, node_id: str, *, edited: bool) -> int:
        if not is_person(text.by, self._surface.own_login):
            return 0
        commands = await self._reader.commands(text, self._clock.now())
        unknown = [command for command in commands if command.key not in self._accepted]
        if not unknown or (edited and not await self._written_by(text.by.id, node_id)):
            return 0
        return sum([await self._take(command) for command in unknown])

    async def _written_by(self, author: int, node_id: str) -> bool:
        """Whoever may edit the comments of others could put a command into the mouth of an admin.

        The webhook says who edited; the lists do not, so the editors of what was edited are asked for.
        """
        try:
            editors = await self._surface.changes.editors(node_id)
        except Undeliverable as error:
            _log.warning("github.poller.editors_unknown", node=node_id, error=str(error))
            return False
        if editors is not None and editors <= {author}:
            return True
        _log.warning("github.poller.edited_by_others", node=node_id)
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
