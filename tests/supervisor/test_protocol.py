"""Any bytes on the socket: an answer, a push, or ``ProtocolError``; never anything else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.supervisor import children
from handlers.supervisor.protocol import (
    ProtocolError,
    Reply,
    State,
    command_params,
    encode_request,
    parse_line,
    read_command,
    read_hello,
    read_state,
)
from handlers.supervisor.status import as_text, headline

NAMES = [
    "request_id",
    "ok",
    "result",
    "error",
    "type",
    "state",
    "code",
    "message",
    "target_id",
    "topology",
    "nodes",
    "child_id",
    "path",
    "child_runtime_records",
    "child_path",
    "generation",
    "attempt",
    "status",
    "operation",
    "restart_limit",
    "used",
    "limit",
    "window_millis",
    "updated_at_unix_nanos",
    "stop_state",
    "failure",
    "reason",
    "state_delta",
    "outcome",
    "accepted",
    "registration",
    "protocol_version",
    "generated_at_unix_nanos",
]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
WORDS = ("state", "hello", "command_result", "child_control", "active", "quarantined", "running", "failed", "steady")
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(WORDS)
    | st.just("\ud800")
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner),
    max_leaves=25,
)
answers = st.fixed_dictionaries(
    {"request_id": st.just("a") | leaves, "ok": st.booleans() | leaves},
    optional={
        "error": values,
        "result": st.fixed_dictionaries(
            {"type": st.sampled_from(WORDS)}, optional={"state": values, "result": values, "registration": values}
        )
        | values,
    },
)


def read_all(line: bytes) -> None:
    """Everything that a client does with a line."""
    try:
        reply = parse_line(line)
    except ProtocolError:
        return
    for read in (read_hello, read_state, read_command):
        if reply is None:
            return
        try:
            found: Any = read(reply)
        except ProtocolError:
            continue
        if isinstance(found, State):
            headline(found)
            as_text(found)
            children.unusable(found)
            children.generation(found)
            for verb in ("pause_child", "remove_child", "restart_child", "resume_child"):
                children.judge(verb, "steady", found, old_attempt=1)
            samples = (children.Sample(NOW, found), children.Sample(NOW, found))
            children.failing(samples, 1.0)
        elif hasattr(found, "outcome"):
            _ = found.outcome


@given(st.binary(max_size=300))
def test_any_bytes(line: bytes) -> None:
    read_all(line)


@given(answers)
def test_any_answer(answer: dict[str, Any]) -> None:
    read_all(json.dumps(answer).encode())


records = st.lists(
    st.fixed_dictionaries(
        {
            "child_id": st.sampled_from(["steady", "other"]),
            "operation": st.sampled_from(["active", "paused", "quarantined", "removed", "later-word"]),
            "attempt": st.none() | st.integers(0, 2**64),
            "status": st.none() | st.sampled_from(["running", "cancelling", "ready", "later-word"]),
            "stop_state": st.sampled_from(["idle", "no_active_attempt", "cancel_delivered", "failed"]),
        }
    ),
    max_size=4,
)


@given(records)
@example([{"child_id": "steady", "operation": "quarantined", "attempt": 1, "status": "running", "stop_state": "idle"}])
@example([{"child_id": "steady", "operation": "active", "attempt": None, "status": None, "stop_state": "idle"}])
def test_a_verdict_is_only_reached_by_what_was_seen(rows: list[dict[str, Any]]) -> None:
    nodes = [{"child_id": "steady", "path": "/steady"}]
    state = msgspec.convert({"topology": {"nodes": nodes}, "child_runtime_records": rows}, State)
    record = next((row for row in reversed(rows) if row["child_id"] == "steady"), None)
    quarantined = children.judge("quarantine_child", "steady", state).verdict == "reached"
    assert quarantined == (
        record is not None
        and record["operation"] == "quarantined"
        and record["attempt"] is None
        and record["stop_state"] in ("idle", "no_active_attempt")
    )
    assert (children.judge("remove_child", "steady", state).verdict == "reached") == (record is None)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"{" * 100_000, "not JSON"),
        (b"[" * 100_000, "of another shape"),
        (b'{"request_id":"a","ok":true,"result":' + b"9" * 5000 + b"}", "without a result"),
        (b'{"request_id":1,"ok":true}', "whose request_id is not text"),
        (b'{"request_id":"a","ok":true}', "without a result"),
        (b'{"request_id":"a","ok":false}', "error of another shape"),
    ],
)
def test_what_is_wrong_is_named(line: bytes, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        parse_line(line)


def an_answer(state: dict[str, Any]) -> Reply:
    return Reply("a", json.dumps({"type": "state", "state": state}).encode())


def test_a_wrong_field_is_named_with_its_path() -> None:
    state = {"child_runtime_records": [{"child_id": "a", "operation": "active", "attempt": "one"}]}
    with pytest.raises(ProtocolError, match=r"state\.state\.child_runtime_records\[0\]\.attempt"):
        read_state(an_answer(state))


def test_numbers_above_2_to_the_53_are_exact() -> None:
    state = b'{"generated_at_unix_nanos":1780000000123456789}'
    line = b'{"request_id":"a","ok":true,"result":{"type":"state","state":' + state + b"}}"
    reply = parse_line(line)
    assert reply is not None
    assert read_state(reply).generated_at_unix_nanos == 1780000000123456789


def test_a_number_that_no_clock_shows_is_refused() -> None:
    state = {"generated_at_unix_nanos": 10**400}
    with pytest.raises(ProtocolError, match="more than 128 bits"):
        read_state(an_answer(state))


def test_a_request_is_one_line_whatever_the_reason() -> None:
    params = command_params(
        "pause_child",
        command_id="c",
        target_id="t",
        child_path="/a",
        reason="two\nlines \u2028 \ud800",
        requested_by="opsbot:x",
        requested_at_unix_nanos=1,
    )
    line = encode_request("r", "command.pause_child", params)
    assert line.count(b"\n") == 1
    assert json.loads(line)["params"]["reason"] == "two\nlines \u2028 \ud800"
