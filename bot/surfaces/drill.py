"""``DRILL: P1-002 Child Task Crash Loop: worker-3``: what a rehearsal says is marked as one, and notifies nobody."""

from __future__ import annotations

from dataclasses import replace

from bot.messages import Block, Bold, Bullets, Fields, Heading, Line, Lines, Mention, Message, Note, Paragraph, Text

MARK = "DRILL"


def marked(message: Message) -> Message:
    """The message of a drill: its first words say so, and people are named in it, not mentioned."""
    blocks = [_without_mentions(block) for block in message.blocks]
    for index, block in enumerate(blocks):
        if isinstance(block, Heading):
            blocks[index] = Heading(f"{MARK}: {block.text}")
            break
        if isinstance(block, Paragraph):
            blocks[index] = Paragraph((Bold(f"{MARK}: "), *block.line))
            break
    else:
        blocks.insert(0, Paragraph((Bold(MARK),)))
    return replace(message, summary=f"{MARK}: {message.summary}", blocks=tuple(blocks))


def _without_mentions(block: Block) -> Block:
    match block:
        case Paragraph(spans):
            return Paragraph(_named(spans))
        case Note(spans):
            return Note(_named(spans))
        case Bullets(items):
            return Bullets(tuple(map(_named, items)))
        case Lines(items):
            return Lines(tuple(map(_named, items)))
        case Fields(pairs):
            return Fields(tuple((label, _named(value)) for label, value in pairs))
        case _:
            return block


def _named(spans: Line) -> Line:
    return tuple(Text(span.person) if isinstance(span, Mention) else span for span in spans)
