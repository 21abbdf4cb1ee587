"""A configured SOMAS: one root folder on this machine, read and changed in worker threads, never on the event loop."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from bot.errors import Unavailable, UserError
from bot.handler import Observation, Provenance, Services, Target
from handlers.somas.config import Config, read_config
from handlers.somas.facts import observe, reading
from handlers.somas.metrics import Fleet, fleet
from handlers.somas.projects import (
    Project,
    list_projects,
    project_argument,
    projects_folder,
    read_all,
    read_project,
)
from handlers.somas.restart import Choice, choose
from handlers.somas.settings import SomasSettings
from handlers.somas.stages import STAGES


class Somas:
    """The ``Handler`` of SOMAS. Everything blocking goes through ``services.run_blocking``."""

    def __init__(self, settings: SomasSettings, services: Services) -> None:
        self.settings = settings
        self.services = services
        self.root: Path = settings.root

    @property
    def repository(self) -> str:
        """``owner/name`` when GitHub is configured, else empty."""
        return str(getattr(self.services.github, "repository", "") or "")

    async def project(self, project_id: str) -> Project:
        """Everything of one project as it is now. Raises ``UserError`` when there is no such project."""

        def read() -> Project:
            project = read_project(self.root, project_id, read_config(self.root))
            project.state  # noqa: B018 a rebuild from a long log belongs into this thread too
            return project

        return await self.services.run_blocking(read)

    async def fleet(self, now: datetime) -> tuple[Fleet, Config]:
        """All projects with their numbers. Raises ``Unavailable`` when the folder cannot be read."""

        def read() -> tuple[Fleet, Config]:
            config = read_config(self.root)
            return fleet(read_all(self.root, config), now), config

        return await self.services.run_blocking(read)

    def decide(
        self,
        project: Project,
        now: datetime,
        *,
        stage: str = "",
        checkpoint: str = "",
        full: bool = False,
        override: bool = False,
    ) -> Choice:
        """Where a restart begins, or a ``UserError`` that says why there must be none."""
        choice = choose(project, now, stage=stage, checkpoint=checkpoint, full=full, override=override)
        too_many = [warning for warning in choice.warnings if "max_retry_attempts" in warning]
        if too_many and self.settings.retries_over_limit == "refuse" and not override:
            raise UserError(
                f"{project.id}: {too_many[0]}. Find out why it fails first; --override restarts it all the same "
                '(retries_over_limit = "refuse" in the section [somas]).'
            )
        return choice

    async def inventory(self, kind: str) -> list[str]:
        """``project``: those with local state; ``stage``: the eleven; anything else: nothing."""
        if kind == "project":
            return await self.services.run_blocking(list_projects, self.root)
        return list(STAGES) if kind == "stage" else []

    async def find_target(self, kind: str, name: str, scope: str) -> Target:
        """``bot.handler.FindsTargets``: ``42`` is project-42. Raises ``UserError`` for what cannot be a project."""
        return Target(product="somas", kind=kind, name=project_argument(name) if kind == "project" else name)

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        """Facts of the project ``target.name``. Inputs: ``stage`` and ``dead_letters_before``, both optional."""
        if target.kind != "project":
            why = f"SOMAS has facts of projects, not of a {target.kind}"
            return [Observation(name=n, provenance=Provenance.UNAVAILABLE, source=why) for n in sorted(names)]
        try:
            project = await self.project(target.name)
        except Unavailable:
            raise
        except UserError as error:
            return [Observation(name=n, provenance=Provenance.UNAVAILABLE, source=error.message) for n in sorted(names)]
        return observe(names, reading(project, self.services.clock.now(), inputs))

    async def problems(self) -> list[str]:
        """The root is gone, cannot be read or cannot be written; the configuration is broken."""
        return await self.services.run_blocking(self._problems)

    def _problems(self) -> list[str]:
        folder = projects_folder(self.root)
        if not self.root.is_dir():
            return [f"SOMAS: {self.root} is not there (root in the section [somas]); is its disk mounted?"]
        if not folder.is_dir():
            return [f"SOMAS: {self.root} holds no .somas/projects (root in the section [somas])."]
        if not _may(folder, os.R_OK | os.X_OK):
            return [f"SOMAS: {folder} cannot be read by the bot's user."]
        found = []
        locked_out = [name for name in list_projects(self.root) if not _may(folder / name, os.R_OK | os.W_OK | os.X_OK)]
        if locked_out:
            some = ", ".join(locked_out[:5]) + (f" and {len(locked_out) - 5} more" if len(locked_out) > 5 else "")
            found.append(f"SOMAS: the bot's user cannot write {some} in {folder}, so it cannot restart them.")
        found += [f"SOMAS: {problem}." for problem in read_config(self.root).problems]
        return found

    async def close(self) -> None:
        """Nothing is kept open between two calls."""


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


async def connect(settings: SomasSettings, services: Services) -> Somas:
    return Somas(settings, services)
