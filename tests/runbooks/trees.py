"""Expectations and observations for property tests."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from bot.handler import Observation, Provenance
from bot.runbooks.expectations import (
    After,
    And,
    Comparison,
    Constant,
    EnumName,
    ExitCode,
    For,
    LogEndsWith,
    LogLine,
    Name,
    Noted,
    Or,
    Tree,
    Within,
)

OPERATORS = st.sampled_from(["==", "!=", ">", ">=", "<", "<="])
NAMES = st.sampled_from(["a", "b", "children.failed", "records[].restart_count", "dashboard_link", "exit_code"])
DURATIONS = st.integers(0, 200).map(lambda seconds: timedelta(seconds=seconds))
TEXTS = st.text(max_size=8) | st.sampled_from(["ready", 'a "b"', "x;y", "(z)", "`q`", "or", "within 30s", "it's"])
REMARKS = st.sampled_from(["planned", "process running", "1 or 2", "don't"])
CONSTANTS = st.one_of(
    st.builds(Constant, st.none() | st.booleans() | TEXTS),
    st.builds(Constant, st.integers(-(10**18), 10**18), st.sampled_from(["", "s", "%", "MiB", "min"])),
    st.builds(Constant, st.integers(-99_999, 99_999).map(lambda n: n / 100), st.sampled_from(["", "ms", "h"])),
)
LOGS = st.lists(st.builds(LogLine, TEXTS, st.just("") | REMARKS), min_size=1, max_size=3).map(
    lambda lines: LogEndsWith(tuple(lines))
)
ENUMS = st.builds(
    EnumName,
    st.sampled_from(["TaskExit", "Result::Inner"]),
    st.sampled_from(["Accepted", "Failed"]),
    st.sampled_from(["", "reason"]),
)
LEAVES = st.one_of(
    st.builds(Comparison, NAMES, OPERATORS, CONSTANTS | st.builds(Name, NAMES)),
    st.builds(ExitCode, OPERATORS, st.integers(0, 255)),
    LOGS,
    ENUMS,
)


def _noted(tree: Tree, remark: str) -> Tree:
    # Two remarks in a row are read as one; so the printer never has to print them.
    return tree if isinstance(tree, Noted) else Noted(tree, remark)


TREES: st.SearchStrategy[Tree] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Or(tuple(parts))),
        st.builds(_noted, inner, REMARKS),
        st.builds(Within, inner, DURATIONS),
        st.builds(After, inner, DURATIONS),
        st.builds(For, inner, DURATIONS),
    ),
    max_leaves=6,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 5) | st.floats() | st.sampled_from(["ready", "x", "", "5", "90s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["restart_count", "a"]), inner),
    max_leaves=4,
)
FACTS = st.dictionaries(
    st.sampled_from(
        [
            "a",
            "b",
            "children.failed",
            "records[].restart_count",
            "records",
            "dashboard_link",
            "exit_code",
            "log.tail",
            "TaskExit",
            "TaskExit.reason",
        ]
    ),
    st.tuples(VALUES, st.sampled_from(list(Provenance))),
).map(
    lambda found: {
        name: Observation(name=name, value=value, provenance=provenance, source="seen in a test")
        for name, (value, provenance) in found.items()
    }
)
PROSE = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            [
                "a",
                "==",
                ">",
                "0",
                '"ready"',
                "and",
                "or",
                ";",
                "within",
                "30s",
                "(",
                ")",
                "(ok)",
                "for",
                "after",
                "exit code",
                "Log ends with",
                "Panic",
                "A::B",
                "`",
                "Process running",
                "'",
                '"',
                ".",
                "true",
                "[]",
            ]
        ),
        max_size=14,
    ).map(" ".join),
)
