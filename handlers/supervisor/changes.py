"""``worker-3: attempt 4 ended``: what differs between two states of one process. Pure.

The process tells no events. What happened and was over between two looks is not seen, and what is seen happened at some
time between them; everything that is made from this says so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from handlers.supervisor import children
from handlers.supervisor.children import Child
from handlers.supervisor.protocol import State

KEPT = 500  # changes of one process
LABEL = "Differences between two looks, not events of the process: what came and went in between is not seen."


@dataclass(frozen=True, slots=True)
class Change:
    """Seen at the look ``at``; it happened after the look ``since``. ``child`` is empty for the process itself."""

    at: datetime
    since: datetime
    child: str
    text: str


def differences(before: State, after: State) -> list[tuple[str, str]]:
    """Child (empty: the process) and what is different, in the order of the children."""
    if before.generated_at_unix_nanos != after.generated_at_unix_nanos:
        return [("", "the process was started again: all its children are new")]
    found: list[tuple[str, str]] = []
    old = {child.id: child for child in children.children(before)}
    for child in children.children(after):
        found += [(child.id, text) for text in _of_child(old.pop(child.id, None), child)]
    found += [(gone.id, "has no record any more") for gone in old.values() if gone.record is not None]
    if children.is_down(after) and not children.is_down(before):
        found.append(("", "the tree was shut down"))
    return found


def _of_child(before: Child | None, after: Child) -> list[str]:
    if before is None or before.record is None:
        if after.record is None:
            return []
        attempt = f", attempt {after.record.attempt} runs" if after.record.attempt is not None else ", no attempt runs"
        return [f"has a record now: {after.record.operation}{attempt}"]
    if after.record is None:
        return ["has no record any more: it was removed"]
    old, new = before.record, after.record
    found = []
    if old.operation != new.operation:
        found.append(f"{old.operation} → {new.operation}")
    if old.attempt != new.attempt:
        if new.attempt is None:
            found.append(f"attempt {old.attempt} ended")
        elif old.attempt is None:
            found.append(f"attempt {new.attempt} runs")
        else:
            found.append(f"attempt {new.attempt} runs after attempt {old.attempt}")
    elif old.status != new.status:
        found.append(f"{old.status or 'no status'} → {new.status or 'no status'}")
    if old.stop_state != "failed" and new.stop_state == "failed":
        found.append("did not stop within the graceful timeout")
    if new.restart_limit.used > old.restart_limit.used:
        found.append(f"failures: {children.restart_limit(new)}")
    if new.restart_limit.exhausted and not old.restart_limit.exhausted:
        found.append("its restart limit is used up")
    if old.generation_fence_phase != new.generation_fence_phase:
        found.append(f"restart: {new.generation_fence_phase.replace('_', ' ')}")
    return found


@dataclass(slots=True)
class History:
    """The changes of one process, look by look."""

    state: State | None = None
    looked_at: datetime | None = None
    problem: str = ""  # of the last look; empty when it was answered
    changes: deque[Change] = field(default_factory=lambda: deque(maxlen=KEPT))
    looks: int = 0

    def answered(self, state: State, at: datetime) -> list[Change]:
        """A look that was answered; what is new."""
        since = self.looked_at or at
        found = [("", "answers again")] if self.problem else []
        if self.state is not None:
            found += differences(self.state, state)
        self.state, self.problem = state, ""
        return self._note(found, since, at)

    def failed(self, problem: str, at: datetime) -> list[Change]:
        """A look that was not answered; it is a change when it was answered before, or failed otherwise."""
        since = self.looked_at or at
        found = [("", problem)] if problem != self.problem else []
        self.problem = problem
        return self._note(found, since, at)

    def _note(self, found: list[tuple[str, str]], since: datetime, at: datetime) -> list[Change]:
        new = [Change(at, since, child, text) for child, text in found]
        self.changes.extend(new)
        self.looked_at = at
        self.looks += 1
        return new
