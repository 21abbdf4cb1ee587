"""A card in a channel, an answer under a command, a page: messages as Block Kit.

``draw`` turns a ``bot.messages.Message`` into plain dictionaries (slack_sdk's models cost a hundred times more).
Whatever people, files and logs contributed goes into ``rich_text`` and ``plain_text``, which Slack shows as they are:
nothing in them becomes a mention, a link or bold. ``mrkdwn`` is used only for small print that holds an instant, a link
or a style, and for the ``text`` of notifications; ``& < >`` are escaped there. Pure.

Shapes and limits: https://docs.slack.dev/reference/block-kit, pages of the blocks and elements named here. The limit of
a whole message is not documented; slackapi/bolt-js issues 2509 and 2867 saw ``msg_blocks_too_long`` from about 11,300
characters of text and 13,200 of blocks.

Colour: only an attachment has a stripe, and Slack may hide the end of a long attachment behind "Show more". So the
heading, and everything down to the last mention, stands above it in ``blocks`` (there mentions always notify and
``text`` is never shown twice), the rest in attachments of the message's colour, each short enough to stay open.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from bot.messages import (
    Block,
    Bullets,
    Buttons,
    CodeBlock,
    Dialog,
    Fields,
    Line,
    Lines,
    Mention,
    Message,
    Note,
    Paragraph,
    Picture,
    Span,
    Text,
    When,
    plain_line,
)
from bot.surfaces.aloud import aloud, spoken_lines
from bot.surfaces.printable import cut, one_line, printable
from bot.surfaces.slack import dialog as forms
from bot.surfaces.slack.elements import (
    TEXT_SIZE,
    Drawing,
    FileNote,
    Json,
    context,
    escape,
    plain_object,
    rich,
    section,
    text_element,
    user_of,
)
from bot.words import counted

MESSAGE_BLOCKS = 50
MODAL_BLOCKS = 100
MESSAGE_SIZE = 12_000  # bytes of JSON
FALLBACK_SIZE = 3_000
OPEN_ATTACHMENT_BLOCKS = 5
OPEN_ATTACHMENT_TEXT = 700

WITHOUT_WHO = re.compile(r"^((@\S+ )+|(Waits|Done|Failed|Skipped|Running): )")  # at the head of what was said already
FILE = "file:"  # then a number: stands for the id that Slack gives to the uploaded file

COLOURS = {"running": "#1264a3", "good": "#2eb67d", "warning": "#ecb22e", "bad": "#e01e5a"}


@dataclass(frozen=True, slots=True)
class SlackMessage:
    """The arguments of ``chat.postMessage`` and ``chat.update``. ``text`` is for notifications and screen readers."""

    text: str
    blocks: list[Json] = field(default_factory=list)
    attachments: list[Json] = field(default_factory=list)
    # by their numbers: {name, alt, content in base64} of a picture, {name, alt, text, about} of a text
    files: list[Json] = field(default_factory=list)


def draw(message: Message, people: Mapping[str, str], *, run: str | None = None) -> SlackMessage:
    """``message`` within every limit of Slack, whatever it holds.

    ``people``: key of ``[people]`` -> Slack user id; a mention of anybody else is plain text. ``run`` goes into the
    ``block_id`` of the buttons (``run:<id>:<n>``), which comes back with a click.
    """
    pictures = [block for block in message.blocks if isinstance(block, Picture)]
    images = [image_of(number, picture) for number, picture in enumerate(pictures)]
    files: list[Json] = [
        {"name": picture.name, "alt": picture.alt, "content": base64.b64encode(picture.png).decode()}
        for picture in pictures
    ]
    written: list[Block | FileNote] = []
    for block in message.blocks:
        if isinstance(block, Picture):
            continue
        written.append(block)
        if isinstance(block, CodeBlock) and block.in_file:
            text = printable(block.text)
            about = f"All of it, {counted(text.count(chr(10)) + 1, 'line')}"
            written.append(FileNote(f"{FILE}{len(files)}", f"{about}: {block.file}"))
            files.append({"name": block.file, "alt": one_line(block.title) or block.file, "text": text, "about": about})
    drawn = _drawn(message, written, people, run, MESSAGE_BLOCKS - len(pictures))
    if not pictures:
        return replace(drawn, files=files)
    if not drawn.attachments:
        return replace(drawn, blocks=[*drawn.blocks, *images], files=files)
    # A group of its own: what stands above it stays open.
    last = {"color": drawn.attachments[0]["color"], "blocks": images}
    return replace(drawn, attachments=[*drawn.attachments, last], files=files)


def image_of(number: int, picture: Picture) -> Json:
    """The block of a picture that is not uploaded yet: its file is known by its number until then."""
    alt = cut(one_line(picture.alt), 1900) or "a picture"
    return {"type": "image", "slack_file": {"id": f"{FILE}{number}"}, "alt_text": alt}


def _drawn(
    message: Message, written: Sequence[Block | FileNote], people: Mapping[str, str], run: str | None, most: int
) -> SlackMessage:
    parts = _fitted(written, people, run, most)
    text = _fallback(message, people)
    if not parts:
        summary = one_line(message.summary) or "(no text)"
        return SlackMessage(text, [rich(section([text_element(cut(summary, TEXT_SIZE))]))])
    colour = COLOURS.get(message.colour)
    if colour is None:
        return SlackMessage(text, [part.drawn for part in parts])
    above = max([1, *(position + 1 for position, part in enumerate(parts) if part.mentions)])
    return SlackMessage(
        text,
        [part.drawn for part in parts[:above]],
        [{"color": colour, "blocks": group} for group in _groups(parts[above:])],
    )


def draw_modal(dialog: Dialog, private_metadata: str, people: Mapping[str, str] | None = None) -> Json:
    """The view that a button's dialog opens; a dialog's own buttons are left out, a modal has one: ``submit``."""
    shown = tuple(block for block in dialog.blocks if not isinstance(block, Buttons | Picture))
    room = MODAL_BLOCKS - min(len(dialog.inputs), MODAL_BLOCKS)
    drawn = [part.drawn for part in _fitted(shown, people or {}, None, room)]
    view = forms.modal(dialog, private_metadata, blocks=drawn)
    asked = rich(section([text_element(cut(one_line(dialog.title), 200) or "Sure?")]))
    view["blocks"] = view["blocks"][:MODAL_BLOCKS] or [asked]
    return view


def plain(text: str) -> SlackMessage:
    """One paragraph of text and nothing else, for answers of the surface itself."""
    shown = printable(text).strip() or "…"
    return SlackMessage(_escaped(shown), [rich(section([text_element(cut(shown, TEXT_SIZE))]))])


# ---- fitting --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    drawn: Json
    size: int
    text: int
    mentions: bool = False
    pressed: bool = False


def _part(drawn: Json) -> _Part:
    text = mentions = 0
    for node in _nodes(drawn):
        if node.get("type") == "user":
            mentions += 1
        elif isinstance(value := node.get("text"), str):
            text += len(value)
    return _Part(drawn, len(msgspec.json.encode(drawn)), text, bool(mentions), drawn["type"] == "actions")


def _nodes(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _fitted(blocks: Sequence[Block | FileNote], people: Mapping[str, str], run: str | None, most: int) -> list[_Part]:
    """The blocks drawn within the limits of one message: long texts get shorter first, then the end is left out."""
    parts: list[_Part] = []
    for limit in (TEXT_SIZE, 1_200, 500, 200):
        parts = [_part(drawn) for drawn in Drawing(people, run, limit).all(blocks)]
        if len(parts) <= most and sum(part.size for part in parts) <= MESSAGE_SIZE:
            return parts
    return _kept(parts, most)


def _kept(parts: list[_Part], most: int) -> list[_Part]:
    """As much as fits: what can be pressed first, then what stands first, and a line that says what is missing."""
    left, room = MESSAGE_SIZE - 300, most - 1
    chosen: set[int] = set()
    order = sorted(range(len(parts)), key=lambda position: (not parts[position].pressed, position))
    for position in order:
        if room and parts[position].size <= left:
            chosen.add(position)
            left -= parts[position].size
            room -= 1
        elif not parts[position].pressed:
            break  # a gap in the middle would mislead: everything after it is left out
    missing = len(parts) - len(chosen)
    marker = _part(context(plain_object(f"… {missing} more parts did not fit into this message")))
    kept = [parts[position] for position in sorted(chosen)]
    first_button = next((at for at, part in enumerate(kept) if part.pressed and at >= len(kept) - 1), len(kept))
    return [*kept[:first_button], marker, *kept[first_button:]]


def _groups(parts: Sequence[_Part]) -> Iterator[list[Json]]:
    group: list[Json] = []
    text = 0
    for part in parts:
        if group and (len(group) == OPEN_ATTACHMENT_BLOCKS or text > OPEN_ATTACHMENT_TEXT):
            yield group
            group, text = [], 0
        group.append(part.drawn)
        text += part.text
    if group:
        yield group


def _fallback(message: Message, people: Mapping[str, str]) -> str:
    """Summary first, for the notification; then what the blocks say, for the screen reader; then who is called.

    What was said already is not said again; times are in the reader's zone.
    """
    pieces: list[str] = []
    heard = ""
    left = FALLBACK_SIZE
    for spoken in _spoken(message):
        plain = plain_line(spoken)
        if not plain or WITHOUT_WHO.sub("", plain).rstrip(".") in heard:
            continue
        drawn = "".join(_in_mrkdwn(span) for span in spoken)
        if len(drawn) > left:
            if not pieces:  # a summary that is nothing but what has to be escaped
                pieces.append(escape(cut(plain, FALLBACK_SIZE // 5)))
            break
        pieces.append(drawn)
        heard += plain + "\n"
        left -= len(drawn) + 1
    called = dict.fromkeys(_called(message.blocks, people))
    return " ".join(["\n".join(pieces) or "(no text)", *(f"<@{user}>" for user in list(called)[:20])])


def _spoken(message: Message) -> Iterator[Line]:
    """What is to be heard, line by line."""
    yield aloud((Text(cut(one_line(message.summary), FALLBACK_SIZE // 2)),))
    for said in spoken_lines(message.blocks):
        yield aloud(tuple(_shortened(span) for span in said))


def _shortened(span: Span) -> Span:
    return span if isinstance(span, When) else Text(cut(printable(plain_line((span,))), FALLBACK_SIZE // 4))


def _in_mrkdwn(span: Span) -> str:
    if isinstance(span, When):
        return Drawing({}, None, FALLBACK_SIZE).piece(span, FALLBACK_SIZE)
    return escape(plain_line((span,)))


def _escaped(text: str) -> str:
    """``text`` for mrkdwn in at most ``FALLBACK_SIZE`` characters."""
    shown = escape(cut(text, FALLBACK_SIZE // 2))
    return shown if len(shown) <= FALLBACK_SIZE else escape(cut(text, FALLBACK_SIZE // 5))


def _called(blocks: Sequence[Block], people: Mapping[str, str]) -> Iterator[str]:
    for block in blocks:
        lines: tuple[Line, ...] = ()
        match block:
            case Paragraph(spans) | Note(spans):
                lines = (spans,)
            case Bullets(items) | Lines(items):
                lines = items
            case Fields(items=pairs):
                lines = tuple(value for _, value in pairs)
            case _:
                pass
        for spans in lines:
            for span in spans:
                if isinstance(span, Mention) and (user := user_of(span, people)):
                    yield user
