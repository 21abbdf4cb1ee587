"""``somas.read_log()``: the end of a project's log, as a step of a runbook shows it."""

from __future__ import annotations

from bot.handler import Action, ActionContext, ActionResult, Danger
from bot.messages import plain_line
from bot.words import counted
from handlers.somas.handler import Somas
from handlers.somas.log_views import event_line
from handlers.somas.projects import project_directory
from handlers.somas.stages import current_name
from handlers.somas.tail import Query, last_events

SHOWN = 20  # events, as the runbook's tail shows them


async def read_log(handler: Somas, context: ActionContext) -> ActionResult:
    """The last events, whatever they are about."""
    return await _read(handler, context, Query())


async def read_stage_log(handler: Somas, context: ActionContext) -> ActionResult:
    """The last events of the input stage, also under its old name."""
    return await _read(handler, context, Query(stage=current_name(context.inputs.get("stage", ""))))


async def read_failures(handler: Somas, context: ActionContext) -> ActionResult:
    """The last failures of stages and agents."""
    return await _read(handler, context, Query(failures=True))


async def _read(handler: Somas, context: ActionContext, query: Query) -> ActionResult:
    directory = project_directory(handler.root, context.target.name)
    found = await handler.services.run_blocking(last_events, directory, SHOWN, query)
    if found.condition != "ok":
        return ActionResult(
            status="manual",
            summary=f"transitions.jsonl of {context.target.name} {found.problem}: look elsewhere what happened, then "
            "say how it went.",
        )
    now = context.clock.now()
    said = f"The last {counted(len(found.events), 'event')}{query.said}" if found.events else f"No event{query.said}"
    broken = f" {counted(found.bad_lines, 'broken line')} among them." if found.bad_lines else ""
    return ActionResult(
        status="done",
        summary=f"{said} in the log of {context.target.name}.{broken}",
        evidence="\n".join(plain_line(event_line(event, now)) for event in reversed(found.events)),  # the end is shown
    )


ACTIONS: tuple[Action, ...] = (
    Action(name="somas.read_log", danger=Danger.READ, help="Show the last events of the log", perform=read_log),
    Action(
        name="somas.read_stage_log",
        danger=Danger.READ,
        help="Show the last events of the input stage",
        perform=read_stage_log,
    ),
    Action(
        name="somas.read_failures",
        danger=Danger.READ,
        help="Show the last failures of stages and agents in the log",
        perform=read_failures,
    ),
)
