"""``/somas status``, ``/somas failed`` and ``/somas restart project-42 --from verify``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from bot.commands.registry import (
    Answer,
    CommandContext,
    CommandGroup,
    Existing,
    Implied,
    Metavar,
    OneOf,
    Reply,
    StartRun,
)
from bot.errors import Unavailable
from bot.handler import Danger, Target
from bot.runbooks.durations import format_duration
from bot.runbooks.model import Runbook
from handlers.somas.handler import Somas
from handlers.somas.projects import project_argument
from handlers.somas.stages import stage_argument
from handlers.somas.views import failed_message, fleet_message, project_message

commands = CommandGroup("somas", "The SOMAS pipeline: projects, failures, restarts")

RESTART = "restart"
FULL_RESTART = "full-restart"


@commands.command(danger=Danger.READ, examples=("/somas status", "/somas status project-42"))
async def status(
    context: CommandContext,
    project: Annotated[str | None, Existing("project", normalise=project_argument)] = None,
) -> Reply:
    """Show what is wrong with all projects, or everything about one.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough. Without it: all of them.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    if project is not None:
        found = await handler.project(project)
        return Answer(await handler.services.run_blocking(project_message, found, now))
    all_of_them, config = await handler.fleet(now)
    return Answer(await handler.services.run_blocking(fleet_message, all_of_them, config, now, str(handler.root)))


@commands.command(danger=Danger.READ, examples=("/somas failed",))
async def failed(context: CommandContext) -> Reply:
    """List the failed projects with their last error and where a restart would begin."""
    handler: Somas = context.handler
    now = context.clock.now()
    all_of_them, config = await handler.fleet(now)
    return Answer(await handler.services.run_blocking(failed_message, all_of_them, config, now, str(handler.root)))


@commands.command(
    danger=Danger.CHANGE,
    examples=(
        "/somas restart project-42",
        "/somas restart project-42 --from verify --dry-run",
        "/somas restart project-42 --checkpoint",
        '/somas restart project-42 --full --reason "state is corrupt"',
    ),
)
async def restart(
    context: CommandContext,
    project: Annotated[str, Existing("project", normalise=project_argument)],
    *,
    from_: Annotated[str | None, Existing("stage", normalise=stage_argument), OneOf("start"), Metavar("STAGE")] = None,
    checkpoint: Annotated[str | None, Implied("last"), OneOf("start"), Metavar("ID")] = None,
    full: Annotated[bool, OneOf("start")] = False,
    override: bool = False,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Restart a project's pipeline: backup, state change, verification, step by step.

    Parameters
    ----------
    project
        A project such as project-42; the number alone is enough.
    from_
        Begin at this stage. Without it: at the stage that failed or stands still.
    checkpoint
        Begin at the stage after this checkpoint; without an id, after the last successful one.
    full
        Archive everything and start over at the first stage. Needs an approval.
    override
        Restart although the project is finished, its circuit breaker is set or it was retried too often.
    reason
        Why, for the log and for those who come after you.
    dry_run
        Show what would be changed and change nothing.
    """
    handler: Somas = context.handler
    now = context.clock.now()
    found = await handler.project(project)
    choice = handler.decide(found, now, stage=from_ or "", checkpoint=checkpoint or "", full=full, override=override)
    # Without a readable file nobody can tell later whether a dead letter is new: then the step says so.
    entries = str(len(found.letters.entries)) if found.letters.condition == "ok" else "unknown"
    return StartRun(
        runbook=restart_runbook(context, FULL_RESTART if full else RESTART, handler.settings.restart_budget),
        target=Target(product="somas", kind="project", name=project),
        reason=reason,
        inputs={
            "stage": choice.stage,
            "mode": choice.mode,
            "why": choice.why,
            "override": "true" if override else "false",
            "dead_letters_before": "0" if full else entries,
        },
        dry_run=dry_run,
    )


def restart_runbook(context: CommandContext, name: str, budget: timedelta) -> Runbook:
    """The document, with the configured budget in the step that waits for the stage to run."""
    document = context.runbooks.get(name)
    if document is None:
        raise Unavailable(f"The runbook {name} of SOMAS could not be read; opsbot runbook check says why.")
    written = format_duration(document.steps[-1].budget or timedelta(minutes=10))
    steps = tuple(
        step.model_copy(
            update={
                "budget": budget,
                "expectation": step.expectation.replace(f"within {written}", f"within {format_duration(budget)}"),
            }
        )
        if step.action == "somas.read_state"
        else step
        for step in document.steps
    )
    known = [step.budget for step in steps if step.budget]
    return document.model_copy(update={"steps": steps, "total": sum(known, timedelta())})
