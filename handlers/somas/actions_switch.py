"""``/somas actions off`` and ``/somas actions on``: the switch of the whole repository, for admins."""

from __future__ import annotations

import json
from typing import Any

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview
from handlers.somas.decode import mapping
from handlers.somas.emergency import check_again
from handlers.somas.github import SomasGitHub, patiently
from handlers.somas.handler import Somas

SWITCH = "actions switch"  # where it is remembered which actions were allowed


async def preview_off(handler: Somas, context: ActionContext) -> Preview:
    github = handler.on_github()
    now = await patiently(context, github.switch)
    if now.get("enabled") is not True:
        raise UserError(f"Actions are off in {github.repository} already.")
    return Preview(
        summary=f"Switch GitHub Actions off for the whole of {github.repository}: every workflow, tests and security "
        "scans too. Runs that are under way go on; cancel them with /somas stop-all first.",
        detail=f'PUT /repos/{github.repository}/actions/permissions\n{{"enabled": false}}',
        language="json",
    )


async def switch_off(handler: Somas, context: ActionContext) -> ActionResult:
    github = handler.on_github()
    now = await patiently(context, github.switch)
    if now.get("enabled") is True:
        await handler.memory.remember(SWITCH, json.dumps(now))
        await patiently(context, lambda: github.set_switch({"enabled": False}))
    return await _switched(handler, context, github, wanted=False)


async def preview_on(handler: Somas, context: ActionContext) -> Preview:
    github = handler.on_github()
    body = await _as_before(handler)
    return Preview(
        summary=f"Switch GitHub Actions on again for {github.repository}, with the actions allowed that were before. "
        "Workflows that stop-all disabled stay disabled.",
        detail=f"PUT /repos/{github.repository}/actions/permissions\n{json.dumps(body)}",
        language="json",
    )


async def switch_on(handler: Somas, context: ActionContext) -> ActionResult:
    github = handler.on_github()
    body = await _as_before(handler)
    await patiently(context, lambda: github.set_switch(body))
    result = await _switched(handler, context, github, wanted=True)
    if result.status == "done":
        await handler.memory.remember(SWITCH, "")
    return result


async def _as_before(handler: Somas) -> dict[str, Any]:
    saved = mapping(json.loads(await handler.memory.recall(SWITCH) or "{}"))
    kept: dict[str, Any] = {name: saved[name] for name in ("allowed_actions", "sha_pinning_required") if name in saved}
    return {"enabled": True, **kept}


async def _switched(handler: Somas, context: ActionContext, github: SomasGitHub, *, wanted: bool) -> ActionResult:
    """Read it again: what GitHub says now is what counts."""
    enabled = (await patiently(context, github.switch)).get("enabled") is True
    observed = (Observation(name="actions.enabled", value=enabled, source=f"{github.repository} on GitHub"),)
    said = f"GitHub Actions are {'on' if enabled else 'off'} in {github.repository}."
    return ActionResult(status="done" if enabled is wanted else "failed", summary=said, observations=observed)


ACTIONS: tuple[Action, ...] = (
    Action(
        name="somas.actions_off",
        danger=Danger.DESTRUCTIVE,
        help="Switch GitHub Actions off for the whole repository",
        perform=switch_off,
        preview=preview_off,
        check=check_again,
        level="admin",
    ),
    Action(
        name="somas.actions_on",
        danger=Danger.CHANGE,
        help="Switch GitHub Actions on again, as they were",
        perform=switch_on,
        preview=preview_on,
        check=check_again,
        level="admin",
    ),
)
