"""The Expected Metrics cell as written -> a tree. Never raises: what cannot be parsed becomes a ``Question``.

Clauses are separated by ``;``. A clause that is prose becomes a question of its own; since it can only be joined by
"and", an expectation with a question in it is never met without a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, v_args
from lark.exceptions import LarkError, VisitError

from bot.runbooks.durations import parse_duration
from bot.runbooks.expectations.tree import (
    After,
    And,
    Comparison,
    Constant,
    EnumName,
    ExitCode,
    Expectation,
    For,
    LogEndsWith,
    LogLine,
    Name,
    NoExpectation,
    Noted,
    Operator,
    Question,
    Tree,
    Within,
    all_of,
    any_of,
    children,
)
from bot.runbooks.expectations.units import unit_named

LONGEST_TEXT = 1000  # characters of one cell; far more than anybody reads at three in the morning
DEEPEST = 20
_NOTHING = frozenset({"", "-", "–", "—", "n/a"})
_OPERATORS: dict[str, Operator] = {"=": "==", "<>": "!=", "≠": "!=", "≥": ">=", "≤": "<="}
_OPAQUE = r""""(?:[^"\\\n]|\\.)*"|(?<!\w)'[^'\n]*'(?!\w)|\([^()]*\)"""
_STRING = r""""(?:[^"\\\n]|\\.)*"|(?<!\w)'[^'\n]*'(?!\w)"""


def parse(text: str, phrases: Mapping[str, str] | None = None) -> Expectation:
    """Parse a cell. ``phrases`` is the product's phrase book: ``{"Process running": "process.running == true"}``.

    Phrases are found whatever their case, with or without backticks, as whole words. Never raises.
    """
    written = text.strip()
    if written.lower() in _NOTHING:
        return NoExpectation()
    if len(written) > LONGEST_TEXT:
        return Question(written, f"it is longer than {LONGEST_TEXT} characters")
    book = _PhraseBook(phrases or {})
    code = re.sub(r"[“”„]", '"', written)
    # Backticks only mark code; inside a string they are part of it.
    code = re.sub(rf"({_STRING})|`", lambda found: found[1] or " ", code)
    clauses = _clauses(code, book.pattern)
    if not clauses:
        return Question(written, "it says nothing that could be checked")
    trees = tuple(_clause(clause, book) for clause in clauses)
    if all(isinstance(tree, Question) for tree in trees):
        whys = dict.fromkeys(tree.why for tree in trees if isinstance(tree, Question))
        return Question(written, "; ".join(whys))
    tree = all_of(trees)
    return tree if _depth(tree) <= DEEPEST else Question(written, "its brackets are nested too deeply")


class _PhraseBook:
    """Finds the phrases of a product in a text: the longest first, whatever their case, as whole words."""

    def __init__(self, phrases: Mapping[str, str]) -> None:
        self.expansions = {_key(phrase): _joined(expansion) for phrase, expansion in phrases.items() if _key(phrase)}
        ordered = sorted(self.expansions, key=lambda key: (-len(key), key))
        either = "|".join(r"\s+".join(map(re.escape, phrase.split(" "))) for phrase in ordered)
        self.pattern = rf"(?<![\w.:])(?:{either})(?![\w:])(?!\.\w)" if either else r"(?!)"

    def expand(self, code: str) -> str:
        """The book's text, in brackets, where a phrase stands; strings and remarks are left alone."""

        def replace(found: re.Match[str]) -> str:
            if found["phrase"] is None:
                return found[0]
            return self.expansions[_key(found["phrase"])]

        return re.sub(rf"(?P<phrase>{self.pattern})|{_OPAQUE}", replace, code, flags=re.IGNORECASE)


def _joined(expansion: str) -> str:
    """The book's text as one bracket, whose clauses are joined by "and"."""
    code = re.sub(rf"({_STRING})|`", lambda found: found[1] or " ", expansion)
    clauses = _clauses(code, r"(?!)")
    return "(" + (" and ".join(f"({clause})" for clause in clauses) if len(clauses) > 1 else code) + ")"


def _clauses(text: str, phrases: str) -> list[str]:
    """Split at ``;``, but not inside a phrase (a pattern), a string or brackets."""
    clauses, start = [], 0
    for piece in re.finditer(rf"{phrases}|{_OPAQUE}|;", text, flags=re.IGNORECASE):
        if piece[0] == ";":
            clauses.append(text[start : piece.start()])
            start = piece.end()
    clauses.append(text[start:])
    return [clause.strip() for clause in clauses if clause.strip()]


def _clause(text: str, book: _PhraseBook) -> Tree:
    code = book.expand(text.rstrip(".").rstrip())
    if len(code) > 4 * LONGEST_TEXT:
        return Question(text, "the phrase book makes it too long")
    try:
        tree = cast("Tree", _PARSER.parse(code))
    except UnexpectedInput as problem:
        return Question(text, _why(problem, code))
    except VisitError as problem:
        return Question(text, str(problem.orig_exc))
    except (LarkError, ValueError) as problem:
        return Question(text, str(problem))
    return tree if _depth(tree) <= DEEPEST else Question(text, "its brackets are nested too deeply")


def _key(phrase: str) -> str:
    return " ".join(phrase.replace("`", "").rstrip(". ").lower().split())


def _why(problem: UnexpectedInput, code: str) -> str:
    position = problem.pos_in_stream
    if isinstance(position, int) and 0 <= position < len(code):
        word = re.match(r"\S+", code[position:].lstrip())
        if word:
            return f'it is not an expectation from "{word[0][:40]}" on'
    if isinstance(problem, UnexpectedCharacters):
        return "it is not an expectation"
    return "it ends before it says what is expected"


def _depth(tree: Expectation) -> int:
    below = [_depth(child) for child in children(tree)]
    return 1 + max(below, default=0)


class _Bare(LogEndsWith):
    """A single word or string: only good as a further line of the log ("Log ends with A or B")."""

    __slots__ = ()


class _Group:
    """Something in brackets, so that "(log ends with A) or B::C" is told from "log ends with A or B::C"."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree


_Part = Tree | _Group


@v_args(inline=True)
class _Build(Transformer[Token, Any]):
    """Called by the parser at each rule, so that its depth is not bound by Python's stack."""

    def start(self, tree: _Part) -> Tree:
        return _open(tree)

    def or_expr(self, *parts: _Part) -> _Part:
        if len(parts) == 1:
            return parts[0]
        joined: list[_Part] = []
        for part in parts:
            before = joined[-1] if joined else None
            lines = _log_lines(part)
            if isinstance(before, LogEndsWith) and not isinstance(before, _Bare) and lines:
                joined[-1] = _with_lines(before, part, lines)
            else:
                joined.append(part)
        return any_of(tuple(map(_open, joined)))

    def and_expr(self, *parts: _Part) -> _Part:
        return parts[0] if len(parts) == 1 else And(tuple(map(_open, parts)))

    def group(self, part: _Part) -> _Group:
        return _Group(_open(part))

    def noted(self, part: _Part, remark: Token) -> Tree:
        text = " ".join(str(remark)[1:-1].split())
        if isinstance(part, LogEndsWith):  # straight behind the line, not behind brackets
            line = part.alternatives[0]
            return type(part)((LogLine(line.text, "; ".join(filter(None, (line.remark, text)))),))
        tree = part.tree if isinstance(part, _Group) else part
        if not text:
            return tree
        if isinstance(tree, Noted):
            return Noted(tree.tree, f"{tree.remark}; {text}")
        return Noted(tree, text)

    def within(self, part: _Part, duration: Token) -> Tree:
        return Within(_inner(part), _duration(duration))

    def after(self, part: _Part, duration: Token) -> Tree:
        return After(_inner(part), _duration(duration))

    def lasting(self, part: _Part, duration: Token) -> Tree:
        return For(_inner(part), _duration(duration))

    def comparison(self, name: Token, operator: Token, value: Constant | Name) -> Comparison:
        return Comparison(str(name), _operator(operator), value)

    def exit_code(self, *parts: Token) -> ExitCode:
        operator: Operator = _operator(parts[0]) if len(parts) == 2 else "=="
        number = str(parts[-1])
        if not re.fullmatch(r"[0-9]{1,3}", number):
            raise ValueError(f"an exit code is a whole number from 0 to 255, not {number[:20]}")
        return ExitCode(operator, int(number))

    def log_ends_with(self, text: Token) -> LogEndsWith:
        return LogEndsWith((LogLine(_text(text)),))

    def bare(self, text: Token) -> _Bare:
        return _Bare((LogLine(_text(text)),))

    def enum(self, path: Token, carrying: Token | None = None) -> EnumName:
        type_, _, variant = str(path).rpartition("::")
        return EnumName(type_, variant, str(carrying).split()[-2] if carrying else "")

    def string(self, token: Token) -> Constant:
        return Constant(_text(token))

    word = string

    def number(self, token: Token) -> Constant:
        found = re.fullmatch(r"(-?)([0-9]{1,30})(?:\.([0-9]+))?\s*(.*)", str(token))
        if found is None or (found[3] and len(found[2]) + len(found[3]) > 15):
            raise ValueError(f"the number {str(token)[:20]}… has too many digits")
        value = float(f"{found[1]}{found[2]}.{found[3]}") if found[3] else int(found[1] + found[2])
        return Constant(value, unit_named(found[4]))

    def true(self, _: Token) -> Constant:
        return Constant(True)

    def false(self, _: Token) -> Constant:
        return Constant(False)

    def null(self, _: Token) -> Constant:
        return Constant(None)

    def name(self, token: Token) -> Name:
        return Name(str(token))


def _open(part: _Part) -> Tree:
    """What stands for itself; a lone word does not."""
    if isinstance(part, _Group):
        return part.tree
    inner: Tree = part
    while isinstance(inner, Within | After | For | Noted):
        inner = inner.tree
    if isinstance(inner, _Bare):
        raise ValueError(f'"{inner.alternatives[0].text}" is not a comparison')  # noqa: TRY004 - of the text's kind
    return part


def _inner(part: _Part) -> Tree:
    # A lone word passes: it may be the last line of a log list, "… or Panic within 30s".
    return part.tree if isinstance(part, _Group) else part


def _log_lines(part: _Part) -> tuple[LogLine, ...]:
    """What a part says when it stands behind "Log ends with A or"; empty when it is an expectation of its own."""
    match part:
        case _Bare(alternatives=lines):
            return lines
        case EnumName(type_, variant, ""):
            return (LogLine(f"{type_}::{variant}"),)
        case Noted(EnumName(type_, variant, ""), remark):
            return (LogLine(f"{type_}::{variant}", remark),)
        case Within(inner, _) | After(inner, _) | For(inner, _):
            return _log_lines(inner)
        case _:
            return ()


def _with_lines(log: LogEndsWith, part: _Part, lines: tuple[LogLine, ...]) -> Tree:
    """Add lines to a log expectation; a span of time behind the last line is one for the whole."""
    match part:
        case Within(inner, duration):
            return Within(_with_lines(log, inner, lines), duration)
        case After(inner, duration):
            return After(_with_lines(log, inner, lines), duration)
        case For(inner, duration):
            return For(_with_lines(log, inner, lines), duration)
        case _:
            return LogEndsWith((*log.alternatives, *lines))


def _operator(token: Token) -> Operator:
    return _OPERATORS.get(str(token), cast("Operator", str(token)))


def _duration(token: Token) -> timedelta:
    return parse_duration(str(token))


def _text(token: Token) -> str:
    text = str(token)
    if text.startswith('"'):
        try:
            return str(json.loads(text, strict=False))
        except ValueError:  # a backslash that is no escape, as in a Windows path: taken as it stands
            return text[1:-1]
    return text[1:-1] if text.startswith("'") else text


_PARSER = Lark(
    (Path(__file__).parent / "expectations.lark").read_text(encoding="utf-8"),
    parser="lalr",
    lexer="contextual",
    transformer=_Build(),
    maybe_placeholders=False,
)
