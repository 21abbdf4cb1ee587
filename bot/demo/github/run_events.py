"""``workflow_run`` webhooks of the local GitHub: ``requested`` when a run is asked for, ``in_progress``, ``completed``.

Runs get on by the clock and by what people do to them, so they are looked at every second while a webhook listens.
"""

from __future__ import annotations

import asyncio

from bot.clock import Clock
from bot.demo.github.deliveries import Deliveries
from bot.demo.github.shapes import Shapes
from bot.demo.github.state import World

LOOK_EVERY = 1.0  # seconds
ACTIONS = {"queued": "requested", "in_progress": "in_progress", "completed": "completed"}


class RunEvents:
    """Tells of every run what it has not told yet."""

    def __init__(self, world: World, shapes: Shapes, deliveries: Deliveries, clock: Clock) -> None:
        self._world = world
        self._shapes = shapes
        self._deliveries = deliveries
        self._clock = clock
        self._told: dict[int, int] = {}  # how many of ACTIONS, by run
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="local GitHub runs")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self.tell()
            await self._clock.sleep(LOOK_EVERY)

    def tell(self) -> None:
        """Send what has happened since the last look; a run that was fast is told step by step all the same."""
        if not self._deliveries.listens("workflow_run"):
            return
        repository, now = self._world.repository, self._world.now()
        steps = list(ACTIONS)
        for run in repository.runs.values():
            told, reached = self._told.get(run.id, 0), steps.index(run.at(now)[0]) + 1
            for status in steps[told:reached]:
                shown = self._shapes.run(repository, run, now)
                if status != "completed":
                    shown |= {"status": status, "conclusion": None}
                payload = {
                    "workflow_run": shown,
                    "workflow": self._shapes.workflow(repository, run.workflow),
                }
                self._deliveries.send("workflow_run", ACTIONS[status], run.actor, payload)
            self._told[run.id] = max(told, reached)
