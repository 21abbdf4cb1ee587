"""The procedures on a process of its own, from the symptom to the verified end or to the page, in both worlds."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.clock import ManualClock
from bot.demo.slack import LocalMessage
from bot.demo.supervised_process import ProcessConfig, payment_children
from tests.real_supervisor.deployment import Deployment, alive
from tests.transcript import Chat

WORLDS = ("simulated", "real")


class Shift:
    """A deployed process and the conversation about it."""

    def __init__(self, kind: str, folder: Path, stack: AsyncExitStack) -> None:
        self.kind = kind
        self.folder = folder
        self._stack = stack

    async def deployed(self, *, crashing: bool = False, **changes: Any) -> Deployment:
        children = payment_children(crash_after=0.1 if crashing else 3600, stop_takes=0.2)
        config = ProcessConfig(self.folder / "payments.sock", children=children, **changes)
        return await self._stack.enter_async_context(Deployment(self.kind, config))

    @asynccontextmanager
    async def chat(self, deployment: Deployment, more: str = "") -> AsyncIterator[Chat]:
        # The process dates its failures with the clock of the machine, so the bot's begins there too.
        async with Chat(self.folder, deployment.settings + more, clock=ManualClock(datetime.now(UTC))) as chat:
            yield chat


@pytest.fixture(params=WORLDS)
async def shift(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Shift]:
    async with AsyncExitStack() as stack:
        yield Shift(request.param, folder, stack)


async def approves(chat: Chat, asked: LocalMessage, target: str) -> None:
    """Somebody other than the one who asked."""
    form = await chat.opens("bob", "Approve…", asked)
    await chat.sends("bob", form, {f"Type {target} to approve": target})


async def acknowledged(chat: Chat, card: LocalMessage) -> None:
    await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
    await chat.thread(card, until="scotlaclair acknowledged the page")


# -- P1-001: the process is gone


async def test_p1_001_a_killed_process_is_started_again_and_verified(shift: Shift) -> None:
    payments = await shift.deployed(graceful_timeout=0.4, abort_wait=0.3)
    first = await payments.start()
    await payments.kill()
    async with shift.chat(payments) as chat:
        await chat.types("alice", "/supervisor status")
        await chat.sees("Not reached", "the process is gone and has left its socket file")

        await chat.types("alice", "/supervisor runbook P1-001 --target payments")
        card = await chat.sees("P1-001 Supervisor Process Crash: payments")
        await chat.sees("✓ Step 1", "process.running = false", thread=card)
        # It was killed from outside: neither a shutdown nor a panic stands in its log, and the bot does not guess.
        unsure = await chat.sees("Step 2 needs a decision", "Outcome: cannot tell", "ready pid=", thread=card)
        await chat.presses("alice", "Done", unsure)
        await approves(chat, await chat.sees("Step 4 needs approval", "unlink", thread=card), "payments")
        await chat.sees("✓ Step 4", "socket.blocks_start = false", thread=card)
        await chat.sees("Step 5", "Will do: Run on this host", str(payments.script), thread=card)
        await chat.sees("✓ Step 5", "5 of 5 children run", thread=card)
        await chat.sees("✓ Step 6", 'health.status = "ready"', "Outcome: met", thread=card)
        await chat.thread(card, until="Run done")
    assert payments.starts == 2
    assert alive(payments.pids[-1])
    assert payments.pids[-1] != first


# -- P1-002: a child in a crash loop


async def test_p1_002_a_crash_loop_is_quarantined_removed_and_verified(shift: Shift) -> None:
    payments = await shift.deployed(crashing=True, graceful_timeout=0.4, abort_wait=0.3)
    await payments.start()
    async with shift.chat(payments) as chat:
        await chat.types("alice", "/supervisor runbook P1-002 worker-3")
        card = await chat.sees("P1-002 Child Task Crash Loop: worker-3")
        await chat.sees("✓ Step 1", "restart_count = [3]", "Outcome: met", thread=card)
        await chat.sees("✓ Step 2", "invoice 4711 has no currency", thread=card)
        await chat.sees("✓ Step 3", thread=card)
        await chat.sees("✓ Step 4", "worker-3 is quarantined and has no running attempt", thread=card)
        await approves(chat, await chat.sees("Step 5 needs approval", '"remove_child"', thread=card), "worker-3")
        await chat.sees("✓ Step 5", "child.present = false", thread=card)
        await chat.sees("✓ Step 6", "children.running = 4", "target_count = 4", thread=card)
        await chat.thread(card, until="Run done")
        await chat.types("alice", "/supervisor status payments")
        await chat.sees("payments: 4 of 4 children run", "worker-3 · State removed")


# -- P1-003: nobody reaches it


async def test_p1_003_a_stale_socket_is_removed_and_the_process_comes_back(shift: Shift) -> None:
    payments = await shift.deployed()
    await payments.start()
    await payments.kill()
    async with shift.chat(payments) as chat:
        await chat.types("alice", "/supervisor runbook P1-003 --target payments")
        card = await chat.sees("P1-003 Dashboard IPC Disconnected: payments")
        await chat.sees("✓ Step 1", "with bind_mode create_new it cannot start again", thread=card)
        await approves(chat, await chat.sees("Step 4 needs approval", "unlink", thread=card), "payments")
        await approves(chat, await chat.sees("Step 5 needs approval", thread=card), "payments")
        await chat.sees("✓ Step 6", 'health.dashboard_link = "connected"', "Outcome: met", thread=card)
        await chat.thread(card, until="Run done")
    assert payments.starts == 2


# -- P1-004: it is there and does not answer


@pytest.mark.parametrize(
    ("shift", "how"), [("simulated", "starved"), ("real", "starved"), ("real", "frozen")], indirect=["shift"]
)
async def test_p1_004_a_silent_process_pages_and_is_verified_when_it_answers_again(shift: Shift, how: str) -> None:
    payments = await shift.deployed(graceful_timeout=0.4, abort_wait=0.3)
    await payments.start()
    async with shift.chat(payments) as chat:
        await chat.types("alice", "/supervisor status payments")
        await chat.sees("5 of 5 children run")
        # Frozen by a signal, or every worker thread held by a child that blocks.
        payments.send(signal.SIGSTOP) if how == "frozen" else payments.starve()

        await chat.types("alice", "/supervisor runbook P1-004 worker-1")
        card = await chat.sees("P1-004 Runtime Starvation: worker-1")
        await chat.sees("✓ Step 1", "neither hello nor state is answered: the whole runtime is starved", thread=card)
        await chat.sees("✓ Step 2", "the children are those of the last look", thread=card)
        asked = await chat.sees("Step 3 needs a decision", "no answer to state", thread=card)
        await chat.sees("needs you", "Step 3 could not be started", thread=card)
        await acknowledged(chat, card)

        payments.send(signal.SIGCONT) if how == "frozen" else payments.recover()
        await chat.presses("alice", "Retry", asked)
        # It answers again, so there is no reason to stop a child any more.
        await chat.sees("Step 3 was not needed", "iterations_per_sec < slow", thread=card)
        await chat.sees("Step 4 was not needed", "iterations_per_sec < slow", thread=card)
        await chat.sees("✓ Step 5", "the control loop answers", "Outcome: met", thread=card)
        await chat.thread(card, until="Run done")


# -- what ends with a page


async def test_p1_001_a_restart_that_fails_twice_is_escalated(shift: Shift) -> None:
    payments = await shift.deployed(bind_mode="replace_stale")
    await payments.start()
    await payments.kill()
    payments.breaks()
    async with shift.chat(payments) as chat:
        await chat.types("alice", "/supervisor runbook P1-001 --target payments")
        card = await chat.sees("P1-001 Supervisor Process Crash: payments")
        await chat.presses("alice", "Done", await chat.sees("Step 2 needs a decision", thread=card))
        await chat.sees("Step 5 needs a decision", thread=card)
        await chat.sees("needs you", "Step 5", thread=card)
        await acknowledged(chat, card)
        await chat.says("alice", "@opsbot cancel --reason 'the binary is broken'", thread=card)
        await chat.sees("Run cancelled by alice", thread=card)
    assert payments.starts == 3  # the operator's, and two of the bot
