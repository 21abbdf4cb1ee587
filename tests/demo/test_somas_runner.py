"""The simulated pipeline of the demo: which restarts it answers, when, and which never."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bot.clock import ManualClock
from bot.demo.somas_projects import ProjectWriter, generate
from bot.demo.somas_runner import SimulatedRunner
from tests.demo.demo_process import until


class Pipeline:
    """The projects, a clock in the test's hands, and what the simulated pipeline has said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock()
        self.said: list[str] = []
        generate(root, self.clock.now())

    async def say(self, text: str) -> None:
        self.said.append(text)

    def restart(self, project: str, status: str = "retrying") -> None:
        with ProjectWriter.held(self.root, project, self.clock.now()) as writer:
            writer.update_state(status=status)

    def state(self, project: str) -> dict[str, Any]:
        text = (self.root / ".somas" / "projects" / project / "state.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found

    async def passes(self, seconds: int) -> None:
        """Let the time pass, and the files be read in between."""
        for _ in range(seconds * 2):
            await self.clock.advance(0.5)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def watching(root: Path) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(root)
    runner = SimulatedRunner(root, pipeline.clock, pipeline.say, delay=6)
    task = asyncio.create_task(runner.watch())
    try:
        yield pipeline
        assert not task.done(), task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_takes_a_restart_a_few_seconds_later_and_says_that_it_is_simulated(tmp_path: Path) -> None:
    async with watching(tmp_path) as pipeline:
        pipeline.restart("project-23")
        await pipeline.passes(3)
        assert pipeline.state("project-23")["status"] == "retrying"
        await pipeline.passes(6)
        state = pipeline.state("project-23")
        assert (state["status"], state["current_stage"]) == ("in_progress", "specify")
        assert state["stages"]["specify"]["agent"] == "simulated-pipeline"
        assert pipeline.said == ["Simulated pipeline: took project-23 and started specify."]


async def test_it_never_takes_project_42_nor_a_project_that_nobody_restarted(tmp_path: Path) -> None:
    async with watching(tmp_path) as pipeline:
        pipeline.restart("project-42")
        before = pipeline.state("project-23")
        await pipeline.passes(15)
        assert pipeline.state("project-42")["status"] == "retrying"
        assert pipeline.state("project-23") == before
        assert pipeline.said == []


async def test_a_restart_that_was_changed_meanwhile_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    async with watching(tmp_path) as pipeline:
        pipeline.restart("project-23")
        await pipeline.passes(2)
        pipeline.restart("project-23", "failed")
        await pipeline.passes(10)
        assert pipeline.state("project-23")["status"] == "failed"
        assert pipeline.said == []


async def test_a_damaged_state_does_not_stop_it(tmp_path: Path) -> None:
    async with watching(tmp_path) as pipeline:
        (tmp_path / ".somas" / "projects" / "project-23" / "state.json").write_text('{"status": "retry')
        pipeline.restart("project-31")
        await pipeline.passes(12)
        await until(lambda: bool(pipeline.said), "the other project is taken", 5)
        assert pipeline.state("project-31")["status"] == "in_progress"
