"""A configured SOMAS: one root folder on this machine, read and changed in worker threads, never on the event loop."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from bot.errors import Unavailable, UserError
from bot.handler import Observation, Provenance, Services, Target
from bot.memory import Memory, ProcessMemory
from bot.runbooks.model import Runbook
from handlers.somas.agents import agent_names
from handlers.somas.attention import Attention
from handlers.somas.checked import Checked
from handlers.somas.config import Config, config_signature, read_config
from handlers.somas.decode import brief, mapping, text
from handlers.somas.emergency import STOPPED, stop_of
from handlers.somas.facts import observe, reading
from handlers.somas.github import NOT_CONFIGURED, SomasGitHub, run_key
from handlers.somas.issues import issue_of, project_of
from handlers.somas.live_facts import LIVE, observe_live
from handlers.somas.metrics import Fleet, fleet
from handlers.somas.projects import (
    Project,
    list_projects,
    project_argument,
    projects_folder,
    read_project,
)
from handlers.somas.rebuild import number_of
from handlers.somas.restart import Choice, choose
from handlers.somas.scan import Progress, Scan
from handlers.somas.settings import SomasSettings
from handlers.somas.stages import STAGES, current_name
from handlers.somas.summary import StateSummary
from handlers.somas.workflow_runs import WorkflowRun

LOOK_FOR_ISSUE = 3.0  # seconds, before a name is said to be wrong
ASK_AGAIN = timedelta(seconds=5)  # about a workflow run that is followed


def dead_letters_before(project: Project) -> str:
    """For the run's inputs. Without a readable file nobody can tell later whether a dead letter is new."""
    return str(len(project.letters.entries)) if project.letters.condition == "ok" else "unknown"


class Somas:
    """The ``Handler`` of SOMAS. Everything blocking goes through ``services.run_blocking``."""

    def __init__(self, settings: SomasSettings, services: Services) -> None:
        self.settings = settings
        self.services = services
        self.root: Path = settings.root
        self.scan = Scan(settings.root)
        self.checked = Checked(settings.root)
        self.github = SomasGitHub(services.github_api) if services.github_api else None
        self.attention = Attention(self.github) if self.github else None
        self.memory: Memory = services.memory or ProcessMemory()
        self._config: tuple[object, Config] | None = None
        self._followed: dict[str, tuple[datetime, WorkflowRun]] = {}  # by project: the run, and when it was asked for

    @property
    def repository(self) -> str:
        """``owner/name`` when GitHub is configured, else empty."""
        return str(getattr(self.services.github, "repository", "") or "")

    def on_github(self) -> SomasGitHub:
        """The repository. Raises ``UserError`` when GitHub is not configured."""
        if self.github is None:
            raise UserError(NOT_CONFIGURED)
        return self.github

    async def issue_number(self, project_id: str) -> int:
        """Number of the project's issue; the project's own number when state.json does not tell."""
        project = await self.project(project_id)
        return (project.state.issue_number if project.state else 0) or number_of(project_id)

    async def breaker_label(self) -> str:
        return (await self.services.run_blocking(read_config, self.root)).breaker_label

    async def followed(self, project_id: str, *, fresh: bool = False) -> WorkflowRun | None:
        """The workflow run that was dispatched for a project, or the run of that number.

        GitHub is asked at most every few seconds.

        None when none is known. Raises ``Refused`` and ``NotNow``.
        """
        if project_id.isdecimal():
            number: object = int(project_id)
        else:
            saved = await self.memory.recall(run_key(project_id))
            number = mapping(json.loads(saved)).get("id") if saved else None
        if self.github is None or not isinstance(number, int):
            return None
        now = self.services.clock.now()
        kept = self._followed.get(project_id)
        if kept and kept[1].id == number and not fresh and now - kept[0] < ASK_AGAIN:
            return kept[1]
        run = await self.github.run(number)
        if run is not None:
            self._followed[project_id] = (now, run)
        return run

    async def refuse_held(self, project_id: str, *, override: bool) -> None:
        """Raises ``UserError`` while everything is stopped, or the project's issue has the circuit breaker label now.

        What GitHub cannot tell for now holds nobody up: the dispatch itself will say it.
        """
        if override:
            return
        if stop := stop_of(await self.memory.recall(STOPPED)):
            at = f" at {stop.at:%Y-%m-%d %H:%M} UTC" if stop.at else ""
            raise UserError(
                f"Everything is stopped: {stop.by} ran stop-all{at} ({stop.reason}). /somas resume-all enables the "
                "workflows again; --override restarts all the same.",
                suggestions=("/somas resume-all",),
            )
        if self.github is None:
            return
        try:
            held = await self.held(project_id)
        except Unavailable:
            return
        if held:
            raise UserError(
                f"The circuit breaker of {project_id} is set: its issue has the label {await self.breaker_label()}. "
                f"Find out why, then /somas breaker reset {project_id}; or add --override.",
                suggestions=(f"/somas breaker status {project_id}",),
            )

    async def held(self, project_id: str) -> bool:
        """Whether the project's issue has the circuit breaker label now. Raises ``UserError`` when nobody can tell."""
        label = await self.breaker_label()
        issue = await self.on_github().issue(await self.issue_number(project_id))
        return label in [text(mapping(each).get("name")) for each in mapping(issue).get("labels") or ()]

    async def complete_inputs(self, runbook: Runbook, target: Target, given: Mapping[str, str]) -> Mapping[str, str]:
        """``bot.handler.CompletesInputs``: where a restart begins, and how many dead letters there are before it."""
        if target.kind != "project" or not {"stage", "dead_letters_before"} & runbook.inputs.keys():
            return {}
        if "mode" in runbook.inputs:
            await self.refuse_held(target.name, override=given.get("override") == "true")
        if runbook.inputs.get("mode") == "full":  # begins at the first stage, without any dead letter
            return {}
        project = await self.project(target.name)
        known = {"dead_letters_before": dead_letters_before(project)}
        if runbook.danger == "change" and "stage" in runbook.inputs and not given.get("stage"):
            checkpoint = "last" if runbook.id == "checkpoint-restart" else ""
            override = given.get("override") == "true"
            choice = self.decide(project, self.services.clock.now(), checkpoint=checkpoint, override=override)
            known |= {"stage": choice.stage, "why": choice.why}
        elif "stage" in runbook.inputs and not given.get("stage") and project.state:
            known["stage"] = current_name(project.state.current_stage)
        return known

    def config(self) -> Config:
        """The configuration of SOMAS, read again when one of its files has changed. Blocking."""
        signature = config_signature(self.root)
        if self._config is None or self._config[0] != signature:
            self._config = (signature, read_config(self.root))
        return self._config[1]

    async def project(self, project_id: str) -> Project:
        """Everything of one project as it is now. Raises ``UserError`` when there is no such project."""

        def read() -> Project:
            config = self.config()
            project = read_project(self.root, project_id, config)
            if project.log.condition == "damaged":  # too large, most likely: count it without keeping it
                counted = self.scan.one(project_id, config, self.services.clock.now())
                if counted and counted.log.condition == "ok":
                    project = replace(project, counts=counted.tally)
            project.state  # noqa: B018 a rebuild from a long log belongs into this thread too
            return project

        return await self.services.run_blocking(read)

    async def projects(self, names: Sequence[str]) -> list[Project]:
        """These, whole; one that has gone meanwhile is left out. Each is read apart: others need not wait."""
        found = []
        for name in names:
            try:
                found.append(await self.project(name))
            except UserError:
                continue
        return found

    async def fleet(self, now: datetime, progress: Progress | None = None) -> tuple[Fleet, Config]:
        """All projects with their numbers; only what has changed since the last call is read.

        ``progress`` is called in a worker thread. Raises ``Unavailable`` when the folder cannot be read.
        """

        def read() -> tuple[Fleet, Config]:
            config = self.config()
            return fleet(self.scan.all(config, now, progress), config, now), config

        return await self.services.run_blocking(read)

    async def failed(self, now: datetime, progress: Progress | None = None) -> tuple[Fleet, int, Config]:
        """Those that have failed or cannot be read, and how many there are in all.

        Of the others nothing but state.json is read. Otherwise as ``fleet``.
        """

        def read() -> tuple[Fleet, int, Config]:
            config = self.config()
            found, total = self.scan.some(_failed, config, now, progress)
            return fleet(found, config, now), total, config

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
        """``project``: those with local state; ``stage``: the eleven; ``repository``: the one on GitHub; ``agent``."""
        if kind == "repository":
            return [self.github.repository] if self.github else []
        if kind == "workflow-run":
            return [str(run.id) for run in await self.github.runs({"per_page": "100"})] if self.github else []
        if kind == "agent":
            return await self.services.run_blocking(agent_names, self.root, self.settings.repository_path)
        if kind == "project":
            return await self.services.run_blocking(self.scan.names)
        return list(STAGES) if kind == "stage" else []

    async def why_missing(self, kind: str, name: str) -> str:
        """``bot.handler.ExplainsMissing``: a project that is only an issue on GitHub has no state on this machine."""
        if kind == "agent" and not await self.inventory("agent"):
            return (
                f"Neither {self.root}/.somas/agents nor agents.agent_configs names any: set repository_path in the "
                "section [somas] to a checkout of SOMAS's repository."
            )
        if kind != "project":
            return ""
        try:
            async with asyncio.timeout(LOOK_FOR_ISSUE):
                issue = mapping(await self.github.issue(number_of(name))) if self.github else {}
        except (TimeoutError, UserError):
            return ""
        if not issue or "pull_request" in issue:
            return ""
        return (
            f"Issue #{number_of(name)} ({brief(text(issue.get('title')), 60)}) is on GitHub, but has no local state: "
            f"SOMAS has written nothing of it below {self.root}/.somas/projects."
        )

    async def find_target(self, kind: str, name: str, scope: str) -> Target:
        """``bot.handler.FindsTargets``: ``42`` is project-42. Raises ``UserError`` for what cannot be a project."""
        return Target(product="somas", kind=kind, name=project_argument(name) if kind == "project" else name)

    async def issue_of(self, target: Target) -> int | None:
        """``bot.handler.KnowsIssues``: the issue of a project."""
        if target.kind != "project":
            return None
        return await self.services.run_blocking(issue_of, self.root, target.name)

    async def name_for_issue(self, kind: str, issue: int) -> str | None:
        """``bot.handler.KnowsIssues``: the project that an issue is about."""
        return await self.services.run_blocking(project_of, self.root, issue) if kind == "project" else None

    async def observe(self, names: frozenset[str], target: Target, inputs: Mapping[str, str]) -> list[Observation]:
        """Facts of the project ``target.name``. Inputs: ``stage`` and ``dead_letters_before``, both optional."""
        if live := names & LIVE.keys():
            rest = await self.observe(names - live, target, inputs) if names - live else []
            return [*rest, *await observe_live(self, live, target.name)]
        if target.kind != "project":
            why = f"SOMAS has facts of projects, not of a {target.kind}"
            return [Observation(name=n, provenance=Provenance.UNAVAILABLE, source=why) for n in sorted(names)]
        try:
            project = await self.project(target.name)
        except Unavailable:
            raise
        except UserError as error:
            return [Observation(name=n, provenance=Provenance.UNAVAILABLE, source=error.message) for n in sorted(names)]
        now = self.services.clock.now()

        def find() -> list[Observation]:  # some facts look at the files again
            return observe(names, reading(project, now, inputs))

        return await self.services.run_blocking(find)

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
        await self.services.run_blocking(self.scan.close)


def _failed(state: StateSummary) -> bool:
    return state.effective_status == "failed"


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


async def connect(settings: SomasSettings, services: Services) -> Somas:
    return Somas(settings, services)
