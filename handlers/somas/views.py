"""What ``/somas status`` and ``/somas failed`` say: what is wrong first, then the table, then where it was read.

Pure builders. Text of files is data; it is cut, joined to one line and freed of lone surrogates, nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    Dialog,
    Fields,
    Heading,
    Input,
    Line,
    Message,
    Note,
    Paragraph,
    Table,
    When,
    line,
)
from bot.words import counted
from handlers.somas.config import Config
from handlers.somas.decode import brief
from handlers.somas.metrics import Fleet, Metrics, measure, resume_stage
from handlers.somas.phrases import (
    ago,
    backup_text,
    hours_text,
    last_failure,
    letters_text,
    marked,
    rate_text,
    stage_text,
    status_text,
    troubles,
)
from handlers.somas.projects import Project
from handlers.somas.stages import current_name
from handlers.somas.state import DeadLetter

ROWS = 25
LEVELS = "Warning / critical: runs over 24 / 72 h, retries over 2 / 3, dead letters over 5 / 10, waits over 24 / 48 h."
Colour = Literal["none", "running", "good", "warning", "bad"]
_STATUSES = ("failed", "in_progress", "retrying", "waiting", "paused", "initializing", "completed", "cancelled")


def fleet_message(fleet: Fleet, config: Config, now: datetime, root: str) -> Message:
    """All projects: levels, counts by status, what needs somebody, error rate, what is damaged."""
    total = len(fleet.projects)
    if not total:
        empty = "SOMAS has no projects here"
        return Message(empty, (Heading(empty), Note(line("Looked in ", Code(f"{root}/.somas/projects"), "."))), "none")
    wrong = sorted(
        ((project, metrics) for project, metrics in fleet.projects if troubles(project, metrics) or metrics.alerts),
        key=lambda pair: _urgency(*pair),
    )
    critical, warning = fleet.count("critical"), fleet.count("warning")
    failed = [project.id for project, _ in fleet.projects if _status(project) == "failed"]
    colour: Colour = "bad" if critical else "warning" if warning or wrong else "good"
    headline = f"SOMAS: {critical} critical, {warning} warning, {fleet.count('ok')} ok"
    if unknown := fleet.count(None):
        headline += f", {unknown} unknown"
    said = _fleet_sentence(fleet, failed)
    blocks: list[Block] = [Heading(headline), Paragraph(line(said))]
    blocks.append(Fields(tuple(_fleet_fields(fleet, config, failed))))
    if wrong:
        shown = wrong[:ROWS]
        blocks.append(Table(("Project", "Level", "Status", "Stage"), tuple(_fleet_row(*pair) for pair in shown)))
        blocks.append(Bullets(tuple(line(Bold(pair[0].id), f": {_why(*pair)}") for pair in shown)))
        if len(wrong) > ROWS:
            blocks.append(Note(line(f"and {len(wrong) - ROWS} more; /somas status <project> shows one.")))
    bad = {project.id for project, _ in wrong}
    fine = [project.id for project, _ in fleet.projects if project.id not in bad]
    if fine:
        names = ", ".join(fine[:ROWS]) + (f" and {len(fine) - ROWS} more" if len(fine) > ROWS else "")
        blocks.append(Note(line(f"Nothing wrong: {names}.")))
    blocks.append(_source(now, f"{counted(total, 'project')} in {root}/.somas/projects", config))
    blocks.append(Note(line(LEVELS)))
    if failed:
        blocks.append(Buttons((Button("Failed projects", "/somas failed"),)))
    return Message(f"{headline}. {said}", tuple(blocks), colour)


def project_message(project: Project, now: datetime) -> Message:
    """One project: what is wrong, where it is, how it got there, what a restart would do."""
    metrics = measure(project, now)
    wrong = troubles(project, metrics)
    headline = f"{project.id}: {_headline(project, metrics, wrong, now)}"
    blocks: list[Block] = [Heading(headline)]
    error, when = last_failure(project)
    if error:
        blocks.append(Paragraph(line(Bold(f"Last error, {ago(when, now)}: "), Code(brief(error, 300)))))
    if wrong[1:]:
        blocks.append(Bullets(tuple(line(each) for each in wrong[1:])))
    blocks.extend(Paragraph(line(Bold("Damaged: "), f"{brief(damage, 300)}.")) for damage in project.damage)
    if project.never_advanced:
        done = sum(event.type == "agent_completed" for event in project.log.epoch())
        blocks.append(
            Paragraph(
                line(
                    f"{done} agents finished according to the log, but state.json never advanced: "
                    "this is what the upstream runner leaves."
                )
            )
        )
    blocks.append(Fields(tuple(_project_fields(project, metrics, now))))
    letters = [letter for letter in project.letters.entries if letter.open][-5:]
    if letters:
        blocks.append(Paragraph(line(Bold("Last dead letters"))))
        blocks.append(Bullets(tuple(_letter(letter) for letter in reversed(letters))))
    if project.backups:
        blocks.append(Paragraph(line(Bold("Backups"))))
        blocks.append(
            Bullets(
                tuple(
                    line(Code(brief(backup.name, 80)), f": {brief(backup_text(project, backup, now), 300)}")
                    for backup in project.backups[-8:]
                )
            )
        )
    blocks.append(_source(now, f"{_read_from(project)} in {project.directory}", project.config))
    buttons = _buttons(project, metrics)
    if buttons:
        blocks.append(Buttons(buttons))
    return Message(headline, tuple(blocks), _colour(metrics, wrong))


def failed_message(fleet: Fleet, config: Config, now: datetime, root: str) -> Message:
    """The failed projects, the latest first, with their last error and where a restart would begin."""
    failed = [(project, metrics) for project, metrics in fleet.projects if _status(project) == "failed"]
    failed.sort(key=lambda pair: last_failure(pair[0])[1] or now, reverse=True)
    unreadable = [project for project, _ in fleet.projects if project.file.condition != "ok"]
    headline = f"{len(failed)} of {counted(len(fleet.projects), 'project')} failed" if failed else "No project failed"
    if unreadable:
        headline += f", {len(unreadable)} cannot be read"
    blocks: list[Block] = [Heading(headline)]
    if failed:
        shown = failed[:ROWS]
        blocks.append(
            Table(
                ("Project", "Failed at", "When", "Retries"),
                tuple(_failed_row(project, metrics, now) for project, metrics in shown),
                frozenset({"Retries"}),
            )
        )
        blocks.append(Bullets(tuple(_failed_error(*pair) for pair in shown)))
        if len(failed) > ROWS:
            blocks.append(Note(line(f"and {len(failed) - ROWS} more.")))
    if unreadable:
        blocks.append(
            Paragraph(line(Bold("Cannot be read: "), "whether these failed is told by the log, or by nothing."))
        )
        blocks.append(
            Bullets(
                tuple(
                    line(Bold(project.id), f": state.json {brief(project.file.problem, 200)}. {_instead(project)}")
                    for project in unreadable[:ROWS]
                )
            )
        )
    if failed:
        blocks.append(
            Note(line("See first what a restart would change: ", Code(f"/somas restart {failed[0][0].id} --dry-run")))
        )
    blocks.append(_source(now, f"{counted(len(fleet.projects), 'project')} in {root}/.somas/projects", config))
    return Message(headline, tuple(blocks), "bad" if failed else "warning" if unreadable else "good")


def _failed_row(project: Project, metrics: Metrics, now: datetime) -> tuple[str, ...]:
    state = project.state
    retries = f"{metrics.retries.value or 0:g}" + ("?" if metrics.retries.mark != "exact" else "")
    return (
        project.id,
        brief(current_name(state.current_stage), 20) if state else "?",
        ago(last_failure(project)[1], now),
        retries,
    )


def _failed_error(project: Project, metrics: Metrics) -> Line:
    error, _ = last_failure(project)
    count = project.letters.open
    letters = f" ({counted(count, 'dead letter')})" if count else ""
    said = Code(brief(error, 200)) if error else "no error text was recorded"
    begin = f", restart at {metrics.restart_stage}: " if metrics.restart_stage else ": "
    return line(Bold(project.id), begin, said, letters)


def _instead(project: Project) -> str:
    state = project.rebuilt
    if state is None:
        return "The log does not give it back."
    return f"The log gives: {brief(state.status, 40).replace('_', ' ')} at {brief(state.current_stage, 40)}."


def _fleet_sentence(fleet: Fleet, failed: list[str]) -> str:
    total = len(fleet.projects)
    stuck = [project.id for project, metrics in fleet.projects if metrics.stuck]
    parts = [
        f"{len(failed)} of {counted(total, 'project')} failed"
        if failed
        else f"None of {counted(total, 'project')} failed"
    ]
    parts.append(f"{len(stuck)} stuck" if stuck else "none stuck")
    return ", ".join(parts) + f", {counted(fleet.open_dead_letters, 'open dead letter')}."


def _fleet_fields(fleet: Fleet, config: Config, failed: list[str]) -> list[tuple[str, Line]]:
    counts: dict[str, int] = {}
    for project, _ in fleet.projects:
        counts[_status(project)] = counts.get(_status(project), 0) + 1
    known = [name for name in _STATUSES if name in counts]
    order = known + sorted(name for name in counts if name not in known)
    fields = [("Status", line(", ".join(f"{counts[name]} {brief(name, 30).replace('_', ' ')}" for name in order)))]
    if failed:
        fields.append(("Failed", line(_some(failed))))
    if stuck := [project.id for project, metrics in fleet.projects if metrics.stuck]:
        fields.append(("Stuck", line(_some(stuck))))
    if never := [project.id for project, metrics in fleet.projects if metrics.never_started]:
        fields.append(("Never started", line(_some(never))))
    if damaged := [project.id for project, _ in fleet.projects if project.damage]:
        fields.append(("Damaged files", line(_some(damaged))))
    estimated = any(metrics.dead_letters.mark != "exact" for _, metrics in fleet.projects)
    letters = f"{fleet.open_dead_letters} open of {fleet.total_dead_letters}" + (
        ", partly estimated" if estimated else ""
    )
    fields.append(("Dead letters", line(letters)))
    limit = config.error_rate_alert
    over = (
        f", above {limit:g} %"
        if limit and fleet.last_day.percent is not None and fleet.last_day.percent > limit
        else ""
    )
    fields.append(("Error rate, 24 h", line(rate_text(fleet.last_day) + over)))
    without = sum(metrics.error_rate is None for _, metrics in fleet.projects)
    note = f", not counting {counted(without, 'project')} without a log" if without else ""
    fields.append(("Error rate, all time", line(rate_text(fleet.all_time) + note)))
    return fields


def _project_fields(project: Project, metrics: Metrics, now: datetime) -> list[tuple[str, Line]]:
    state = project.state
    rebuilt = "" if project.file.state else " (rebuilt from the log)" if state else ""
    fields: list[tuple[str, Line]] = [
        ("Status", line(status_text(project) + rebuilt)),
        ("Stage", line(stage_text(project, now))),
        ("Level", line(metrics.level or "unknown")),
    ]
    if metrics.duration.value is None:
        fields.append(("Pipeline", line(f"unknown: {metrics.duration.source}")))
    else:
        done = ", finished" if state and state.finished else ""
        fields.append(("Pipeline", line(hours_text(metrics.duration.value) + done + marked(metrics.duration))))
    fields.append(("Retries", line(_retries(metrics))))
    fields.append(("Dead letters", line(_letters(project, metrics))))
    if metrics.wait.value is not None:
        since = f"for {hours_text(metrics.wait.value)}{marked(metrics.wait)}"
        fields.append(("Waits for a person", line(since)))
    fields.append(("Error rate", line(rate_text(metrics.error_rate))))
    if metrics.alerts:
        fields.append(("Over config.yml", line(", ".join(metrics.alerts))))
    fields.append(("A restart begins at", line(metrics.restart_stage or ("nothing: finished" if state else "unknown"))))
    fields.append(("Checkpoint", line(_checkpoint(project))))
    if state and state.labels:
        fields.append(("Labels when initialised", line(brief(", ".join(state.labels), 200))))
    if state and state.custom_labels:
        pairs = ", ".join(f"{key}={value}" for key, value in list(state.custom_labels.items())[:5])
        fields.append(("Custom labels", line(brief(pairs, 200))))
    if project.log.title:
        fields.append(("Title", line(brief(project.log.title, 150))))
    if state and state.issue_number:
        fields.append(("Issue", line(f"{state.issue_number}, branch {brief(state.branch, 80)}")))
    return fields


def _retries(metrics: Metrics) -> str:
    if metrics.retries.value is None:
        return "unknown"
    if metrics.retries.mark != "exact":
        return f"uncertain: there is no log; state.json says {metrics.retries.value:g}, which upstream never raises"
    if not metrics.retries.value:
        return "none"
    count = f"{metrics.retries.value:g} of {metrics.retries_stage}{marked(metrics.retries)}"
    return f"{count}; counted from {metrics.retries.source}"


def _letters(project: Project, metrics: Metrics) -> str:
    if metrics.dead_letters.value is None:
        return f"unknown: {metrics.dead_letters.source}"
    said = f"{metrics.dead_letters.value:g} open of {metrics.dead_letters_total}"
    if metrics.dead_letters.mark != "exact":
        said = f"about {metrics.dead_letters.value:g}"
    types = letters_text([letter for letter in project.letters.entries if letter.open])
    return said + marked(metrics.dead_letters) + (f"; {types}" if types else "")


def _checkpoint(project: Project) -> str:
    state = project.state
    if state is None or not state.last_checkpoint:
        return "none"
    stage, after = resume_stage(project, state.last_checkpoint)
    shown = brief(state.last_checkpoint, 40)
    if not stage:
        return f"{shown}, which was pruned: its stage is not known"
    return f"{shown} at {brief(stage, 40)}" + (f", resumes at {after}" if after else ", the last stage")


def _headline(project: Project, metrics: Metrics, wrong: list[str], now: datetime) -> str:
    state = project.state
    if wrong:
        return wrong[0]
    if state is None:
        return "unknown"
    if state.finished:
        return status_text(project)
    if state.status == "initializing" and metrics.duration.value is not None:
        return f"initialized {hours_text(metrics.duration.value)} ago, not started yet"
    return f"{status_text(project)} at {stage_text(project, now)}"


def _buttons(project: Project, metrics: Metrics) -> tuple[Button, ...]:
    state = project.state
    if project.file.condition != "ok":
        return (Button("Preview a full restart", f"/somas restart {project.id} --full --dry-run"),)
    if state is None or not metrics.restart_stage or not (state.status == "failed" or metrics.stuck):
        return ()
    command = f"/somas restart {project.id} --from {metrics.restart_stage}"
    ask = Dialog("Restart", "Restart", inputs=(Input("reason", "Why", optional=True),))
    return (
        Button(f"Restart at {metrics.restart_stage}", command, "primary", ask),
        Button("Preview", f"{command} --dry-run"),
    )


def _source(now: datetime, said: str, config: Config) -> Note:
    parts = line(f"{said[:1].upper()}{said[1:]}, ", When(now, "date_time"), ".")
    if config.problems:
        parts += line(" " + brief(". ".join(config.problems), 300) + ".")
    return Note(parts)


def _read_from(project: Project) -> str:
    if project.source == "unknown":
        return "nothing usable was found"
    return "read from state.json" if project.source == "state.json" else project.source


def _status(project: Project) -> str:
    return project.state.effective_status if project.state else "unknown"


def _fleet_row(project: Project, metrics: Metrics) -> tuple[str, ...]:
    state = project.state
    stage = brief(current_name(state.current_stage), 20) if state and not state.finished else ""
    return project.id, metrics.level or "unknown", brief(_status(project), 20).replace("_", " "), stage


def _letter(letter: DeadLetter) -> Line:
    at = f"{letter.at:%m-%d %H:%M} UTC" if letter.at else "at an unknown time"
    said = brief(f"{letter.error_type}: {letter.message}", 160)
    return line(f"{at}, {brief(current_name(letter.stage), 20)}: ", Code(said))


def _why(project: Project, metrics: Metrics) -> str:
    wrong = [each for each in troubles(project, metrics) if not each.startswith("failed at ")]
    error, _ = last_failure(project)
    if _status(project) == "failed":
        wrong.append(brief(error, 70) if error else "failed without an error text")
    return "; ".join([*wrong, *metrics.alerts])


def _urgency(project: Project, metrics: Metrics) -> tuple[int, int, int]:
    level = {"critical": 0, "warning": 1, "ok": 2, None: 1}[metrics.level]
    return level, 0 if _status(project) == "failed" else 1, int(project.id.removeprefix("project-"))


def _colour(metrics: Metrics, wrong: list[str]) -> Colour:
    if metrics.level == "critical" or (wrong and wrong[0].startswith("failed")):
        return "bad"
    return "warning" if wrong or metrics.level is None else "good"


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
