"""``/supervisor report`` and ``/supervisor diagnose`` on a process of its own, in both worlds."""

from __future__ import annotations

import signal

from tests.real_supervisor.test_procedures import Shift, shift

__all__ = ["shift"]  # the fixture

EVERY_MINUTE = """
[reports.processes]
product = "supervisor"
channel = "C0OPS"
cron = "* * * * *"
chart = false
escalate = false
"""


async def test_the_report_tells_a_crash_loop_a_frozen_process_and_one_that_is_gone(shift: Shift) -> None:
    payments = await shift.deployed(crashing=True, graceful_timeout=0.4, abort_wait=0.3)
    await payments.start()
    async with shift.chat(payments, EVERY_MINUTE) as chat:
        await chat.passes(minutes=1)
        said = await chat.sees("1 newly critical", "payments/worker-3", "stale child", "4 without trouble")
        assert said.labels == ["P1-002: payments/worker-3"]
        # It was given up: once its failures are out of the window nothing but the missing attempt tells.
        for _ in range(3):
            await chat.passes(minutes=1)
        await chat.rests()
        assert "better" not in chat.transcript(), chat.transcript()

        payments.send(signal.SIGSTOP)
        await chat.passes(minutes=1)
        said = await chat.sees("payments link: is now critical", "0 of 1 answer", "no answer to state within 0.2 s")
        assert said.labels == ["Diagnose: payments"]
        assert "payments: payments" not in said.shown
        await chat.presses("alice", "Diagnose: payments", said)
        offered = await chat.sees("P1-004: connected, and nothing is answered: the process hangs")
        assert offered.shown.count("P1-004: connected") == 1
        assert "Run P1-004 on worker-1" in offered.labels

        payments.send(signal.SIGCONT)
        await payments.kill()
        await chat.passes(minutes=1)
        await chat.until(lambda: "nobody listens at" in chat.transcript(), "a report that nobody listens")
        chat.read()
        await chat.types("alice", "/supervisor diagnose")
        await chat.sees("P1-001: the process does not run", "Run P1-001 on payments")


async def test_a_breaker_delays_nobody_who_looks_for_the_cause_and_closes_when_the_process_moves(shift: Shift) -> None:
    payments = await shift.deployed(graceful_timeout=0.4, abort_wait=0.3)
    await payments.start()
    async with shift.chat(payments) as chat:
        await chat.types("alice", "/supervisor tree")
        await chat.sees("5 of 5 children run")
        payments.send(signal.SIGSTOP)
        for _ in range(5):
            await chat.types("alice", "/supervisor tree")
            await chat.is_told("alice", "no answer to state within 0.2 s")
        await chat.types("alice", "/supervisor tree")
        await chat.is_told("alice", "was not asked: the bot's breaker for socket payments is open")
        await chat.types("alice", "/supervisor status")
        await chat.sees("Not reached. Connected, but no answer to state")
        # The one procedure for such a process begins without an answer, and without waiting for the breaker.
        await chat.types("alice", "/runs start P1-004 worker-1")
        card = await chat.sees("P1-004 Runtime Starvation: worker-1")
        await chat.sees("✓ Step 1", "the whole runtime is starved", thread=card)
        asked = await chat.sees("Step 3 needs a decision", "was not asked: the bot's breaker", thread=card)
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))

        payments.send(signal.SIGCONT)
        await chat.passes(seconds=3)  # a look of the poller is answered, long before the breaker's minute is over
        await chat.types("alice", "/supervisor tree")
        await chat.sees("5 of 5 children run")
        await chat.presses("alice", "Retry", asked)
        await chat.thread(card, until="Run done")
