"""``Done: 1. Query current state, met``: a message as a screen reader should say it. Pure.

Marks become words and bars go away: a reader would name each of their characters. What stands in code blocks is left
out, it is for the eye; so are buttons, which a reader finds by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bot.messages import (
    Block,
    Bullets,
    Buttons,
    CodeBlock,
    Divider,
    Fields,
    Folded,
    Heading,
    Line,
    Lines,
    Note,
    Paragraph,
    Picture,
    Table,
    Text,
    When,
    line,
    plain_line,
)
from bot.surfaces.step_text import MARKS

_WORDS = {"done": "Done", "failed": "Failed", "skipped": "Skipped", "running": "Running", "pending": "Not begun"}
_MARKED = {mark: _WORDS.get(status, "Waits") for status, mark in MARKS.items()}
_MARK = re.compile(rf"^\s*([{re.escape(''.join(_MARKED))}])\s+")
_DRAWN = re.compile("[\u2500-\u25a0\u25b0\u25b1\u2800-\u28ff]+ ?")  # boxes, blocks, bars, braille
_BETWEEN = re.compile(r"\s+[·—]\s+")
_ARROW = re.compile(r"\s+→\s+")


def aloud(spans: Line) -> Line:
    """A line without what is drawn for the eye; instants stay what they are."""
    said: list[Text | When] = []
    for span in spans:
        if isinstance(span, When):
            said.append(span)
            continue
        text = plain_line((span,))
        if not said and (mark := _MARK.match(text)):
            text = f"{_MARKED[mark[1]]}: {text[mark.end() :]}"
        if said and isinstance(last := said[-1], Text):
            said.pop()
            text = last.value + text
        text = _ARROW.sub(" to ", _BETWEEN.sub(", ", _DRAWN.sub("", text)))
        said.append(Text(text if said else text.lstrip()))
    return tuple(said)


def spoken_lines(blocks: Sequence[Block]) -> Iterator[Line]:
    """What the blocks say, line by line, in their order."""
    for block in blocks:
        match block:
            case Heading(text):
                yield line(text)
            case Paragraph(spans) | Note(spans):
                yield spans
            case Bullets(items) | Lines(items):
                yield from items
            case Fields(items=pairs):
                yield from ((Text(f"{label}: "), *value) for label, value in pairs)
            case Table(columns, rows):
                for cells in rows:
                    named = zip((*columns, *[""] * len(cells)), cells, strict=False)
                    first, *rest = [(name, cell) for name, cell in named if cell] or [("", "")]
                    yield line(", ".join([first[1], *(f"{name} {cell}".strip() for name, cell in rest)]))
            case Folded(title, inner):
                yield line(title)
                yield from spoken_lines(inner)
            case Picture(_, alt, _):
                yield line(alt)
            case CodeBlock() | Divider() | Buttons():
                pass
