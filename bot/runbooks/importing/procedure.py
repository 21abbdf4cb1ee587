"""What the readers find in a text, and what was guessed on the way; plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bot.runbooks.document import COLUMNS

_CALL_IT = re.compile(r"(?P<id>[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*)\s*(?::|\s[-–—])\s+(?P<title>\S.*)")
_MOST = 400  # characters of a guess that are shown


@dataclass(frozen=True, slots=True)
class Guess:
    """Something that the text does not say, or says otherwise. ``line`` counts from 1; 0 is the text as a whole."""

    line: int
    said: str
    written: str  # empty: nothing was written
    why: str


class Notebook:
    """Collects guesses."""

    def __init__(self) -> None:
        self.guesses: list[Guess] = []

    def guess(self, line: int, said: str, written: str, why: str) -> None:
        self.guesses.append(Guess(line, said.strip()[:_MOST], written.strip()[:_MOST], why))


@dataclass(slots=True)
class Row:
    """A step: cells as Markdown, without the escape of pipes. ``duration`` is as written, or guessed."""

    action: str
    expected: str = ""
    duration: str = ""
    number: str = ""
    line: int = 0


@dataclass(slots=True)
class Block:
    """Lines that do not fit into a table cell; they go below the table. ``step``: whose they are, 0 for all."""

    step: int
    language: str
    code: str


@dataclass(slots=True)
class Procedure:
    """A heading and what belongs to it."""

    id: str
    title: str
    line: int
    symptoms: str = ""
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    escalation: str = ""
    total: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A file to be written."""

    id: str  # P1-001
    name: str  # P1-001.md
    text: str
    title: str
    steps: int


@dataclass(frozen=True, slots=True)
class Imported:
    documents: tuple[Document, ...]
    guesses: tuple[Guess, ...]


def named(heading: str) -> tuple[str, str]:
    """``P1-001: Crash`` -> its id and title; without an id, one is made from the title."""
    plain = " ".join(re.sub(r"\*\*|__|`", "", heading).split()).rstrip("#").strip()
    found = _CALL_IT.fullmatch(plain)
    if found and any(char.isdigit() for char in found["id"]):
        return found["id"], found["title"]
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-"), plain


def has_id(line: str) -> bool:
    """Whether a line is ``P1-001: Crash``, with a digit in the id (``Note: see below`` has none)."""
    found = _CALL_IT.fullmatch(line.strip())
    return bool(found and any(char.isdigit() for char in found["id"]))


HEAD = f"| {' | '.join(COLUMNS.values())} |"
