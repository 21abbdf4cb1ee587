"""``somas.restart_stage()``: what runbooks can do with a project, with previews and, where they change it, checks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview
from handlers.somas.decode import brief, clean
from handlers.somas.facts import observe, reading
from handlers.somas.handler import Somas
from handlers.somas.locks import WriteFailed
from handlers.somas.metrics import measure
from handlers.somas.phrases import stage_text, status_text
from handlers.somas.projects import Project
from handlers.somas.restart import NO_TIME, Mode, diff, fresh_start, next_retry, plan, recovery_text
from handlers.somas.restart_files import Order, Written, look, write_restart
from handlers.somas.stages import STAGES

_SHOWN = frozenset(
    {"stage.name", "stage.status", "project.status", "project.current_stage", "dead_letters.total", "dead_letters.open"}
)


async def check_recovery(handler: Somas, context: ActionContext) -> ActionResult:
    """Read the state and say what recovery there is. Upstream's own recovery_info always says the same."""
    now = context.clock.now()
    project = await handler.project(context.target.name)
    metrics = measure(project, now)
    stage = context.inputs.get("stage") or metrics.restart_stage
    said = f"{project.id} is {status_text(project)}; stage {stage_text(project, now)}. Nothing recovers it by itself."
    if retry := next_retry(project, stage):
        limit = project.config.max_retry_attempts
        over = "over" if retry > limit else "within"
        said += f" The next start of {stage} is retry {retry}, {over} the limit of {limit}."
    if why := context.inputs.get("why"):
        said += f" The restart begins at {stage}: {brief(why, 200)}."
    names = _SHOWN | {
        "state.valid",
        "stage.retries",
        "retries",
        "checkpoint.last",
        "restart.suggested_stage",
        "breaker.set",
    }
    return ActionResult(
        status="done",
        summary=said,
        evidence=recovery_text(project, now),
        observations=tuple(observe(frozenset(names), reading(project, now, context.inputs))),
    )


async def read_state(handler: Somas, context: ActionContext) -> ActionResult:
    """Read the project again: the step whose expectation waits for the stage to run."""
    now = context.clock.now()
    project = await handler.project(context.target.name)
    taken = reading(project, now, context.inputs)
    record = taken.record
    stage = (
        f"{taken.stage} is {brief(record.status, 40).replace('_', ' ')}"
        if record
        else f"no stage {brief(taken.stage, 40)}"
    )
    total = len(project.letters.entries)
    names = _SHOWN | {"stage.age_hours", "dead_letters.new", "state.valid"}
    return ActionResult(
        status="done",
        summary=f"{project.id} is {status_text(project)}; {stage}; {total} dead letters.",
        observations=tuple(observe(names, taken)),
    )


async def preview_restart(handler: Somas, context: ActionContext) -> Preview:
    """The exact difference in state.json. Raises ``UserError`` when the restart would be refused."""
    project = await handler.project(context.target.name)
    order = _order(context, "stage")
    choice = handler.decide(project, context.clock.now(), stage=order.stage, override=order.override)
    assert project.file.state is not None
    change = plan(project.file.state.raw, choice.stage)
    said = (
        f"Set {project.id} to retry {choice.stage}: state.json changes as below (and updated_at), the old one is kept "
        "as state.json.backup and as a dated copy, and transitions.jsonl gets state_updated and stage_retrying."
    )
    if change.reset:
        said += f" Later stages go back to pending: {', '.join(brief(name, 40) for name in change.reset)}."
    return Preview(
        summary=_warned(said, choice.warnings), detail=diff(change.before, change.state, "state.json"), language="diff"
    )


async def preview_full(handler: Somas, context: ActionContext) -> Preview:
    """What a full restart replaces. Raises ``UserError`` when it would be refused."""
    project = await handler.project(context.target.name)
    choice = handler.decide(project, context.clock.now(), full=True, override=_order(context, "full").override)
    fresh, letters, _ = fresh_start(project, NO_TIME)
    said = (
        f"Start {project.id} over at intake: the whole folder is copied to .somas/projects/.archive/, state.json is "
        f"written anew, {len(project.letters.entries)} dead letters are emptied. transitions.jsonl and artifacts stay."
    )
    detail = (
        diff(project.file.data, fresh, "state.json") + "\n" + diff(project.letters.data, letters, "dead_letters.json")
    )
    return Preview(summary=_warned(said, choice.warnings), detail=detail, language="diff")


def _warned(said: str, warnings: tuple[str, ...]) -> str:
    return f"{said} Mind: {'; '.join(warnings)}." if warnings else said


def _order(context: ActionContext, mode: Mode) -> Order:
    return Order(
        project_id=context.target.name,
        mode=mode,
        stage=STAGES[0] if mode == "full" else context.inputs.get("stage", ""),
        actor=clean(context.actor),
        reason=clean(context.reason)[:2000],
        operation_id=clean(context.operation_id),
        override=context.inputs.get("override") == "true",
    )


def _perform(mode: Mode) -> Callable[[Somas, ActionContext], Awaitable[ActionResult]]:
    async def perform(handler: Somas, context: ActionContext) -> ActionResult:
        if context.abort.is_set():
            return ActionResult(status="refused", summary="The run was cancelled before anything was changed.")
        order = _order(context, mode)
        if mode == "stage" and order.stage not in STAGES:
            return ActionResult(
                status="refused",
                summary=f"The input stage is {brief(order.stage, 40)!r}, which is none of the eleven stages.",
            )
        now = context.clock.now()

        def write() -> Written:
            return write_restart(
                handler.root, order, now, lock_seconds=handler.settings.lock_seconds, cancelled=context.abort.is_set
            )

        try:
            written = await handler.services.run_blocking(write)
        except WriteFailed as error:
            return ActionResult(status="failed", summary=str(error))
        except UserError as error:
            return ActionResult(status="refused", summary=error.message)
        return await _result(handler, context, written)

    return perform


def _check(mode: Mode) -> Callable[[Somas, ActionContext], Awaitable[ActionResult | None]]:
    async def check(handler: Somas, context: ActionContext) -> ActionResult | None:
        order = _order(context, mode)
        now = context.clock.now()

        def find() -> Written | None:
            return look(handler.root, order, now, lock_seconds=handler.settings.lock_seconds)

        try:
            written = await handler.services.run_blocking(find)
        except UserError as error:  # nobody can look: the files are locked or gone
            return ActionResult(
                status="uncertain", summary=f"Whether the restart happened cannot be told. {error.message}"
            )
        return await _result(handler, context, written) if written else None

    return check


async def _result(handler: Somas, context: ActionContext, written: Written) -> ActionResult:
    if written.happened == "uncertain":
        return ActionResult(status="uncertain", summary=written.summary)
    project: Project = await handler.project(context.target.name)
    now = context.clock.now()
    observations = (
        *observe(_SHOWN, reading(project, now, context.inputs)),
        Observation(name="backup.path", value=written.saved, source="the copy that was made first"),
    )
    return ActionResult(
        status="done",
        summary=written.summary,
        evidence=written.evidence,
        language="diff" if written.evidence.startswith("---") else "json",
        observations=observations,
    )


ACTIONS: tuple[Action, ...] = (
    Action(
        name="somas.check_recovery",
        danger=Danger.READ,
        help="Show the state and whether anything recovers the project by itself",
        perform=check_recovery,
    ),
    Action(
        name="somas.read_state",
        danger=Danger.READ,
        help="Read the project's files again",
        perform=read_state,
    ),
    Action(
        name="somas.restart_stage",
        danger=Danger.CHANGE,
        help="Back up state.json and set the project to retry the input stage",
        perform=_perform("stage"),
        preview=preview_restart,
        check=_check("stage"),
    ),
    Action(
        name="somas.restart_full",
        danger=Danger.DESTRUCTIVE,
        help="Archive the project and start it over at the first stage",
        perform=_perform("full"),
        preview=preview_full,
        check=_check("full"),
    ),
)
