"""``somas.dispatch()``: start the pipeline on GitHub with the inputs that its file has, then follow the run it started.

An accepted dispatch is not a restart. So the run is found, followed to its end and judged by its jobs; whether the
stage runs is read from the project's files afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bot.clock import first_of
from bot.errors import NotNow, UserError
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview, Provenance
from handlers.somas.decode import brief, instant, mapping, stamp, text
from handlers.somas.github import NOT_CONFIGURED, Refused, SomasGitHub, listed, patiently, run_key
from handlers.somas.handler import Somas
from handlers.somas.stages import STAGES
from handlers.somas.workflow_inputs import complaints, declared_inputs
from handlers.somas.workflow_runs import WorkflowRun, judged

# Jobs of somas-pipeline.yml; the other stages have none.
STAGES_WITH_JOB = ("specify", "plan", "decompose", "implement", "verify", "integrate")
APPEARS_WITHIN = 60  # seconds until a dispatched run is in the list
LOOK_EVERY = 3.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent: the workflow, on which ref, with which inputs."""

    workflow: str
    ref: str
    inputs: Mapping[str, str]
    path: str  # of the API, for people

    @property
    def request(self) -> str:
        return f"POST {self.path}\n" + json.dumps({"ref": self.ref, "inputs": dict(self.inputs)}, indent=2)


def dispatch_command(handler: Somas, project_id: str, stage: str) -> str:
    """The command that starts the workflow by hand, with the same inputs."""
    settings = handler.settings.dispatch
    where = f" -R {handler.repository}" if handler.repository else ""
    given = "".join(f" -f {name}={value}" for name, value in filled(settings.inputs, project_id, stage).items())
    return f"gh workflow run {settings.workflow}{where}{given}"


def filled(inputs: Mapping[str, str], project_id: str, stage: str) -> dict[str, str]:
    return {name: value.replace("{project}", project_id).replace("{stage}", stage) for name, value in inputs.items()}


def _intent_key(operation_id: str) -> str:
    return f"dispatch {operation_id}"


async def order(handler: Somas, github: SomasGitHub, project_id: str, stage: str) -> Order:
    """What would be sent. Raises ``UserError`` when GitHub would refuse it: the file itself was read."""
    settings = handler.settings.dispatch
    ref = settings.ref or await github.default_branch()
    found = await github.file(f".github/workflows/{settings.workflow}", ref)
    if found is None:
        known = [text(each.get("path")).rsplit("/", 1)[-1] for each in await github.workflows()]
        raise UserError(
            f"{github.repository} has no workflow {settings.workflow} on {ref}. It has "
            f"{listed(sorted(known), 20) or 'none'}. Set workflow in the section [somas.dispatch]."
        )
    try:
        declared = declared_inputs(found[0])
    except ValueError as error:
        raise UserError(f"{settings.workflow} on {ref} is not YAML ({error}), so GitHub cannot start it.") from None
    inputs = filled(settings.inputs, project_id, stage)
    wrong = complaints(declared, inputs, settings.workflow)
    if wrong:
        raise UserError(
            f"GitHub would refuse the dispatch on {ref} (422): {'; '.join(wrong)}. Set inputs in the section "
            "[somas.dispatch]."
        )
    path = f"/repos/{github.repository}/actions/workflows/{settings.workflow}/dispatches"
    return Order(settings.workflow, ref, inputs, path)


async def preview_dispatch(handler: Somas, context: ActionContext) -> Preview:
    stage = context.inputs.get("stage") or STAGES[0]
    github = handler.github
    if github is None:
        said, evidence = _not_dispatched(handler, context.target.name, stage)
        return Preview(summary=f"Nothing will be dispatched: {said}.", detail=evidence)
    sent = await patiently(context, lambda: order(handler, github, context.target.name, stage))
    said = f"Start {sent.workflow} of {github.repository} on {sent.ref}; its file takes these inputs."
    if sent.workflow == "somas-pipeline.yml" and stage not in STAGES_WITH_JOB:
        said += f" Mind: it has no job for the stage {stage}."
    return Preview(summary=said, detail=sent.request, language="json")


async def dispatch(handler: Somas, context: ActionContext) -> ActionResult:
    """Send it once, find the run that it started, remember that run for the steps behind."""
    stage = context.inputs.get("stage") or STAGES[0]
    github = handler.github
    if github is None:
        said, evidence = _not_dispatched(handler, context.target.name, stage)
        return ActionResult(
            status="done",
            summary=f"Nothing was dispatched: {said}. Start the pipeline where it runs, or by hand: "
            f"{dispatch_command(handler, context.target.name, stage)}",
            evidence=evidence,
            observations=(_accepted(False, "no request was sent to GitHub"),),
        )
    await handler.memory.remember(run_key(context.target.name), "")
    try:
        sent = await patiently(context, lambda: order(handler, github, context.target.name, stage))
        newest = await patiently(context, lambda: _newest(github, sent.workflow))
        intent = {"workflow": sent.workflow, "ref": sent.ref, "newest": newest, "at": stamp(context.clock.now())}
        await handler.memory.remember(_intent_key(context.operation_id), json.dumps(intent))
        number = await patiently(context, lambda: github.dispatch(sent.workflow, sent.ref, sent.inputs))
    except Refused as error:
        return _refused(
            f"{error.message} Nothing was started.", sent_to=dispatch_command(handler, context.target.name, stage)
        )
    except NotNow as error:
        if error.maybe_done:
            return await _after_crash(handler, context) or ActionResult(
                status="uncertain",
                summary=f"{error.message} The dispatch was sent and no new run is there (yet). Look at the workflow's "
                "runs before you send it again.",
            )
        return _refused(f"Nothing was started. {error.message}", status="failed")
    except UserError as error:
        return _refused(f"{error.message} Nothing was started.")
    run = await patiently(context, lambda: _appeared(context, github, sent.workflow, newest, number))
    return await _done(handler, context, github, sent.workflow, run)


async def check_dispatch(handler: Somas, context: ActionContext) -> ActionResult | None:
    """After a crash: a new run of the workflow is ours; none after a minute means that it was never sent."""
    return await _after_crash(handler, context)


async def _after_crash(handler: Somas, context: ActionContext) -> ActionResult | None:
    saved = await handler.memory.recall(_intent_key(context.operation_id))
    github = handler.github
    if not saved or github is None:
        return None
    intent = mapping(json.loads(saved))
    workflow, newest, at = text(intent.get("workflow")), int(intent.get("newest") or 0), instant(intent.get("at"))
    over = (at or context.clock.now()) + timedelta(seconds=APPEARS_WITHIN)
    while True:
        new = [run for run in await github.runs({"event": "workflow_dispatch"}, workflow) if run.id > newest]
        if len(new) == 1:
            return await _done(handler, context, github, workflow, new[0])
        if len(new) > 1:
            return ActionResult(
                status="uncertain",
                summary=f"{len(new)} runs of {workflow} were started by hand since the dispatch was sent; nobody can "
                f"tell which is ours: {', '.join(str(run.id) for run in new)}.",
            )
        if context.clock.now() >= over:
            return None
        await first_of(context.clock.sleep(LOOK_EVERY), context.abort.wait())
        if context.abort.is_set():
            return ActionResult(status="uncertain", summary="Cancelled before it was known whether a run began.")


async def follow(handler: Somas, context: ActionContext) -> ActionResult:
    """Say which run is followed; the step's expectation waits for its end."""
    run = await patiently(context, lambda: handler.followed(context.target.name))
    if run is None:
        return ActionResult(status="manual", summary=_no_run(handler, context.target.name))
    return ActionResult(
        status="done",
        summary=f"Follows {run.named} of {run.file} on {run.branch}.",
        observations=run_observations(run),
    )


async def report(handler: Somas, context: ActionContext) -> ActionResult:
    """How the run ended, with the job and the step that failed."""
    github = handler.github
    run = await patiently(context, lambda: handler.followed(context.target.name, fresh=True))
    if run is None or github is None:
        return ActionResult(status="manual", summary=_no_run(handler, context.target.name))
    number = run.id
    verdict = judged(run, await patiently(context, lambda: github.jobs(number)), handler.settings.dispatch.always_red)
    outcome = Observation(name="workflow_run.outcome", value=verdict.outcome, source=verdict.said)
    return ActionResult(
        status="done",
        summary=_first_letter_up(verdict.said.replace(f"run {number} ", f"{run.named} ", 1)) + ".",
        evidence="\n".join(verdict.lines),
        observations=(*run_observations(run), outcome),
    )


def run_observations(run: WorkflowRun) -> tuple[Observation, ...]:
    source = f"run {run.id} of {run.file} on GitHub"
    values = {"id": run.id, "status": run.status, "conclusion": run.conclusion or None, "url": run.url}
    return tuple(Observation(name=f"workflow_run.{name}", value=value, source=source) for name, value in values.items())


async def _done(
    handler: Somas, context: ActionContext, github: SomasGitHub, workflow: str, run: WorkflowRun | None
) -> ActionResult:
    """Accepted, and the run is known, or it is not and that is told."""
    if run is None:
        return ActionResult(
            status="done",
            summary=f"GitHub took the dispatch of {workflow}, but no new run is there after {APPEARS_WITHIN} s. "
            f"Look at {github.api.web_url}/actions/workflows/{workflow}.",
            observations=(_accepted(True, "GitHub answered 2xx"),),
        )
    remembered = {"id": run.id, "at": stamp(context.clock.now()), "operation": context.operation_id}
    await handler.memory.remember(run_key(context.target.name), json.dumps(remembered))
    return ActionResult(
        status="done",
        summary=f"GitHub took the dispatch of {workflow}: {run.named} is {run.state}. That it was taken says nothing "
        "about the stage yet.",
        observations=(_accepted(True, f"run {run.id} of {workflow}"), *run_observations(run)),
    )


def _first_letter_up(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


async def _newest(github: SomasGitHub, workflow: str) -> int:
    return max((run.id for run in await github.runs({"event": "workflow_dispatch"}, workflow)), default=0)


async def _appeared(
    context: ActionContext, github: SomasGitHub, workflow: str, newest: int, number: int
) -> WorkflowRun | None:
    """The run that was started. GitHub tells its id, or it is the one new run in the list."""
    over = context.clock.now() + timedelta(seconds=APPEARS_WITHIN)
    while True:
        if number:
            found = await github.run(number)
        else:
            listed_runs = await github.runs({"event": "workflow_dispatch"}, workflow)
            found = min((run for run in listed_runs if run.id > newest), key=lambda run: run.id, default=None)
        if found is not None or context.clock.now() >= over or context.abort.is_set():
            return found
        context.tell("the run to appear in GitHub's list", over)
        await first_of(context.clock.sleep(LOOK_EVERY), context.abort.wait())


def _refused(said: str, *, sent_to: str = "", status: Any = "refused") -> ActionResult:
    return ActionResult(
        status=status, summary=said, evidence=sent_to, observations=(_accepted(False, "GitHub did not take it"),)
    )


def _accepted(value: bool, source: str) -> Observation:
    return Observation(name="dispatch.accepted", value=value, provenance=Provenance.EXACT, source=source)


def _not_dispatched(handler: Somas, project_id: str, stage: str) -> tuple[str, str]:
    known = [
        "somas-pipeline.yml takes project_id and stage; start_stage and issue_number of the runbook are refused (422).",
        "It starts on a fresh checkout, which does not hold this state: an accepted dispatch is not a restart.",
    ]
    if stage not in STAGES_WITH_JOB:
        known.append(f"It runs no job for the stage {stage}.")
    return "GitHub is not configured", "\n".join([dispatch_command(handler, project_id, stage), "", *known])


def _no_run(handler: Somas, project_id: str) -> str:
    if handler.github is None:
        return NOT_CONFIGURED
    return (
        f"No workflow run is known for {brief(project_id, 40)}: nothing was dispatched for it, or its run is gone. "
        "Look at /somas actions list, then press Done or Skip."
    )


ACTIONS: tuple[Action, ...] = (
    Action(
        name="somas.dispatch",
        danger=Danger.CHANGE,
        help="Start the pipeline on GitHub with the inputs that its file takes",
        perform=dispatch,
        preview=preview_dispatch,
        check=check_dispatch,
    ),
    Action(
        name="somas.follow_run",
        danger=Danger.READ,
        help="Follow the workflow run that the dispatch started",
        perform=follow,
    ),
    Action(
        name="somas.report_run",
        danger=Danger.READ,
        help="Tell how the workflow run ended: the job and the step that failed",
        perform=report,
    ),
)
