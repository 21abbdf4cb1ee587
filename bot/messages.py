"""What people read, before it is drawn for Slack or for GitHub.

Handlers and the bot build a ``Message`` out of the parts below; a surface draws it (``bot/surfaces/slack/blocks.py``,
``bot/surfaces/github/markdown.py``). Text is data here: there is no markup to forget to escape. Whatever stands in a
``Text``, a ``Bold``, a ``Code`` or a ``CodeBlock`` reaches the reader as that very text, wherever it came from; only
a ``Mention`` notifies somebody and only a ``Link`` can be followed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True)
class Text:
    value: str


@dataclass(frozen=True, slots=True)
class Bold:
    value: str


@dataclass(frozen=True, slots=True)
class Italic:
    value: str


@dataclass(frozen=True, slots=True)
class Code:
    value: str


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    url: str  # https:// or http:// only; a surface draws anything else as plain text


@dataclass(frozen=True, slots=True)
class Mention:
    """Notifies a person: a key of ``[people]``, drawn as that person's name on the surface.

    Only escalations and approvals mention; everything else names people in plain text.
    """

    person: str
    slack: str = ""  # the ids as they were once; without them those of today's settings
    github: str = ""


@dataclass(frozen=True, slots=True)
class When:
    """An instant, drawn in the reader's own time zone where the surface can, else in UTC."""

    at: datetime
    style: Literal["time", "date_time"] = "time"


Span = Text | Bold | Italic | Code | Link | Mention | When
Line = tuple[Span, ...]


def line(*parts: str | Span) -> Line:
    """``line("restarted ", Code("worker-3"))``: strings become ``Text``."""
    return tuple(Text(part) if isinstance(part, str) else part for part in parts)


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    line: Line


@dataclass(frozen=True, slots=True)
class Bullets:
    items: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines under one another, without bullets: the steps of a card."""

    items: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Fields:
    """Label and value pairs, two columns where there is room."""

    items: tuple[tuple[str, Line], ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Plain-text cells; drawn aligned. ``numeric`` names the columns that are aligned to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Text as it is, aligned. With ``file``, a text of more than ``in_sight`` characters is a file of that name where
    the surface has files, and the message holds its end, or its beginning; elsewhere the whole is folded.
    """

    text: str
    language: str = ""
    title: str = ""
    file: str = ""
    in_sight: int = 2_500
    keep: Literal["beginning", "end"] = "end"

    @property
    def in_file(self) -> bool:
        """Whether a surface that has files puts the whole into one."""
        return bool(self.file) and len(self.text) > self.in_sight


@dataclass(frozen=True, slots=True)
class Note:
    """Small print: sources, durations, ids."""

    line: Line


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, where the surface can show one; ``alt`` says in words what it shows. Elsewhere it is left out."""

    png: bytes
    alt: str
    name: str = "picture.png"


@dataclass(frozen=True, slots=True)
class Folded:
    """Shown by its title until somebody opens it, where the surface can fold; elsewhere it stands open."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Divider:
    pass


@dataclass(frozen=True, slots=True)
class Input:
    """One field of a dialog; what is entered becomes ``--<option> <value>`` of the button's command."""

    option: str
    label: str
    initial: str = ""
    placeholder: str = ""
    multiline: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Dialog:
    """Asked before the button's command is sent (a modal in Slack)."""

    title: str  # at most 24 characters, Slack's limit
    submit: str
    blocks: tuple[Block, ...] = ()
    inputs: tuple[Input, ...] = ()


@dataclass(frozen=True, slots=True)
class Button:
    """Pressing it is the same as typing ``command``; the one who presses is the actor."""

    label: str
    command: str
    style: Literal["default", "primary", "danger"] = "default"
    dialog: Dialog | None = None


@dataclass(frozen=True, slots=True)
class Buttons:
    items: tuple[Button, ...]


Block = Heading | Paragraph | Bullets | Lines | Fields | Table | CodeBlock | Note | Picture | Folded | Divider | Buttons


@dataclass(frozen=True, slots=True)
class Message:
    """``summary`` is the one-line plain text for notifications and screen readers.

    ``colour`` is a stripe beside the message where the surface has one.
    """

    summary: str
    blocks: tuple[Block, ...] = field(default=())
    colour: Literal["none", "running", "good", "warning", "bad"] = "none"


def message(*blocks: Block | str, summary: str = "") -> Message:
    """A message of blocks; a string is a paragraph. Without ``summary`` the first text speaks for the whole."""
    built = tuple(Paragraph(line(block)) if isinstance(block, str) else block for block in blocks)
    return Message(summary=summary or plain_text(built).split("\n", 1)[0], blocks=built)


def plain_line(spans: Line) -> str:
    """The line as a screen reader says it."""
    parts = []
    for span in spans:
        match span:
            case Text(value) | Bold(value) | Italic(value) | Code(value):
                parts.append(value)
            case Link(label, _):
                parts.append(label)
            case Mention(person=person):
                parts.append(f"@{person}")
            case When(at, style):
                parts.append(at.strftime("%H:%M UTC" if style == "time" else "%Y-%m-%d %H:%M UTC"))
    return "".join(parts)


def plain_text(blocks: tuple[Block, ...]) -> str:
    """The blocks as plain text, one line each; buttons are left out."""
    lines: list[str] = []
    for block in blocks:
        match block:
            case Heading(text):
                lines.append(text)
            case Paragraph(spans) | Note(spans):
                lines.append(plain_line(spans))
            case Bullets(items):
                lines.extend(f"- {plain_line(item)}" for item in items)
            case Lines(items):
                lines.extend(plain_line(item) for item in items)
            case Fields(items=pairs):
                lines.extend(f"{label}: {plain_line(value)}" for label, value in pairs)
            case Table(columns, rows):
                lines.append(" | ".join(columns))
                lines.extend(" | ".join(row) for row in rows)
            case CodeBlock(text, _, title):
                lines.extend([title, text] if title else [text])
            case Picture(_, alt, _):
                lines.append(alt)
            case Folded(title, inner):
                lines.extend([title, plain_text(inner)])
            case Divider() | Buttons():
                pass
    return "\n".join(lines)
