"""What goes wrong between the bot and Slack: rate limits, lost answers, errors of the server, on demand."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fault:
    kind: Literal["ratelimited", "server_error", "lost_answer", "late_answer", "error"]
    retry_after: int = 1
    status: int = 503
    error: str = ""
    released: asyncio.Event | None = None


class Faults:
    """Makes the next calls of a method fail. ``method`` is a Web API name, ``"response_url"``, or ``"*"`` for any."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Fault]] = {}

    def _add(self, method: str, fault: Fault, times: int) -> None:
        self._waiting.setdefault(method, deque()).extend([fault] * times)

    def rate_limited(self, method: str, *, retry_after: int = 1, times: int = 1) -> None:
        """HTTP 429 with ``Retry-After``; nothing is stored."""
        self._add(method, Fault("ratelimited", retry_after=retry_after), times)

    def server_error(self, method: str, *, status: int = 503, times: int = 1) -> None:
        """An HTML page with a 5xx status; nothing is stored."""
        self._add(method, Fault("server_error", status=status), times)

    def lost_answer(self, method: str, *, times: int = 1) -> None:
        """The call is carried out, but the connection breaks before the answer: the bot cannot know."""
        self._add(method, Fault("lost_answer"), times)

    def late_answer(self, method: str) -> asyncio.Event:
        """The next call is carried out and seen by everybody; the bot gets its answer when the event is set."""
        released = asyncio.Event()
        self._add(method, Fault("late_answer", released=released), 1)
        return released

    def error(self, method: str, error: str, *, times: int = 1) -> None:
        """``{"ok": false, "error": error}``; nothing is stored."""
        self._add(method, Fault("error", error=error), times)

    def clear(self) -> None:
        self._waiting.clear()

    def take(self, method: str) -> Fault | None:
        for name in (method, "*"):
            if self._waiting.get(name):
                return self._waiting[name].popleft()
        return None


class RateLimits:
    """Slack's limits as token buckets: about one message a second per channel, Tier 3 for updates.

    Source: https://docs.slack.dev/apis/web-api/rate-limits. ``burst`` is not documented beyond "short bursts".
    """

    def __init__(self, *, burst: int = 4) -> None:
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}  # key -> tokens, when

    def seconds_to_wait(self, method: str, channel: str, now: float) -> int:
        """0 and one token less, or the ``Retry-After`` in whole seconds."""
        if method in {"chat.postMessage", "chat.postEphemeral"}:
            key, burst, per_second = f"post {channel}", float(self._burst), 1.0
        else:
            key, burst, per_second = method, 20.0, 50 / 60
        tokens, last = self._buckets.get(key, (burst, now))
        tokens = min(burst, tokens + max(0.0, now - last) * per_second)
        if tokens < 1 - 1e-9:
            self._buckets[key] = (tokens, now)
            return max(1, math.ceil((1 - tokens) / per_second))
        self._buckets[key] = (tokens - 1, now)
        return 0
