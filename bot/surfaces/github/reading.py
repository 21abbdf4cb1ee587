"""What the bot lends to a product that has to look into the repository: one GET with the bot's own credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bot.errors import Unavailable
from bot.surfaces.delivery import Undeliverable
from bot.surfaces.github.connection import Connection, NoAnswer

NOT_FOUND = 404


def reader(connection: Connection, repository: str) -> Callable[[str, Mapping[str, str]], Any]:
    """``get("/repos/owner/name/labels", {"page": "1"})``: decoded JSON, None for 404; raises ``Unavailable``.

    Blocking: call it from a worker thread. Threads may share it.
    """

    def get(path: str, parameters: Mapping[str, str]) -> Any:
        try:
            reply = connection.request("GET", path, parameters)
        except (NoAnswer, Undeliverable) as error:
            raise Unavailable(f"GitHub: {repository} could not be read: {error}") from None
        if reply.status == NOT_FOUND:
            return None
        if reply.status >= 400:
            raise Unavailable(f"GitHub: {repository} could not be read: {path} was answered {reply.status}")
        return reply.data

    return get
