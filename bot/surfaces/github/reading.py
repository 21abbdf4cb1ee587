"""What the bot lends to a product that has to look into the repository: one GET with the bot's own credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.errors import Unavailable
from bot.surfaces.delivery import Undeliverable
from bot.surfaces.github.connection import Connection, NoAnswer, Reply

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
            if (until := rate_limited_until(reply, datetime.now(UTC))) is not None:
                raise Unavailable(
                    f"GitHub: {repository} could not be read: the rate limit is used up until {until:%H:%M:%S} UTC."
                )
            raise Unavailable(f"GitHub: {repository} could not be read: {path} was answered {reply.status}")
        return reply.data

    return get


def rate_limited_until(reply: Reply, now: datetime) -> datetime | None:
    """Until when GitHub wants no request, from an answer that refuses one for its rate; None for another answer."""
    headers = reply.headers
    if reply.status not in (403, 429):
        return None
    if headers.get("retry-after", "").isdecimal():
        return now + timedelta(seconds=float(headers["retry-after"]))
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdecimal():
        return datetime.fromtimestamp(int(headers["x-ratelimit-reset"]), UTC)
    return now + timedelta(minutes=1) if reply.status == 429 else None
