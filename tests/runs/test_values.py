"""Placeholders: what a row takes from the run's inputs and from earlier steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.handler import Danger, Observation, Provenance, Target
from bot.incoming import Actor
from bot.runbooks import expectations
from bot.runbooks.binding import placeholders
from bot.runs import values
from bot.runs.decide import decide, new_run
from bot.runs.model import Begin, Finished, Press, RunState
from bot.runs.presses import askers, refusal
from tests.runs.plans import CHANGE, DESTRUCTIVE, NOON, READ, Played, plan, row, run


def after_first(*facts: Observation, text: str = "", expect: str = "", argument: str = "", **inputs: str) -> RunState:
    """A run whose first step has seen these facts; the second is filled and at work."""
    made = plan(row("Look"), row(text or "Act", READ, expect=expect))
    steps = made.runbook.steps
    steps = (steps[0], steps[1].model_copy(update={"arguments": {"child": argument} if argument else {}}))
    made = made.model_copy(update={"inputs": inputs, "runbook": made.runbook.model_copy(update={"steps": steps})})
    state = decide(new_run(made), Begin(at=NOON)).state
    assert state.busy is not None
    wanted, _ = values.mentioned(made.runbook, 0, {})
    seen = Finished(at=NOON, work=state.busy, status="done", summary="Seen", facts=values.kept(facts, wanted))
    return decide(state, seen).state


def fact(name: str, value: object) -> Observation:
    return Observation(name=name, value=value)


def test_a_fact_is_taken_by_its_name_and_by_its_step() -> None:
    state = after_first(
        fact("children.failed", 2),
        fact("child.id", "worker-3"),
        fact("unused", "x"),
        text="{children.failed} failed of {target}",
        expect="children.failed < {step1.children.failed} within 30s",
        argument="{step1.child.id}",
    )
    filled = state.plan.runbook.steps[1]
    assert filled.text == "2 failed of worker-3"
    assert filled.expectation == "children.failed < 2 within 30s"
    assert filled.arguments == {"child": "worker-3"}
    assert [each.name for each in state.steps[0].facts] == ["children.failed", "child.id"]


@pytest.mark.parametrize("value", [None, ["a", "b"], {"a": 1}, "", "  ", "x" * 501, "{other}"])
def test_what_is_no_single_value_is_missing_never_guessed(value: object) -> None:
    state = after_first(fact("child.id", value), argument="{child.id}")
    start = values.of_start({}, state.plan.target)
    assert values.missing(state.plan.runbook.steps[1], start) == ("child.id",)


def test_a_fact_that_could_not_be_known_is_not_kept() -> None:
    unknown = Observation(name="child.id", value="guess", provenance=Provenance.UNAVAILABLE)
    assert values.kept([unknown], frozenset({"child.id"})) == ()


def test_an_input_wins_over_a_fact_of_the_same_name() -> None:
    state = after_first(fact("threshold", 9), expect="children.failed > {threshold}", threshold="3")
    assert state.plan.runbook.steps[1].expectation == "children.failed > 3"


@given(st.one_of(st.text(max_size=60), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)))
def test_no_value_changes_what_is_compared(value: object) -> None:
    """Whatever a system reports, the row still compares this one name with one literal, or is put to a person."""
    for expect in ("child.state == {child.seen}", 'child.state == "{child.seen}"'):
        filled = after_first(fact("child.seen", value), expect=expect).plan.runbook.steps[1].expectation
        if placeholders(filled):
            continue
        tree = expectations.parse(filled, {})
        if isinstance(tree, expectations.Question):  # a number of twenty digits
            continue
        assert isinstance(tree, expectations.Comparison) and tree.name == "child.state", (filled, tree)
        assert isinstance(tree.value, expectations.Constant), (filled, tree)


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("10min", "a == 1 within 10min"),
        ("as asked", 'a == 1 within "as asked"'),
        ('"', "a == 1 within {time}"),
        ("1s or b == 2", 'a == 1 within "1s or b == 2"'),
    ],
)
def test_inputs_keep_their_units_and_cannot_add_conditions(value: str, filled: str) -> None:
    step = row("Look", expect="a == 1 within {time}").step
    target = Target(product="p", kind="child", name="c")
    assert values.fill_at_start(step, values.of_start({"time": value}, target)).expectation == filled


def test_a_value_told_by_a_person_is_asked_for_and_used_once_it_is_told() -> None:
    played = run(row("Stop `x`: {step1.culprit}", CHANGE))
    assert played.state.plan.runbook.steps[0].text.endswith("{step1.culprit}"), "a text alone is no reason to stop"
    made = plan(row("Stop", Danger.CHANGE))
    steps = (made.runbook.steps[0].model_copy(update={"arguments": {"child": "{culprit}"}}),)
    made = made.model_copy(update={"runbook": made.runbook.model_copy(update={"steps": steps})})
    state = decide(new_run(made), Begin(at=NOON)).state
    played.state = state
    played.prepared(problem="Step 1 needs culprit")
    played.take(Press(at=NOON, verb="retry", actor="slack:bob", given={"culprit": "worker-2"}))
    assert played.state.plan.runbook.steps[0].arguments == {"child": "worker-2"}
    assert played.state.given == {"culprit": "worker-2"}


def test_who_told_a_step_its_values_is_who_asks_for_it() -> None:
    alice, bob = Actor(surface="slack", id="U0ALICE"), Actor(surface="slack", id="U0BOB")
    made = plan(row("Stop", DESTRUCTIVE), row("Stop another", DESTRUCTIVE))
    one, other = made.runbook.steps
    steps = (
        one.model_copy(update={"arguments": {"child": "{culprit}"}}),
        other.model_copy(update={"arguments": {"child": "{target}"}}),
    )
    made = made.model_copy(update={"runbook": made.runbook.model_copy(update={"steps": steps})})
    played = Played(decide(new_run(made), Begin(at=NOON)).state)
    assert askers(played.state) == (alice,)
    played.prepared(problem="Step 1 needs culprit")
    played.take(Press(at=NOON, verb="retry", actor="slack:bob", given={"culprit": "worker-2"}, given_by=bob))
    assert askers(RunState.model_validate_json(played.state.model_dump_json())) == (bob,)
    played.prepared(shows="stop worker-2", digest="aaa")
    own = Press(at=NOON, verb="approve", actor="slack:bob", is_requester=True, digest="aaa", typed="worker-3")
    assert refusal(played.state, own) == "You told this step its values, so somebody else has to approve it."
    played.press("approve", "alice", typed="worker-3", digest="aaa", is_requester=False).finished()
    assert played.state.current == 1
    assert askers(played.state) == (alice,), "the next step has no value of bob's"
