"""What the bot writes into GitHub issues: one comment per run, edited in place, and reactions to people's comments.

Every method ends in a result, in ``TryLater`` or in ``Undeliverable``; none sleeps until a rate limit resets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import structlog

from bot.clock import Clock
from bot.handler import BlockingRunner
from bot.settings import GitHubSettings
from bot.surfaces.delivery import Gone, TryLater, Undeliverable
from bot.surfaces.github.connection import Connection, NoAnswer, Reply
from bot.surfaces.github.limiter import WriteLimiter
from bot.surfaces.port import FiledIssue

T = TypeVar("T")

MAX_COMMENT = 65_536  # characters; GitHub refuses more with 422
PERMISSION_LIFETIME = timedelta(seconds=60)
PAGES_OF_ISSUES = 3  # of 100, when one that may have been filed is looked for
LABEL_COLOUR = "d93f0b"
LABEL_DESCRIPTION = "opsbot has called somebody, and nobody has acknowledged it yet"
FOLDING_REFUSED = timedelta(hours=1)  # until it is worth to ask again whether comments may be minimised
OUTAGE_PAUSE = 5.0  # seconds until it is worth to ask again after a 5xx or no answer
_MARKER = re.compile(r"opsbot:(?:(?!--)[!-;=?-~])+(?<!-)")  # what cannot end an HTML comment
_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\[bot\])?")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CommentPage:
    """Comments as GitHub listed them, oldest change first; None when nothing changed since ``etag``."""

    comments: list[dict[str, Any]] | None
    etag: str


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
        self._permissions: dict[tuple[str, str, str], tuple[datetime, str]] = {}
        self._permission_problem = ""
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
                    installation = await self._guard(
                        "GET", self._run_blocking(self._connection.installation), "the app"
                    )
                    self._login = f"{installation.slug}[bot]"
                else:
                    try:
                        self._login = (await self._get("/user", "the bot's own account")).data["login"]
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
        path = f"{_repo(repo)}/issues/{int(issue)}/comments"
        where = f"issue #{issue} of {repo}"
        async with self._writes:
            if maybe_posted and marker and (existing := await self._find(path, marker, where)):
                return existing
            reply = await self._send("POST", path, where, {"body": text})
        return int(reply.data["id"])

    async def file_issue(
        self, repo: str, title: str, body: str, labels: Sequence[str], marker: str, *, maybe_filed: bool = False
    ) -> FiledIssue:
        """Open an issue. With ``maybe_filed`` an open one of ours with this marker, among the newest, is taken instead.

        Raises ``TryLater``, which says what to pass next time, and ``Undeliverable``.
        """
        text = self._text(body, marker)
        path, where = f"{_repo(repo)}/issues", f"the issues of {repo}"
        async with self._writes:
            if maybe_filed and (existing := await self._find_issue(path, marker, where)):
                return existing
            reply = await self._send("POST", path, where, {"title": title, "body": text, "labels": list(labels)})
        return FiledIssue(int(reply.data["number"]), str(reply.data["html_url"]))

    async def update(self, repo: str, comment_id: int, body: str, marker: str = "") -> None:
        """Replace the text of our comment. Give the marker again: the new text replaces it too."""
        text = self._text(body, marker)
        async with self._writes:
            path = f"{_repo(repo)}/issues/comments/{int(comment_id)}"
            await self._send("PATCH", path, f"comment {comment_id} of {repo}", {"body": text})

    async def react(self, repo: str, comment_id: int, reaction: str, *, instead_of: int = 0) -> int:
        """React to a comment, once however often it is asked; the reaction's id.

        ``instead_of`` is the id of an earlier reaction of ours, which is taken back.
        """
        path = f"{_repo(repo)}/issues/comments/{int(comment_id)}/reactions"
        where = f"comment {comment_id} of {repo}"
        async with self._writes:
            given = int((await self._send("POST", path, where, {"content": reaction})).data["id"])
        if instead_of and instead_of != given:
            async with self._writes:
                await self._send("DELETE", f"{path}/{int(instead_of)}", where, allowed=404)
        return given

    async def has_issue(self, repo: str, number: int) -> bool:
        """Whether there is an issue of this number to write on. Raises ``TryLater`` and ``Undeliverable``."""
        try:
            reply = await self._get(f"{_repo(repo)}/issues/{int(number)}", f"issue #{number} of {repo}")
        except Gone:
            return False
        return isinstance(reply.data, dict) and reply.data.get("number") == number  # one that was moved redirects

    async def add_label(self, repo: str, number: int, label: str) -> None:
        """Label an issue; the label is made when the repository has none of this name."""
        path, where = _repo(repo), f"issue #{number} of {repo}"
        if label not in self._labels_known:
            async with self._writes:
                new = {"name": label, "color": LABEL_COLOUR, "description": LABEL_DESCRIPTION}
                await self._send("POST", f"{path}/labels", f"the labels of {repo}", new, allowed=422)  # it is there
            self._labels_known.add(label)
        async with self._writes:
            await self._send("POST", f"{path}/issues/{int(number)}/labels", where, {"labels": [label]})

    async def remove_label(self, repo: str, number: int, label: str) -> None:
        """Take a label off an issue, if it is there."""
        path = f"{_repo(repo)}/issues/{int(number)}/labels/{quote(label, safe='')}"
        async with self._writes:
            await self._send("DELETE", path, f"issue #{number} of {repo}", allowed=404)

    async def minimise(self, repo: str, comment_id: int) -> None:
        """Fold a comment away as outdated.

        Raises ``Undeliverable`` when the bot may not; after that GitHub is not asked again for an hour.
        """
        now, where = self._clock.now(), f"comment {comment_id} of {repo}"
        if self._folds_again_at and now < self._folds_again_at:
            raise Undeliverable("GitHub does not let the bot minimise comments")
        found = await self._get(f"{_repo(repo)}/issues/comments/{int(comment_id)}", where)
        async with self._writes:
            query = {"query": _MINIMISE, "variables": {"id": found.data["node_id"]}}
            reply = await self._send("POST", "/graphql", where, query)
        errors = (reply.data or {}).get("errors") or []
        if any(error.get("type") == "RATE_LIMITED" for error in errors):
            raise TryLater(self._writes.pause(None), "GitHub's rate limit is used up")
        if any(error.get("type") == "FORBIDDEN" for error in errors):
            self._folds_again_at = now + FOLDING_REFUSED
        if errors:
            raise Undeliverable(f"GitHub does not minimise {where}: {errors[0].get('message', 'no reason given')}")

    async def permission(self, repo: str, login: str, user_id: str) -> str:
        """The person's role in the repository: ``admin``, ``maintain``, ``write``, ``triage``, ``read``, a custom role.

        ``none`` when they have none, when ``login`` belongs to another account than ``user_id`` by now, and when GitHub
        cannot say. Kept for at most 60 s.
        """
        if not _LOGIN.fullmatch(login):
            return "none"
        key, now = (repo.casefold(), login.casefold(), user_id), self._clock.now()
        kept = self._permissions.get(key)
        if kept is not None and now - kept[0] < PERMISSION_LIFETIME:
            return kept[1]
        try:
            reply = await self._get(
                f"{_repo(repo)}/collaborators/{quote(login, safe='')}/permission", f"{login} in {repo}", missing_is=404
            )
        except (TryLater, Undeliverable) as error:
            self._permission_problem = f"GitHub does not tell who may do what, so nobody may: {error}"
            _log.warning("github.permission.denied_on_error", login=login, error=str(error))
            return "none"
        self._permission_problem = ""
        role = _role(reply, user_id)
        if len(self._permissions) > 1000:
            self._permissions = {k: v for k, v in self._permissions.items() if now - v[0] < PERMISSION_LIFETIME}
        self._permissions[key] = (now, role)
        return role

    async def call(self, verb: str, path: str, where: str, parameters: Mapping[str, str] | None = None) -> Reply:
        """One request of GitHub's REST API, with the app's own key below ``/app``; ``where`` is for people.

        Raises ``TryLater`` and ``Undeliverable``. Whatever is not GET waits for its turn among the writes.
        """
        if verb == "GET":
            return await self._get(path, where, parameters)
        async with self._writes:
            return await self._send(verb, path, where)

    @property
    def permission_problem(self) -> str:
        """Why GitHub could not say what a person may do when it was asked last; empty when it could."""
        return self._permission_problem

    async def problems(self) -> list[str]:
        """What keeps the bot from working on the repository right now, one sentence each; empty when all is well."""
        found: list[str] = []
        try:
            await self.identify()
            repository = (await self._get(_repo(self.repository), self.repository)).data
            if not repository.get("has_issues", True):
                found.append(f"Issues are switched off in {self.repository}; switch them on in its settings.")
            if repository.get("archived"):
                found.append(f"{self.repository} is archived, so nobody can comment on its issues.")
            if self._connection.is_app:
                installation = await self._run_blocking(self._connection.installation)
                if installation.permissions.get("issues") != "write":
                    found.append(
                        "The GitHub App needs the permission Issues: Read and write; an owner of the repository must "
                        "accept the change in the settings of the installation."
                    )
        except TryLater as error:
            found.append(f"GitHub does not answer for now ({error.reason}); asked again in {error.after:.0f} s.")
        except Undeliverable as error:
            found.append(str(error))
        if self._permission_problem:
            found.append(self._permission_problem)
        return found

    async def comments_since(self, since: str, *, page: int = 1, etag: str = "") -> CommentPage:
        """100 comments of the repository changed at or after ``since`` (ISO 8601), oldest change first."""
        reply = await self._get(
            f"{_repo(self.repository)}/issues/comments",
            f"the comments of {self.repository}",
            parameters={"since": since, "sort": "updated", "direction": "asc", "per_page": "100", "page": str(page)},
            headers={"If-None-Match": etag} if etag else None,
        )
        if reply.status == 304:
            return CommentPage(None, etag)
        return CommentPage(reply.data, reply.headers.get("etag", ""))

    async def issues_since(self, since: str, *, page: int = 1, etag: str = "") -> CommentPage:
        """100 issues and pull requests changed at or after ``since`` (ISO 8601), oldest change first."""
        reply = await self._get(
            _repo(self.repository) + "/issues",
            f"the issues of {self.repository}",
            parameters={
                "since": since, "sort": "updated", "direction": "asc", "state": "all", "per_page": "100",
                "page": str(page),
            },
            headers={"If-None-Match": etag} if etag else None,
        )  # fmt: skip
        if reply.status == 304:
            return CommentPage(None, etag)
        return CommentPage(reply.data, reply.headers.get("etag", ""))

    async def editors(self, node_id: str) -> frozenset[int] | None:
        """The numeric ids of all who edited a comment or an issue's text; None when one of them cannot be told."""
        reply = await self._guard(
            "GET",  # a query changes nothing, although it is sent with POST
            self._run_blocking(
                self._connection.request,
                "POST",
                "/graphql",
                None,
                None,
                {"query": _EDITORS, "variables": {"id": node_id}},
            ),
            f"comment {node_id}",
        )
        node = ((reply.data or {}).get("data") or {}).get("node") or {}
        edits = node.get("userContentEdits")
        if edits is None or edits["totalCount"] > len(edits["nodes"]):
            return None
        editors = [edit.get("editor") or {} for edit in edits["nodes"]]
        if not all("databaseId" in editor for editor in editors):  # an app, or an account that was deleted
            return None
        return frozenset(int(editor["databaseId"]) for editor in editors)

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
        first = await self._get(path, where, parameters={"per_page": "100"})
        pages = _last_page(first.headers.get("link", ""))
        for page in range(pages, 0, -1):
            reply = first if page == 1 else await self._get(path, where, {"per_page": "100", "page": str(page)})
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
            issues = (await self._get(path, where, parameters)).data
            for issue in issues:
                user = issue.get("user") or {}
                ours = user.get("login", "").casefold() == own if own else user.get("type") == "Bot"
                if ours and hidden(marker) in (issue.get("body") or ""):
                    return FiledIssue(int(issue["number"]), str(issue["html_url"]))
            if len(issues) < 100:
                break
        return None

    async def _get(
        self,
        path: str,
        where: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        missing_is: int = 0,
    ) -> Reply:
        self._writes.check()
        call = self._run_blocking(self._connection.request, "GET", path, parameters, headers)
        return await self._guard("GET", call, where, missing_is)

    async def _send(self, verb: str, path: str, where: str, body: object | None = None, *, allowed: int = 0) -> Reply:
        call = self._run_blocking(self._connection.request, verb, path, None, None, body)
        return await self._guard(verb, call, where, allowed)

    async def _guard(self, verb: str, call: Awaitable[T], where: str, missing_is: int = 0) -> T:
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
            self._writes.succeeded()
            return reply
        if reply.status >= 500:
            raise TryLater(OUTAGE_PAUSE, f"GitHub answered {reply.status}", maybe_posted=verb != "GET")
        said = reply.data.get("message", "") if isinstance(reply.data, dict) else ""
        if is_rate_limit(reply, said):
            after = self._writes.pause(wait_asked(reply, self._clock.now()))
            raise TryLater(after, self._writes.silence)
        raise _undeliverable(reply, said, where)


_MINIMISE = """
mutation($id: ID!) { minimizeComment(input: {subjectId: $id, classifier: OUTDATED}) {
  minimizedComment { isMinimized }
} }
"""

_EDITORS = """
query($id: ID!) { node(id: $id) {
  ... on IssueComment { userContentEdits(first: 100) { ...edits } }
  ... on Issue { userContentEdits(first: 100) { ...edits } }
} }
fragment edits on UserContentEditConnection { totalCount nodes { editor { login ... on User { databaseId } } } }
"""


def _repo(repo: str) -> str:
    if not _REPOSITORY.fullmatch(repo):
        raise ValueError(f"{repo!r} is no repository; it looks like owner/name")
    return f"/repos/{repo}"


def _role(reply: Reply, user_id: str) -> str:
    data = reply.data
    if reply.status == 404 or not isinstance(data, dict):
        return "none"
    user = data.get("user") or {}
    if str(user.get("id", "")) != str(user_id):
        return "none"
    return str(data.get("role_name") or "none")


def _last_page(link: str) -> int:
    """The page of ``rel="last"`` of a Link header, 1 without one."""
    for part in link.split(","):
        if 'rel="last"' in part:
            address = part[part.find("<") + 1 : part.find(">")]
            return int(parse_qs(urlsplit(address).query).get("page", ["1"])[0])
    return 1


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
