"""The supervised process itself, line by line: what is answered, what is dropped, and what survives a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.demo.supervised_process import BindError, ChildSpec, ProcessConfig, SupervisedProcess
from bot.demo.supervised_process.ipc import bind
from tests.supervisor.conftest import CHILDREN, FAST, STEADY, Desk, Desks, connected, until


class Line:
    """One connection, raw."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> Line:
        self.reader, self.writer = await asyncio.open_unix_connection(str(self.path), limit=2**24)
        return self

    async def send(self, raw: bytes) -> dict[str, Any] | None:
        """The answer; None when the connection is closed instead."""
        self.writer.write(raw)
        answer = await asyncio.wait_for(self.reader.readline(), 5)
        return json.loads(answer) if answer else None

    async def ask(self, method: str, params: Any = None, request_id: str | None = None) -> dict[str, Any]:
        request = {"request_id": request_id or str(uuid.uuid4()), "method": method, "params": params or {}}
        answer = await self.send(json.dumps(request).encode() + b"\n")
        assert answer is not None
        return answer

    async def command(self, command: str, child: str | None = None, /, **changes: Any) -> dict[str, Any]:
        params = {
            "command_id": str(uuid.uuid4()),
            "target_id": "payments",
            "command": command,
            "target": {"child_path": child},
            "reason": "a test",
            "requested_by": "test",
            "confirmed": True,
            "requested_at_unix_nanos": 1780000000555000000,
            **changes,
        }
        return await self.ask(f"command.{command}", {key: value for key, value in params.items() if value is not ...})


@pytest.fixture
async def process(folder: Path) -> AsyncIterator[SupervisedProcess]:
    config = ProcessConfig(folder / "p.sock", children=CHILDREN, graceful_timeout=0.4, abort_wait=0.3)
    async with SupervisedProcess(config) as running:
        yield running


@pytest.fixture
async def line(process: SupervisedProcess) -> AsyncIterator[Line]:
    opened = await Line(process.config.socket).open()
    yield opened
    opened.writer.close()


@pytest.mark.parametrize("raw", [b"\n", b"nonsense\n", b'{"request_id":1,"method":"hello"}\n', b'{"a":1,"a":2}\n'])
async def test_a_line_that_is_no_request_is_answered_under_invalid_request(line: Line, raw: bytes) -> None:
    answer = await line.send(raw)
    assert answer is not None
    assert (answer["request_id"], answer["error"]["code"]) == ("invalid-request", "invalid_json")
    assert (await line.ask("hello"))["ok"]  # the connection is kept


async def test_an_unknown_method_is_answered_under_invalid_request(line: Line) -> None:
    answer = await line.ask("health")
    assert (answer["request_id"], answer["error"]["code"]) == ("invalid-request", "unsupported_method")


@pytest.mark.parametrize("raw", [b"\xff\n", b"x" * 70_000 + b"\n"])
async def test_silent_ends(line: Line, raw: bytes) -> None:
    assert await line.send(raw) is None


async def test_a_last_line_without_its_end_is_dropped(line: Line) -> None:
    line.writer.write(b'{"request_id":"a","method":"hello"}')
    line.writer.write_eof()
    assert await line.reader.read() == b""


@pytest.mark.parametrize(
    ("changes", "code", "stage"),
    [
        ({"reason": ...}, "invalid_command_params", "protocol_parse"),
        ({"command": "explode"}, "invalid_command_params", "protocol_parse"),
        ({"confirmed": "yes"}, "invalid_command_params", "protocol_parse"),
        ({"requested_at_unix_nanos": -1}, "invalid_command_params", "protocol_parse"),
        ({"requested_at_unix_nanos": 1.5}, "invalid_command_params", "protocol_parse"),
        ({"target_id": "orders"}, "validation_failed", "command_validate"),
        ({"reason": "  "}, "validation_failed", "command_validate"),
        ({"command_id": "4711"}, "validation_failed", "command_validate"),
        ({"requested_at_unix_nanos": 0}, "validation_failed", "command_validate"),
        ({"target": {"child_path": " "}}, "validation_failed", "command_validate"),
        ({"confirmed": False}, "validation_failed", "command_validate"),
    ],
)
async def test_a_command_is_checked_before_it_is_done(
    line: Line, process: SupervisedProcess, changes: dict[str, Any], code: str, stage: str
) -> None:
    answer = await line.command("remove_child", "/worker-1", **changes)
    assert (answer["ok"], answer["error"]["code"], answer["error"]["stage"]) == (False, code, stage)
    assert process.executed == []


async def test_a_command_without_a_child_is_refused(line: Line) -> None:
    answer = await line.command("pause_child", None)
    assert (answer["ok"], answer["error"]["code"]) == (False, "validation_failed")


async def test_the_command_is_what_the_parameters_say_not_the_method(line: Line, process: SupervisedProcess) -> None:
    await line.command("pause_child", "/worker-1", command="restart_child")
    assert process.executed == ["restart_child /worker-1"]


async def test_an_unknown_child_is_accepted_and_only_resume_leaves_a_ghost(line: Line) -> None:
    for command in ("pause_child", "quarantine_child", "remove_child"):
        result = (await line.command(command, "/typo"))["result"]["result"]
        assert result["accepted"]
        assert result["state_delta"]["outcome"]["idempotent"]
    restarted = (await line.command("restart_child", "/typo"))["result"]["result"]
    assert restarted["state_delta"]["outcome"]["generation_fence"]["decision"] == "rejected"
    state = (await line.ask("state"))["result"]["state"]
    assert len(state["child_runtime_records"]) == 5
    await line.command("resume_child", "/typo")
    state = (await line.ask("state"))["result"]["state"]
    assert state["child_runtime_records"][-1]["child_id"] == "typo"
    assert state["state_generation"] == 6  # one per command


async def test_a_repeated_id_is_not_done_again(line: Line, process: SupervisedProcess) -> None:
    await line.ask("state", request_id="same")
    again = await line.ask("state", request_id="same")
    assert again["error"]["code"] == "idempotency_cache_corrupted"
    assert process.requests == 1


async def test_a_second_restart_is_already_pending(line: Line) -> None:
    fences = []
    for _ in range(2):
        result = (await line.command("restart_child", "/fraud-scorer"))["result"]["result"]
        fences.append(result["state_delta"]["outcome"]["generation_fence"])
    assert [fence["decision"] for fence in fences] == ["queued_after_stop", "already_pending"]
    assert fences[0]["old_attempt"] == 1


async def test_a_subscription_needs_a_session(line: Line) -> None:
    assert (await line.ask("events.subscribe"))["error"]["code"] == "session_required"
    assert (await line.ask("logs.tail", {"session_established": True}))["result"]["subscription"] == "logs"


async def test_the_burst_is_twenty(line: Line) -> None:
    for _ in range(60):
        line.writer.write(b'{"request_id":"a","method":"hello"}\n')
    codes = [json.loads(await line.reader.readline()).get("error", {}).get("code") for _ in range(60)]
    assert codes[:20] == [None] * 20
    assert "rate_limit_exceeded" in codes


async def test_add_child_runs_what_has_a_factory(line: Line, process: SupervisedProcess) -> None:
    manifest = {"target": {"child_manifest": "name: extra\nfactory_key: steady\n"}}
    assert (await line.command("add_child", **manifest))["result"]["result"]["accepted"]
    assert process.tree.children["extra"].attempt == 1
    assert not (await line.command("add_child", **manifest))["result"]["result"]["accepted"]
    unknown = {"target": {"child_manifest": "name: other\nfactory_key: nuclear\n"}}
    result = (await line.command("add_child", **unknown))["result"]["result"]
    assert "no factory" in result["error"]["message"]


async def test_shutdown_tells_how_each_child_ended_and_nothing_starts_again(line: Line) -> None:
    answer = await line.command("shutdown_tree", target={})
    report = answer["result"]["result"]["state_delta"]["result"]["report"]
    ends = {outcome["child_id"]["value"]: outcome["status"] for outcome in report["outcomes"]}
    assert (ends["worker-1"], ends["ledger-writer"], ends["fraud-scorer"]) == ("Graceful", "Graceful", "Aborted")
    assert report["reconcile"]["verified_clean"]
    again = await line.command("shutdown_tree", target={})
    assert again["result"]["result"]["state_delta"]["result"]["idempotent"]
    blocked = await line.command("restart_child", "/worker-1")
    fence = blocked["result"]["result"]["state_delta"]["outcome"]["generation_fence"]
    assert fence["decision"] == "blocked_by_shutdown"
    state = (await line.ask("state"))["result"]["state"]
    assert {row["shutdown_state"] for row in state["runtime_state"]} == {"completed"}


async def test_the_restart_limit_leaves_a_child_without_an_attempt_and_active(folder: Path) -> None:
    doomed = ChildSpec("doomed", "crash_loop", crash_after=0.06, backoff=0.01, restart_limit=2)
    async with SupervisedProcess(ProcessConfig(folder / "p.sock", children=(doomed,))) as process:
        child = process.tree.children["doomed"]

        async def given_up() -> bool:
            return child.exhausted and child.attempt is None

        await until(given_up)
        (record,) = process.tree.records()
    assert (record["operation"], record["managed_child_state"], record["attempt"]) == ("active", "running", None)
    assert (record["restart_limit"]["used"], record["restart_limit"]["exhausted"]) == (2, True)


def test_binding_refuses_what_it_must(folder: Path) -> None:
    taken = folder / "p.sock"
    taken.write_text("mine")
    with pytest.raises(BindError, match="exists already"):
        bind(taken, "create_new", 0o600)
    with pytest.raises(BindError, match="is not a socket"):
        bind(taken, "replace_stale", 0o600)
    assert taken.read_text() == "mine"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "live.sock"))
        listener.listen()
        with pytest.raises(BindError, match="another process listens"):
            bind(folder / "live.sock", "replace_stale", 0o600)
    with bind(folder / "live.sock", "replace_stale", 0o640):  # stale now
        assert (folder / "live.sock").stat().st_mode & 0o777 == 0o640
    (folder / "link.sock").symlink_to(folder / "p.sock")
    with pytest.raises(BindError, match="is not a socket"):
        bind(folder / "link.sock", "replace_stale", 0o600)
    with pytest.raises(BindError, match="must be absolute"):
        bind(Path("p.sock"), "create_new", 0o600)


# --- as a process of its own -----------------------------------------------------------------------------------------


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """``python -m bot.demo.supervised_process``: the process and its ready line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot.demo.supervised_process",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process, (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_ready_line_clean_stop_and_stale_socket(folder: Path) -> None:
    path = folder / "p.sock"
    async with running("--socket", str(path), "--mode", "0640") as (process, ready):
        assert ready == f"ready pid={process.pid} socket={path}\n"
        assert path.stat().st_mode & 0o777 == 0o640
        handler = await connected({"payments": {"socket": path, **FAST}})
        assert await handler.inventory("child") == ["fraud-scorer", "ledger-writer", "worker-1", "worker-2", "worker-3"]
        listener = handler.clients["payments"].listener
        assert listener is not None
        assert listener.pid == process.pid
        assert listener.started_at is not None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert not path.exists()
    await handler.close()


async def test_killed_in_the_middle_of_a_command_and_started_again(folder: Path) -> None:
    """The command died with its process: the bot says so, whether somebody answers again or not."""
    path, faults = folder / "p.sock", folder / "faults"
    faults.mkdir()
    handler = await connected({"payments": {"socket": path, **FAST, "stop_timeout": 0.5}})
    desk = Desk(handler, {}, {})
    arguments = ("--socket", str(path), "--faults", str(faults), "--bind-mode", "replace_stale")
    async with running(*arguments) as (process, _):
        (faults / "exit-after-command").touch()
        result = await desk.do("handle.quarantine_child()", "worker-1")
        assert await process.wait() == -signal.SIGKILL
    assert result.status == "uncertain"
    assert "the connection was lost after command.quarantine_child was sent" in result.summary
    assert "nobody listens at" in result.summary
    assert path.exists()

    client = handler.clients["payments"]
    client.target = client.target.model_copy(update={"stop_timeout": 20.0})
    async with running(*arguments) as (first, _):
        doing = asyncio.create_task(desk.do("handle.quarantine_child()", "worker-1"))
        assert await asyncio.wait_for(first.wait(), 10) == -signal.SIGKILL
        (faults / "exit-after-command").unlink()
        async with running(*arguments) as (second, _):
            result = await asyncio.wait_for(doing, 20)
            assert result.status == "failed"
            assert f"(pid {first.pid}, now {second.pid})" in result.summary
            assert await desk.check("handle.quarantine_child()", "worker-1") is None  # may be done again
            assert (await desk.do("handle.quarantine_child()", "worker-1")).status == "done"
    await handler.close()


async def test_create_new_does_not_come_back_after_a_kill(folder: Path) -> None:
    path = folder / "p.sock"
    async with running("--socket", str(path)) as (process, _):
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    async with running("--socket", str(path)) as (process, ready):
        assert ready == ""
        assert process.stderr is not None
        assert "exists already; remove it when no process listens there" in (await process.stderr.read()).decode()
        assert await process.wait() == 1


async def test_steady_children_stay_on_their_first_attempt(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    records = [await desk.record("worker-1") for _ in range(5)]
    assert {record.attempt for record in records} == {1}
