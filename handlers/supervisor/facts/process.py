"""``health.status``, ``dashboard_link``, ``iterations_per_sec``: counted nowhere by the process, told by a probe."""

from __future__ import annotations

from datetime import UTC, datetime

from handlers.supervisor.facts.reading import DERIVED, Need, NotKnownError, Seen, Value, all_children, fact
from handlers.supervisor.link import Listener
from handlers.supervisor.protocol import State

ANSWERS = "control loop responses, from the round trips of state; the process counts no iterations"
PROBED: tuple[Need, ...] = ("probe",)


@fact("health.status", "ready, degraded, stalled, refused or unreachable", DERIVED, needs=PROBED)
def _health(seen: Seen) -> Value:
    probe = seen.probe
    if probe is not None and probe.refused:
        return "refused", probe.state_error
    if probe is None or (probe.state is None and probe.hello is None):
        return "unreachable", "neither hello nor state was answered"
    if probe.state is None:
        return "stalled", f"hello was answered and state was not: {probe.state_error}"
    if seen.state is None:
        raise NotKnownError(seen.problem)
    expected = [child for child in all_children(seen) if child.record and child.record.operation == "active"]
    down = [child.id for child in expected if not child.running]
    if down:
        return "degraded", f"state was answered; without a running attempt: {', '.join(down)}"
    return "ready", "state was answered and every active child has a running attempt"


@fact("health.dashboard_link", "connected when the socket answers hello or state", DERIVED, needs=PROBED)
@fact("dashboard_link", "connected when the socket answers hello or state", DERIVED, needs=PROBED)
def _dashboard_link(seen: Seen) -> Value:
    probe = seen.probe
    if probe is not None and (probe.hello is not None or probe.state is not None):
        return "connected", "the socket answers; connection_state of the process is a constant and is not used"
    if probe is not None and probe.refused:
        return "refused", probe.state_error
    return "disconnected", seen.problem or "neither hello nor state was answered"


@fact(
    "health.control_loop_iterations", "control loop responses in this look, not iterations", DERIVED, "number", PROBED
)
def _iterations(seen: Seen) -> Value:
    return int(seen.probe is not None and seen.probe.state is not None), ANSWERS


@fact("iterations_per_sec", "control loop responses/s, from the round trip of state", DERIVED, "number", PROBED)
@fact("health.iterations_per_sec", "control loop responses/s, from the round trip of state", DERIVED, "number", PROBED)
def _iterations_per_sec(seen: Seen) -> Value:
    if seen.probe is None or seen.probe.state is None:
        return 0, f"{ANSWERS}; state was not answered"
    return round(1 / max(seen.probe.state, 1e-6), 1), f"{ANSWERS}; one took {seen.probe.state * 1000:.1f} ms"


@fact("health.uptime_secs", "seconds since the process started", DERIVED, "number")
def _uptime(seen: Seen) -> Value:
    since, how = uptime(seen.state, seen.listener)
    if since is None:
        raise NotKnownError("neither /proc nor the state tells when the process started")
    return round((seen.now - since).total_seconds(), 1), how


@fact(
    "process.running",
    "whether the process is there: it listens at its socket, or pgrep finds it",
    DERIVED,
    "boolean",
    ("probe", "pgrep"),
)
def _process_running(seen: Seen) -> Value:
    if seen.listener is not None:
        return True, f"pid {seen.listener.pid} listens at the socket (peer credentials)"
    if seen.through_relay:
        if seen.probe is not None and seen.probe.state is not None:
            return True, "the relay has its state; its process id is not told"
        raise NotKnownError(f"only the relay could be asked, and it has no answer of the process: {seen.problem}")
    if seen.pgrep is not None and seen.pgrep.exit_code in (0, 1):
        return seen.pgrep.exit_code == 0, f"{seen.pgrep.told}; the socket does not answer: {seen.problem}"
    return False, seen.problem or "nobody answers at the socket"


@fact("process.pid", "process id of the one who listens at the socket", DERIVED, "number", PROBED)
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
