"""``docs/runs.md`` names a test for every promise: each of them exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs/runs.md").read_text())


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_promise_names_a_test() -> None:
    promised = (ROOT / "docs/runs.md").read_text().partition("## Cost")[0]
    rows = [line for line in promised.splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith("| Promise |")]
    assert len(promises) > 30
    assert [row for row in promises if "::test_" not in row] == []


@pytest.mark.parametrize(("file", "name"), NAMED, ids=lambda each: each.rpartition("/")[2])
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in names_in(file)
