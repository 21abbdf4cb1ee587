"""A button with a form: the modal that opens, and the command that comes out of it.

``Button("Restart…", "/somas restart project-42", dialog=Dialog(..., inputs=(Input("reason", "Why?"),)))`` becomes a
button whose value holds the command and the form, so that a click can be answered by any replica, also after a
restart. When the form is sent, what was entered is appended to the command: ``/somas restart project-42 --reason
"disk was full"``. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bot.commands.asking import Composed
from bot.commands.lexer import quote
from bot.messages import (
    Block,
    Bold,
    Bullets,
    Button,
    Code,
    CodeBlock,
    Dialog,
    Divider,
    Fields,
    Heading,
    Input,
    Italic,
    Lines,
    Link,
    Mention,
    Note,
    Paragraph,
    Table,
    Text,
    When,
)
from bot.surfaces.printable import cut, one_line, printable

VALUE_LIMIT = 2000  # of a button
METADATA_LIMIT = 3000  # of a view
CALLBACK_ID = "opsbot_dialog"
FOREIGN = "it was drawn by another version of opsbot; ask for the card again"
ENTERED = "value"  # action_id of every field

_KINDS: dict[str, type[Any]] = {
    "t": Text,
    "b": Bold,
    "i": Italic,
    "c": Code,
    "l": Link,
    "m": Mention,
    "w": When,
    "H": Heading,
    "P": Paragraph,
    "B": Bullets,
    "L": Lines,
    "F": Fields,
    "T": Table,
    "C": CodeBlock,
    "N": Note,
    "D": Divider,
    "I": Input,
    "d": Dialog,
}
_TAGS = {kind: tag for tag, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True)
class Where:
    """Where the button was pressed: travels through the modal in its ``private_metadata``."""

    command: str
    channel: str
    thread: str = ""


def _pack(value: Any) -> Any:
    """A message part as compact JSON: ``[tag, field, ...]``, the fields at the end that have no value left out."""
    if isinstance(value, datetime):
        return ["@", value.timestamp()]
    if isinstance(value, tuple):
        return ["", *(_pack(one) for one in value)]
    if isinstance(value, frozenset):
        return ["*", *sorted(printable(one) for one in value)]
    if is_dataclass(value) and not isinstance(value, type):
        shown = list(fields(value))
        while shown and shown[-1].default is not MISSING and getattr(value, shown[-1].name) == shown[-1].default:
            shown.pop()
        return [_TAGS[type(value)], *(_pack(getattr(value, field.name)) for field in shown)]
    return printable(value) if isinstance(value, str) else value


def _unpack(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    tag, *rest = value
    if tag == "@":
        return datetime.fromtimestamp(rest[0], UTC)
    if tag == "":
        return tuple(_unpack(one) for one in rest)
    if tag == "*":
        return frozenset(rest)
    kind = _KINDS[tag]
    return kind(*(_unpack(one) for one in rest))


def button_value(button: Button) -> str | None:
    """What a click sends back (at most 2,000 characters); None when the command cannot stand in a button.

    A form that does not fit loses its explanations first (the thread holds them in full), never its fields. When not
    even the fields fit there is no button at all: a click must not do without the form what the form was to ask.
    """
    command = button.command
    if not command or command.startswith("[") or len(command) > VALUE_LIMIT or printable(command) != command:
        return None
    if button.dialog is None:
        return command
    without_buttons = tuple(block for block in button.dialog.blocks if type(block) in _TAGS)
    dialog = replace(button.dialog, blocks=without_buttons)
    for candidate in (dialog, *(replace(dialog, blocks=_shorter(dialog.blocks, limit)) for limit in (600, 200, 0))):
        value = json.dumps([command, _pack(candidate)], ensure_ascii=False, separators=(",", ":"))
        if len(value) <= VALUE_LIMIT:
            return value
    return None


def _shorter(blocks: tuple[Block, ...], limit: int) -> tuple[Block, ...]:
    if not limit:
        return (Note((Text("The details are in the thread."),)),)
    return tuple(
        replace(
            block,
            text=f"{block.text[:limit].rpartition(chr(10))[0] or block.text[:limit]}\n… the rest is in the thread",
        )
        if isinstance(block, CodeBlock) and len(block.text) > limit
        else block
        for block in blocks
    )


def read_button(value: str) -> tuple[str, Dialog | None]:
    """The command of a button and its form. Raises ValueError for a value that no button of ours has."""
    if not value.startswith("["):
        return value, None
    try:
        command, packed = json.loads(value)
        dialog = _unpack(packed)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise ValueError(FOREIGN) from error
    if isinstance(command, str) and isinstance(dialog, Dialog):
        return command, dialog
    raise ValueError(FOREIGN)


def modal(dialog: Dialog, private_metadata: str, *, blocks: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """The view for ``views.open``; ``blocks`` are the dialog's own, already drawn (``blocks.draw_modal`` does both)."""
    view: dict[str, Any] = {
        "type": "modal",
        "callback_id": CALLBACK_ID,
        "private_metadata": private_metadata,
        "title": _plain(dialog.title or "opsbot", 24),
        "submit": _plain(dialog.submit or "Send", 24),
        "close": _plain("Cancel", 24),
        "blocks": [*(blocks or ()), *(_field(position, one) for position, one in enumerate(dialog.inputs))],
    }
    return view


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": cut(one_line(text), limit) or "…", "emoji": False}


def _field(position: int, entry: Input) -> dict[str, Any]:
    element: dict[str, Any] = {"type": "plain_text_input", "action_id": ENTERED, "multiline": entry.multiline}
    if entry.initial:
        initial = printable(entry.initial) if entry.multiline else one_line(entry.initial)
        element["initial_value"] = cut(initial, 3000)
    if placeholder := one_line(entry.placeholder):
        element["placeholder"] = _plain(placeholder, 150)
    return {
        "type": "input",
        "block_id": f"{position}:{entry.option}"[:255],
        "label": _plain(entry.label or entry.option, 150),
        "element": element,
        "optional": entry.optional,
    }


def pack_where(where: Where) -> str:
    """The ``private_metadata`` of a modal."""
    return json.dumps([where.command, where.channel, where.thread], ensure_ascii=False, separators=(",", ":"))


def read_where(private_metadata: str) -> Where:
    """Raises ValueError for what ``pack_where`` did not write."""
    try:
        command, channel, thread = json.loads(private_metadata)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(FOREIGN) from error
    if all(isinstance(one, str) for one in (command, channel, thread)):
        return Where(command, channel, thread)
    raise ValueError(FOREIGN)


def entered(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(option, value) of a submitted view's ``state.values``, in the order of the fields; empty ones are left out."""
    found: list[tuple[int, str, str]] = []
    for block_id, actions in values.items():
        position, separator, option = block_id.partition(":")
        if not separator or not position.isdecimal() or not isinstance(actions, Mapping):
            continue
        value = actions.get(ENTERED, {}).get("value")
        if isinstance(value, str) and (text := one_line(value)):
            found.append((int(position), option, text))
    return [(option, text) for _, option, text in sorted(found)]


def composed_from(command: str, values: Mapping[str, Any]) -> Composed:
    """``command`` with ``--option value`` for each field, quoted so that the grammar reads back what was entered.

    A value that begins with a dash is joined with ``=``: it must not be taken for an option.
    """
    line = command
    spans: list[tuple[int, int, str]] = []
    for option, value in entered(values):
        start = len(line) + 1
        line += f" --{option}{'=' if value.startswith('-') else ' '}{quote(value)}"
        spans.append((start, len(line), option))
    return Composed(line, tuple(spans))
