"""``docs/somas-rows.md`` and ``docs/somas-checklist.md`` name commands and tests: they exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.commands.grammar import Invocation, parse
from handlers.somas import product

PROJECT = Path(__file__).parents[2]
PAGES = {name: (PROJECT / "docs" / f"{name}.md").read_text() for name in ("somas-rows", "somas-checklist")}
ROWS = re.findall(r"^\| (\d+) \|(.*)\|(.*)\|(.*)\|$", PAGES["somas-rows"], re.MULTILINE)
ITEMS = re.findall(r"^\| (?!Item \||---)(.*) \|(.*)\|(.*)\|$", PAGES["somas-checklist"], re.MULTILINE)


def test_there_is_a_row_for_each_line() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 57))
    assert all("`test_" in tests for *_, tests in ROWS)


def test_there_is_a_row_for_each_item() -> None:
    assert len(ITEMS) == 31
    assert [item for item, _, tests in ITEMS if "`test_" not in tests] == []


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(/somas [^`]+)`", "".join(PAGES.values())))))
def test_every_command_is_one(line: str) -> None:
    if line != "/somas help":
        assert isinstance(parse(line, {"somas": product.commands}), Invocation)


def test_every_command_has_an_item() -> None:
    typed = re.findall(r"`/somas ([^`]+)`", PAGES["somas-checklist"])
    told = {verb for verb in product.commands.commands if any(each.startswith(verb) for each in typed)}
    assert set(product.commands.commands) - told == set()


def test_every_runbook_is_one() -> None:
    named = re.findall(r"runbook `([^`]+)`", "".join(PAGES.values()))
    assert product.runbooks is not None
    assert set(named) <= {file.stem for file in product.runbooks.glob("*.md")}
    assert len(named) > 10


@pytest.mark.parametrize("page", PAGES)
def test_every_test_is_one(page: str) -> None:
    written = "\n".join(file.read_text() for file in (PROJECT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", written, re.MULTILINE))
    assert set(re.findall(r"`(test_\w+)`", PAGES[page])) - there == set()
