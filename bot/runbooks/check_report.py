"""The table that ``opsbot runbook check`` prints, and the same problems as annotations of a GitHub workflow."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bot.runbooks.durations import format_duration
from bot.runbooks.expectations import And, Expectation, NoExpectation, Question
from bot.runbooks.lint import CheckedRunbook, Report
from bot.runbooks.model import Clause, Step

DEFAULT_WIDTH = 120


def render(report: Report, width: int = DEFAULT_WIDTH) -> str:
    """Plain text, at most ``width`` cells wide except for long file names: a table per runbook, then the problems."""
    out = StringIO()
    console = Console(file=out, width=max(width, 60), no_color=True, highlight=False, emoji=False, markup=False)
    for checked in report.runbooks:
        _runbook(console, checked)
    for problem in report.problems:
        console.print(Text(str(problem)), soft_wrap=True)
        console.print()
    console.print(_summary(report))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def github(report: Report) -> str:
    """A line per problem that GitHub shows beside the document: ``::error file=…,line=…,col=…::…``."""
    lines = []
    for problem in report.problems:
        place = [f"file={escaped_property(problem.source)}"]
        if problem.line:
            place.append(f"line={problem.line}")
        if problem.column:
            place.append(f"col={problem.column}")
            place.append(f"endColumn={problem.column + max(1, problem.length)}")
        lines.append(f"::{problem.level} {','.join(place)},title=runbook check::{escaped_message(problem.message)}")
    return "\n".join([*lines, _summary(report)]) + "\n"


def _runbook(console: Console, checked: CheckedRunbook) -> None:
    runbook = checked.runbook
    console.print(Text(f"{runbook.id}: {runbook.title}", style="bold"))
    about = [f"{runbook.source}:{runbook.line}", runbook.product or "no product: every step is manual"]
    if runbook.target_kind:
        about.append(f"on a {runbook.target_kind}")
    about.append(f"severity {runbook.severity}")
    if runbook.total:
        sla = f", SLA {format_duration(runbook.sla)}" if runbook.sla else ""
        then = f", then {runbook.on_overdue}" if runbook.on_overdue != "ask" else ""
        about.append(f"total {format_duration(runbook.total)}{sla}{then}")
    if runbook.inputs:
        about.append("inputs " + ", ".join(f"{n}={v}" if v else n for n, v in runbook.inputs.items()))
    console.print(Text(" · ".join(about)))
    table = Table(expand=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column("Step", no_wrap=True)
    table.add_column("Does", overflow="fold", ratio=3)
    table.add_column("Danger", no_wrap=True)
    table.add_column("Only if", overflow="fold", ratio=2)
    table.add_column("Expects", overflow="fold", ratio=5)
    table.add_column("Budget", no_wrap=True, justify="right")
    for row in checked.steps:
        table.add_row(
            Text(row.step.number),
            Text(row.does),
            Text(row.action.danger.value if row.action else ""),
            Text(row.step.condition or ""),
            Text(_expects(row.expectation)),
            Text(_budget(row.step)),
        )
    console.print(table)
    for clause in runbook.clauses:
        console.print(Text(f"Escalation: when {clause.said}: {_does(clause)}"), soft_wrap=True)
    console.print()


def _does(clause: Clause) -> str:
    """``page L2; attach step 1, handle.health()``."""
    parts = [
        f"page {clause.page}" if clause.page else "",
        f'say "{clause.tell}"' if clause.tell else "",
        f"attach {', '.join(clause.attach)}" if clause.attach else "",
        f'file an issue "{clause.issue.title}"' if clause.issue else "",
    ]
    return "; ".join(part for part in parts if part)


def _budget(step: Step) -> str:
    """``5min``, ``5min, then stop``."""
    if step.budget is None:
        return "none"
    return format_duration(step.budget) + (f", then {step.on_overdue}" if step.on_overdue != "ask" else "")


def _expects(tree: Expectation) -> str:
    match tree:
        case NoExpectation():
            return "nothing"
        case Question(text, _):
            return f"a person's answer: {text}"
        case And(parts) if any(isinstance(part, Question) for part in parts):
            return "; ".join(_expects(part) for part in parts)
        case _:
            return str(tree)


def _summary(report: Report) -> str:
    def count(number: int, word: str) -> str:
        return f"{number} {word}" + ("" if number == 1 else "s")

    return ", ".join(
        (
            count(len(report.runbooks), "runbook"),
            count(len(report.errors), "error"),
            count(len(report.warnings), "warning"),
        )
    )


def escaped_message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    return escaped_message(text).replace(":", "%3A").replace(",", "%2C")
