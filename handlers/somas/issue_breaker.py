"""``/somas breaker status project-42``: the label ``somas:circuit-breaker``, the only switch that upstream reads.

What it stops and what not is told wherever it is shown, because the word promises more. The counts are those that
upstream's workflows make: over the oldest thirty comments, case-sensitive.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.errors import UserError
from bot.github_api import GitHubApi
from bot.handler import Action, ActionContext, ActionResult, Danger, Observation, Preview
from bot.messages import Message, Paragraph, line
from bot.words import counted
from handlers.somas.decode import brief, clean, instant, mapping, text
from handlers.somas.github import SomasGitHub, patiently
from handlers.somas.workflow_runs import WorkflowRun, run_line

if TYPE_CHECKING:  # the handler asks this module for its facts
    from handlers.somas.handler import Somas

OLDEST = 30  # comments that upstream looks at
READ = 1000  # characters of a comment with a marker
MOST_INVOCATIONS, MOST_STAGES, MOST_AN_HOUR = 20, 30, 10  # hard-coded upstream; the last one stands in limits.yml only
STOPS = (
    "It stops new starts from events of its issue in four workflows: the pipeline, the Python runner, the LLM pipeline "
    "and the orchestrator."
)
STOPS_NOT = (
    "It stops nothing that is queued or running, no start by hand (workflow_dispatch), no re-run of an old run, and no "
    "other workflow. Setting it starts one run of somas-pipeline.yml that ends red."
)
RESTARTS_NOTHING = (
    "Taking it away starts nothing. A project begins again only by a restart or by setting a trigger label anew."
)
# Anybody may comment: bounded, so that no text of blanks keeps the bot busy.
_MARKER = re.compile(r"<!--[ \t]{0,9}SOMAS_CIRCUIT_BREAKER:(.{0,500}?)-->", re.DOTALL)
_HIDDEN = re.compile(r"<!--.{0,500}?-->|\u200b", re.DOTALL)
_ESCAPED = re.compile(r"\\([^\w\s])")  # as the bot's own comments have it, so that nothing in them is Markdown
_REASON = "manual_trip"  # upstream cannot find a reason with brackets or blanks again


@dataclass(frozen=True, slots=True)
class Counts:
    """What upstream's workflows would count now."""

    invocations: int
    stages: int
    last_hour: int

    @property
    def trips_again(self) -> str:
        """Why the next start would set the label at once; empty when it would not."""
        if self.invocations >= MOST_INVOCATIONS:
            return f"{self.invocations} agent requests in the oldest {OLDEST} comments; {MOST_INVOCATIONS} trip it"
        if self.stages >= MOST_STAGES:
            return f"{self.stages} stage comments in the oldest {OLDEST} comments; {MOST_STAGES} trip the pipeline"
        return ""


@dataclass(frozen=True, slots=True)
class Happened:
    """The label was set or taken away, or a marker was written."""

    at: datetime | None
    what: str
    by: str  # who; of a marker also what the comment says


@dataclass(frozen=True, slots=True)
class LabelBreaker:
    """The breaker of one issue."""

    issue: int
    is_set: bool
    since: datetime | None
    reason: str  # of the last marker, with who wrote it and what else the comment says
    counts: Counts
    history: tuple[Happened, ...]  # newest first
    title: str = ""


def counted_comments(comments: Sequence[Mapping[str, Any]], now: datetime) -> Counts:
    """As the workflows count. GitHub lists comments oldest first."""
    oldest = [text(comment.get("body")) for comment in comments[:OLDEST]]
    recent = [
        comment for comment in comments if (at := instant(comment.get("created_at"))) and now - at < timedelta(hours=1)
    ]
    return Counts(
        sum("@copilot somas-" in body for body in oldest),
        sum("Stage" in body and ("Started" in body or "Complete" in body) for body in oldest),
        len(recent),
    )


def history(events: Iterable[Mapping[str, Any]], comments: Iterable[Mapping[str, Any]], label: str) -> list[Happened]:
    """The label's events and the markers, newest first."""
    found = []
    for event in events:
        if event.get("event") in ("labeled", "unlabeled") and mapping(event.get("label")).get("name") == label:
            what = "label set" if event["event"] == "labeled" else "label taken away"
            found.append(Happened(instant(event.get("created_at")), what, _login(event.get("actor"))))
    for comment in comments:
        body = text(comment.get("body"))
        reasons = _MARKER.findall(body)
        said = brief(_ESCAPED.sub(r"\1", _HIDDEN.sub("", body[:READ])), 200) if reasons else ""
        by = _login(comment.get("user")) + (f": {said}" if said else "")
        for reason in reasons:
            what = f"marker: {brief(reason, 60) or 'no reason'}"
            found.append(Happened(instant(comment.get("created_at")), what, by))
    return sorted(found, key=lambda each: each.at.timestamp() if each.at else 0.0, reverse=True)


async def read_breaker(github: SomasGitHub, issue: int, label: str, now: datetime) -> LabelBreaker:
    """Everything that GitHub knows of it. Raises ``UserError`` when there is no such issue."""
    found = await github.issue(issue)
    if found is None:
        raise UserError(f"{github.repository} has no issue #{issue}, so there is no label to look at.")
    comments = await github.comments(issue)
    happened = history(await github.issue_events(issue), comments, label)
    is_set = label in [text(mapping(each).get("name")) for each in found.get("labels") or ()]
    since = next((each.at for each in happened if each.what == "label set"), None) if is_set else None
    marker = next((each for each in happened if each.what.startswith("marker: ")), None)
    reason = f"{marker.what.removeprefix('marker: ')}, by {marker.by}" if marker else ""
    return LabelBreaker(
        issue, is_set, since, reason, counted_comments(comments, now), tuple(happened), text(found.get("title"))
    )


# -- actions


async def preview_trip(handler: Somas, context: ActionContext) -> Preview:
    github, label = handler.on_github(), await handler.breaker_label()
    issue = await handler.issue_number(context.target.name)
    found = await patiently(context, lambda: read_breaker(github, issue, label, context.clock.now()))
    if found.is_set:
        raise UserError(f"The label {label} is on issue #{issue} already: the breaker is set.")
    return Preview(
        summary=f"Set the label {label} on issue #{issue} of {github.repository} and write one comment that says why. "
        f"{STOPS} {STOPS_NOT}",
        detail=f"POST /repos/{github.repository}/issues/{issue}/labels\n"
        f'{{"labels": ["{label}"]}}\n\nReason: {brief(context.reason, 300)}',
    )


async def trip(handler: Somas, context: ActionContext) -> ActionResult:
    github, label = handler.on_github(), await handler.breaker_label()
    issue = await handler.issue_number(context.target.name)
    await patiently(context, lambda: github.add_label(issue, label))
    marker = f"<!-- SOMAS_CIRCUIT_BREAKER:{_REASON} -->"
    by = clean(handler.services.name(context.actor))
    said = f"The circuit breaker of this issue was set by {by}: {brief(context.reason, 500)}"
    await say_once(github, context, issue, said, marker)
    return await _now(handler, context, github, issue, label, wanted=True)


async def preview_reset(handler: Somas, context: ActionContext) -> Preview:
    github, label = handler.on_github(), await handler.breaker_label()
    issue = await handler.issue_number(context.target.name)
    found = await patiently(context, lambda: read_breaker(github, issue, label, context.clock.now()))
    if not found.is_set:
        raise UserError(f"The label {label} is not on issue #{issue}: the breaker is not set. {RESTARTS_NOTHING}")
    said = f"Take the label {label} away from issue #{issue} of {github.repository}. {RESTARTS_NOTHING}"
    if why := found.counts.trips_again:
        said += f" MIND: the next start trips it again at once: {why}. Delete some of those comments first."
    return Preview(
        summary=said,
        detail=f"DELETE /repos/{github.repository}/issues/{issue}/labels/{label}",
    )


async def reset(handler: Somas, context: ActionContext) -> ActionResult:
    github, label = handler.on_github(), await handler.breaker_label()
    issue = await handler.issue_number(context.target.name)
    await patiently(context, lambda: github.remove_label(issue, label))
    by = clean(handler.services.name(context.actor))
    said = f"The circuit breaker of this issue was reset by {by}: {brief(context.reason, 500)}"
    await say_once(github, context, issue, said)
    return await _now(handler, context, github, issue, label, wanted=False)


async def _now(
    handler: Somas, context: ActionContext, github: SomasGitHub, issue: int, label: str, *, wanted: bool
) -> ActionResult:
    found = await patiently(context, lambda: read_breaker(github, issue, label, context.clock.now()))
    observed = Observation(name="breaker.label", value=found.is_set, source=f"labels of issue #{issue} on GitHub")
    said = f"The label {label} is {'on' if found.is_set else 'not on'} issue #{issue}. "
    said += STOPS_NOT if found.is_set else RESTARTS_NOTHING
    if not found.is_set and (why := found.counts.trips_again):
        said += f" The next start trips it again at once: {why}."
    return ActionResult(status="done" if found.is_set is wanted else "failed", summary=said, observations=(observed,))


async def preview_cancel_runs(handler: Somas, context: ActionContext) -> Preview:
    github = handler.github
    if github is None:
        return Preview(summary=f"Ask you: {_by_hand(context.target.name)}")
    runs = await patiently(context, lambda: runs_of_project(handler, github, context.target.name))
    now = context.clock.now()
    if not runs:
        return Preview(summary=f"Nothing to cancel: no run of {context.target.name} is under way.")
    return Preview(
        summary=f"Cancel {counted(len(runs), 'run')} of {context.target.name}. A run does not name its issue: these "
        "were matched by branch, by the issue's title, and as the one that a restart has dispatched.",
        detail="\n".join(run_line(run, now) for run in runs),
    )


async def cancel_runs(handler: Somas, context: ActionContext) -> ActionResult:
    """Those that are under way now; they end a little later."""
    github = handler.github
    if github is None:
        return ActionResult(status="manual", summary=_by_hand(context.target.name))
    runs = await patiently(context, lambda: runs_of_project(handler, github, context.target.name))
    asked = [run for run in runs if await patiently(context, partial(github.cancel, run.id))]
    now = context.clock.now()
    said = f"{counted(len(asked), 'run')} asked to end" if runs else f"No run of {context.target.name} was under way"
    return ActionResult(status="done", summary=f"{said}.", evidence="\n".join(run_line(run, now) for run in runs))


def _by_hand(project_id: str) -> str:
    return (
        f"GitHub is not configured: look yourself whether a workflow run of {project_id} is under way, cancel it, then "
        "press Done."
    )


async def runs_of_project(
    handler: Somas, github: SomasGitHub, project_id: str, *, ended_too: bool = False
) -> list[WorkflowRun]:
    """Runs whose branch is the project's, whose title is its issue's, and the one that a restart has dispatched.

    Those under way; with ``ended_too`` those among the newest hundred. The branch comes from a file: were it the
    default branch, everybody's runs would be taken for the project's.
    """
    project = await handler.project(project_id)
    branch = project.state.branch if project.state else ""
    if branch in ("", await github.default_branch()):
        branch = f"somas/{project_id}"
    issue = await github.issue(await handler.issue_number(project_id))
    title = text(mapping(issue).get("title"))
    dispatched = await handler.followed(project_id)
    among = await github.runs({"per_page": "100"}) if ended_too else await github.open_runs()
    return [
        run
        for run in among
        if run.branch == branch
        or (title and run.event in ("issues", "issue_comment") and run.title == title)
        or (dispatched is not None and run.id == dispatched.id)
    ]


# -- comments


async def say_once(
    github: SomasGitHub, context: ActionContext, issue: int, said: str | Message, hidden: str = ""
) -> str:
    """Comment on an issue, once for each operation however often it is asked; the comment's address."""
    mark = operation_mark(context.operation_id)
    for comment in await patiently(context, lambda: github.comments(issue)):
        if mark in text(comment.get("body")):
            return text(comment.get("html_url"))
    body = "\n\n".join(part for part in (drawn(github.api, said), hidden, mark) if part)
    return await patiently(context, lambda: github.comment(issue, body))


def drawn(api: GitHubApi, said: str | Message) -> str:
    """As Markdown in which nothing notifies, and nothing looks like what upstream's workflows count."""
    return api.draw(said if isinstance(said, Message) else Message(said, (Paragraph(line(said)),)))


def operation_mark(operation_id: str) -> str:
    """Hidden in what an operation wrote, so that it is found again."""
    digest = hashlib.sha256(operation_id.encode("utf-8", "replace")).hexdigest()[:16]
    return f"<!-- opsbot:op={digest} -->"


def _login(user: Any) -> str:
    return brief(text(mapping(user).get("login")), 40) or "somebody"


async def check_again(handler: Somas, context: ActionContext) -> ActionResult | None:
    """After a crash: a label can be set twice, and the comment is looked for before it is written."""
    return None


ACTIONS: tuple[Action, ...] = (
    Action(
        name="somas.breaker_trip",
        danger=Danger.CHANGE,
        help="Set the circuit breaker label on the project's issue, with a comment that says why",
        perform=trip,
        preview=preview_trip,
        check=check_again,
    ),
    Action(
        name="somas.breaker_reset",
        danger=Danger.CHANGE,
        help="Take the circuit breaker label away from the project's issue",
        perform=reset,
        preview=preview_reset,
        check=check_again,
    ),
    Action(
        name="somas.cancel_runs",
        danger=Danger.CHANGE,
        help="Cancel the workflow runs of one project that have not ended",
        perform=cancel_runs,
        preview=preview_cancel_runs,
        check=check_again,
    ),
)
