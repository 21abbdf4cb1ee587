"""``invalid_blocks``: the limits of Block Kit, as Slack documents them and a little stricter.

Sources: https://docs.slack.dev/reference/block-kit (one page for each block, element and composition object),
https://docs.slack.dev/reference/views, https://docs.slack.dev/messaging/message-metadata. Stricter than Slack: a
property that is not documented is refused instead of dropped, mrkdwn must be escaped, an interactive element must have
an ``action_id``, and blocks that the local page cannot draw (video, call, file, markdown ...) are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from bot.demo.slack.mrkdwn import mistakes
from bot.demo.slack.shapes import (
    Check,
    Problems,
    anything,
    array,
    boolean,
    by_type,
    complain,
    every,
    integer,
    number,
    one_of,
    shape,
    string,
)

Where = Literal["message", "modal", "home"]

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
BLOCK_TEXT_TOTAL = 13_200  # not documented; a longer message is answered with msg_blocks_too_long
TABLE_TEXT_TOTAL = 10_000  # over all cells of a message
MESSAGE_TEXT = 40_000
UPDATE_TEXT = 4_000
METADATA_SIZE = 8_000  # not documented; metadata_too_large


def _escaped(value: Any, pointer: str, problems: Problems) -> None:
    if isinstance(value, str):
        for mistake in mistakes(value):
            complain(problems, pointer, mistake)


def _url(value: Any, pointer: str, problems: Problems) -> None:
    string(3000)(value, pointer, problems)
    if isinstance(value, str) and not re.fullmatch(r"https?://[^\s<>]+", value):
        complain(problems, pointer, "must be an http or https URL")


def plain(maximum: int) -> Check:
    """A ``plain_text`` object."""

    def check(value: Any, pointer: str, problems: Problems) -> None:
        if isinstance(value, dict) and value.get("type") == "mrkdwn":
            complain(problems, f"{pointer}/type", "must be plain_text, mrkdwn is not allowed here")
        else:
            shape({"type": one_of("plain_text"), "text": string(maximum)}, {"emoji": boolean})(value, pointer, problems)

    return check


def text(maximum: int) -> Check:
    """A text object, plain or mrkdwn."""
    mrkdwn = shape({"type": anything, "text": every(string(maximum), _escaped)}, {"verbatim": boolean})
    return by_type({"plain_text": plain(maximum), "mrkdwn": mrkdwn})


_id = string(255)
_style = shape(
    {}, dict.fromkeys(("bold", "italic", "strike", "code", "underline", "highlight", "client_highlight"), boolean)
)
_option = shape({"text": plain(75), "value": string(150)}, {"description": plain(75)})
_rich_option = shape({"text": text(75), "value": string(150)}, {"description": text(75)})
_confirm = shape(
    {"title": plain(100), "text": plain(300), "confirm": plain(30), "deny": plain(30)},
    {"style": one_of("primary", "danger")},
)
_slack_file = shape({}, {"id": string(255), "url": _url})
_type = {"type": anything}


def _picture(value: Any, pointer: str, problems: Problems) -> None:
    if isinstance(value, dict) and ("image_url" in value) == ("slack_file" in value):
        complain(problems, pointer, "must have either image_url or slack_file")


_image = every(
    shape({**_type, "alt_text": string(2000)}, {"image_url": _url, "slack_file": _slack_file}),
    _picture,
)
_button = shape(
    {**_type, "text": plain(75), "action_id": _id},
    {
        "value": string(2000),
        "url": _url,
        "style": one_of("primary", "danger"),
        "confirm": _confirm,
        "accessibility_label": string(75),
    },
)
_menu = {"placeholder": plain(150), "confirm": _confirm, "focus_on_load": boolean}
_static_select = shape(
    {**_type, "action_id": _id, "options": array(_option, 1, 100)}, {**_menu, "initial_option": _option}
)
_external_select = shape(
    {**_type, "action_id": _id}, {**_menu, "initial_option": _option, "min_query_length": integer(0, 100)}
)
_users_select = shape({**_type, "action_id": _id}, {**_menu, "initial_user": string(255)})
_overflow = shape({**_type, "action_id": _id, "options": array(_option, 1, 5)}, {"confirm": _confirm})
_field = {"placeholder": plain(150), "focus_on_load": boolean, "initial_value": string(3000, 0)}
_radio = shape(
    {**_type, "action_id": _id, "options": array(_rich_option, 1, 10)},
    {"initial_option": _rich_option, "confirm": _confirm, "focus_on_load": boolean},
)
_checkboxes = shape(
    {**_type, "action_id": _id, "options": array(_rich_option, 1, 10)},
    {"initial_options": array(_rich_option, 1, 10), "confirm": _confirm, "focus_on_load": boolean},
)
_pressed: dict[str, Check] = {
    "button": _button,
    "static_select": _static_select,
    "users_select": _users_select,
    "overflow": _overflow,
}
_entered: dict[str, Check] = {
    "plain_text_input": shape(
        {**_type, "action_id": _id},
        {**_field, "multiline": boolean, "min_length": integer(0, 3000), "max_length": integer(1, 3000)},
    ),
    "number_input": shape(
        {**_type, "action_id": _id, "is_decimal_allowed": boolean},
        {**_field, "min_value": string(40), "max_value": string(40)},
    ),
    "email_text_input": shape({**_type, "action_id": _id}, _field),
    "url_text_input": shape({**_type, "action_id": _id}, _field),
    "datepicker": shape({**_type, "action_id": _id}, {**_menu, "initial_date": string(10, 10)}),
    "static_select": _static_select,
    "external_select": _external_select,
    "users_select": _users_select,
    "radio_buttons": _radio,
    "checkboxes": _checkboxes,
}

# rich_text: https://docs.slack.dev/reference/block-kit/blocks/rich-text-block
_run = {"text": shape({**_type, "text": string(3000)}, {"style": _style})}
_link = {"link": shape({**_type, "url": _url}, {"text": string(3000), "style": _style, "unsafe": boolean})}
_inline: dict[str, Check] = {
    **_run,
    **_link,
    "user": shape({**_type, "user_id": string(255)}, {"style": _style}),
    "usergroup": shape({**_type, "usergroup_id": string(255)}, {"style": _style}),
    "channel": shape({**_type, "channel_id": string(255)}, {"style": _style}),
    "broadcast": shape({**_type, "range": one_of("here", "channel", "everyone")}),
    "emoji": shape({**_type, "name": string(100)}, {"unicode": string(100), "skin_tone": integer(1, 6)}),
    "date": shape(
        {**_type, "timestamp": integer(0, 2**40), "format": string(300)},
        {"url": _url, "fallback": string(300), "style": _style},
    ),
}
_section = shape({**_type, "elements": array(by_type(_inline), 1, 1000)})
_border = integer(0, 1)
_rich: dict[str, Check] = {
    "rich_text_section": _section,
    "rich_text_preformatted": shape(
        {**_type, "elements": array(by_type({**_run, **_link}), 1, 1000)}, {"border": _border}
    ),
    "rich_text_quote": shape({**_type, "elements": array(by_type(_inline), 1, 1000)}, {"border": _border}),
    "rich_text_list": shape(
        {
            **_type,
            "style": one_of("bullet", "ordered"),
            "elements": array(by_type({"rich_text_section": _section}), 1, 1000),
        },
        {"indent": integer(0, 8), "offset": integer(0, 10_000), "border": _border},
    ),
}
_block_id = {"block_id": _id}
_rich_text = shape({**_type, "elements": array(by_type(_rich), 1, 1000)}, _block_id)
_cell = by_type(
    {
        "raw_text": shape({**_type, "text": string(3000)}),
        "raw_number": shape({**_type, "value": number, "text": string(300)}),
        "rich_text": _rich_text,
    }
)


def _same_width(value: Any, pointer: str, problems: Problems) -> None:
    rows = value.get("rows") if isinstance(value, dict) else None
    if isinstance(rows, list) and len({len(row) for row in rows if isinstance(row, list)}) > 1:
        complain(problems, f"{pointer}/rows", "every row must have the same number of cells")


def _something_to_show(value: Any, pointer: str, problems: Problems) -> None:
    if isinstance(value, dict) and not ({"text", "fields"} & value.keys()):
        complain(problems, pointer, "a section must have text or fields")


_table = every(
    shape(
        {**_type, "rows": array(array(_cell, 1, 20), 1, 100)},
        {
            **_block_id,
            "column_settings": array(
                shape({}, {"align": one_of("left", "center", "right"), "is_wrapped": boolean}), 1, 20
            ),
        },
    ),
    _same_width,
)
_blocks: dict[str, Check] = {
    "header": shape({**_type, "text": plain(150)}, _block_id),
    "section": every(
        shape(
            _type,
            {
                **_block_id,
                "text": text(3000),
                "fields": array(text(2000), 1, 10),
                "accessory": by_type({**_pressed, "image": _image}),
                "expand": boolean,
            },
        ),
        _something_to_show,
    ),
    "context": shape(
        {
            **_type,
            "elements": array(by_type({"plain_text": plain(3000), "mrkdwn": text(3000), "image": _image}), 1, 10),
        },
        _block_id,
    ),
    "divider": shape(_type, _block_id),
    "actions": shape({**_type, "elements": array(by_type(_pressed), 1, 25)}, _block_id),
    "image": every(
        shape(
            {**_type, "alt_text": string(2000)},
            {**_block_id, "image_url": _url, "slack_file": _slack_file, "title": plain(2000)},
        ),
        _picture,
    ),
    "rich_text": _rich_text,
    "table": _table,
}
_input = shape(
    {**_type, "label": plain(2000), "element": by_type(_entered)},
    {**_block_id, "hint": plain(2000), "optional": boolean, "dispatch_action": boolean},
)
_allowed: dict[Where, dict[str, Check]] = {
    "message": _blocks,
    "modal": {**{name: check for name, check in _blocks.items() if name != "table"}, "input": _input},
    "home": {name: check for name, check in _blocks.items() if name != "table"},
}


def check_blocks(blocks: Any, where: Where = "message", pointer: str = "/blocks") -> Problems:
    """Every rule that ``blocks`` breaks, in Slack's words; an empty list means that Slack would take them."""
    problems: Problems = []
    most = MESSAGE_BLOCKS if where == "message" else VIEW_BLOCKS
    array(by_type(_allowed[where]), 1, most)(blocks, pointer, problems)
    if problems:
        return problems
    seen: set[str] = set()
    for position, block in enumerate(blocks):
        at = f"{pointer}/{position}"
        if block.get("block_id") in seen:
            complain(problems, f"{at}/block_id", f"block_id {block['block_id']!r} already exists")
        seen.update(filter(None, [block.get("block_id")]))
        ids = [element["action_id"] for element in block.get("elements", []) if "action_id" in element]
        for action_id in sorted({one for one in ids if ids.count(one) > 1}):
            complain(problems, at, f"`action_id` {action_id!r} already exists for another element")
    tables = [block for block in blocks if block["type"] == "table"]
    if len(tables) > 1:
        complain(problems, pointer, "only_one_table_allowed")
    if sum(map(len, texts(tables))) > TABLE_TEXT_TOTAL:
        complain(problems, pointer, f"the cells of a table hold more than {TABLE_TEXT_TOTAL} characters")
    return problems


def check_attachments(attachments: Any) -> Problems:
    """Secondary attachments: a colour, blocks and a fallback, or a colour and text."""
    problems: Problems = []
    colour = every(string(10), _colour)
    one = shape(
        {},
        {"color": colour, "fallback": string(3000), "blocks": anything, "text": every(string(3000), _escaped)},
    )
    array(one, 1, 20)(attachments, "/attachments", problems)
    if not problems:
        for position, attachment in enumerate(attachments):
            if ("blocks" in attachment) == ("text" in attachment):
                complain(problems, f"/attachments/{position}", "must have either blocks or text")
            if "blocks" in attachment:
                problems += check_blocks(attachment["blocks"], "message", f"/attachments/{position}/blocks")
    return problems


def _colour(value: Any, pointer: str, problems: Problems) -> None:
    if isinstance(value, str) and not re.fullmatch(r"good|warning|danger|#[0-9a-fA-F]{6}", value):
        complain(problems, pointer, "must be good, warning, danger or a hex colour like #2eb67d")


def check_view(view: Any) -> Problems:
    """A modal or a home tab."""
    problems: Problems = []
    common = {"blocks": anything, **_type}
    extra = {"private_metadata": string(3000, 0), "callback_id": _id, "external_id": _id}
    modal = {"submit": plain(24), "close": plain(24), "clear_on_close": boolean, "notify_on_close": boolean}
    by_type(
        {
            "modal": shape({**common, "title": plain(24)}, {**extra, **modal, "submit_disabled": boolean}),
            "home": shape(common, extra),
        }
    )(view, "/view", problems)
    if problems:
        return problems
    problems += check_blocks(view["blocks"], view["type"], "/view/blocks")
    if not problems and view["type"] == "modal" and "submit" not in view:
        for position, block in enumerate(view["blocks"]):
            if block["type"] == "input":
                complain(problems, f"/view/blocks/{position}", "a modal with inputs must have submit")
    return problems


def check_options(options: Any) -> Problems:
    """What an app answers when a menu asks it what there is."""
    problems: Problems = []
    array(_option, 0, 100)(options, "/options", problems)
    return problems


def check_text(value: str, pointer: str = "/text") -> Problems:
    """The top-level ``text`` of a message, which is mrkdwn too."""
    problems: Problems = []
    _escaped(value, pointer, problems)
    return problems


def check_metadata(metadata: Any) -> str:
    """``""`` or the error's name: https://docs.slack.dev/messaging/message-metadata."""
    problems: Problems = []
    shape({"event_type": string(255), "event_payload": anything})(metadata, "/metadata", problems)
    if problems or not isinstance(metadata["event_payload"], dict):
        return "invalid_metadata_format"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", metadata["event_type"]):
        return "invalid_metadata_format"
    return "metadata_too_large" if len(json.dumps(metadata)) > METADATA_SIZE else ""


def texts(value: Any) -> Iterator[str]:
    """Every piece of text that a reader can see in blocks."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in {"text", "alt_text", "fallback"} and isinstance(inner, str):
                yield inner
            else:
                yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def text_total(blocks: Any) -> int:
    """How many characters of text the blocks hold, against ``BLOCK_TEXT_TOTAL``."""
    return sum(map(len, texts(blocks)))
