"""``run 1000055 (https://github.com/acme/somas/actions/runs/1000055)`` in a sentence, as a link: "run 1000055".

What actions tell is text, and no address in a text can be followed: it may come from a log. The one exception is the
page of a workflow run of the bot's own repository, which people on call open most; it mentions nobody and leaves no
trace. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from bot.messages import Block, Bullets, Fields, Folded, Line, Lines, Link, Message, Note, Paragraph, Span, Text


def with_run_links(message: Message, home: str) -> Message:
    """``home``: where people read the repository, ``https://github.com/acme/somas``; empty when there is none."""
    if not home or f"{home}/actions/runs/" not in _texts(message.blocks):
        return message
    page = _page(home)
    return replace(message, blocks=tuple(_block(block, page) for block in message.blocks))


@cache
def _page(home: str) -> re.Pattern[str]:
    url = (
        rf"{re.escape(home)}/actions/runs/(?P<number>[0-9]{{1,20}})(?:/(?:job|attempts)/[0-9]{{1,20}})?(?![\w/?#%&=-])"
    )
    return re.compile(rf"(?P<named>\b[Rr]un (?P<name>[0-9]{{1,20}}) \()?(?P<url>{url})(?(named)\))")


def _texts(blocks: tuple[Block, ...]) -> str:
    return "\n".join(span.value for spans in _lines(blocks) for span in spans if isinstance(span, Text))


def _lines(blocks: tuple[Block, ...]) -> Iterator[Line]:
    for block in blocks:
        match block:
            case Paragraph(spans) | Note(spans):
                yield spans
            case Bullets(items) | Lines(items):
                yield from items
            case Fields(items=pairs):
                yield from (value for _, value in pairs)
            case Folded(blocks=inner):
                yield from _lines(inner)


def _block(block: Block, page: re.Pattern[str]) -> Block:
    match block:
        case Paragraph(spans) | Note(spans):
            return type(block)(_line(spans, page))
        case Bullets(items) | Lines(items):
            return type(block)(tuple(_line(item, page) for item in items))
        case Fields(items=pairs):
            return Fields(tuple((label, _line(value, page)) for label, value in pairs))
        case Folded(title, inner):
            return Folded(title, tuple(_block(each, page) for each in inner))
        case _:
            return block


def _line(spans: Line, page: re.Pattern[str]) -> Line:
    return tuple(
        drawn for span in spans for drawn in (_linked(span.value, page) if isinstance(span, Text) else (span,))
    )


def _linked(text: str, page: re.Pattern[str]) -> Iterator[Span]:
    done = 0
    for found in page.finditer(text):
        if found["named"] and found["name"] != found["number"]:
            continue  # what it is called is not what it leads to
        before = text[done : found.start()]
        if before:
            yield Text(before)
        label = found["named"].removesuffix(" (") if found["named"] else f"run {found['number']}"
        yield Link(label, found["url"])
        done = found.end()
    if done < len(text) or not text:
        yield Text(text[done:])
