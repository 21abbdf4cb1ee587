"""``socket.stale``, ``relay.status``, ``log.end``, ``TaskExit``: what the host tells and the process does not."""

from __future__ import annotations

from typing import Any

from handlers.supervisor import logs
from handlers.supervisor.facts.reading import (
    DERIVED,
    EXACT,
    RENAMED,
    UNAVAILABLE,
    NotKnownError,
    Seen,
    Value,
    fact,
)
from handlers.supervisor.logs import ExitReason, LogTail
from handlers.supervisor.socket_file import SocketFile

# --- the socket's file --------------------------------------------------------------------------------------------


def _file(seen: Seen) -> SocketFile:
    if seen.socket is None:
        raise NotKnownError("the process is reached through its relay; its socket is on another host")
    return seen.socket


@fact("socket.present", "whether a socket stands at the configured path", EXACT, "boolean", ("socket",))
def _present(seen: Seen) -> Value:
    return _file(seen).kind == "socket", _file(seen).text


@fact("socket.mode", "its permissions, four octal digits", EXACT, "text", ("socket",))
def _mode(seen: Seen) -> Value:
    if _file(seen).kind in ("missing", "hidden"):
        raise NotKnownError(_file(seen).text)
    return f"{_file(seen).mode:04o}", _file(seen).text


@fact("socket.stale", "whether a socket is there that nobody listens at", DERIVED, "boolean", ("socket",))
def _stale(seen: Seen) -> Value:
    return _file(seen).stale, _file(seen).text


@fact(
    "socket.blocks_start",
    "whether what stands at the path keeps a new process from binding (create_new refuses every path that exists)",
    DERIVED,
    "boolean",
    ("socket",),
)
def _blocks(seen: Seen) -> Value:
    return _file(seen).blocks_start, _file(seen).text


# --- the relay ----------------------------------------------------------------------------------------------------


@fact(
    "relay.status",
    "answers, down or not configured: whether the relay takes the bot's certificate and says hello",
    DERIVED,
    "text",
    ("relay",),
    possible=("answers", "down", "not configured"),
)
def _relay(seen: Seen) -> Value:
    if seen.relay is None:
        raise NotKnownError("the relay was not asked")
    return seen.relay.status, seen.relay.told


# --- the log ------------------------------------------------------------------------------------------------------


def _log(seen: Seen) -> LogTail:
    if seen.log is None:
        raise NotKnownError(seen.log_problem or "the log was not read")
    return seen.log


@fact("log.tail", "the last lines of the log", EXACT, "list", ("log",), of_run=True)
def _tail(seen: Seen) -> Value:
    return list(_log(seen).lines[-50:]), _log(seen).source


@fact(
    "log.end",
    "planned or crash, by the last lines of the log; the wording is the application's",
    DERIVED,
    "text",
    ("log",),
    of_run=True,
)
def _end(seen: Seen) -> Value:
    found = logs.ending(_log(seen).lines)
    if found.kind == "unknown":
        raise NotKnownError(f"no line of the end of {_log(seen).source} speaks of a shutdown or of a crash")
    return found.kind, f"{_log(seen).source}: {found.line[:200]}"


@fact(
    "log.planned_stop",
    "whether the last lines of the log speak of a shutdown that was asked for",
    DERIVED,
    "boolean",
    ("log",),
    of_run=True,
)
def _planned(seen: Seen) -> Value:
    found = logs.ending(_log(seen).lines)
    return found.kind == "planned", f"{_log(seen).source}: {found.line[:200] or 'no line speaks of a shutdown'}"


def reason_of(seen: Seen) -> ExitReason:
    """The exit reason of the run's child by the log."""
    if seen.target.kind != "child":
        raise NotKnownError("exit reasons are not in the state, and the run does not work on one child")
    if seen.log is None:
        raise NotKnownError(f"exit reasons are not in the state, only in the log of the process. {seen.log_problem}")
    found = logs.exit_reason(seen.log.lines, seen.target.name)
    if found is None:
        raise NotKnownError(
            f"exit reasons are not in the state, and no line of {seen.log.source} names {seen.target.name} "
            "together with a panic or a failure"
        )
    return found


@fact(
    "TaskExit",
    "Panicked or Failed, by the newest line of the log that says so of the child",
    DERIVED,
    "text",
    ("log",),
    of_run=True,
)
def _task_exit(seen: Seen) -> Value:
    return reason_of(seen).kind, f"log: {reason_of(seen).line[:200]}"


@fact("TaskExit.reason", "what that line of the log says", DERIVED, "text", ("log",), of_run=True)
def _task_exit_reason(seen: Seen) -> Value:
    return reason_of(seen).reason[:500], f"log: {reason_of(seen).line[:200]}"


# --- commands of this bot -----------------------------------------------------------------------------------------


@fact(
    "CommandResult",
    "result.accepted of the last command: it was taken, not that it worked",
    RENAMED,
    needs=(),
    of_run=True,
)
def _command_result(seen: Seen) -> Value:
    if seen.command is None:
        raise NotKnownError("this bot has sent no command since it started")
    how = "result.accepted of the last command; it says that the command was taken, not that it worked"
    return "Accepted" if seen.command.accepted else "Rejected", how


@fact(
    "command.accepted",
    "whether the control loop took the last command of the bot",
    RENAMED,
    "boolean",
    (),
    of_run=True,
)
def _accepted(seen: Seen) -> Value:
    value, how = _command_result(seen)
    return value == "Accepted", how


@fact(
    "ShutdownPhase",
    "state_delta.result.phase in the answer to a shutdown of the tree, never in the log",
    RENAMED,
    "text",
    (),
    of_run=True,
)
def _shutdown_phase(seen: Seen) -> Value:
    report = seen.command.shutdown if seen.command else None
    if report is None:
        raise NotKnownError("it is only in the answer to a shutdown of the tree, and this bot has asked for none")
    return report.phase, "state_delta.result.phase of the answer to shutdown_tree"


# --- what the runbooks ask for and nobody tells -------------------------------------------------------------------


def _untold(name: str, help_: str, why: str, values: Any = "text", *, of_run: bool = False) -> None:
    @fact(name, help_, UNAVAILABLE, values, (), of_run=of_run)
    def _never(seen: Seen) -> Value:
        raise NotKnownError(why)


_untold(
    "restart_budget.tokens",
    "not told by the process",
    "the token bucket is internal; restart_limit.remaining is another limiter, often not used up when this one is",
    "number",
)
