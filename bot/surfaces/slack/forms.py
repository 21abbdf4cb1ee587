"""``/somas restart`` without its project: the modal that asks, the menus that fill as one types, what was entered.

A modal's ``private_metadata`` says which command it is for and where it was typed, so that any replica can draw it,
fill its menus and read it, also after a restart. Each field is a block ``arg:<parameter>``; what is set or not set
stands in the one block ``flags``. Shapes: https://docs.slack.dev/reference/block-kit/block-elements and
https://docs.slack.dev/reference/interaction-payloads/block_suggestion-payload. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bot.commands.asking import Field, Form
from bot.commands.help import danger_words
from bot.handler import Danger
from bot.messages import Note, line
from bot.surfaces.printable import cut, one_line, printable
from bot.surfaces.slack.dialog import FOREIGN
from bot.surfaces.slack.elements import Drawing, Json, plain_object

CALLBACK_ID = "opsbot_form"
ARGUMENT = "arg:"
FLAGS = "flags"
ENTERED = "value"
MOST_FLAGS = 10
OPTION_VALUE = 150
OPTION_TEXT = 75
MOST_OPTIONS = 100
TITLE = 24


class Offered(Protocol):
    """A line of a menu, as ``bot.forms.Offer`` has it."""

    @property
    def value(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def about(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """Which command a modal is for, and where it was typed."""

    root: str
    verb: str
    channel: str
    thread: str = ""


def form_view(form: Form, channel: str, thread: str = "") -> Json:
    """The view for ``views.open``."""
    asked = Asked(form.group.root, form.command.verb, channel, thread)
    note = line(f"{form.command.help} ".replace("`", ""))
    if form.command.danger is not Danger.READ:
        note += line(f"This command {danger_words(form.command.danger).replace('destructive: ', 'is destructive: ')}.")
    fields = [field for field in form.fields if field.kind != "flag"]
    flags = [field for field in form.fields if field.kind == "flag"]
    blocks = Drawing({}, None, 2_000).all((Note(note),))
    blocks += [_input(field) for field in fields]
    if flags:
        blocks.append(_flags(flags[:MOST_FLAGS]))
    return {
        "type": "modal",
        "callback_id": CALLBACK_ID,
        "private_metadata": _packed(asked),
        "title": plain_object(cut(form.name, TITLE)),
        "submit": plain_object("Send"),
        "close": plain_object("Cancel"),
        "blocks": blocks,
    }


def _packed(asked: Asked) -> str:
    return json.dumps([asked.root, asked.verb, asked.channel, asked.thread], ensure_ascii=False, separators=(",", ":"))


def read_asked(private_metadata: str) -> Asked:
    """Raises ValueError for what ``form_view`` did not write."""
    try:
        root, verb, channel, thread = json.loads(private_metadata)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(FOREIGN) from error
    if all(isinstance(one, str) for one in (root, verb, channel, thread)):
        return Asked(root, verb, channel, thread)
    raise ValueError(FOREIGN)


def option(offer: Offered) -> Json | None:
    """One line of a menu; None for a value that no menu can hold, which can then only be typed."""
    if not offer.value or len(offer.value) > OPTION_VALUE or one_line(offer.value) != offer.value:
        return None
    label = one_line(offer.label) or offer.value
    drawn: Json = {"text": plain_object(cut(label, OPTION_TEXT)), "value": offer.value}
    if about := cut(one_line(offer.about), OPTION_TEXT):
        drawn["description"] = plain_object(about)
    return drawn


def options(offers: Iterable[Offered]) -> list[Json]:
    """What ``block_suggestion`` is answered with: at most 100."""
    drawn = (option(offer) for offer in offers)
    return [one for one in drawn if one][:MOST_OPTIONS]


def name_menu(initial: Offered | None = None, placeholder: str = "Type to search") -> Json:
    """A menu that asks the bot what there is."""
    element: Json = {
        "type": "external_select",
        "action_id": ENTERED,
        "min_query_length": 0,
        "placeholder": plain_object(placeholder),
    }
    if initial is not None and (chosen := option(initial)):
        element["initial_option"] = chosen
    return element


def input_block(name: str, label: str, element: Json, *, optional: bool, hint: str = "") -> Json:
    drawn: Json = {
        "type": "input",
        "block_id": f"{ARGUMENT}{name}"[:255],
        "label": plain_object(cut(one_line(label), 150) or name),
        "element": element,
        "optional": optional,
    }
    if shown := cut(one_line(hint), 300):
        drawn["hint"] = plain_object(shown)
    return drawn


@dataclass(frozen=True, slots=True)
class _Typed:
    value: str
    about: str = ""

    @property
    def label(self) -> str:
        return self.value


def _input(field: Field) -> Json:
    return input_block(field.name, field.label, _element(field), optional=not field.required, hint=field.hint)


def _element(field: Field) -> Json:
    first = one_line(field.initial[0]) if field.initial else ""
    if field.kind == "name":
        return name_menu(_Typed(first) if first else None)
    if field.kind == "choice":
        choices = [one for each in field.choices if (one := option(_Typed(each)))]
        element: Json = {"type": "static_select", "action_id": ENTERED, "options": choices}
        initial = next((one for one in choices if one["value"] == first), None)
        return element | {"initial_option": initial} if initial else element
    if field.kind in ("whole number", "number"):
        element = {"type": "number_input", "action_id": ENTERED, "is_decimal_allowed": field.kind == "number"}
    else:
        element = {"type": "plain_text_input", "action_id": ENTERED, "multiline": field.kind == "lines"}
        first = "\n".join(printable(each) for each in field.initial) if field.kind == "lines" else first
    if first:
        element["initial_value"] = cut(first, 3000)
    if placeholder := cut(one_line(field.placeholder), 150):
        element["placeholder"] = plain_object(placeholder)
    return element


def _flags(flags: Sequence[Field]) -> Json:
    """What can be set or not, as boxes to tick."""
    boxes: list[Json] = []
    for flag in flags:
        box: Json = {"text": plain_object(cut(flag.label, OPTION_TEXT)), "value": flag.name}
        if hint := cut(one_line(flag.hint), OPTION_TEXT):
            box["description"] = plain_object(hint)
        boxes.append(box)
    element: Json = {"type": "checkboxes", "action_id": ENTERED, "options": boxes}
    if ticked := [box for box, flag in zip(boxes, flags, strict=True) if flag.initial]:
        element["initial_options"] = ticked
    return {"type": "input", "block_id": FLAGS, "label": plain_object("Options"), "element": element, "optional": True}


# ---- what comes back -------------------------------------------------------------------------------------------------


def entered(view: Any) -> dict[str, list[str]]:
    """What was entered into a view's fields, by parameter: lines of text one by one, ticked boxes as ``true``."""
    found: dict[str, list[str]] = {}
    state = view.get("state") if isinstance(view, Mapping) else None
    values = state.get("values") if isinstance(state, Mapping) else None
    for block_id, actions in values.items() if isinstance(values, Mapping) else ():
        given = actions.get(ENTERED) if isinstance(actions, Mapping) else None
        if not isinstance(given, Mapping) or not isinstance(block_id, str):
            continue
        if block_id == FLAGS:
            chosen = given.get("selected_options")
            names = [one.get("value") for one in chosen if isinstance(one, Mapping)] if isinstance(chosen, list) else []
            found |= {name: ["true"] for name in names if isinstance(name, str)}
        elif block_id.startswith(ARGUMENT) and (texts := _texts(given)):
            found[block_id.removeprefix(ARGUMENT)] = texts
    return found


def _texts(given: Mapping[str, Any]) -> list[str]:
    selected = given.get("selected_option")
    value = selected.get("value") if isinstance(selected, Mapping) else given.get("value")
    if not isinstance(value, str):
        return []
    return [shown for each in value.split("\n") if (shown := one_line(each))]


def block_of(view: Any, field: str) -> str:
    """The block of the field that an error is told at: its own, that of the boxes, else the first; "" without any."""
    blocks = view.get("blocks") if isinstance(view, Mapping) else None
    fields: dict[str, Mapping[str, Any]] = {}
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, Mapping) and block.get("type") == "input" and isinstance(block.get("block_id"), str):
            fields[block["block_id"]] = block
    for name in fields:
        if field and name.partition(":")[2] == field:  # arg:project, and 0:confirm of a dialog
            return name
    element = fields.get(FLAGS, {}).get("element")
    boxes = element.get("options") if isinstance(element, Mapping) else None
    if any(isinstance(one, Mapping) and one.get("value") == field for one in boxes or ()):
        return FLAGS
    return next(iter(fields), "")
