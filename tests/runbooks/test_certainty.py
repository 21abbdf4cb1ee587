"""Expectations that can never fail, or never hold: only claimed when it is certain."""

from __future__ import annotations

import pytest
from hypothesis import given

from bot.handler import Observation
from bot.runbooks.expectations import Domain, Tree, always_true, evaluate, never_true, parse
from tests.runbooks.trees import FACTS, TREES

PGREP = {"exit_code": Domain(values=(0, 1))}
STATES = {"state": Domain(values=("starting", "alive", "failed"))}
COUNT = {"n": Domain(minimum=0, whole=True)}


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ("exit code == 0 (process running) or exit code == 1 (not running)", PGREP),
        ("exit code >= 0", {}),
        ("exit code < 1 or exit code >= 1", {}),
        ("a > 5 or a <= 5", {}),
        ("a == null or a != null", {}),
        ('a != "x" or a == "x"', {}),
        ("a == a", {}),
        ("(a > 5 or a <= 5) within 10s", {}),
        ("n >= 0", COUNT),
        ("n < 1 or n > 0", COUNT),
        ('state == "starting" or state == "alive" or state != "starting"', STATES),
        ("ok == true or ok == false", {"ok": Domain(values=(True, False))}),
    ],
)
def test_can_never_fail(text: str, domains: dict[str, Domain]) -> None:
    assert always_true(parse(text), domains)
    assert not never_true(parse(text), domains)


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ("exit code == 0 and exit code == 1", {}),
        ("exit code > 255", {}),
        ("a > 5 and a < 3", {}),
        ('a == "x" and a == "y"', {}),
        ("a < a", {}),
        ("T::A and T::B", {}),
        ('state == "ready"', STATES),
        ("n > 0 and n < 1", COUNT),
        ('ok == "yes"', {"ok": Domain(values=(True, False))}),
    ],
)
def test_can_never_hold(text: str, domains: dict[str, Domain]) -> None:
    assert never_true(parse(text), domains)
    assert not always_true(parse(text), domains)


@pytest.mark.parametrize(
    "text",
    [
        "exit code == 0 or exit code == 1",  # of any command
        "a > 5",
        "a <= 0 or a >= 1",  # a may be a half
        "a > b or a <= b",  # could be shown, is not claimed
        "a[] == 1 and a[] == 2",  # two elements
        "a[] > 5 or a[] <= 5",  # an empty list
        "a == 1 within 5s and a == 2 within 9s",  # at different times
        "a == 1 and a == 2 after 5s",
        "T::A or T::B",
        "log ends with A or B",
        "It works",
        "",
    ],
)
def test_nothing_is_claimed_that_is_not_certain(text: str) -> None:
    assert not always_true(parse(text))
    assert not never_true(parse(text))


@given(TREES, FACTS)
def test_no_observation_contradicts_a_claim(tree: Tree, observations: dict[str, Observation]) -> None:
    seen = evaluate(tree, observations).outcome
    if always_true(tree):
        # An exit code outside of 0 to 255 is none.
        assert seen != "not met" or "exit_code" in observations
    if never_true(tree):
        assert seen != "met" or "exit_code" in observations
