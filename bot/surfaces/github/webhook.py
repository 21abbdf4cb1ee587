"""``POST /github/webhook``: signed deliveries of GitHub in; one ``Incoming`` per command and one event per news out.

Answers within GitHub's 10 seconds, after everything is stored: 202 accepted, 200 nothing to do, 400 not a delivery,
401 wrong signature, 413 too large, 415 not JSON, 503 cannot store now (GitHub does not resend; the poller finds it).
"""

from __future__ import annotations

import hmac
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection

import msgspec
import structlog
from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE
from multidict import istr

from bot.clock import Clock
from bot.handler import BlockingRunner
from bot.repository_events import Kind, RepositoryEvent
from bot.surfaces.github.payloads import (
    Accept,
    AcceptEvent,
    CommentSaid,
    IssueCommentEvent,
    IssuesEvent,
    Reader,
    Text,
    User,
    WorkflowRunEvent,
    is_person,
)

# GitHub sends up to 25 MB. A comment and its issue hold at most 65 536 characters each, so a comment event stays below
# this but for texts made of escapes only; those are left to the poller.
MAX_BODY = 1024 * 1024
REMEMBERED_DELIVERIES = 10_000

# What is not here is answered without a look inside. For the events themselves set the same ones in the webhook.
ACTIONS: dict[str, frozenset[bytes]] = {
    "issue_comment": frozenset({b"created", b"edited"}),
    "issues": frozenset({b"opened", b"edited", b"labeled", b"unlabeled"}),
    "workflow_run": frozenset({b"completed"}),
}
EVENTS = tuple(ACTIONS)

# As the headers are looked up: a plain string would be folded anew for each request.
EVENT, DELIVERY, SIGNATURE = istr("X-GitHub-Event"), istr("X-GitHub-Delivery"), istr("X-Hub-Signature-256")

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_DELIVERY = re.compile(r"[\w-]{1,100}", re.ASCII)
# GitHub writes the action first, which saves decoding 25 KB to learn that it is "deleted".
_ACTION = re.compile(rb'\s*\{\s*"action"\s*:\s*"(\w+)"')
_log = structlog.get_logger(__name__)

_decode_said = msgspec.json.Decoder(CommentSaid).decode
_decode_comment = msgspec.json.Decoder(IssueCommentEvent).decode
_decode_issue = msgspec.json.Decoder(IssuesEvent).decode
_decode_workflow_run = msgspec.json.Decoder(WorkflowRunEvent).decode


class GitHubWebhook:
    """The handler of ``POST /github/webhook``; give ``handle`` to aiohttp's router.

    ``own_login`` is asked at each delivery, because the bot learns its name only when GitHub answers. ``accept`` stores
    one command and says whether it is new; ``accept_event`` does so for an event; what they raise becomes a 503.
    """

    def __init__(
        self,
        *,
        secret: str,
        repository: str,
        roots: Collection[str],
        accept: Accept,
        accept_event: AcceptEvent,
        clock: Clock,
        run_blocking: BlockingRunner,
        mention: str = "opsbot",
        own_login: Callable[[], str] = lambda: "",
    ) -> None:
        if not secret:
            raise ValueError("a webhook without a secret would believe everybody: set GITHUB_WEBHOOK_SECRET")
        self._secret = secret.encode()
        self._repository = repository
        self._accept = accept
        self._accept_event = accept_event
        self._clock = clock
        self._own_login = own_login
        self._reader = Reader(tuple(sorted(roots)), mention, run_blocking)
        self._handled: OrderedDict[str, None] = OrderedDict()
        self._takes: dict[str, Callable[[bytes, str], Awaitable[int | None]]] = {
            "issue_comment": self._comment,
            "issues": self._issue,
            "workflow_run": self._workflow_run,
        }

    async def handle(self, request: web.Request) -> web.Response:
        body = await _read(request)
        if body is None:
            return _answer(413, f"a delivery may have at most {MAX_BODY} bytes")
        headers = request.headers
        delivery = headers.get(DELIVERY, "")
        if not self._signed(headers.get(SIGNATURE, ""), body):
            _log.warning("github.webhook.bad_signature", delivery=delivery[:64])
            return _answer(401, "missing or wrong X-Hub-Signature-256; compare GITHUB_WEBHOOK_SECRET with the webhook")
        event = headers.get(EVENT, "")
        if not event or not delivery:
            return _answer(400, "X-GitHub-Event and X-GitHub-Delivery are needed")
        if delivery in self._handled:
            return _answer(200, "already handled")
        if event == "ping":
            return _answer(200, "pong")
        if event not in ACTIONS:
            return _answer(200, "ignored")
        if not _DELIVERY.fullmatch(delivery):
            return _answer(400, "X-GitHub-Delivery is not one of GitHub's")
        if headers.get(CONTENT_TYPE, "").partition(";")[0].strip().casefold() != "application/json":
            return _answer(415, "set the webhook's content type to application/json")
        if (action := _ACTION.match(body)) and action[1] not in ACTIONS[event]:
            return _answer(200, "ignored")
        return await self._take(event, body, delivery)

    async def _take(self, event: str, body: bytes, delivery: str) -> web.Response:
        try:
            accepted = await self._takes[event](body, delivery)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            article = "a" if event.startswith("w") else "an"
            return _answer(400, f"not {article} {event} event: {error}")
        except Exception:
            _log.exception("github.webhook.not_stored", delivery=delivery, event_name=event)
            return _answer(503, "cannot store commands now")
        if accepted is None:
            return _answer(200, "ignored")
        self._remember(delivery)
        return _answer(202, f"accepted {accepted}") if accepted else _answer(200, "no command")

    async def _comment(self, body: bytes, delivery: str) -> int | None:
        if not self._reader.may_hold(_decode_said(body).comment.body or ""):
            return 0
        event = _decode_comment(body)
        before = None
        match event.action:
            case "created" if _is_by(event.comment.user, event.sender):
                pass
            case "edited" if event.changes and event.changes.body and event.changes.body.text is not None:
                before = event.changes.body.text
            case _:  # deleted, somebody else's words, or the empty edit that GitHub sometimes sends before "created"
                return None
        if not self._ours(event.repository.full_name):
            return None
        return await self._commands(event.issue.number, event.comment.id, event.sender, event.comment.body, before)

    async def _issue(self, body: bytes, delivery: str) -> int | None:
        event = _decode_issue(body)
        if event.action == "edited" and self._ours(event.repository.full_name):
            if not event.changes or not event.changes.body or event.changes.body.text is None:
                return None  # another title
            before = event.changes.body.text
            return await self._commands(event.issue.number, 0, event.sender, event.issue.body, before)
        kinds: dict[str, Kind] = {"opened": "issue_opened", "labeled": "label_added", "unlabeled": "label_removed"}
        kind = kinds.get(event.action)
        if kind is None or not self._ours(event.repository.full_name):
            return None
        if kind != "issue_opened" and event.label is None:
            return None  # the label itself was deleted from the repository
        accepted = 0
        if kind == "issue_opened" and _is_by(event.issue.user, event.sender):
            accepted = await self._commands(event.issue.number, 0, event.sender, event.issue.body, None) or 0
        return accepted + await self._news(
            RepositoryEvent(
                key=delivery,
                kind=kind,
                at=self._clock.now(),
                by=event.sender.login,
                issue=event.issue.number,
                label=event.label.name if event.label else "",
                title=event.issue.title,
                url=event.issue.html_url,
            )
        )

    async def _workflow_run(self, body: bytes, delivery: str) -> int | None:
        event = _decode_workflow_run(body)
        if event.action != "completed" or not self._ours(event.repository.full_name):
            return None
        run = event.workflow_run
        return await self._news(
            RepositoryEvent(
                key=delivery,
                kind="workflow_ended",
                at=run.updated_at or self._clock.now(),
                by=event.sender.login,
                workflow=run.name or "",
                run=run.id,
                conclusion=run.conclusion or "",
                branch=run.head_branch or "",
                title=run.display_title,
                url=run.html_url,
            )
        )

    async def _commands(self, issue: int, comment: int, by: User, body: str | None, before: str | None) -> int | None:
        if not is_person(by, self._own_login()):
            return None
        text = Text(self._repository, issue, comment, by, body or "", before)
        commands = await self._reader.commands(text, self._clock.now())
        for command in commands:
            await self._accept(command)
        return len(commands)

    async def _news(self, event: RepositoryEvent) -> int:
        await self._accept_event(event)
        return 1

    def _ours(self, full_name: str) -> bool:
        return full_name.casefold() == self._repository.casefold()

    def _signed(self, signature: str, body: bytes) -> bool:
        if not _SIGNATURE.fullmatch(signature):
            return False
        return hmac.compare_digest(signature[7:], hmac.digest(self._secret, body, "sha256").hex())

    def _remember(self, delivery: str) -> None:
        """A redelivery has the same id; it is known only after all of its commands are stored."""
        self._handled[delivery] = None
        if len(self._handled) > REMEMBERED_DELIVERIES:
            self._handled.popitem(last=False)


def _is_by(author: User | None, sender: User) -> bool:
    """Whoever moves an issue here is its sender, and may do more than who wrote it."""
    return author is not None and author.id == sender.id


async def _read(request: web.Request) -> bytes | None:
    """The raw body, or None when it is larger than ``MAX_BODY``; never reads more than that."""
    if request.content.is_eof():  # all of it is here, as most are: nothing to wait for
        body = request.content.read_nowait()
        return body if len(body) <= MAX_BODY else None
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
