"""What the bot asks of a surface, and all that it knows about one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from bot.incoming import Place
from bot.messages import Message

Wanted = Callable[[], Awaitable[bool]]
Body = Mapping[str, Any]
"""A message as it was drawn for its surface; anything JSON has."""


@dataclass(frozen=True, slots=True)
class FiledIssue:
    """An issue that was filed."""

    number: int
    url: str


@runtime_checkable
class FilesIssues(Protocol):
    """A surface that keeps issues."""

    async def file_issue(
        self, title: str, body: Body, labels: Sequence[str], key: str, *, maybe_filed: bool
    ) -> FiledIssue:
        """File it once; ``key`` tells one that is open already when ``maybe_filed``.

        Raises ``TryLater`` or ``Undeliverable``.
        """
        ...


@runtime_checkable
class HasIssues(Protocol):
    """A surface whose places are issues of one repository."""

    async def issue(self, number: int) -> Place | None:
        """Where to write about it; None when there is certainly no such issue. Never waits for long, never raises."""
        ...


@runtime_checkable
class LabelsIssues(Protocol):
    """A surface whose issues have labels. Doing it twice does nothing. Raises ``TryLater`` or ``Undeliverable``."""

    async def add_label(self, place: Place, label: str, wanted: Wanted) -> None:
        """``wanted`` is asked when the turn has come: what waited in line may have become pointless."""
        ...

    async def remove_label(self, place: Place, label: str) -> None: ...


@runtime_checkable
class FoldsAway(Protocol):
    """A surface on which an old message can be folded. Raises ``TryLater`` or ``Undeliverable``."""

    async def fold_away(self, place: Place, remote_id: str) -> None: ...


@runtime_checkable
class Reacts(Protocol):
    """A surface on which the bot reacts to what people write."""

    async def react(self, place: Place, comment_id: int, reaction: str, *, instead_of: str) -> str:
        """React with ``rocket`` to a comment, with ``comment_id`` 0 to the issue's own text; the reaction's id.

        ``instead_of`` is the id of an earlier one, which goes away. Raises ``TryLater`` or ``Undeliverable``.
        """
        ...


class Surface(Protocol):
    """One place where people talk to the bot. Its methods raise ``TryLater`` or ``Undeliverable``, nothing else."""

    name: str

    def draw(self, message: Message) -> Body: ...

    async def post(self, place: Place, body: Body, key: str, *, maybe_posted: bool) -> str:
        """Post once; ``key`` tells a message that was posted already when ``maybe_posted``. Returns its id."""
        ...

    async def link(self, place: Place, remote_id: str) -> str:
        """The address of a posted message, for people."""
        ...

    async def update(self, place: Place, remote_id: str, body: Body) -> None: ...

    async def answer(
        self, place: Place, body: Body, key: str, *, private_to: str, response_url: str, maybe_posted: bool
    ) -> None:
        """Answer a command: to one person when ``private_to`` names them, else to everybody."""
        ...

    async def problems(self) -> list[str]: ...
