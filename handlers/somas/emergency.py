"""``/somas stop-all`` and ``/somas resume-all``: everything halted, and exactly that undone again.

Disabling comes before cancelling, or new runs begin at once. What is about to be disabled is remembered before it is
disabled, so that a bot that dies in the middle still knows what to enable again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.clock import first_of
from bot.errors import NotNow, UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview
from bot.words import counted
from handlers.somas.decode import brief, clean, instant, items, mapping, stamp, text
from handlers.somas.github import Refused, SomasGitHub, listed, patiently
from handlers.somas.workflow_runs import WorkflowRun, run_line

if TYPE_CHECKING:  # the handler asks this module for its facts
    from handlers.somas.handler import Somas

STOPPED = "stopped"  # where it is remembered what stop-all disabled
LOOK_EVERY = 5.0  # seconds between two lists of the runs that are left
FORCE_AFTER = timedelta(seconds=30)  # a run that has not ended by then is not asked again but forced


@dataclass(frozen=True, slots=True)
class Stop:
    """What stop-all has done: the workflows that it disabled, and for whom."""

    at: datetime | None
    by: str
    reason: str
    workflows: tuple[tuple[int, str], ...]  # id and path, as they were active before

    def encoded(self) -> str:
        return json.dumps(
            {
                "at": stamp(self.at) if self.at else "",
                "by": self.by,
                "reason": self.reason,
                "workflows": [list(each) for each in self.workflows],
            }
        )


def stop_of(saved: str) -> Stop | None:
    """What was remembered; None when nothing is stopped."""
    if not saved:
        return None
    data = mapping(json.loads(saved))
    rows = [items(row) for row in items(data.get("workflows"))]
    return Stop(
        instant(data.get("at")),
        text(data.get("by")),
        text(data.get("reason")),
        tuple((int(row[0]), str(row[1])) for row in rows if len(row) == 2),
    )


def of_somas(path: str, patterns: Sequence[str]) -> bool:
    """Whether a workflow file is one that moves projects, by the globs of ``workflows`` in [somas]."""
    name = path.partition("@")[0].rsplit("/", 1)[-1]
    return any(fnmatchcase(name, pattern) for pattern in patterns)


async def somas_workflows(handler: Somas, github: SomasGitHub) -> list[dict[str, Any]]:
    found = await github.workflows()
    return [each for each in found if of_somas(text(each.get("path")), handler.settings.workflows)]


async def somas_runs(handler: Somas, github: SomasGitHub) -> list[WorkflowRun]:
    """The runs of SOMAS that have not ended."""
    return [run for run in await github.open_runs() if of_somas(run.file, handler.settings.workflows)]


# -- stop


async def preview_stop(handler: Somas, context: ActionContext) -> Preview:
    """The workflows are what is approved; the runs change by the second and are listed as they are now."""
    github = handler.on_github()
    workflows = await patiently(context, lambda: somas_workflows(handler, github))
    runs = await patiently(context, lambda: somas_runs(handler, github))
    active = sorted(text(each.get("path")) for each in workflows if each.get("state") == "active")
    before = stop_of(await handler.memory.recall(STOPPED))
    said = (
        f"Disable {counted(len(active), 'workflow')} of SOMAS in {github.repository}, then cancel every run of SOMAS "
        "that has not ended, until none is left. Scans of security and everything else go on. resume-all enables "
        "exactly these again; runs that were cancelled stay cancelled."
    )
    if before:
        said += " An earlier stop is remembered too, and resume-all will undo both."
    now = context.clock.now()
    there = [run_line(run, now) for run in runs]
    return Preview(
        summary=said,
        detail="\n".join(f"disable {path}" for path in active) or "no workflow is active",
        now=f"{counted(len(runs), 'run')} that {'has' if len(runs) == 1 else 'have'} not ended\n" + "\n".join(there),
    )


async def stop_all(handler: Somas, context: ActionContext) -> ActionResult:
    """Disable, then cancel until nothing is left or the time is over. May be done again at any moment."""
    github = handler.on_github()
    try:
        disabled, trouble = await _disable(handler, context, github)
        left, cancelled, refused = await _cancel_all(handler, context, github)
    except NotNow as error:
        return ActionResult(
            status="failed",
            summary=f"{error.message} What was disabled until then stays disabled and is remembered; press Retry.",
        )
    said = f"{counted(len(disabled), 'workflow')} disabled, {counted(len(cancelled), 'run')} cancelled."
    now = context.clock.now()
    evidence = "\n".join(
        [*(f"disabled {path}" for path in disabled), *(f"cancelled {run_line(run, now)}" for run in cancelled)]
    )
    observed = (
        Observation(name="runs.open", value=len(left), source="GitHub's list of runs that have not ended"),
        Observation(name="workflows.disabled", value=len(disabled), source="what this step disabled"),
    )
    names = "\n".join(f"LEFT {run_line(run, now)}" for run in left)
    if trouble or refused:
        runs = f"{counted(len(left), 'run is', 'runs are')} left. " if left else ""
        return ActionResult(
            status="failed",
            summary=f"{said} {runs}{' '.join(trouble) or refused}",
            evidence=f"{names}\n{evidence}".strip(),
            observations=observed,
        )
    if left:
        why = "The run was cancelled" if context.abort.is_set() else "The time is over"
        return ActionResult(
            status="failed",
            summary=f"{said} {why} and {counted(len(left), 'run is', 'runs are')} left: "
            f"{listed((str(run.id) for run in left), 20)}. Press Retry, or switch Actions off: /somas actions off.",
            evidence=f"{names}\n{evidence}",
            observations=observed,
        )
    return ActionResult(
        status="done",
        summary=f"{said} No run of SOMAS is left.",
        evidence=evidence,
        language="text",  # not what the preview has shown
        observations=observed,
    )


async def check_again(handler: Somas, context: ActionContext) -> ActionResult | None:
    """After a crash: doing it again does what is missing and nothing twice."""
    return None


async def _disable(handler: Somas, context: ActionContext, github: SomasGitHub) -> tuple[list[str], list[str]]:
    """Paths that were disabled now, and what could not be."""
    workflows = await patiently(context, lambda: somas_workflows(handler, github))
    active = [each for each in workflows if each.get("state") == "active"]
    before = stop_of(await handler.memory.recall(STOPPED))
    known = dict(before.workflows) if before else {}
    known |= {int(each["id"]): text(each.get("path")) for each in active}
    stop = Stop(
        before.at if before else context.clock.now(),
        before.by if before else clean(handler.services.name(context.actor)),
        before.reason if before else brief(context.reason, 300),
        tuple(sorted(known.items())),
    )
    await handler.memory.remember(STOPPED, stop.encoded())
    disabled, trouble = [], []
    for each in active:
        number, path = int(each["id"]), text(each.get("path"))
        try:
            await patiently(context, partial(github.disable, number))
            disabled.append(path)
        except Refused as error:
            trouble.append(f"{path} is still active: {error.message}")
            if error.answer.status in (401, 403):
                break  # the others would be refused the same way
    return disabled, trouble


async def _cancel_all(
    handler: Somas, context: ActionContext, github: SomasGitHub
) -> tuple[list[WorkflowRun], list[WorkflowRun], str]:
    """What is left, what was cancelled, and why GitHub lets nothing be cancelled."""
    asked: dict[int, datetime] = {}
    cancelled: dict[int, WorkflowRun] = {}
    over = context.clock.now() + handler.settings.stop_budget
    if context.deadline:  # it reports what is left before the step's time is over
        over = min(over, context.deadline - timedelta(seconds=2 * LOOK_EVERY))
    while True:
        left = await patiently(context, lambda: somas_runs(handler, github))
        if not left:
            return [], list(cancelled.values()), ""
        ended = [run for number, run in cancelled.items() if number not in {each.id for each in left}]
        if context.abort.is_set() or context.clock.now() >= over:
            return left, ended, ""
        for run in left:
            first = asked.get(run.id)
            force = first is not None and context.clock.now() - first >= FORCE_AFTER
            if first is not None and not force:
                continue
            try:
                await patiently(context, partial(github.cancel, run.id, force=force))
            except Refused as error:
                if error.answer.status in (401, 403):
                    return left, ended, error.message
            asked.setdefault(run.id, context.clock.now())
            cancelled[run.id] = run
            if context.abort.is_set():
                break
        context.tell(f"{counted(len(left), 'run')} to end", over)
        await first_of(context.clock.sleep(LOOK_EVERY), context.abort.wait())


# -- resume


async def preview_resume(handler: Somas, context: ActionContext) -> Preview:
    github = handler.on_github()
    stop = await remembered_stop(handler)
    said = (
        f"Enable exactly the {counted(len(stop.workflows), 'workflow')} of {github.repository} that stop-all "
        f"disabled{_since(stop)}. What was disabled before stays disabled. Nothing is started: a restart or a label "
        "starts a project again."
    )
    return Preview(summary=said, detail="\n".join(f"enable {path}" for _, path in stop.workflows))


async def resume_all(handler: Somas, context: ActionContext) -> ActionResult:
    """Enable what stop-all disabled. What could not be enabled stays remembered."""
    github = handler.on_github()
    stop = await remembered_stop(handler)
    enabled, gone, missed = [], [], []
    said_no = ""
    for number, path in stop.workflows:
        try:
            found = await patiently(context, partial(github.workflow, number))
            if found is None:
                gone.append(path)
                continue
            if found.get("state") != "active":
                await patiently(context, partial(github.enable, number))
            enabled.append(path)
        except (Refused, NotNow) as error:
            said_no = error.message
            missed.append((number, path))
    await handler.memory.remember(
        STOPPED, Stop(stop.at, stop.by, stop.reason, tuple(missed)).encoded() if missed else ""
    )
    said = f"{counted(len(enabled), 'workflow')} enabled again"
    if gone:
        said += f"; {listed(gone)} {'is' if len(gone) == 1 else 'are'} no longer there"
    evidence = "\n".join([*(f"enabled {path}" for path in enabled), *(f"gone {path}" for path in gone)])
    observed = (Observation(name="workflows.stopped", value=len(missed), source="what stop-all disabled and still is"),)
    if missed:
        return ActionResult(
            status="failed",
            summary=f"{said}; {listed(path for _, path in missed)} could not be: {said_no}",
            evidence=evidence,
            observations=observed,
        )
    return ActionResult(
        status="done",
        summary=f"{said}. Nothing was started by that.",
        evidence=evidence,
        language="text",
        observations=observed,
    )


async def remembered_stop(handler: Somas) -> Stop:
    """What resume-all undoes. Raises ``UserError`` when nothing is stopped."""
    stop = stop_of(await handler.memory.recall(STOPPED))
    if stop is None:
        raise UserError("Nothing is stopped: no stop-all of this bot is remembered, so there is nothing to undo.")
    return stop


def _since(stop: Stop) -> str:
    at = f" at {stop.at:%Y-%m-%d %H:%M} UTC" if stop.at else ""
    return f"{at} for {stop.by}" if stop.by else at


# -- one run


async def preview_cancel(handler: Somas, context: ActionContext) -> Preview:
    github, number = handler.on_github(), int(context.target.name)
    run = await patiently(context, lambda: github.run(number))
    if run is None or run.ended:
        raise UserError(f"Run {number} is not there." if run is None else f"Run {number} has ended: {run.conclusion}.")
    return Preview(summary=f"Cancel {run_line(run, context.clock.now())}")


async def cancel_run(handler: Somas, context: ActionContext) -> ActionResult:
    """Asked once; one that has not ended after half a minute is forced."""
    github, number = handler.on_github(), int(context.target.name)
    asked = await patiently(context, lambda: github.cancel(number))
    force_at = context.clock.now() + FORCE_AFTER
    while True:
        run = await patiently(context, lambda: handler.followed(str(number), fresh=True))
        if run is None or run.ended or context.abort.is_set():
            break
        if context.clock.now() >= force_at:
            await patiently(context, lambda: github.cancel(number, force=True))
            run = await patiently(context, lambda: handler.followed(str(number), fresh=True))
            break
        context.tell(f"run {number} to end; it is forced then", force_at)
        await first_of(context.clock.sleep(LOOK_EVERY), context.abort.wait())
    state = run.state if run else "gone"
    said = "was asked to end" if asked else "could not be asked to end any more"
    return ActionResult(status="done", summary=f"Run {number} {said} and is {state}.")


async def look(handler: Somas, context: ActionContext) -> ActionResult:
    """What is active and what runs: the list of an incident."""
    github = handler.on_github()
    workflows = await patiently(context, lambda: somas_workflows(handler, github))
    runs = await patiently(context, lambda: somas_runs(handler, github))
    now = context.clock.now()
    active = [each for each in workflows if each.get("state") == "active"]
    lines = [f"{text(each.get('path'))}: {text(each.get('state')).replace('_', ' ')}" for each in workflows]
    return ActionResult(
        status="done",
        summary=f"{len(active)} of {counted(len(workflows), 'workflow')} of SOMAS are active in {github.repository}, "
        f"{counted(len(runs), 'run has', 'runs have')} not ended.",
        evidence="\n".join([*lines, "", *(run_line(run, now) for run in runs)]).strip(),
    )


ACTIONS: tuple[Action, ...] = (
    Action(
        name="somas.look_at_actions",
        danger=Danger.READ,
        help="List the workflows of SOMAS and every run of them that has not ended",
        perform=look,
    ),
    Action(
        name="somas.cancel_run",
        danger=Danger.CHANGE,
        help="Cancel one workflow run",
        perform=cancel_run,
        preview=preview_cancel,
        check=check_again,
    ),
    Action(
        name="somas.stop_all",
        danger=Danger.DESTRUCTIVE,
        help="Disable the workflows of SOMAS and cancel all their runs",
        perform=stop_all,
        preview=preview_stop,
        check=check_again,
    ),
    Action(
        name="somas.resume_all",
        danger=Danger.CHANGE,
        help="Enable exactly the workflows that stop_all disabled",
        perform=resume_all,
        preview=preview_resume,
        check=check_again,
    ),
)
