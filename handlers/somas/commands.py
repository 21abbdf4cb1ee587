"""``/somas status``, ``/somas failed`` and ``/somas restart project-42 --from verify``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from bot.messages import Block, Buttons, Message
from bot.runbooks.durations import format_duration
from bot.runbooks.model import Runbook, Step
from handlers.somas.fleet_views import failed_message, fleet_message
from handlers.somas.handler import Somas, dead_letters_before
from handlers.somas.on_github import of_all, of_project
from handlers.somas.projects import project_argument
from handlers.somas.settings import SomasSettings
from handlers.somas.stages import stage_argument
from handlers.somas.views import project_message

commands = CommandGroup("somas", "The SOMAS pipeline: projects, failures, restarts")

RESTART = "restart"
FULL_RESTART = "full-restart"
OF_THE_WORKFLOW_RUN = ("somas.follow_run", "somas.report_run")


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
        told = await handler.services.run_blocking(project_message, found, now)
        return Answer(_before_buttons(told, await of_project(handler, found, now)))
    all_of_them, config = await handler.fleet(now, context.progress)
    return Answer(await handler.services.run_blocking(fleet_message, all_of_them, config, now, str(handler.root)))


@commands.command(danger=Danger.READ, examples=("/somas failed",))
async def failed(context: CommandContext) -> Reply:
    """List the failed projects with their last error and where a restart would begin."""
    handler: Somas = context.handler
    now = context.clock.now()
    found, total, config = await handler.failed(now, context.progress)
    told = await handler.services.run_blocking(failed_message, found, total, config, now, str(handler.root))
    return Answer(_before_buttons(told, await of_all(handler, now)))


def _before_buttons(told: Message, more: tuple[Block, ...]) -> Message:
    """More to read stands above what can be pressed."""
    at = len(told.blocks) - (bool(told.blocks) and isinstance(told.blocks[-1], Buttons))
    return replace(told, blocks=(*told.blocks[:at], *more, *told.blocks[at:]))


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
    """
    handler: Somas = context.handler
    now = context.clock.now()
    found = await handler.project(project)
    choice = handler.decide(found, now, stage=from_ or "", checkpoint=checkpoint or "", full=full, override=override)
    await handler.refuse_held(project, override=override)
    book = restart_runbook(context, FULL_RESTART if full else RESTART, handler.settings)
    # Without GitHub no workflow run is followed, so the run as a whole has less time.
    here = [step.budget for step in book.steps if step.budget and step.action not in OF_THE_WORKFLOW_RUN]
    return StartRun(
        runbook=book,
        budget=None if handler.github else sum(here, timedelta()),
        target=Target(product="somas", kind="project", name=project),
        reason=reason,
        inputs={
            "stage": choice.stage,
            "mode": choice.mode,
            "why": choice.why,
            "override": "true" if override else "false",
            "dead_letters_before": "0" if full else dead_letters_before(found),
        },
    )


def restart_runbook(context: CommandContext, name: str, settings: SomasSettings) -> Runbook:
    """The document, with the configured budgets in the steps that wait: for the workflow run, and for the stage."""
    return with_budgets(
        document_of(context, name),
        {"somas.follow_run": settings.follow_budget, "somas.read_state": settings.restart_budget},
    )


def document_of(context: CommandContext, name: str) -> Runbook:
    """A runbook of the product. Raises ``Unavailable`` when its file is broken."""
    document = context.runbooks.get(name)
    if document is None:
        raise Unavailable(f"The runbook {name} of SOMAS could not be read; opsbot runbook check says why.")
    return document


def with_budgets(document: Runbook, budgets: Mapping[str, timedelta]) -> Runbook:
    """Other budgets for the steps of these actions, also where their expectations name them."""

    def adjusted(step: Step) -> Step:
        budget = budgets.get(step.action or "")
        if budget is None:
            return step
        return step.model_copy(update={"budget": budget, "expectation": _renamed(step, budget)})

    steps = tuple(map(adjusted, document.steps))
    known = [step.budget for step in steps if step.budget]
    return document.model_copy(update={"steps": steps, "total": sum(known, timedelta())})


def _renamed(step: Step, budget: timedelta) -> str:
    if step.budget is None:
        return step.expectation
    return step.expectation.replace(f"within {format_duration(step.budget)}", f"within {format_duration(budget)}")
