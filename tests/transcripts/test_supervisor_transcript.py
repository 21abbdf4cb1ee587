"""What people see of ``/supervisor`` in Slack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children
from tests.transcript import Chat


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[SupervisedProcess]:
    process = SupervisedProcess(ProcessConfig(socket=tmp_path / "p.sock", name="payments", children=payment_children()))
    await process.start()
    yield process
    await process.stop()


def section(tmp_path: Path) -> str:
    return f'[supervisor.targets.payments]\nsocket = "{tmp_path}/p.sock"\n'


async def test_quarantine_is_seen_to_have_worked(tmp_path: Path, process: SupervisedProcess) -> None:
    async with Chat(tmp_path, section(tmp_path)) as chat:
        await chat.types("alice", "/supervisor quarantine worker-1 --reason 'looks ill'")
        card = await chat.sees("Done")
        print(chat.slack.transcript())
        await chat.sees("Run done", thread=card)
        print(chat.slack.transcript())
