"""The first page: what it tells people to type can be typed, and what it links to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bot.app import installed_products
from bot.commands.grammar import Invocation, parse
from bot.runs.commands import runs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GROUPS = {"runs": runs, **{product.name: product.commands for product in installed_products()}}


@pytest.mark.parametrize("line", sorted(set(re.findall(r"`(/(?:somas|supervisor|runs) [^`]+)`", README))))
def test_what_it_shows_can_be_typed(line: str) -> None:
    assert isinstance(parse(line, GROUPS), Invocation)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_what_it_links_to_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_it_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 130
    assert README.count("](docs/images/") == 3
