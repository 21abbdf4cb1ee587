"""Whether Slack would take a message: its own models, the local workspace's stricter rules, the limits of the whole."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from slack_sdk.models.blocks import Block as SdkBlock

from bot.demo.slack.block_rules import check_attachments, check_blocks, check_text
from bot.surfaces.printable import printable
from bot.surfaces.slack.blocks import SlackMessage
from bot.surfaces.slack.files import without_files

WHOLE = 13_200  # characters of all blocks; not documented: slackapi/bolt-js issue 2509


def shown(drawn: SlackMessage) -> list[dict[str, Any]]:
    return [*drawn.blocks, *(block for one in drawn.attachments for block in one["blocks"])]


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def judge(drawn: SlackMessage, people: Iterable[str]) -> None:
    """``people`` are the ids that may be mentioned. What stands there without its files is judged too."""
    if drawn.files:
        judge(without_files(drawn, "missing_scope. " + "<&> " * 200), people)
    blocks = shown(drawn)
    assert check_blocks(drawn.blocks) == []
    if drawn.attachments:
        assert check_attachments(drawn.attachments) == []
    assert check_text(drawn.text) == []
    assert drawn.text.strip()
    assert len(drawn.text) <= 4_000
    assert len(blocks) <= 50
    everything = json.dumps([drawn.blocks, drawn.attachments], ensure_ascii=False)
    assert len(everything) <= WHOLE
    everything.encode("utf-8")
    drawn.text.encode("utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in blocks:
            parsed = SdkBlock.parse(_uploaded(block))
            assert parsed is not None
            parsed.validate_json()
    ids = [node["action_id"] for block in blocks for node in nodes(block) if "action_id" in node]
    assert len(ids) == len(set(ids))
    for node in (node for block in blocks for node in nodes(block)):
        assert node.get("type") not in ("broadcast", "usergroup", "channel")
        if node.get("type") == "user":
            assert node["user_id"] in set(people)
        for name in ("text", "fallback"):
            if isinstance(value := node.get(name), str):
                assert printable(value) == value


def _uploaded(block: dict[str, Any]) -> dict[str, Any]:
    """The models want the id of a file; until it is uploaded its number stands there."""
    return {**block, "slack_file": {"id": "F0PICTURE"}} if "slack_file" in block else block


_DATE = re.compile(r"<!date\^\d+\^[^|<>]+\|([^<>]*UTC)>")


def can_be_heard(text: str) -> None:
    """What a screen reader says: no bars, boxes or marks that it would name, times in the reader's zone."""
    assert not re.search("[\u2500-\u25ff\u2800-\u28ff✓✗→]", text), text
    assert not re.search(r"(^|\n)[?–] ", text), text
    assert not re.search(r":[a-z_]+:", text), text
    assert not re.search(r"\d\d:\d\d UTC", _DATE.sub("", text)), text
