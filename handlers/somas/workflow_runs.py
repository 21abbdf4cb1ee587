"""``/somas actions list``: a run of a workflow as GitHub tells it, and what its jobs say about how it ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from bot.words import duration
from handlers.somas.decode import brief, instant, items, mapping, text

# Every status that is not the end. GitHub filters by one at a time.
OPEN = ("queued", "in_progress", "waiting", "pending", "requested")
Outcome = Literal["running", "succeeded", "failed", "cancelled"]
_RED = ("failure", "timed_out", "startup_failure", "action_required")


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """``conclusion`` is empty until it has ended."""

    id: int
    workflow_id: int
    file: str  # somas-pipeline.yml
    title: str
    branch: str
    event: str
    status: str
    conclusion: str
    actor: str
    created_at: datetime | None
    updated_at: datetime | None
    url: str

    @property
    def ended(self) -> bool:
        return self.status == "completed"

    @property
    def named(self) -> str:
        """``run 1000055 (https://github.com/acme/somas/actions/runs/1000055)``: surfaces make it a link."""
        return f"run {self.id} ({self.url})" if self.url else f"run {self.id}"

    @property
    def state(self) -> str:
        """``in progress``, ``ended: failure``."""
        return f"ended: {self.conclusion or 'unknown'}" if self.ended else self.status.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended, in one word and in a sentence; ``lines`` tell every job."""

    outcome: Outcome
    said: str
    lines: tuple[str, ...]


def run_of(raw: Any) -> WorkflowRun:
    """One run of GitHub's list."""
    data = mapping(raw)
    path = text(data.get("path")).partition("@")[0]
    return WorkflowRun(
        id=_number(data.get("id")),
        workflow_id=_number(data.get("workflow_id")),
        file=path.rsplit("/", 1)[-1],
        title=text(data.get("display_title")),
        branch=text(data.get("head_branch")),
        event=text(data.get("event")),
        status=text(data.get("status")),
        conclusion=text(data.get("conclusion")),
        actor=text(mapping(data.get("actor")).get("login")),
        created_at=instant(data.get("created_at")),
        updated_at=instant(data.get("updated_at")),
        url=text(data.get("html_url")),
    )


def judged(run: WorkflowRun, jobs: Sequence[Mapping[str, Any]], always_red: Sequence[str]) -> Verdict:
    """What the end of a run proves.

    ``always_red`` names jobs that fail whatever happens: a run in which only these failed has succeeded. A red run
    without a job that failed (a file that GitHub cannot read) has failed.
    """
    lines = tuple(_job_line(job) for job in jobs)
    if not run.ended:
        return Verdict("running", f"run {run.id} of {run.file} is {run.state}", lines)
    took = _took(run)
    if run.conclusion in ("cancelled", "skipped", "stale"):
        return Verdict("cancelled", f"run {run.id} of {run.file} was {run.conclusion}{took}", lines)
    red = [job for job in jobs if text(job.get("conclusion")) in _RED]
    telling = [job for job in red if text(job.get("name")) not in always_red]
    if run.conclusion not in _RED or (red and not telling):
        said = f"run {run.id} of {run.file} ended {run.conclusion}{took}"
        if red:
            said += f"; only {', '.join(brief(text(job.get('name')), 60) for job in red)} failed, which always does"
        return Verdict("succeeded", said, lines)
    said = f"run {run.id} of {run.file} ended {run.conclusion}{took}"
    if telling:
        said += ": " + "; ".join(failure_text(job) for job in telling[:3])
    return Verdict("failed", said, lines)


def failure_text(job: Mapping[str, Any]) -> str:
    """``job verify failed at step "Run tests"``."""
    steps = [mapping(step) for step in items(job.get("steps"))]
    broken = next((text(step.get("name")) for step in steps if text(step.get("conclusion")) in _RED), "")
    name = brief(text(job.get("name")), 60) or "without a name"
    return f"job {name} failed" + (f' at step "{brief(broken, 80)}"' if broken else "")


def run_line(run: WorkflowRun, now: datetime) -> str:
    """``1000042 somas-pipeline.yml, in progress, branch main, issues by alice, 3 min ago: Webhook relay``."""
    age = f", {duration(now - run.created_at)} ago" if run.created_at else ""
    title = f": {brief(run.title, 60)}" if run.title else ""
    by = f"{run.event} by {brief(run.actor, 40)}" if run.actor else run.event
    return f"{run.id} {run.file}, {run.state}, branch {brief(run.branch, 60) or 'none'}, {by}{age}{title}"


def _job_line(job: Mapping[str, Any]) -> str:
    state = text(job.get("conclusion")) or text(job.get("status")).replace("_", " ")
    broken = f", {failure_text(job)}" if state in _RED else ""
    return f"{brief(text(job.get('name')), 60)}: {state}{broken}"


def _took(run: WorkflowRun) -> str:
    if run.created_at and run.updated_at:
        return f" after {duration(run.updated_at - run.created_at)}"
    return ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
