"""``/supervisor status``, ``/supervisor quarantine worker-3``, ``/supervisor runbook P1-002 worker-3``."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

from bot.commands.nearest import nearest
from bot.commands.registry import Answer, CommandContext, CommandGroup, Existing, Metavar, Reply, StartRun
from bot.errors import UserError
from bot.handler import Danger, Target
from bot.runbooks.model import Runbook, Step
from handlers.supervisor.actions import ACTIONS
from handlers.supervisor.client import Rejected
from handlers.supervisor.facts import Seen
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.link import LinkError
from handlers.supervisor.status import status_message

supervisor = CommandGroup("supervisor", "Supervised processes: their children, and what to do when one misbehaves.")

QUARANTINE_BUDGET = timedelta(minutes=2)
STATUS_NEEDS = frozenset({"state", "probe"})


@supervisor.command(
    danger=Danger.READ,
    examples=("/supervisor status", "/supervisor status payments"),
)
async def status(ctx: CommandContext, target: Annotated[str | None, Existing("target")] = None) -> Reply:
    """Show the supervised processes and their children.

    Parameters
    ----------
    target
        One process only; all of them without it.
    """
    handler: SupervisorHandler = ctx.handler
    names = [target] if target else sorted(handler.clients)
    looks = await asyncio.gather(*(_seen(handler, name) for name in names))
    sockets = {name: str(handler.settings.targets[name].socket) for name in names}
    return Answer(status_message(dict(zip(names, looks, strict=True)), sockets, frozenset(ctx.runbooks)))


async def _seen(handler: SupervisorHandler, name: str) -> Seen:
    target = Target(product="supervisor", kind="target", name=name)
    try:
        return await handler.look(target, STATUS_NEEDS)
    except (LinkError, Rejected) as error:
        return Seen(target=target, now=handler.clock.now(), problem=error.message)


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor quarantine worker-3",
        '/supervisor quarantine worker-3 --target payments --reason "crash loop since 02:40"',
    ),
)
async def quarantine(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    reason: str = "",
    dry_run: bool = False,
) -> Reply:
    """Stop a child and keep it from being restarted.

    Parameters
    ----------
    child
        The child to stop.
    target
        The process that it belongs to, when several have a child of that name.
    reason
        Why; it goes to the process and into the audit log.
    dry_run
        Only show what would be sent.
    """
    handler: SupervisorHandler = ctx.handler
    typed = "/supervisor quarantine {child}" + _options(reason, dry_run)
    process = await handler.find_child(child, target, typed)
    runbook = Runbook(
        id="quarantine",
        title=f"Quarantine {child} of {process}",
        product="supervisor",
        target_kind="child",
        steps=(
            Step(
                number="1",
                text=f"Stop `{child}` and keep it from being restarted: `handle.quarantine_child()`",
                action="handle.quarantine_child()",
                expectation="Child marked as `Quarantined` within 30s",
                budget=QUARANTINE_BUDGET,
            ),
        ),
        total=QUARANTINE_BUDGET,
    )
    return StartRun(runbook, _child(process, child), reason=reason, dry_run=dry_run, budget=QUARANTINE_BUDGET)


@supervisor.command(
    danger=Danger.CHANGE,
    examples=(
        "/supervisor runbook P1-002 worker-3",
        "/supervisor runbook P1-002 worker-3 --target payments --threshold 5 --dry-run",
    ),
)
async def runbook(
    ctx: CommandContext,
    runbook_id: Annotated[str, Metavar("id")],
    child: Annotated[str | None, Existing("child")] = None,
    *,
    target: Annotated[str | None, Existing("target")] = None,
    threshold: int | None = None,
    target_count: int | None = None,
    reason: str = "",
    dry_run: bool = False,
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
    """
    handler: SupervisorHandler = ctx.handler
    found = _runbook(ctx, runbook_id, child)
    options = _options(reason, dry_run)
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
                suggestions=tuple(f"/supervisor runbook {found.id} {name}{options}" for name in names[:5]),
            )
        typed = f"/supervisor runbook {found.id} {{child}}{options}"
        subject = _child(await handler.find_child(child, target, typed), child)
    else:
        if child is not None:
            raise UserError(
                f"{found.id} works on a whole process, not on a child.",
                suggestions=tuple(
                    f"/supervisor runbook {found.id} --target {name}" for name in sorted(handler.clients)
                ),
            )
        subject = _process(handler, found.id, target, options)
    danger = {name: action.danger for action in ACTIONS for name in (action.name, *action.aliases)}
    changes = any(danger.get(step.action or "", Danger.READ) is not Danger.READ for step in found.steps)
    return StartRun(
        found, subject, reason=reason, inputs=inputs, dry_run=dry_run, changes=changes, budget=found.sla or found.total
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


def _process(handler: SupervisorHandler, runbook_id: str, target: str | None, options: str) -> Target:
    names = sorted(handler.clients)
    if target is None and len(names) > 1:
        raise UserError(
            f"Say which process with --target: {', '.join(names)}.",
            suggestions=tuple(f"/supervisor runbook {runbook_id} --target {name}{options}" for name in names[:5]),
        )
    return Target(product="supervisor", kind="target", name=target or names[0])


def _child(process: str, child: str) -> Target:
    return Target(product="supervisor", kind="child", name=child, scope=process)


def _options(reason: str, dry_run: bool) -> str:
    """The options again, for a suggestion that can be run as it stands; a reason with quotes in it is left out."""
    kept = f' --reason "{reason}"' if reason and '"' not in reason and "\\" not in reason else ""
    return kept + (" --dry-run" if dry_run else "")
