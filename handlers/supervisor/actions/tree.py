"""``handle.add_child()`` and ``handle.shutdown_tree()``: what changes the tree itself. Sent once, never repeated."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import yaml

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Preview
from bot.words import counted
from handlers.supervisor import status
from handlers.supervisor.actions.declare import change, reason, requested_by, until
from handlers.supervisor.children import find, generation, is_down
from handlers.supervisor.handler import SupervisorHandler
from handlers.supervisor.host import CHILD_NAME
from handlers.supervisor.link import LinkError
from handlers.supervisor.protocol import CommandResult, Shutdown, State, Verb, command_params
from handlers.supervisor.transport import Client, Rejected

LONGEST_MANIFEST = 16_000  # characters
UNKNOWN_OUTCOME = frozenset({"command_timeout", "audit_write_failed", "audit_queue_full"})


def manifest_of(ctx: ActionContext) -> tuple[str, str]:
    """The child's name and the manifest of an addition. Raises ``UserError``."""
    text = ctx.inputs.get("manifest", "")
    return checked_manifest(text, ctx.arguments.get("child") or (ctx.target.name if ctx.target.kind == "child" else ""))


def checked_manifest(text: str, child: str = "") -> tuple[str, str]:
    """The name in it and the text. Raises ``UserError`` for what the process could not take."""
    if not text.strip():
        raise UserError(
            "A child is added from a manifest: give it as the input manifest, name and factory_key in YAML."
        )
    if len(text) > LONGEST_MANIFEST:
        raise UserError(f"The manifest has {len(text)} characters, more than {LONGEST_MANIFEST}.")
    try:
        manifest: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(f"The manifest is not YAML: {str(error)[:200]}") from None
    name = manifest.get("name") if isinstance(manifest, dict) else None
    if not isinstance(name, str) or not CHILD_NAME.fullmatch(name):
        raise UserError(
            'The manifest needs a name of letters, digits, "-", "_" and ".", for example '
            "name: extra and factory_key: worker."
        )
    if child and child != name:
        raise UserError(f"The manifest is of {name}, and the command of {child}. Make them the same.")
    return name, text


def _request(verb: Verb, state: State, ctx: ActionContext, manifest: str | None) -> dict[str, Any]:
    """As it is sent; what is new each time stands in angle brackets."""
    params = command_params(
        verb,
        command_id="<a new UUID>",
        target_id=state.target_id,
        child_path=None if manifest is None else f"/{checked_manifest(manifest)[0]}",
        child_manifest=manifest,
        reason=reason(ctx),
        requested_by=requested_by(ctx),
        requested_at_unix_nanos="<now, in nanoseconds>",
    )
    return {"request_id": "<a new UUID>", "method": f"command.{verb}", "params": params}


async def _send(
    handler: SupervisorHandler, ctx: ActionContext, verb: Verb, state: State, manifest: str | None
) -> tuple[CommandResult | None, str]:
    """The answer, or the reason why there is none although the command may be carried out. Raises ``UserError``."""
    client = handler.client(ctx.target)
    try:
        answer = await client.command(
            verb,
            target_id=state.target_id,
            child_path=None if manifest is None else f"/{checked_manifest(manifest)[0]}",
            child_manifest=manifest,
            reason=reason(ctx),
            requested_by=requested_by(ctx),
        )
    except LinkError as error:
        if not error.sent:
            raise
        return None, error.message
    except Rejected as error:
        if error.error.code not in UNKNOWN_OUTCOME:
            raise UserError(f"{error.message} Nothing was changed.") from error
        return None, error.message
    handler.remember(ctx.target, answer)
    return answer, ""


def _refused(client: Client, verb: Verb, answer: CommandResult) -> ActionResult:
    error = answer.error
    why = f"{error.code}: {error.message}" if error else "why is not told"
    return ActionResult(status="failed", summary=f"{client.name}: {verb} was not accepted ({why}).")


# --- add ------------------------------------------------------------------------------------------------------------


async def _preview_add(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
    name, manifest = manifest_of(ctx)
    client = handler.client(ctx.target)
    state = await _room_for(client, name)
    return Preview(
        summary=f"add_child {name} to {client.name}. Starts it when its factory_key is known to the process; the next "
        "process does not know it.",
        detail=json.dumps(_request("add_child", state, ctx, manifest), indent=2, ensure_ascii=False),
        language="json",
    )


async def _room_for(client: Client, name: str) -> State:
    state = await client.drivable_state()
    if find(state, name) is not None:
        raise UserError(f"{client.name} has a child {name} already. handle.restart_child() brings a removed one back.")
    return state


async def _add(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    name, manifest = manifest_of(ctx)
    client = handler.client(ctx.target)
    state = await _room_for(client, name)
    answer, lost = await _send(handler, ctx, "add_child", state, manifest)
    if answer is not None and not answer.accepted:
        return _refused(client, "add_child", answer)
    return await _seen_added(ctx, client, name, lost)


async def _seen_added(ctx: ActionContext, client: Client, name: str, lost: str) -> ActionResult:
    """Read the state until the child runs there."""
    give_up_at = ctx.clock.now() + timedelta(seconds=until(ctx, client.target.stop_timeout))
    trouble, last = "", None
    while True:
        try:
            last, trouble = await client.state(), ""
        except (LinkError, Rejected) as error:
            trouble = error.message
        child = find(last, name) if last is not None and not trouble else None
        if last is not None and child is not None and child.running and child.record:
            text = f"{client.name}: {name} is there and runs attempt {child.record.attempt}."
            return ActionResult(status="done", summary=text, evidence=status.as_text(last))
        if ctx.abort.is_set() or ctx.clock.now() >= give_up_at:
            break
        await ctx.clock.sleep(client.poll_pause)
    if trouble or lost:
        text = f"{client.name}: {lost or 'add_child was accepted.'} The state does not settle it: "
        text += f"{trouble or f'there is no running {name}'}. Look with /supervisor status before trying again."
        return ActionResult(status="uncertain", summary=text)
    text = f"{client.name}: add_child was accepted, but there is no running {name}."
    if last is not None and child is None:
        text += (
            f" The process is of generation {generation(last)}: the older ones store the manifest and start nothing, "
            "the newest needs a factory_key that it knows."
        )
    return ActionResult(status="failed", summary=text, evidence=status.as_text(last) if last else "")


async def _check_add(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
    name, _ = manifest_of(ctx)
    client = handler.client(ctx.target)
    if find(await client.drivable_state(), name) is None:
        text = f"{client.name}: {name} is not there; whether the command is still under way, nobody can tell."
        return ActionResult(status="uncertain", summary=text)
    return await _seen_added(ctx, client, name, "The bot was stopped in the middle.")


# --- shutdown -------------------------------------------------------------------------------------------------------


async def _preview_shutdown(handler: SupervisorHandler, ctx: ActionContext) -> Preview:
    client = handler.client(ctx.target)
    state = await client.drivable_state()
    return Preview(
        summary=f"shutdown_tree of {client.name}: stops every child. The process and its socket stay, and nothing in "
        "it can be started again: that takes a new process. While it goes on the process answers nothing else.",
        detail=json.dumps(_request("shutdown_tree", state, ctx, None), indent=2, ensure_ascii=False),
        language="json",
    )


async def _shutdown(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult:
    client = handler.client(ctx.target)
    state = await client.drivable_state()
    if is_down(state):
        return ActionResult(
            status="done",
            summary=f"{client.name}: the tree was shut down before, nothing was sent.",
            evidence=status.as_text(state),
        )
    answer, lost = await _send(handler, ctx, "shutdown_tree", state, None)
    if answer is not None and not answer.accepted:
        return _refused(client, "shutdown_tree", answer)
    return await _seen_down(ctx, client, answer.shutdown if answer else None, lost)


async def _seen_down(ctx: ActionContext, client: Client, report: Shutdown | None, lost: str) -> ActionResult:
    give_up_at = ctx.clock.now() + timedelta(seconds=until(ctx, client.target.stop_timeout))
    trouble, down = "", False
    while not down:
        try:
            down, trouble = is_down(await client.state()), ""
        except (LinkError, Rejected) as error:
            trouble = error.message
        if down or ctx.abort.is_set() or ctx.clock.now() >= give_up_at:
            break
        await ctx.clock.sleep(client.poll_pause)
    evidence = exits(report) if report else ""
    if not down:
        text = f"{client.name}: {lost or 'shutdown_tree was accepted.'} The state does not show it: "
        text += trouble or "not every child says completed."
        return ActionResult(status="uncertain" if lost or trouble else "failed", summary=text, evidence=evidence)
    text = f"{client.name}: the tree is shut down; the process itself still runs"
    if report is None:
        note = client.untold or f"{lost} This was read from the state".strip()
        return ActionResult(status="done", summary=f"{text}. {note}. How each child ended is not known.")
    # verified_clean is true whatever happened; how each child ended is what tells.
    unclean = [one.child_id for one in report.exits if one.status in ("AbortFailed", "LateReport")]
    if report.phase != "Completed" or unclean or report.verified_clean is False:
        text = f"{client.name}: the shutdown ended in phase {report.phase} and not clean"
        text += f": {', '.join(unclean[:5])} could not be stopped" if unclean else ""
        text += ". Only the end of the process ends them."
        return ActionResult(status="failed", summary=text, evidence=evidence)
    return ActionResult(
        status="done", summary=f"{text}. {counted(len(report.exits), 'child', 'children')} ended.", evidence=evidence
    )


def exits(report: Shutdown) -> str:
    """How each child ended: the only place where the process tells exit reasons."""
    return "\n".join(
        f"{one.child_id}: {one.status}, {one.exit or 'exit not told'}{f' ({one.reason})' if one.reason else ''}"
        for one in report.exits[:200]
    )


async def _check_shutdown(handler: SupervisorHandler, ctx: ActionContext) -> ActionResult | None:
    client = handler.client(ctx.target)
    try:
        down = is_down(await client.drivable_state())
    except LinkError as error:
        if error.cause != "silent":
            raise
        down = False  # it blocks while it shuts down
    if down:
        return ActionResult(status="done", summary=f"{client.name}: the tree is shut down.")
    return ActionResult(
        status="uncertain",
        summary=f"{client.name}: the tree is not shut down; whether the command is under way, nobody can tell.",
    )


ACTIONS: tuple[Action, ...] = (
    change(
        "handle.add_child()",
        Danger.CHANGE,
        "Adds and starts the child of the input manifest (crate 0.1.3 and newer).",
        _add,
        _preview_add,
        _check_add,
    ),
    change(
        "handle.shutdown_tree()",
        Danger.DESTRUCTIVE,
        "Stops every child for good; only a new process starts them again.",
        _shutdown,
        _preview_shutdown,
        _check_shutdown,
    ),
)
