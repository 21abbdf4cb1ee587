"""What the bot asks of a surface, and all that it knows about one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from bot.incoming import Place
from bot.messages import Message

Body = Mapping[str, Any]
"""A message as it was drawn for its surface; anything JSON has."""


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
