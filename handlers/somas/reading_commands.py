"""``/somas projects``, ``stage``, ``log``, ``metrics``, ``diagnose``, …: everything that only reads files."""

from __future__ import annotations

from typing import Annotated

from bot.commands.nearest import nearest
from bot.commands.registry import Answer, CommandContext, Existing, Metavar, Reply
from bot.errors import UserError
from bot.handler import Danger
from bot.messages import Message
from handlers.somas.agents import agent_files
from handlers.somas.commands import commands
from handlers.somas.config import read_raw
from handlers.somas.config_views import config_message
from handlers.somas.diagnosis import diagnose as look_for
from handlers.somas.fleet_views import status_of
from handlers.somas.gates import gates_message, gates_of, read_reports
from handlers.somas.handler import Somas
from handlers.somas.health_views import diagnosis_message, fleet_health_message, health_message
from handlers.somas.log_views import Logged, activity_message, log_message
from handlers.somas.metrics import weigh
from handlers.somas.metrics_views import (
    fleet_metrics_message,
    metrics_message,
    projects_message,
    recovery_fleet_message,
    stuck_message,
)
from handlers.somas.projects import project_argument, project_directory
from handlers.somas.stage_views import Held, recovery_message, stage_message, stages_message
from handlers.somas.stages import current_name, stage_argument
from handlers.somas.summary import summarise
from handlers.somas.tail import Query, last_events
from handlers.somas.transitions import EVENT_TYPES
from handlers.somas.validate import validate

MOST = 50  # events of one message
ProjectName = Annotated[str, Existing("project", normalise=project_argument)]
OneOrAll = Annotated[str | None, Existing("project", normalise=project_argument)]
StageName = Annotated[str | None, Existing("stage", normalise=stage_argument), Metavar("stage")]


@commands.command(
    danger=Danger.READ,
    examples=("/somas projects", "/somas projects --status failed", "/somas projects --stage verify"),
)
async def projects(context: CommandContext, *, status: str = "", stage: StageName = None) -> Reply:
    """List the projects, the one with the latest event first; archives are none.

    Parameters
    ----------
    status
        Only those with this status, such as failed, in_progress or waiting; unknown for those that cannot be read.
    stage
        Only those that are at this stage.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    fleet, config = await handler.fleet(now, context.progress)
    wanted = status.strip().lower().replace(" ", "_").replace("-", "_")

    def tell() -> Message:
        known = sorted({status_of(project) for project, _ in fleet.projects})
        if wanted and wanted not in known:
            close = nearest(wanted, known)
            raise UserError(
                f"No project has the status {wanted[:40]!r}. There are: {', '.join(known) or 'none'}.",
                suggestions=tuple(f"/somas projects --status {each}" for each in close[:3]),
            )
        chosen = [
            (project, metrics)
            for project, metrics in fleet.projects
            if (not wanted or status_of(project) == wanted)
            and (not stage or (project.state is not None and current_name(project.state.current_stage) == stage))
        ]
        what = (f" with the status {wanted.replace('_', ' ')}" if wanted else "") + (f" at {stage}" if stage else "")
        return projects_message(chosen, len(fleet.projects), what, config, now, str(handler.root))

    return Answer(await handler.services.run_blocking(tell))


@commands.command(danger=Danger.READ, examples=("/somas stage project-42", "/somas stage project-42 verify"))
async def stage(context: CommandContext, project: ProjectName, stage: StageName = None) -> Reply:
    """Show the stages of a project, or one of them: age, timeout, retries, error, artifacts.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough.
    stage
        One of the eleven; old names such as pulse are understood. Without it: all of them.
    """
    handler: Somas = context.handler
    found = await handler.project(project)
    now = context.clock.now()

    def tell() -> Message:
        return stage_message(found, stage, now) if stage else stages_message(found, now)

    return Answer(await handler.services.run_blocking(tell))


@commands.command(
    danger=Danger.READ,
    examples=(
        "/somas log project-42",
        "/somas log project-42 --failures --limit 5",
        "/somas log project-42 --stage verify --type stage_started",
    ),
)
async def log(
    context: CommandContext,
    project: ProjectName,
    *,
    stage: StageName = None,
    type: str = "",
    failures: bool = False,
    limit: int = 20,
) -> Reply:
    """Show the last events of a project's log, the newest first. Broken lines do not hinder it.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough.
    stage
        Only those of this stage, also under its old name.
    type
        Only those of this type, such as stage_failed.
    failures
        Only stage_failed and agent_failed.
    limit
        How many; 20 without it, 50 at most.
    """
    handler: Somas = context.handler
    _refuse_too_many("--limit", limit)
    if type and type not in EVENT_TYPES:
        close = nearest(type, EVENT_TYPES)
        raise UserError(
            f"There is no type of event {type[:40]!r}. There are: {', '.join(EVENT_TYPES)}.",
            suggestions=tuple(f"/somas log {project} --type {each}" for each in close[:3]),
        )
    query = Query(stage or "", type, failures)
    found = await handler.services.run_blocking(last_events, project_directory(handler.root, project), limit, query)
    return Answer(log_message(project, found, query, limit, context.clock.now()))


@commands.command(
    danger=Danger.READ, examples=("/somas activity", "/somas activity 20", "/somas activity 5 project-42")
)
async def activity(context: CommandContext, n: Annotated[int, Metavar("n")] = 10, project: OneOrAll = None) -> Reply:
    """Show what happened last in all projects, or in one.

    Parameters
    ----------
    n
        How many events; 10 without it, 50 at most.
    project
        A project such as project-42; the number alone is enough.
    """
    handler: Somas = context.handler
    _refuse_too_many("The number of events", n)
    now = context.clock.now()
    if project is not None:
        directory = project_directory(handler.root, project)
        found = await handler.services.run_blocking(last_events, directory, n)
        return Answer(log_message(project, found, Query(), n, now))
    fleet, _ = await handler.fleet(now, context.progress)

    def last() -> list[Logged]:
        """The last n of all are among the last n of those n projects whose last event is the latest."""
        dated = [(at, each.id) for each, _ in fleet.projects if (at := each.last_event_at)]
        events = [
            Logged(name, event)
            for _, name in sorted(dated, reverse=True)[:n]
            for event in last_events(project_directory(handler.root, name), n).events
        ]
        events.sort(key=lambda each: each.event.at.timestamp() if each.event.at else 0.0, reverse=True)
        return events[:n]

    return Answer(activity_message(await handler.services.run_blocking(last), n, len(fleet.projects), now))


@commands.command(danger=Danger.READ, examples=("/somas metrics", "/somas metrics project-42"))
async def metrics(context: CommandContext, project: OneOrAll = None) -> Reply:
    """Show the numbers and their levels, each marked exact, uncertain or estimated, with its source.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough. Without it: all of them together.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    if project is None:
        fleet, config = await handler.fleet(now, context.progress)
        return Answer(await handler.services.run_blocking(fleet_metrics_message, fleet, config, now, str(handler.root)))
    found = await handler.project(project)
    summary = await handler.services.run_blocking(summarise, found)
    measured = weigh(summary, found.config, now)
    return Answer(metrics_message(summary, measured, found.config, now, str(found.directory)))


@commands.command(danger=Danger.READ, examples=("/somas stuck",))
async def stuck(context: CommandContext) -> Reply:
    """List stages that run for longer than their timeout, and projects that never began."""
    handler: Somas = context.handler
    now = context.clock.now()
    fleet, config = await handler.fleet(now, context.progress)
    return Answer(await handler.services.run_blocking(stuck_message, fleet, config, now, str(handler.root)))


@commands.command(danger=Danger.READ, examples=("/somas recovery project-42", "/somas recovery"))
async def recovery(context: CommandContext, project: OneOrAll = None) -> Reply:
    """Show where a restart would begin, what checkpoint there is, how many retries are left, and what hinders it.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough. Without it: all that cannot go on by themselves.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    if project is None:
        fleet, config = await handler.fleet(now, context.progress)
        root = str(handler.root)
        return Answer(await handler.services.run_blocking(recovery_fleet_message, fleet, config, now, root))
    found = await handler.project(project)
    measured = weigh(await handler.services.run_blocking(summarise, found), found.config, now)
    try:
        label: bool | str = await handler.held(project)
    except UserError as error:
        label = error.message
    held = Held("", (), label)
    try:
        handler.decide(found, now)
        await handler.refuse_held(project, override=False)
    except UserError as error:
        held = Held(error.message, error.suggestions, label)
    return Answer(recovery_message(found, measured, now, held))


@commands.command(danger=Danger.READ, examples=("/somas health", "/somas health project-42"))
async def health(context: CommandContext, project: OneOrAll = None) -> Reply:
    """Show whether the files are whole, where it stands, its dead letters and the last five events.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough. Without it: SOMAS as a whole.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    if project is None:
        fleet, config = await handler.fleet(now, context.progress)
        problems = await handler.problems()
        how, root = handler.scan.how, str(handler.root)
        told = await handler.services.run_blocking(fleet_health_message, fleet, config, problems, how, now, root)
        return Answer(told)
    found = await handler.project(project)

    def tell() -> Message:
        summary = summarise(found)
        last = last_events(found.directory, 5)
        return health_message(found, summary, weigh(summary, found.config, now), validate(found, now), last, now)

    return Answer(await handler.services.run_blocking(tell))


@commands.command(danger=Danger.READ, examples=("/somas diagnose project-42",))
async def diagnose(context: CommandContext, project: ProjectName) -> Reply:
    """Look for the five usual troubles and offer the runbook that fits: stuck, agent, state, gates, dead letters.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    found = await handler.project(project)

    def tell() -> Message:
        summary = summarise(found)
        measured = weigh(summary, found.config, now)
        agents = agent_files(handler.root, handler.settings.repository_path)
        answers = look_for(found, summary, measured, validate(found, now), agents, now)
        return diagnosis_message(found, answers, now)

    return Answer(await handler.services.run_blocking(tell))


@commands.command(danger=Danger.READ, examples=("/somas gates", "/somas gates project-42"))
async def gates(context: CommandContext, project: OneOrAll = None) -> Reply:
    """Show the quality gates, and with a project what its checks left behind.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough. Without it: the gates of all stages.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    found = await handler.project(project) if project is not None else None

    def tell() -> Message:
        raw, _ = read_raw(handler.root)
        reports = read_reports(found.directory) if found else []
        return gates_message(gates_of(raw), handler.config(), now, found, reports)

    return Answer(await handler.services.run_blocking(tell))


@commands.command(danger=Danger.READ, examples=("/somas config",))
async def config(context: CommandContext) -> Reply:
    """Show the thresholds, timeouts and limits that are in force, and the keys that only documents name."""
    handler: Somas = context.handler

    def tell() -> Message:
        raw, limits = read_raw(handler.root)
        return config_message(handler.config(), raw, limits, context.clock.now())

    return Answer(await handler.services.run_blocking(tell))


def _refuse_too_many(what: str, number: int) -> None:
    if not 1 <= number <= MOST:
        raise UserError(f"{what} takes 1 to {MOST}: more is read by nobody in a chat.")
