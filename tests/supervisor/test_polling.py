"""Looks at many processes once a second: one that hangs or floods delays neither the others nor the bot."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bot.clock import ManualClock, SystemClock
from handlers.supervisor.changes import History, differences
from handlers.supervisor.client import SupervisorClient
from handlers.supervisor.link import LinkError
from handlers.supervisor.polling import Poller
from handlers.supervisor.protocol import State, parse_line, read_state
from tests.supervisor.conftest import STEADY, Desks, Scripted, a_state, until
from tests.supervisor.test_commands import text
from tests.supervisor.test_link import client


async def worst_stall(asking: asyncio.Task[Any]) -> float:
    """The longest time that the event loop gave nobody else a turn, in seconds."""
    worst = 0.0
    while not asking.done():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        worst = max(worst, time.perf_counter() - began - 0.005)
    return worst


def long_state(request: dict[str, Any], children: int) -> bytes:
    record = {"child_path": "/x", "operation": "active", "attempt": 1, "status": "running", "stop_state": "idle"}
    rows = [{**record, "child_id": f"child-{number}", "padding": "x" * 1500} for number in range(children)]
    return a_state(request, child_runtime_records=rows)


async def test_a_state_of_16_mib_is_read_and_stops_nobody(folder: Path) -> None:
    made: dict[str, bytes] = {}

    def answer(request: dict[str, Any]) -> bytes:
        if not made:
            made["tail"] = long_state(request, 11_000).split(b'"request_id"', 1)[1].split(b",", 1)[1]
        head: bytes = b'{"request_id": "' + request["request_id"].encode() + b'",'
        return head + made["tail"]

    answer({"request_id": "warm up"})
    assert len(made["tail"]) > 16 * 2**20
    async with Scripted(folder / "p.sock", answer):
        one = client(folder / "p.sock", request_timeout=20.0)
        asking = asyncio.create_task(one.state())
        stall = await worst_stall(asking)
        assert len((await asking).child_runtime_records or ()) == 11_000
        await one.close()
    assert stall < 1.0, f"{stall:.2f} s"  # the scripted process itself runs in this loop, too


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        (b"[],", "values, more than"),
        (b'{"child_id":"a","operation":"b"},', "of another shape|values"),
        (b"{", "not JSON|values"),
    ],
)
async def test_a_hostile_line_of_16_mib_is_refused_quickly(inside: bytes, told: str) -> None:
    head = b'{"request_id":"a","ok":true,"result":{"type":"state","state":{"child_runtime_records":['
    line = head + inside * (16 * 2**20 // len(inside)) + b"0]}}}"
    began = time.perf_counter()
    with pytest.raises(Exception, match=told):
        reply = parse_line(line)
        assert reply is not None
        read_state(reply)
    assert time.perf_counter() - began < 1.5


async def test_a_process_that_drips_is_given_up_in_time(folder: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_unix_server(drip, str(folder / "p.sock"))
    began = time.monotonic()
    with pytest.raises(LinkError, match="no answer to state within"):
        await client(folder / "p.sock").state()
    assert time.monotonic() - began < 2
    server.close()


async def test_one_that_hangs_delays_neither_the_others_nor_a_command_to_itself(desks: Desks) -> None:
    desk = await desks(a=STEADY, b=STEADY, c=STEADY)
    targets = {name: one.target for name, one in desk.handler.clients.items()}
    targets["b"] = targets["b"].model_copy(update={"request_timeout": 30.0})
    clients = {name: SupervisorClient(name, target, SystemClock()) for name, target in targets.items()}
    poller = Poller(clients, SystemClock(), 0.05)
    desk.faults["b"].active = {"hang-control-loop"}
    poller.start()

    async def looked() -> bool:
        return all(poller.watched[name].history.looks >= 5 for name in ("a", "c"))

    await until(looked)
    assert poller.watched["b"].history.looks == 0
    desk.faults["b"].active = set()
    result = await desk.do("handle.pause_child()", "worker-1", target="b")
    assert result.status == "done"
    await poller.close()


async def test_a_silent_process_keeps_nobody_waiting_for_names(desks: Desks) -> None:
    desk = await desks(a=STEADY, b=STEADY)
    await desk.handler.inventory("child")  # both were seen once
    hanging = desk.handler.clients["b"]
    hanging.target = hanging.target.model_copy(update={"request_timeout": 30.0})
    desk.faults["b"].active = {"hang-control-loop"}
    began = time.monotonic()
    assert "worker-1" in await desk.handler.inventory("child")
    assert time.monotonic() - began < 3
    desk.faults["b"].active = set()


async def test_events_name_what_was_lost_and_what_came_back(desks: Desks) -> None:
    desk = await desks(payments=STEADY)
    clock = ManualClock()
    one = SupervisorClient("payments", desk.handler.clients["payments"].target, clock)
    poller = desk.handler.poller = Poller({"payments": one}, clock, 1.0)
    poller.start()
    history = poller.watched["payments"].history

    async def looks(count: int) -> None:
        async def enough() -> bool:
            if history.looks < count:
                await clock.advance(1)
            return history.looks >= count

        await until(enough)

    await looks(1)
    await desk.do("handle.quarantine_child()", "worker-1")
    await looks(2)
    desk.faults["payments"].active = {"control-loop-gone"}
    await looks(3)
    desk.faults["payments"].active = set()
    await looks(4)
    shown = text(await desk.type("/supervisor events payments"))
    assert "worker-1: active → quarantined" in shown
    assert "worker-1: attempt 1 ended" in shown
    assert "only a restart of the process helps" in shown
    assert "answers again" in shown
    assert "Differences between two looks, not events of the process" in shown
    await poller.close()


def state(**changes: Any) -> State:
    request = {"request_id": "a"}
    reply = parse_line(a_state(request, **changes))
    assert reply is not None
    return read_state(reply)


def test_differences_are_those_of_the_records() -> None:
    row = {"child_id": "steady", "operation": "active", "attempt": 1, "status": "running"}
    before = state()
    assert differences(before, before) == []
    after = state(child_runtime_records=[{**row, "attempt": None, "status": None, "restart_limit": {"used": 1}}])
    assert differences(before, after) == [
        ("steady", "attempt 1 ended"),
        ("steady", "failures: 1 of 0 in 0 s"),
    ]
    assert differences(after, before) == [("steady", "attempt 1 runs")]
    other = state(child_runtime_records=[{**row, "child_id": "extra"}])
    assert differences(before, other) == [
        ("steady", "has no record any more: it was removed"),
        ("extra", "has a record now: active, attempt 1 runs"),
    ]
    again = state(generated_at_unix_nanos=1)
    assert differences(before, again) == [("", "the process was started again: all its children are new")]


def test_numbers_are_exact_as_text_and_bare() -> None:
    for written in (1795347828003506435, "1795347828003506435"):
        assert state(generated_at_unix_nanos=written).generated_at_unix_nanos == 1795347828003506435


def test_a_history_keeps_the_newest() -> None:
    history = History()
    now = ManualClock().now()
    for number in range(600):
        history.failed(f"problem {number}", now)
    assert len(history.changes) == 500
    assert history.changes[-1].text == "problem 599"
