"""``handle.quarantine_non_critical()``: what P1-004 tries last, one child after the other, before it calls L2.

The rate of the control loop is measured before every child, so that no more children are stopped than have to be.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Preview
from bot.words import counted
from handlers.supervisor import children
from handlers.supervisor.actions.child import quarantine, quarantine_request
from handlers.supervisor.actions.declare import change, number
from handlers.supervisor.actions.reading import rate
from handlers.supervisor.handler import SupervisorHandler

SLOW = 10  # answers a second
PROBES, PAUSE = 3, 0.5  # of one measurement; seconds between two round trips


async def _preview(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
    client, slow = handler.client(ctx.target), number(ctx, "slow", SLOW, 10**9)
    state = await client.drivable_state()
    wanted = children.expendable(state)
    if not wanted:
        raise UserError(f"{client.name}: every non-critical child is quarantined already. Skip this step.")
    staying = [child for child in children.children(state) if not child.non_critical and not child.removed]
    stays = ", ".join(f"{child.id} ({child.criticality or 'criticality not known'})" for child in staying)
    return Preview(
        summary=f"Quarantine {counted(len(wanted), 'non-critical child', 'non-critical children')} of {client.name}, "
        f"one after the other, only until the control loop answers {slow} times a second again: "
        f"{', '.join(child.id for child in wanted)}. Each stays stopped until somebody restarts it. "
        f"Left alone: {stays or 'no child'}.",
        detail=json.dumps([quarantine_request(ctx, state, child) for child in wanted], indent=2, ensure_ascii=False),
        language="json",
    )


async def _perform(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """Measure, quarantine the next, measure. What is quarantined already is not asked again, so it may be repeated."""
    client, slow = handler.client(ctx.target), number(ctx, "slow", SLOW, 10**9)
    lines: list[str] = []
    stopped: list[str] = []
    running: list[str] = []  # told to stop, and does not
    untouched = [child.id for child in children.expendable(await client.drivable_state())]
    trouble = ""
    while True:
        now = await _measured(handler, ctx)
        lines.append(f"{ctx.clock.now():%H:%M:%S}  {now:g} responses/s")
        if now >= slow or not untouched or ctx.abort.is_set():
            break
        child = untouched[0]
        ctx.tell(
            f"{child} to stop, then the next measurement; {len(untouched) - 1} more could follow",
            ctx.clock.now() + timedelta(seconds=client.target.stop_timeout),
            f"{now:g} responses/s",
        )
        try:
            done = await quarantine(handler, replace(ctx, arguments={**ctx.arguments, "child": child}))
        except UserError as error:  # no answer: nothing gets through to the control loop any more
            trouble = error.message
            lines.append(f"{ctx.clock.now():%H:%M:%S}  {child}: {trouble}")
            break
        lines.append(f"{ctx.clock.now():%H:%M:%S}  {done.summary.removeprefix(f'{client.name}: ')}")
        if done.status == "uncertain":
            trouble = done.summary.removeprefix(f"{client.name}: ")
            break
        (stopped if done.status == "done" else running).append(child)
        untouched = untouched[1:]
    said = f"{client.name}: {now:g} responses/s after quarantining {', '.join(stopped) or 'no child'}"
    if running:
        said += f"; {', '.join(running)} would not stop"
    if trouble:
        advice = "When it takes no command any more, only a restart of the process helps (P1-001)."
        text = f"{said}. Then: {trouble.rstrip('.')}. {advice}"
        return ActionResult(status="failed", summary=text, evidence="\n".join(lines))
    if ctx.abort.is_set() and untouched:
        return ActionResult(
            status="failed", summary=f"{said}. Stopped before {', '.join(untouched)}.", evidence="\n".join(lines)
        )
    if now < slow:
        said += "; no other non-critical child is left"
    elif untouched:
        said += f"; not needed: {', '.join(untouched)}"
    return ActionResult(status="done", summary=f"{said}.", evidence="\n".join(lines))


async def _measured(handler: SupervisorHandler, ctx: ActionContext) -> float:
    probes = []
    for look in range(PROBES):
        if look:
            await ctx.clock.sleep(PAUSE)
        probes.append(await handler.client(ctx.target).probe())
        if ctx.abort.is_set():
            break
    return rate(probes)


async def _check(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
    """Nothing is lost by going on: what was quarantined shows in the state, and the rate is measured anew."""
    return None


ACTIONS: tuple[Action, ...] = (
    change(
        "handle.quarantine_non_critical()",
        Danger.DESTRUCTIVE,
        "Quarantine the non-critical children one after the other until the control loop answers (argument slow, 10).",
        _perform,
        _preview,
        _check,
    ),
)
