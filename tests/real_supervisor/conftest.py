"""The two worlds: the simulation of ``bot/demo`` and the published crate, under the same tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.demo.supervised_process import ProcessConfig, SupervisedProcess
from tests.real_supervisor.process import RealProcess
from tests.real_supervisor.session import Line, configuration


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a Unix socket address holds 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="sv-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class World:
    """Starts processes of one kind and stops them at the end."""

    def __init__(self, kind: str, folder: Path, stack: AsyncExitStack) -> None:
        self.kind = kind
        self.folder = folder
        self._stack = stack

    def config(self, **changes: Any) -> ProcessConfig:
        return replace(configuration(self.folder / "p.sock"), **changes)

    async def start(self, config: ProcessConfig, **dashboard: Any) -> RealProcess | SupervisedProcess:
        """``dashboard`` changes the crate's configuration of that name."""
        process = RealProcess(config, **dashboard) if self.kind == "real" else SupervisedProcess(config)
        return await self._stack.enter_async_context(process)

    async def line(self) -> Line:
        return await self._stack.enter_async_context(Line(self.folder / "p.sock"))

    async def serve(self, **changes: Any) -> Line:
        """A started process and a connection to it."""
        await self.start(self.config(**changes))
        return await self.line()


@pytest.fixture(params=["simulated", "real"])
async def world(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(request.param, folder, stack)


@pytest.fixture
async def real(folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World("real", folder, stack)
