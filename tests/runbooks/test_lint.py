"""``opsbot runbook check``: what each row compiled to, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.runbooks.check_report import github, render
from bot.runbooks.library import RunbookLibrary
from bot.runbooks.lint import Report, check
from tests.runbooks.products import KETTLE

DOCUMENTS = Path(__file__).parent / "documents"
GOOD = """\
---
product: kettle
target: kettle
danger: change
inputs:
  cups: 2
---

## K-001: No tea

**Symptoms**: Nobody gets tea.

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | Look: `look()` | `elements[].power > 0` and `lid.open == false` | 30s |
| 2 | If cold, switch it on: `kettle.heat(cups={cups}, which={kettle})` | Water is boiling within 3min | 5min |
| 3 | Pour | | 1min 30s |

**Escalation**: Ask the cook.
**Total estimated duration**: 7min (within 10min SLA).
"""


@pytest.fixture(scope="module")
def bad() -> Report:
    return check(RunbookLibrary([KETTLE], [DOCUMENTS / "kettle-bad.md"]))


def checked(tmp_path: Path, text: str) -> Report:
    (tmp_path / "doc.md").write_text(text)
    return check(RunbookLibrary([KETTLE], [tmp_path]))


def test_a_good_document_says_nothing_but_what_it_compiled_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report = checked(tmp_path, GOOD)
    assert report.exit_code == 0
    assert render(report, 120) == (
        "K-001: No tea\n"
        "doc.md:9 · kettle · on a kettle · severity high · total 7min, SLA 10min · inputs cups=2\n"
        "Step  Does                                      Danger  Only if  Expects"
        "                                       Budget\n"
        "1     kettle.look()                             read             elements[].power > 0 and lid.open == false"
        "       30s\n"
        '2     kettle.heat(cups={cups}, which={kettle})  change  cold     state == "boiling" within 3min'
        "                  5min\n"
        "3     manual                                                     nothing"
        "                                     1min 30s\n"
        "\n"
        "1 runbook, 0 errors, 0 warnings\n"
    )


def test_everything_that_is_wrong_is_said_with_its_line(bad: Report) -> None:
    assert [(problem.line, problem.level, problem.message) for problem in bad.problems] == [
        (8, "error", "the runbook has no **Escalation**: line, so nobody knows when to call whom"),
        (14, "error", "kettle has no action kettle.lok(); did you mean kettle.look()?"),
        (15, "error", "kettle.heat(level={strength}) is change, but the front matter says danger: read"),
        (15, "error", "level={strength}: there is no input strength; add it to inputs in the front matter"),
        (15, "error", "kettle has no fact water.liters; did you mean water.litres?"),
        (
            16,
            "error",
            "the expectation can never fail, so it checks nothing: exit code == 0 (on) or exit code == 1 (off)",
        ),
        (17, "error", "the expectation can never hold: water.litres > 2 and water.litres < 1"),
        (18, "error", 'the expectation can never hold: state == "boilng"'),
        (19, "error", 'water.litres is a number and is compared with "two": that can never hold'),
        (20, "error", "the expectation can never fail, so it checks nothing: lid.open == true or lid.open == false"),
        (21, "warning", 'step 8 asks a person: "It whistles" (it is not an expectation from "whistles" on)'),
        (21, "error", "the expectation may take 5min, the step has 1min"),
        (22, "warning", "step 9 has no duration, so nothing escalates"),
        (22, "warning", "colour cannot be known: Nothing measures it. The step will ask a person"),
        (23, "warning", "the row names 2 actions; only `look()` is run. Make two rows of it"),
        (
            24,
            "warning",
            "only the last part is given time; lid.open == false is judged at the first look. Use brackets?",
        ),
        (24, "error", 'kettle has no fact boiling; if it is meant as a text, write "boiling"'),
        (26, "error", "the total of 5min is longer than the SLA of 4min"),
    ]
    assert bad.exit_code == 1


def test_a_caret_points_at_the_spot(bad: Report) -> None:
    text = render(bad)
    assert (
        "kettle-bad.md:15:53: error: kettle has no fact water.liters; did you mean water.litres?\n"
        "    | 2 | Switch on: `kettle.heat(level={strength})` | `water.liters > cups` | 1min |\n"
        "                                                        ^^^^^^^^^^^^\n"
    ) in text
    assert text.endswith("1 runbook, 13 errors, 5 warnings\n")
    assert all(len(line) <= 160 for line in text.splitlines())


def test_annotations_for_github(bad: Report) -> None:
    lines = github(bad).splitlines()
    assert len(lines) == len(bad.problems) + 1
    found = next(line for line in lines if "water.liters" in line)
    assert found.startswith("::error file=")
    assert found.endswith(
        "kettle-bad.md,line=15,col=53,endColumn=65,title=runbook check"
        "::kettle has no fact water.liters; did you mean water.litres?"
    )


def test_a_file_name_cannot_break_out_of_an_annotation(tmp_path: Path) -> None:
    (tmp_path / "a,b\n::error ::x.md").write_text("| Step | Action | Duration |\n|-|-|-|\n")
    lines = github(check(RunbookLibrary([KETTLE], [tmp_path]))).splitlines()
    assert "a%2Cb%0A%3A%3Aerror %3A%3Ax.md" in lines[0]
    assert all(line.startswith("::error file=") for line in lines[:-1])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("total estimated duration**: 7min", "total estimated duration**: 8min", "add up to 7min, the total says 8min"),
        ("danger: change\n", "", "the front matter has no danger; the steps are change, so write danger: change"),
        ("danger: change", "danger: read", "is change, but the front matter says danger: read"),
        ("**Escalation**: Ask the cook.\n", "", "has no **Escalation**"),
        ("5min |", "soon |", '"soon" is not a duration'),
        ("elements[].power > 0", "heaters[].power > 0", "kettle has no fact heaters[].power"),
        ("If cold,", "If `water.litrs > 0`,", "kettle has no fact water.litrs; did you mean water.litres?"),
        ("lid.open == false", "lid.open > false", "only == and != can be said of it"),
    ],
)
def test_one_mistake_is_one_error(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = GOOD.replace("**Total", "**total")
    assert old in text
    report = checked(tmp_path, text.replace(old, new))
    assert [problem.message for problem in report.errors if said in problem.message]
    assert len(report.errors) == 1
    assert report.exit_code == 1


def test_a_document_of_manual_steps_asks_a_person_without_a_word(tmp_path: Path) -> None:
    text = GOOD.partition("---\n\n")[2].replace("elements[].power > 0", "It is clean")
    report = checked(tmp_path, text)
    assert report.exit_code == 0
    assert report.problems == ()
    assert {step.does for step in report.runbooks[0].steps} == {"manual"}


def test_the_users_four_procedures_show_the_one_that_always_passes() -> None:
    text = render(check(RunbookLibrary([KETTLE], [DOCUMENTS / "supervisor.md"])))
    assert "there is no product supervisor; there are: kettle" in text
