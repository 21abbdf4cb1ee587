"""The bytes that Slack sends, taken apart: a command's form, a form that holds JSON, JSON. Pure."""

from __future__ import annotations

import json
from typing import Any

from bot.surfaces.slack import payloads
from bot.surfaces.slack.urlencoded import fields_of

NEVER_OURS = frozenset(  # Slack's older ways of asking, and shortcuts that the manifest does not have
    {
        "interactive_message",
        "dialog_submission",
        "dialog_cancellation",
        "dialog_suggestion",
        "workflow_step_edit",
        "shortcut",
        "view_closed",
    }
)


def parsed(raw: bytes, content_type: str) -> dict[str, Any]:
    """A request's body: a form (slash command), a form that holds JSON (buttons, forms) or JSON (events).

    Raises ValueError, also MalformedError with what to tell.
    """
    text = raw.decode("utf-8")
    if content_type == "application/json":
        body = json.loads(text)
    elif content_type == "application/x-www-form-urlencoded":
        body = fields_of(text) if text else {}
        if "payload" in body:
            body = json.loads(body["payload"])
    else:
        raise payloads.MalformedError("neither a form nor JSON")
    if not isinstance(body, dict):
        raise payloads.MalformedError("not an object")
    if not body:
        raise payloads.MalformedError("empty")
    # bolt takes these for granted
    kinds: tuple[tuple[str, type], ...] = (
        ("event", dict),
        ("actions", list),
        ("view", dict),
        ("command", str),
        ("callback_id", str),
        ("action_id", str),
        ("block_id", str),
    )
    for name, kind in kinds:
        if name in body and not isinstance(body[name], kind):
            raise payloads.MalformedError(f"{name} is not what Slack sends")
    if "event" in body and not isinstance(body["event"].get("type"), str):
        raise payloads.MalformedError("event.type is missing")
    if payloads.get(body, "type") in NEVER_OURS:
        return body
    if "actions" in body and not all(
        isinstance(one, dict) and "action_id" in one for one in body["actions"][:1] or [0]
    ):
        raise payloads.MalformedError("actions is not what Slack sends")
    if "actions" in body and not isinstance(body["actions"][0]["action_id"], str):
        raise payloads.MalformedError("action_id is not a text")
    if "view" in body and not isinstance(body["view"].get("callback_id"), str):
        raise payloads.MalformedError("view.callback_id is missing")
    return body
