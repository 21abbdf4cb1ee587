"""A supervised child as it is told: its attempt, its restart limit, the outcome of a command on it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

Behaviour = Literal["steady", "crash_loop", "slow_to_stop", "ignores_cancellation"]
Operation = Literal["active", "paused", "quarantined", "removed"]

UNLIMITED = 4294967295
BEAT_SECONDS = 0.05  # how often a working child looks at its token
STALE_AFTER_SECONDS = 5.0
DEFAULT_WINDOW_MILLIS = "60000"  # what is told of a child that has not ended yet

MANAGED_STATE: dict[str, str] = {
    "active": "running",
    "paused": "paused",
    "quarantined": "quarantined",
    "removed": "removed",
}


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What the tree was declared with. Times are seconds."""

    id: str
    behaviour: Behaviour = "steady"
    crash_after: float = 3.0  # crash_loop: how long an attempt lives
    stop_takes: float = 1.5  # slow_to_stop: between the request and the end
    backoff: float = 0.5  # between a failure and the next attempt
    restart_limit: int = UNLIMITED  # failures inside the window before the child is given up
    window: float = 60.0
    criticality: Literal["critical", "standard"] = "standard"
    drag: float = 0.0  # how long each message of the control loop waits while the child runs: it blocks now and then


@dataclass(slots=True)
class Fuses:
    """What ends a crash loop whatever was declared: these numbers are in the code of the crate, without a setting."""

    hot_crashes: int = 3  # of any children, within
    hot_seconds: float = 10.0
    cold_restarts: int = 5  # in the first
    cold_seconds: float = 60.0
    _crashes: deque[float] = field(default_factory=deque)
    _restarts: int = 0
    _since: float = field(default_factory=time.monotonic)

    def blow(self, now: float) -> bool:
        """Whether a crash now (monotonic seconds) is one too many, so that nothing is started again."""
        self._crashes.append(now)
        while self._crashes[0] <= now - self.hot_seconds:
            self._crashes.popleft()
        cold = now - self._since <= self.cold_seconds
        self._restarts = self._restarts + 1 if cold else 0
        return len(self._crashes) >= self.hot_crashes or (cold and self._restarts > self.cold_restarts)


class CrashError(Exception):
    """What the child in a crash loop dies of; the reason leaves this process only in the report of a shutdown."""


@dataclass(slots=True)
class Child:
    """One supervised child and its running attempt, if any."""

    spec: ChildSpec
    operation: Operation = "active"
    started: int = 0  # attempts so far; the next one is started + 1
    attempt: int | None = None
    generation: int | None = None
    status: str | None = None
    stop_state: str = "idle"
    phase: str = "open"  # of the generation fence
    failure: dict[str, Any] | None = None
    stop_before: float | None = None  # monotonic; the graceful time limit of a delivered cancellation
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    respawn: asyncio.TimerHandle | None = None
    failures: deque[float] = field(default_factory=deque)
    limit_updated_at: int = 0  # Unix nanoseconds of the last end of an attempt; 0 when none has ended
    pending: dict[str, Any] | None = None  # the restart that waits for the old attempt
    abort_requested: bool = False  # of that old attempt
    exit: Any = None  # how the last attempt ended; told only when the tree is shut down
    last_beat: int | None = None
    last_exit: str = ""  # for this process's own log

    @property
    def path(self) -> str:
        return f"/{self.spec.id}"

    @property
    def exhausted(self) -> bool:
        return len(self.failures) >= self.spec.restart_limit

    def restart_limit(self) -> dict[str, Any]:
        """Without a limit until an attempt has ended: only then the process looks at what was declared."""
        if not self.limit_updated_at:
            return {
                "window_millis": DEFAULT_WINDOW_MILLIS,
                "limit": UNLIMITED,
                "used": 0,
                "remaining": UNLIMITED,
                "exhausted": False,
                "updated_at_unix_nanos": "0",
            }
        used = len(self.failures)
        return {
            "window_millis": str(int(self.spec.window * 1000)),
            "limit": self.spec.restart_limit,
            "used": used,
            "remaining": max(0, self.spec.restart_limit - used),
            "exhausted": self.exhausted,
            "updated_at_unix_nanos": str(self.limit_updated_at),
        }

    def liveness(self) -> dict[str, Any]:
        stale = self.last_beat is not None and time.time_ns() - self.last_beat > STALE_AFTER_SECONDS * 1e9
        beat = {} if self.last_beat is None else {"last_heartbeat_at_unix_nanos": str(self.last_beat)}
        # The readiness of the declaration is "immediate": whoever runs is ready.
        readiness = "unreported" if self.attempt is None else "ready"
        return {**beat, "heartbeat_stale": stale, "readiness": readiness}


def fence(
    decision: str,
    old_generation: int | None = None,
    old_attempt: int | None = None,
    target_generation: int | None = None,
    *,
    cancel_delivered: bool = False,
    abort_requested: bool = False,
    conflict: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "decision": decision,
        "old_generation": old_generation,
        "old_attempt": old_attempt,
        "target_generation": target_generation,
        "cancel_delivered": cancel_delivered,
        "abort_requested": abort_requested,
        "conflict": conflict,
    }


def task_exit(task: asyncio.Task[None]) -> Any:
    """How an attempt ended, in the words of the report of a shutdown; None while it runs."""
    if not task.done():
        return None
    error = None if task.cancelled() else task.exception()
    if error is None:
        return "Cancelled"
    return {"Failed": {"kind": "Error", "category": "invoice", "message": str(error)}}


SHUTDOWN_PHASES = {
    "Graceful": "GracefulDrain",
    "Aborted": "AbortStragglers",
    "AbortFailed": "AbortStragglers",
    "AlreadyExited": "Reconcile",
}


def shutdown_outcome(child_id: str, generation: int, attempt: int, status: str, exit_: Any) -> dict[str, Any]:
    return {
        "child_id": {"value": child_id},
        "path": {"segments": [child_id]},
        "generation": {"value": generation},
        "child_start_count": {"value": attempt},
        "status": status,
        "cancel_delivered": status != "AlreadyExited",
        "exit": exit_,
        "phase": SHUTDOWN_PHASES[status],
        "reason": "tree shutdown",
    }
