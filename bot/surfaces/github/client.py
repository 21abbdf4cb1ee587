"""What the bot writes into GitHub issues: one comment per run, edited in place, and reactions to people's comments.

Every method ends in a result, in ``TryLater`` or in ``Undeliverable``; none sleeps until a rate limit resets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import parse_qs, quote, urlsplit

from bot.clock import Clock
from bot.handler import BlockingRunner
from bot.settings import GitHubSettings
from bot.surfaces.delivery import Gone, TryLater, Undeliverable
from bot.surfaces.github.changes import Changes
from bot.surfaces.github.connection import Connection, Reply
from bot.surfaces.github.exchange import Exchange, repository_path
from bot.surfaces.github.limiter import WriteLimiter
from bot.surfaces.github.permissions import Permissions
from bot.surfaces.port import FiledIssue, Wanted

MAX_COMMENT = 65_536  # characters; GitHub refuses more with 422
PAGES_OF_ISSUES = 3  # of 100, when one that may have been filed is looked for
LABEL_COLOUR = "d93f0b"
LABEL_DESCRIPTION = "opsbot has called somebody, and nobody has acknowledged it yet"
FOLDING_REFUSED = timedelta(hours=1)  # until it is worth to ask again whether comments may be minimised
_MARKER = re.compile(r"opsbot:(?:(?!--)[!-;=?-~])+(?<!-)")  # what cannot end an HTML comment


def hidden(marker: str) -> str:
    """``opsbot:run=01J…`` as the HTML comment that nobody sees; the whole comment may be given too.

    Raises ``ValueError`` for anything that is no marker or could end the HTML comment.
    """
    inner = marker.removeprefix("<!--").removesuffix("-->").strip() if marker.startswith("<!--") else marker
    if not _MARKER.fullmatch(inner):
        raise ValueError(f"{marker!r} is no marker; it looks like opsbot:run=01J…")
    return f"<!-- {inner} -->"


def with_marker(body: str, marker: str) -> str:
    """``body`` and the hidden marker by which the bot finds its comment again."""
    return f"{body}\n\n{hidden(marker)}" if marker else body


async def _always() -> bool:
    return True


class GitHubSurface:
    """The GitHub side of the bot. Make one per process, close it at the end."""

    def __init__(
        self,
        settings: GitHubSettings,
        *,
        clock: Clock,
        run_blocking: BlockingRunner,
        connection: Connection | None = None,
        writes: WriteLimiter | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._run_blocking = run_blocking
        self._connection = connection or Connection(settings)
        self._writes = writes or WriteLimiter(clock)
        self._exchange = Exchange(self._connection, self._writes, clock=clock, run_blocking=run_blocking)
        self.permissions = Permissions(self._exchange, clock)
        self.changes = Changes(self._exchange, settings.repository)
        self._login = ""
        self._login_known = asyncio.Lock()
        self._labels_known: set[str] = set()
        self._folds_again_at: datetime | None = None

    @property
    def repository(self) -> str:
        return self._settings.repository

    @property
    def is_app(self) -> bool:
        """Whether the bot is a GitHub App; else it has a token."""
        return self._connection.is_app

    @property
    def own_login(self) -> str:
        """The bot's own name, empty until ``identify`` has asked."""
        return self._login

    @property
    def pausing(self) -> bool:
        """Whether a write waits for nothing but its time."""
        return self._writes.pausing

    async def identify(self) -> str:
        """The bot's own login (``opsbot[bot]`` for an app); empty when its token may not ask."""
        async with self._login_known:
            if not self._login:
                if self._connection.is_app:
                    installation = await self._exchange.installation()
                    self._login = f"{installation.slug}[bot]"
                else:
                    try:
                        self._login = (await self._exchange.get("/user", "the bot's own account")).data["login"]
                    except Undeliverable as error:
                        if "403" not in error.reason:  # the token of a workflow has no user
                            raise
        return self._login

    async def post(self, repo: str, issue: int, body: str, marker: str, *, maybe_posted: bool = False) -> int:
        """Comment on an issue; the comment's id.

        ``marker`` (``opsbot:run=01J…``) is hidden in it. With ``maybe_posted`` an existing comment of ours with this
        marker is looked for first. Raises ``TryLater``, which says what to pass next time, and ``Undeliverable``.
        """
        text = self._text(body, marker)
        path = f"{repository_path(repo)}/issues/{int(issue)}/comments"
        where = f"issue #{issue} of {repo}"
        async with self._writes:
            if maybe_posted and marker and (existing := await self._find(path, marker, where)):
                return existing
            reply = await self._exchange.send("POST", path, where, {"body": text})
        return int(reply.data["id"])

    async def file_issue(
        self, repo: str, title: str, body: str, labels: Sequence[str], marker: str, *, maybe_filed: bool = False
    ) -> FiledIssue:
        """Open an issue. With ``maybe_filed`` an open one of ours with this marker, among the newest, is taken instead.

        Raises ``TryLater``, which says what to pass next time, and ``Undeliverable``.
        """
        text = self._text(body, marker)
        path, where = f"{repository_path(repo)}/issues", f"the issues of {repo}"
        async with self._writes:
            if maybe_filed and (existing := await self._find_issue(path, marker, where)):
                return existing
            reply = await self._exchange.send(
                "POST", path, where, {"title": title, "body": text, "labels": list(labels)}
            )
        return FiledIssue(int(reply.data["number"]), str(reply.data["html_url"]))

    async def update(self, repo: str, comment_id: int, body: str, marker: str = "") -> None:
        """Replace the text of our comment. Give the marker again: the new text replaces it too."""
        text = self._text(body, marker)
        async with self._writes:
            path = f"{repository_path(repo)}/issues/comments/{int(comment_id)}"
            await self._exchange.send("PATCH", path, f"comment {comment_id} of {repo}", {"body": text})

    async def react(self, repo: str, issue: int, comment_id: int, reaction: str, *, instead_of: int = 0) -> int:
        """React to a comment, with ``comment_id`` 0 to the issue's own text, once however often it is asked.

        The reaction's id. ``instead_of`` is the id of an earlier reaction of ours, which is taken back.
        """
        path = f"{repository_path(repo)}/issues/" + (f"comments/{int(comment_id)}" if comment_id else str(int(issue)))
        path += "/reactions"
        where = f"comment {comment_id} of {repo}" if comment_id else f"issue #{issue} of {repo}"
        async with self._writes:
            given = int((await self._exchange.send("POST", path, where, {"content": reaction})).data["id"])
        if instead_of and instead_of != given:
            async with self._writes:
                await self._exchange.send("DELETE", f"{path}/{int(instead_of)}", where, allowed=404)
        return given

    async def has_issue(self, repo: str, number: int) -> bool:
        """Whether there is an issue of this number to write on. Raises ``TryLater`` and ``Undeliverable``."""
        try:
            reply = await self._exchange.get(
                f"{repository_path(repo)}/issues/{int(number)}", f"issue #{number} of {repo}"
            )
        except Gone:
            return False
        return isinstance(reply.data, dict) and reply.data.get("number") == number  # one that was moved redirects

    async def add_label(self, repo: str, number: int, label: str, wanted: Wanted = _always) -> None:
        """Label an issue; the label is made when the repository has none of this name.

        ``wanted`` is asked when the turn of each write has come: in line may be waited for 20 s.
        """
        path, where = repository_path(repo), f"issue #{number} of {repo}"
        if label not in self._labels_known:
            async with self._writes:
                if not await wanted():
                    return
                new = {"name": label, "color": LABEL_COLOUR, "description": LABEL_DESCRIPTION}
                await self._exchange.send(
                    "POST", f"{path}/labels", f"the labels of {repo}", new, allowed=422
                )  # it is there
            self._labels_known.add(label)
        async with self._writes:
            if await wanted():
                await self._exchange.send("POST", f"{path}/issues/{int(number)}/labels", where, {"labels": [label]})

    async def remove_label(self, repo: str, number: int, label: str) -> None:
        """Take a label off an issue, if it is there."""
        path = f"{repository_path(repo)}/issues/{int(number)}/labels/{quote(label, safe='')}"
        async with self._writes:
            await self._exchange.send("DELETE", path, f"issue #{number} of {repo}", allowed=404)

    async def minimise(self, repo: str, comment_id: int) -> None:
        """Fold a comment away as outdated.

        Raises ``Undeliverable`` when the bot may not; after that GitHub is not asked again for an hour.
        """
        now, where = self._clock.now(), f"comment {comment_id} of {repo}"
        if self._folds_again_at and now < self._folds_again_at:
            raise Undeliverable("GitHub does not let the bot minimise comments")
        found = await self._exchange.get(f"{repository_path(repo)}/issues/comments/{int(comment_id)}", where)
        async with self._writes:
            query = {"query": _MINIMISE, "variables": {"id": found.data["node_id"]}}
            reply = await self._exchange.send("POST", "/graphql", where, query)
        errors = (reply.data or {}).get("errors") or []
        if any(error.get("type") == "RATE_LIMITED" for error in errors):
            raise TryLater(self._writes.pause(None), "GitHub's rate limit is used up")
        if any(error.get("type") == "FORBIDDEN" for error in errors):
            self._folds_again_at = now + FOLDING_REFUSED
        if errors:
            raise Undeliverable(f"GitHub does not minimise {where}: {errors[0].get('message', 'no reason given')}")

    async def call(self, verb: str, path: str, where: str, parameters: Mapping[str, str] | None = None) -> Reply:
        """One request of GitHub's REST API, with the app's own key below ``/app``; ``where`` is for people.

        Raises ``TryLater`` and ``Undeliverable``. Whatever is not GET waits for its turn among the writes.
        """
        if verb == "GET":
            return await self._exchange.get(path, where, parameters)
        async with self._writes:
            return await self._exchange.send(verb, path, where)

    async def problems(self) -> list[str]:
        """What keeps the bot from working on the repository right now, one sentence each; empty when all is well."""
        found: list[str] = []
        try:
            await self.identify()
            repository = (await self._exchange.get(repository_path(self.repository), self.repository)).data
            if not repository.get("has_issues", True):
                found.append(f"Issues are switched off in {self.repository}; switch them on in its settings.")
            if repository.get("archived"):
                found.append(f"{self.repository} is archived, so nobody can comment on its issues.")
            if self._connection.is_app:
                installation = await self._exchange.installation()
                if installation.permissions.get("issues") != "write":
                    found.append(
                        "The GitHub App needs the permission Issues: Read and write; an owner of the repository must "
                        "accept the change in the settings of the installation."
                    )
        except TryLater as error:
            found.append(f"GitHub does not answer for now ({error.reason}); asked again in {error.after:.0f} s.")
        except Undeliverable as error:
            found.append(str(error))
        if self.permissions.problem:
            found.append(self.permissions.problem)
        return found

    async def close(self) -> None:
        await self._run_blocking(self._connection.close)

    def _text(self, body: str, marker: str) -> str:
        text = with_marker(body, marker)
        if len(text) > MAX_COMMENT:
            raise Undeliverable(f"The comment has {len(text)} characters, GitHub takes {MAX_COMMENT}")
        return text

    async def _find(self, path: str, marker: str, where: str) -> int:
        """Our comment with this marker, 0 when there is none. The last page first: that is where it should be."""
        own = (await self.identify()).casefold()
        sought = hidden(marker)
        first = await self._exchange.get(path, where, parameters={"per_page": "100"})
        pages = _last_page(first.headers.get("link", ""))
        for page in range(pages, 0, -1):
            reply = (
                first if page == 1 else await self._exchange.get(path, where, {"per_page": "100", "page": str(page)})
            )
            for comment in reversed(reply.data):
                user = comment.get("user") or {}
                ours = user.get("login", "").casefold() == own if own else user.get("type") == "Bot"
                if ours and sought in (comment.get("body") or ""):
                    return int(comment["id"])
        return 0

    async def _find_issue(self, path: str, marker: str, where: str) -> FiledIssue | None:
        """Our open issue with this marker; it is looked for among the 300 newest."""
        own = (await self.identify()).casefold()
        for page in range(1, PAGES_OF_ISSUES + 1):
            parameters = {"state": "open", "sort": "created", "direction": "desc", "per_page": "100", "page": str(page)}
            issues = (await self._exchange.get(path, where, parameters)).data
            for issue in issues:
                user = issue.get("user") or {}
                ours = user.get("login", "").casefold() == own if own else user.get("type") == "Bot"
                if ours and hidden(marker) in (issue.get("body") or ""):
                    return FiledIssue(int(issue["number"]), str(issue["html_url"]))
            if len(issues) < 100:
                break
        return None


_MINIMISE = """
mutation($id: ID!) { minimizeComment(input: {subjectId: $id, classifier: OUTDATED}) {
  minimizedComment { isMinimized }
} }
"""


def _last_page(link: str) -> int:
    """The page of ``rel="last"`` of a Link header, 1 without one."""
    for part in link.split(","):
        if 'rel="last"' in part:
            address = part[part.find("<") + 1 : part.find(">")]
            return int(parse_qs(urlsplit(address).query).get("page", ["1"])[0])
    return 1
