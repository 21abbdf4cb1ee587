"""One conversation with a supervised process: what is recorded of the real one and asked of the simulation.

Nothing in a step depends on how fast the machine is: where an effect takes its time, a step waits for it in
``child_runtime_records`` before it asks.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.demo.supervised_process import ChildSpec, ProcessConfig

WAIT_SECONDS = 10.0
PACE_SECONDS = 0.011  # the process takes a hundred requests a second
SOCKET = "/run/payments.sock"  # stands in the recording for the path that the test made

# What differs from one run of the same process to the next: compared by type, not by value.
VOLATILE = frozenset(
    {
        "last_heartbeat_at_unix_nanos",
        "updated_at_unix_nanos",
        "generated_at_unix_nanos",
        "completed_at_unix_nanos",
        "started_at_unix_nanos",
    }
)
# Text for people, which the protocol does not fix: that there is one is compared, not what it says.
FREE_TEXT = frozenset({"message", "reason", "last_failure", "config_version", "category"})
# Left out until the child has beaten once, so whether it is there is a matter of milliseconds.
MAY_BE_ABSENT = frozenset({"last_heartbeat_at_unix_nanos"})

RESTART_LIMIT = 10_000
CHILDREN = (
    ChildSpec("worker-1", restart_limit=RESTART_LIMIT),
    ChildSpec("worker-2", restart_limit=RESTART_LIMIT),
    ChildSpec("worker-3", "crash_loop", crash_after=0.1, backoff=0.01, restart_limit=RESTART_LIMIT),
    ChildSpec("ledger-writer", "slow_to_stop", stop_takes=0.3, criticality="critical", restart_limit=RESTART_LIMIT),
    ChildSpec("fraud-scorer", "ignores_cancellation", restart_limit=RESTART_LIMIT),
)


def configuration(socket: Path) -> ProcessConfig:
    return ProcessConfig(socket, children=CHILDREN, graceful_timeout=0.5, abort_wait=0.3)


@dataclass(frozen=True, slots=True)
class Step:
    """A line to send; before it, the record to wait for: fields of a child, or None for no such record."""

    name: str
    line: bytes
    child: str = ""
    until: dict[str, Any] | None = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was said; ``response`` is None when the connection was closed instead."""

    name: str
    request: str
    response: dict[str, Any] | None


def _request(method: str, params: Any = None, request_id: str = "") -> bytes:
    request = {"request_id": request_id, "method": method, "params": {} if params is None else params}
    return json.dumps(request).encode() + b"\n"


def _params(command: str, child: str | None, /, **changes: Any) -> dict[str, Any]:
    params = {
        "command_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{command} {child}")),
        "target_id": "payments",
        "command": command,
        "target": {"child_path": child},
        "reason": "P1-002 step 3",
        "requested_by": "chatops:alice",
        "confirmed": True,
        "requested_at_unix_nanos": 1780000000555000000,
        **changes,
    }
    return {key: value for key, value in params.items() if value is not ...}


def _command(command: str, child: str | None = None, /, **changes: Any) -> bytes:
    return _request(f"command.{command}", _params(command, child, **changes))


STATE = _request("state")
BAD_PARAMETERS: dict[str, dict[str, Any]] = {
    "no reason": {"reason": ...},
    "an unknown command": {"command": "explode"},
    "confirmed as text": {"confirmed": "yes"},
    "no target": {"target": ...},
    "a time below zero": {"requested_at_unix_nanos": -1},
    "a time with a fraction": {"requested_at_unix_nanos": 1.5},
    "a time as words": {"requested_at_unix_nanos": "now"},
    "another target": {"target_id": "orders"},
    "a blank reason": {"reason": "  "},
    "a blank requester": {"requested_by": ""},
    "a command_id that is no UUID": {"command_id": "4711"},
    "a time of zero": {"requested_at_unix_nanos": 0},
    "a blank child": {"target": {"child_path": " "}},
    "no child": {"target": {}},
    "not confirmed": {"confirmed": False},
}


def _manifest(text: str) -> dict[str, Any]:
    return {"target": {"child_path": None, "child_manifest": text}}


def _reads() -> Iterator[Step]:
    yield Step("hello", _request("hello"))
    yield Step("events without a session", _request("events.subscribe"))
    yield Step("events with a session", _request("events.subscribe", {"session_established": True}))
    yield Step("logs with a session", _request("logs.tail", {"session_established": True}))
    given_up = {"attempt": None, "restart_limit.used": 3}
    yield Step("state when the crash loop is over", STATE, "worker-3", given_up)


def _bad_lines() -> Iterator[Step]:
    yield Step("a blank line", b"\n")
    yield Step("no JSON", b"nonsense\n")
    yield Step("no object", b"[]\n")
    yield Step("a number as request_id", b'{"request_id":1,"method":"hello","params":{}}\n')
    yield Step("no method", b'{"request_id":"a","params":{}}\n')
    yield Step("a key twice", b'{"request_id":"a","request_id":"b","method":"hello","params":{}}\n')
    yield Step("no params", b'{"request_id":"no-params","method":"hello"}\n')
    yield Step("params that are no object", b'{"request_id":"odd-params","method":"hello","params":7}\n')
    yield Step("more than is asked for", b'{"request_id":"more","method":"hello","params":{"a":1},"b":2}\n')
    yield Step("carriage return", b'{"request_id":"crlf","method":"hello","params":{}}\r\n')
    yield Step("an unknown method", _request("health"))


def _bad_commands() -> Iterator[Step]:
    for what, changes in BAD_PARAMETERS.items():
        yield Step(f"remove with {what}", _command("remove_child", "/worker-1", **changes))
    yield Step("params of a command that are no object", _request("command.pause_child", 7))
    yield Step("a time as digits", _command("resume_child", "/worker-1", requested_at_unix_nanos="1780000000555000000"))
    for command in ("pause_child", "quarantine_child", "remove_child", "restart_child"):
        yield Step(f"{command} of an unknown child", _command(command, "/typo"))
    yield Step("state without a ghost", STATE)
    yield Step("resume_child of an unknown child", _command("resume_child", "/typo"))
    yield Step("state with a ghost", STATE, "typo", {})
    yield Step("a ghost is removed", _command("remove_child", "/typo"))
    yield Step("state without the ghost", STATE)


def _stops_and_starts() -> Iterator[Step]:
    ended = {"attempt": None}
    yield Step("pause", _command("pause_child", "/worker-1"))
    yield Step("state of a paused child", STATE, "worker-1", ended)
    yield Step("pause again", _command("pause_child", "/elsewhere/worker-1"))
    yield Step("resume", _command("resume_child", "worker-1"))
    yield Step("resume again", _command("resume_child", "/worker-1"))
    yield Step("state of a resumed child", STATE)
    yield Step("restart of a child without an attempt", _command("restart_child", "/worker-1"))
    yield Step("state of a restarted child", STATE, "worker-1", {"status": "running", "liveness.readiness": "ready"})
    yield Step("restart of a running child", _command("restart_child", "/worker-2"))
    yield Step("state when it runs again", STATE, "worker-2", {"attempt": 2, "liveness.readiness": "ready"})
    yield Step("restart of a child that was given up", _command("restart_child", "/worker-3"))
    yield Step("state when it was given up again", STATE, "worker-3", {"attempt": None, "restart_limit.used": 4})
    yield Step("quarantine of a slow child", _command("quarantine_child", "/ledger-writer"))
    yield Step("state while it stops", STATE)
    yield Step("quarantine again while it stops", _command("quarantine_child", "/ledger-writer"))
    yield Step("state when it has stopped", STATE, "ledger-writer", ended)
    yield Step("restart of a quarantined child", _command("restart_child", "/ledger-writer"))
    yield Step("state of a released child", STATE, "ledger-writer", {"attempt": 2, "liveness.readiness": "ready"})
    yield Step("the command in params counts", _request("command.pause_child", _params("restart_child", "/typo")))


def _stubborn() -> Iterator[Step]:
    yield Step("restart of a child that ignores it", _command("restart_child", "/fraud-scorer"))
    yield Step("restart again", _command("restart_child", "/fraud-scorer"))
    yield Step("state while the old attempt is waited for", STATE)
    yield Step("state when it was aborted", STATE, "fraud-scorer", {"attempt": 2, "liveness.readiness": "ready"})
    yield Step("pause of a child that ignores it", _command("pause_child", "/fraud-scorer"))
    yield Step("state when the pause has failed", STATE, "fraud-scorer", {"stop_state": "failed"})
    yield Step("pause again after it failed", _command("pause_child", "/fraud-scorer"))
    yield Step("resume of a child that still runs", _command("resume_child", "/fraud-scorer"))
    yield Step("state of it", STATE)


def _more_and_fewer() -> Iterator[Step]:
    extra = "name: extra\nfactory_key: steady\n"
    yield Step("add", _command("add_child", None, **_manifest(extra)))
    yield Step("state with it", STATE, "extra", {"status": "running", "liveness.readiness": "ready"})
    yield Step("add again", _command("add_child", None, **_manifest(extra)))
    yield Step("add without a factory", _command("add_child", None, **_manifest("name: other\nfactory_key: nuclear\n")))
    yield Step("add without a key", _command("add_child", None, **_manifest("name: other\n")))
    yield Step("add of no YAML", _command("add_child", None, **_manifest("{")))
    yield Step("add of a blank manifest", _command("add_child", None, **_manifest(" ")))
    yield Step("add without a manifest", _command("add_child", None))
    yield Step("remove of an added child", _command("remove_child", "/extra"))
    yield Step("state without it", STATE, "extra", None)
    yield Step("remove of a declared child", _command("remove_child", "/worker-1"))
    yield Step("state without the declared child", STATE, "worker-1", None)
    yield Step("remove again", _command("remove_child", "/worker-1"))
    yield Step("state after the second removal", STATE)
    yield Step("restart brings it back", _command("restart_child", "/worker-1"))
    yield Step("state when it is back", STATE, "worker-1", {"status": "running", "liveness.readiness": "ready"})


def _end() -> Iterator[Step]:
    yield Step("shutdown of everything", _command("shutdown_tree", None, target={}))
    yield Step("shutdown again", _command("shutdown_tree", None, target={}))
    yield Step("restart afterwards", _command("restart_child", "/worker-2"))
    yield Step("pause afterwards", _command("pause_child", "/ledger-writer"))
    yield Step("add afterwards", _command("add_child", None, **_manifest("name: late\nfactory_key: steady\n")))
    yield Step("state of a tree that is shut down", STATE)
    yield Step("hello is still answered", _request("hello"))
    yield Step("no UTF-8", b"\xff\n")


PARTS = (_reads, _bad_lines, _bad_commands, _stops_and_starts, _stubborn, _more_and_fewer, _end)


class Line:
    """One connection, raw; a request with an empty ``request_id`` gets one of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def __aenter__(self) -> Line:
        self.reader, self.writer = await asyncio.open_unix_connection(str(self.path), limit=2**24)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.writer.close()

    async def send(self, line: bytes) -> dict[str, Any] | None:
        """The answer; None when the connection is closed instead."""
        # Never one that another connection may use: the process remembers replies by this alone.
        self.writer.write(line.replace(b'"request_id": ""', f'"request_id": "{uuid.uuid4()}"'.encode()))
        try:
            await self.writer.drain()
            answer = await asyncio.wait_for(self.reader.readline(), WAIT_SECONDS)
        except ConnectionError:  # closed with something of ours unread
            return None
        return json.loads(answer) if answer else None

    async def ask(self, method: str, params: Any = None, request_id: str = "") -> dict[str, Any]:
        answer = await self.send(_request(method, params, request_id))
        assert answer is not None
        return answer

    async def command(self, command: str, child: str | None = None, /, **changes: Any) -> dict[str, Any]:
        """The ``result`` of a command that is answered with ``ok: true``."""
        params = _params(command, child, **{"command_id": str(uuid.uuid4()), **changes})
        answer = await self.ask(f"command.{command}", params)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]["result"]
        return result

    async def state(self) -> dict[str, Any]:
        answer = await self.ask("state")
        state: dict[str, Any] = answer["result"]["state"]
        return state

    async def record(self, child: str) -> dict[str, Any] | None:
        records = (await self.state())["child_runtime_records"]
        return next((record for record in records if record["child_id"] == child), None)

    async def until(self, child: str, wanted: dict[str, Any] | None) -> None:
        """Poll until the record of a child shows these fields, or, with None, until there is none."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                record = await self.record(child)
                if wanted is None and record is None:
                    return
                if wanted is not None and record is not None and shows(record, wanted):
                    return
                await asyncio.sleep(0.03)


def shows(record: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for path, value in wanted.items():
        found: Any = record
        for key in path.split("."):
            found = found.get(key)
        if found != value:
            return False
    return True


async def converse(socket: Path) -> list[Exchange]:
    """The whole conversation with the process that listens there."""
    said: list[Exchange] = []
    # The looks while it waits go over a second connection: they are no part of the conversation.
    async with Line(socket) as line, Line(socket) as looking:
        for part in PARTS:
            for step in part():
                if step.child:
                    try:
                        await looking.until(step.child, step.until)
                    except TimeoutError:
                        found = await looking.record(step.child)
                        raise AssertionError(f"{step.name}: waited for {step.child} {step.until}, is {found}") from None
                number = len(said)
                raw = step.line.replace(b'"request_id": ""', b'"request_id": "s-%d"' % number)
                answer = await line.send(raw)
                await asyncio.sleep(PACE_SECONDS)
                text = json.dumps(answer).replace(str(socket), SOCKET)
                said.append(Exchange(step.name, raw.decode(errors="backslashreplace"), json.loads(text)))
    return said


def differences(real: list[Exchange], other: list[Exchange]) -> list[str]:
    """What the other process answered differently, field by field; volatile fields are compared by type."""
    found = []
    by_name = {exchange.name: exchange for exchange in other}
    for exchange in real:
        answered = by_name.get(exchange.name)
        if answered is None:
            found.append(f"{exchange.name}: was not asked")
        elif answered.request != exchange.request:
            found.append(f"{exchange.name}: another request was sent")
        else:
            found += [f"{exchange.name}: {line}" for line in _compare(exchange.response, answered.response, "")]
    return found


def _compare(real: Any, other: Any, path: str) -> Iterator[str]:
    key = path.rsplit(".", 1)[-1]
    if isinstance(real, dict) and isinstance(other, dict):
        for name in real.keys() | other.keys():
            if name in MAY_BE_ABSENT and (name in real) != (name in other):
                continue
            if name not in other:
                yield f"{path}.{name}: only in the real one ({real[name]!r})"
            elif name not in real:
                yield f"{path}.{name}: not in the real one ({other[name]!r})"
            else:
                yield from _compare(real[name], other[name], f"{path}.{name}")
    elif isinstance(real, list) and isinstance(other, list):
        if len(real) != len(other):
            yield f"{path}: {len(real)} in the real one, {len(other)} here"
        for number, (one, two) in enumerate(zip(real, other, strict=False)):
            yield from _compare(one, two, f"{path}[{number}]")
    elif key in VOLATILE or key in FREE_TEXT:
        if type(real) is not type(other) or (isinstance(real, str) and real.isdigit() != other.isdigit()):
            yield f"{path}: {real!r} in the real one, {other!r} here"
    elif real != other or type(real) is not type(other):
        yield f"{path}: {real!r} in the real one, {other!r} here"
