"""What GitHub says about comments, issues and workflow runs, as far as the bot reads it; webhook and poller share it.

Only the fields that are needed are decoded; everything else in a payload is skipped without being built.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from bot.handler import BlockingRunner
from bot.incoming import Actor, Incoming, Place
from bot.repository_events import RepositoryEvent
from bot.surfaces.github.comments import may_hold_commands, new_commands

MOST_COMMANDS = 10  # of one comment; whoever may comment could otherwise have the bot answer 8,000 times
MARKER = "<!-- opsbot:"  # what every comment of the bot carries, see client.py
READ_AT_ONCE = 1000  # characters; at its worst such a text takes 10 ms to read, the longest that GitHub takes 0.8 s

Accept = Callable[[Incoming], Awaitable[bool]]
AcceptEvent = Callable[[RepositoryEvent], Awaitable[bool]]


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


class Issue(msgspec.Struct):
    number: int
    title: str = ""
    user: User | None = None
    body: str | None = None
    html_url: str = ""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    node_id: str = ""


class Repository(msgspec.Struct):
    full_name: str


class Before(msgspec.Struct, rename={"text": "from"}):
    text: str | None = None


class Changes(msgspec.Struct):
    body: Before | None = None


class IssueNumber(msgspec.Struct):
    number: int


class Written(msgspec.Struct):
    id: int
    user: User | None = None
    body: str | None = None


class Said(msgspec.Struct, gc=False):
    body: str | None = None


class CommentSaid(msgspec.Struct, gc=False):
    """Of a comment event no more than its text: most hold no command, and then nothing else is wanted."""

    comment: Said


class IssueCommentEvent(msgspec.Struct):
    action: str
    issue: IssueNumber
    comment: Written
    repository: Repository
    sender: User
    changes: Changes | None = None


class Label(msgspec.Struct):
    name: str


class IssuesEvent(msgspec.Struct):
    action: str
    issue: Issue
    repository: Repository
    sender: User
    label: Label | None = None
    changes: Changes | None = None


class WorkflowRun(msgspec.Struct):
    id: int
    name: str | None = None
    display_title: str = ""
    conclusion: str | None = None
    head_branch: str | None = None
    html_url: str = ""
    updated_at: datetime | None = None


class WorkflowRunEvent(msgspec.Struct):
    action: str
    workflow_run: WorkflowRun
    repository: Repository
    sender: User


@dataclass(frozen=True, slots=True)
class Text:
    """Something that a person wrote: a comment, or with ``comment`` 0 an issue's own text.

    ``before`` is what it said before the edit, None when it is new. ``by`` is who wrote or edited it.
    """

    repository: str
    issue: int
    comment: int
    by: User
    body: str
    before: str | None = None


def is_person(user: User, own_login: str) -> bool:
    """Whether a command of this account counts: no bot, and not ourselves."""
    return user.type != "Bot" and user.login.casefold() != own_login.casefold()


class Reader:
    """Finds the commands in texts. The key of a command is the same whichever way it was heard."""

    def __init__(self, roots: tuple[str, ...], mention: str, run_blocking: BlockingRunner) -> None:
        self._roots = roots
        self._mention = mention
        self._run_blocking = run_blocking
        self._long = asyncio.Lock()

    def may_hold(self, body: str) -> bool:
        """Whether it is worth to look closer; quick, however long the text is."""
        return may_hold_commands(body, self._roots, self._mention)

    async def commands(self, text: Text, received_at: datetime) -> list[Incoming]:
        """The new commands in order.

        A long text is read in a thread, and only one at a time: nobody's comments may keep the loop, or its turn at the
        interpreter, from those who wait for an answer.
        """
        if not self.may_hold(text.body):
            return []
        if MARKER in text.body:  # our own, or somebody who pretends; either way no request
            return []
        if len(text.body) + len(text.before or "") <= READ_AT_ONCE:
            found = new_commands(text.body, text.before, self._roots, self._mention)
        else:
            async with self._long:
                found = await self._run_blocking(new_commands, text.body, text.before, self._roots, self._mention)
        written = str(text.comment) if text.comment else f"issue-{text.issue}"
        return [
            Incoming(
                key=f"github:{text.repository.casefold()}#{written}:{identity}",
                actor=Actor(surface="github", id=str(text.by.id), login=text.by.login),
                place=Place(surface="github", channel=text.repository, thread=str(text.issue)),
                text=command.text,
                received_at=received_at,
                comment_id=text.comment,
                issue_body=not text.comment,
            )
            for identity, command in found[:MOST_COMMANDS]
        ]
