"""``journal(lines=50)``, ``exit_reason()``, ``core_dump()``: what a crash has left on the host."""

from __future__ import annotations

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult
from handlers.supervisor import crashes, facts, logs
from handlers.supervisor.actions.declare import number, read
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.host import MOST_LINES, Host
from handlers.supervisor.logs import LogTail

EXIT_LINES = 500
CONTEXT = 8  # lines around the exit reason
KEPT_OUTPUT = 30_000  # characters of a command's output

BY_HAND = "Look yourself, for example with journalctl -u <unit> -n 50, then say how it went."


async def _read(handler: SupervisorHandler, host: Host, lines: int) -> LogTail | ActionResult:
    """The log, or the row for a person when there is none to be read."""
    try:
        return await logs.read_tail(host, lines, handler.run_blocking)
    except UserError as error:
        return ActionResult(status="manual", summary=f"{error.message} {BY_HAND}")


async def _journal(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """The last lines, and what they say about how the process ended."""
    host = handler.host(ctx.target)
    tail = await _read(handler, host, number(ctx, "lines", 50, MOST_LINES))
    if isinstance(tail, ActionResult):
        return tail
    end = logs.ending(tail.lines)
    told = {
        "planned": "a shutdown that was asked for",
        "crash": "a crash",
        "unknown": "neither of a shutdown nor of a crash",
    }[end.kind]
    line = f": {end.line[:300]}" if end.line else ""
    seen = facts.Seen(target=ctx.target, now=ctx.clock.now(), log=tail)
    return ActionResult(
        status="done",
        summary=f"{host.name}: the end of its log speaks of {told}{line}",
        evidence="\n".join((f"{tail.source}:", *tail.lines)),
        observations=tuple(facts.observe(frozenset({"log.tail", "log.end", "log.planned_stop"}), seen, {})),
    )


async def _exit_reason(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """The newest line of the log that says how the child ended; the process itself never tells."""
    host = handler.host(ctx.target)
    child = ctx.arguments.get("child") or (ctx.target.name if ctx.target.kind == "child" else "")
    if not child:
        raise UserError("This step works on a child, and the run is not on one.")
    tail = await _read(handler, host, EXIT_LINES)
    if isinstance(tail, ActionResult):
        return tail
    target = ctx.target.model_copy(update={"kind": "child", "name": child})
    seen = facts.Seen(target=target, now=ctx.clock.now(), log=tail)
    found = logs.exit_reason(tail.lines, child)
    observed = tuple(facts.observe(frozenset({"TaskExit", "TaskExit.reason"}), seen, {}))
    if found is None:
        return ActionResult(
            status="done",
            summary=f"{host.name}: no line of {tail.source} names {child} together with a panic or a failure.",
            evidence="\n".join(tail.lines[-50:]),
            observations=observed,
        )
    at = len(tail.lines) - 1 - tuple(reversed(tail.lines)).index(found.line)
    shown = tail.lines[max(0, at - CONTEXT) : at + CONTEXT + 1]
    return ActionResult(
        status="done",
        summary=f"{host.name}: {child} ended last as {found.kind}, by its log: {found.reason[:300]}",
        evidence="\n".join((f"{tail.source}:", *shown)),
        observations=observed,
    )


async def _core_dump(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """The core and its backtrace, and the backtrace that a panic has printed; or why there is none."""
    host, client = handler.host(ctx.target), handler.client(ctx.target)
    pid = client.listener.pid if client.listener else handler.last_pid(client.name)
    core = await handler.run_blocking(crashes.find_core, pid)
    parts = [f"Core: {core.told}."]
    found = [f"core {core.path}"] if core.path else []
    if core.path is None and host.has("cores"):
        ran = await host.run("cores", abort=ctx.abort)
        parts += [f"{ran.told}:", ran.output[-KEPT_OUTPUT:]]
        found += ["a core of the collector"] if ran.worked and ran.output else []
    elif core.collector:
        parts.append("What it keeps is listed when commands.cores is configured, for example coredumpctl info.")
    if core.path and host.has("backtrace"):
        ran = await host.run("backtrace", core=core.path, abort=ctx.abort)
        parts += [f"{ran.told}:", ran.output[-KEPT_OUTPUT:]]
        found += ["its backtrace"] if ran.worked else []
    elif core.path:
        parts.append("Its backtrace is made when commands.backtrace is configured, for example gdb -batch.")
    tail = await _read(handler, host, MOST_LINES)
    if isinstance(tail, LogTail):
        printed = logs.backtrace(tail.lines)
        if printed:
            found.append("the backtrace of a panic in the log")
            parts += [f"{tail.source}:", *printed]
        else:
            parts.append(f"No backtrace in {tail.source}: without RUST_BACKTRACE=1 a panic prints none.")
    else:
        parts.append(tail.summary.removesuffix(f" {BY_HAND}"))
    text = f"kept {' and '.join(found)}" if found else f"there is nothing to keep: {core.told}"
    return ActionResult(status="done", summary=f"{host.name}: {text}.", evidence="\n".join(parts))


ACTIONS: tuple[Action, ...] = (
    read("journal()", "Read the last lines of the log (argument lines, 50) and what they say of the end.", _journal),
    read("exit_reason()", "Find in the log how the child ended last; the socket does not tell it.", _exit_reason),
    read("core_dump()", "Collect the core and the backtrace of a crash, or say why there is none.", _core_dump),
)
