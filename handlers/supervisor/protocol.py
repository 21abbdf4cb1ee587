"""``dashboard-ipc.v1``, one JSON object per line: requests to bytes, bytes to what they say. Pure.

Reading is tolerant of what the protocol may grow (unknown fields and unknown words are kept or ignored) and strict
about what is relied upon. Whatever the bytes are, reading them raises nothing but ``ProtocolError``. Nanoseconds stay
exact integers from the wire to the reader.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
LINE_LIMIT = 4 * 1024 * 1024  # bytes of a reply; a state grows by about 1 KiB per child, and reading stops the bot
PUSH_LIMIT = 10_000  # lines before an answer that answer nothing

Int = Annotated[int, Field(strict=True, ge=0, lt=2**128)]
Bool = Annotated[bool, Field(strict=True)]


class ProtocolError(Exception):
    """What came from the socket is not dashboard-ipc.v1; the text says where it departs."""


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class DashboardError(_Wire):
    """Why a request was not done. ``message`` is free text: shown, never compared."""

    code: str
    stage: str = ""
    target_id: str | None = None
    message: str = ""
    retryable: Bool = False


class Registration(_Wire):
    target_id: str
    display_name: str = ""
    ipc_path: str = ""


class Hello(_Wire):
    protocol_version: str
    registration: Registration | None = None


class RestartLimit(_Wire):
    """Failures inside a sliding window, not over the life of the child."""

    window_millis: Int = 0
    limit: Int = 0
    used: Int = 0
    remaining: Int = 0
    exhausted: Bool = False
    updated_at_unix_nanos: Int = 0


class ControlFailure(_Wire):
    """Why a stop or a restart did not work; never the error of the child's own task."""

    phase: str = ""
    reason: str = ""
    recoverable: Bool = False


class ChildRecord(_Wire):
    """A row of ``child_runtime_records``: what is really known of a child."""

    child_id: str
    child_path: str = ""
    generation: Int | None = None
    attempt: Int | None = None
    status: str | None = None
    operation: str
    managed_child_state: str = ""
    restart_limit: RestartLimit = RestartLimit()
    stop_state: str = ""
    failure: ControlFailure | None = None
    generation_fence_phase: str = "open"


class RuntimeRow(_Wire):
    """A row of ``runtime_state``. ``lifecycle_state`` follows the operator's wish: a dead child says running."""

    child_path: str
    lifecycle_state: str = ""
    shutdown_state: str = "running"


class Node(_Wire):
    child_id: str | None = None
    path: str = ""
    criticality: str = ""


class Topology(_Wire):
    """As declared at the start; adding and removing children never shows here."""

    nodes: tuple[Node, ...] = ()


class State(_Wire):
    """``state``. ``child_runtime_records`` is None when the key is absent, which tells an old generation."""

    topology: Topology = Topology()
    runtime_state: tuple[RuntimeRow, ...] = ()
    child_runtime_records: tuple[ChildRecord, ...] | None = None
    config_version: str = ""
    generated_at_unix_nanos: Int = 0
    state_generation: Int = 0
    target_id: str = ""


class Fence(_Wire):
    """What became of a restart."""

    decision: str
    old_generation: Int | None = None
    old_attempt: Int | None = None
    target_generation: Int | None = None


class Outcome(_Wire):
    """What the control loop did with a command on a child. Not proof of an effect: that is in the state."""

    child_id: str
    attempt: Int | None = None
    operation_before: str = ""
    operation_after: str = ""
    status: str | None = None
    cancel_delivered: Bool = False
    stop_state: str = ""
    idempotent: Bool = False
    failure: ControlFailure | None = None
    generation_fence: Fence | None = None


class CommandResult(_Wire):
    """``accepted`` means that the control loop took the message, nothing more."""

    command_id: str = ""
    accepted: Bool
    status: str = ""
    error: DashboardError | None = None
    state_delta: dict[str, Any] | None = None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of a command on one child; None when the delta is absent, or of another kind or shape."""
        if self.state_delta is None or self.state_delta.get("type") != "child_control":
            return None
        try:
            return Outcome.model_validate(self.state_delta.get("outcome"))
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: ``result`` when ``error`` is None."""

    request_id: str
    result: Mapping[str, Any]
    error: DashboardError | None = None


def encode_request(request_id: str, method: str, params: Mapping[str, Any]) -> bytes:
    """The line of a request. Raises ``ProtocolError`` for one that the process would drop without an answer."""
    request = {"request_id": request_id, "method": method, "params": params}
    line = json.dumps(request, separators=(",", ":")).encode("ascii") + b"\n"
    if len(line) > REQUEST_LIMIT:
        raise ProtocolError(f"the request has {len(line)} bytes, more than {REQUEST_LIMIT}: shorten the reason")
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
) -> dict[str, Any]:
    """The parameters of ``command.<verb>``; text in place of the time makes the preview of one."""
    return {
        "command_id": command_id,
        "target_id": target_id,
        "command": verb,
        "target": {} if child_path is None else {"child_path": child_path},
        "reason": reason,
        "requested_by": requested_by,
        "confirmed": verb in CONFIRMED,
        "requested_at_unix_nanos": requested_at_unix_nanos,
    }


def parse_line(line: bytes) -> Reply | None:
    """The answer in a line, None for a push (a line that answers nothing). Raises ``ProtocolError``."""
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a line that is not UTF-8 (byte {error.start})") from None
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a line that is not JSON ({_shorten(str(error))})") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"a line that is a JSON {type(value).__name__}, not an object")
    if "ok" not in value or "request_id" not in value:
        return None
    request_id, ok = value["request_id"], value["ok"]
    if not isinstance(request_id, str) or not isinstance(ok, bool):
        raise ProtocolError("an answer whose request_id is not text or whose ok is not true or false")
    if not ok:
        return Reply(request_id, {}, _read(DashboardError, value.get("error"), "error"))
    result = value.get("result")
    if not isinstance(result, dict):
        raise ProtocolError("an answer with ok but without a result")
    return Reply(request_id, result)


def read_hello(reply: Reply) -> Hello:
    """Raises ``ProtocolError``."""
    return _read(Hello, _typed(reply, "hello"), "hello")


def read_state(reply: Reply) -> State:
    """Raises ``ProtocolError``."""
    result = _typed(reply, "state")
    state = result.get("state")
    if not isinstance(state, dict):
        raise ProtocolError("state: the field state is missing")
    return _read(State, {**state, "target_id": result.get("target_id", "")}, "state")


def read_command(reply: Reply) -> CommandResult:
    """Raises ``ProtocolError``."""
    return _read(CommandResult, _typed(reply, "command_result").get("result"), "command_result")


def _typed(reply: Reply, kind: str) -> Mapping[str, Any]:
    found = reply.result.get("type")
    if found != kind:
        raise ProtocolError(f"an answer of type {_shorten(repr(found))} where {kind} was asked for")
    return reply.result


Model = TypeVar("Model", bound=BaseModel)


def _read(model: type[Model], value: Any, where: str) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in (where, *first["loc"]))
        raise ProtocolError(f"{_shorten(path)}: {_shorten(first['msg'])}") from None
    except RecursionError:
        raise ProtocolError(f"{where}: nested too deeply") from None


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else text[:119] + "…"
