"""``children.failed > 0 and exit code == 0``: an expectation as a typed tree, and back as text.

``str(tree)`` prints what ``parse`` reads back into an equal tree.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal

from bot.runbooks.durations import format_duration

EXIT_CODE = "exit_code"  # the fact behind ``exit code == 0``
LOG_TAIL = "log.tail"  # the fact behind ``Log ends with …``: a text or a list of lines, the newest last

Operator = Literal["==", "!=", ">", ">=", "<", "<="]


@dataclass(frozen=True, slots=True)
class Constant:
    """``"ready"``, ``30``, ``200ms``, ``80%``, ``true``, ``null``."""

    value: str | int | float | bool | None
    unit: str = ""  # a key of ``units.UNITS``

    def __str__(self) -> str:
        match self.value:
            case None:
                return "null"
            case bool():
                return "true" if self.value else "false"
            case str():
                return quoted(self.value)
            case float():
                text = format(Decimal(repr(self.value)), "f")
                return (text if "." in text else f"{text}.0") + self.unit
            case _:
                return f"{self.value}{self.unit}"


@dataclass(frozen=True, slots=True)
class Name:
    """The right side is another fact or an input of the run: ``… == target_count``."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """``children.failed > 0``. With ``[]`` in the name it holds when any element of the list satisfies it."""

    name: str
    operator: Operator
    value: Constant | Name

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.value}"


@dataclass(frozen=True, slots=True)
class ExitCode:
    """``exit code == 0``: of the command that the step ran."""

    operator: Operator
    code: int

    def __str__(self) -> str:
        return f"exit code {self.operator} {self.code}"


@dataclass(frozen=True, slots=True)
class LogLine:
    text: str
    remark: str = ""

    def __str__(self) -> str:
        return quoted(self.text) + (f" ({self.remark})" if self.remark else "")


@dataclass(frozen=True, slots=True)
class LogEndsWith:
    """``Log ends with A (planned) or B (unexpected)``: the last line that is not blank contains one of the texts."""

    alternatives: tuple[LogLine, ...]

    def __str__(self) -> str:
        return "log ends with " + " or ".join(map(str, self.alternatives))


@dataclass(frozen=True, slots=True)
class EnumName:
    """``CommandResult::Accepted``: the fact ``CommandResult`` has the value ``Accepted``.

    ``carrying`` is the word in ``TaskExit::Failed with reason string``: the fact ``TaskExit.reason`` must be a text
    that is not empty.
    """

    type: str
    variant: str
    carrying: str = ""

    def __str__(self) -> str:
        return f"{self.type}::{self.variant}" + (f" with {self.carrying} string" if self.carrying else "")


@dataclass(frozen=True, slots=True)
class Noted:
    """A remark in brackets behind an expectation: ``exit code == 0 (process running)``. It is kept, not checked."""

    tree: Tree
    remark: str

    def __str__(self) -> str:
        inner = f"({self.tree})" if isinstance(self.tree, LogEndsWith) else _tight(self.tree)
        return f"{inner} ({self.remark})"


@dataclass(frozen=True, slots=True)
class Within:
    """``… within 30s``: met as soon as it holds; not met when the time is over and it never did."""

    tree: Tree
    duration: timedelta

    def __str__(self) -> str:
        return f"{_tight(self.tree)} within {format_duration(self.duration)}"


@dataclass(frozen=True, slots=True)
class After:
    """``… after 5s``: looked at only when the time is over."""

    tree: Tree
    duration: timedelta

    def __str__(self) -> str:
        return f"{_tight(self.tree)} after {format_duration(self.duration)}"


@dataclass(frozen=True, slots=True)
class For:
    """``… for 2min``: must hold at every look during that time."""

    tree: Tree
    duration: timedelta

    def __str__(self) -> str:
        return f"{_tight(self.tree)} for {format_duration(self.duration)}"


@dataclass(frozen=True, slots=True)
class Question:
    """Text that no machine can check: it is put to the operator. ``why`` says what kept it from being parsed."""

    text: str
    why: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Tree, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _flat(And, self.parts))

    def __str__(self) -> str:
        if any(isinstance(part, Question) for part in self.parts):
            return "; ".join(map(str, self.parts))  # prose can only stand in a clause of its own
        return " and ".join(_tight(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Tree, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", _flat(Or, self.parts))

    def __str__(self) -> str:
        # A log expectation takes what follows its "or" for another line of the log: brackets end it.
        last = len(self.parts) - 1
        return " or ".join(
            f"({part})" if isinstance(part, LogEndsWith) and index < last else str(part)
            for index, part in enumerate(self.parts)
        )


@dataclass(frozen=True, slots=True)
class NoExpectation:
    """The cell is empty: the result of the step itself decides."""

    def __str__(self) -> str:
        return ""


Temporal = Within | After | For
Leaf = Comparison | ExitCode | LogEndsWith | EnumName | Question
Tree = Leaf | Noted | Temporal | And | Or
Expectation = Tree | NoExpectation


def quoted(text: str) -> str:
    """A text literal. Brackets, semicolons and backticks are escaped: they end clauses and code spans."""
    return "".join(f"\\u{ord(char):04x}" if char in "();`“”„" else char for char in json.dumps(text))


def all_of(parts: tuple[Tree, ...]) -> Tree:
    return parts[0] if len(parts) == 1 else And(parts)


def any_of(parts: tuple[Tree, ...]) -> Tree:
    return parts[0] if len(parts) == 1 else Or(parts)


def children(tree: Expectation) -> tuple[Tree, ...]:
    """The trees directly below."""
    match tree:
        case And(parts) | Or(parts):
            return parts
        case Noted(inner, _) | Within(inner, _) | After(inner, _) | For(inner, _):
            return (inner,)
        case _:
            return ()


def walk(tree: Expectation) -> Iterator[Expectation]:
    """The tree and everything below it, from left to right."""
    yield tree
    for child in children(tree):
        yield from walk(child)


def names(tree: Expectation) -> frozenset[str]:
    """Which facts are needed to evaluate it."""
    needed: set[str] = set()
    for node in walk(tree):
        match node:
            case Comparison(name, _, value):
                needed.add(name)
                if isinstance(value, Name):
                    needed.add(value.name)
            case ExitCode():
                needed.add(EXIT_CODE)
            case LogEndsWith():
                needed.add(LOG_TAIL)
            case EnumName(type_, _, carrying):
                needed.update({type_, f"{type_}.{carrying}"} if carrying else {type_})
            case _:
                pass
    return frozenset(needed)


def questions(tree: Expectation) -> tuple[Question, ...]:
    """What must be put to the operator."""
    return tuple(node for node in walk(tree) if isinstance(node, Question))


def is_temporal(tree: Expectation) -> bool:
    """Whether one look is not enough."""
    return any(isinstance(node, Within | After | For) for node in walk(tree))


def _tight(tree: Tree) -> str:
    loose = isinstance(tree, And | Or) or (isinstance(tree, LogEndsWith) and len(tree.alternatives) > 1)
    return f"({tree})" if loose else str(tree)


def _flat(kind: type[And] | type[Or], parts: tuple[Tree, ...]) -> tuple[Tree, ...]:
    flat: list[Tree] = []
    for part in parts:
        flat.extend(part.parts if isinstance(part, kind) else (part,))
    if len(flat) < 2:
        raise ValueError("and/or needs at least two parts")
    return tuple(flat)
