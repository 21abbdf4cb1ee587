"""What the client makes of answers that are late, large, wrong, pushed or missing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bot.breakers import Breaker
from bot.clock import ManualClock
from bot.demo.supervised_process import ChildSpec, Faults, Limits, ProcessConfig, SupervisedProcess
from bot.errors import UserError
from handlers.supervisor.client import SupervisorClient
from handlers.supervisor.link import LinkError
from handlers.supervisor.settings import SupervisorTarget
from handlers.supervisor.transport import Rejected
from tests.supervisor.conftest import CHILDREN, STEADY, Desks, Scripted, a_state, said, until
from tests.supervisor.test_link import client


async def test_a_control_loop_that_hangs_is_told_from_a_process_that_hangs(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    one = desk.handler.clients["payments"]
    desk.faults["payments"].active = {"hang-control-loop"}
    with pytest.raises(LinkError, match=r"no answer to state within 0\.4 s: the control loop is stalled"):
        await one.state()
    await one.hello()
    probe = await one.probe()
    assert (probe.hello is not None, probe.state) == (True, None)
    assert await desk.value("health.status") == "stalled"
    assert await desk.value("iterations_per_sec") == 0
    assert await desk.value("dashboard_link") == "connected"

    desk.faults["payments"].active = {"hang-everything"}
    with pytest.raises(LinkError, match="the process hangs or its runtime is starved"):
        await one.hello()
    assert await desk.value("health.status") == "unreachable"
    assert await desk.value("dashboard_link") == "disconnected"

    desk.faults["payments"].active = set()
    assert (await one.state()).target_id == "payments"
    assert await desk.value("health.status") == "ready"


async def test_hello_fails_without_registration_and_the_link_is_up(desks: Desks) -> None:
    desk = await desks(payments=STEADY, options={"registration": False})
    with pytest.raises(Rejected, match="validation_failed at registration"):
        await desk.handler.clients["payments"].hello()
    assert await desk.value("dashboard_link") == "connected"
    assert await desk.value("health.status") == "ready"


async def test_a_control_loop_that_is_gone(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    desk.faults["payments"].active = {"control-loop-gone"}
    with pytest.raises(Rejected, match="only a restart of the process helps"):
        await desk.handler.clients["payments"].state()


async def test_a_state_of_200_children_is_one_line_of_more_than_64_kib(desks: Desks) -> None:
    desk = await desks(payments=tuple(ChildSpec(f"steady-{number}") for number in range(200)))
    state = await desk.handler.clients["payments"].state()
    assert len(state.child_runtime_records or ()) == 200
    assert await desk.value("children.running") == 200


async def test_the_rate_limit_is_waited_out(desks: Desks) -> None:
    desk = await desks(payments=STEADY, options={"limits": Limits(burst=2, per_second=2)})
    one = desk.handler.clients["payments"]
    one.target = one.target.model_copy(update={"request_timeout": 5.0})
    for _ in range(4):
        await one.state()
    assert desk.processes["payments"].requests == 4


async def test_a_rate_limit_that_does_not_end_is_told(folder: Path) -> None:
    def refuse(request: dict[str, Any]) -> bytes:
        error = {
            "code": "rate_limit_exceeded",
            "stage": "rate_limit",
            "target_id": None,
            "message": "",
            "retryable": False,
        }
        return json.dumps({"request_id": request["request_id"], "ok": False, "error": error}).encode() + b"\n"

    async with Scripted(folder / "p.sock", refuse) as process:
        with pytest.raises(LinkError, match="Other clients ask it too often"):
            await client(folder / "p.sock").state()
        with pytest.raises(Rejected, match="rate_limit_exceeded"):  # never sent twice
            await remove(folder / "p.sock")
    assert [request["method"] for request in process.requests].count("command.remove_child") == 1


async def remove(path: Path) -> None:
    await client(path).command(
        "remove_child", target_id="t", child_path="/steady", reason="r", requested_by="opsbot:slack:U0ALICE"
    )


async def test_ids_are_fresh_and_nanoseconds_are_exact(folder: Path) -> None:
    async with Scripted(folder / "p.sock", a_state) as process:
        one = client(folder / "p.sock")
        states = [await one.state() for _ in range(3)]
        await one.close()
    assert len({request["request_id"] for request in process.requests}) == 3
    assert {state.generated_at_unix_nanos for state in states} == {1780000000123456789}


async def test_pushes_between_question_and_answer_are_skipped(folder: Path) -> None:
    def with_pushes(request: dict[str, Any]) -> bytes:
        return b'{"type":"event","event":{"ok":true}}\n{"type":"log"}\n' + a_state(request)

    async with Scripted(folder / "p.sock", with_pushes):
        one = client(folder / "p.sock")
        assert (await one.state()).target_id == "scripted"
        assert (await one.state()).target_id == "scripted"
        await one.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"<html>\n", "a line that is not JSON"),
        (b"\xff\xfe\n", "a line that is not JSON"),
        (b"[]\n", "a line of another shape (Expected `object`, got `array`)"),
        (b'{"request_id":"somebody-else","ok":true,"result":{}}\n', "the answer to another request"),
        (b'{"request_id":"invalid-request","ok":true,"result":{"type":"hello"}}\n', "where state was asked for"),
        (b"x" * (33 * 1024 * 1024) + b"\n", "a line of more than 32 MiB"),
    ],
)
async def test_something_else_behind_the_socket(folder: Path, answer: bytes, text: str) -> None:
    async with Scripted(folder / "p.sock", lambda request: answer):
        one = client(folder / "p.sock", request_timeout=3.0)
        with pytest.raises(LinkError) as caught:
            await one.state()
    assert caught.value.cause == "protocol"
    assert text in caught.value.message


async def test_after_nonsense_the_next_question_starts_on_a_new_connection(folder: Path) -> None:
    answers = [b"nonsense\n", None]
    async with Scripted(folder / "p.sock", lambda request: answers.pop(0) if answers else a_state(request)):
        one = client(folder / "p.sock")
        with pytest.raises(LinkError, match="not JSON"):
            await one.state()
        with pytest.raises(LinkError, match="closed without an answer"):
            await one.state()
        assert (await one.state()).target_id == "scripted"
        await one.close()


async def test_an_idle_connection_that_was_closed_is_opened_again(desks: Desks) -> None:
    desk = await desks(payments=STEADY, options={"limits": Limits(idle_seconds=0.05)})
    one = desk.handler.clients["payments"]
    await one.state()
    process = desk.processes["payments"]

    async def closed() -> bool:
        return not process.server.connections

    await until(closed)
    assert (await one.state()).target_id == "payments"


async def test_questions_of_many_get_each_its_own_answer(desks: Desks) -> None:
    desk = await desks(payments=CHILDREN)
    one = desk.handler.clients["payments"]
    answers = await asyncio.gather(*(one.state() if number % 2 else one.hello() for number in range(16)))
    assert [type(answer).__name__ for answer in answers] == ["Hello", "State"] * 8


async def test_a_question_behind_a_command_that_hangs_was_not_sent(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    one = desk.handler.clients["payments"]
    one.target = one.target.model_copy(update={"command_timeout": 5.0})
    desk.faults["payments"].active = {"hang-control-loop"}
    command = asyncio.create_task(
        one.command("pause_child", target_id="payments", child_path="/worker-1", reason="r", requested_by="opsbot:x")
    )
    process = desk.processes["payments"]

    async def arrived() -> bool:
        return process.requests == 1

    await until(arrived)
    with pytest.raises(LinkError, match="still waiting for the answer to an earlier request") as caught:
        await one.state()
    assert not caught.value.sent
    desk.faults["payments"].active = set()
    assert (await command).accepted


async def test_a_question_that_is_given_up_leaves_no_answer_behind(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    one = desk.handler.clients["payments"]
    desk.faults["payments"].active = {"hang-control-loop"}
    asked = asyncio.create_task(one.state())
    process = desk.processes["payments"]

    async def arrived() -> bool:
        return process.requests == 1

    await until(arrived)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    desk.faults["payments"].active = set()
    assert (await one.hello()).protocol_version == "dashboard-ipc.v1"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"child_runtime_records": ...}, "as rust-supervisor 0.1.2 and older answer"),
        ({"child_runtime_records": []}, "declares children and records none of them"),
        ({"child_runtime_records": [], "config_version": "demo-ui-scenario-v1"}, "the crate's scripted demo"),
    ],
)
async def test_what_only_changes_labels_is_not_driven(folder: Path, changes: dict[str, Any], text: str) -> None:
    async with Scripted(folder / "p.sock", lambda request: a_state(request, **changes)) as process:
        with pytest.raises(LinkError) as caught:
            await client(folder / "p.sock").drivable_state()
    assert caught.value.cause == "refused generation"
    assert text in caught.value.message
    assert [request["method"] for request in process.requests] == ["state"]


async def test_a_process_without_children_may_be_driven(folder: Path) -> None:
    empty = {"topology": {"nodes": []}, "child_runtime_records": []}
    async with Scripted(folder / "p.sock", lambda request: a_state(request, **empty)):
        await client(folder / "p.sock").drivable_state()


async def test_a_command_is_what_its_method_says(folder: Path) -> None:
    def take(request: dict[str, Any]) -> bytes:
        result = {"command_id": request["params"]["command_id"], "accepted": True, "status": "completed"}
        return said(request, type="command_result", target_id="t", result=result)

    async with Scripted(folder / "p.sock", take) as process:
        await remove(folder / "p.sock")
    request = process.requests[0]
    assert request["method"] == f"command.{request['params']['command']}"
    assert request["params"]["confirmed"] is True
    assert request["params"]["requested_at_unix_nanos"] > 1_700_000_000_000_000_000


async def test_a_reason_that_is_too_long_is_not_sent(folder: Path) -> None:
    async with Scripted(folder / "p.sock", a_state) as process:
        with pytest.raises(UserError, match="shorten the reason"):
            await client(folder / "p.sock").command(
                "pause_child", target_id="t", child_path="/a", reason="x" * 70_000, requested_by="opsbot:x"
            )
    assert process.requests == []


async def test_who_may_not_write_is_told_what_to_configure(desks: Desks) -> None:
    desk = await desks(payments=STEADY, options={"allowed_uids": frozenset({4711})})
    with pytest.raises(UserError) as refused:
        await desk.do("handle.pause_child()", "worker-1")
    assert "add its uid to dashboard.security_config.authorization.allowed_uids" in refused.value.message
    assert "Nothing was changed" in refused.value.message
    assert desk.processes["payments"].executed == []


async def test_a_process_that_hangs_is_not_asked_again_and_again_until_another_one_listens(tmp_path: Path) -> None:
    """Five time-outs open the breaker; a socket that was made anew closes it at once."""
    clock = ManualClock()
    breaker = Breaker("socket payments", clock)
    target = SupervisorTarget(socket=tmp_path / "p.sock", request_timeout=0.05, connect_timeout=0.05)
    config = ProcessConfig(socket=tmp_path / "p.sock", name="payments", children=STEADY)
    async with SupervisedProcess(config, Faults(active={"hang-control-loop"})):
        client = SupervisorClient("payments", target, clock, breaker)
        for _ in range(5):
            with pytest.raises(LinkError, match="no answer to state"):
                await client.state()
        with pytest.raises(LinkError, match="was not asked: the bot's breaker for socket payments is open"):
            await client.state()
        assert (await client.probe()).hello is not None  # whoever looks for the cause is not kept from it
        await client.close()
    async with SupervisedProcess(config):
        assert (await client.state()).target_id == "payments"
        assert breaker.state == "closed"
        await client.close()


async def test_requests_that_wait_behind_a_long_shutdown_do_not_count_against_the_process(tmp_path: Path) -> None:
    """They were never sent. Else the breaker would keep the bot from seeing how the shutdown ends."""
    clock = ManualClock()
    breaker = Breaker("socket payments", clock)
    limits = {"request_timeout": 0.05, "connect_timeout": 1.0, "command_timeout": 5.0}
    target = SupervisorTarget(socket=tmp_path / "p.sock", **limits)
    slow = (ChildSpec("archive", behaviour="slow_to_stop", stop_takes=1.0),)
    config = ProcessConfig(socket=tmp_path / "p.sock", name="payments", children=slow, graceful_timeout=3.0)
    async with SupervisedProcess(config):
        client = SupervisorClient("payments", target, clock, breaker)
        shutting = asyncio.create_task(
            client.command("shutdown_tree", target_id="payments", child_path=None, reason="", requested_by="test")
        )
        await asyncio.sleep(0)
        for _ in range(6):
            with pytest.raises(LinkError, match="still waiting for the answer to an earlier request"):
                await client.state()
        assert breaker.state == "closed"
        assert (await shutting).accepted
        await client.close()


async def test_a_breaker_that_a_person_has_opened_is_not_closed_by_whoever_looks(tmp_path: Path) -> None:
    clock = ManualClock()
    breaker = Breaker("socket payments", clock)
    config = ProcessConfig(socket=tmp_path / "p.sock", name="payments", children=STEADY)
    async with SupervisedProcess(config):
        client = SupervisorClient("payments", SupervisorTarget(socket=tmp_path / "p.sock"), clock, breaker)
        breaker.trip("maintenance")
        assert (await client.probe()).state is not None
        with pytest.raises(LinkError, match=r"is open \(maintenance\)"):
            await client.state()
        await clock.advance(60)
        for _ in range(3):
            await client.state()
        assert breaker.state == "closed"
        await client.close()
