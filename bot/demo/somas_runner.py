"""``/somas restart project-23`` ends well in the demo: something has to start the stage, as the pipeline would.

A stand-in for the pipeline, and said to be one wherever it speaks. It answers the restarts of a few projects and of no
others, so that a newcomer sees both a run that ends well and one whose time runs out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from bot.clock import Clock
from bot.demo.somas_projects import ProjectWriter

ANSWERED = ("project-23", "project-31")
LOOK_EVERY = 0.5
WAITING = ("retrying", "initializing")  # what a restart leaves behind, at a stage and from the beginning


class SimulatedRunner:
    """Starts the stage of a restarted project ``delay`` seconds after the restart; ``say`` tells people about it.

    ``error``: the stage fails with it as soon as it runs; nobody ever sees it running.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock,
        say: Callable[[str], Awaitable[object]],
        *,
        delay: float = 6.0,
        projects: Sequence[str] = ANSWERED,
        error: Mapping[str, str] | None = None,
    ) -> None:
        self._root = root
        self._projects = projects
        self._clock = clock
        self._say = say
        self._delay = delay
        self._error = error

    async def watch(self) -> None:
        """Until it is cancelled."""
        seen: dict[str, str] = {}  # project -> updated_at of the restart that was seen
        while True:
            for project in self._projects:
                updated = await asyncio.to_thread(self._waits, project)
                if updated and seen.get(project) != updated:
                    seen[project] = updated
                    await self._clock.sleep(self._delay)
                    try:
                        stage = await asyncio.to_thread(self._start, project, updated)
                    except (OSError, ValueError, LookupError):
                        continue  # somebody tries something with the files: the next restart is taken again
                    if stage:
                        await self._say(f"Simulated pipeline: took {project} and started {stage}.")
            await self._clock.sleep(LOOK_EVERY)

    def _waits(self, project: str) -> str:
        """When the project was restarted, if nothing has happened since; else nothing."""
        try:
            state = json.loads((self._root / ".somas" / "projects" / project / "state.json").read_bytes())
        except (OSError, ValueError):
            return ""  # being written, or a person is trying something: the next look will tell
        if not isinstance(state, dict) or state.get("status") not in WAITING:
            return ""
        return str(state.get("updated_at", ""))

    def _start(self, project: str, restarted_at: str) -> str:
        """The stage that runs now; nothing when the project was changed again in the meantime."""
        with ProjectWriter.held(self._root, project, self._clock.now()) as writer:
            if writer.state["updated_at"] != restarted_at:
                return ""
            stage = str(writer.state["current_stage"])
            writer.start_stage(stage, agent="simulated-pipeline")
            if self._error:
                writer.fail_stage(stage, dict(self._error))
            return stage
