"""At most one write to GitHub at a time, a second apart, 80 a minute and 500 an hour.

GitHub's documentation of its secondary limits asks for this. Waiting costs no thread; who would have to wait long is
told when to come back (``TryLater``), so that nothing holds a run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime, timedelta
from types import TracebackType

from bot.clock import Clock
from bot.surfaces.delivery import TryLater

GAP = 1.0  # seconds from the end of a write to the start of the next
WINDOWS = ((timedelta(minutes=1), 80), (timedelta(hours=1), 500))
PATIENCE = 20.0  # longest wait in line, seconds
FIRST_PAUSE = 60.0  # when GitHub says "secondary rate limit" and not how long
LONGEST_PAUSE = 900.0


class WriteLimiter:
    """``async with limiter:`` around each write. ``check`` before each read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        self._in_line = 0
        self.pausing = False  # somebody's turn has come, and only time has to pass
        self._recent: deque[datetime] = deque()  # ends of the writes of the last hour
        self._paused_until: datetime | None = None
        self._pauses = 0

    async def __aenter__(self) -> None:
        wait = self._wait() + self._in_line * GAP
        if wait > PATIENCE:
            raise TryLater(wait, f"many writes to GitHub are waiting{_until(self._clock.now(), wait)}")
        self._in_line += 1
        try:
            await self._turn.acquire()
        finally:
            self._in_line -= 1
        try:
            wait = self._wait()
            if wait > PATIENCE:
                raise TryLater(wait, f"GitHub takes no more writes{_until(self._clock.now(), wait)}")
            if wait > 0:
                self.pausing = True
                try:
                    await self._clock.sleep(wait)
                finally:
                    self.pausing = False
            self.check()
        except BaseException:
            self._turn.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._recent.append(self._clock.now())
        self._turn.release()

    def check(self) -> None:
        """Raises ``TryLater`` while GitHub has asked us to be silent."""
        left = self._pause_left()
        if left > 0:
            raise TryLater(left, self.silence)

    def pause(self, seconds: float | None) -> float:
        """GitHub refused for rate: silence for ``seconds``, or for a growing time when it did not say. The seconds."""
        if seconds is None:
            seconds = min(FIRST_PAUSE * 2**self._pauses, LONGEST_PAUSE)
            self._pauses += 1
        until = self._clock.now() + timedelta(seconds=seconds)
        self._paused_until = max(until, self._paused_until or until)
        return self._pause_left()

    @property
    def silence(self) -> str:
        """Why nothing is asked of GitHub just now, and until when, for people."""
        return f"GitHub's rate limit is used up{_until(self._clock.now(), self._pause_left())}"

    def succeeded(self) -> None:
        self._pauses = 0

    def _pause_left(self) -> float:
        if self._paused_until is None:
            return 0.0
        left = (self._paused_until - self._clock.now()).total_seconds()
        if left <= 0:
            self._paused_until = None
        return max(left, 0.0)

    def _wait(self) -> float:
        now = self._clock.now()
        while self._recent and now - self._recent[0] >= WINDOWS[-1][0]:
            self._recent.popleft()
        wait = self._pause_left()
        if self._recent:
            wait = max(wait, GAP - (now - self._recent[-1]).total_seconds())
        for window, most in WINDOWS:
            if len(self._recent) >= most:
                wait = max(wait, (self._recent[-most] + window - now).total_seconds())
        return wait


def _until(now: datetime, seconds: float) -> str:
    return f" until {now + timedelta(seconds=seconds):%H:%M:%S} UTC"
