"""``/somas actions list``, ``/somas stop-all``, ``/somas agent coder``: GitHub Actions as people ask for them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from bot.commands.registry import Answer, CommandContext, Existing, Metavar, Reply, StartRun
from bot.errors import UserError
from bot.handler import Danger, Target
from handlers.somas.agents import agent_argument, read_agent, what_it_did
from handlers.somas.commands import commands, document_of, with_budgets
from handlers.somas.decode import brief
from handlers.somas.emergency import remembered_stop
from handlers.somas.github import NOT_CONFIGURED
from handlers.somas.handler import Somas
from handlers.somas.issue_breaker import runs_of_project
from handlers.somas.messages_github import agent_message, run_message, runs_message
from handlers.somas.projects import project_argument
from handlers.somas.workflow_runs import WorkflowRun, judged

_WORKFLOW = re.compile(r"[\w.-]{1,100}\.ya?ml", re.ASCII)
REPORT = timedelta(minutes=1)  # to disable, and to tell what is left, around the time that runs get to end


def run_argument(typed: str) -> str:
    """What a person typed as a workflow run: its number, or its address. Raises ``UserError``."""
    number = typed.strip().rstrip("/").rsplit("/", 1)[-1].removeprefix("#")
    if not number.isascii() or not number.isdecimal() or len(number) > 18:
        raise UserError(f"{typed[:60]!r} is no workflow run. It is a number, as /somas actions list shows it.")
    return number.lstrip("0") or "0"


def workflow_argument(typed: str) -> str:
    """What a person typed as a workflow: its file. Raises ``UserError``."""
    name = typed.strip().removeprefix(".github/workflows/")
    if not _WORKFLOW.fullmatch(name):
        raise UserError(
            f"{brief(typed, 60)!r} is no workflow. It is called by its file: somas-pipeline.yml.",
            suggestions=("/somas actions list --workflow somas-pipeline.yml",),
        )
    return name


RunNumber = Annotated[str, Metavar("run")]
Project = Annotated[str, Existing("project", normalise=project_argument)]


@commands.command(
    verb="actions list",
    danger=Danger.READ,
    examples=("/somas actions list", "/somas actions list --all", "/somas actions list --project project-42"),
)
async def actions_list(
    context: CommandContext,
    *,
    all: bool = False,
    workflow: str = "",
    project: Annotated[str | None, Existing("project", normalise=project_argument)] = None,
) -> Reply:
    """List the workflow runs that have not ended, with --all the newest thirty.

    Parameters
    ----------
    all
        Also those that have ended.
    workflow
        Only of this file, such as somas-pipeline.yml.
    project
        Only those that belong to this project, by branch and by its issue's title.
    """
    handler: Somas = context.handler
    github = handler.on_github()
    where = f"in {github.repository}" + (f" for {project}" if project else "") + (f" of {workflow}" if workflow else "")
    file = workflow_argument(workflow) if workflow else ""
    if project is not None:
        runs = await runs_of_project(handler, github, project, ended_too=all)
        runs = [run for run in runs if not file or run.file == file]
    elif all or workflow:
        runs = [run for run in await github.runs(workflow=file) if all or not run.ended]
    else:
        runs = await github.open_runs()
    return Answer(runs_message(runs, context.clock.now(), where, ended_too=all))


@commands.command(verb="actions show", danger=Danger.READ, examples=("/somas actions show 1000042",))
async def actions_show(context: CommandContext, run: RunNumber) -> Reply:
    """Show one workflow run: its state, its jobs, and the step that failed."""
    handler: Somas = context.handler
    found = await _run(handler, run)
    verdict = judged(found, await handler.on_github().jobs(found.id), handler.settings.dispatch.always_red)
    return Answer(run_message(found, verdict, context.clock.now()))


@commands.command(verb="actions watch", danger=Danger.READ, examples=("/somas actions watch 1000042",))
async def actions_watch(context: CommandContext, run: RunNumber) -> Reply:
    """Follow one workflow run to its end, with a deadline; then tell which job and step failed."""
    handler: Somas = context.handler
    found = await _run(handler, run)
    budget = handler.settings.follow_budget
    return StartRun(
        runbook=with_budgets(document_of(context, "monitor-actions"), {"somas.follow_run": budget}),
        target=Target(product="somas", kind="workflow-run", name=str(found.id)),
        changes=False,
    )


@commands.command(verb="actions cancel", danger=Danger.CHANGE, examples=("/somas actions cancel 1000042",))
async def actions_cancel(context: CommandContext, run: RunNumber, *, reason: str = "") -> Reply:
    """Cancel one workflow run and wait until it has ended.

    Parameters
    ----------
    run
        Its number.
    reason
        Why, for the history.
    """
    found = await _run(context.handler, run)
    if found.ended:
        raise UserError(f"Run {found.id} of {found.file} has ended already ({found.conclusion}).")
    return StartRun(
        runbook=document_of(context, "cancel-run"),
        target=Target(product="somas", kind="workflow-run", name=str(found.id)),
        reason=reason,
    )


@commands.command(
    verb="actions off",
    danger=Danger.DESTRUCTIVE,
    level="admin",
    examples=('/somas actions off --reason "runs begin again and again"',),
)
async def actions_off(context: CommandContext, *, reason: str = "") -> Reply:
    """Switch GitHub Actions off for the whole repository: every workflow, tests and scans too. Needs an approval.

    Parameters
    ----------
    reason
        Why, for those who find it switched off.
    """
    return _of_repository(context, "actions-off", reason)


@commands.command(verb="actions on", danger=Danger.CHANGE, level="admin", examples=("/somas actions on",))
async def actions_on(context: CommandContext, *, reason: str = "") -> Reply:
    """Switch GitHub Actions on again, with the actions allowed that were before.

    Parameters
    ----------
    reason
        Why, for the history.
    """
    return _of_repository(context, "actions-on", reason)


@commands.command(
    verb="stop-all",
    danger=Danger.DESTRUCTIVE,
    examples=('/somas stop-all --reason "agents write nonsense into main"', "/somas stop-all --dry-run"),
)
async def stop_all(context: CommandContext, *, reason: str = "") -> Reply:
    """Halt SOMAS: disable its workflows and cancel every run that has not ended. Needs an approval.

    What is disabled is remembered, and ``/somas resume-all`` enables exactly that again. Restarts are refused until
    then.

    Parameters
    ----------
    reason
        Why; everybody who wants to restart something reads it.
    """
    handler: Somas = context.handler
    return _of_repository(context, "stop-all", reason, {"somas.stop_all": handler.settings.stop_budget + REPORT})


@commands.command(
    verb="resume-all", danger=Danger.CHANGE, examples=("/somas resume-all", "/somas resume-all --dry-run")
)
async def resume_all(context: CommandContext, *, reason: str = "") -> Reply:
    """Undo stop-all: enable exactly the workflows that it disabled. Starts nothing.

    Parameters
    ----------
    reason
        Why, for the history.
    """
    run = _of_repository(context, "resume-all", reason)
    await remembered_stop(context.handler)
    return run


@commands.command(danger=Danger.READ, examples=("/somas agent coder",))
async def agent(context: CommandContext, name: Annotated[str, Existing("agent", normalise=agent_argument)]) -> Reply:
    """Show an agent: its file, its provider, what it did last, and what could keep it silent."""
    handler: Somas = context.handler
    root, now = handler.root, context.clock.now()
    found = await handler.services.run_blocking(read_agent, root, name, handler.settings.repository_path)
    fleet, _ = await handler.fleet(now, context.progress)
    active = [(at, each.id) for each, _ in fleet.projects if (at := each.last_event_at)]
    did = await handler.services.run_blocking(what_it_did, root, active, name)
    runs: list[WorkflowRun] | str = NOT_CONFIGURED
    secrets: list[str] | str = NOT_CONFIGURED
    if handler.github is not None:
        try:
            runs = (await handler.github.runs(workflow="somas-orchestrator.yml"))[:5]
        except UserError as error:
            runs = error.message
        try:
            secrets = await handler.github.secret_names()
        except UserError as error:
            secrets = f"cannot be listed. {error.message}"
    return Answer(agent_message(found, did, runs, secrets, now))


async def _run(handler: Somas, typed: str) -> WorkflowRun:
    number = int(run_argument(typed))
    found = await handler.on_github().run(number)
    if found is None:
        raise UserError(
            f"{handler.repository} has no workflow run {number}.", suggestions=("/somas actions list --all",)
        )
    return found


def _of_repository(
    context: CommandContext, runbook: str, reason: str, budgets: Mapping[str, timedelta] | None = None
) -> StartRun:
    handler: Somas = context.handler
    repository = handler.on_github().repository
    return StartRun(
        runbook=with_budgets(document_of(context, runbook), budgets or {}),
        target=Target(product="somas", kind="repository", name=repository),
        reason=reason,
    )
