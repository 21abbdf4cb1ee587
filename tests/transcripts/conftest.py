"""The supervised process and the SOMAS projects that the transcripts talk about."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.clock import ManualClock
from bot.demo.somas_projects import generate
from bot.demo.supervised_process import ProcessConfig, SupervisedProcess, payment_children


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[SupervisedProcess]:
    """The process ``payments`` with worker-1 to worker-3, ledger-writer and fraud-scorer; worker-3 crashes."""
    children = tuple(replace(child, backoff=0.1) for child in payment_children(crash_after=0.1, stop_takes=0.2))
    process = SupervisedProcess(
        ProcessConfig(socket=tmp_path / "payments.sock", name="payments", children=children, graceful_timeout=0.4)
    )
    process.log_file = tmp_path / "payments.log"
    async with process:
        yield process


@pytest.fixture
def payments(tmp_path: Path) -> str:
    """The section of opsbot.toml for ``process``."""
    target = f'[supervisor.targets.payments]\nsocket = "{tmp_path}/payments.sock"\nlog = "{tmp_path}/payments.log"\n'
    return f"[supervisor]\npoll_seconds = 0\n{target}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """SOMAS projects of every kind, as old as they have to be at the clock's noon."""
    root = tmp_path / "somas"
    generate(root, ManualClock().now())
    return root


@pytest.fixture
def somas(root: Path) -> str:
    """The section of opsbot.toml for ``root``."""
    return f'[somas]\nroot = "{root}"\n'
