"""``children.failed = 2 (derived)``: a tree held against what was observed. Three-valued; never raises.

``met`` and ``not met`` are only said when they are certain. A fact that is missing or unavailable, a value of another
type than the literal, a question to the operator: ``cannot tell``, unless the other side of an and/or decides.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isnan
from typing import Any, Literal

from bot.handler import Observation, Provenance
from bot.runbooks.durations import format_duration
from bot.runbooks.expectations.tree import (
    EXIT_CODE,
    LOG_TAIL,
    After,
    And,
    Comparison,
    Constant,
    EnumName,
    ExitCode,
    Expectation,
    For,
    LogEndsWith,
    Name,
    NoExpectation,
    Noted,
    Operator,
    Or,
    Question,
    Tree,
    Within,
)
from bot.runbooks.expectations.units import in_unit

Outcome = Literal["met", "not met", "cannot tell"]
Facts = Mapping[str, Observation]

_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_LONGEST_VALUE = 120


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an expectation.

    ``outcome`` is ``nothing expected`` for an empty cell: the result of the step itself decides. ``seen`` is what was
    observed, a piece each; ``details`` say, a sentence each, why it cannot be told or where a fact comes from that is
    not read under its own name. ``sources`` are the observations that were used.
    """

    outcome: Outcome | Literal["nothing expected"]
    seen: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    sources: tuple[Observation, ...] = ()

    @property
    def observed(self) -> str:
        """One short line for people: ``children.failed = 2 (derived); threshold = 3 (input)``."""
        return "; ".join(self.seen)


NOTHING_EXPECTED = Verdict("nothing expected")


def evaluate(tree: Expectation, observations: Facts) -> Verdict:
    """What a single look can tell.

    One look proves ``within`` when the inner expectation holds and disproves ``for`` when it does not; all else that
    has a span of time in it is ``cannot tell`` here and needs a ``Watch``.
    """
    if isinstance(tree, NoExpectation):
        return NOTHING_EXPECTED
    return _evaluate(tree, observations)


def combine(kind: type[And] | type[Or], verdicts: Iterable[Verdict]) -> Verdict:
    """Kleene's and/or over the parts; what was observed is joined, each thing once."""
    parts = list(verdicts)
    deciding: Outcome = "not met" if kind is And else "met"
    outcomes = {part.outcome for part in parts}
    outcome: Outcome
    if deciding in outcomes:
        outcome = deciding
    elif "cannot tell" in outcomes:
        outcome = "cannot tell"
    else:
        outcome = "met" if kind is And else "not met"
    seen = dict.fromkeys(piece for part in parts for piece in part.seen)
    details = dict.fromkeys(detail for part in parts for detail in part.details)
    sources = {source.name: source for part in parts for source in part.sources}
    return Verdict(outcome, tuple(seen), tuple(details), tuple(sources.values()))


def _evaluate(tree: Tree, facts: Facts) -> Verdict:
    match tree:
        case And(parts):
            return combine(And, (_evaluate(part, facts) for part in parts))
        case Or(parts):
            return combine(Or, (_evaluate(part, facts) for part in parts))
        case Noted(inner, _):
            return _evaluate(inner, facts)
        case Within(inner, duration):
            return _only(_evaluate(inner, facts), "met", f"it has {format_duration(duration)} to become so")
        case For(inner, duration):
            return _only(_evaluate(inner, facts), "not met", f"it must hold for {format_duration(duration)}")
        case After(inner, duration):
            return _only(_evaluate(inner, facts), None, f"it is looked at only after {format_duration(duration)}")
        case Question(text, why):
            reason = f'a person must judge: "{text}"' + (f" ({why})" if why else "")
            return Verdict("cannot tell", (), (reason,))
        case Comparison():
            return _compare(tree, facts)
        case ExitCode(operation, code):
            return _compare(Comparison(EXIT_CODE, operation, Constant(code)), facts)
        case LogEndsWith():
            return _log(tree, facts)
        case EnumName():
            return _enum(tree, facts)


def _only(verdict: Verdict, certain: Outcome | None, why: str) -> Verdict:
    if verdict.outcome == certain:
        return verdict
    return Verdict("cannot tell", verdict.seen, (*verdict.details, why), verdict.sources)


def _compare(tree: Comparison, facts: Facts) -> Verdict:
    left = find(tree.name, facts)
    if isinstance(left, str):
        return Verdict("cannot tell", (), (left,))
    used = [left]
    expected: object
    unit = ""
    if isinstance(tree.value, Name):
        right = find(tree.value.name, facts)
        if isinstance(right, str):
            return _verdict("cannot tell", used, (right,))
        used.append(right)
        expected = right.value
        if right.provenance is Provenance.INPUT:
            expected = _input_value(expected)
    else:
        expected, unit = tree.value.value, tree.value.unit
    elements = list(_elements(left.value)) if "[]" in tree.name else [left.value]
    results = [_holds(element, tree.operator, expected, unit, tree.name) for element in elements]
    if True in results:
        return _verdict("met", used)
    problems = tuple(dict.fromkeys(result for result in results if isinstance(result, str)))
    return _verdict("cannot tell", used, problems) if problems else _verdict("not met", used)


def _holds(value: object, operation: Operator, expected: object, unit: str, name: str) -> bool | str:
    """Whether it holds, or a sentence that says why that cannot be told."""
    if expected is None:
        if operation not in ("==", "!="):
            return "only == and != can be said of null"
        return (value is None) == (operation == "==")
    if value is None:
        return f"{name} is null"
    if unit:
        converted = in_unit(value, name, unit)
        if converted is None or isinstance(expected, bool) or not isinstance(expected, int | float):
            return f"{name} does not say that it counts in {unit}"
        return bool(_COMPARE[operation](converted, Fraction(str(expected))))
    kind, expected_kind = _kind(value), _kind(expected)
    if kind != expected_kind:
        return f"{name} is {_shown(value)}, {kind}, and cannot be compared with {_shown(expected)}, {expected_kind}"
    if kind in ("a list", "an object", "not a number"):
        return f"{name} is {kind}; name what is in it" + (", with []" if kind == "a list" else "")
    if kind != "a number" and operation not in ("==", "!="):
        return f"{name} is {kind}: only == and != can be said of it"
    return bool(_COMPARE[operation](value, expected))


def _kind(value: object) -> str:
    match value:
        case bool():
            return "a yes or no"
        case float() if isnan(value):
            return "not a number"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list() | tuple():
            return "a list"
        case None:
            return "null"
        case _:
            return "an object"


def _input_value(value: object) -> object:
    """Inputs are typed by a person: ``threshold=5`` is the number, ``true`` the truth value."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    digits = text.removeprefix("-")
    if len(digits) <= 30 and digits.replace(".", "", 1).isascii() and digits.replace(".", "", 1).isdigit():
        return float(text) if "." in digits else int(text)
    return value


def _log(tree: LogEndsWith, facts: Facts) -> Verdict:
    tail = find(LOG_TAIL, facts)
    if isinstance(tail, str):
        return Verdict("cannot tell", (), (tail,))
    value = tail.value
    if isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        return _verdict("cannot tell", [tail], (f"{LOG_TAIL} is {_kind(value)}, not a text",))
    lines = [entry.strip() for entry in value.splitlines() if entry.strip()]
    if not lines:
        return Verdict("cannot tell", ("the log is empty",), ("the log is empty",), (tail,))
    last = lines[-1]
    found = next((entry for entry in tree.alternatives if entry.text in last), None)
    remark = f" ({found.remark})" if found and found.remark else ""
    observed = f"last line: {_cut(last)}{remark}"
    return Verdict("met" if found else "not met", (observed,), _provenance([tail]), (tail,))


def _enum(tree: EnumName, facts: Facts) -> Verdict:
    seen = find(tree.type, facts)
    if isinstance(seen, str):
        return Verdict("cannot tell", (), (seen,))
    if not isinstance(seen.value, str):
        return _verdict("cannot tell", [seen], (f"{tree.type} is {_kind(seen.value)}, not a text",))
    if seen.value not in (tree.variant, f"{tree.type}::{tree.variant}"):
        return _verdict("not met", [seen])
    if not tree.carrying:
        return _verdict("met", [seen])
    carried = find(f"{tree.type}.{tree.carrying}", facts)
    if isinstance(carried, str):
        return _verdict("cannot tell", [seen], (carried,))
    if carried.value is None or carried.value == "":
        return _verdict("not met", [seen, carried])
    if not isinstance(carried.value, str):
        return _verdict("cannot tell", [seen, carried], (f"{carried.name} is {_kind(carried.value)}, not a text",))
    return _verdict("met", [seen, carried])


def find(name: str, facts: Facts) -> Observation | str:
    """The observation of that name, or of what a longer path leads into; a sentence when there is none."""
    fact = facts.get(name)
    path: list[str] = []
    if fact is None:
        segments = name.split(".")
        for length in range(len(segments), 0, -1):
            head = ".".join(segments[:length])
            fact = facts.get(head) or facts.get(head.removesuffix("[]"))
            if fact is not None:
                path = segments[length:]
                break
    if fact is None:
        return f"{name} was not observed"
    if fact.provenance is Provenance.UNAVAILABLE:
        return f"{name} cannot be known: {fact.source}" if fact.source else f"{name} cannot be known"
    if not path:
        return fact if fact.name == name else fact.model_copy(update={"name": name})
    values: list[object] = (
        list(_elements(fact.value)) if name.split(".")[-len(path) - 1].endswith("[]") else [fact.value]
    )
    for segment in path:
        key, many = segment.removesuffix("[]"), segment.endswith("[]")
        inner: list[object] = []
        for value in values:
            if not isinstance(value, dict) or key not in value:
                return f"{name} was not observed: there is no {key} in {fact.name}"
            inner.extend(_elements(value[key]) if many else [value[key]])
        values = inner
    found: object = values if "[]" in name else values[0]
    return fact.model_copy(update={"name": name, "value": found})


def _elements(value: object) -> Iterable[object]:
    """The elements of a list, of lists in it too; a single value is a list of one."""
    waiting = [value]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, list | tuple):
            waiting = [*item, *waiting]
        else:
            yield item


def _verdict(outcome: Outcome, used: list[Observation], problems: tuple[str, ...] = ()) -> Verdict:
    return Verdict(
        outcome,
        tuple(_observed(fact) for fact in used),
        (*problems, *_provenance(used)),
        tuple(used),
    )


def _observed(fact: Observation) -> str:
    labelled = fact.provenance in (Provenance.DERIVED, Provenance.RENAMED, Provenance.INPUT)
    return f"{fact.name} = {_shown(fact.value)}" + (f" ({fact.provenance.value})" if labelled else "")


def _provenance(used: list[Observation]) -> tuple[str, ...]:
    return tuple(
        f"{fact.name} is {fact.provenance.value}: {fact.source}"
        for fact in used
        if fact.provenance in (Provenance.DERIVED, Provenance.RENAMED) and fact.source
    )


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):  # a number of thousands of digits, a value that holds itself
        text = f"<{type(value).__name__}>"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
