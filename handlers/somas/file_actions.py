"""``somas.repair()``, ``somas.restore()``, ``somas.purge_letters()``: what runbooks can do to a project's files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from bot.errors import UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview
from bot.words import counted
from handlers.somas.backups import is_copy
from handlers.somas.change import (
    LOG,
    Change,
    Order,
    Planner,
    Written,
    interrupted,
    look,
    outcome_of,
    write,
)
from handlers.somas.dead_letters import RESULTS, Selection, attempt, mark, purge
from handlers.somas.decode import brief, clean
from handlers.somas.facts import observe, reading
from handlers.somas.handler import Somas
from handlers.somas.locks import WriteFailed
from handlers.somas.projects import DATA_FILES, Project
from handlers.somas.reconstruct import backup_change, reconstruct, restore
from handlers.somas.repair import repair
from handlers.somas.restart import NO_TIME
from handlers.somas.state import read_bytes
from handlers.somas.validate import Report, left_over, validate

_SHOWN = frozenset(
    {
        "project.status",
        "project.current_stage",
        "state.valid",
        "state.agrees",
        "files.errors",
        "dead_letters.total",
        "dead_letters.open",
        "dead_letters.malformed",
        "log.bad_lines",
    }
)

MakePlan = Callable[[ActionContext, Order, datetime], Planner]


async def read_and_validate(handler: Somas, context: ActionContext) -> ActionResult:
    """Look at the three files, each for itself and together."""
    now = context.clock.now()
    project = await handler.project(context.target.name)
    report = await handler.services.run_blocking(validate, project, now)
    observations = await handler.services.run_blocking(observe, _SHOWN, reading(project, now, context.inputs))
    return ActionResult(
        status="done",
        summary=validation_sentence(report),
        evidence="\n".join(f"{each.severity}: {each.where}: {each.problem}" for each in report.findings),
        observations=tuple(observations),
    )


def validation_sentence(report: Report) -> str:
    """``project-81: 1 error, 2 warnings.``"""
    if not report.findings:
        return f"{report.project_id}: the three files are valid and agree with each other."
    parts = [counted(report.count(kind), kind) for kind in ("error", "warning", "note") if report.count(kind)]
    return f"{report.project_id}: {', '.join(parts)}."


def _marking(context: ActionContext, order: Order, now: datetime) -> Planner:
    result = next((each for each in RESULTS if each == context.inputs.get("result")), None)
    if result is None:
        raise UserError(f"The input result must be one of {', '.join(RESULTS)}.")
    selection = Selection.from_inputs(context.inputs)
    return lambda project, at: mark(project, selection, result, order, at)


def _attempting(context: ActionContext, order: Order, now: datetime) -> Planner:
    letter = context.inputs.get("letters", "")
    return lambda project, at: attempt(project, letter, order, at)


def _purging(context: ActionContext, order: Order, now: datetime) -> Planner:
    selection = Selection.from_inputs(context.inputs)
    return lambda project, at: purge(project, selection, order, at)


def _backing_up(context: ActionContext, order: Order, now: datetime) -> Planner:
    return lambda project, at: backup_change(project, order, DATA_FILES)


def _repairing(context: ActionContext, order: Order, now: datetime) -> Planner:
    return repairing(order, record=context.inputs.get("record") == "true")


def repairing(order: Order, *, record: bool) -> Planner:
    """What can be put right in the files as they are. The plan raises ``UserError`` when there is nothing."""

    def plan(project: Project, at: str) -> Change:
        directory = project.directory
        log = read_bytes(directory / LOG, follow=False)
        cut = [note for note in interrupted(directory) if outcome_of(directory, note) == "disputed"]
        staged = {name for note in interrupted(directory) for name in note.staged.values()}
        return repair(
            project,
            log if isinstance(log, bytes) else None,
            order,
            at,
            record=record,
            left_over=[name for name in left_over(directory) if name not in staged],
            cut=cut,
        )

    return plan


def _reconstructing(context: ActionContext, order: Order, now: datetime) -> Planner:
    return lambda project, at: reconstruct(project, order, at)


def _restoring(context: ActionContext, order: Order, now: datetime) -> Planner:
    name = context.inputs.get("backup", "")
    if not is_copy(name):
        raise UserError(f"The input backup is {brief(name, 60)!r}, which is no copy that the bot or the runbook makes.")
    return lambda project, at: restore(project, name, order, at, now)


def _order(context: ActionContext, what: str, *, shown: bool = False) -> Order:
    """``shown``: for a preview, which must say the same whenever it is made."""
    return Order(
        project_id=context.target.name,
        what=what,
        actor=clean(context.actor),
        reason=clean(context.reason)[:2000],
        operation_id="" if shown else clean(context.operation_id),
    )


def _action(name: str, danger: Danger, help_: str, what: str, make: MakePlan) -> Action:
    """An action that plans a change from the files, shows it, writes it, and knows after a crash what became of it."""

    async def preview(handler: Somas, context: ActionContext) -> Preview:
        project = await handler.project(context.target.name)
        plan = make(context, _order(context, what, shown=True), context.clock.now())
        change = await handler.services.run_blocking(plan, project, NO_TIME)
        return Preview(summary=change.intent, detail=change.evidence, language=change.language)

    async def perform(handler: Somas, context: ActionContext) -> ActionResult:
        if context.abort.is_set():
            return ActionResult(status="refused", summary="The run was cancelled before anything was changed.")
        now, order = context.clock.now(), _order(context, what)

        def change() -> Written:
            return write(
                handler.root,
                order,
                make(context, order, now),
                now,
                lock_seconds=handler.settings.lock_seconds,
                cancelled=context.abort.is_set,
                settle_disputed=what == "repair",
            )

        try:
            written = await handler.services.run_blocking(change)
        except WriteFailed as error:
            return ActionResult(status="failed", summary=str(error))
        except UserError as error:
            return ActionResult(status="refused", summary=error.message)
        return await _result(handler, context, written)

    async def check(handler: Somas, context: ActionContext) -> ActionResult | None:
        order = _order(context, what)

        def find() -> Written | None:
            return look(handler.root, order, lock_seconds=handler.settings.lock_seconds)

        try:
            written = await handler.services.run_blocking(find)
        except (UserError, WriteFailed) as error:  # nobody can look: the files are locked or gone
            return ActionResult(status="uncertain", summary=f"Whether the {what} happened cannot be told. {error}")
        return await _result(handler, context, written) if written else None

    return Action(name, danger, help_, perform, preview, check)


async def _result(handler: Somas, context: ActionContext, written: Written) -> ActionResult:
    if written.happened == "uncertain":
        return ActionResult(status="uncertain", summary=written.summary)
    project = await handler.project(context.target.name)
    taken = reading(project, context.clock.now(), context.inputs)
    observations = await handler.services.run_blocking(observe, _SHOWN, taken)
    copies = f" Copies made first: {', '.join(written.saved)}." if written.saved else ""
    return ActionResult(
        status="done",
        summary=f"{written.summary}{copies}",
        evidence=written.evidence,
        language=written.language,
        observations=(
            *observations,
            Observation(name="backup.path", value=", ".join(written.saved), source="the copies that were made first"),
        ),
    )


ACTIONS: tuple[Action, ...] = (
    Action(
        name="somas.validate",
        danger=Danger.READ,
        help="Look whether the three files are valid and agree with each other",
        perform=read_and_validate,
    ),
    _action(
        "somas.backup", Danger.CHANGE, "Copy the three files of the project beside the originals", "backup", _backing_up
    ),
    _action(
        "somas.repair",
        Danger.CHANGE,
        "Mend dead_letters.json, its numbers and broken lines of the log; with the input record tell the log what "
        "state.json says",
        "repair",
        _repairing,
    ),
    _action(
        "somas.reconstruct",
        Danger.DESTRUCTIVE,
        "Put the state that the log leads to in the place of state.json",
        "reconstruct",
        _reconstructing,
    ),
    _action(
        "somas.restore",
        Danger.DESTRUCTIVE,
        "Put the copy that the input backup names in the place of the file",
        "restore",
        _restoring,
    ),
    _action(
        "somas.mark_letters",
        Danger.CHANGE,
        "Mark the dead letters of the input letters with the input result: success, failure or skipped",
        "mark",
        _marking,
    ),
    _action(
        "somas.replay_letter",
        Danger.CHANGE,
        "Count a replay of the dead letter of the input letters and set it to pending",
        "replay",
        _attempting,
    ),
    _action(
        "somas.purge_letters",
        Danger.DESTRUCTIVE,
        "Move the chosen dead letters to an archive file; dead_letters.json stays an object",
        "purge",
        _purging,
    ),
)
