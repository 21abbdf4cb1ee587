"""What ``/somas status`` and ``/somas failed`` say of all projects: what is wrong first, then the table, then where.

Pure builders. Text of files is data; it is cut, joined to one line and freed of lone surrogates, nothing else.
"""

from __future__ import annotations

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
from bot.words import counted
from handlers.somas.config import Config
from handlers.somas.decode import brief
from handlers.somas.metrics import Fleet, Metrics
from handlers.somas.phrases import ago, rate_text, troubles
from handlers.somas.stages import current_name
from handlers.somas.summary import Summary
from handlers.somas.views import ROWS, Colour, source_note

LEVELS = "Warning / critical: runs over 24 / 72 h, retries over 2 / 3, dead letters over 5 / 10, waits over 24 / 48 h."
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
    failed = [project.id for project, _ in fleet.projects if status_of(project) == "failed"]
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
    blocks.append(source_note(now, f"{counted(total, 'project')} in {root}/.somas/projects", config))
    blocks.append(Note(line(LEVELS)))
    if failed:
        blocks.append(Buttons((Button("Failed projects", "/somas failed"),)))
    return Message(f"{headline}. {said}", tuple(blocks), colour)


def failed_message(fleet: Fleet, total: int, config: Config, now: datetime, root: str) -> Message:
    """The failed projects, the latest first, with their last error and where a restart would begin.

    ``fleet`` holds at least those that have failed or cannot be read; ``total`` is how many there are in all.
    """
    failed = [(project, metrics) for project, metrics in fleet.projects if status_of(project) == "failed"]
    failed.sort(key=lambda pair: pair[0].last_failure[1] or now, reverse=True)
    unreadable = [project for project, _ in fleet.projects if project.file.condition != "ok"]
    headline = f"{len(failed)} of {counted(total, 'project')} failed" if failed else "No project failed"
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
    blocks.append(source_note(now, f"{counted(total, 'project')} in {root}/.somas/projects", config))
    return Message(headline, tuple(blocks), "bad" if failed else "warning" if unreadable else "good")


def _failed_row(project: Summary, metrics: Metrics, now: datetime) -> tuple[str, ...]:
    state = project.state
    retries = f"{metrics.retries.value or 0:g}" + ("?" if metrics.retries.mark != "exact" else "")
    return (
        project.id,
        brief(current_name(state.current_stage), 20) if state else "?",
        ago(project.last_failure[1], now),
        retries,
    )


def _failed_error(project: Summary, metrics: Metrics) -> Line:
    error, _ = project.last_failure
    count = project.letters_open
    letters = f" ({counted(count, 'dead letter')})" if count else ""
    said = Code(brief(error, 200)) if error else "no error text was recorded"
    begin = f", restart at {metrics.restart_stage}: " if metrics.restart_stage else ": "
    return line(Bold(project.id), begin, said, letters)


def _instead(project: Summary) -> str:
    state = project.state
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
        counts[status_of(project)] = counts.get(status_of(project), 0) + 1
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


def status_of(project: Summary) -> str:
    """The status that a person should go by."""
    return project.state.effective_status if project.state else "unknown"


def _fleet_row(project: Summary, metrics: Metrics) -> tuple[str, ...]:
    state = project.state
    stage = brief(current_name(state.current_stage), 20) if state and not state.finished else ""
    return project.id, metrics.level or "unknown", brief(status_of(project), 20).replace("_", " "), stage


def _why(project: Summary, metrics: Metrics) -> str:
    wrong = [each for each in troubles(project, metrics) if not each.startswith("failed at ")]
    error, _ = project.last_failure
    if status_of(project) == "failed":
        wrong.append(brief(error, 70) if error else "failed without an error text")
    return "; ".join([*wrong, *metrics.alerts])


def _urgency(project: Summary, metrics: Metrics) -> tuple[int, int, int]:
    level = {"critical": 0, "warning": 1, "ok": 2, None: 1}[metrics.level]
    return level, 0 if status_of(project) == "failed" else 1, int(project.id.removeprefix("project-"))


def _some(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
