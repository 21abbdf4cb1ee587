"""``children.running == target_count``: the facts of a supervised process, each with where it really comes from.

The runbooks name things that the process does not tell (``restart_budget.tokens``, ``TaskExit``) or tells under another
name. A fact here is exact, renamed, derived with its method, or unavailable with the reason; none is a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.handler import FactDefinition, Observation, Provenance, Target
from handlers.supervisor import children
from handlers.supervisor.children import Child, Sample
from handlers.supervisor.client import Probe
from handlers.supervisor.link import Listener
from handlers.supervisor.protocol import CommandResult, State

EXACT, RENAMED, DERIVED = Provenance.EXACT, Provenance.RENAMED, Provenance.DERIVED
ANSWERS = "control loop responses, from the round trips of state; the process counts no iterations"


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read for one look. ``problem`` says why there is no state."""

    target: Target
    now: datetime
    samples: tuple[Sample, ...] = ()
    max_backoff: float = 0.0
    listener: Listener | None = None
    probe: Probe | None = None
    command: CommandResult | None = None  # the last one that this bot sent to the child, or the process
    problem: str = ""

    @property
    def state(self) -> State | None:
        return self.samples[-1].state if self.samples and not self.problem else None

    @property
    def failing(self) -> dict[str, str]:
        """``children.failing`` of what was seen."""
        return children.failing(self.samples, self.max_backoff)

    @property
    def child(self) -> Child | None:
        """The child that the run works on."""
        if self.target.kind != "child" or self.state is None:
            return None
        return children.find(self.state, self.target.name)

    @property
    def rows(self) -> tuple[Child, ...]:
        """The children that a list of records is about: that of the run, else all; only those with a record."""
        found = children.children(self.state) if self.state else ()
        if self.target.kind == "child":
            found = tuple(child for child in found if child.id == self.target.name)
        return tuple(child for child in found if child.record is not None)


Value = tuple[Any, str]  # what is told and where it comes from


class NotKnownError(Exception):
    """The fact cannot be known now; the text says why."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A definition and how it is read. ``needs``: ``state``, ``probe`` or nothing."""

    definition: FactDefinition
    read: Callable[[Seen], Value]
    needs: str = "state"


FACTS: dict[str, Fact] = {}


def _fact(
    name: str, help_: str, provenance: Provenance, values: Any = "text", needs: str = "state", *, of_run: bool = False
) -> Callable[[Callable[[Seen], Value]], Callable[[Seen], Value]]:
    def register(read: Callable[[Seen], Value]) -> Callable[[Seen], Value]:
        FACTS[name] = Fact(FactDefinition(name, help_, provenance, values, of_run=of_run), read, needs)
        return read

    return register


def _all(seen: Seen) -> tuple[Child, ...]:
    assert seen.state is not None  # facts that need the state are read only when there is one
    return children.children(seen.state)


# --- the tree -----------------------------------------------------------------------------------------------------


@_fact("children.running", "children that are active and have a running attempt", DERIVED, "number")
def _running(seen: Seen) -> Value:
    count = sum(child.running for child in _all(seen))
    return count, "records with operation active, an attempt, and status running or ready"


@_fact("children.failed", "active children that are dead or failed within their restart window", DERIVED, "number")
def _failed(seen: Seen) -> Value:
    found = seen.failing
    named = "; ".join(f"{name}: {why}" for name, why in found.items()) or "no record shows a failure"
    return len(found), f"{named} ({len(seen.samples)} samples over {children.spread(seen.samples):.1f} s)"


@_fact("children.total", "children that are declared or recorded", DERIVED, "number")
def _total(seen: Seen) -> Value:
    return len(_all(seen)), "topology and child_runtime_records together"


@_fact("children.quarantined", "children that were quarantined", DERIVED, "number")
def _quarantined(seen: Seen) -> Value:
    return _count(seen, "quarantined")


@_fact("children.paused", "children that were paused", DERIVED, "number")
def _paused(seen: Seen) -> Value:
    return _count(seen, "paused")


def _count(seen: Seen, operation: str) -> Value:
    count = sum(child.record is not None and child.record.operation == operation for child in _all(seen))
    return count, f"records with operation {operation}"


@_fact("children.removed", "declared children without a record", DERIVED, "number")
def _removed(seen: Seen) -> Value:
    return sum(child.removed for child in _all(seen)), "topology rows without a record, and records being removed"


@_fact(
    "children.ignoring_cancellation",
    "children that ran on past the graceful timeout of a stop; one that blocks shows only once it is stopped",
    DERIVED,
    "number",
)
def _ignoring(seen: Seen) -> Value:
    return sum(child.ignores_stop for child in _all(seen)), "records with stop_state failed"


@_fact("children.ghosts", "records that no declaration stands behind and that never ran", DERIVED, "number")
def _ghosts(seen: Seen) -> Value:
    return sum(child.ghost for child in _all(seen)), "records of undeclared children without an attempt"


@_fact("target_count", "how many children should run; an input of that name comes first", DERIVED, "number")
def _target_count(seen: Seen) -> Value:
    declared = [child for child in _all(seen) if child.declared]
    return sum(not child.removed for child in declared), "declared children minus the removed ones"


# --- the records, of the run's child or of all --------------------------------------------------------------------


@_fact("child_runtime_records[].restart_count", "failures of each child in its restart window", RENAMED, "list")
def _restart_counts(seen: Seen) -> Value:
    values = [child.record.restart_limit.used for child in seen.rows if child.record]
    return values, "child_runtime_records[].restart_limit.used: failures within the window, not since the start"


def _column(name: str, help_: str, read: Callable[[Any], Any]) -> None:
    path = f"child_runtime_records[].{name}"

    @_fact(path, help_, EXACT, "list")
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
    @_fact(f"child.{name}", help_, provenance, values)
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


@_fact("child.present", "whether the child has a record", DERIVED, "boolean")
def _present(seen: Seen) -> Value:
    if seen.target.kind != "child":
        raise NotKnownError("the run does not work on one child")
    # A child that is neither declared nor recorded has no slot either: that is what a removal is checked for.
    present = seen.child is not None and seen.child.record is not None
    return present, "whether child_runtime_records holds the child"


@_fact("child.running", "whether the child is active and has a running attempt", DERIVED, "boolean")
def _child_running(seen: Seen) -> Value:
    return _the_child(seen).running, "operation active, an attempt, and status running or ready"


# --- the process --------------------------------------------------------------------------------------------------


@_fact("health.status", "ready, degraded, stalled or unreachable", DERIVED, needs="probe")
def _health(seen: Seen) -> Value:
    probe = seen.probe
    if probe is None or (probe.state is None and probe.hello is None):
        return "unreachable", "neither hello nor state was answered"
    if probe.state is None:
        return "stalled", f"hello was answered and state was not: {probe.state_error}"
    if seen.state is None:
        raise NotKnownError(seen.problem)
    expected = [child for child in _all(seen) if child.record and child.record.operation == "active"]
    down = [child.id for child in expected if not child.running]
    if down:
        return "degraded", f"state was answered; without a running attempt: {', '.join(down)}"
    return "ready", "state was answered and every active child has a running attempt"


@_fact("health.dashboard_link", "connected when the socket answers hello or state", DERIVED, needs="probe")
@_fact("dashboard_link", "connected when the socket answers hello or state", DERIVED, needs="probe")
def _dashboard_link(seen: Seen) -> Value:
    probe = seen.probe
    if probe is not None and (probe.hello is not None or probe.state is not None):
        return "connected", "the socket answers; connection_state of the process is a constant and is not used"
    return "disconnected", seen.problem or "neither hello nor state was answered"


@_fact(
    "health.control_loop_iterations", "control loop responses in this look, not iterations", DERIVED, "number", "probe"
)
def _iterations(seen: Seen) -> Value:
    return int(seen.probe is not None and seen.probe.state is not None), ANSWERS


@_fact("iterations_per_sec", "control loop responses/s, from the round trip of state", DERIVED, "number", "probe")
@_fact(
    "health.iterations_per_sec", "control loop responses/s, from the round trip of state", DERIVED, "number", "probe"
)
def _iterations_per_sec(seen: Seen) -> Value:
    if seen.probe is None or seen.probe.state is None:
        return 0, f"{ANSWERS}; state was not answered"
    return round(1 / max(seen.probe.state, 1e-6), 1), f"{ANSWERS}; one took {seen.probe.state * 1000:.1f} ms"


@_fact("health.uptime_secs", "seconds since the process started", DERIVED, "number")
def _uptime(seen: Seen) -> Value:
    since, how = uptime(seen.state, seen.listener)
    if since is None:
        raise NotKnownError("neither /proc nor the state tells when the process started")
    return round((seen.now - since).total_seconds(), 1), how


@_fact("process.running", "whether a process listens at the socket", DERIVED, "boolean", "probe")
def _process_running(seen: Seen) -> Value:
    if seen.listener is None or (seen.probe and seen.probe.hello is None and seen.probe.state is None):
        return False, seen.problem or "nobody answers at the socket"
    return True, f"pid {seen.listener.pid} listens at the socket (peer credentials)"


@_fact("process.pid", "process id of the one who listens at the socket", DERIVED, "number")
def _pid(seen: Seen) -> Value:
    if seen.listener is None:
        raise NotKnownError("not connected")
    return seen.listener.pid, "peer credentials of the socket"


def uptime(state: State | None, listener: Listener | None) -> tuple[datetime | None, str]:
    """When the process started, and how that is known: /proc first, then the start of its dashboard service."""
    if listener is not None and listener.started_at is not None:
        return listener.started_at, f"start of pid {listener.pid} in /proc"
    if state is not None and state.generated_at_unix_nanos:
        try:
            started = datetime.fromtimestamp(state.generated_at_unix_nanos // 10**9, UTC)
        except (ValueError, OverflowError, OSError):
            return None, ""
        return started, "generated_at_unix_nanos, the start of its dashboard service"
    return None, ""


# --- what the runbooks ask for and nobody tells -------------------------------------------------------------------


@_fact(
    "CommandResult",
    "result.accepted of the last command: it was taken, not that it worked",
    RENAMED,
    needs="",
    of_run=True,
)
def _command_result(seen: Seen) -> Value:
    if seen.command is None:
        raise NotKnownError("this bot has sent no command since it started")
    how = "result.accepted of the last command; it says that the command was taken, not that it worked"
    return "Accepted" if seen.command.accepted else "Rejected", how


@_fact(
    "command.accepted", "whether the control loop took the last command of the bot", RENAMED, "boolean", "", of_run=True
)
def _accepted(seen: Seen) -> Value:
    value, how = _command_result(seen)
    return value == "Accepted", how


def _untold(name: str, help_: str, why: str, values: Any = "text") -> None:
    @_fact(name, help_, Provenance.UNAVAILABLE, values, "")
    def _never(seen: Seen) -> Value:
        raise NotKnownError(why)


_untold(
    "restart_budget.tokens",
    "not told by the process",
    "the token bucket is internal; restart_limit.remaining is another limiter, often not used up when this one is",
    "number",
)
_untold("TaskExit", "not told by the process", "exit reasons are not in the state; read the log of the process")
_untold("ShutdownPhase", "not told by the state", "it is only in the answer to a shutdown of the tree")


# --- looking ------------------------------------------------------------------------------------------------------


def definitions() -> tuple[FactDefinition, ...]:
    return tuple(fact.definition for fact in FACTS.values())


def needs(names: frozenset[str]) -> frozenset[str]:
    """What has to be read for these facts: ``state``, ``probe``."""
    return frozenset(FACTS[name].needs for name in names if name in FACTS) - {""}


def observe(names: frozenset[str], seen: Seen, inputs: Mapping[str, str]) -> list[Observation]:
    """These facts of what was seen, in alphabetical order. An input of the name comes first."""
    return [_observe(name, seen, inputs) for name in sorted(names)]


def _observe(name: str, seen: Seen, inputs: Mapping[str, str]) -> Observation:
    given = inputs.get(name, "")
    if given:
        number = given.strip()
        value = int(number) if number.isascii() and number.isdigit() and len(number) < 19 else given
        return Observation(name=name, value=value, provenance=Provenance.INPUT, source="given with the run")
    fact = FACTS.get(name)
    if fact is None:
        return _unknown(name, "the supervisor has no fact of this name")
    if fact.needs == "state" and seen.state is None:
        return _unknown(name, seen.problem or "there is no state")
    try:
        value, source = fact.read(seen)
    except NotKnownError as error:
        return _unknown(name, str(error))
    return Observation(name=name, value=value, provenance=fact.definition.provenance, source=source)


def _unknown(name: str, why: str) -> Observation:
    return Observation(name=name, provenance=Provenance.UNAVAILABLE, source=why)
