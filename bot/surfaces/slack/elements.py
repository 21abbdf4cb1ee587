"""The parts of a message one by one: a heading, a paragraph, a table, buttons, as blocks of Slack.

``Drawing`` draws each part within the limits of one block; blocks.py puts them together within those of a message.
Shapes and limits: https://docs.slack.dev/reference/block-kit. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import msgspec

from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Buttons,
    Code,
    CodeBlock,
    Divider,
    Fields,
    Folded,
    Heading,
    Italic,
    Line,
    Lines,
    Link,
    Mention,
    Note,
    Paragraph,
    Span,
    Table,
    Text,
    When,
    plain_line,
)
from bot.surfaces.printable import cut, one_line, printable
from bot.surfaces.slack import dialog as forms
from bot.surfaces.slack.tables import lay_out
from bot.surfaces.step_text import excerpt, tail

Json = dict[str, Any]

HEADER_SIZE = 150
LABEL_SIZE = 75
CODE_SIZE = 2_900
TEXT_SIZE = 2_900
LIST_ITEMS = 100
ROW_OF_BUTTONS = 25
BUTTONS_IN_SIGHT = 3
OVERFLOW_VALUE = 150  # characters of what one line of the menu behind three dots sends back
OVERFLOW_OPTIONS = 5
NOTE_SIZE = 2_000
NOTE_SPAN = 450  # characters of one span of small print
SECTION_ELEMENTS = 200
ROW_SIZE = 8_000  # bytes of JSON in one row of buttons: a row that is too heavy would have to be left out as a whole

_STYLES: dict[type[Any], Json] = {Bold: {"bold": True}, Italic: {"italic": True}, Code: {"code": True}}
_FORMATS = {"time": "{time}", "date_time": "{date_short_pretty} at {time}"}
_USER = re.compile(r"[UW][A-Z0-9]{1,30}")
_SPACES = re.compile(r"\s+")
_URL = re.compile(r"https?://[^\s<>|\"\\]+")


def escape(text: str) -> str:
    """Exactly ``& < >``, as Slack wants it wherever text is mrkdwn; then no mention and no link can be written."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


# Slack has no way to escape these. They format only beside a character that is not part of a word (a backtick
# always), so names like child_runtime_records stay as they are; elsewhere a look-alike takes their place.
_FORMATS_TEXT = re.compile(r"(?<![^\W_])[*_~]|[*_~](?![^\W_])|`")
_LOOK_ALIKE = {"*": "∗", "_": "ˍ", "~": "∼", "`": "ˋ"}


def literal(text: str) -> str:
    """``text`` for mrkdwn, so that it reads as it is: escaped, and nothing in it formats."""
    return escape(_FORMATS_TEXT.sub(lambda found: _LOOK_ALIKE[found[0]], _SPACES.sub(" ", text)))


def user_of(mention: Mention, people: Mapping[str, str]) -> str:
    user = mention.slack or people.get(mention.person, "")
    return user if _USER.fullmatch(user) else ""


def text_element(value: str, style: Json | None = None) -> Json:
    return {"type": "text", "text": value, "style": style} if style else {"type": "text", "text": value}


def section(elements: list[Json]) -> Json:
    return {"type": "rich_text_section", "elements": elements}


def rich(*elements: Json) -> Json:
    return {"type": "rich_text", "elements": list(elements)}


def plain_object(text: str) -> Json:
    return {"type": "plain_text", "text": text, "emoji": False}


def context(element: Json) -> Json:
    return {"type": "context", "elements": [element]}


def _seconds(when: When) -> int:
    at = when.at if when.at.tzinfo else when.at.replace(tzinfo=UTC)
    return int(at.timestamp())


def _utc(when: When) -> str:
    try:
        at = when.at.astimezone(UTC) if when.at.tzinfo else when.at
    except OverflowError:  # the first or the last day of the calendar
        at = when.at
    return plain_line((When(at, when.style),))


@dataclass(frozen=True, slots=True)
class FileNote:
    """Small print below a text that is shown in part; ``id`` stands for the file that will hold the whole."""

    id: str
    about: str


class Drawing:
    """One attempt to draw blocks, with ``limit`` characters for each text."""

    def __init__(self, people: Mapping[str, str], run: str | None, limit: int) -> None:
        self.people = people
        self.run = one_line(run)[:200] if run else ""
        self.limit = limit
        self.pressed = 0
        self.rows = 0

    def all(self, blocks: Sequence[Block | FileNote]) -> list[Json]:
        return [drawn for block in blocks for drawn in self.one(block)]

    def one(self, block: Block | FileNote) -> list[Json]:
        match block:
            case Heading(text):
                shown = cut(one_line(text), HEADER_SIZE)
                return [{"type": "header", "text": plain_object(shown)}] if shown else []
            case Paragraph(spans):
                elements = self.spans(spans)
                return [rich(section(elements))] if elements else []
            case Bullets(items):
                return self.bullets(items)
            case Lines(items):
                return self.lines(items)
            case Fields(items=pairs):
                return self.fields(pairs)
            case Table():
                return self.table(block)
            case CodeBlock():
                return self.code(block)
            case FileNote():
                return [{**context({"type": "mrkdwn", "text": block.about, "verbatim": True}), "block_id": block.id}]
            case Note(spans):
                return self.note(spans)
            case Folded(title, inner):
                return [*self.one(Paragraph((Bold(title),))), *self.all(inner)]
            case Divider():
                return [{"type": "divider"}]
            case Buttons(buttons):
                return self.buttons(buttons)
        raise TypeError(f"{type(block).__name__} is not a part of a message")

    def spans(self, spans: Line) -> list[Json]:
        """At most ``limit`` characters; neighbours of one style share an element."""
        elements: list[Json] = []
        left = self.limit
        for span in spans:
            if left <= 0 or len(elements) >= SECTION_ELEMENTS:
                elements.append(text_element("…"))
                break
            element = self.span(span, left)
            if element is None:
                continue
            left -= len(element.get("text", "")) or 12
            last = elements[-1] if elements else None
            if last and last["type"] == element["type"] == "text" and last.get("style") == element.get("style"):
                last["text"] += element["text"]
            else:
                elements.append(element)
        return elements

    def span(self, span: Span, left: int) -> Json | None:
        match span:
            case Text(value) | Bold(value) | Italic(value) | Code(value):
                shown = cut(printable(value), left)
                return text_element(shown, _STYLES.get(type(span))) if shown else None
            case Link(label, url):
                shown = cut(printable(label) or printable(url), left)
                if not shown:
                    return None
                followed = url if len(url) <= TEXT_SIZE and printable(url) == url and _URL.fullmatch(url) else ""
                return {"type": "link", "url": followed, "text": shown} if followed else text_element(shown)
            case Mention(person=person):
                if user := user_of(span, self.people):
                    return {"type": "user", "user_id": user}
                return text_element(cut(f"@{one_line(person)}", max(left, 2)))
            case When():
                seconds = _seconds(span)
                if seconds < 0:
                    return text_element(_utc(span))
                return {"type": "date", "timestamp": seconds, "format": _FORMATS[span.style], "fallback": _utc(span)}

    def bullets(self, items: Sequence[Line]) -> list[Json]:
        sections = [section(elements) for item in items[:LIST_ITEMS] if (elements := self.spans(item))]
        if (missing := len(items) - LIST_ITEMS) > 0:
            sections.append(section([text_element(f"… {missing} more", {"italic": True})]))
        return [rich({"type": "rich_text_list", "style": "bullet", "elements": sections})] if sections else []

    def lines(self, items: Sequence[Line]) -> list[Json]:
        """One section with line breaks: its lines stand close together, on every client."""
        elements: list[Json] = []
        for item in items[:LIST_ITEMS]:
            if elements:
                elements.append(text_element("\n"))
            elements += self.spans(item)
        if (missing := len(items) - LIST_ITEMS) > 0:
            elements.append(text_element(f"\n… {missing} more", {"italic": True}))
        return [rich(section(elements))] if any(one.get("text") != "\n" for one in elements) else []

    def fields(self, pairs: Sequence[tuple[str, Line]]) -> list[Json]:
        """``Label: value``, one line each: reads the same on a phone, in a thread and aloud."""
        elements: list[Json] = []
        for label, value in pairs[:LIST_ITEMS]:
            if elements:
                elements.append(text_element("\n"))
            if name := cut(one_line(label), 200):
                elements.append(text_element(f"{name}: ", {"bold": True}))
            elements += self.spans(value) or [text_element("–")]
        return [rich(section(elements))] if elements else []

    def table(self, table: Table) -> list[Json]:
        laid_out = lay_out(table, self.limit)
        if isinstance(laid_out, str):
            return [_preformatted(laid_out)] if laid_out else []
        return self.bullets(laid_out)

    def code(self, block: CodeBlock) -> list[Json]:
        drawn = []
        if heading := cut(one_line(block.title), 200):
            drawn.append(rich(section([text_element(heading, {"bold": True})])))
        shown = printable(block.text).strip("\n")
        if block.in_file:
            most = min(self.limit, CODE_SIZE, block.in_sight)
            shown = (excerpt if block.keep == "beginning" else tail)(shown, most)
        elif (missing := len(shown) - min(self.limit, CODE_SIZE)) > 0:
            shown = f"{shown[: min(self.limit, CODE_SIZE)]}\n… cut, {missing} characters"
        return [*drawn, _preformatted(shown)] if shown.strip() else drawn

    def note(self, spans: Line) -> list[Json]:
        """Small print: ``plain_text`` where text is all there is, else one line of mrkdwn.

        Several elements would avoid mrkdwn, but Slack lays them out as boxes and breaks the line between them.
        """
        if all(isinstance(span, Text) for span in spans):
            shown = cut(one_line(plain_line(spans)), min(self.limit, NOTE_SIZE))
            return [context(plain_object(shown))] if shown else []
        pieces: list[str] = []
        left = min(self.limit, NOTE_SIZE)
        for span in spans:
            if left <= 0:
                pieces.append("…")
                break
            piece = self.piece(span, min(left, NOTE_SPAN))
            if len(piece) > 2 * NOTE_SPAN:  # mostly characters that had to be escaped
                piece = self.piece(span, NOTE_SPAN // 4)
            left -= len(piece)
            pieces.append(piece)
        shown = "".join(pieces).strip()
        if shown.startswith("&gt;"):  # would be a quotation
            shown = f"›{shown[4:]}"
        return [context({"type": "mrkdwn", "text": shown, "verbatim": True})] if shown else []

    def piece(self, span: Span, left: int) -> str:
        """One span as mrkdwn; ``left`` characters of text become at most five times as many."""
        drawn = self.span(span, left)
        match drawn:
            case None:
                return ""
            case {"type": "user", "user_id": user}:
                return f"<@{user}>"
            case {"type": "date", "timestamp": seconds, "format": form, "fallback": fallback}:
                return f"<!date^{seconds}^{form}|{fallback}>"
            case {"type": "link", "url": url, "text": label} if len(escape(url)) <= NOTE_SPAN:
                shown = literal(label).replace("|", "¦").strip()
                return f"<{escape(url)}|{shown}>" if shown else literal(url)
        text = _SPACES.sub(" ", drawn["text"])
        mark = {Bold: "*", Italic: "_", Code: "`"}.get(type(span))
        inner = text.strip()
        if mark is None or not inner:
            return literal(text)
        shown = f"{mark}{escape(inner.replace('`', 'ˋ')) if mark == '`' else literal(inner)}{mark}"
        return f"{text[: len(text) - len(text.lstrip())]}{shown}{text[len(text.rstrip()) :]}"

    def buttons(self, buttons: Sequence[Button]) -> list[Json]:
        elements: list[Json] = []
        typed: list[Json] = []
        for button in buttons:
            label = cut(one_line(button.label), LABEL_SIZE) or "OK"
            value = forms.button_value(button)
            if value is None:
                shown = cut(one_line(button.command), 1_000)
                if shown:
                    typed.append(section([text_element(f"{label}: type "), text_element(shown, {"code": True})]))
                continue
            element: Json = {
                "type": "button",
                "text": plain_object(label),
                "action_id": f"opsbot:{self.pressed}",
                "value": value,
            }
            if button.style != "default":
                element["style"] = button.style
            elements.append(element)
            self.pressed += 1
        elements = self.behind_dots(elements)
        rows: list[list[Json]] = []
        size = 0
        for element in elements:
            weight = len(msgspec.json.encode(element))
            if not rows or len(rows[-1]) == ROW_OF_BUTTONS or size + weight > ROW_SIZE:
                rows.append([])
                size = 0
            rows[-1].append(element)
            size += weight
        return [*map(self.row, rows), *map(rich, typed[:10])]

    def behind_dots(self, elements: list[Json]) -> list[Json]:
        """At most three buttons in sight; what is left stands in the menu behind three dots.

        What asks for something first stays in sight: the menu has no room for its form.
        """
        if len(elements) <= BUTTONS_IN_SIGHT:
            return elements
        small = [one for one in elements if len(one["value"]) <= OVERFLOW_VALUE]
        forms_first = [one for one in elements if one not in small]
        in_sight = [*forms_first, *(one for one in elements if one in small)][: max(BUTTONS_IN_SIGHT, len(forms_first))]
        behind = [one for one in elements if one not in in_sight]
        shown = [one for one in elements if one in in_sight]
        for start in range(0, len(behind), OVERFLOW_OPTIONS):
            options = [{"text": one["text"], "value": one["value"]} for one in behind[start : start + OVERFLOW_OPTIONS]]
            shown.append({"type": "overflow", "action_id": f"opsbot:{self.pressed}", "options": options})
            self.pressed += 1
        return shown

    def row(self, elements: list[Json]) -> Json:
        self.rows += 1
        name = f"run:{self.run}:{self.rows}" if self.run else f"buttons:{self.rows}"
        return {"type": "actions", "block_id": name, "elements": elements}


def _preformatted(text: str) -> Json:
    return rich({"type": "rich_text_preformatted", "elements": [text_element(text)]})
