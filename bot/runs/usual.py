"""``estimate 2 min · usually 40 s, 95 % under 1 min 30 s, n=23``: what is usual for a step. Pure.

Counted is the time from the beginning of a step's action until its expectation was met, of steps that were done by the
bot alone: nobody approved late, nobody pressed Done.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from datetime import timedelta

from bot.runbooks.model import Runbook
from bot.runs.model import Plan, RunState, Usual
from bot.words import duration

LEAST = 8  # runs; with fewer, 95 % means nothing


def usual(seconds: Sequence[float]) -> Usual | None:
    """What is usual, when it was done often enough to say."""
    if len(seconds) < LEAST:
        return None
    twentieths = statistics.quantiles(seconds, n=20, method="inclusive")
    p50, p95 = (timedelta(seconds=round(share, 3)) for share in (twentieths[9], twentieths[18]))
    return Usual(p50=p50, p95=max(p95, timedelta(seconds=1)), count=len(seconds))


def in_words(found: Usual | None) -> str:
    """``usually 40 s, 95 % under 1 min 30 s, n=23``; empty when nothing is usual."""
    if found is None:
        return ""
    most = timedelta(seconds=math.ceil(found.p95.total_seconds()))
    return f"usually {duration(found.p50)}, 95 % under {duration(most)}, n={found.count}"


def beside(budget: timedelta | None, found: Usual | None) -> str:
    """``estimate 2 min · usually 40 s, …``; either part may be missing."""
    estimate = f"estimate {duration(budget)}" if budget else ""
    return " · ".join(part for part in (estimate, in_words(found)) if part)


def usual_of(plan: Plan, index: int) -> Usual | None:
    return plan.usual[index] if index < len(plan.usual) else None


def step_key(book: Runbook, index: int) -> str:
    """A step of a runbook, whatever it works on: the action and its how-manieth use in the document."""
    action = book.steps[index].action
    before = sum(step.action == action for step in book.steps[:index])
    return f"{book.product}/{book.id}/{action}/{before + 1}"[:300]


def learned(before: RunState, after: RunState) -> list[tuple[str, float]]:
    """Step and seconds of what the bot has just finished by itself; a rehearsal teaches nothing."""
    if after.plan.drill:
        return []
    found = []
    for index, (old, new) in enumerate(zip(before.steps, after.steps, strict=True)):
        is_new = new.status == "done" and old.status != "done" and not new.decided_by and not new.from_run
        if is_new and after.plan.runbook.steps[index].action and new.acted_at and new.finished_at:
            seconds = (new.finished_at - new.acted_at).total_seconds()
            found.append((step_key(after.plan.runbook, index), max(0.0, seconds)))
    return found
