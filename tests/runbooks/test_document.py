"""Markdown in, runbooks or a list of problems out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bot.errors import UserError
from bot.runbooks.binding import fill, parse_call
from bot.runbooks.document import parse_document
from bot.runbooks.durations import format_duration, parse_duration
from bot.runbooks.model import Runbook
from bot.runbooks.problems import RunbookError

DOCUMENTS = Path(__file__).parent / "documents"

HEAD = """\
| Step | Action | Expected Metrics | Estimated Duration |
|---|---|---|---|
"""
ROW = "| 1 | Look: `handle.look()` | `a > 0` | 1min |\n"


def errors(text: str, product: str = "supervisor") -> str:
    with pytest.raises(RunbookError) as caught:
        parse_document(text, "doc.md", product)
    return str(caught.value)


def one(text: str, product: str = "supervisor") -> Runbook:
    (runbook,) = parse_document(text, "doc.md", product)
    return runbook


@pytest.fixture(scope="module")
def supervisor() -> dict[str, Runbook]:
    text = (DOCUMENTS / "supervisor.md").read_text()
    return {runbook.id: runbook for runbook in parse_document(text, "supervisor.md")}


def test_the_four_procedures_of_one_document(supervisor: dict[str, Runbook]) -> None:
    assert [(runbook.id, runbook.title) for runbook in supervisor.values()] == [
        ("P1-001", "Supervisor Process Crash"),
        ("P1-002", "Child Task Crash Loop"),
        ("P1-003", "Dashboard IPC Disconnected"),
        ("P1-004", "Runtime Starvation"),
    ]
    crash, loop, dashboard, _ = supervisor.values()
    assert (crash.severity, loop.severity) == ("critical", "high")
    assert (crash.danger, loop.danger) == ("", "destructive")
    assert loop.command == "/supervisor runbook P1-002 <child>"
    assert crash.symptoms == "Supervisor process exits unexpectedly; children become orphaned."
    assert crash.escalation == "If restart fails twice, escalate to L2 engineering with core dump and logs."
    assert (crash.total, crash.sla) == (timedelta(minutes=12), timedelta(minutes=15))
    assert loop.escalation.startswith("If child root cause not identified in 10min")
    assert (loop.total, loop.sla) == (timedelta(minutes=8), None)
    assert dashboard.symptoms == '`health.dashboard_link == "disconnected"`\ndashboard UI shows no data'
    assert dashboard.escalation.endswith("check deployment guide socket path configuration.")
    assert loop.inputs == {"threshold": "3", "target_count": ""}
    assert {runbook.target_kind for runbook in supervisor.values()} == {"child"}


def test_rows_bind_or_are_manual(supervisor: dict[str, Runbook]) -> None:
    bound = {
        f"{runbook.id}.{step.number}": (step.action, step.arguments, step.condition)
        for runbook in supervisor.values()
        for step in runbook.steps
        if step.action or step.condition
    }
    assert bound == {
        "P1-001.2": (None, {}, "not running"),
        "P1-001.3": (None, {}, "unexpected crash"),
        "P1-002.1": ("handle.current_state", {}, None),
        "P1-002.3": (None, {}, "restart budget exhausted"),
        "P1-002.4": ("handle.remove_child", {"child": "{target}"}, None),
        "P1-002.5": ("current_state", {}, None),
        "P1-003.4": (None, {}, "still disconnected"),
        "P1-004.1": ("handle.health", {}, None),
        "P1-004.2": (None, {}, "stalled"),
        "P1-004.3": ("handle.quarantine_child", {}, None),
    }


def test_each_step_knows_its_line_and_its_budget(supervisor: dict[str, Runbook]) -> None:
    lines = (DOCUMENTS / "supervisor.md").read_text().splitlines()
    for runbook in supervisor.values():
        assert runbook.id in lines[runbook.line - 1]
        for step in runbook.steps:
            assert step.text in lines[step.line - 1]
            assert step.budget is not None
        assert sum((step.budget for step in runbook.steps if step.budget), timedelta()) == runbook.total


def test_a_document_without_front_matter_or_product_has_manual_steps() -> None:
    runbook = one(f"# Clean the attic\n\n{HEAD}{ROW}", product="")
    assert (runbook.id, runbook.title, runbook.product) == ("clean-the-attic", "Clean the attic", "")
    assert runbook.steps[0].action is None


def test_a_document_without_a_heading_is_named_after_its_file() -> None:
    assert one(HEAD + ROW).id == "doc"


def test_a_heading_that_only_divides_is_not_the_name() -> None:
    text = f"## P1-009: Lost\n\n### Procedure\n\n{HEAD}{ROW}\n### Escalation\n\n**Escalation:** Call L2.\n"
    runbook = one(text)
    assert (runbook.id, runbook.title, runbook.escalation) == ("P1-009", "Lost", "Call L2.")


def test_columns_are_found_by_name_in_any_order() -> None:
    head = "| DURATION | Notes | *Expected* | action | # |\n|-|-|-|-|-|\n"
    text = f"## X-1: T\n\n{head}| 30s | n | `a > 0` | `go()` | 1. |\n"
    (step,) = one(text).steps
    assert (step.number, step.action, step.expectation, step.budget) == ("1", "go", "`a > 0`", timedelta(seconds=30))


def test_other_tables_are_left_alone() -> None:
    other = "| State | Action |\n|---|---|\n| open | wait |\n\n"
    assert one(f"## X-1: T\n\n{other}{HEAD}{ROW}").id == "X-1"


def test_a_condition_ends_at_the_comma_outside_of_code_and_brackets() -> None:
    rows = [
        "If `a, b`, `go()`",
        "If it fails (once, or twice), `go()`",
        "If `T::V`: `go()`",
        "if a::b, `go()`",
        "If only",
        "Iffy, `go()`",
    ]
    table = "".join(f"| {n} | {row} | | 1min |\n" for n, row in enumerate(rows, 1))
    steps = one(f"## X-1: T\n\n{HEAD}{table}").steps
    assert [step.condition for step in steps] == ["`a, b`", "it fails (once, or twice)", "`T::V`", "a::b", None, None]
    assert [step.action for step in steps] == ["go", "go", "go", "go", None, "go"]


def test_an_action_named_in_the_condition_is_not_the_one_to_run() -> None:
    (step,) = one(f"## X-1: T\n\n{HEAD}| 1 | If `look()` fails, `go()` | | 1min |\n").steps
    assert step.action == "go"


# -- problems


def test_a_problem_points_at_its_spot() -> None:
    text = f"## X-1: T\n\n{HEAD}{ROW}| 2 | Wait | | soon |\n"
    assert errors(text) == (
        'doc.md:6:16: error: step 2: "soon" is not a duration; write it like 30s, 5min or 1h 30min\n'
        "    | 2 | Wait | | soon |\n"
        "                   ^^^^"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no runbook in it"),
        ("# Only prose\n\nNothing here.", "no table with the columns Step | Action |"),
        ("## X-1: T\n\n| Step | Action | Duration |\n|-|-|-|\n| 1 | a | 1min |", 'no column "Expected Metrics"'),
        ("## X-1: T\n\n| Step | No | Action | Expected | Budget |\n|-|-|-|-|-|\n", 'two columns "Step"'),
        (f"## X-1: T\n\n{HEAD}", "the table has no steps"),
        (f"## X-1: T\n\n{HEAD}{ROW}{ROW}", "there are two steps 1"),
        (f"## X-1: T\n\n{HEAD}|  | a | | 1min |", "the step has no number"),
        (f"## X-1: T\n\n{HEAD}| 1 |  | | 1min |", "step 1 has no action"),
        (f"## X-1: T\n\n{HEAD}| 1 | `a | b` | c | 1min |", "the row has 5 cells, the table 4 columns"),
        (f"## X-1: T\n\n{HEAD}| 1 | `go(child)` | | 1min |", "write them as name=value"),
        (f"## X-1: T\n\n{HEAD}| 1 | `go(a=1, a=2)` | | 1min |", "is given twice"),
        (f"## X-1: T\n\n{HEAD}{ROW}\n{HEAD}{ROW}", "second table of steps"),
        (f"## X-1: T\n\n{HEAD}{ROW}\n## x-1: U\n\n{HEAD}{ROW}", "x-1 is already the runbook in line 1"),
        (f"## X-1: T\n\n{HEAD}{ROW}\n**Total estimated duration**: ages.", '"ages" is not a duration'),
        (f"---\nid: Y\n---\n## X-1: T\n\n{HEAD}{ROW}", "the front matter says Y, the heading says X-1"),
        (f"---\nid: [Y\n---\n{HEAD}{ROW}", "the front matter is not YAML"),
        (f"---\nproduct: a\n{HEAD}{ROW}", "has no end; close it with a line ---"),
        (f"---\nproducts: a\n---\n{HEAD}{ROW}", "products: there is no such key; there are command, danger,"),
        (f"---\nseverity: huge\n---\n{HEAD}{ROW}", "severity: must be 'low', 'medium', 'high' or 'critical'"),
        (f"---\nproduct: 5\n---\n{HEAD}{ROW}", "product: must be a valid string"),
        (f"---\nproduct: a\nproduct: b\n---\n{HEAD}{ROW}", 'the key "product" stands here twice'),
        (f"---\na: &x [1]\nb: *x\n---\n{HEAD}{ROW}", "without aliases"),
        (f"---\n- a\n---\n{HEAD}{ROW}", 'must be "key: value" lines'),
        (f"---\nrunbooks:\n  Z-9:\n    target: x\n---\n{HEAD}{ROW}", "the document has no runbook z-9"),
        ("---\nid: " + "[" * 2000 + "\n---\n", "the front matter"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    assert said in errors(text)


def test_a_front_matter_error_names_the_line_of_the_key() -> None:
    text = f"---\nproduct: supervisor\ninputs:\n  threshold: [3]\n---\n\n## X-1: T\n\n{HEAD}{ROW}"
    assert errors(text).startswith(
        "doc.md:4:3: error: inputs.threshold: must be a valid string\n      threshold: [3]\n"
    )


def test_all_problems_are_told_at_once() -> None:
    text = f"## X-1: T\n\n{HEAD}| 1 | a | | soon |\n| 1 | b | | later |\n"
    with pytest.raises(RunbookError) as caught:
        parse_document(text, "doc.md")
    assert [problem.line for problem in caught.value.problems] == [5, 6, 6]


PIECES = st.sampled_from(
    [
        "---",
        "product: a",
        "inputs: {a: 1}",
        "id: X",
        "## X-1: T",
        "# T",
        "### Steps",
        HEAD,
        ROW,
        "| 1 | b |",
        "> " + ROW,
        "**Symptoms**: s",
        "Escalation: e. Total estimated duration: 5min (SLA 6min)",
        "- x",
        "```",
        "a: *b",
        "[a]: /b",
        "| `a(b=1` | `If x,` |",
        "\x00",
        "\ud800",
        "\t- a",
        "<!--",
        "| Step |\n|---|",
        "",
        "**Total duration**: 1h",
    ]
)


@given(st.text() | st.lists(PIECES | st.text(max_size=12), max_size=14).map("\n".join))
@example("---\na: 2026-99-99\n---\n")
@example("---\n!!python/object:os.system a\n---\n")
@example("---\n? [a]\n: b\n---\n")
@example("---\na: " + "1" * 5000 + "\n---\n")
@example("[" * 3000)
@example("> " * 500 + ROW)
def test_no_text_makes_it_raise_anything_but_a_runbook_error(text: str) -> None:
    try:
        runbooks = parse_document(text, "any.md", "supervisor")
    except RunbookError as error:
        assert error.problems
        assert str(error)
    else:
        assert runbooks
        assert all(runbook.id and runbook.steps for runbook in runbooks)


# -- durations, calls


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1min", 60),
        ("30s", 30),
        ("2 min", 120),
        ("1h 30min", 5400),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("2 Minutes", 120),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "min", "1min soon", "-1min", "1e5s", "٣s", "9999999d", "1 fortnight"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 30s, 5min or 1h 30min"):
        parse_duration(text)


@given(st.integers(0, 366 * 86_400_000).map(lambda ms: timedelta(milliseconds=ms)))
def test_a_printed_duration_is_read_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("code", "name", "arguments"),
    [
        ("handle.current_state()", "handle.current_state", {}),
        ("handle.quarantine_child(child=worker-3)", "handle.quarantine_child", {"child": "worker-3"}),
        ("go(a={target}, b='x, (y)', c=\"\")", "go", {"a": "{target}", "b": "x, (y)", "c": ""}),
        ("handle.health().control_loop_iterations", "handle.health", {}),
    ],
)
def test_calls(code: str, name: str, arguments: dict[str, str]) -> None:
    call = parse_call(code)
    assert call is not None
    assert (call.name, call.arguments) == (name, arguments)


@pytest.mark.parametrize("code", ["pgrep -x supervisor", "a == 0", "state.json", "f(x) and g(y)", "", "$(date)"])
def test_code_that_is_no_call(code: str) -> None:
    try:
        assert parse_call(code) is None
    except ValueError as error:
        assert "cannot be read" in str(error)


def test_placeholders_are_filled_or_asked_for() -> None:
    assert fill({"child": "{target}", "n": "x-{n}"}, {"target": "worker-3", "n": "5"}) == {
        "child": "worker-3",
        "n": "x-5",
    }
    with pytest.raises(UserError, match="The runbook needs a and b; give it with --input a=… --input b=…"):
        fill({"x": "{b}", "y": "{a}{c}"}, {"c": "1", "b": ""})
