"""What ``/somas metrics``, ``/somas stuck`` and ``/somas projects`` say: numbers with limits, mark and source.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    Heading,
    Line,
    Message,
    Note,
    Paragraph,
    Table,
    line,
)
from bot.words import counted
from handlers.somas.config import Config
from handlers.somas.decode import brief
from handlers.somas.fleet_views import status_of
from handlers.somas.metrics import Fleet, Measure, Metrics
from handlers.somas.phrases import ago, hours_text, rate_text, troubles
from handlers.somas.stages import current_name
from handlers.somas.summary import Summary
from handlers.somas.views import ROWS, Colour, source_note

Pair = tuple[Summary, Metrics]
_NUMBERS = (
    ("duration", "Pipeline duration", "24 / 72 h"),
    ("retries", "Stage retries", "2 / 3"),
    ("dead_letters", "Open dead letters", "5 / 10"),
    ("wait", "Human wait", "24 / 48 h"),
)


def metrics_message(project: Summary, metrics: Metrics, config: Config, now: datetime, directory: str) -> Message:
    """Every number of one project, how far it can be trusted, and where it comes from."""
    headline = f"{project.id}: {metrics.level or 'level unknown'}"
    rows = [
        (title, _value(name, getattr(metrics, name)), limits, getattr(metrics, name).level or "-")
        for name, title, limits in _NUMBERS
    ]
    limit = f"{config.error_rate_alert:g} % (config)" if config.error_rate_alert else "none"
    rate = metrics.error_rate
    finished = bool(project.state and project.state.finished)
    over = rate and rate.percent is not None and config.error_rate_alert and rate.percent > config.error_rate_alert
    rows.append(("Error rate", rate_text(rate), limit, "-" if rate is None or finished else "over" if over else "ok"))
    blocks: list[Block] = [Heading(headline), Table(("Metric", "Value", "Warning / critical", "Level"), tuple(rows))]
    blocks.append(Bullets(tuple(_where(title, getattr(metrics, name)) for name, title, _ in _NUMBERS)))
    if metrics.alerts:
        blocks.append(Paragraph(line(Bold("Over config.yml: "), ", ".join(metrics.alerts), ".")))
    blocks.append(
        Note(
            line(
                "Not used, because upstream never changes them: metrics.retry_count, metrics.total_duration_seconds, "
                "attempt_number. error_recorded is not counted: it doubles each failure."
            )
        )
    )
    blocks.append(source_note(now, f"read from {directory}", config))
    return Message(f"{headline}. {rows[0][1]}, {rows[1][1]} retries", tuple(blocks), colour_of([metrics]))


def fleet_metrics_message(fleet: Fleet, config: Config, now: datetime, root: str) -> Message:
    """How many projects are at which level of each number, the worst by name, and how many numbers are no facts."""
    total = len(fleet.projects)
    headline = f"{counted(total, 'project')}: {fleet.count('critical')} critical, {fleet.count('warning')} warning"
    rows, worst, marks = [], [], []
    for name, title, limits in _NUMBERS:
        found = [(project, getattr(metrics, name)) for project, metrics in fleet.projects]
        levels = [measure.level for _, measure in found]
        rows.append((title, limits, *(str(levels.count(level)) for level in ("critical", "warning", "ok", None))))
        for mark in ("uncertain", "estimated"):
            some = [project.id for project, measure in found if measure.mark == mark and measure.value is not None]
            if some:
                marks.append(line(Bold(f"{title}, {mark}: "), f"{len(some)} ({brief(', '.join(some[:5]), 120)})"))
        bad = [(project, measure) for project, measure in found if measure.level in ("critical", "warning")]
        bad.sort(key=lambda pair: -pair[1].value)
        if bad:
            named = ", ".join(f"{project.id} {_value(name, measure)}" for project, measure in bad[:5])
            worst.append(line(Bold(f"{title}: "), named + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")))
    blocks: list[Block] = [
        Heading(headline),
        Table(("Metric", "Warning / critical", "Critical", "Warning", "Ok", "No level"), tuple(rows)),
    ]
    if worst:
        blocks.append(Bullets(tuple(worst)))
    limit = f"; config.yml warns over {config.error_rate_alert:g} %" if config.error_rate_alert else ""
    blocks.append(
        Paragraph(
            line(
                Bold("Error rate: "),
                f"{rate_text(fleet.last_day)} in the last 24 h, {rate_text(fleet.all_time)} of all time{limit}.",
            )
        )
    )
    alerts = sum(bool(metrics.alerts) for _, metrics in fleet.projects)
    if alerts:
        blocks.append(Paragraph(line(f"{counted(alerts, 'project')} over a threshold of config.yml itself.")))
    if marks:
        blocks.append(Paragraph(line(Bold("Not exact"))))
        blocks.append(Bullets(tuple(marks)))
    blocks.append(source_note(now, f"{counted(total, 'project')} in {root}/.somas/projects", config))
    return Message(headline, tuple(blocks), colour_of([metrics for _, metrics in fleet.projects]))


def _value(name: str, measure: Measure) -> str:
    if measure.value is None:
        return "does not apply" if name == "wait" else "unknown"
    shown = hours_text(measure.value) if name in ("duration", "wait") else f"{measure.value:g}"
    return shown if measure.mark == "exact" else f"{shown} ({measure.mark})"


def _where(title: str, measure: Measure) -> Line:
    return line(Bold(f"{title}: "), f"{measure.mark if measure.value is not None else 'no number'}, {measure.source}")


def stuck_message(fleet: Fleet, config: Config, now: datetime, root: str) -> Message:
    """Stages over their time, and projects that never began. Who waits for a person is not stuck."""
    over = [(project, metrics) for project, metrics in fleet.projects if metrics.stuck]
    over.sort(key=lambda pair: pair[1].stuck.over if pair[1].stuck else timedelta(0), reverse=True)
    never = [(project, metrics) for project, metrics in fleet.projects if metrics.never_started]
    headline = f"{counted(len(over), 'project')} stuck, {len(never)} never started"
    blocks: list[Block] = [Heading(headline)]
    if over:
        rows = tuple(
            (project.id, stuck.stage, hours_text(_hours(stuck.age)), hours_text(_hours(stuck.timeout)))
            for project, metrics in over[:ROWS]
            if (stuck := metrics.stuck)
        )
        blocks.append(Table(("Project", "Stage", "Runs for", "timeout_hours"), rows))
    if never:
        names = ", ".join(f"{p.id} ({hours_text(m.duration.value or 0)})" for p, m in never[:ROWS])
        blocks.append(Paragraph(line(Bold("Never started: "), names + _more(len(never)) + ".")))
    if len(over) > ROWS:
        blocks.append(Note(line(f"and {len(over) - ROWS} more.")))
    waiting = sum(bool(p.state and p.state.status in ("waiting", "paused")) for p, _ in fleet.projects)
    if waiting:
        blocks.append(Note(line(f"{counted(waiting, 'project')} waiting for a person: not stuck, whatever their age.")))
    blocks.append(source_note(now, f"{counted(len(fleet.projects), 'project')} in {root}/.somas/projects", config))
    first = (over or never)[:2]
    if first:
        buttons = [Button(f"Diagnose {p.id}", f"/somas diagnose {p.id}") for p, _ in first]
        blocks.append(Buttons(tuple(buttons)))
    return Message(headline, tuple(blocks), "bad" if over else "warning" if never else "good")


def projects_message(chosen: Sequence[Pair], of: int, what: str, config: Config, now: datetime, root: str) -> Message:
    """A table of projects, the one with the latest entry in its log first; what cannot be read before all."""
    ordered = sorted(chosen, key=lambda pair: (pair[0].state is not None, -_last(pair[0]), _number(pair[0].id)))
    headline = f"{counted(len(ordered), 'project')}{what}" + (f" of {of}" if len(ordered) != of else "")
    rows = tuple(
        (
            project.id,
            brief(status_of(project), 20).replace("_", " "),
            brief(current_name(project.state.current_stage), 20) if project.state else "?",
            metrics.level or "unknown",
            ago(project.last_event_at or (project.state.updated_at if project.state else None), now),
        )
        for project, metrics in ordered[:ROWS]
    )
    blocks: list[Block] = [Heading(headline)]
    if rows:
        blocks.append(Table(("Project", "Status", "Stage", "Level", "Last event"), rows))
    if len(ordered) > ROWS:
        blocks.append(
            Note(line(f"and {len(ordered) - ROWS} more. Choose with ", Code("--status"), " or ", Code("--stage"), "."))
        )
    damaged = [project for project, _ in ordered if project.file.condition != "ok"]
    if damaged:
        said = tuple(line(Bold(p.id), f": state.json {brief(p.file.problem, 160)}") for p in damaged[:ROWS])
        blocks.append(Bullets(said))
    blocks.append(source_note(now, f"folders project-<number> in {root}/.somas/projects, archives left out", config))
    return Message(headline, tuple(blocks), "warning" if damaged else "none")


def recovery_fleet_message(fleet: Fleet, config: Config, now: datetime, root: str) -> Message:
    """Where a restart of each project that needs one would begin."""
    wanting = [
        (project, metrics)
        for project, metrics in fleet.projects
        if status_of(project) == "failed" or metrics.stuck or metrics.never_started or project.file.condition != "ok"
    ]
    headline = f"{counted(len(wanting), 'project')} that cannot go on by themselves"
    rows = tuple(
        (
            project.id,
            brief((troubles(project, metrics) or [status_of(project)])[0], 50),
            metrics.restart_stage or "-",
            f"{metrics.retries.value or 0:g} of {config.max_retry_attempts}",
        )
        for project, metrics in wanting[:ROWS]
    )
    blocks: list[Block] = [Heading(headline)]
    if rows:
        blocks.append(Table(("Project", "Trouble", "A restart begins at", "Retries"), rows))
        more = f" and {len(wanting) - ROWS} more" if len(wanting) > ROWS else ""
        blocks.append(Note(line(f"Nothing recovers by itself, whatever recovery_info says{more}.")))
    blocks.append(source_note(now, f"{counted(len(fleet.projects), 'project')} in {root}/.somas/projects", config))
    return Message(headline, tuple(blocks), "warning" if wanting else "good")


def colour_of(metrics: Sequence[Metrics]) -> Colour:
    levels = {each.level for each in metrics}
    return "bad" if "critical" in levels else "warning" if levels & {"warning", None} else "good"


def _hours(span: timedelta) -> float:
    return span.total_seconds() / 3600


def _more(count: int) -> str:
    return f" and {count - ROWS} more" if count > ROWS else ""


def _last(project: Summary) -> float:
    at = project.last_event_at or (project.state.updated_at if project.state else None)
    return at.timestamp() if at else 0.0


def _number(name: str) -> int:
    return int(name.removeprefix("project-"))
