"""``payload={"type":"block_actions", …}``: what Slack sends to an app, and how it describes messages and views.

Shapes: https://docs.slack.dev/reference/interaction-payloads, https://docs.slack.dev/interactivity/implementing-slash-commands
and https://docs.slack.dev/apis/events-api.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from bot.demo.slack.reading import LocalButton
from bot.demo.slack.workspace import Channel, Json, LocalMessage, LocalView, Workspace

FORM = "application/x-www-form-urlencoded"
VERIFICATION_TOKEN = "local-verification-token"  # noqa: S105 - deprecated by Slack; signatures count


def api_message(space: Workspace, message: LocalMessage, *, metadata: bool = False) -> Json:
    """A message as the Web API and the payloads write it."""
    written: Json = {
        "type": "message",
        "user": message.user,
        "text": message.text,
        "ts": message.ts,
        "team": space.team_id,
    }
    if message.app_id is not None:
        written |= {"bot_id": space.bot_id, "app_id": message.app_id}
    if message.blocks:
        written["blocks"] = message.blocks
    if message.attachments:
        written["attachments"] = [{"id": place, **one} for place, one in enumerate(message.attachments, start=1)]
    if message.files:
        written["files"] = message.files
    if message.edited_ts:
        written["edited"] = {"user": message.user, "ts": message.edited_ts}
    if message.reactions:
        written["reactions"] = [
            {"name": name, "users": users, "count": len(users)} for name, users in message.reactions.items()
        ]
    if metadata and message.metadata:
        written["metadata"] = message.metadata
    if message.thread_ts:
        written["thread_ts"] = message.thread_ts
        root = space.posted[message.channel].get(message.thread_ts)
        if root is not None and message.in_thread:
            written["parent_user_id"] = root.user
    if message.only_for is None and not message.in_thread:
        replies = [one for one in space.thread(message.channel, message.ts) if one is not message]
        if replies:
            written |= {
                "thread_ts": message.ts,
                "reply_count": len(replies),
                "reply_users": sorted({one.user for one in replies}),
                "latest_reply": replies[-1].ts,
            }
    return written


def api_view(space: Workspace, open_view: LocalView, state: Json | None = None) -> Json:
    """A view as ``views.open`` answers and ``view_submission`` carries it."""
    return {
        "private_metadata": "",
        "callback_id": "",
        "external_id": "",
        "clear_on_close": False,
        "notify_on_close": False,
        "submit": None,
        "close": None,
        **open_view.view,
        "id": open_view.id,
        "team_id": space.team_id,
        "app_id": space.app_id,
        "bot_id": space.bot_id,
        "app_installed_team_id": space.team_id,
        "hash": open_view.hash,
        "root_view_id": open_view.root_id,
        "previous_view_id": open_view.previous_id,
        "state": {"values": state or {}},
    }


def slash_form(
    space: Workspace, *, user: str, channel: Channel, command: str, text: str, response_url: str, trigger_id: str
) -> bytes:
    """The body of a slash command."""
    return urlencode(
        {
            "token": VERIFICATION_TOKEN,
            "team_id": space.team_id,
            "team_domain": space.team_domain,
            "channel_id": channel.id,
            "channel_name": "directmessage" if channel.is_im else channel.name,
            "user_id": user,
            "user_name": space.people[user].name,
            "command": command,
            "text": text,
            "api_app_id": space.app_id,
            "is_enterprise_install": "false",
            "response_url": response_url,
            "trigger_id": trigger_id,
        }
    ).encode()


def _interaction(space: Workspace, kind: str, user: str, trigger_id: str | None) -> Json:
    person = space.people[user]
    payload: Json = {
        "type": kind,
        "user": {"id": user, "username": person.name, "name": person.name, "team_id": space.team_id},
        "api_app_id": space.app_id,
        "token": VERIFICATION_TOKEN,
        "team": {"id": space.team_id, "domain": space.team_domain},
        "enterprise": None,
        "is_enterprise_install": False,
    }
    return payload if trigger_id is None else {**payload, "trigger_id": trigger_id}


def _form(payload: Json) -> bytes:
    return urlencode({"payload": json.dumps(payload, ensure_ascii=False)}).encode()


def block_actions_form(
    space: Workspace,
    *,
    user: str,
    message: LocalMessage,
    button: LocalButton,
    chosen: Json,
    trigger_id: str,
    response_url: str,
) -> bytes:
    """The body for a pressed button, or for a chosen option of a menu (``chosen``)."""
    ephemeral = message.only_for is not None
    channel = space.channels[message.channel]
    container: Json = {
        "type": "message_attachment" if button.attachment else "message",
        "message_ts": message.ts,
        "channel_id": message.channel,
        "is_ephemeral": ephemeral,
    }
    if button.attachment:
        container |= {"attachment_id": button.attachment, "is_app_unfurl": False}
    if message.thread_ts:
        container["thread_ts"] = message.thread_ts
    action: Json = {
        "action_id": button.action_id,
        "block_id": button.block_id,
        "type": button.kind,
        "action_ts": space.new_ts(),
        **chosen,
    }
    if button.kind == "button":
        action["text"] = {"emoji": True, **button.element["text"]}
        action |= {name: button.element[name] for name in ("value", "style") if name in button.element}
    payload = _interaction(space, "block_actions", user, trigger_id) | {
        "container": container,
        "channel": {"id": channel.id, "name": "directmessage" if channel.is_im else channel.name},
        "state": {"values": {}},
        "response_url": response_url,
        "actions": [action],
    }
    if not ephemeral:
        payload["message"] = api_message(space, message)
    return _form(payload)


def block_suggestion_form(
    space: Workspace, *, user: str, view: LocalView, block: Json, typed: str, state: Json
) -> bytes:
    """The body for what somebody types into a menu whose options the app knows."""
    payload = _interaction(space, "block_suggestion", user, None) | {
        "container": {"type": "view", "view_id": view.id},
        "action_id": block["element"]["action_id"],
        "block_id": block["block_id"],
        "value": typed,
        "view": api_view(space, view, state),
    }
    return _form(payload)


def message_action_form(
    space: Workspace, *, user: str, message: LocalMessage, callback_id: str, trigger_id: str, response_url: str
) -> bytes:
    """The body for a shortcut that is chosen in the menu of a message."""
    channel = space.channels[message.channel]
    payload = _interaction(space, "message_action", user, trigger_id) | {
        "action_ts": space.new_ts(),
        "callback_id": callback_id,
        "response_url": response_url,
        "message_ts": message.ts,
        "channel": {"id": channel.id, "name": "directmessage" if channel.is_im else channel.name},
        "message": api_message(space, message),
    }
    return _form(payload)


def home_actions_form(
    space: Workspace, *, user: str, view: LocalView, button: LocalButton, chosen: Json, trigger_id: str
) -> bytes:
    """The body for a button of the home tab."""
    action: Json = {
        "action_id": button.action_id,
        "block_id": button.block_id,
        "type": button.kind,
        "action_ts": space.new_ts(),
        **chosen,
    }
    if button.kind == "button":
        action["text"] = {"emoji": True, **button.element["text"]}
        action |= {name: button.element[name] for name in ("value", "style") if name in button.element}
    payload = _interaction(space, "block_actions", user, trigger_id) | {
        "container": {"type": "view", "view_id": view.id},
        "view": api_view(space, view),
        "actions": [action],
    }
    return _form(payload)


def home_opened_event(space: Workspace, user: str, channel: str, view: LocalView | None) -> Json:
    """The ``app_home_opened`` event; the view is there when one was published before."""
    event: Json = {
        "type": "app_home_opened",
        "user": user,
        "channel": channel,
        "tab": "home",
        "event_ts": space.new_ts(),
    }
    return event | {"view": api_view(space, view)} if view else event


def view_submission_form(space: Workspace, *, user: str, view: LocalView, state: Json, trigger_id: str) -> bytes:
    """The body for a submitted modal."""
    payload = _interaction(space, "view_submission", user, trigger_id)
    return _form(payload | {"view": api_view(space, view, state), "response_urls": []})


def view_closed_form(space: Workspace, *, user: str, view: LocalView, cleared: bool) -> bytes:
    """The body for a modal that was closed and asked to be told of it."""
    payload = _interaction(space, "view_closed", user, None)
    return _form(payload | {"view": api_view(space, view), "is_cleared": cleared})


def event_body(space: Workspace, event: Json) -> bytes:
    """The JSON body of one event."""
    return json.dumps(
        {
            "token": VERIFICATION_TOKEN,
            "team_id": space.team_id,
            "api_app_id": space.app_id,
            "event": event,
            "type": "event_callback",
            "event_id": space.new_id("Ev"),
            "event_time": int(space.now()),
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": space.team_id,
                    "user_id": space.bot_user_id,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": False,
            "event_context": space.new_id("EC"),
        },
        ensure_ascii=False,
    ).encode()


def message_event(space: Workspace, message: LocalMessage, kind: str) -> Json:
    """The ``app_mention`` or ``message`` event for something that a person said."""
    event: Json = {
        "type": kind,
        "user": message.user,
        "ts": message.ts,
        "client_msg_id": space.new_id("local-"),
        "text": message.text,
        "team": space.team_id,
        "channel": message.channel,
        "event_ts": message.ts,
    }
    if message.in_thread:
        event["thread_ts"] = message.thread_ts
    if kind == "message":
        event["channel_type"] = "im" if space.channels[message.channel].is_im else "channel"
    return event


def entered_state(view: Json, values: dict[str, Any]) -> tuple[Json, dict[str, str]]:
    """``view.state.values`` for what a person entered, and the errors that Slack's client shows by itself.

    ``values`` are found by block id, action id or label; what is not given keeps its initial value. A name that no
    field has raises ``KeyError``.
    """
    state: Json = {}
    errors: dict[str, str] = {}
    left = dict(values)
    for block in view["blocks"]:
        if block["type"] != "input":
            continue
        element = block["element"]
        names = (block["block_id"], element["action_id"], block["label"]["text"])
        given = next((left.pop(name) for name in names if name in left), None)
        entry, problem = _entered(element, given, optional=block.get("optional", False))
        state.setdefault(block["block_id"], {})[element["action_id"]] = entry
        if problem:
            errors[block["block_id"]] = problem
    if left:
        raise KeyError(f"the modal has no field {', '.join(left)}")
    return state, errors


def _entered(element: Json, given: Any, *, optional: bool) -> tuple[Json, str]:
    kind = element["type"]
    missing = "" if optional else "Please complete this required field."
    if kind == "external_select":
        chosen_name = element.get("initial_option") if given is None else given  # one that the app has offered
        return {"type": kind, "selected_option": chosen_name or None}, "" if chosen_name else missing
    if kind in {"static_select", "radio_buttons"}:
        option = next((one for one in element["options"] if given in (one["value"], one["text"]["text"])), None)
        if given and option is None:
            raise KeyError(f"no option {given!r}")
        option = option or element.get("initial_option")
        return {"type": kind, "selected_option": option}, "" if option else missing
    if kind == "checkboxes":
        wanted = given.split(",") if isinstance(given, str) else given
        chosen = [one for one in element["options"] if wanted and one["value"] in wanted]
        chosen = chosen if wanted is not None else element.get("initial_options", [])
        return {"type": kind, "selected_options": chosen}, "" if chosen else missing
    if kind == "users_select":
        user = given or element.get("initial_user")
        return {"type": kind, "selected_user": user}, "" if user else missing
    if kind == "datepicker":
        day = given or element.get("initial_date")
        return {"type": kind, "selected_date": day}, "" if day else missing
    value = element.get("initial_value") if given is None else (str(given) or None)
    problem = "" if value else missing
    if value and len(value) < element.get("min_length", 0):
        problem = f"Must be at least {element['min_length']} characters."
    if value and len(value) > element.get("max_length", 3000):
        problem = f"Must be at most {element.get('max_length', 3000)} characters."
    return {"type": kind, "value": value}, problem
