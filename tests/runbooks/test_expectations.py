"""What an Expected Metrics cell means, and what becomes of it when it is held against facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from bot.handler import Observation, Provenance
from bot.runbooks.document import parse_document
from bot.runbooks.expectations import (
    Comparison,
    Constant,
    Expectation,
    NoExpectation,
    Question,
    Tree,
    evaluate,
    names,
    parse,
    questions,
)
from tests.runbooks.trees import FACTS, PROSE, TREES

PHRASES = {
    "Process running": "process.running == true",
    "Child marked as `Quarantined`": 'operation == "quarantined"',
    "Budget exhausted; child quarantined automatically": 'restart_limit.exhausted == true; operation == "quarantined"',
}
DOCUMENT = Path(__file__).parent / "documents" / "supervisor.md"


def facts(**values: Any) -> dict[str, Observation]:
    """``children__failed=2`` is the fact ``children.failed``."""
    named = {name.replace("__", "."): value for name, value in values.items()}
    return {name: Observation(name=name, value=value) for name, value in named.items()}


def outcome(text: str, observations: dict[str, Observation] | None = None) -> str:
    return evaluate(parse(text, PHRASES), observations or {}).outcome


# Every cell of the four procedures: what it is read as. "?" marks what is asked of a person.
AS_WRITTEN = {
    ("P1-001", "1"): "exit code == 0 (process running) or exit code == 1 (not running)",
    ("P1-001", "2"): 'log ends with "ShutdownPhase::Completed" (planned) or "Panic" (unexpected)',
    ("P1-001", "3"): "? Core dump file present in `/tmp/`",
    ("P1-001", "4"): 'health.status == "ready" within 30s',
    ("P1-001", "5"): 'dashboard_link == "connected"',
    ("P1-002", "1"): "children.failed > 0 and child_runtime_records[].restart_count > threshold",
    ("P1-002", "2"): "TaskExit::Panicked or TaskExit::Failed with reason string",
    ("P1-002", "3"): "? Budget exhausted; child quarantined automatically",
    ("P1-002", "4"): "CommandResult::Accepted",
    ("P1-002", "5"): "children.running == target_count",
    ("P1-003", "1"): "? Socket file present with correct permissions",
    ("P1-003", "2"): "process.running == true",
    ("P1-003", "3"): '? Supervisor auto-restarts relay; dashboard_link == "connected" within 10s',
    ("P1-003", "4"): 'health.dashboard_link == "connected"',
    ("P1-004", "1"): "iterations_per_sec > 0",
    ("P1-004", "2"): "? No child in `BlockForever` or `IgnoreCancel` state",
    ("P1-004", "3"): 'operation == "quarantined"',
    ("P1-004", "4"): "iterations_per_sec > 0 after 5s",
}


def test_every_cell_of_the_supervisor_procedures_is_read() -> None:
    phrases = {key: PHRASES[key] for key in list(PHRASES)[:2]}
    read = {}
    for runbook in parse_document(DOCUMENT.read_text(), "supervisor.md"):
        for step in runbook.steps:
            tree = parse(step.expectation, phrases)
            read[runbook.id, step.number] = ("? " if questions(tree) else "") + str(tree)
    assert read == AS_WRITTEN


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("`a` = 5", "a == 5"),
        ("a ≥ 5 and b <> 2", "a >= 5 and b != 2"),
        ("a == 'it is ready'", 'a == "it is ready"'),
        ("a == “ready”.", 'a == "ready"'),
        ("latency_ms < 200 ms within 1 minute 30 sec", "latency_ms < 200ms within 1min 30s"),
        ("usage <= 80 %", "usage <= 80%"),
        ("a == TRUE or a == None", "a == true or a == null"),
        ("socket == /run/x.sock", 'socket == "/run/x.sock"'),
        ("state == ShutdownPhase::Completed", 'state == "ShutdownPhase::Completed"'),
        ("a == 1 or b == 2; c == 3", "(a == 1 or b == 2) and c == 3"),
        ("(a == 1 and b == 2) within 30s", "(a == 1 and b == 2) within 30s"),
        ("a == 1 and b == 2 within 30s", "a == 1 and b == 2 within 30s"),
        ("(" * 300 + "a == 1" + ")" * 300, "a == 1"),
        ("Exit Code 0", "exit code == 0"),
        ("Log ends with A or B (odd) within 30s", '(log ends with "A" or "B" (odd)) within 30s'),
        ("log ends with A or exit code == 1", '(log ends with "A") or exit code == 1'),
        ("PROCESS  `running` within 10s", "process.running == true within 10s"),
        (
            "budget exhausted; child quarantined automatically.",
            'restart_limit.exhausted == true and operation == "quarantined"',
        ),
    ],
)
def test_many_ways_to_write_one_thing(text: str, canonical: str) -> None:
    tree = parse(text, PHRASES)
    assert str(tree) == canonical
    assert parse(canonical) == tree


@pytest.mark.parametrize(
    "prose",
    [
        "Done",
        "It works",
        "No process running",
        "Process running smoothly",
        "a > 0 or so",
        "a > 0 unless b",
        "not a == 1",
        "exit code == -1",
        "exit code == 4096",
        "a == 0.1.4",
        "within 30s",
        "a == 1 within soon",
        "a == 1 within 99999999d",
        "Panic within 30s",
        "a == " + "9" * 5000,
        ";;",
    ],
)
def test_prose_is_put_to_the_operator(prose: str) -> None:
    tree = parse(prose, PHRASES)
    assert isinstance(tree, Question)
    assert tree.text == prose
    assert tree.why
    assert evaluate(tree, facts(a=1, b=1, process__running=True, exit_code=0)).outcome == "cannot tell"


def test_an_empty_cell_expects_nothing() -> None:
    for text in ("", "  ", "-", "—", "n/a"):
        assert parse(text) == NoExpectation()
    verdict = evaluate(NoExpectation(), {})
    assert verdict.outcome == "nothing expected"


def test_prose_beside_a_comparison_never_lets_it_pass_but_can_fail() -> None:
    text = 'Supervisor auto-restarts relay; dashboard_link == "connected"'
    assert outcome(text, facts(dashboard_link="connected")) == "cannot tell"
    assert outcome(text, facts(dashboard_link="disconnected")) == "not met"


@pytest.mark.parametrize(
    ("text", "observed", "expected"),
    [
        ("a > 0", {"a": 1}, "met"),
        ("a > 0", {"a": 0}, "not met"),
        ("a > 0", {"a": "1"}, "cannot tell"),
        ("a > 0", {"a": True}, "cannot tell"),
        ("a > 0", {"a": None}, "cannot tell"),
        ("a > 0", {"a": float("nan")}, "cannot tell"),
        ("a > 0", {"a": [1]}, "cannot tell"),
        ("a > 0", {}, "cannot tell"),
        ("a == null", {"a": None}, "met"),
        ("a != null", {"a": 0}, "met"),
        ("a == 0.1", {"a": 0.1}, "met"),
        ("a == true", {"a": 1}, "cannot tell"),
        ('a > "b"', {"a": "c"}, "cannot tell"),
        ("a > 0 or b > 0", {"a": 1}, "met"),
        ("a > 0 or b > 0", {"a": 0}, "cannot tell"),
        ("a > 0 and b > 0", {"a": 0}, "not met"),
        ("a > 0 and b > 0", {"a": 1}, "cannot tell"),
        ("a > b", {"a": 2, "b": 1}, "met"),
        ("a > b", {"a": 2}, "cannot tell"),
        ("exit code == 0", {"exit_code": 0}, "met"),
        ("A::Good", {"A": "Good"}, "met"),
        ("A::Good", {"A": "A::Good"}, "met"),
        ("A::Good", {"A": "Bad"}, "not met"),
        ("A::Bad with reason string", {"A": "Bad", "A__reason": ""}, "not met"),
        ("A::Bad with reason string", {"A": "Bad", "A__reason": "out of disk"}, "met"),
        ("A::Bad with reason string", {"A": "Bad"}, "cannot tell"),
        ("log ends with Panic", {"log__tail": "starting\nPanic at main.rs\n\n"}, "met"),
        ("log ends with Panic", {"log__tail": ["Panic", "restarted"]}, "not met"),
        ("log ends with Panic", {"log__tail": ""}, "cannot tell"),
        ("r[].n > 3", {"r": [{"n": 1}, {"n": 5}]}, "met"),
        ("r[].n > 3", {"r": [{"n": 1}, {"n": 3}]}, "not met"),
        ("r[].n > 3", {"r": [{"n": 1}, {"n": None}]}, "cannot tell"),
        ("r[].n > 3", {"r": [{"n": 9}, {"n": None}]}, "met"),
        ("r[].n > 3", {"r": []}, "not met"),
        ("r[].n > 3", {"r": [{"m": 1}]}, "cannot tell"),
        ("uptime_secs > 2min", {"uptime_secs": 121}, "met"),
        ("uptime > 2min", {"uptime": "90s"}, "not met"),
        ("uptime > 2min", {"uptime": 121}, "cannot tell"),
        ("a == 1 within 5s", {"a": 1}, "met"),
        ("a == 1 within 5s", {"a": 2}, "cannot tell"),
        ("a == 1 for 5s", {"a": 2}, "not met"),
        ("a == 1 for 5s", {"a": 1}, "cannot tell"),
        ("a == 1 after 5s", {"a": 2}, "cannot tell"),
    ],
)
def test_three_outcomes(text: str, observed: dict[str, Any], expected: str) -> None:
    assert outcome(text, facts(**observed)) == expected


def test_what_was_observed_stands_beside_with_where_it_came_from() -> None:
    seen = {
        "children.failed": Observation(
            name="children.failed", value=2, provenance=Provenance.DERIVED, source="counted in two samples of state"
        ),
        "child_runtime_records": Observation(
            name="child_runtime_records", value=[{"restart_count": 5}, {"restart_count": 0}]
        ),
        "threshold": Observation(name="threshold", value="3", provenance=Provenance.INPUT, source="--input"),
    }
    verdict = evaluate(parse("children.failed > 0 and child_runtime_records[].restart_count > threshold"), seen)
    assert verdict.outcome == "met"
    assert verdict.observed == (
        'children.failed = 2 (derived); child_runtime_records[].restart_count = [5, 0]; threshold = "3" (input)'
    )
    assert verdict.details == ("children.failed is derived: counted in two samples of state",)


def test_a_fact_that_cannot_be_known_says_why() -> None:
    unknown = Observation(name="health.status", provenance=Provenance.UNAVAILABLE, source="IPC does not expose it")
    verdict = evaluate(parse('health.status == "ready"'), {"health.status": unknown})
    assert verdict.outcome == "cannot tell"
    assert verdict.details == ("health.status cannot be known: IPC does not expose it",)


def test_the_names_that_a_tree_needs() -> None:
    text = "a[].b > limit; exit code == 0; Log ends with X; T::V with reason string"
    assert names(parse(text)) == {"a[].b", "limit", "exit_code", "log.tail", "T", "T.reason"}


@given(TREES)
def test_printing_and_parsing_again_gives_the_same_tree(tree: Tree) -> None:
    assert repr(parse(str(tree))) == repr(tree)


@given(PROSE)
@example("a`'b;c' ; d == 1; x y")
def test_any_text_is_parsed_and_printed_without_loss(text: str) -> None:
    tree = parse(text, PHRASES)
    assert parse(text, PHRASES) == tree
    assert parse(str(tree)) == _without_why(tree, parse(str(tree)))


def _without_why(tree: Expectation, printed: Expectation) -> Expectation:
    """The reason quotes the text around the spot, which a phrase changes: it is no part of what is compared."""
    if isinstance(tree, Question) and isinstance(printed, Question):
        return Question(tree.text, printed.why)
    if questions(tree):
        assert str(tree) == str(printed)
        return printed
    return tree


@given(TREES, FACTS)
def test_evaluating_never_raises(tree: Tree, observations: dict[str, Observation]) -> None:
    verdict = evaluate(tree, observations)
    assert verdict.outcome in ("met", "not met", "cannot tell")
    if not observations:
        assert verdict.outcome == "cannot tell"


@given(PROSE, FACTS)
def test_what_cannot_be_parsed_never_counts_as_met(text: str, observations: dict[str, Observation]) -> None:
    tree = parse(text, PHRASES)
    if questions(tree):
        assert evaluate(tree, observations).outcome != "met"


def test_a_string_keeps_whatever_is_in_it() -> None:
    tree = parse('a == "x; (y) `z` or \\"q\\""')
    assert tree == Comparison("a", "==", Constant('x; (y) `z` or "q"'))
