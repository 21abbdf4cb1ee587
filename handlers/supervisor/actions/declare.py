"""How an action is declared: its name in a runbook's code span, its short name, what it does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview

Perform = Callable[[Any, ActionContext], Awaitable[ActionResult]]


def read(name: str, help_: str, perform: Perform, *aliases: str) -> Action:
    """An action that changes nothing; ``handle.x()`` may be written ``x()`` and ``x``, too."""
    short = name.removeprefix("handle.")
    names = dict.fromkeys((short, short.removesuffix("()"), name.removesuffix("()"), *aliases))
    return Action(name, Danger.READ, help_, perform, aliases=tuple(each for each in names if each != name))


def change(
    name: str,
    danger: Danger,
    help_: str,
    perform: Perform,
    preview: Callable[[Any, ActionContext], Awaitable[Preview]],
    check: Callable[[Any, ActionContext], Awaitable[ActionResult | None]],
) -> Action:
    short = name.removeprefix("handle.")
    return Action(name, danger, help_, perform, preview, check, () if short == name else (short,))


def number(ctx: ActionContext, name: str, default: int, highest: int) -> int:
    """An argument that is a whole number from 1 on. Raises ``UserError``."""
    text = ctx.arguments.get(name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= highest:
        raise UserError(f"{name} must be a whole number from 1 to {highest}, not {text[:40]}.")
    return int(text)


def fact_line(fact: Observation) -> str:
    value = "unknown" if fact.value is None else json.dumps(fact.value, ensure_ascii=False)
    return f"{fact.name} = {value} ({fact.provenance.value}: {fact.source})"


def requested_by(ctx: ActionContext) -> str:
    return f"opsbot:{ctx.actor}"


def reason(ctx: ActionContext) -> str:
    return ctx.reason.strip() or f"run {ctx.run_id}"


def until(ctx: ActionContext, seconds: float) -> float:
    """So many seconds from now, but not beyond the step's deadline; at least one."""
    if ctx.deadline is None:
        return seconds
    left = (ctx.deadline - ctx.clock.now()) / timedelta(seconds=1)
    return max(1.0, min(seconds, left)) if left > 0 else seconds
