"""``runbooks/P1-002.md:12:8: error: …`` with the line and a caret under the spot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

_WIDEST = 140


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a document. ``line`` and ``column`` count from 1; 0 is "the document as a whole"."""

    source: str
    line: int
    column: int
    message: str
    level: Literal["error", "warning"] = "error"
    excerpt: str = ""  # the line of the document, as it stands
    length: int = 1  # how many characters the carets point at

    def __str__(self) -> str:
        where = ":".join(str(part) for part in (self.source, self.line, self.column) if part)
        head = f"{where}: {self.level}: {self.message}"
        return f"{head}\n{self._caret()}" if self.excerpt and self.column else head

    def _caret(self) -> str:
        """The line with carets below it; a long line is cut around the spot."""
        start = self.column - 1
        first = max(0, start - _WIDEST // 2) if len(self.excerpt) > _WIDEST else 0
        shown = self.excerpt[first : first + _WIDEST]
        before, spot = shown[: start - first], shown[start - first : start - first + max(1, self.length)]
        prefix, suffix = "…" if first else "", "…" if first + _WIDEST < len(self.excerpt) else ""
        carets = "^" * max(1, cell_len(_plain(spot)))
        return f"    {prefix}{_plain(shown)}{suffix}\n    {' ' * cell_len(prefix + _plain(before))}{carets}"


def _plain(text: str) -> str:
    """One cell of text for each character that cannot be shown."""
    return "".join(char if char.isprintable() else " " for char in text)


class RunbookError(Exception):
    """A document cannot be read as a runbook. ``problems`` has everything that is wrong with it, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class SourceText:
    """A document's text, to point into it."""

    source: str
    lines: tuple[str, ...]

    @classmethod
    def of(cls, text: str, source: str) -> SourceText:
        return cls(source, tuple(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")))

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def line_with(self, text: str) -> int:
        """The number of the first line that holds this text; 0 when none does."""
        return next((number for number, line in enumerate(self.lines, start=1) if text in line), 0)

    def at(
        self,
        line: int,
        message: str,
        spot: str = "",
        level: Literal["error", "warning"] = "error",
        after: int = 0,
    ) -> Problem:
        """A problem on a line, pointing at ``spot`` in it (from column ``after`` on), else at the line's first word."""
        excerpt = self.line(line)
        found = excerpt.find(spot, after) if spot else -1
        if found < 0 and spot:
            found = excerpt.find(spot)
        if found < 0:
            found, spot = len(excerpt) - len(excerpt.lstrip()), excerpt.strip() or " "
        return Problem(self.source, line, found + 1 if line else 0, message, level, excerpt, len(spot))
