"""``state.json line 48``: one thing that is wrong with a file, where it stands and what mends it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from handlers.somas.decode import brief, clean
from handlers.somas.positions import lines_of

Severity = Literal["error", "warning", "note"]
MOST = 40  # findings of one file


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``fix`` is a command, or empty; ``shown`` is the line of the file."""

    severity: Severity
    file: str
    problem: str
    line: int = 0
    fix: str = ""
    shown: str = ""

    @property
    def where(self) -> str:
        return f"{self.file} line {self.line}" if self.line else self.file


def at(file: str, data: bytes, path: tuple[str | int, ...], severity: Severity, problem: str, fix: str = "") -> Finding:
    line = lines_in(data, [path]).get(path, 0)
    return Finding(severity, file, problem, line, fix, line_in(data, line))


def lines_in(data: bytes, paths: Iterable[tuple[str | int, ...]]) -> Mapping[tuple[str | int, ...], int]:
    return lines_of(data.decode("utf-8", "replace"), paths)


def line_in(data: bytes, number: int) -> str:
    """The line as it stands in the file, cut to what can be shown."""
    if not number:
        return ""
    lines = data.split(b"\n", number)
    return brief(lines[number - 1].decode("utf-8", "replace"), 200) if number <= len(lines) else ""


def quoted(value: Any) -> str:
    return f'"{brief(str(value), 60)}"'


def short(value: Any) -> str:
    if value is None:
        return "nothing"
    return brief(clean(json.dumps(value, ensure_ascii=False)), 60)


def most(findings: Iterator[Finding]) -> list[Finding]:
    """So many that a person can read them, and how many more there are."""
    found = list(findings)
    if len(found) <= MOST:
        return found
    return [*found[:MOST], Finding("note", found[MOST].file, f"and {len(found) - MOST} more findings")]
