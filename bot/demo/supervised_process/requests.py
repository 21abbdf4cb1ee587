"""One line of ``dashboard-ipc.v1`` into a request, or into the error that the line is answered with. Pure."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

READS = ("hello", "state", "events.subscribe", "logs.tail")
COMMANDS = (
    "restart_child",
    "pause_child",
    "resume_child",
    "quarantine_child",
    "remove_child",
    "add_child",
    "shutdown_tree",
)
CONFIRMED = ("remove_child", "add_child", "shutdown_tree")
METHODS = READS + tuple(f"command.{command}" for command in COMMANDS)
UNREADABLE = "invalid-request"  # the id of an answer to a line that could not be understood


class RefusalError(Exception):
    """An answer with ``ok: false``."""

    def __init__(
        self, code: str, stage: str, message: str, *, retryable: bool = False, names_target: bool = True
    ) -> None:
        super().__init__(message)
        self.code = code
        self.stage = stage
        self.message = message
        self.retryable = retryable
        self.names_target = names_target

    def body(self, target_id: str | None) -> dict[str, Any]:
        return {
            "code": self.code,
            "stage": self.stage,
            "target_id": target_id if self.names_target else None,
            "message": self.message,
            "retryable": self.retryable,
        }


@dataclass(frozen=True, slots=True)
class Request:
    request_id: str
    method: str
    params: dict[str, Any]

    @property
    def writes(self) -> bool:
        return self.method.startswith("command.")


@dataclass(frozen=True, slots=True)
class Order:
    """The parameters of a command, checked."""

    command_id: str
    command: str
    child_path: str | None
    child_manifest: str | None
    reason: str
    requested_by: str

    @property
    def child_id(self) -> str | None:
        """The last segment of the path; the segments before it are not looked at."""
        segments = [segment for segment in (self.child_path or "").split("/") if segment]
        return segments[-1] if segments else None


def parse_request(text: str) -> Request:
    """Raises ``RefusalError``: ``invalid_json`` or ``unsupported_method``, answered under the id ``UNREADABLE``."""
    try:
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise RefusalError("invalid_json", "protocol_parse", f"not a request: {error}") from None
    if not isinstance(value, dict):
        raise RefusalError("invalid_json", "protocol_parse", "a request is an object")
    request_id, method, params = value.get("request_id"), value.get("method"), value.get("params", {})
    if not isinstance(request_id, str) or not isinstance(method, str):
        raise RefusalError("invalid_json", "protocol_parse", "request_id and method are required text")
    if method not in METHODS:
        raise RefusalError("unsupported_method", "protocol_parse", f"unsupported method {method}")
    return Request(request_id, method, params if isinstance(params, dict) else {})


def parse_order(params: dict[str, Any], target_id: str) -> Order:
    """Raises ``RefusalError``: shapes first (``invalid_command_params``), then values (``validation_failed``)."""
    for key in ("command_id", "target_id", "command", "reason", "requested_by"):
        if not isinstance(params.get(key), str):
            raise _bad_shape(f"{key} is required text")
    if params["command"] not in COMMANDS:
        raise _bad_shape(f"unknown variant {params['command']}")
    target = params.get("target")
    if not isinstance(target, dict):
        raise _bad_shape("target is a required object")
    path, manifest = target.get("child_path"), target.get("child_manifest")
    if not isinstance(path, str | None) or not isinstance(manifest, str | None):
        raise _bad_shape("child_path and child_manifest are text or null")
    if not isinstance(params.get("confirmed"), bool):
        raise _bad_shape("confirmed is a required boolean")
    requested_at = _nanoseconds(params.get("requested_at_unix_nanos"))

    for key in ("reason", "requested_by"):
        if not params[key].strip():
            raise _bad_value(f"{key} is blank")
    try:
        uuid.UUID(params["command_id"])
    except ValueError:
        raise _bad_value("command_id is not a UUID") from None
    command = params["command"]
    if command == "add_child" and not (manifest or "").strip():
        raise _bad_value("add_child needs a child_manifest")
    if command not in ("add_child", "shutdown_tree") and not (path or "").strip():
        raise _bad_value(f"{command} needs a child_path")
    if requested_at == 0:
        raise _bad_value("requested_at_unix_nanos is zero")
    if command in CONFIRMED and not params["confirmed"]:
        raise _bad_value(f"{command} must be confirmed")
    if params["target_id"] != target_id:
        raise _bad_value(f"target_id is not {target_id}")
    return Order(params["command_id"], command, path, manifest, params["reason"], params["requested_by"])


def _nanoseconds(value: Any) -> int:
    """A time, as a number or in digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**128:
        raise _bad_shape("requested_at_unix_nanos is a required time in nanoseconds")
    return value


def _bad_shape(message: str) -> RefusalError:
    return RefusalError("invalid_command_params", "protocol_parse", message, names_target=False)


def _bad_value(message: str) -> RefusalError:
    return RefusalError("validation_failed", "command_validate", message)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate field")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
