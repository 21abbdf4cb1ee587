"""``/somas gates project-42``: what the quality gates are, and what the checks left behind, when they did.

Upstream writes neither report as its documents describe it: ``validation_report.json`` is written by nothing, and
``test_results.json`` is Markdown in spite of its name. Whatever is there is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bot.messages import Block, Bold, Bullets, Button, Buttons, CodeBlock, Heading, Line, Message, Note, Paragraph, line
from bot.words import counted
from handlers.somas.config import Config
from handlers.somas.decode import brief, clean, dumps, items, loads, mapping, text
from handlers.somas.metrics import retries_of
from handlers.somas.projects import Project
from handlers.somas.stages import STAGES, current_name
from handlers.somas.state import read_bytes
from handlers.somas.views import source_note

REPORTS = ("validation_report.json", "test_results.json")
LARGEST = 1024 * 1024  # bytes of a report
SHOWN = 1500  # characters of one


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A file of ``artifacts/``: decoded when it is JSON, else its text; ``problem`` when neither."""

    name: str
    value: Any = None
    text: str = ""
    problem: str = ""


def read_reports(directory: Path) -> list[CheckReport]:
    """Both, in the project's artifacts. Blocking, never raises."""
    return [_read(directory / "artifacts" / name) for name in REPORTS]


def _read(path: Path) -> CheckReport:
    data = read_bytes(path, LARGEST, follow=False)
    if data is None:
        never = ": nothing of SOMAS writes it" if path.name == REPORTS[0] else ""
        return CheckReport(path.name, problem=f"not produced{never}")
    if isinstance(data, str):
        return CheckReport(path.name, problem=data)
    try:
        return CheckReport(path.name, value=loads(data))
    except ValueError:
        return CheckReport(path.name, text=clean(data.decode("utf-8", "replace")))


def gates_of(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """``quality_gates`` of config.yml, by stage."""
    return {
        current_name(str(stage)): [each for each in items(checks) if isinstance(each, str)]
        for stage, checks in mapping(config.get("quality_gates")).items()
    }


def gates_message(
    gates: Mapping[str, list[str]], config: Config, now: datetime, project: Project | None, found: list[CheckReport]
) -> Message:
    """The gates of all stages; with a project that of its stage, how often it failed and what the checks left. Pure."""
    stage = current_name(project.state.current_stage) if project and project.state else ""
    shown = dict(gates) if project is None else {stage: gates[stage]} if stage in gates else {}
    if project is None:
        headline = f"Quality gates of {counted(len(gates), 'stage')}"
    elif stage in gates:
        tries = retries_of(project, stage)
        headline = (
            f"{project.id}: {stage} has {counted(len(gates[stage]), 'gate')}, tried again {counted(tries, 'time')}"
        )
    else:
        headline = f"{project.id}: {brief(stage, 40) or 'its stage'} has no quality gate"
    blocks: list[Block] = [Heading(headline)]
    for name, checks in shown.items():
        blocks.append(Paragraph(line(Bold(brief(name, 40)))))
        blocks.append(Bullets(tuple(line(brief(check, 200)) for check in checks[:20])))
    having = [name for name in STAGES if name in gates]
    if having:
        blocks.append(Note(line(f"Stages with gates: {', '.join(having)}.")))
    if not gates:
        blocks.append(Paragraph(line("config.yml has no quality_gates.")))
    for report in found:
        blocks += _report(report)
    blocks.append(
        Note(
            line(
                "The gates are sentences for agents: no code checks them. To change one, change .somas/config.yml by a "
                "pull request that says why."
            )
        )
    )
    blocks.append(source_note(now, "read from quality_gates in .somas/config.yml", config))
    if project and project.state and project.state.status == "failed":
        blocks.append(Buttons((Button("Quality gates", f"/runs start quality-gate {project.id}"),)))
    return Message(headline, tuple(blocks))


def _report(report: CheckReport) -> list[Block]:
    if report.problem:
        return [Paragraph(line(Bold(f"{report.name}: "), f"{report.problem}."))]
    if report.value is None:
        said = "is not JSON in spite of its name; it begins"
        return [Paragraph(line(Bold(f"{report.name} "), said)), CodeBlock(report.text[:SHOWN])]
    said = _numbers(report.value)
    told: Line = line(Bold(f"{report.name}: "), said or "is JSON of another shape than the documented one")
    return [Paragraph(told), CodeBlock(clean(dumps(report.value))[:SHOWN], "json")]


def _numbers(value: Any) -> str:
    """``3 of 40 failed, coverage 71.4 %`` of the shape that upstream's agents are asked for."""
    results = mapping(mapping(value).get("test_results"))
    total, failed, coverage = (results.get(key) for key in ("total", "failed", "coverage_percent"))
    if not isinstance(total, int) or not isinstance(failed, int):
        return text(mapping(value).get("status"))[:100]
    return f"{failed} of {total} failed" + (f", coverage {coverage:g} %" if isinstance(coverage, int | float) else "")
