"""``dashboard-ipc.v1``, one JSON object per line: requests to bytes, bytes to what they say. Pure.

Reading is tolerant of what the protocol may grow (unknown fields and unknown words are kept or ignored) and strict
about what is relied upon. Whatever the bytes are, reading them raises nothing but ``ProtocolError``, and takes a time
that is bounded by ``LINE_LIMIT`` and ``MOST_VALUES``: only the fields that are used become objects. Nanoseconds stay
exact integers from the wire to the reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec

Verb = Literal[
    "restart_child",
    "pause_child",
    "resume_child",
    "quarantine_child",
    "remove_child",
    "add_child",
    "shutdown_tree",
]
NEVER_RETRIED: frozenset[str] = frozenset({"remove_child", "add_child", "shutdown_tree"})
CONFIRMED: frozenset[str] = frozenset({"remove_child", "add_child", "shutdown_tree"})
UNREADABLE = "invalid-request"  # the id under which a line is answered that the process could not understand
REQUEST_LIMIT = 65_535  # bytes of a request line; the newest crate drops the connection above 65,536
LINE_LIMIT = 32 * 1024 * 1024  # bytes of an answer; a state grows by about 1.6 KiB per child
LONG_LINE = 1024 * 1024  # from here on the values in a line are counted before they are read
MOST_VALUES = 200_000  # in one line, 3,000 children at least: nothing else happens while they are read, up to 0.2 s
PUSH_LIMIT = 10_000  # lines before an answer that answer nothing
HIGHEST = 2**128  # of the integers on the wire, which are u128 at most

Int = Annotated[int, msgspec.Meta(ge=0)]


class ProtocolError(Exception):
    """What came from the socket is not dashboard-ipc.v1; the text says where it departs."""


class _Wire(msgspec.Struct, frozen=True):
    """Unknown fields are ignored."""


class DashboardError(_Wire, frozen=True):
    """Why a request was not done. ``message`` is free text: shown, never compared."""

    code: str
    stage: str = ""
    target_id: str | None = None
    message: str = ""
    retryable: bool = False


class Registration(_Wire, frozen=True):
    target_id: str
    display_name: str = ""
    ipc_path: str = ""


class Hello(_Wire, frozen=True):
    protocol_version: str
    registration: Registration | None = None
    type: str = ""


class RestartLimit(_Wire, frozen=True, gc=False):
    """Failures inside a sliding window, not over the life of the child."""

    window_millis: Int = 0
    limit: Int = 0
    used: Int = 0
    remaining: Int = 0
    exhausted: bool = False
    updated_at_unix_nanos: Int = 0


class Liveness(_Wire, frozen=True, gc=False):
    """Not a heartbeat of the task: the older generation writes the time of the look here."""

    last_heartbeat_at_unix_nanos: Int | None = None
    heartbeat_stale: bool = False
    readiness: str = ""


class ControlFailure(_Wire, frozen=True, gc=False):
    """Why a stop or a restart did not work; never the error of the child's own task."""

    phase: str = ""
    reason: str = ""
    recoverable: bool = False


class ChildRecord(_Wire, frozen=True):
    """A row of ``child_runtime_records``: what is really known of a child."""

    child_id: str
    operation: str
    child_path: str = ""
    generation: Int | None = None
    attempt: Int | None = None
    status: str | None = None
    managed_child_state: str = ""
    liveness: Liveness = Liveness()
    restart_limit: RestartLimit = RestartLimit()
    stop_state: str = ""
    failure: ControlFailure | None = None
    generation_fence_phase: str = "open"


class RuntimeRow(_Wire, frozen=True):
    """A row of ``runtime_state``. ``lifecycle_state`` follows the operator's wish: a dead child says running."""

    child_path: str
    lifecycle_state: str = ""
    shutdown_state: str = "running"


class Node(_Wire, frozen=True):
    child_id: str | None = None
    path: str = ""
    name: str = ""
    kind: str = ""
    criticality: str = ""


class Edge(_Wire, frozen=True):
    source_path: str = ""
    target_path: str = ""
    kind: str = ""


class Topology(_Wire, frozen=True):
    """As declared at the start; adding and removing children never shows here."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()


class State(_Wire, frozen=True, eq=False, weakref=True):
    """``state``. ``child_runtime_records`` is None when the key is absent, which tells an old generation."""

    topology: Topology = Topology()
    runtime_state: tuple[RuntimeRow, ...] = ()
    child_runtime_records: tuple[ChildRecord, ...] | None = None
    config_version: str = ""
    generated_at_unix_nanos: Int = 0
    state_generation: Int = 0
    target_id: str = ""


class _StateAnswer(_Wire, frozen=True):
    state: State
    target_id: str = ""


class Fence(_Wire, frozen=True):
    """What became of a restart."""

    decision: str
    old_generation: Int | None = None
    old_attempt: Int | None = None
    target_generation: Int | None = None


class Outcome(_Wire, frozen=True):
    """What the control loop did with a command on a child. Not proof of an effect: that is in the state."""

    child_id: str
    attempt: Int | None = None
    operation_before: str = ""
    operation_after: str = ""
    status: str | None = None
    cancel_delivered: bool = False
    stop_state: str = ""
    idempotent: bool = False
    failure: ControlFailure | None = None
    generation_fence: Fence | None = None


class ExitOfChild(_Wire, frozen=True):
    """How a child ended in a shutdown: the only place on the wire where an exit reason ever stands."""

    child_id: str
    status: str  # AlreadyExited, Graceful, Aborted, AbortFailed, LateReport
    exit: str  # Succeeded, Cancelled, TimedOut, Panicked, Failed, or "" when it is not told
    reason: str = ""


class Shutdown(_Wire, frozen=True):
    """The report of a shutdown of the tree, as far as it could be read."""

    phase: str
    verified_clean: bool | None
    idempotent: bool
    exits: tuple[ExitOfChild, ...] = ()


class CommandResult(_Wire, frozen=True):
    """``accepted`` means that the control loop took the message, nothing more."""

    accepted: bool
    command_id: str = ""
    status: str = ""
    error: DashboardError | None = None
    state_delta: dict[str, Any] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of a command on one child; None when the delta is absent, or of another kind or shape."""
        if self.state_delta is None or self.state_delta.get("type") != "child_control":
            return None
        try:
            return msgspec.convert(self.state_delta.get("outcome"), Outcome, strict=False)
        except (msgspec.ValidationError, RecursionError):
            return None

    @property
    def shutdown(self) -> Shutdown | None:
        """The report of a shutdown; None when the delta is absent or is no report."""
        if self.state_delta is None or self.state_delta.get("type") != "shutdown":
            return None
        return read_shutdown(self.state_delta.get("result"))


class _CommandAnswer(_Wire, frozen=True):
    result: CommandResult


class _Typed(_Wire, frozen=True):
    type: str = ""


class _Envelope(_Wire, frozen=True):
    request_id: msgspec.Raw = msgspec.Raw()
    ok: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: ``result`` is the JSON of it when ``error`` is None."""

    request_id: str
    result: bytes
    error: DashboardError | None = None


def encode_request(request_id: str, method: str, params: Mapping[str, Any]) -> bytes:
    """The line of a request. Raises ``ProtocolError`` for one that the process would drop without an answer."""
    request = {"request_id": request_id, "method": method, "params": params}
    line = json.dumps(request, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > REQUEST_LIMIT:
        raise ProtocolError(
            f"the request has {len(line)} bytes, more than {REQUEST_LIMIT}: shorten the reason or the manifest"
        )
    return line


def command_params(
    verb: Verb,
    *,
    command_id: str,
    target_id: str,
    child_path: str | None,
    reason: str,
    requested_by: str,
    requested_at_unix_nanos: int | str,
    child_manifest: str | None = None,
) -> dict[str, Any]:
    """The parameters of ``command.<verb>``; text in place of the time makes the preview of one."""
    target: dict[str, str] = {}
    if child_path is not None:
        target["child_path"] = child_path
    if child_manifest is not None:
        target["child_manifest"] = child_manifest
    return {
        "command_id": command_id,
        "target_id": target_id,
        "command": verb,
        "target": target,
        "reason": reason,
        "requested_by": requested_by,
        "confirmed": verb in CONFIRMED,
        "requested_at_unix_nanos": requested_at_unix_nanos,
    }


def parse_line(line: bytes) -> Reply | None:
    """The answer in a line, None for a push (a line that answers nothing). Raises ``ProtocolError``."""
    check_size(line)
    found = decode(line, _Envelope, "a line")
    if not bytes(found.ok) or not bytes(found.request_id):
        return None
    try:
        request_id = msgspec.json.decode(found.request_id, type=str)
        ok = msgspec.json.decode(found.ok, type=bool)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProtocolError("an answer whose request_id is not text or whose ok is not true or false") from None
    if not ok:
        return Reply(request_id, b"", decode(bytes(found.error) or b"null", DashboardError, "error"))
    result = bytes(found.result)
    if not result.lstrip().startswith(b"{"):
        raise ProtocolError("an answer with ok but without a result")
    return Reply(request_id, result)


def check_size(line: bytes) -> None:
    """Refuse what would take long to read. Raises ``ProtocolError``."""
    if len(line) > LONG_LINE:
        values = line.count(b",") + line.count(b"{") + line.count(b"[")
        if values > MOST_VALUES:
            raise ProtocolError(f"a line of {len(line) >> 20} MiB with {values} values, more than {MOST_VALUES}")


def read_hello(reply: Reply) -> Hello:
    """Raises ``ProtocolError``."""
    _check_type(reply, "hello")
    return decode(reply.result, Hello, "hello")


def read_state(reply: Reply) -> State:
    """Raises ``ProtocolError``."""
    _check_type(reply, "state")
    answer = decode(reply.result, _StateAnswer, "state")
    return checked_state(msgspec.structs.replace(answer.state, target_id=answer.target_id))


def checked_state(state: State) -> State:
    """The state, when its numbers are such as a process can have. Raises ``ProtocolError``."""
    numbers = [state.generated_at_unix_nanos, state.state_generation]
    for record in state.child_runtime_records or ():
        limit = record.restart_limit
        numbers += (limit.window_millis, limit.limit, limit.used, limit.remaining, limit.updated_at_unix_nanos)
        numbers += (record.attempt or 0, record.generation or 0, record.liveness.last_heartbeat_at_unix_nanos or 0)
    if max(numbers) >= HIGHEST:
        raise ProtocolError("state: a number that has more than 128 bits")
    return state


def read_command(reply: Reply) -> CommandResult:
    """Raises ``ProtocolError``."""
    _check_type(reply, "command_result")
    return decode(reply.result, _CommandAnswer, "command_result").result


def read_shutdown(report: Any) -> Shutdown | None:
    """The raw internal report, read leniently: its words are those of another layer and may change."""
    if not isinstance(report, dict) or not isinstance(report.get("phase"), str):
        return None
    inner = report.get("report")
    inner = inner if isinstance(inner, dict) else {}
    reconcile = inner.get("reconcile")
    clean = reconcile.get("verified_clean") if isinstance(reconcile, dict) else None
    outcomes = inner.get("outcomes")
    return Shutdown(
        phase=shorten(report["phase"]),
        verified_clean=clean if isinstance(clean, bool) else None,
        idempotent=report.get("idempotent") is True,
        exits=tuple(_exit(outcome) for outcome in outcomes[:10_000] if isinstance(outcome, dict))
        if isinstance(outcomes, list)
        else (),
    )


def _exit(outcome: Mapping[str, Any]) -> ExitOfChild:
    child = outcome.get("child_id")
    child = child.get("value") if isinstance(child, dict) else child
    kind, reason = "", ""
    match outcome.get("exit"):
        case str(word):
            kind = word
        case {"Panicked": told}:
            kind, reason = "Panicked", str(told)
        case {"Failed": {"message": told, **more}}:
            kind, reason = "Failed", f"{more.get('category', '')}: {told}".removeprefix(": ")
        case {"Failed": told}:
            kind, reason = "Failed", str(told)
    status = outcome.get("status")
    return ExitOfChild(shorten(str(child)), status if isinstance(status, str) else "", shorten(kind), reason[:500])


def _check_type(reply: Reply, kind: str) -> None:
    found = decode(reply.result, _Typed, kind).type
    if found != kind:
        raise ProtocolError(f"an answer of type {shorten(repr(found))} where {kind} was asked for")


Model = TypeVar("Model")


def decode(data: bytes, model: type[Model], where: str) -> Model:
    """JSON as this type. Raises ``ProtocolError`` that names the field, and nothing else."""
    try:
        # Not strict: the newest crate writes its u128 as text, the one before as bare numbers.
        return msgspec.json.decode(data, type=model, strict=False)
    except msgspec.ValidationError as error:
        text = str(error).replace("`$", f"`{where}").replace(" - at ", " at ")
        raise ProtocolError(f"{where} of another shape ({shorten(text)})") from None
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a line that is not UTF-8 (byte {error.start})") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"a line that is not JSON ({shorten(str(error))})") from None


def shorten(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"
