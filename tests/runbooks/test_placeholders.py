"""``opsbot runbook check`` on ``{step1.water.litres}``: only what a row above can have seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.runbooks.library import RunbookLibrary
from bot.runbooks.lint import check
from tests.runbooks.products import KETTLE

DOCUMENT = """\
---
product: kettle
danger: change
inputs: {{cups: "2"}}
---

# Boil again

| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
| 1 | {first} | | 1min |
| 2a | Look: `kettle.look()` | | 1min |
| 3 | {last} | | 1min |

**Escalation**: Call the plumber.

**Total estimated duration**: 3min.
"""


def errors(folder: Path, *, first: str = "Look: `kettle.look()`", last: str = "Look: `kettle.look()`") -> list[str]:
    (folder / "boil.md").write_text(DOCUMENT.format(first=first, last=last))
    return [problem.message for problem in check(RunbookLibrary([KETTLE], [folder])).errors]


@pytest.mark.parametrize("name", ["cups", "target", "water.litres", "step1.water.litres", "step2a.state"])
def test_what_a_row_above_can_have_seen(tmp_path: Path, name: str) -> None:
    assert errors(tmp_path, last=f"Heat: `kettle.heat(cups={{{name}}})`") == []


@pytest.mark.parametrize("name", ["step3.water.litres", "step9.state", "water.pressure"])
def test_what_no_row_above_can_have_seen(tmp_path: Path, name: str) -> None:
    assert errors(tmp_path, last=f"Heat: `kettle.heat(cups={{{name}}})`") == [
        f"cups={{{name}}}: there is no input {name}; add it to inputs in the front matter"
    ]


@pytest.mark.parametrize("name", ["step1.colour", "step2a.elements", "step1.guess"])
def test_what_a_row_above_cannot_see_is_asked_of_a_person(tmp_path: Path, name: str) -> None:
    assert errors(tmp_path, last=f"Heat: `kettle.heat(cups={{{name}}})`") == []
    warnings = check(RunbookLibrary([KETTLE], [tmp_path])).warnings
    assert f"nothing sees {name}, so step 3 asks a person for it" in [problem.message for problem in warnings]


def test_the_first_row_has_nothing_above_it(tmp_path: Path) -> None:
    (message,) = errors(tmp_path, first="Heat: `kettle.heat(cups={water.litres})`")
    assert message == "cups={water.litres}: there is no input water.litres; add it to inputs in the front matter"
