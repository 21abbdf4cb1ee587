"""``[Acknowledge] [Cancel]``: blocks as a person reads them, line by line, and the buttons that they can press."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bot.demo.slack.mrkdwn import date, readable

Block = dict[str, Any]
Names = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LocalButton:
    """A button, or a menu, of a message. ``kind`` is the element's type; ``options`` are those of a menu."""

    label: str
    action_id: str
    block_id: str
    kind: str
    element: Block
    attachment: int = 0  # counted from 1; 0 is the message itself
    chosen: Block | None = None  # a line of the menu behind three dots, which is pressed like a button

    @property
    def url(self) -> str:
        return str(self.element.get("url", ""))

    @property
    def value(self) -> str:
        return str((self.chosen or self.element).get("value", ""))

    @property
    def style(self) -> str:
        return str(self.element.get("style", "default"))


PRESSABLE = ("button", "static_select", "users_select", "overflow")


def buttons(blocks: list[Block], attachment: int = 0) -> Iterator[LocalButton]:
    """What can be pressed in the blocks, in the order in which it is shown."""
    for block in blocks:
        elements = block.get("elements", []) if block["type"] == "actions" else [block.get("accessory")]
        for element in elements:
            if element and element["type"] == "overflow":
                for option in element["options"]:
                    yield LocalButton(
                        label=option["text"]["text"],
                        action_id=element["action_id"],
                        block_id=block.get("block_id", ""),
                        kind="overflow",
                        element=element,
                        attachment=attachment,
                        chosen=option,
                    )
            elif element and element["type"] in PRESSABLE:
                label = element.get("text") or element.get("placeholder") or {}
                yield LocalButton(
                    label=label.get("text", ""),
                    action_id=element["action_id"],
                    block_id=block.get("block_id", ""),
                    kind=element["type"],
                    element=element,
                    attachment=attachment,
                )


def lines(blocks: list[Block], names: Names) -> list[str]:
    """The blocks as plain text, a line for each thing that a person would point at."""
    shown: list[str] = []
    for block in blocks:
        shown.extend(_block(block, names))
    return shown


def _text(value: Block, names: Names) -> str:
    return readable(value["text"], names) if value["type"] == "mrkdwn" else str(value["text"])


def _block(block: Block, names: Names) -> Iterator[str]:
    match block["type"]:
        case "header":
            yield block["text"]["text"]
        case "section":
            if "text" in block:
                yield _text(block["text"], names)
            for field in block.get("fields", []):
                yield " ".join(_text(field, names).split("\n"))
            for button in buttons([block]):
                yield f"[{button.label}]"
        case "context":
            yield " ".join(
                f"({one['alt_text']})" if one["type"] == "image" else _text(one, names) for one in block["elements"]
            )
        case "actions":
            yield " ".join(f"[⋯ {one.label}]" if one.chosen else f"[{one.label}]" for one in buttons([block]))
        case "image":
            yield f"(image: {block['alt_text']})"
        case "rich_text":
            yield from _rich(block, names)
        case "table":
            for row in block["rows"]:
                yield " | ".join(_cell(cell, names) for cell in row)
        case "input":
            yield f"{block['label']['text']}: ____"


def _cell(cell: Block, names: Names) -> str:
    return " ".join(_rich(cell, names)) if cell["type"] == "rich_text" else str(cell["text"])


def _rich(block: Block, names: Names) -> Iterator[str]:
    for element in block["elements"]:
        match element["type"]:
            case "rich_text_list":
                for position, item in enumerate(element["elements"], start=1 + element.get("offset", 0)):
                    mark = "-" if element["style"] == "bullet" else f"{position}."
                    yield "  " * element.get("indent", 0) + f"{mark} {_inline(item, names)}"
            case "rich_text_quote":
                yield "\n".join("> " + line for line in _inline(element, names).split("\n"))
            case _:
                yield _inline(element, names)


def _inline(element: Block, names: Names) -> str:
    parts = []
    for one in element["elements"]:
        match one["type"]:
            case "text":
                parts.append(one["text"])
            case "link":
                parts.append(one.get("text") or one["url"])
            case "user":
                parts.append(names.get(one["user_id"], "@" + one["user_id"]))
            case "usergroup":
                parts.append(names.get(one["usergroup_id"], "@" + one["usergroup_id"]))
            case "channel":
                parts.append(names.get(one["channel_id"], "#" + one["channel_id"]))
            case "broadcast":
                parts.append("@" + one["range"])
            case "emoji":
                parts.append(f":{one['name']}:")
            case "date":
                parts.append(date(one["timestamp"], one["format"]))
    return "".join(parts)
