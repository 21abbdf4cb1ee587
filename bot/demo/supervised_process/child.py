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
    criticality: str = "standard"


class CrashError(Exception):
    """What the child in a crash loop dies of; the reason never leaves this process through the socket."""


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
    limit_updated_at: int = 0
    last_beat: int | None = None
    last_exit: str = ""  # for this process's own log

    @property
    def path(self) -> str:
        return f"/{self.spec.id}"

    @property
    def exhausted(self) -> bool:
        return len(self.failures) > self.spec.restart_limit

    def restart_limit(self) -> dict[str, Any]:
        used = min(len(self.failures), self.spec.restart_limit)
        return {
            "window_millis": int(self.spec.window * 1000),
            "limit": self.spec.restart_limit,
            "used": used,
            "remaining": self.spec.restart_limit - used,
            "exhausted": self.exhausted,
            "updated_at_unix_nanos": self.limit_updated_at,
        }

    def liveness(self) -> dict[str, Any]:
        stale = self.last_beat is not None and time.time_ns() - self.last_beat > STALE_AFTER_SECONDS * 1e9
        return {
            "last_heartbeat_at_unix_nanos": self.last_beat,
            "heartbeat_stale": stale,
            "readiness": "unreported",
        }


def fence(
    decision: str,
    old_generation: int | None = None,
    old_attempt: int | None = None,
    target_generation: int | None = None,
    *,
    cancel_delivered: bool = False,
    conflict: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "decision": decision,
        "old_generation": old_generation,
        "old_attempt": old_attempt,
        "target_generation": target_generation,
        "cancel_delivered": cancel_delivered,
        "abort_requested": False,
        "conflict": conflict,
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
        "phase": "Completed" if status == "AlreadyExited" else "GracefulDrain" if status == "Graceful" else "Abort",
        "reason": "tree shutdown",
    }
