"""``handle.current_state()``, ``handle.health()``, ``metrics_snapshot()``: actions that only look."""

from __future__ import annotations

import asyncio
import statistics
import time
from datetime import timedelta

from bot.handler import Action, ActionContext, ActionResult, Observation, Provenance
from bot.words import counted, duration
from handlers.supervisor import changes, children, facts, proc, status
from handlers.supervisor.actions.declare import fact_line, number, read, until
from handlers.supervisor.facts.process import ANSWERS
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.host import Ran
from handlers.supervisor.link import LinkError
from handlers.supervisor.transport import Probe, Rejected

SNAPSHOT_SECONDS = 5
SNAPSHOT_PAUSE = 0.5  # between two round trips of a snapshot
WATCH_PAUSE = 1.0
LONGEST_WATCH = 24 * 3600
STACKS_KEPT = 20_000  # characters

OF_STATE = frozenset(
    {
        "children.running",
        "children.failed",
        "target_count",
        "child_runtime_records[].restart_count",
        "child_runtime_records[].operation",
    }
)
OF_HEALTH = frozenset({"health.status", "dashboard_link", "iterations_per_sec", "health.uptime_secs", "process.pid"})
OF_BUDGET = frozenset(
    {
        "restart_budget.tokens",
        "child_runtime_records[].restart_limit.used",
        "child_runtime_records[].restart_limit.remaining",
        "child_runtime_records[].restart_limit.exhausted",
        "child_runtime_records[].attempt",
        "children.failed",
    }
)


async def _current_state(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """The children as they are now, and the facts that the first step of most procedures compares."""
    client = handler.client(ctx.target)
    seen = await handler.look(ctx.target, frozenset({"state"}))
    if seen.state is None:
        return ActionResult(status="failed", summary=seen.problem)
    observed = facts.observe(OF_STATE, seen, ctx.inputs)
    ghosts = [child.id for child in children.children(seen.state) if child.ghost]
    note = f" Ghost records of names that do not exist: {', '.join(ghosts[:5])}." if ghosts else ""
    return ActionResult(
        status="done",
        summary=f"{client.name}: {status.headline(seen.state, seen.failing)}.{note}",
        evidence=status.as_text(seen.state),
        observations=tuple(observed),
    )


async def _health(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """Round trips of hello and state side by side: which of the two hangs tells what is wrong."""
    client = handler.client(ctx.target)
    seen = await handler.look(ctx.target, frozenset({"state", "probe"}))
    observed = facts.observe(OF_HEALTH, seen, ctx.inputs)
    return ActionResult(
        status="done",
        summary=f"{client.name}: {status.probe_line(seen)}.",
        evidence="\n".join(fact_line(fact) for fact in observed),
        observations=tuple(observed),
    )


async def _restart_budget(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """What is known of the budget: one of several limiters, and whether the child still comes back."""
    client = handler.client(ctx.target)
    seen = await handler.look(ctx.target, frozenset({"state"}))
    observed = facts.observe(OF_BUDGET, seen, ctx.inputs)
    told = []
    for child in seen.rows[: 5 if ctx.target.kind != "child" else 1]:
        if child.record is None:
            continue
        why = seen.failing.get(child.id, "no failure is recorded")
        alive = "an attempt runs" if child.record.attempt is not None else "no attempt runs"
        told.append(f"{child.id}: {children.restart_limit(child.record)}; {alive}; {why}")
    text = "; ".join(told) or "no child has a record"
    return ActionResult(
        status="done",
        summary=f"{client.name}: {text}. The token bucket itself is not told, and this limiter is often not used up "
        "when another one has given the child up: what counts is whether an attempt runs.",
        evidence="\n".join(fact_line(fact) for fact in observed),
        observations=tuple(observed),
    )


async def _suspects(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """Children that did not stop when told to, and threads that keep a core busy."""
    client = handler.client(ctx.target)
    seen = await handler.look(ctx.target, frozenset({"state", "probe"}))
    lines, named = [], []
    state = seen.state or handler.last_state(client.name)
    for child in children.children(state) if state else ():
        if child.ignores_stop or (child.record and child.record.status == "cancelling"):
            named.append(child.id)
            lines.append(f"{child.id}: {children.condition(child)}")
    if seen.state is None:
        lines.append(f"The state is not answered now ({seen.problem}); the children are those of the last look.")
    threads = await _busy_threads(handler, ctx, seen.listener.pid) if seen.listener else []
    lines += threads
    summary = f"ignoring a stop: {', '.join(named)}" if named else "no child is known to ignore a stop"
    summary += f"; {counted(len(threads), 'busy thread')}" if threads else "; no thread is busy, or none can be seen"
    return ActionResult(
        status="done",
        summary=f"{client.name}: {summary}. A child that blocks shows in no state before somebody tries to stop it.",
        evidence="\n".join(lines),
        observations=tuple(facts.observe(frozenset({"children.ignoring_cancellation"}), seen, ctx.inputs)),
    )


async def _busy_threads(handler: SupervisorHandler, ctx: ActionContext, pid: int) -> list[str]:
    before, began = await handler.run_blocking(proc.usage, pid), time.monotonic()
    await asyncio.sleep(0.5)  # of real time: it is CPU time that is compared
    after = await handler.run_blocking(proc.usage, pid)
    if before is None or after is None:
        return []
    return [
        f"thread {thread} ({name}): {share:.0f} % of a core"
        for thread, name, share in proc.busiest(before, after, time.monotonic() - began)
    ]


async def _metrics_snapshot(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """Round trips of hello and state over some seconds, and what /proc tells: the snapshot for whoever takes over."""
    client = handler.client(ctx.target)
    seconds = until(ctx, float(number(ctx, "seconds", SNAPSHOT_SECONDS, 60)))
    ends = ctx.clock.now() + timedelta(seconds=seconds)
    probes: list[Probe] = []
    pid, before, began = 0, None, time.monotonic()
    while True:
        probes.append(await client.probe())
        listener = probes[-1].listener
        if before is None and listener is not None:
            pid, began = listener.pid, time.monotonic()
            before = await handler.run_blocking(proc.usage, pid)
        if ctx.abort.is_set() or ctx.clock.now() >= ends:
            break
        await ctx.clock.sleep(SNAPSHOT_PAUSE)
    after = await handler.run_blocking(proc.usage, pid) if before is not None else None
    lines = [f"Taken {ctx.clock.now():%Y-%m-%d %H:%M:%S} UTC, {counted(len(probes), 'probe')} over {seconds:.0f} s"]
    lines += [_trips("hello", [probe.hello for probe in probes]), _trips("state", [probe.state for probe in probes])]
    problems = dict.fromkeys(text for probe in probes for text in (probe.hello_error, probe.state_error) if text)
    lines += [f"  {text}" for text in list(problems)[:4]]
    if before is not None and after is not None:
        lines.append(
            f"pid {pid}: {after.memory_bytes / 2**20:.0f} MiB resident, {len(after.threads)} threads, "
            + (f"{after.open_files} open files" if after.open_files >= 0 else "open files not shown to this user")
        )
        busy = proc.busiest(before, after, time.monotonic() - began)
        lines += [f"  thread {thread} ({name}): {share:.0f} % of a core" for thread, name, share in busy]
    host = handler.host(ctx.target)
    if pid and host.has("stacks"):
        lines += _stacks(await host.run("stacks", pid=pid, abort=ctx.abort))
    state = client.samples[-1].state if client.samples else handler.last_state(client.name)
    if state is not None:
        lines += ["", status.as_text(state)]
    answers = rate(probes)
    observed = (
        Observation(
            name="iterations_per_sec",
            value=answers,
            provenance=Provenance.DERIVED,
            source=f"{ANSWERS}; {sum(probe.state is not None for probe in probes)} of {len(probes)} answered",
        ),
    )
    how = "the control loop answers" if answers else _stalled(probes)
    return ActionResult(
        status="done",
        summary=f"{client.name}: {how}, {answers:g} responses/s over {seconds:.0f} s.",
        evidence="\n".join(lines),
        observations=observed,
    )


def rate(probes: list[Probe]) -> float:
    """Answers for each second that was spent waiting for them; 0 when the last look was not answered."""
    if probes[-1].state is None:
        return 0.0
    trips = [probe.state for probe in probes if probe.state is not None]
    return round(1 / max(statistics.median(trips), 1e-6), 1)


def _stalled(probes: list[Probe]) -> str:
    last = probes[-1]
    if last.hello is not None:
        return "hello is answered and state is not: the control loop is stalled"
    if last.listener is not None:
        return "neither hello nor state is answered: the whole runtime is starved"
    return "nobody answers"


def _trips(method: str, trips: list[float | None]) -> str:
    known = sorted(trip * 1000 for trip in trips if trip is not None)
    if not known:
        return f"{method}: no answer"
    missed = f", {len(trips) - len(known)} not answered" if len(known) < len(trips) else ""
    return f"{method}: {statistics.median(known):.1f} ms median, {known[-1]:.1f} ms longest{missed}"


def _stacks(ran: Ran) -> list[str]:
    return ["", f"{ran.told}:", ran.output[:STACKS_KEPT]]


async def _watch(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """One child for some time: every difference between two looks, as it is seen."""
    client = handler.client(ctx.target)
    child = ctx.arguments.get("child") or ctx.target.name
    wanted = float(number(ctx, "seconds", 60, LONGEST_WATCH))
    began = ctx.clock.now()
    ends = began + timedelta(seconds=wanted)
    history = changes.History()
    seen: list[changes.Change] = []
    while True:
        now = ctx.clock.now()
        try:
            new = history.answered(await client.drivable_state(), now)
        except (LinkError, Rejected) as error:
            new = history.failed(error.message.removeprefix(f"{client.name}: "), now)
        seen += [one for one in new if one.child in ("", child)]
        shown = children.find(history.state, child) if history.state else None
        ctx.tell(
            f"the end of the watch; {counted(len(seen), 'change')} so far",
            ends,
            history.problem or (children.summary(shown) if shown else f"{child} has no record"),
        )
        if ctx.abort.is_set() or now >= ends:
            break
        await ctx.clock.sleep(min(WATCH_PAUSE, max(0.05, (ends - now).total_seconds())))
    lines = [f"{one.at:%H:%M:%S}  {one.child or client.name}: {one.text}" for one in seen[-200:]]
    shown = children.find(history.state, child) if history.state else None
    now_is = children.summary(shown) if shown else f"{child} has no record"
    lines += [f"{ctx.clock.now():%H:%M:%S}  now: {now_is}", changes.LABEL]
    took = duration(ctx.clock.now() - began)
    return ActionResult(
        status="done",
        summary=f"{client.name}: {child} was watched for {took}: {counted(len(seen), 'change')}. Now: {now_is}.",
        evidence="\n".join(lines),
    )


ACTIONS: tuple[Action, ...] = (
    read("handle.current_state()", "Read the children and their records.", _current_state),
    read(
        "handle.health()",
        "Compare the round trips of hello and state; the process has no health request.",
        _health,
        "handle.health().control_loop_iterations",
    ),
    read("handle.restart_budget()", "Read what is known of a child's restart budget.", _restart_budget),
    read("handle.suspects()", "Name children that ignored a stop, and threads that keep a core busy.", _suspects),
    read(
        "metrics_snapshot()",
        "Measure round trips for some seconds (argument seconds, 5) and read /proc: for whoever takes over.",
        _metrics_snapshot,
    ),
    read("handle.watch_child()", "Watch one child (argument seconds, 60) and tell what changes.", _watch),
)
