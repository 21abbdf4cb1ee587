"""What ``/somas stage project-42 verify`` and ``/somas recovery project-42`` say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    Fields,
    Heading,
    Line,
    Message,
    Note,
    Paragraph,
    Table,
    line,
)
from handlers.somas.decode import brief, items, scalar
from handlers.somas.log_views import event_line
from handlers.somas.metrics import Metrics, resume_stage, retries_of, running_age
from handlers.somas.phrases import ago, hours_text, status_text
from handlers.somas.projects import Project
from handlers.somas.restart import next_retry
from handlers.somas.stages import STAGES, current_name
from handlers.somas.state import StageRecord
from handlers.somas.views import read_from, source_note

EVENTS = 5


def stages_message(project: Project, now: datetime) -> Message:
    """The eleven stages, and records that are none of them."""
    state = project.state
    if state is None:
        return _unknown(project, now)
    headline = f"{project.id}: {status_text(project)} at {brief(current_name(state.current_stage), 40)}"
    records = [(name, state.stage(name)) for name in STAGES]
    known = {id(record) for _, record in records}
    records += [(record.name, record) for record in state.stages.values() if id(record) not in known]
    rows = tuple(
        (
            brief(name, 20) + (f" ({brief(record.name, 20)})" if record and record.name != name else ""),
            brief(record.status, 20).replace("_", " ") if record else "no record",
            _took(record, now),
            _limit(project, name),
            f"{retries_of(project, name) or '-'}",
            brief(record.agent, 20) if record else "",
        )
        for name, record in records[:30]
    )
    blocks: list[Block] = [
        Heading(headline),
        Table(("Stage", "Status", "Time", "timeout_hours", "Retries", "Agent"), rows),
        Note(line("Retries are repeated starts in the log; retry_count in state.json is never raised upstream.")),
        source_note(now, f"{read_from(project)} in {project.directory}", project.config),
    ]
    return Message(headline, tuple(blocks))


def stage_message(project: Project, stage: str, now: datetime) -> Message:
    """One stage: where it is, how long it may take, how often it was tried, what it said and what it left."""
    state = project.state
    if state is None:
        return _unknown(project, now)
    record = state.stage(stage)
    if record is None:
        said = f"{project.id} has no record of {stage}"
        return Message(said, (Heading(said), source_note(now, read_from(project), project.config)), "warning")
    age = running_age(record, now)
    timeout = project.config.timeout(stage)
    over = age is not None and timeout is not None and age > timeout
    status = brief(record.status, 40).replace("_", " ")
    headline = f"{project.id}: {stage} is {status}" + (" and over its time" if over else "")
    fields: list[tuple[str, Line]] = [("Status", line(status))]
    if record.name != stage:
        fields.append(("Old name", line(f"recorded as {brief(record.name, 40)}")))
    fields.append(("Started", line(_when(record.started_at, now))))
    fields.append(("Time", line(f"{_took(record, now)}; timeout_hours is {_limit(project, stage)}")))
    if record.status == "completed":
        fields.append(("Completed", line(_when(record.completed_at, now))))
    fields.append(("Agent", line(brief(record.agent, 60) or "none")))
    mark = "" if project.log.condition == "ok" else " (uncertain: there is no log)"
    fields.append(("Retries", line(f"{retries_of(project, stage)} of {project.config.max_retry_attempts}{mark}")))
    letters = [letter for letter in project.letters.entries if current_name(letter.stage) == stage]
    fields.append(("Dead letters", line(f"{sum(each.open for each in letters)} open of {len(letters)}")))
    paths = [brief(path, 80) for path in items(record.raw.get("artifacts")) if isinstance(path, str)]
    if paths:
        fields.append(("Artifacts", line(", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if paths[5:] else ""))))
    taken = [checkpoint for checkpoint in state.checkpoints if current_name(checkpoint.stage) == stage]
    if taken:
        fields.append(("Checkpoint", line(f"{brief(taken[-1].id, 40)}, {brief(taken[-1].status, 20)}")))
    blocks: list[Block] = [Heading(headline)]
    if record.error:
        stale = "" if record.status == "failed" else "Left from an earlier failure: "
        blocks.append(Paragraph(line(Bold(stale or "Error: "), Code(brief(record.error, 300)))))
    blocks.append(Fields(tuple(fields)))
    events = [event for event in project.log.events if event.stage == stage][-EVENTS:]
    if events:
        blocks.append(Bullets(tuple(event_line(event, now) for event in reversed(events))))
    blocks.append(source_note(now, f"{read_from(project)} in {project.directory}", project.config))
    blocks.append(Buttons((Button("Its log", f"/somas log {project.id} --stage {stage}"),)))
    return Message(headline, tuple(blocks), "bad" if over or record.status == "failed" else "none")


@dataclass(frozen=True, slots=True)
class Held:
    """Why a restart would be refused now (empty: it would not), what to type instead, and the label on the issue.

    ``label`` as text: why nobody can tell whether it is there.
    """

    why: str
    instead: Sequence[str]
    label: bool | str


def recovery_message(project: Project, metrics: Metrics, now: datetime, held: Held) -> Message:
    """What could bring a project on again, and what stands in the way; not what recovery_info always says."""
    state = project.state
    if state is None:
        return _unknown(project, now)
    begin = metrics.restart_stage
    headline = (
        f"{project.id}: a restart begins at {begin}" if begin else f"{project.id} is finished: nothing to recover"
    )
    stage, after = resume_stage(project, state.last_checkpoint) if state.last_checkpoint else ("", "")
    retry = next_retry(project, begin) if begin else 0
    limit = project.config.max_retry_attempts
    mark = "" if metrics.retries.mark == "exact" else f" ({metrics.retries.mark}: {metrics.retries.source})"
    fields: list[tuple[str, Line]] = [
        ("Status", line(status_text(project))),
        ("Suggested stage", line(begin or "none")),
        ("Last checkpoint", line(_checkpoint(state.last_checkpoint, stage, after))),
        ("Retries used", line(f"{metrics.retries.value or 0:g} of {limit}{mark}")),
        ("The next start", line(f"retry {retry}" if retry else "a first start")),
        ("Circuit breaker", line(_breaker(project, held.label))),
        ("Automatic recovery", line("none: upstream retries nothing and resumes nothing by itself")),
    ]
    recorded = state.raw.get("recovery_info")
    if isinstance(recorded, dict):
        can, at = scalar(recorded.get("can_resume")).lower(), scalar(recorded.get("resume_from_stage"))
        said = f"can_resume {can}, resume_from_stage {at}"
        fields.append(("recovery_info says", line(brief(said, 80) + "; upstream never changes either")))
    blocks: list[Block] = [Heading(headline)]
    if held.why:
        blocks.append(Paragraph(line(Bold("In the way: "), brief(held.why, 500))))
    blocks.append(Fields(tuple(fields)))
    blocks.append(source_note(now, f"{read_from(project)} in {project.directory}", project.config))
    if held.instead:
        blocks.append(Buttons(tuple(Button(typed.partition(" ")[2], typed) for typed in held.instead[:2])))
    elif begin and not held.why:
        buttons = [Button(f"Preview at {begin}", f"/somas restart {project.id} --from {begin} --dry-run")]
        if after:
            buttons.append(Button("Preview from checkpoint", f"/somas restart {project.id} --checkpoint --dry-run"))
        blocks.append(Buttons(tuple(buttons)))
    return Message(headline, tuple(blocks), "warning" if held.why else "none")


def _breaker(project: Project, label: bool | str) -> str:
    state = project.state
    if isinstance(label, bool):
        said = f"{project.config.breaker_label} is {'on' if label else 'not on'} the issue"
    else:
        there = state is not None and project.config.breaker_label in state.labels
        said = "the label was there when the project was initialised" if there else "not known"
        said += f": {brief(label, 200)}"
    if state and state.open_breakers:
        said += f"; open in state.json: {brief(', '.join(state.open_breakers), 80)}"
    return said


def _checkpoint(id_: str, stage: str, after: str) -> str:
    if not id_:
        return "none"
    shown = brief(id_, 40)
    if not stage:
        return f"{shown}, pruned and not in the log: its stage is not known"
    return f"{shown} at {brief(stage, 40)}, " + (f"so the next stage is {after}" if after else "the last stage")


def _took(record: StageRecord | None, now: datetime) -> str:
    if record is None:
        return "-"
    if (age := running_age(record, now)) is not None:
        return f"runs for {hours_text(age.total_seconds() / 3600)}"
    if record.status == "completed" and record.started_at and record.completed_at:
        return f"took {hours_text(max(0.0, (record.completed_at - record.started_at).total_seconds() / 3600))}"
    return "-"


def _limit(project: Project, stage: str) -> str:
    timeout = project.config.timeout(stage)
    return hours_text(timeout.total_seconds() / 3600) if timeout else "not configured"


def _when(at: datetime | None, now: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC, {ago(at, now)}" if at else "never"


def _unknown(project: Project, now: datetime) -> Message:
    headline = f"{project.id}: nothing is known"
    said = f"state.json {brief(project.file.problem, 200)}, and the log does not give it back."
    buttons = Buttons((Button("What is damaged", f"/somas validate {project.id}"),))
    return Message(headline, (Heading(headline), Paragraph(line(said)), _at(project, now), buttons), "warning")


def _at(project: Project, now: datetime) -> Note:
    return source_note(now, f"read from {project.directory}", project.config)
