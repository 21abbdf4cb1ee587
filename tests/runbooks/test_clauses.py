"""``escalation:`` in the front matter: what it compiles to, and what ``runbook check`` says when it cannot be right."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.runbooks.check_report import render
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.lint import Report, check
from tests.runbooks.products import KETTLE

DOCUMENT = """\
---
product: kettle
target: kettle
danger: read
inputs:
  cups: 2
escalation:
{clauses}
---

## K-001: No tea

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Look: `look()` | `lid.open == false` | 30s |
| 2a | Pour | | 30s |

**Escalation**: If it fails twice, call the cook with a photograph. If there is no tea in 10min, complain.
{total}"""
TOTAL = "**Total estimated duration**: 1min.\n"


def checked(folder: Path, clauses: str, total: str = TOTAL) -> Report:
    (folder / "tea.md").write_text(DOCUMENT.format(clauses=clauses, total=total))
    return check(RunbookLibrary([KETTLE], [folder]))


def test_a_clause_of_each_kind(tmp_path: Path) -> None:
    report = checked(
        tmp_path,
        "- when: step 1 or 2a fails twice\n  page: L2\n  attach: [step 1, look(), water.litres]\n"
        "- when: step 2a is not done in 10min\n  issue:\n    title: '{target} makes no tea'\n    labels: [bug]\n"
        "- when: step 1 shows 'lid'\n  tell: Close the lid.\n"
        "- when: the run starts\n  page: cook\n"
        "- when: the run fails\n  page: cook\n"
        "- when: the run is over its budget\n  page: cook\n"
        "- when: nobody answers\n  page: team\n",
    )
    assert report.problems == ()
    clauses = report.runbooks[0].runbook.clauses
    assert [clause.kind for clause in clauses] == [
        "fails",
        "not done",
        "shows",
        "starts",
        "run fails",
        "over budget",
        "nobody answers",
    ]
    assert (clauses[0].steps, clauses[0].times, clauses[0].attach) == (
        ("1", "2a"),
        2,
        ("step 1", "look()", "water.litres"),
    )
    assert clauses[1].within == timedelta(minutes=10)
    assert clauses[1].issue is not None and clauses[1].issue.labels == ("bug",)
    printed = render(report, 200)
    assert "Escalation: when step 1 or 2a fails twice: page L2; attach step 1, look(), water.litres\n" in printed
    assert 'Escalation: when step 2a is not done in 10min: file an issue "{target} makes no tea"\n' in printed


@pytest.mark.parametrize(
    ("clauses", "line", "said"),
    [
        (
            "- when: the restart fails\n  page: L2",
            8,
            'escalation.0.when: "the restart fails" is nothing that the bot can see; write step 4 fails, or ',
        ),
        ("- when: step 3 fails\n  page: L2", 8, "escalation: there is no step 3; there are 1, 2a"),
        ("- when: step 1 fails\n  attach: [step 9]", 8, "escalation: there is no step 9; there are 1, 2a"),
        ("- when: step 1 fails", 8, "says when, but not what is done; add page, tell, attach or issue"),
        ("- when: step 1 fails\n  pge: L2", 9, "there is no such key; there are attach, issue, page, tell, when"),
        ("- when: step 1 fails\n  issue: {labels: [bug]}", 9, "Field required"),
        (
            "- when: step 1 fails\n  attach:\n  - kettle.lok()",
            10,
            "kettle has no action kettle.lok(); did you mean kettle.look()?",
        ),
        (
            "- when: step 1 fails\n  attach:\n  - step 1\n  - kettle.heat(level=3)",
            11,
            "kettle.heat() is change; only what reads can be attached",
        ),
        (
            "- when: step 1 fails\n  attach: [water.liters]",
            9,
            "kettle has no fact water.liters; did you mean water.litres?",
        ),
        ("- when: step 1 fails\n  attach: ['ls -la']", 8, '"ls -la" cannot be attached; write step 3, an action that'),
    ],
)
def test_what_cannot_be_right_is_said_with_its_line(tmp_path: Path, clauses: str, line: int, said: str) -> None:
    report = checked(tmp_path, clauses)
    (problem,) = report.errors
    assert said in problem.message
    assert problem.line == line
    assert report.exit_code == 1


def test_a_budget_that_does_not_exist_is_never_over(tmp_path: Path) -> None:
    (problem,) = checked(tmp_path, "- when: the run is over its budget\n  page: L2", total="").errors
    assert "the run has no budget that it could be over" in problem.message
