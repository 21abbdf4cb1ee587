"""The bot's own client on the real process, and what becomes of a command when the process dies under it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.demo.supervised_process import ChildSpec
from handlers.supervisor import children
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.protocol import State
from tests.real_supervisor.conftest import World
from tests.real_supervisor.process import RealProcess
from tests.supervisor.conftest import FAST, Desk, connected, until

CHILDREN = (
    ChildSpec("worker-1"),
    ChildSpec("worker-2"),
    ChildSpec("ledger-writer", "slow_to_stop", stop_takes=2.0),
    ChildSpec("fraud-scorer", "ignores_cancellation"),
)


@asynccontextmanager
async def driven(socket: Path, **target: Any) -> AsyncIterator[tuple[Desk, SupervisorHandler]]:
    """A connected product, with patience: what is tested here is not how fast it gives up."""
    patient = {**FAST, "request_timeout": 2.0, "command_timeout": 5.0, "stop_timeout": 10.0, **target}
    handler = await connected({"payments": {"socket": socket, **patient}})
    try:
        yield Desk(handler, {}, {}), handler
    finally:
        await handler.close()


async def test_the_newest_crate_is_generation_c_and_driven(real: World) -> None:
    process = await real.start(real.config(children=CHILDREN))
    assert isinstance(process, RealProcess)
    async with driven(real.folder / "p.sock") as (desk, handler):
        client = handler.clients["payments"]
        before = await client.state()
        assert children.unusable(before) is None
        assert before.generated_at_unix_nanos > 1_700_000_000 * 10**9  # exact, whatever the process writes it as
        listener = client.listener
        assert listener is not None
        assert listener.pid == process.pid
        assert [child.id for child in children.children(before)] == [child.id for child in CHILDREN]  # not the root
        result = await desk.do("handle.quarantine_child()", "worker-1")
        assert (result.status, result.summary) == (
            "done",
            "payments: worker-1 is quarantined and has no running attempt.",
        )
        after = await client.state()
        assert after.state_generation == before.state_generation + 1 == 2  # so it is generation C


async def test_every_command_is_done_and_seen_to_have_worked(real: World) -> None:
    await real.start(real.config(children=CHILDREN, graceful_timeout=4.0))
    async with driven(real.folder / "p.sock") as (desk, _):
        said = []
        for name, child in (
            ("pause_child", "worker-1"),
            ("resume_child", "worker-1"),
            ("restart_child", "worker-1"),
            ("quarantine_child", "ledger-writer"),
            ("restart_child", "ledger-writer"),
            ("remove_child", "worker-2"),
            ("restart_child", "worker-2"),
        ):
            result = await desk.do(f"handle.{name}()", child)
            said.append(f"{name}: {result.status}, {result.summary.removeprefix('payments: ')}")
        assert said == [
            "pause_child: done, worker-1 is paused and has no running attempt.",
            "resume_child: done, worker-1 is called active; no attempt runs.",
            "restart_child: done, worker-1 runs attempt 2 after no attempt.",
            "quarantine_child: done, ledger-writer is quarantined and has no running attempt.",
            "restart_child: done, ledger-writer runs attempt 2 after no attempt.",
            "remove_child: done, worker-2 has no record any more.",
            "restart_child: done, worker-2 runs attempt 2 after no attempt.",
        ]


async def test_killed_with_a_command_on_its_way_and_not_started_again(real: World) -> None:
    process = await real.start(real.config(children=CHILDREN))
    assert isinstance(process, RealProcess)
    async with driven(real.folder / "p.sock", stop_timeout=0.5) as (desk, handler):
        await handler.clients["payments"].state()
        doing = asyncio.create_task(desk.do("handle.quarantine_child()", "ledger-writer"))
        await stopping(real)  # it has been taken, and takes two seconds to be done
        await process.kill()
        result = await asyncio.wait_for(doing, 20)
    assert result.status == "uncertain"
    assert "nobody listens at" in result.summary
    assert (real.folder / "p.sock").exists()


async def test_killed_with_a_command_unread_and_started_again(real: World) -> None:
    """The new process knows nothing of the command: the bot says so and does not send it again by itself."""
    config = real.config(children=CHILDREN, bind_mode="replace_stale")
    first = await real.start(config)
    assert isinstance(first, RealProcess)
    async with driven(config.socket) as (desk, handler):
        client = handler.clients["payments"]
        await client.state()
        first.send(signal.SIGSTOP)
        command = client.command(
            "quarantine_child",
            target_id="payments",
            child_path="/worker-1",
            reason="a test",
            requested_by="test",
        )
        doing = asyncio.create_task(command)
        await asyncio.sleep(0.2)
        await first.kill()
        try:
            await asyncio.wait_for(doing, 10)
        except Exception as error:
            lost = str(error)
        assert "the connection was lost after command.quarantine_child was sent" in lost
        second = RealProcess(config)
        async with second:
            state = await client.state()
            assert (await desk.record("worker-1")).operation == "active"
            assert isinstance(state, State)
            assert client.listener is not None
            assert client.listener.pid == second.pid != first.pid


async def test_killed_in_the_middle_of_a_shutdown(real: World) -> None:
    process = await real.start(real.config(children=CHILDREN, graceful_timeout=5.0))
    assert isinstance(process, RealProcess)
    line = await real.line()
    asking = asyncio.create_task(
        line.send(
            b'{"request_id":"down","method":"command.shutdown_tree","params":{"command_id":'
            b'"2f9dd8b6-6d3f-4b7e-8f0e-0a3f5d8f3b13","target_id":"payments","command":"shutdown_tree","target":{},'
            b'"reason":"a test","requested_by":"test","confirmed":true,"requested_at_unix_nanos":1}}\n'
        )
    )
    await asyncio.sleep(0.3)
    assert not asking.done()
    await process.kill()
    assert await asyncio.wait_for(asking, 5) is None  # the end of the stream, and no word


async def test_a_runtime_that_is_starved_answers_nothing_and_comes_back(real: World) -> None:
    process = await real.start(real.config(children=CHILDREN))
    assert isinstance(process, RealProcess)
    async with driven(real.folder / "p.sock", request_timeout=0.3) as (_, handler):
        client = handler.clients["payments"]
        healthy = await client.probe()
        assert healthy.hello is not None
        assert healthy.state is not None
        (process.faults / "block").touch()
        await asyncio.sleep(0.1)
        starved = await client.probe()
        assert (starved.hello, starved.state) == (None, None)
        (process.faults / "block").unlink()

        async def back() -> bool:
            return (await client.probe()).state is not None

        await until(back)


async def test_a_panic_is_a_failure_that_is_restarted(real: World) -> None:
    process = await real.start(real.config(children=CHILDREN))
    assert isinstance(process, RealProcess)
    line = await real.line()
    (process.faults / "panic-worker-1").touch()
    await line.until("worker-1", {"attempt": 2, "restart_limit.used": 1, "status": "running"})
    assert "not balanced" not in str(await line.state())  # why, stands in its log alone
    await process.stop()


async def stopping(world: World) -> None:
    line = await world.line()
    await line.until("ledger-writer", {"status": "cancelling"})
