"""``exit code == 0 or exit code == 1`` of a command that only ever ends with 0 or 1: true whatever happens.

Finds expectations that hold, or fail, on every value that their facts can have. It claims only what is certain: each
fact takes a value from every region that the literals cut its range into, comparisons between two facts and over lists
count as free, and what is looked at at different times is independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise, product
from math import ceil, floor

from bot.runbooks.expectations.tree import (
    EXIT_CODE,
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
    Or,
    Question,
    Tree,
    Within,
)

_MOST_COMBINATIONS = 20_000


@dataclass(frozen=True, slots=True)
class Domain:
    """What values a fact can have: these only, or numbers of a range. Without either it can be anything."""

    values: tuple[str | int | float | bool | None, ...] = ()
    minimum: int | float | None = None
    maximum: int | float | None = None
    whole: bool = False  # whole numbers only


EXIT_CODES = Domain(minimum=0, maximum=255, whole=True)

Domains = Mapping[str, Domain]
_Scope = tuple[int, ...]
_Variable = tuple[_Scope, str]
_Region = object  # a value that stands for all values that the literals cannot tell apart


@dataclass(frozen=True, slots=True)
class _Atom:
    """One comparison of a variable with a constant; ``truth`` computes it."""

    variable: _Variable
    comparison: Comparison | None  # None: a free yes or no

    def truth(self, value: object) -> bool:
        if self.comparison is None:
            return bool(value)
        literal = self.comparison.value
        assert isinstance(literal, Constant)
        return _compares(value, self.comparison.operator, literal.value)


_Formula = tuple[str, tuple["_Formula | _Atom | bool", ...]]
_Node = _Formula | _Atom | bool


def always_true(tree: Expectation, domains: Domains | None = None) -> bool:
    """Whether it holds on every possible value, so that it checks nothing. False when that is not certain."""
    return _decided(tree, domains or {}) is True


def never_true(tree: Expectation, domains: Domains | None = None) -> bool:
    """Whether no possible value satisfies it. False when that is not certain."""
    return _decided(tree, domains or {}) is False


def _decided(tree: Expectation, domains: Domains) -> bool | None:
    if isinstance(tree, NoExpectation):
        return None
    atoms: list[_Atom] = []
    formula = _formula(tree, (), atoms)
    regions = {variable: _regions(variable, atoms, domains) for variable in dict.fromkeys(a.variable for a in atoms)}
    variables = list(regions)
    combinations = 1
    for values in regions.values():
        combinations *= len(values)
    if combinations > _MOST_COMBINATIONS:
        return None
    seen: set[bool] = set()
    for values_ in islice(product(*regions.values()), _MOST_COMBINATIONS):
        seen.add(_truth(formula, dict(zip(variables, values_, strict=True))))
        if len(seen) == 2:
            return None
    return seen.pop() if seen else None


def _formula(tree: Tree, scope: _Scope, atoms: list[_Atom]) -> _Node:
    match tree:
        case And(parts):
            return ("and", tuple(_formula(part, scope, atoms) for part in parts))
        case Or(parts):
            return ("or", tuple(_formula(part, scope, atoms) for part in parts))
        case Noted(inner, _):
            return _formula(inner, scope, atoms)
        case Within(inner, _) | After(inner, _) | For(inner, _):
            # Looked at in its own time: what it sees says nothing about what the others see.
            return _formula(inner, (*scope, len(atoms) + 1), atoms)
        case ExitCode(operation, code):
            return _atom(scope, Comparison(EXIT_CODE, operation, Constant(code)), atoms)
        case EnumName(type_, variant, carrying):
            same = _atom(scope, Comparison(type_, "==", Constant(variant)), atoms)
            return ("and", (same, _free(scope, f"{type_}.{carrying}", atoms))) if carrying else same
        case Comparison(name, operation, Name(other)) if name == other and "[]" not in name:
            return operation in ("==", ">=", "<=")
        case Comparison(name, _, Constant(_, "")) if "[]" not in name:
            return _atom(scope, tree, atoms)
        case Comparison() | LogEndsWith():
            return _free(scope, str(tree), atoms)
        case Question():
            return _free((*scope, -len(atoms) - 1), "question", atoms)


def _atom(scope: _Scope, comparison: Comparison, atoms: list[_Atom]) -> _Atom:
    atoms.append(_Atom((scope, comparison.name), comparison))
    return atoms[-1]


def _free(scope: _Scope, key: str, atoms: list[_Atom]) -> _Atom:
    atoms.append(_Atom((scope, f"?{key}"), None))
    return atoms[-1]


def _truth(node: _Node, values: Mapping[_Variable, object]) -> bool:
    match node:
        case bool():
            return node
        case _Atom():
            return node.truth(values[node.variable])
        case (kind, parts):
            truths = (_truth(part, values) for part in parts)
            return all(truths) if kind == "and" else any(truths)


def _regions(variable: _Variable, atoms: Iterable[_Atom], domains: Domains) -> list[object]:
    """A value for each region that the literals of this variable can tell apart."""
    own = [atom for atom in atoms if atom.variable == variable]
    if any(atom.comparison is None for atom in own):
        return [True, False]
    domain = domains.get(variable[1], EXIT_CODES if variable[1] == EXIT_CODE else Domain())
    if domain.values:
        return list(domain.values)
    literals = [
        atom.comparison.value.value for atom in own if atom.comparison and isinstance(atom.comparison.value, Constant)
    ]
    regions: list[object] = []
    numbers = sorted({Fraction(str(value)) for value in literals if _is_number(value)})
    bounded = domain.minimum is not None or domain.maximum is not None or domain.whole
    if numbers or bounded:
        edges = [*numbers, *(Fraction(str(edge)) for edge in (domain.minimum, domain.maximum) if edge is not None)]
        edges = sorted(set(edges)) or [Fraction(0)]
        points = [Fraction(ceil(edges[0]) - 1), *edges, Fraction(floor(edges[-1]) + 1)]
        for low, high in pairwise(edges):
            # Between two neighbours there need not be a whole number.
            next_whole = Fraction(floor(low) + 1)
            points.append(next_whole if domain.whole and next_whole < high else (low + high) / 2)
        regions += [point for point in points if _inside(point, domain)]
    if not bounded:
        texts = {value for value in literals if isinstance(value, str)}
        if texts:
            regions += [*sorted(texts), _Other()]
        if any(isinstance(value, bool) for value in literals):
            regions += [True, False]
        if None in literals:
            regions += [None, _Other()]
    return regions


class _Other:
    """Any value that equals none of the literals."""


def _inside(point: Fraction, domain: Domain) -> bool:
    if domain.whole and point.denominator != 1:
        return False
    above = domain.minimum is None or point >= Fraction(str(domain.minimum))
    return above and (domain.maximum is None or point <= Fraction(str(domain.maximum)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compares(value: object, operation: str, literal: object) -> bool:
    if _is_number(literal) and (_is_number(value) or isinstance(value, Fraction)):
        left, right = Fraction(str(value)), Fraction(str(literal))
        return {
            "==": left == right,
            "!=": left != right,
            ">": left > right,
            ">=": left >= right,
            "<": left < right,
            "<=": left <= right,
        }[operation]
    same = type(value) is type(literal) and value == literal
    if literal is None:
        return same if operation == "==" else operation == "!=" and not same
    # A value of another type cannot be told, so it is never met; text and yes/no know only == and !=.
    if type(value) is not type(literal) and not (isinstance(value, _Other) and isinstance(literal, str)):
        return False
    return same if operation == "==" else operation == "!=" and not same
