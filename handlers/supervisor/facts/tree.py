"""``children.failed > 0``, ``child.operation``: the facts of the children, from their records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bot.handler import Provenance
from handlers.supervisor import children
from handlers.supervisor.children import Child
from handlers.supervisor.facts.reading import (
    DERIVED,
    EXACT,
    RENAMED,
    NotKnownError,
    Seen,
    Value,
    all_children,
    fact,
)


@fact("children.running", "children that are active and have a running attempt", DERIVED, "number")
def _running(seen: Seen) -> Value:
    count = sum(child.running for child in all_children(seen))
    return count, "records with operation active, an attempt, and status running or ready"


@fact("children.failed", "active children that are dead or failed within their restart window", DERIVED, "number")
def _failed(seen: Seen) -> Value:
    found = seen.failing
    named = "; ".join(f"{name}: {why}" for name, why in found.items()) or "no record shows a failure"
    return len(found), f"{named} ({len(seen.samples)} samples over {children.spread(seen.samples):.1f} s)"


@fact(
    "children.non_critical",
    "non-critical children that are not quarantined or removed: how many could still be stopped",
    DERIVED,
    "number",
)
def _non_critical(seen: Seen) -> Value:
    if seen.state is None:
        raise NotKnownError(seen.problem or "there is no state")
    left = children.expendable(seen.state)
    return len(left), ", ".join(child.id for child in left) or "every one is quarantined or removed"


@fact("children.total", "children that are declared or recorded", DERIVED, "number")
def _total(seen: Seen) -> Value:
    return len(all_children(seen)), "topology and child_runtime_records together"


@fact("children.quarantined", "children that were quarantined", DERIVED, "number")
def _quarantined(seen: Seen) -> Value:
    return _count(seen, "quarantined")


@fact("children.paused", "children that were paused", DERIVED, "number")
def _paused(seen: Seen) -> Value:
    return _count(seen, "paused")


def _count(seen: Seen, operation: str) -> Value:
    count = sum(child.record is not None and child.record.operation == operation for child in all_children(seen))
    return count, f"records with operation {operation}"


@fact("children.removed", "declared children without a record", DERIVED, "number")
def _removed(seen: Seen) -> Value:
    return sum(
        child.removed for child in all_children(seen)
    ), "topology rows without a record, and records being removed"


@fact(
    "children.ignoring_cancellation",
    "children that ran on past the graceful timeout of a stop; one that blocks shows only once it is stopped",
    DERIVED,
    "number",
)
def _ignoring(seen: Seen) -> Value:
    return sum(child.ignores_stop for child in all_children(seen)), "records with stop_state failed"


@fact("children.ghosts", "records that no declaration stands behind and that never ran", DERIVED, "number")
def _ghosts(seen: Seen) -> Value:
    return sum(child.ghost for child in all_children(seen)), "records of undeclared children without an attempt"


@fact("target_count", "how many children should run; an input of that name comes first", DERIVED, "number")
def _target_count(seen: Seen) -> Value:
    declared = [child for child in all_children(seen) if child.declared]
    return sum(not child.removed for child in declared), "declared children minus the removed ones"


# --- the records, of the run's child or of all --------------------------------------------------------------------


@fact("child_runtime_records[].restart_count", "failures of each child in its restart window", RENAMED, "list")
def _restart_counts(seen: Seen) -> Value:
    values = [child.record.restart_limit.used for child in seen.rows if child.record]
    return values, "child_runtime_records[].restart_limit.used: failures within the window, not since the start"


def _column(name: str, help_: str, read: Callable[[Any], Any]) -> None:
    path = f"child_runtime_records[].{name}"

    @fact(path, help_, EXACT, "list")
    def _values(seen: Seen) -> Value:
        return [read(child.record) for child in seen.rows], path


_column("operation", "what was last asked for each child: active, paused, quarantined, removed", lambda r: r.operation)
_column("attempt", "number of the running attempt, null without one", lambda r: r.attempt)
_column("status", "running, cancelling, or null", lambda r: r.status)
_column("stop_state", "how the last stop went; failed: the child ignores cancellation", lambda r: r.stop_state)
_column("restart_limit.used", "failures within the window", lambda r: r.restart_limit.used)
_column("restart_limit.remaining", "failures left in the window", lambda r: r.restart_limit.remaining)
_column(
    "restart_limit.exhausted",
    "whether this limiter is used up; another one may have fired when it is not",
    lambda r: r.restart_limit.exhausted,
)


# --- the child of the run -----------------------------------------------------------------------------------------


def _of_child(
    name: str, help_: str, provenance: Provenance, values: Any, read: Callable[[Any], Any], source: str
) -> None:
    @fact(f"child.{name}", help_, provenance, values)
    def _value(seen: Seen) -> Value:
        child = _the_child(seen)
        if child.record is None:
            if name == "operation":
                return "absent", "the child has no record: it was removed"
            raise NotKnownError(f"{child.id} has no record: it was removed")
        return read(child.record), source


def _the_child(seen: Seen) -> Child:
    if seen.target.kind != "child":
        raise NotKnownError("the run does not work on one child")
    if seen.child is None:
        raise NotKnownError(f"there is no child {seen.target.name}")
    return seen.child


_RECORD = "child_runtime_records[child]"
_of_child(
    "operation",
    "what was last asked for the child; absent when it has no record",
    RENAMED,
    "text",
    lambda r: r.operation,
    f"{_RECORD}.operation",
)
_of_child("attempt", "running attempt, null without one", RENAMED, "number", lambda r: r.attempt, f"{_RECORD}.attempt")
_of_child("status", "running, cancelling, or null", RENAMED, "text", lambda r: r.status, f"{_RECORD}.status")
_of_child("stop_state", "how its last stop went", RENAMED, "text", lambda r: r.stop_state, f"{_RECORD}.stop_state")
_of_child(
    "restart_count",
    "its failures within the window",
    RENAMED,
    "number",
    lambda r: r.restart_limit.used,
    f"{_RECORD}.restart_limit.used",
)


@fact("child.present", "whether the child has a record", DERIVED, "boolean")
def _present(seen: Seen) -> Value:
    if seen.target.kind != "child":
        raise NotKnownError("the run does not work on one child")
    # A child that is neither declared nor recorded has no slot either: that is what a removal is checked for.
    present = seen.child is not None and seen.child.record is not None
    return present, "whether child_runtime_records holds the child"


@fact("child.running", "whether the child is active and has a running attempt", DERIVED, "boolean")
def _child_running(seen: Seen) -> Value:
    return _the_child(seen).running, "operation active, an attempt, and status running or ready"
