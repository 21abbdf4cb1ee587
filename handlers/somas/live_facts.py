"""``workflow_run.status == "completed"``: facts that only GitHub can tell, each asked for when it is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from bot.errors import UserError
from bot.handler import FactDefinition, Observation, Provenance
from handlers.somas.decode import brief, mapping, text
from handlers.somas.emergency import STOPPED, somas_runs, somas_workflows, stop_of
from handlers.somas.github import NOT_CONFIGURED
from handlers.somas.issue_breaker import runs_of_project
from handlers.somas.workflow_runs import WorkflowRun

if TYPE_CHECKING:  # the handler asks this module for its facts
    from handlers.somas.handler import Somas

Read = Callable[["Somas", str], Awaitable[tuple[Any, str]]]  # handler and target in; value and source out


def _of_run(read: Callable[[WorkflowRun], Any]) -> Read:
    async def find(handler: Somas, project: str) -> tuple[Any, str]:
        run = await handler.followed(project)
        if run is None:
            raise UserError("no workflow run is known for this project: nothing was dispatched by this bot")
        return read(run), f"run {run.id} of {run.file} on GitHub"

    return find


async def _label(handler: Somas, project: str) -> tuple[Any, str]:
    number = await handler.issue_number(project)
    issue = await handler.on_github().issue(number)
    if issue is None:
        raise UserError(f"issue #{number} is not there")
    label = await handler.breaker_label()
    names = [text(mapping(each).get("name")) for each in issue.get("labels") or ()]
    return label in names, f"labels of issue #{number} on GitHub"


async def _of_project(handler: Somas, project: str) -> tuple[Any, str]:
    runs = await runs_of_project(handler, handler.on_github(), project)
    return len(runs), "runs on GitHub that have not ended, matched by branch and title"


async def _active(handler: Somas, _: str) -> tuple[Any, str]:
    found = await somas_workflows(handler, handler.on_github())
    return sum(each.get("state") == "active" for each in found), "GitHub's list of workflows"


async def _open(handler: Somas, _: str) -> tuple[Any, str]:
    return len(await somas_runs(handler, handler.on_github())), "GitHub's list of runs that have not ended"


async def _enabled(handler: Somas, _: str) -> tuple[Any, str]:
    return (await handler.on_github().switch()).get("enabled") is True, "the Actions switch of the repository"


async def _stopped(handler: Somas, _: str) -> tuple[Any, str]:
    stop = stop_of(await handler.memory.recall(STOPPED))
    return len(stop.workflows) if stop else 0, "what stop-all of this bot disabled and resume-all has not enabled"


async def _only_a_step_knows(handler: Somas, _: str) -> tuple[Any, str]:
    raise UserError("only the step that did it can tell")


def _fact(
    name: str,
    values: Literal["number", "text", "boolean", "list"],
    help_: str,
    read: Read,
    *,
    of_run: bool = False,
    possible: tuple[str, ...] = (),
) -> tuple[FactDefinition, Read]:
    return FactDefinition(name, help_, Provenance.EXACT, values, of_run=of_run, possible=possible), read


LIVE: Mapping[str, tuple[FactDefinition, Read]] = {
    definition.name: (definition, read)
    for definition, read in (
        _fact(
            "workflow_run.id",
            "number",
            "the run that was dispatched for the project",
            _of_run(lambda r: r.id),
            of_run=True,
        ),
        _fact(
            "workflow_run.status",
            "text",
            "queued, in_progress, completed and what else GitHub says",
            _of_run(lambda r: r.status),
            of_run=True,
        ),
        _fact(
            "workflow_run.conclusion",
            "text",
            "how it ended, as GitHub says it; red alone proves nothing",
            _of_run(lambda r: r.conclusion or None),
            of_run=True,
        ),
        _fact("workflow_run.url", "text", "where people see it", _of_run(lambda r: r.url), of_run=True),
        _fact(
            "workflow_run.outcome",
            "text",
            "running, succeeded, failed or cancelled, by its jobs; told by the step that reports",
            _only_a_step_knows,
            of_run=True,
        ),
        _fact("breaker.label", "boolean", "the circuit breaker label is on the issue now", _label),
        _fact("runs.of_project", "number", "runs of the project that have not ended", _of_project),
        _fact("runs.open", "number", "runs of SOMAS that have not ended", _open),
        _fact("workflows.active", "number", "workflows of SOMAS that are active", _active),
        _fact("workflows.disabled", "number", "what the step stop_all disabled", _only_a_step_knows, of_run=True),
        _fact(
            "workflows.stopped", "number", "workflows that stop-all disabled and resume-all did not enable", _stopped
        ),
        _fact("actions.enabled", "boolean", "GitHub Actions are on in the repository", _enabled),
        _fact(
            "pull_request.number", "number", "the pull request that the step opened", _only_a_step_knows, of_run=True
        ),
        _fact("incident.url", "text", "where the incident is written down", _only_a_step_knows, of_run=True),
    )
}

LIVE_DEFINITIONS: tuple[FactDefinition, ...] = tuple(definition for definition, _ in LIVE.values())


async def observe_live(handler: Somas, names: frozenset[str], target: str) -> list[Observation]:
    """One observation per name; what GitHub will not tell now is UNAVAILABLE, with its reason."""
    observations = []
    for name in sorted(names):
        _, read = LIVE[name]
        try:
            if handler.github is None and name != "workflows.stopped":
                raise UserError(NOT_CONFIGURED)
            value, source = await read(handler, target)
            shown = brief(value, 500) if isinstance(value, str) else value
            observations.append(Observation(name=name, value=shown, source=brief(source, 300)))
        except UserError as error:
            why = brief(error.message, 300)
            observations.append(Observation(name=name, provenance=Provenance.UNAVAILABLE, source=why))
    return observations
