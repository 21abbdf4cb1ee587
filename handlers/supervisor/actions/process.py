"""``process.check()``, ``process.start()``, ``process.restart()``, ``relay.restart()``: the process and its relay.

A start is tried twice and believed only when the process answers; "restart fails twice" of the runbook is that second
failure. Whatever is run comes from ``[supervisor.targets.NAME.commands]``; without it the row is for a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview, Provenance
from handlers.supervisor import facts, socket_file, status
from handlers.supervisor.actions.declare import change, fact_line, read
from handlers.supervisor.facts import Need
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.host import Host, Ran, missing
from handlers.supervisor.link import LinkError
from handlers.supervisor.protocol import State
from handlers.supervisor.transport import Client, Rejected

TRIES = 2
TIMES = {1: "once", 2: "twice"}
LOOK_PAUSE = 0.5
OUTPUT_KEPT = 4000  # characters of a command's output in the thread

OF_PROCESS = frozenset({"process.running", "process.pid", "health.uptime_secs"})
OF_SOCKET = frozenset({"socket.present", "socket.mode", "socket.stale", "socket.blocks_start", "dashboard_link"})


def _failures(count: int, what: str) -> tuple[Observation, ...]:
    source = f"tries of the configured {what} command in this step that were not seen to work"
    return (Observation(name="restart.failures", value=count, provenance=Provenance.DERIVED, source=source),)


# --- checks ---------------------------------------------------------------------------------------------------------


async def _check_process(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    """Who listens at the socket, by peer credentials; when nobody does, what pgrep says, if it is configured."""
    client, host = handler.client(ctx.target), handler.host(ctx.target)
    seen = await handler.look(ctx.target, frozenset({"probe", "pgrep"}))
    observed = facts.observe(OF_PROCESS, seen, {})
    lines = [fact_line(fact) for fact in observed]
    pgrep = seen.pgrep or (await host.run("pgrep") if host.has("pgrep") else None)
    if pgrep is not None:
        lines += [f"{pgrep.told}: {pgrep.output[:200] or 'no output'}"]
        if pgrep.exit_code is not None:
            source = f"{pgrep.told}"
            observed.append(Observation(name="exit_code", value=pgrep.exit_code, source=source))
    else:
        lines.append("pgrep was not asked: commands.pgrep is not configured. The socket knows better.")
    running = next(fact for fact in observed if fact.name == "process.running")
    text = {True: "it runs", False: "it does not run"}.get(running.value, "nobody can tell whether it runs")
    if seen.listener is not None and seen.problem:
        text += ", but does not answer"
    return ActionResult(
        status="done",
        summary=f"{client.name}: {text}: {running.source}",
        evidence="\n".join(lines),
        observations=tuple(observed),
    )


async def _check_socket(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    client = handler.client(ctx.target)
    if client.target.socket is None:
        return ActionResult(status="done", summary=f"{client.name}: its socket is on another host, behind the relay.")
    needs: frozenset[Need] = frozenset({"socket", "probe"})
    seen = await handler.look(ctx.target, needs)
    observed = facts.observe(OF_SOCKET, seen, {})
    text = seen.socket.text if seen.socket else "the socket was not looked at"
    return ActionResult(
        status="done",
        summary=f"{client.name}: {text}.",
        evidence="\n".join(fact_line(fact) for fact in observed),
        observations=tuple(observed),
    )


async def _check_relay(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    client, host = handler.client(ctx.target), handler.host(ctx.target)
    seen = await handler.relay_seen(ctx.target)
    lines = [seen.told]
    if host.has("relay_status"):
        ran = await host.run("relay_status", abort=ctx.abort)
        lines += [f"{ran.told}:", ran.output[-OUTPUT_KEPT:]]
    return ActionResult(
        status="done",
        summary=f"{client.name}: the relay {seen.status}: {seen.told}"
        if seen.status != "not configured"
        else f"{client.name}: {seen.told}, so nothing is known of one.",
        evidence="\n".join(lines),
        observations=(
            Observation(name="relay.status", value=seen.status, provenance=Provenance.DERIVED, source=seen.told),
        ),
    )


# --- starting -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Before:
    """Which process it was."""

    pid: int | None = None
    generated_at: int = 0


async def _before(client: Client) -> Before:
    try:
        state = await client.state()
    except (LinkError, Rejected):
        return Before(client.listener.pid if client.listener else None)
    return Before(client.listener.pid if client.listener else None, state.generated_at_unix_nanos)


async def _nobody_there(handler: SupervisorHandler, ctx: ActionContext) -> None:
    """Raises ``UserError`` when the process runs: a second one must never be started."""
    seen = await handler.look(ctx.target, frozenset({"probe", "pgrep"}))
    found = facts.observe(frozenset({"process.running"}), seen, {})[0]
    if found.value is not False:
        raise UserError(
            f"{handler.client(ctx.target).name} is not known to be down: {found.source}. "
            "process.restart() ends it first."
        )


async def _preview_start(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
    host = handler.host(ctx.target)
    if not host.has("start"):
        return Preview(summary=f"{missing(host.name, 'start')} It is asked of a person.")
    return Preview(
        summary=f"Run on this host, without a shell, at most {TRIES} times: the start of {host.name}.",
        detail=host.line("start"),
    )


async def _start(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    host = handler.host(ctx.target)
    if not host.has("start"):
        return _by_hand(host, "start", "Start the process the way it was deployed")
    await _nobody_there(handler, ctx)
    return await _try_twice(handler, ctx, "start", Before())


async def _restart_command(handler: SupervisorHandler, ctx: ActionContext) -> str:
    """``restart``; ``start`` will do for a process that is gone; empty when the bot may do neither."""
    host = handler.host(ctx.target)
    if host.has("restart"):
        return "restart"
    seen = await handler.look(ctx.target, frozenset({"probe", "pgrep"}))
    gone = facts.observe(frozenset({"process.running"}), seen, {})[0].value is False
    return "start" if gone and host.has("start") else ""


async def _preview_restart(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
    host = handler.host(ctx.target)
    command = await _restart_command(handler, ctx)
    if not command:
        return Preview(summary=f"{missing(host.name, 'restart')} It is asked of a person.")
    return Preview(
        summary=f"Ends {host.name} and starts it again. Every child loses what it holds in memory and starts afresh "
        "with attempt 1; what was paused, quarantined or removed runs again.",
        detail=host.line(command),
    )


async def _restart(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    host, client = handler.host(ctx.target), handler.client(ctx.target)
    command = await _restart_command(handler, ctx)
    if not command:
        return _by_hand(host, "restart", "Restart the process the way it was deployed")
    return await _try_twice(handler, ctx, command, await _before(client))


def _by_hand(host: Host, command: str, what: str) -> ActionResult:
    return ActionResult(status="manual", summary=f"{missing(host.name, command)} {what}, then say how it went.")


async def _try_twice(handler: SupervisorHandler, ctx: ActionContext, command: str, before: Before) -> ActionResult:
    """Run it and wait until the process answers; once more when it does not."""
    client, host = handler.client(ctx.target), handler.host(ctx.target)
    told: list[str] = []
    number = 0
    while number < TRIES:
        number += 1
        ran = await host.run(command, abort=ctx.abort)
        told += _tried(number, ran)
        if ran.worked:
            state, why = await _answers(ctx, client, before)
            if state is not None:
                pid = f"pid {client.listener.pid}" if client.listener else "the process"
                again = f" It took {number} tries." if number > 1 else ""
                return ActionResult(
                    status="done",
                    summary=f"{client.name}: {pid} answers; {status.headline(state)}.{again}",
                    evidence="\n".join((*told, status.as_text(state))),
                    observations=_failures(number - 1, command),
                )
            told.append(why)
        if ctx.abort.is_set():
            return ActionResult(
                status="uncertain",
                summary=f"{client.name}: the run was cancelled in the middle of {command}. Look before trying again.",
                evidence="\n".join(told),
            )
        if number < TRIES and command == "start":
            try:
                await _nobody_there(handler, ctx)
            except UserError as error:
                told.append(error.message)
                break
    socket = f" {_stands(client)}" if client.target.socket else ""
    return ActionResult(
        status="failed",
        summary=f"{client.name}: {command} failed {TIMES[number]}. {told[-1].rstrip('.')}.{socket}".rstrip(),
        evidence="\n".join(told),
        observations=_failures(number, command),
    )


def _tried(number: int, ran: Ran) -> list[str]:
    return [f"Try {number}: {ran.told}", *([ran.output[-OUTPUT_KEPT:]] if ran.output else [])]


def _stands(client: Client) -> str:
    found = socket_file.examine(client.target)
    return f"{found.text}." if found.problem else ""


async def _answers(ctx: ActionContext, client: Client, before: Before) -> tuple[State | None, str]:
    """A state of another process than ``before``, or why there was none in time."""
    ends = ctx.clock.now() + timedelta(seconds=client.target.start_timeout)
    why = ""
    while True:
        try:
            state = await client.drivable_state()
        except (LinkError, Rejected) as error:
            why = error.message
        else:
            pid = client.listener.pid if client.listener else None
            known = before.pid is not None or before.generated_at
            same = known and pid == before.pid and state.generated_at_unix_nanos == before.generated_at
            if not same:
                return state, ""
            why = f"{client.name}: the same process answers still (pid {pid})"
        if ctx.abort.is_set() or ctx.clock.now() >= ends:
            waited = f"no new process answered within {client.target.start_timeout:g} s"
            return None, f"{why.rstrip('.')}; {waited}."
        await ctx.clock.sleep(LOOK_PAUSE)


async def _look_after(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
    """After the bot was stopped in the middle: does it run now?"""
    client = handler.client(ctx.target)
    state, why = await _answers(ctx, client, Before())
    if state is None:
        text = f"{why} Whether the command of the bot is still under way, nobody can tell."
        return ActionResult(status="uncertain", summary=text)
    return ActionResult(
        status="done",
        summary=f"{client.name} answers now; {status.headline(state)}. The bot was stopped in the middle.",
        evidence=status.as_text(state),
    )


async def _look_after_restart(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
    found = await _look_after(handler, ctx)
    if found is None or found.status != "done":
        return found
    text = f"{found.summary} Whether it was restarted, its uptime tells: look with /supervisor status."
    return found.model_copy(update={"status": "uncertain", "summary": text})


# --- the socket's file ----------------------------------------------------------------------------------------------


async def _preview_remove(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
    client = handler.client(ctx.target)
    found = socket_file.examine(client.target)
    return Preview(
        summary=f"Removes the socket file that {client.name} has left behind, after asking once more whether anybody "
        "listens at it.",
        detail=f"unlink {found.path}\n# {found.kind}, owner uid {found.uid}, inode {found.inode[1]}",
    )


async def _remove(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    client = handler.client(ctx.target)
    told = await handler.run_blocking(socket_file.remove_stale, client.target)
    return ActionResult(status="done", summary=f"{client.name}: {told}.")


async def _check_remove(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
    client = handler.client(ctx.target)
    found = socket_file.examine(client.target)
    if found.stale:
        return None
    return ActionResult(status="done", summary=f"{client.name}: {found.text}.")


# --- the relay ------------------------------------------------------------------------------------------------------


async def _preview_relay(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
    host = handler.host(ctx.target)
    if not host.has("relay_restart"):
        return Preview(summary=f"{missing(host.name, 'relay_restart')} It is asked of a person.")
    return Preview(
        summary="Restarts the relay. Everybody's sessions through it end; the processes register again within 15 s.",
        detail=host.line("relay_restart"),
    )


async def _restart_relay(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    client, host = handler.client(ctx.target), handler.host(ctx.target)
    if not host.has("relay_restart"):
        return _by_hand(host, "relay_restart", "Restart the relay with its service manager")
    told: list[str] = []
    for number in range(1, TRIES + 1):
        ran = await host.run("relay_restart", abort=ctx.abort)
        told += _tried(number, ran)
        ends = ctx.clock.now() + timedelta(seconds=client.target.start_timeout)
        while ran.worked:
            seen = await handler.relay_seen(ctx.target)
            if seen.status == "answers" and "lists" in seen.told and "does not list" not in seen.told:
                return ActionResult(
                    status="done",
                    summary=f"{client.name}: the relay answers again: {seen.told}.",
                    evidence="\n".join(told),
                    observations=_failures(number - 1, "relay_restart"),
                )
            if seen.status == "not configured":
                text = f"{client.name}: {ran.told}. Whether the relay answers cannot be seen: relay is not configured."
                return ActionResult(status="uncertain", summary=text, evidence="\n".join(told))
            if ctx.abort.is_set() or ctx.clock.now() >= ends:
                told.append(seen.told)
                break
            await ctx.clock.sleep(1.0)
        if ctx.abort.is_set():
            return ActionResult(status="uncertain", summary=f"{client.name}: the run was cancelled.", evidence=told[0])
    return ActionResult(
        status="failed",
        summary=f"{client.name}: the restart of the relay failed twice. {told[-1]}",
        evidence="\n".join(told),
        observations=_failures(TRIES, "relay_restart"),
    )


async def _check_relay_restart(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
    seen = await handler.relay_seen(ctx.target)
    text = f"The bot was stopped in the middle of the restart. The relay now: {seen.status}: {seen.told}"
    return ActionResult(status="uncertain", summary=text)


ACTIONS: tuple[Action, ...] = (
    read("process.check()", "Tell whether the process is there: peer credentials, else pgrep.", _check_process),
    read("socket.check()", "Tell whether the socket's file is right, stale, or in the way of a start.", _check_socket),
    read("relay.check()", "Tell whether the relay takes the bot's certificate and lists the process.", _check_relay),
    change(
        "process.start()",
        Danger.CHANGE,
        "Runs the configured start command, at most twice, and waits until the process answers.",
        _start,
        _preview_start,
        _look_after,
    ),
    change(
        "process.restart()",
        Danger.DESTRUCTIVE,
        "Runs the configured restart command, at most twice, and waits until a new process answers.",
        _restart,
        _preview_restart,
        _look_after_restart,
    ),
    change(
        "socket.remove_stale()",
        Danger.DESTRUCTIVE,
        "Removes the socket file of a process that is gone; refuses when anybody listens.",
        _remove,
        _preview_remove,
        _check_remove,
    ),
    change(
        "relay.restart()",
        Danger.CHANGE,
        "Runs the configured command that restarts the relay, at most twice, and waits until it answers.",
        _restart_relay,
        _preview_relay,
        _check_relay_restart,
    ),
)
