"""``/supervisor runbook P1-002 worker-3``, ``/supervisor diagnose``: procedures, and which one the symptom asks for."""

from __future__ import annotations

import asyncio
from typing import Annotated

from bot.commands.nearest import nearest
from bot.commands.registry import Answer, CommandContext, Existing, Metavar, Offered, OneOf, Reply, StartRun
from bot.errors import UserError
from bot.handler import Danger
from bot.runbooks.model import Runbook
from handlers.supervisor import diagnosis, views
from handlers.supervisor.actions import ACTIONS
from handlers.supervisor.commands.group import child_target, options, process_target, supervisor, the_process
from handlers.supervisor.commands.looking import seen_now
from handlers.supervisor.handler import SupervisorHandler


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor runbook P1-002 worker-3",
        "/supervisor runbook P1-002 worker-3 --target payments --threshold 5 --dry-run",
    ),
)
async def runbook(
    ctx: CommandContext,
    runbook_id: Annotated[str, Metavar("id"), Offered("runbook")],
    child: Annotated[str | None, Existing("child")] = None,
    *,
    target: Annotated[str | None, Existing("target")] = None,
    threshold: int | None = None,
    target_count: int | None = None,
    reason: str = "",
    dry_run: Annotated[bool, OneOf("rehearsal")] = False,
    drill: Annotated[bool, OneOf("rehearsal")] = False,
) -> Reply:
    """Run a procedure on a child or on a process.

    Parameters
    ----------
    runbook_id
        The procedure, for example P1-002.
    child
        The child that it is about, when it is about one.
    target
        The process, when several have a child of that name, or when the procedure is about a process.
    threshold
        Failures within the restart window above which the child counts as looping.
    target_count
        How many children should run in the end; without it the declared ones minus the removed ones.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be done.
    drill
        Rehearse it: everything happens in a simulation, nothing real is touched and nobody is paged.
    """
    handler: SupervisorHandler = ctx.handler
    found = _runbook(ctx, runbook_id, child)
    kept = options(reason, dry_run) + (" --drill" if drill else "")
    inputs = {
        name: str(value)
        for name, value in (("threshold", threshold), ("target_count", target_count))
        if value is not None
    }
    missing = [name for name, default in found.inputs.items() if not default and name not in inputs]
    if missing:
        option = missing[0].replace("_", "-")
        raise UserError(f"{found.id} needs {', '.join(missing)}: add --{option} <value>.")
    if found.target_kind == "child":
        if child is None:
            names = await handler.inventory("child")
            raise UserError(
                f"{found.id} works on one child. Name it: /supervisor runbook {found.id} <child>.",
                suggestions=tuple(f"/supervisor runbook {found.id} {name}{kept}" for name in names[:5]),
            )
        typed = f"/supervisor runbook {found.id} {{child}}{kept}"
        subject = child_target(await handler.find_child(child, target, typed, even_silent=True), child)
    else:
        if child is not None:
            raise UserError(
                f"{found.id} works on a whole process, not on a child.",
                suggestions=tuple(
                    f"/supervisor runbook {found.id} --target {name}" for name in sorted(handler.clients)
                ),
            )
        subject = process_target(the_process(handler, target, f"/supervisor runbook {found.id}{kept} --target"))
    danger = {name: action.danger for action in ACTIONS for name in (action.name, *action.aliases)}
    changes = any(danger.get(step.action or "", Danger.READ) is not Danger.READ for step in found.steps)
    return StartRun(
        found,
        subject,
        reason=reason,
        inputs=inputs,
        dry_run=dry_run,
        changes=changes,
        budget=found.sla or found.total,
        drill=drill,
        faults=found.faults if drill else (),
    )


def _runbook(ctx: CommandContext, runbook_id: str, child: str | None) -> Runbook:
    """The procedure of that id, whatever its case. Raises ``UserError`` with the nearest ones."""
    by_id = {known.casefold(): found for known, found in ctx.runbooks.items()}
    found = by_id.get(runbook_id.casefold())
    if found is not None:
        return found
    rest = f" {child}" if child else ""
    if not ctx.runbooks:
        raise UserError("No procedure is loaded for the supervisor; opsbot runbook check tells why.")
    close = nearest(runbook_id, tuple(ctx.runbooks))
    listed = "; ".join(f"{known}: {one.title}" for known, one in sorted(ctx.runbooks.items()))
    raise UserError(
        f'There is no procedure "{runbook_id}". There are {listed}.'
        if len(ctx.runbooks) > 1
        else f'There is no procedure "{runbook_id}". The only one is {listed}.',
        suggestions=tuple(f"/supervisor runbook {known}{rest}" for known in close),
    )


@supervisor.command(danger=Danger.READ, examples=("/supervisor diagnose", "/supervisor diagnose payments"))
async def diagnose(ctx: CommandContext, target: Annotated[str | None, Existing("target")] = None) -> Reply:
    """Look for what is wrong, and offer the procedure for it.

    Parameters
    ----------
    target
        One process only; all of them without it.
    """
    handler: SupervisorHandler = ctx.handler
    names = [target] if target else sorted(handler.clients)
    looks = await asyncio.gather(*(seen_now(handler, name, diagnosis.NEEDS) for name in names))
    found = {
        name: diagnosis.diagnose(name, seen, handler.last_state(name)) for name, seen in zip(names, looks, strict=True)
    }
    return Answer(views.diagnosis(found, frozenset(ctx.runbooks)))
