"""``no_text``, ``msg_blocks_too_long``, ``missing_fallback_text``: what may stand in a message.

The Web API, ``response_url`` posts and the immediate answers to slash commands carry the same content and are judged by
the same rules.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

from bot.demo.slack import block_rules
from bot.demo.slack.workspace import Json, LocalMessage, Refused


@dataclass(frozen=True, slots=True)
class Content:
    """``None`` means: not given. Blocks and attachments are copies."""

    text: str | None = None
    blocks: list[Json] | None = None
    attachments: list[Json] | None = None
    metadata: Json | None = None

    def put_into(self, message: LocalMessage) -> None:
        """Fills a new message."""
        message.text = self.text or ""
        message.blocks = self.blocks or []
        message.attachments = self.attachments or []
        message.metadata = self.metadata or None

    def replace_in(self, message: LocalMessage) -> None:
        """Edits a message as ``chat.update`` does: text alone removes the blocks, what is not given is kept.

        Source: https://docs.slack.dev/reference/methods/chat.update.
        """
        if self.blocks is not None:
            message.blocks = self.blocks
        elif self.text is not None:
            message.blocks = []
        if self.text is not None:
            message.text = self.text
        if self.attachments is not None:
            message.attachments = self.attachments
        if self.metadata is not None:
            message.metadata = self.metadata or None


def json_argument(arguments: Json, name: str, kind: type, error: str) -> Any:
    """An argument that is JSON, as a document or as text of a form. None when it is not there."""
    value = arguments.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise Refused(error, f"[ERROR] {name} is not valid JSON") from None
    if not isinstance(value, kind):
        raise Refused(error, f"[ERROR] {name} must be a JSON {'array' if kind is list else 'object'}")
    return copy.deepcopy(value)


def read_content(arguments: Json, *, text_limit: int = block_rules.MESSAGE_TEXT) -> Content:
    """The content of a message; raises ``Refused`` with Slack's name for what is wrong."""
    text = arguments.get("text")
    if text is not None and not isinstance(text, str):
        raise Refused("invalid_arguments", "[ERROR] text must be a string")
    blocks = json_argument(arguments, "blocks", list, "invalid_blocks_format")
    attachments = json_argument(arguments, "attachments", list, "invalid_attachments")
    metadata = json_argument(arguments, "metadata", dict, "invalid_metadata_format")
    if not text and not blocks and not attachments:
        raise Refused("no_text")
    if text and len(text) > text_limit:
        raise Refused("msg_too_long", f"[ERROR] text holds {len(text)} characters, at most {text_limit} are allowed")
    if text and (problems := block_rules.check_text(text)):
        raise Refused("invalid_text_markup", *problems)  # stricter than Slack
    if blocks and (problems := block_rules.check_blocks(blocks)):
        raise Refused("invalid_blocks", *problems)
    if attachments and (problems := block_rules.check_attachments(attachments)):
        raise Refused("invalid_attachments", *problems)
    _check_totals(blocks or [], attachments or [])
    if not text and (blocks or not all(one.get("fallback") or one.get("text") for one in attachments or [])):
        raise Refused(
            "missing_fallback_text",  # stricter than Slack, which only warns
            "[ERROR] text is what notifications and screen readers say: send it with blocks and attachments",
        )
    if metadata and (error := block_rules.check_metadata(metadata)):
        raise Refused(error)
    return Content(text, blocks, attachments, metadata)


def _check_totals(blocks: list[Json], attachments: list[Json]) -> None:
    inner = [block for one in attachments for block in one.get("blocks", [])]
    count = len(blocks) + len(inner)
    if count > block_rules.MESSAGE_BLOCKS:
        raise Refused("invalid_blocks", f"[ERROR] no more than {block_rules.MESSAGE_BLOCKS} items allowed, got {count}")
    if sum(block["type"] == "table" for block in blocks + inner) > 1:
        raise Refused("only_one_table_allowed")
    total = block_rules.text_total(blocks) + block_rules.text_total(attachments)
    if total > block_rules.BLOCK_TEXT_TOTAL:
        raise Refused(
            "msg_blocks_too_long",
            f"[ERROR] the blocks hold {total} characters, about {block_rules.BLOCK_TEXT_TOTAL} are allowed",
        )
