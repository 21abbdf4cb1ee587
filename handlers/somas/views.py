"""What ``/somas status project-42`` says: what is wrong first, then the numbers, then where they were read.

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
    When,
    line,
)
from handlers.somas.config import Config
from handlers.somas.decode import brief
from handlers.somas.metrics import Metrics, resume_stage, weigh
from handlers.somas.phrases import (
    ago,
    backup_text,
    hours_text,
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
from handlers.somas.summary import summarise

ROWS = 25
Colour = Literal["none", "running", "good", "warning", "bad"]


def project_message(project: Project, now: datetime) -> Message:
    """One project: what is wrong, where it is, how it got there, what a restart would do."""
    summary = summarise(project)
    metrics = weigh(summary, project.config, now)
    wrong = troubles(summary, metrics)
    headline = f"{project.id}: {_headline(project, metrics, wrong, now)}"
    blocks: list[Block] = [Heading(headline)]
    error, when = summary.last_failure
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
    blocks.append(source_note(now, f"{read_from(project)} in {project.directory}", project.config))
    buttons = _buttons(project, metrics)
    if buttons:
        blocks.append(Buttons(buttons))
    return Message(headline, tuple(blocks), _colour(metrics, wrong))


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
        full = Button("Preview a full restart", f"/somas restart {project.id} --full --dry-run")
        see = Button("Reconstruct: see the diff", f"/somas reconstruct {project.id} --dry-run")
        return (see, full) if project.rebuilt else (full,)
    if state is None or not metrics.restart_stage or not (state.status == "failed" or metrics.stuck):
        return ()
    command = f"/somas restart {project.id} --from {metrics.restart_stage}"
    ask = Dialog("Restart", "Restart", inputs=(Input("reason", "Why", optional=True),))
    return (
        Button(f"Restart at {metrics.restart_stage}", command, "primary", ask),
        Button("Preview", f"{command} --dry-run"),
    )


def source_note(now: datetime, said: str, config: Config) -> Note:
    parts = line(f"{said[:1].upper()}{said[1:]}, ", When(now, "date_time"), ".")
    if config.problems:
        parts += line(" " + brief(". ".join(config.problems), 300) + ".")
    return Note(parts)


def read_from(project: Project) -> str:
    if project.source == "unknown":
        return "nothing usable was found"
    return "read from state.json" if project.source == "state.json" else project.source


def _letter(letter: DeadLetter) -> Line:
    at = f"{letter.at:%m-%d %H:%M} UTC" if letter.at else "at an unknown time"
    said = brief(f"{letter.error_type}: {letter.message}", 160)
    return line(f"{at}, {brief(current_name(letter.stage), 20)}: ", Code(said))


def _colour(metrics: Metrics, wrong: list[str]) -> Colour:
    if metrics.level == "critical" or (wrong and wrong[0].startswith("failed")):
        return "bad"
    return "warning" if wrong or metrics.level is None else "good"
