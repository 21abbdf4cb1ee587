"""``url = "postgresql://…"``: the same bot on a PostgreSQL server that the test starts itself."""

from __future__ import annotations

from pathlib import Path

from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from tests.postgresql import Server
from tests.transcript import SETTINGS, Chat


async def test_a_run_on_postgresql_across_a_restart_of_the_bot(tmp_path: Path, postgresql: Server) -> None:
    settings = SETTINGS.replace("sqlite:///{folder}/opsbot.db", postgresql.database())
    section = f'[supervisor.targets.payments]\nsocket = "{tmp_path}/p.sock"\n'
    process = SupervisedProcess(ProcessConfig(socket=tmp_path / "p.sock", children=payment_children()))
    async with process, Chat(tmp_path, section, settings=settings) as chat:
        chat.slack.duplicate_deliveries = 1
        await chat.types("alice", "/supervisor quarantine fraud-scorer")
        card = await chat.sees("waiting for a decision")  # it ignores the cancellation
        await chat.stop_bot()
        await chat.start_bot()
        await chat.presses("alice", "Done", card)
        await chat.shows(card, "Done after")
        await chat.thread(card, until="Run done")
        await chat.presses("scotlaclair", "Acknowledge", await chat.sees("needs you"))
        await chat.thread(card, until="scotlaclair acknowledged the page")
        await chat.types("alice", "/supervisor status payments")
        await chat.sees("payments: ", "quarantined")
        assert process.executed == ["quarantine_child /fraud-scorer"]
