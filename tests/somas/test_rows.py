"""``docs/somas-rows.md`` names a command and a test for each line of SOMAS's runbook: they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.commands.grammar import Invocation, parse
from handlers.somas import product

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "somas-rows.md").read_text()
ROWS = re.findall(r"^\| (\d+) \|(.*)\|(.*)\|(.*)\|$", PAGE, re.MULTILINE)


def test_there_is_a_row_for_each_line() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 57))
    assert all("`test_" in tests for *_, tests in ROWS)


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(/somas [^`]+)`", PAGE))))
def test_every_command_is_one(line: str) -> None:
    assert isinstance(parse(line, {"somas": product.commands}), Invocation)


def test_every_runbook_is_one() -> None:
    named = re.findall(r"runbook `([^`]+)`", PAGE)
    assert product.runbooks is not None
    assert set(named) <= {file.stem for file in product.runbooks.glob("*.md")}
    assert len(named) > 10


def test_every_test_is_one() -> None:
    written = "\n".join(file.read_text() for file in (PROJECT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", written, re.MULTILINE))
    assert set(re.findall(r"`(test_\w+)`", PAGE)) - there == set()
