"""``/somas breaker status``: the bot's own circuit breakers, which keep it from asking a service that does not answer.

One breaker per service (GitHub, Slack, a socket). It opens after five failures in a row; then nothing is sent for a
minute, and whoever asks is told when to ask again. After the minute it is half-open: three calls may try, all three
must work, one failure opens it again. What has to be said stays in the outbox and what has to be done in its run: an
open breaker delays, it loses nothing. pybreaker keeps the states; the clock is the bot's own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

import pybreaker

from bot.clock import Clock
from bot.errors import NotNow

State = Literal["closed", "open", "half-open"]
KEPT = 20  # events of one breaker


@dataclass(frozen=True, slots=True)
class Limits:
    """When a breaker opens, for how long, and how many calls have to work before it is closed again."""

    failures: int = 5
    seconds: float = 60.0
    trials: int = 3


class BreakerOpen(NotNow):
    """Nothing was sent. ``after``: seconds until it is worth asking again."""

    def __init__(self, service: str, after: float, why: str) -> None:
        super().__init__(f"the bot's breaker for {service} is open ({why}); it tries again in {after:.0f} s", after)
        self.service = service


@dataclass(frozen=True, slots=True)
class Change:
    """A breaker went from one state to another. ``why``: the last failure, or who did it."""

    at: datetime
    state: State
    why: str


@dataclass(slots=True)
class Call:
    """One call that was let through. Without ``failed`` it counts as answered."""

    problem: str = ""
    counts: bool = True
    answer: bool = False

    def failed(self, why: str) -> None:
        self.problem = why or "failed"

    def answered(self) -> None:
        """The service answered, whatever the caller makes of the answer."""
        self.answer = True


class _Failure(Exception):
    """What pybreaker counts."""


class _Storage(pybreaker.CircuitMemoryStorage):
    """pybreaker compares ``opened_at`` with the machine's clock; here that is as long ago as by the bot's clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(pybreaker.STATE_CLOSED)
        self._clock = clock
        self.since: datetime | None = None

    @property
    def opened_at(self) -> datetime | None:
        return None if self.since is None else datetime.now(UTC) - (self._clock.now() - self.since)

    @opened_at.setter
    def opened_at(self, at: datetime) -> None:
        self.since = self._clock.now()


@dataclass
class Breaker:
    """The breaker of one service. Threads and tasks may share it."""

    service: str
    clock: Clock
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._storage = _Storage(self.clock)
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=self.limits.failures,
            reset_timeout=self.limits.seconds,
            success_threshold=self.limits.trials,
            state_storage=self._storage,
            throw_new_error_on_trip=False,
            name=self.service,
        )
        self._lock = threading.Lock()
        self._trying = 0  # calls under way while it is half-open
        self._why = ""
        self._by_hand = False  # opened by a person, who alone or the time closes it
        self.changes: deque[Change] = deque(maxlen=KEPT)

    @property
    def state(self) -> State:
        """An open one whose time is over says ``half-open``: the next call is a trial."""
        state = cast(State, self._breaker.current_state)
        return "half-open" if state == "open" and self._left() <= 0 else state

    @property
    def failures(self) -> int:
        """In a row, so far."""
        return self._breaker.fail_counter

    @property
    def why(self) -> str:
        """The last failure."""
        return self._why

    @property
    def tries_again_at(self) -> datetime | None:
        """When an open breaker lets a call through; None for one that is not open."""
        if self.state != "open" or self._storage.since is None:
            return None
        return self._storage.since + timedelta(seconds=self.limits.seconds)

    @contextmanager
    def calling(self, *failures: type[Exception]) -> Iterator[Call]:
        """``with breaker.calling(TimeoutError) as call:``: one call to the service.

        ``failures`` count when they are raised, and so does what ``call.failed`` says. A call that was cancelled, or
        that raises anything else, says nothing about the service. Raises ``BreakerOpen`` instead of letting it begin.
        """
        trial = self._admit()
        call = Call()
        try:
            yield call
        except BaseException as error:
            if isinstance(error, failures):
                call.failed(str(error) or type(error).__name__)
            elif not call.problem and not call.answer:
                call.counts = False
            raise
        finally:
            self._record(call, trial)

    def trip(self, why: str) -> None:
        """Open it now, as if it had failed; after its time it tries again by itself."""
        with self._lock:
            self._why = why
            self._by_hand = True
            self._breaker.open()
            self._noted()

    def reset(self, why: str) -> None:
        """Close it now."""
        with self._lock:
            self._why = why
            self._by_hand = False
            self._breaker.close()
            self._noted()

    def works(self, why: str) -> None:
        """Close it, because somebody who asks past it was answered. One that a person has opened stays open."""
        if self.state != "closed" and not self._by_hand:
            self.reset(why)

    def _left(self) -> float:
        since = self._storage.since
        return 0.0 if since is None else self.limits.seconds - (self.clock.now() - since).total_seconds()

    def _admit(self) -> bool:
        """Whether this call is a trial. Raises ``BreakerOpen``."""
        with self._lock:
            state = self._breaker.current_state
            if state == pybreaker.STATE_CLOSED:
                return False
            if state == pybreaker.STATE_OPEN:
                if (left := self._left()) > 0:
                    raise BreakerOpen(self.service, left, self._why)
                self._breaker.half_open()
                self._trying = 0
                self._by_hand = False
                self._noted()
            if self._trying + self._breaker.success_counter >= self.limits.trials:
                raise BreakerOpen(self.service, 1.0, "its trials are under way")
            self._trying += 1
            return True

    def _record(self, call: Call, trial: bool) -> None:
        def outcome() -> None:
            if call.problem:
                raise _Failure(call.problem)

        with self._lock:
            if trial:
                self._trying = max(0, self._trying - 1)
            if not call.counts:
                return
            before = self._breaker.current_state
            if before == pybreaker.STATE_OPEN:
                return  # it began before the breaker opened, and says nothing new
            if call.problem:
                self._why = call.problem
            with suppress(_Failure, pybreaker.CircuitBreakerError):
                self._breaker.call(outcome)
            if self._breaker.current_state != before:
                self._noted()

    def _noted(self) -> None:
        self.changes.append(Change(self.clock.now(), cast(State, self._breaker.current_state), self._why))


class Breakers:
    """Those of this process, by service."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self.clock = clock
        self.limits = limits or Limits()
        self._breakers: dict[str, Breaker] = {}

    def of(self, service: str) -> Breaker:
        """The breaker of this service, made when there is none."""
        return self._breakers.setdefault(service, Breaker(service, self.clock, self.limits))

    def all(self) -> list[Breaker]:
        return [self._breakers[service] for service in sorted(self._breakers)]

    def find(self, service: str) -> Breaker | None:
        """By its name, whatever its case; None for a service that was never asked."""
        return next(
            (breaker for name, breaker in self._breakers.items() if name.casefold() == service.casefold()), None
        )
