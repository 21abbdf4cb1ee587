"""A changing command as the runbook that it is: one step, its expectation, its budget."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from bot.commands.registry import StartRun
from bot.handler import Target
from bot.runbooks.model import Runbook, Step

BUDGET = timedelta(minutes=2)  # waiting for SOMAS's locks takes half a minute at most


def one_step(
    project: str,
    id_: str,
    title: str,
    action: str,
    expectation: str,
    *,
    danger: Literal["change", "destructive"],
    reason: str,
    inputs: dict[str, str] | None = None,
) -> StartRun:
    """A run of one action on a project. ``title`` is what the step does, too."""
    book = Runbook(
        id=id_,
        title=title,
        product="somas",
        target_kind="project",
        steps=(Step(number="1", text=f"{title}: `{action}()`", action=action, expectation=expectation, budget=BUDGET),),
        total=BUDGET,
        severity="medium",
        danger=danger,
    )
    target = Target(product="somas", kind="project", name=project)
    return StartRun(runbook=book, target=target, reason=reason, inputs=inputs or {})
