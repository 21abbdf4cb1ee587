"""``/supervisor status``, ``targets``, ``tree``, ``child``, ``events``, ``health``, ``watch``: what only looks."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

from bot.commands.registry import Answer, CommandContext, Existing, Metavar, Reply, StartRun
from bot.errors import UserError
from bot.handler import Danger
from bot.runbooks.durations import format_duration, parse_duration
from bot.runbooks.model import Runbook, Step
from handlers.supervisor import facts, views
from handlers.supervisor.commands.group import child_target, process_target, supervisor, the_process
from handlers.supervisor.facts import Need, Seen
from handlers.supervisor.handler import SupervisorHandler, require_child
from handlers.supervisor.link import LinkError
from handlers.supervisor.status import status_message
from handlers.supervisor.transport import Rejected

STATUS_NEEDS: frozenset[Need] = frozenset({"state", "probe"})
HEALTH_FACTS = frozenset(
    {
        "process.running",
        "process.pid",
        "health.status",
        "health.uptime_secs",
        "dashboard_link",
        "iterations_per_sec",
        "children.running",
        "children.failed",
        "children.quarantined",
        "children.paused",
        "children.removed",
        "children.ignoring_cancellation",
        "children.ghosts",
        "target_count",
        "relay.status",
        "socket.stale",
        "restart_budget.tokens",
    }
)
LONGEST_WATCH = timedelta(hours=4)


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
    looks = await asyncio.gather(*(seen_now(handler, name) for name in names))
    addresses = {name: handler.settings.targets[name].address for name in names}
    return Answer(status_message(dict(zip(names, looks, strict=True)), addresses, frozenset(ctx.runbooks)))


async def seen_now(handler: SupervisorHandler, name: str, needs: frozenset[Need] = STATUS_NEEDS) -> Seen:
    """A look that is a finding even when the process cannot be reached."""
    target = process_target(name)
    try:
        return await handler.look(target, needs)
    except (LinkError, Rejected) as error:
        return Seen(target=target, now=handler.clock.now(), problem=error.message)


@supervisor.command(danger=Danger.READ, examples=("/supervisor targets",))
async def targets(ctx: CommandContext) -> Reply:
    """List the configured processes, how they are reached and what the bot may do on their host."""
    return Answer(views.targets(ctx.handler, ctx.clock.now()))


@supervisor.command(danger=Danger.READ, examples=("/supervisor tree", "/supervisor tree payments"))
async def tree(ctx: CommandContext, target: Annotated[str | None, Existing("target")] = None) -> Reply:
    """Draw the tree of a process, as it is declared and as it runs.

    Parameters
    ----------
    target
        The process, when there are several.
    """
    handler: SupervisorHandler = ctx.handler
    name = the_process(handler, target, "/supervisor tree")
    seen = await handler.look(process_target(name), frozenset({"state"}))
    return Answer(views.tree(name, seen))


@supervisor.command(
    danger=Danger.READ, examples=("/supervisor child worker-3", "/supervisor child worker-3 --target payments")
)
async def child(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
) -> Reply:
    """Show one child: its record, what has changed lately, and what can be done.

    Parameters
    ----------
    child
        The child.
    target
        The process that it belongs to, when several have a child of that name.
    """
    handler: SupervisorHandler = ctx.handler
    process = await handler.find_child(child, target, "/supervisor child {child}")
    seen = await handler.look(child_target(process, child), frozenset({"state"}))
    if seen.state is not None:
        require_child(process, seen.state, child)
    changes = handler.poller.watched[process].history.changes
    lately = [one for one in changes if one.child == child]
    return Answer(views.child(process, child, seen, lately, frozenset(ctx.runbooks)))


@supervisor.command(
    danger=Danger.READ,
    examples=("/supervisor events", "/supervisor events payments --child worker-3 --last 50"),
)
async def events(
    ctx: CommandContext,
    target: Annotated[str | None, Existing("target")] = None,
    *,
    child: Annotated[str | None, Existing("child")] = None,
    last: int = 20,
) -> Reply:
    """Show what has changed lately: differences between two looks, as the process tells no events.

    Parameters
    ----------
    target
        One process only; all of them without it.
    child
        One child only.
    last
        How many changes, the newest; 20 without it.
    """
    handler: SupervisorHandler = ctx.handler
    if not 0 < last <= 200:
        raise UserError("--last takes a number from 1 to 200.")
    names = [target] if target else sorted(handler.clients)
    return Answer(views.events(handler, names, child, last, ctx.clock.now()))


@supervisor.command(danger=Danger.READ, examples=("/supervisor health", "/supervisor health payments"))
async def health(ctx: CommandContext, target: Annotated[str | None, Existing("target")] = None) -> Reply:
    """Show what is known of a process, each fact with how it is known.

    Parameters
    ----------
    target
        The process, when there are several.
    """
    handler: SupervisorHandler = ctx.handler
    name = the_process(handler, target, "/supervisor health")
    seen = await seen_now(handler, name, facts.needs(HEALTH_FACTS))
    return Answer(views.health(name, seen, facts.observe(HEALTH_FACTS, seen, {})))


@supervisor.command(
    danger=Danger.READ,
    examples=("/supervisor watch worker-3", "/supervisor watch worker-3 --for 10min"),
)
async def watch(
    ctx: CommandContext,
    child: Annotated[str, Existing("child")],
    *,
    target: Annotated[str | None, Existing("target")] = None,
    for_: Annotated[str, Metavar("DURATION")] = "1min",
) -> Reply:
    """Watch one child for some time: the card shows it live, its thread tells in the end what has changed.

    Parameters
    ----------
    child
        The child.
    target
        The process that it belongs to, when several have a child of that name.
    for_
        How long, for example 90s or 10min; a minute without it.
    """
    handler: SupervisorHandler = ctx.handler
    try:
        span = parse_duration(for_)
    except ValueError as error:
        raise UserError(f"--for: {error}.", suggestions=(f"/supervisor watch {child} --for 10min",)) from None
    if not timedelta(seconds=1) <= span <= LONGEST_WATCH:
        raise UserError(f"--for takes from 1s to {format_duration(LONGEST_WATCH)}.")
    process = await handler.find_child(child, target, f"/supervisor watch {{child}} --for {for_}")
    state = await handler.client(process_target(process)).drivable_state()
    require_child(process, state, child)
    budget = span + timedelta(minutes=1)
    book = Runbook(
        id="watch",
        title=f"Watch {child} of {process}",
        product="supervisor",
        target_kind="child",
        danger="read",
        steps=(
            Step(
                number="1",
                text=f"Watch `{child}` for {format_duration(span)}: `handle.watch_child()`",
                action="handle.watch_child()",
                arguments={"seconds": str(int(span.total_seconds()))},
                budget=budget,
            ),
        ),
        total=budget,
    )
    return StartRun(book, child_target(process, child), changes=False, budget=budget)
