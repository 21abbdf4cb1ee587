"""``POST /github/webhook``: signed deliveries of GitHub in, one ``Incoming`` per command out.

Answers within GitHub's 10 seconds, after the commands are stored: 202 accepted, 200 nothing to do, 400 not a delivery,
401 wrong signature, 413 too large, 415 not JSON, 503 cannot store now (GitHub does not resend; the poller finds it).
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime

import msgspec
import structlog
from aiohttp import web

from bot.clock import Clock
from bot.incoming import Actor, Incoming, Place
from bot.surfaces.github.comments import new_commands

# GitHub sends up to 25 MB. A comment and its issue hold at most 65 536 characters each, so a comment event stays below
# this but for texts made of escapes only; those are left to the poller.
MAX_BODY = 1024 * 1024
REMEMBERED_DELIVERIES = 10_000
MOST_COMMANDS = 10  # of one comment; whoever may comment could otherwise have the bot answer 8,000 times
MARKER = "<!-- opsbot:"  # what every comment of the bot carries, see client.py

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_log = structlog.get_logger(__name__)

Accept = Callable[[Incoming], Awaitable[bool]]


class User(msgspec.Struct):
    id: int
    login: str
    type: str = "User"


class Comment(msgspec.Struct):
    id: int
    user: User | None = None  # null: the account was deleted
    body: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    issue_url: str = ""
    node_id: str = ""


class _Issue(msgspec.Struct):
    number: int


class _Repository(msgspec.Struct):
    full_name: str


class _Before(msgspec.Struct, rename={"text": "from"}):
    text: str | None = None


class _Changes(msgspec.Struct):
    body: _Before | None = None


class _IssueCommentEvent(msgspec.Struct):
    action: str
    issue: _Issue
    comment: Comment
    repository: _Repository
    sender: User
    changes: _Changes | None = None


def incoming_from(
    *,
    repository: str,
    issue: int,
    comment: Comment,
    by: User,
    before: str | None,
    roots: Collection[str],
    mention: str,
    received_at: datetime,
) -> list[Incoming]:
    """The new commands of a comment. The webhook and the poller both use this, so that their keys are the same."""
    body = comment.body or ""
    if MARKER in body:  # our own, or somebody who pretends; either way no request
        return []
    return [
        Incoming(
            key=f"github:{repository.casefold()}#{comment.id}:{identity}",
            actor=Actor(surface="github", id=str(by.id), login=by.login),
            place=Place(surface="github", channel=repository, thread=str(issue)),
            text=command.text,
            received_at=received_at,
            comment_id=comment.id,
        )
        for identity, command in new_commands(body, before, roots, mention)[:MOST_COMMANDS]
    ]


def is_person(user: User, own_login: str) -> bool:
    """Whether a command of this account counts: no bot, and not ourselves."""
    return user.type != "Bot" and user.login.casefold() != own_login.casefold()


class GitHubWebhook:
    """The handler of ``POST /github/webhook``; give ``handle`` to aiohttp's router.

    ``own_login`` is asked at each delivery, because the bot learns its name only when GitHub answers. ``accept`` stores
    one command and says whether it is new; what it raises becomes a 503.
    """

    def __init__(
        self,
        *,
        secret: str,
        repository: str,
        roots: Collection[str],
        accept: Accept,
        clock: Clock,
        mention: str = "opsbot",
        own_login: Callable[[], str] = lambda: "",
    ) -> None:
        if not secret:
            raise ValueError("a webhook without a secret would believe everybody: set GITHUB_WEBHOOK_SECRET")
        self._secret = secret.encode()
        self._repository = repository
        self._roots = frozenset(roots)
        self._accept = accept
        self._clock = clock
        self._mention = mention
        self._own_login = own_login
        self._handled: OrderedDict[str, None] = OrderedDict()
        self._decode = msgspec.json.Decoder(_IssueCommentEvent).decode

    async def handle(self, request: web.Request) -> web.Response:
        body = await _read(request)
        if body is None:
            return _answer(413, f"a delivery may have at most {MAX_BODY} bytes")
        headers = request.headers
        if not self._signed(headers.get("X-Hub-Signature-256", ""), body):
            _log.warning("github.webhook.bad_signature", delivery=headers.get("X-GitHub-Delivery", "")[:64])
            return _answer(401, "missing or wrong X-Hub-Signature-256; compare GITHUB_WEBHOOK_SECRET with the webhook")
        event, delivery = headers.get("X-GitHub-Event", ""), headers.get("X-GitHub-Delivery", "")
        if not event or not delivery:
            return _answer(400, "X-GitHub-Event and X-GitHub-Delivery are needed")
        if delivery in self._handled:
            return _answer(200, "already handled")
        if event == "ping":
            return _answer(200, "pong")
        if event != "issue_comment":
            return _answer(200, "ignored")
        if request.content_type != "application/json":
            return _answer(415, "set the webhook's content type to application/json")
        try:
            payload = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return _answer(400, f"not an issue_comment event: {error}")
        return await self._comment(payload, delivery)

    async def _comment(self, event: _IssueCommentEvent, delivery: str) -> web.Response:
        if event.repository.full_name.casefold() != self._repository.casefold():
            return _answer(200, f"ignored: this bot serves {self._repository}")
        before = None
        match event.action:
            case "created":
                pass
            case "edited" if event.changes and event.changes.body and event.changes.body.text is not None:
                before = event.changes.body.text
            case _:  # deleted, or the empty edit that GitHub sometimes sends before "created"
                return _answer(200, "ignored")
        if not is_person(event.sender, self._own_login()):
            return _answer(200, "ignored")
        incoming = incoming_from(
            repository=self._repository,
            issue=event.issue.number,
            comment=event.comment,
            by=event.sender,
            before=before,
            roots=self._roots,
            mention=self._mention,
            received_at=self._clock.now(),
        )
        try:
            for command in incoming:
                await self._accept(command)
        except Exception:
            _log.exception("github.webhook.not_stored", delivery=delivery, comment=event.comment.id)
            return _answer(503, "cannot store commands now")
        self._remember(delivery)
        return _answer(202, f"accepted {len(incoming)}") if incoming else _answer(200, "no command")

    def _signed(self, signature: str, body: bytes) -> bool:
        if not _SIGNATURE.fullmatch(signature):
            return False
        return hmac.compare_digest(signature[7:], hmac.digest(self._secret, body, "sha256").hex())

    def _remember(self, delivery: str) -> None:
        """A redelivery has the same id; it is known only after all of its commands are stored."""
        self._handled[delivery] = None
        if len(self._handled) > REMEMBERED_DELIVERIES:
            self._handled.popitem(last=False)


async def _read(request: web.Request) -> bytes | None:
    """The raw body, or None when it is larger than ``MAX_BODY``; never reads more than that."""
    if (request.content_length or 0) > MAX_BODY:
        return None
    chunks, size = [], 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > MAX_BODY:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _answer(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")
