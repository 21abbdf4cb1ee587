"""What ``/somas health`` and ``/somas diagnose`` say: the runbook's diagnostic block with right numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Fields,
    Heading,
    Line,
    Message,
    Paragraph,
    Table,
    line,
)
from bot.words import counted
from handlers.somas.config import Config
from handlers.somas.decode import brief
from handlers.somas.diagnosis import Diagnosis
from handlers.somas.fleet_views import status_of
from handlers.somas.log_views import event_line
from handlers.somas.metrics import Fleet, Metrics
from handlers.somas.phrases import marked, rate_text, stage_text, status_text, troubles
from handlers.somas.projects import Project
from handlers.somas.summary import Summary
from handlers.somas.tail import Tail
from handlers.somas.validate import Report
from handlers.somas.views import ROWS, read_from, source_note

MOST_BUTTONS = 3


def health_message(
    project: Project, summary: Summary, metrics: Metrics, report: Report, last: Tail, now: datetime
) -> Message:
    """One project: its three files, where it is, its dead letters and what happened last."""
    wrong = troubles(summary, metrics)
    headline = f"{project.id}: {wrong[0] if wrong else 'nothing wrong'}"
    files = tuple(
        (name, *_file(name, condition, problem, report))
        for name, condition, problem in (
            ("state.json", project.file.condition, project.file.problem),
            ("dead_letters.json", project.letters.condition, project.letters.problem),
            ("transitions.jsonl", summary.log.condition, summary.log.problem),
        )
    )
    letters = metrics.dead_letters
    count = "unknown" if letters.value is None else f"{letters.value:g} open of {metrics.dead_letters_total}"
    fields: list[tuple[str, Line]] = [
        ("Status", line(status_text(project) + ("" if project.file.state else " (rebuilt)" if project.state else ""))),
        ("Stage", line(stage_text(project, now))),
        ("Level", line(metrics.level or "unknown")),
        ("Dead letters", line(count + marked(letters))),
        ("Error rate", line(rate_text(metrics.error_rate))),
    ]
    blocks: list[Block] = [Heading(headline), Fields(tuple(fields)), Table(("File", "State", "Findings"), files)]
    if wrong[1:]:
        blocks.append(Bullets(tuple(line(each) for each in wrong[1:])))
    if last.events:
        blocks.append(Paragraph(line(Bold(f"The last {counted(len(last.events), 'event')}"))))
        blocks.append(Bullets(tuple(event_line(event, now) for event in last.events)))
    blocks.append(source_note(now, f"read from {project.directory}", project.config))
    blocks.append(Buttons((Button("Diagnose", f"/somas diagnose {project.id}"),)))
    return Message(headline, tuple(blocks), "bad" if metrics.level == "critical" or wrong else "good")


def _file(name: str, condition: str, problem: str, report: Report) -> tuple[str, str]:
    found = [each for each in report.findings if each.file == name]
    errors, warnings = (sum(each.severity == kind for each in found) for kind in ("error", "warning"))
    counts = ", ".join(counted(count, noun) for count, noun in ((errors, "error"), (warnings, "warning")) if count)
    return (condition if condition == "ok" else brief(problem, 60)), counts or "none"


def fleet_health_message(
    fleet: Fleet, config: Config, problems: Sequence[str], watch: str, now: datetime, root: str
) -> Message:
    """Whether SOMAS's files can be worked with at all, and which projects' cannot."""
    damaged = [project for project, _ in fleet.projects if project.damage]
    states = sum(project.file.condition != "ok" for project, _ in fleet.projects)
    lost = [project.id for project, _ in fleet.projects if project.state is None]
    headline = f"{counted(len(fleet.projects), 'project')}, {len(damaged)} with damaged files"
    failed = sum(status_of(project) == "failed" for project, _ in fleet.projects)
    stuck = sum(metrics.stuck is not None for _, metrics in fleet.projects)
    fields: list[tuple[str, Line]] = [
        (
            "Levels",
            line(f"{fleet.count('critical')} critical, {fleet.count('warning')} warning, {fleet.count('ok')} ok"),
        ),
        ("Failed, stuck", line(f"{failed} failed, {stuck} stuck")),
        ("Dead letters", line(f"{fleet.open_dead_letters} open of {fleet.total_dead_letters}")),
        ("Error rate, 24 h", line(rate_text(fleet.last_day))),
        ("Unreadable state.json", line(f"{states}, of which {len(lost)} cannot be rebuilt")),
        ("Alerts", line("on" if config.alerts else "off: monitoring.alerts.enabled is false")),
        ("Changes", line(watch)),
    ]
    blocks: list[Block] = [Heading(headline), Fields(tuple(fields))]
    if problems:
        blocks.append(Bullets(tuple(line(brief(each, 300)) for each in problems)))
    if damaged:
        said = tuple(line(Bold(p.id), f": {brief('; '.join(p.damage), 200)}") for p in damaged[:ROWS])
        blocks.append(Bullets(said))
        if len(damaged) > ROWS:
            blocks.append(Paragraph(line(f"and {len(damaged) - ROWS} more.")))
    blocks.append(source_note(now, f"{counted(len(fleet.projects), 'project')} in {root}/.somas/projects", config))
    return Message(headline, tuple(blocks), "bad" if lost or problems else "warning" if damaged else "good")


def diagnosis_message(project: Project, found: Sequence[Diagnosis], now: datetime) -> Message:
    """The five answers, and a button for the runbook that fits best."""
    there = [each for each in found if each.found]
    headline = f"{project.id}: " + (", ".join(each.name.lower() for each in there) if there else "nothing found")
    words = {True: "found", False: "not found", None: "cannot tell"}
    blocks: list[Block] = [Heading(headline)]
    blocks.append(Bullets(tuple(line(Bold(f"{each.name}: "), f"{words[each.found]}. {each.said}") for each in found)))
    blocks.append(source_note(now, f"{read_from(project)} in {project.directory}", project.config))
    offered = [each for each in there if each.command][:MOST_BUTTONS]
    if offered:
        blocks.append(
            Buttons(
                tuple(
                    Button(each.label, each.command, "primary" if index == 0 else "default")
                    for index, each in enumerate(offered)
                )
            )
        )
    unknown = any(each.found is None for each in found)
    return Message(headline, tuple(blocks), "bad" if there else "warning" if unknown else "good")
