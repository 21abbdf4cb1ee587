"""``### Restart`` with ``1. Archive the state`` and a fenced command: Markdown whose procedures are no tables yet.

Each numbered item and each command becomes a row. What such a text never states (durations, whom to call) is guessed
and told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bot.runbooks.durations import format_duration, parse_duration
from bot.runbooks.importing.commands import commands
from bot.runbooks.importing.marks import code_span, escaped
from bot.runbooks.importing.procedure import Block, Notebook, Procedure, Row, named

_SHELLS = frozenset({"", "bash", "sh", "shell", "console", "zsh"})
_LABEL = re.compile(r"(?:\*\*|__)(?P<name>[^*_]+?)(?:\s*:\s*(?:\*\*|__)|(?:\*\*|__)\s*:)\s*(?P<rest>.*)", re.DOTALL)
_EXPECTED = re.compile(
    r"[.;,]?\s*\(?Expect(?:ed|s)?(?: results?| metrics?)?\s*:?\s+(?P<what>[^)]+)\)?\s*$", re.IGNORECASE
)
_LONGEST_SPAN = 400  # characters of a command that still goes into a cell
_BUDGETS = (  # what a row is about -> how long it gets, and why
    (r"\bwatch\b|\bmonitor\b", "10min", "it waits for something"),
    (
        r"workflow run\b|\brestart\b|\btrigger\b|\bcancel\b",
        "5min",
        "it starts or stops something",
    ),
    (r"\bcp\b|\bmv\b|\bgit checkout\b|\s>\s*\S+", "3min", "it changes files"),
    (r"`", "1min", "it looks something up"),
    (r"", "5min", "a person has to think"),
)


@dataclass(slots=True)
class _Item:
    """A numbered item, a paragraph or a fence, in the order of the text."""

    kind: str  # item, prose, label, code
    line: int
    text: str = ""
    language: str = ""
    more: list[str] = field(default_factory=list)  # bullets and paragraphs inside of an item
    codes: list[tuple[str, str, int]] = field(default_factory=list)  # language, code, line


@dataclass(slots=True)
class _Section:
    title: str
    line: int
    items: list[_Item] = field(default_factory=list)


def read(lines: list[str], book: Notebook) -> list[Procedure]:
    """The procedures of the text, in its order. Sections without steps are left out and told."""
    try:
        tokens = MarkdownIt("commonmark").enable("table").parse("\n".join(lines))
    except (RecursionError, ValueError, IndexError) as error:  # of the library
        book.guess(0, "", "", f"it cannot be read as Markdown: {error}")
        return []
    sections = _sections(tokens)
    contact = _contact(sections)
    procedures = []
    for section in sections:
        procedure = _procedure(section, book)
        if procedure.rows:
            _finish(procedure, contact, book)
            procedures.append(procedure)
        elif section.items and section.title:
            book.guess(section.line, section.title, "", "left out: it has no numbered step and no command")
    return procedures


def _sections(tokens: list[Token]) -> list[_Section]:
    sections = [_Section("", 1)]
    depth = 0  # of lists
    item: _Item | None = None
    index = 0
    while index < len(tokens):
        token = tokens[index]
        line = token.map[0] + 1 if token.map else 0
        section = sections[-1]
        match token.type:
            case "heading_open":
                sections.append(_Section(tokens[index + 1].content, line))
                index += 2
            case "ordered_list_open" | "bullet_list_open":
                depth += 1
            case "ordered_list_close" | "bullet_list_close":
                depth -= 1
                item = item if depth else None
            case "list_item_open" if depth == 1 and token.markup in (".", ")"):
                item = _Item("item", line)
                section.items.append(item)
            case "fence" | "code_block":
                language = token.info.split()[0].lower() if token.info.split() else ""
                if item is not None:
                    item.codes.append((language, token.content, line))
                else:
                    section.items.append(_Item("code", line, token.content, language))
            case "inline" if token.content.strip():
                _inline(section, item, token, line, in_list=bool(depth))
            case "table_open":
                section.items.append(_Item("table", line))
                index = next((i for i in range(index, len(tokens)) if tokens[i].type == "table_close"), index)
        index += 1
    return sections


def _inline(section: _Section, item: _Item | None, token: Token, line: int, *, in_list: bool) -> None:
    text = " ".join(token.content.split())
    if item is not None:
        if item.text:
            item.more.append(text)
        else:
            item.text = text
        return
    label = None if in_list else _LABEL.fullmatch(text)
    if label:
        section.items.append(_Item("label", line, label["name"].strip(), more=[label["rest"]]))
    else:
        section.items.append(_Item("prose", line, text))


def _contact(sections: list[_Section]) -> str:
    """Whom the document names for escalations, anywhere in it."""
    for section in sections:
        for item in section.items:
            if item.kind == "label" and "escalat" in item.text.lower() and item.more[0]:
                return item.more[0].rstrip(".")
    return ""


def _procedure(section: _Section, book: Notebook) -> Procedure:
    id_, title = named(re.sub(r"^\d+[.)]\s+", "", section.title))
    procedure = Procedure(id_ or f"procedure-{section.line}", title or "Procedure", section.line)
    label = ""
    for item in section.items:
        if item.kind == "label":
            label = item.text
            rest = item.more[0]
            if label.lower() == "symptoms":
                procedure.symptoms, label = rest, ""
            elif rest:
                procedure.notes.append(f"{label}: {rest}")
        elif item.kind == "prose":
            procedure.notes.append(item.text)
        elif item.kind == "item":
            _item_rows(procedure, item, label, book)
        elif item.kind == "code":
            _code_rows(procedure, label, item.language, item.text, item.line, book, alone=True)
    return procedure


def _item_rows(procedure: Procedure, item: _Item, label: str, book: Notebook) -> None:
    lead = re.sub(r"^(\*\*|__)(.+?)\1", r"\2", item.text).rstrip(": ")
    if item.more:
        lead = f"{lead}: {'; '.join(more.rstrip('.;') for more in item.more)}"
    lead = f"{label}: {lead}" if label else lead
    before = len(procedure.rows)
    for language, code, line in item.codes:
        _code_rows(procedure, lead, language, code, line, book, alone=False)
    if len(procedure.rows) == before and lead:
        expected = _EXPECTED.search(lead)
        if expected and lead[: expected.start()].strip():
            said = expected["what"].strip().rstrip(".")
            book.guess(item.line, lead, said, "this was taken for what the step expects")
            procedure.rows.append(Row(lead[: expected.start()].strip(), said, line=item.line))
        else:
            procedure.rows.append(Row(lead, line=item.line))


def _code_rows(
    procedure: Procedure, lead: str, language: str, code: str, line: int, book: Notebook, *, alone: bool
) -> None:
    """A row for each command; what is no command of a shell, or does not fit into a cell, goes below the table."""
    if language not in _SHELLS:
        if alone and language not in ("python", "py", "ruby", "javascript", "js", "sql"):
            procedure.notes.append(f"```{language}\n{code.rstrip()}\n```")
            return
        _below(procedure, lead, language, code, line, book)
        return
    for command in commands(code):
        text = _joined(lead, escaped(command.comment))
        if not command.lines:
            procedure.rows.append(Row(text or "Do this", line=line + command.line))
        elif command.is_script or len(command.text) > _LONGEST_SPAN:
            _below(procedure, text, language or "sh", "\n".join(command.lines), line + command.line, book)
        else:
            if len(command.lines) > 1:
                book.guess(
                    line + command.line, "\n".join(command.lines), command.text, "the lines of the command were joined"
                )
            row = Row(_joined(text, code_span(command.text)), line=line + command.line)
            procedure.rows.append(row)


def _below(procedure: Procedure, lead: str, language: str, code: str, line: int, book: Notebook) -> None:
    step = len(procedure.rows) + 1
    procedure.rows.append(Row(f"{lead or 'Do this'}: the lines of step {step} below the table", line=line))
    procedure.blocks.append(Block(step, language, code.rstrip("\n")))
    why = "these lines do not fit into a cell; they stand below the table, where the thread of a run does not show them"
    book.guess(line, code.strip(), procedure.rows[-1].action, why)


def _joined(first: str, second: str) -> str:
    return f"{first}: {second}" if first and second else first or second


def _finish(procedure: Procedure, contact: str, book: Notebook) -> None:
    """What the table needs and the text does not say: numbers, durations, symptoms, whom to call."""
    total = timedelta()
    for number, row in enumerate(procedure.rows, 1):
        row.number = str(number)
        budget, why = next((b, why) for pattern, b, why in _BUDGETS if re.search(pattern, row.action, re.IGNORECASE))
        row.duration = budget
        total += parse_duration(budget)
        book.guess(row.line, row.action, budget, f"no duration is stated for step {number}; {why}")
    procedure.total = format_duration(total) + "."
    book.guess(procedure.line, procedure.title, procedure.total, "no total is stated; the guessed durations were added")
    first = next((note for note in procedure.notes if not note.startswith("```")), "")
    if not procedure.symptoms and first:
        procedure.notes.remove(first)
        procedure.symptoms = first.rstrip(":") + ("." if first.endswith(":") else "")
        book.guess(procedure.line, first, procedure.symptoms, "the first paragraph was taken for the symptoms")
    if contact:
        procedure.escalation = f"If a step fails or takes too long, call {contact}."
        why = "the section names nobody; the contact is named elsewhere in the document"
    else:
        procedure.escalation = "The document names nobody. Write here who is called, and when."
        why = "nobody is named in the whole document"
    book.guess(procedure.line, procedure.title, procedure.escalation, why)
