"""``/runs retry <run> --from 3``: an ended run once more from one of its steps; the new run knows its ancestor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from bot.commands.registry import StartRun
from bot.errors import UserError
from bot.runs.model import Ancestor, RunState


def repeat_request(state: RunState, step: str | None, given: Mapping[str, str], reason: str) -> StartRun:
    """The same runbook, target and inputs; what came before the step is taken over with the facts that it saw.

    Pure. Raises ``UserError`` for a step that the runbook does not have, and for one that the run never came to.
    """
    plan, book, run_id = state.plan, state.plan.runbook, state.plan.run_id
    numbers = [row.number for row in book.steps]
    if step is None and state.status == "done":
        raise UserError(
            f"This run was done. Say from which step it is to be repeated: {', '.join(numbers)}.",
            suggestions=(f"/runs retry {run_id} --from {numbers[0]}",),
        )
    wanted = step.strip().rstrip(".") if step else numbers[state.current]
    if wanted not in numbers:
        raise UserError(f'{book.id} has no step "{wanted[:40]}". There are {", ".join(numbers)}.')
    first = numbers.index(wanted)
    if first > state.current:
        raise UserError(
            f"Run {run_id} ended at step {numbers[state.current]}, so nothing is known of what comes before "
            f"step {wanted}. Repeat it from step {numbers[state.current]} or an earlier one.",
            suggestions=(f"/runs retry {run_id} --from {numbers[state.current]}",),
        )
    rows = tuple(state.unfilled.get(index, row) for index, row in enumerate(book.steps))
    kept = tuple(
        done.model_copy(update={"from_run": done.from_run or run_id, "evidence": "", "preview": None, "digest": ""})
        for done in state.steps[:first]
    )
    rest = [row.budget for row in rows[first:]]
    known = [budget for budget in rest if budget is not None]
    return StartRun(
        runbook=book.model_copy(update={"steps": rows}),
        target=plan.target,
        reason=reason or plan.reason,
        inputs=plan.inputs,
        changes=plan.changes,
        budget=sum(known, timedelta()) if first and len(known) == len(rest) else None,
        drill=plan.drill,
        faults=plan.faults,
        ancestor=Ancestor(run_id=run_id, steps=kept, given={**state.given, **given}, failures=state.failures),
    )
