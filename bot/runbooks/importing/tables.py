"""``P1-001: Supervisor Process Crash`` and ``| 1 | Check … |``: procedures with tables of steps whose marks were lost.

Read by lines and not as CommonMark: without blank lines and marks, Markdown makes one paragraph of it all, and a row of
the table out of the escalation clause. What is written is parsed as CommonMark again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bot.runbooks.document import column_of
from bot.runbooks.durations import parse_duration
from bot.runbooks.importing import marks
from bot.runbooks.importing.procedure import HEAD, Notebook, Procedure, Row, has_id, named

_LABEL = "symptoms|escalation|total estimated duration|total duration"
_LABELS = re.compile(
    rf"(?:^\s*|(?<=[.\s]))(?P<mark>\*\*|__)\s*(?P<bold>{_LABEL})\s*(?::\s*(?P=mark)|(?P=mark)\s*:)\s*"
    rf"|(?:^\s*|(?<=[.;]\s))(?P<plain>{_LABEL})\s*:\s*",
    re.IGNORECASE,
)
_RULE = re.compile(r"[\s|:—-]+")
_FENCE = re.compile(r"\s*(```+|~~~+)")
_LOOK_AHEAD = 6  # lines behind a heading in which its symptoms or its table begin


def has_steps(lines: list[str]) -> bool:
    """Whether the text has a table of steps at all, outside of code."""
    return any(_head(line) for _, line in _outside_code(lines))


def read(lines: list[str], book: Notebook) -> list[Procedure]:
    """The procedures of the text, in its order."""
    reader = _Reader(lines, book)
    for number, line in _outside_code(lines):
        reader.line(number, line)
    return reader.done()


def _outside_code(lines: list[str]) -> list[tuple[int, str]]:
    kept, fence = [], ""
    for number, line in enumerate(lines, 1):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence):
                fence = ""
        elif mark:
            fence = mark[1]
        else:
            kept.append((number, line))
    return kept


def _head(line: str) -> list[str]:
    """The columns of a step table's head; empty when the line is none."""
    if "|" not in line:
        return []
    columns = [column_of(cell) for cell in _cells(line)]
    known = {column for column in columns if column}
    return columns if ("action" in known and len(known) > 1) or {"step"} < known else []


def _cells(line: str) -> list[str]:
    bare = re.sub(r"^[\s>]*\|", "", line.rstrip())
    bare = bare[:-1] if bare.endswith("|") and not bare.endswith("\\|") else bare
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", bare)]


@dataclass(slots=True)
class _Reader:
    lines: list[str]
    book: Notebook
    procedures: list[Procedure] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)  # of the table that is being read
    label: str = ""  # what the next plain line goes on with
    common: list[str] = field(default_factory=list)  # notes that stand before the first procedure
    last_plain: tuple[int, str] = (0, "")

    def line(self, number: int, line: str) -> None:
        text = line.strip()
        if not text:
            self.label = ""
        elif self._heading(number, text):
            self.columns, self.label, self.last_plain = [], "", (0, "")
        elif columns := _head(text):
            self._table(number, text, columns)
        elif self.columns and text.startswith("|"):
            self._row(number, text)
        else:
            if self.columns:
                if self.lines[number - 2].strip():
                    self.book.guess(number, line, "", "a blank line was put behind the table, or this were a row of it")
                self.columns = []
            self._text(number, text)

    def done(self) -> list[Procedure]:
        for procedure in self.procedures:
            procedure.notes = [*self.common, *procedure.notes]
        for procedure in self.procedures:
            if not procedure.rows:
                self.book.guess(procedure.line, procedure.title, "", "left out: no table of steps stands below it")
        return [procedure for procedure in self.procedures if procedure.rows]

    def _heading(self, number: int, text: str) -> bool:
        marked = re.fullmatch(r"(#{1,6})\s+(.*\S)\s*#*", text)
        if marked:
            self._open(number, marked[2])
            return True
        bare = text.strip("*_ ").rstrip(":")
        if not has_id(bare) or len(bare) > 150 or "|" in text or _LABELS.match(text):
            return False
        following = [line for line in self.lines[number : number + _LOOK_AHEAD] if line.strip()]
        if not any(_head(line) or _LABELS.match(line) for line in following):
            return False
        id_, title = named(bare)
        self.book.guess(number, text, f"## {id_}: {title}", "the mark of the heading was lost")
        self._open(number, bare)
        return True

    def _open(self, number: int, heading: str) -> None:
        id_, title = named(heading)
        self.procedures.append(Procedure(id_, title, number))

    def _current(self, number: int) -> Procedure:
        """The procedure that a line belongs to; a table without a heading takes the line before it for one."""
        if not self.procedures:
            line, text = self.last_plain
            heading = text or "Procedure"
            if heading in self.common:
                self.common.remove(heading)
            self.book.guess(line or number, text, f"## {heading}", "there is no heading; this line was taken for one")
            self._open(line or number, heading)
        return self.procedures[-1]

    def _table(self, number: int, text: str, columns: list[str]) -> None:
        procedure = self._current(number)
        if procedure.rows:
            why = "a second table of steps below the same heading was joined to the first"
            self.book.guess(number, text, "", why)
        self.columns = columns
        if self.lines[number - 2 : number - 1] and self.lines[number - 2].strip():
            self.book.guess(number, text, "", "a blank line was put before the table")
        following = self.lines[number] if number < len(self.lines) else ""
        if not (_RULE.fullmatch(following) and "-" in following):
            self.book.guess(number, text, "|---|---|---|---|", "the line below the head of the table was lost")
        if columns != ["step", "action", "expected", "duration"]:
            self.book.guess(number, text, HEAD, "the columns were put in order; other columns were left out")

    def _row(self, number: int, text: str) -> None:
        if _RULE.fullmatch(text):
            return
        cells = _cells(text)
        excess = len(cells) - len(self.columns)
        if excess > 0:
            at = next((i for i, cell in enumerate(cells) if cell.count("`") % 2), None)
            at = self.columns.index("action") if at is None and "action" in self.columns else (at or 0)
            at = min(at, len(self.columns) - 1)
            cells[at : at + excess + 1] = [" | ".join(cells[at : at + excess + 1])]
            self.book.guess(number, text, cells[at], "the row has too many cells: a | was taken for text")
        named_cells = dict(zip(self.columns, cells, strict=False))
        procedure = self.procedures[-1]
        action = named_cells.get("action", "")
        if not action:
            self.book.guess(number, text, "", "left out: the row has no action")
            return
        row = Row(
            action=self._marked(number, action, marks.action(action)),
            expected=self._expected(number, named_cells.get("expected", "")),
            duration=self._duration(number, named_cells.get("duration", "")),
            number=self._number(number, procedure, named_cells.get("step", "")),
            line=number,
        )
        procedure.rows.append(row)

    def _marked(self, number: int, said: str, written: str) -> str:
        if said != written:
            self.book.guess(number, said, written, "code was marked as code")
        return written

    def _expected(self, number: int, said: str) -> str:
        written = marks.expectation(said)
        return self._marked(number, said, written)

    def _duration(self, number: int, said: str) -> str:
        try:
            parse_duration(said)
        except ValueError as error:
            if said not in ("", "-", "–", "—"):
                self.book.guess(number, said, "", f"no duration was written, nothing escalates: {error}")
            return ""
        return said

    def _number(self, number: int, procedure: Procedure, said: str) -> str:
        plain = re.sub(r"[*_`|]|\.$", "", said).strip()
        taken = {row.number for row in procedure.rows}
        if plain and plain not in taken:
            return plain
        new = next(str(n) for n in range(len(taken) + 1, 2 * len(taken) + 3) if str(n) not in taken)
        self.book.guess(number, said, new, "the step has no number of its own")
        return new

    def _text(self, number: int, text: str) -> None:
        found = list(_LABELS.finditer(text))
        before = text[: found[0].start()].strip() if found else text
        if before:
            self._plain(number, before)
        if not found:
            return
        procedure = self._current(number)
        spoken = []
        for this, following in zip(found, [*found[1:], None], strict=False):
            name = (this["bold"] or this["plain"]).lower()
            said = text[this.end() : following.start() if following else len(text)].strip()
            self.label = "total" if name.startswith("total") else name
            self._say(number, procedure, self.label, said)
            spoken.append(f"**{name.capitalize()}**:")
        if any(this["plain"] for this in found):
            self.book.guess(number, text, "\n".join(spoken), "the marks of the label were lost")
        if len(found) > 1:
            self.book.guess(number, text, "", "the clauses were put on lines of their own")

    def _plain(self, number: int, text: str) -> None:
        if self.label and self.procedures:
            self._say(number, self.procedures[-1], self.label, text)
            return
        self.last_plain = (number, text)
        if self.procedures:
            self.procedures[-1].notes.append(marks.prose(text))
        elif text.lower().startswith("note"):
            self.common.append(marks.prose(text))
            self.book.guess(number, text, text, "it holds for every procedure, so each document begins with it")
        elif text.lower().startswith("language"):
            self.book.guess(number, text, "", "left out: the text itself shows in which language it is")
        else:
            self.book.guess(number, text, "", "left out: it stands before the first procedure")

    def _say(self, number: int, procedure: Procedure, label: str, said: str) -> None:
        if label == "total":
            procedure.total = f"{procedure.total} {said}".strip()
            return
        written = self._marked(number, said, marks.prose(said))
        if label == "symptoms":
            procedure.symptoms = f"{procedure.symptoms} {written}".strip()
        else:
            procedure.escalation = f"{procedure.escalation} {written}".strip()
