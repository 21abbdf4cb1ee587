"""What a ``state`` says about the children, and what it does not. Pure.

A child is known by its record, not by ``lifecycle_state``: that one follows the operator's last wish, so that a dead
child says running. One sample cannot tell a pause before the next attempt from a child that was given up; two can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from weakref import WeakKeyDictionary

from bot.words import counted
from handlers.supervisor.protocol import ChildRecord, State, Verb

RUNNING = ("running", "ready")
STOPPED = ("no_active_attempt", "idle")
NON_CRITICAL = ("standard", "optional", "best_effort")
UNLIMITED = 4294967295
SHORTEST_HISTORY = timedelta(seconds=10)


def shown(name: str) -> str:
    """A name from the wire for people: what could pass for a line of its own is written out."""
    return name[:100] if name.isprintable() else name[:100].encode("unicode_escape", "replace").decode("ascii")


@dataclass(frozen=True, slots=True)
class Child:
    """A declared child, a recorded one, or both."""

    id: str
    path: str
    declared: bool
    criticality: str
    record: ChildRecord | None

    @property
    def running(self) -> bool:
        record = self.record
        return (
            record is not None
            and record.operation == "active"
            and record.attempt is not None
            and record.status in RUNNING
        )

    @property
    def removed(self) -> bool:
        return self.record is None or self.record.operation == "removed"

    @property
    def ghost(self) -> bool:
        """A record without a declaration that never ran: what a command for a mistyped name leaves behind."""
        return not self.declared and self.record is not None and self.record.attempt is None

    @property
    def non_critical(self) -> bool:
        """Declared as one that may stop. Whatever else a child is called, or not called, is taken for critical."""
        return self.criticality in NON_CRITICAL

    @property
    def ignores_stop(self) -> bool:
        return self.record is not None and self.record.stop_state == "failed"


_KNOWN: WeakKeyDictionary[State, dict[str, Child]] = WeakKeyDictionary()


def children(state: State) -> tuple[Child, ...]:
    """Declared children in their order, then those that have a record only."""
    return tuple(_by_id(state).values())


def expendable(state: State) -> tuple[Child, ...]:
    """Non-critical children that are not quarantined or removed yet, in their order."""
    return tuple(
        child
        for child in children(state)
        if child.non_critical and child.record and child.record.operation not in ("quarantined", "removed")
    )


def find(state: State, child_id: str) -> Child | None:
    return _by_id(state).get(child_id)


def _by_id(state: State) -> dict[str, Child]:
    """Made once for each state: a look asks for its children many times, and there may be thousands."""
    found = _KNOWN.get(state)
    if found is None:
        found = _KNOWN[state] = {child.id: child for child in _children(state)}
    return found


def _children(state: State) -> tuple[Child, ...]:
    records = {record.child_id: record for record in state.child_runtime_records or ()}
    found = [
        Child(node.child_id, node.path or f"/{node.child_id}", True, node.criticality, records.pop(node.child_id, None))
        for node in state.topology.nodes
        if node.child_id
    ]
    found += [Child(record.child_id, record.child_path, False, "", record) for record in records.values()]
    return tuple(found)


def is_down(state: State) -> bool:
    """Whether the tree was shut down: nothing in this process starts again."""
    return bool(state.runtime_state) and all(row.shutdown_state == "completed" for row in state.runtime_state)


def unusable(state: State) -> str | None:
    """Why this process must not be driven: its commands would change labels only. None when it may be."""
    if state.child_runtime_records is None:
        return (
            "its state holds no child_runtime_records, as rust-supervisor 0.1.2 and older answer. "
            "Commands there only change labels and nothing can be verified. Upgrade the crate to 0.1.4"
        )
    if not state.child_runtime_records and any(node.child_id for node in state.topology.nodes):
        demo = (
            " (config_version says that it is the crate's scripted demo)" if "demo-ui" in state.config_version else ""
        )
        return (
            f"its state declares children and records none of them{demo}. "
            "Either every child was removed or nothing runs behind this socket; its commands would only change labels"
        )
    return None


def generation(state: State) -> str:
    """Which of the three kinds of dashboard-ipc.v1 this is, as far as a state can tell."""
    if state.child_runtime_records is None:
        return "A (0.1.2 or older: labels only)"
    if state.state_generation > 1:
        return "C (0.1.3 or newer)"
    return "B or C (they differ after the first command)"


def restart_limit(record: ChildRecord) -> str:
    """``3 of 10 in 60 s``; the unlimited one is named so."""
    limit = record.restart_limit
    window = _window(record)
    if limit.limit >= UNLIMITED:
        return f"{limit.used} in {window}, no limit"
    return f"{limit.used} of {limit.limit} in {window}{', exhausted' if limit.exhausted else ''}"


def condition(child: Child) -> str:
    """The state of a child in a few honest words."""
    record = child.record
    if record is None:
        return "removed (declared, no record)"
    if child.ignores_stop:
        return f"{record.operation}, but did not stop in time and runs on"
    if record.attempt is not None:
        if record.status == "cancelling":
            wish = {"active": "restarting", "removed": "being removed"}.get(record.operation, record.operation)
            return f"{wish}, still stopping"
        if record.operation == "active":
            return record.status or "running"
        return f"{record.operation}, but an attempt runs"
    if record.operation == "active":
        return "called running, no attempt (backing off or given up)" if child.declared else "ghost record, never ran"
    return record.operation


def summary(child: Child) -> str:
    """``running, attempt 4, 3 of 10 failures in 60 s``."""
    record = child.record
    if record is None:
        return condition(child)
    attempt = f", attempt {record.attempt}" if record.attempt is not None else ""
    failures = f", failures {restart_limit(record)}" if record.restart_limit.used else ""
    return f"{condition(child)}{attempt}{failures}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A state and when it was read."""

    at: datetime
    state: State


def with_sample(samples: Sequence[Sample], new: Sample, max_backoff: float) -> tuple[Sample, ...]:
    """The series with one more: of the same process, long enough to judge by, and never more than about twenty."""
    history = max(SHORTEST_HISTORY, timedelta(seconds=2 * max_backoff))
    process = new.state.generated_at_unix_nanos
    kept = [s for s in samples if new.at - s.at <= history and s.state.generated_at_unix_nanos == process]
    if len(kept) > 1 and kept[-1].at - kept[-2].at < history / 20:
        kept.pop()
    return (*kept, new)


def spread(samples: Sequence[Sample]) -> float:
    """Seconds between the first and the last sample."""
    return (samples[-1].at - samples[0].at).total_seconds() if samples else 0.0


def failing(samples: Sequence[Sample], max_backoff: float) -> dict[str, str]:
    """Active children that are dead or failed within their restart window, each with how that is known.

    Evidence: the last stop or restart says that it failed; the restart limit recorded a failure within its window;
    there was no attempt for longer than ``max_backoff`` seconds (``undecided`` tells when that takes another sample).
    """
    found: dict[str, str] = {}
    for child in children(samples[-1].state) if samples and not is_down(samples[-1].state) else ():
        record = child.record
        if record is None or child.ghost:
            continue
        limit = record.restart_limit
        age = samples[-1].at.timestamp() - limit.updated_at_unix_nanos / 1e9
        count, seconds = _without_attempt(samples, child.id)
        if record.failure is not None:
            found[child.id] = record.failure.reason or "its last stop or restart failed"
        elif record.operation != "active":
            continue
        elif limit.used and age <= limit.window_millis / 1000:
            found[child.id] = (
                f"last failed {max(0, round(age))} s ago, {counted(limit.used, 'time')} in {_window(record)}"
            )
        elif count > 1 and seconds >= max_backoff:
            found[child.id] = f"no attempt in {count} samples over {seconds:.1f} s"
    return found


def undecided(samples: Sequence[Sample], max_backoff: float) -> bool:
    """Whether a child could be dead or only between two attempts, so that another sample is needed."""
    if not samples:
        return True
    if is_down(samples[-1].state):
        return False
    known = failing(samples, max_backoff)
    return any(
        child.record is not None
        and child.record.operation == "active"
        and child.record.attempt is None
        and not child.ghost
        and child.id not in known
        for child in children(samples[-1].state)
    )


def _without_attempt(samples: Sequence[Sample], child_id: str) -> tuple[int, float]:
    """In how many of the last samples, and over how many seconds, the child had no attempt."""
    count, since = 0, samples[-1].at
    for sample in reversed(samples):
        child = find(sample.state, child_id)
        if child is None or child.record is None or child.record.attempt is not None:
            break
        count, since = count + 1, sample.at
    return count, (samples[-1].at - since).total_seconds()


def _window(record: ChildRecord) -> str:
    return f"{record.restart_limit.window_millis // 1000} s"


Verdict = Literal["reached", "not yet", "impossible"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a state shows what a command was sent for, in words."""

    verdict: Verdict
    why: str


def judge(verb: Verb, child_id: str, state: State, *, old_attempt: int | None = None) -> Judgement:
    """The post-condition of a command on one child, as seen in a state.

    ``impossible``: waiting longer will not help. ``old_attempt`` is the attempt before a restart.
    """
    child = find(state, child_id)
    record = child.record if child else None
    if verb == "remove_child":
        if record is None:
            return Judgement("reached", f"{child_id} has no record any more")
        if record.stop_state == "failed":
            return _stop_failed(child_id, record)
        return Judgement("not yet", f"{child_id} still has a record: {_seen(record)}")
    if record is None:
        return Judgement("impossible", f"{child_id} has no record any more: it was removed meanwhile")
    if verb in ("pause_child", "quarantine_child"):
        wanted = "paused" if verb == "pause_child" else "quarantined"
        if record.stop_state == "failed":
            return _stop_failed(child_id, record)
        if record.operation == wanted and record.attempt is None and record.stop_state in STOPPED:
            return Judgement("reached", f"{child_id} is {wanted} and has no running attempt")
        return Judgement("not yet", f"{child_id}: {_seen(record)}")
    if verb == "resume_child":
        if record.operation == "active":
            attempt = "no attempt runs" if record.attempt is None else f"attempt {record.attempt} runs"
            return Judgement("reached", f"{child_id} is called active; {attempt}")
        return Judgement("not yet", f"{child_id}: {_seen(record)}")
    newer = record.attempt is not None and (old_attempt is None or record.attempt > old_attempt)
    if newer and record.status in RUNNING and record.generation_fence_phase == "open":
        before = "no attempt" if old_attempt is None else f"attempt {old_attempt}"
        return Judgement("reached", f"{child_id} runs attempt {record.attempt} after {before}")
    return Judgement("not yet", f"{child_id}: {_seen(record)}")


def _stop_failed(child_id: str, record: ChildRecord) -> Judgement:
    return Judgement(
        "impossible",
        f"{child_id} did not stop within the graceful timeout (stop_state failed): it is labelled {record.operation}, "
        f"but attempt {record.attempt} runs on. If it ignores cancellation, only a restart of the process ends it "
        "for certain",
    )


def _seen(record: ChildRecord) -> str:
    return (
        f"operation {record.operation}, attempt {record.attempt}, status {record.status}, "
        f"stop_state {record.stop_state}, phase {record.generation_fence_phase}"
    )
