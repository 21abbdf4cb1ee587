"""What ``/somas validate`` and ``/somas backups`` say. Pure builders; text of files is data."""

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
    Heading,
    Line,
    Message,
    Note,
    Paragraph,
    Table,
    When,
    line,
)
from bot.words import counted
from handlers.somas.backups import Copy
from handlers.somas.decode import brief
from handlers.somas.finding import Finding
from handlers.somas.phrases import ago, backup_text
from handlers.somas.projects import Project
from handlers.somas.validate import Report

ROWS = 20
_LABELS = {
    "reconstruct": "Reconstruct: see the diff",
    "restore": "Restore: see the diff",
    "restart": "Preview a full restart",
    "repair": "Repair",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything that is kept of a project: copies of its files, folders of its earlier lives."""

    copies: Sequence[Copy]
    archives: Sequence[str]


def report_message(report: Report, project: Project, now: datetime) -> Message:
    """One project: each finding with its line, then what mends it."""
    headline = f"{report.project_id}: {_headline(report)}"
    blocks: list[Block] = [Heading(headline)]
    shown = report.findings[:ROWS]
    if shown:
        blocks.append(Bullets(tuple(_finding(each) for each in shown)))
    if len(report.findings) > ROWS:
        blocks.append(Note(line(f"and {len(report.findings) - ROWS} more findings.")))
    if not report.findings:
        blocks.append(
            Paragraph(
                line("Each file is what SOMAS writes, state.json says what the log leads to, and the numbers fit.")
            )
        )
    if report.fixes:
        blocks.append(Paragraph(line(Bold("What mends it, each with a preview first:"))))
        blocks.append(Bullets(tuple(line(Code(fix)) for fix in report.fixes)))
    blocks.append(Note(line(f"Read without a lock from {project.directory}, ", When(now, "date_time"), ".")))
    buttons = tuple(Button(_label(fix), _shown_first(fix)) for fix in report.fixes[:3])
    if buttons:
        blocks.append(Buttons(buttons))
    return Message(
        headline,
        tuple(blocks),
        "good" if report.valid and not report.findings else "bad" if not report.valid else "warning",
    )


def reports_message(reports: Sequence[Report], now: datetime, root: str) -> Message:
    """All projects: those with findings, the worst first."""
    wrong = [report for report in reports if report.count("error") or report.count("warning")]
    wrong.sort(key=lambda report: (-report.count("error"), -report.count("warning")))
    broken = sum(not report.valid for report in reports)
    headline = (
        f"{broken} of {counted(len(reports), 'project')} have errors in their files"
        if broken
        else f"The files of {counted(len(reports), 'project')} are valid"
    )
    blocks: list[Block] = [Heading(headline)]
    if wrong:
        rows = tuple(
            (report.project_id, str(report.count("error")), str(report.count("warning"))) for report in wrong[:ROWS]
        )
        blocks.append(Table(("Project", "Errors", "Warnings"), rows, frozenset({"Errors", "Warnings"})))
        blocks.append(
            Bullets(
                tuple(line(Bold(report.project_id), ": ", *_finding(report.findings[0])) for report in wrong[:ROWS])
            )
        )
        if len(wrong) > ROWS:
            blocks.append(Note(line(f"and {len(wrong) - ROWS} more projects.")))
        blocks.append(Buttons((Button(f"All about {wrong[0].project_id}", f"/somas validate {wrong[0].project_id}"),)))
    blocks.append(Note(line(f"Looked in {root}/.somas/projects, ", When(now, "date_time"), ".")))
    return Message(headline, tuple(blocks), "bad" if broken else "warning" if wrong else "good")


def backups_message(project: Project, kept: Kept, now: datetime) -> Message:
    """Every copy, what it holds, how old it is and what restoring it would lose; what holds the newest first."""
    copies = kept.copies
    usable = [copy for copy in copies if copy.kind == "state.json" and not copy.problem]
    headline = f"{project.id}: {counted(len(copies), 'copy', 'copies')}, {len(usable)} of a usable state"
    if not copies:
        headline = f"{project.id}: no copies"
    blocks: list[Block] = [Heading(headline)]
    if not copies:
        blocks.append(Paragraph(line("SOMAS makes no backups. This bot makes one before each change, and with:")))
        blocks.append(Bullets((line(Code(f"/somas backup {project.id}")),)))
    else:
        blocks.append(Bullets(tuple(_copy(project, copy, now) for copy in copies[:ROWS])))
    if len(copies) > ROWS:
        blocks.append(Note(line(f"and {len(copies) - ROWS} older ones.")))
    if kept.archives:
        blocks.append(Paragraph(line(Bold("Earlier lives, whole folders"))))
        blocks.append(Bullets(tuple(line(Code(brief(name, 120))) for name in kept.archives[-8:])))
    blocks.append(Note(line(f"Looked in {project.directory}, ", When(now, "date_time"), ".")))
    buttons = [Button("Make one now", f"/somas backup {project.id}")]
    return Message(headline, (*blocks, Buttons(tuple(buttons))), "none")


def _headline(report: Report) -> str:
    if not report.findings:
        return "the files are valid"
    parts = [counted(report.count(kind), kind) for kind in ("error", "warning", "note") if report.count(kind)]
    return ", ".join(parts)


def _finding(each: Finding) -> Line:
    said = line(Bold(each.where), f" ({each.severity}): {brief(each.problem, 600)}")
    return (*said, *line(": ", Code(brief(each.shown, 120)))) if each.shown else said


def _copy(project: Project, copy: Copy, now: datetime) -> Line:
    age = ago(copy.written, now)
    if copy.problem:
        return line(Code(copy.name), f", written {age}: not usable, it {brief(copy.problem, 160)}")
    backup = next((each for each in project.backups if each.name == copy.name), None)
    holds = backup_text(project, backup, now) if backup else copy.holds
    return line(Code(copy.name), f", written {age}: {brief(holds, 300)}")


def _label(fix: str) -> str:
    verb = fix.split()[1]
    return "Tell the log" if "--record" in fix else _LABELS.get(verb, fix)


def _shown_first(fix: str) -> str:
    """What replaces a state is looked at first; a repair shows its preview by itself."""
    return fix if fix.split()[1] == "repair" else f"{fix} --dry-run"
