"""``/somas restart`` where a place stands for the project: what is left out, and where the name goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands.grammar import Invocation, parse, unnamed
from tests.commands.products import GROUPS


@pytest.mark.parametrize(
    ("typed", "whole"),
    [
        ("/somas restart", "/somas restart project-42"),
        ("/SOMAS Restart", "/SOMAS Restart project-42"),
        ("/somas restart --from verify", "/somas restart project-42 --from verify"),
        ("/somas restart --dry-run", "/somas restart project-42 --dry-run"),
        ("/somas status", "/somas status project-42"),
    ],
)
def test_a_name_that_is_left_out(typed: str, whole: str) -> None:
    wanted = unnamed(typed, GROUPS)
    assert wanted is not None
    assert (wanted.root, wanted.kind, wanted.line("project-42")) == ("somas", "project", whole)
    assert isinstance(parse(whole, GROUPS), Invocation)


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "/somas",
        "/somas failed",
        "/somas restart project-7",
        "/somas restart 7 --dry-run",
        "/somas status project-7",
        "/somas restart --nonsense",
        "/somas restart help",
        "/somas restart --help",
        "/nobody restart",
        "/somas restrat",
        "/runs list",
        "'",
    ],
)
def test_nothing_is_filled_in(typed: str) -> None:
    assert unnamed(typed, GROUPS) is None


def test_a_name_that_needs_quotes_gets_them() -> None:
    wanted = unnamed("/somas restart", GROUPS)
    assert wanted is not None
    assert wanted.line("two words") == '/somas restart "two words"'


@given(st.text(alphabet=st.sampled_from("/somas restupf-'\"= \n1"), max_size=40))
def test_whatever_is_typed_the_filled_in_command_parses(typed: str) -> None:
    wanted = unnamed(f"/somas {typed}", GROUPS)
    if wanted is not None:
        assert isinstance(parse(wanted.line("x"), GROUPS), Invocation)
