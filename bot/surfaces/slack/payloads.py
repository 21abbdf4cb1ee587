"""``/somas restart project-42``, a pressed button, a sent form, ``@opsbot ack``: Slack's payloads as ``Incoming``.

Each becomes one command with the key under which it happens once: Slack repeats a request up to three times, and a
person may press twice. Fields: https://docs.slack.dev/interactivity/implementing-slash-commands,
https://docs.slack.dev/reference/interaction-payloads, https://docs.slack.dev/reference/events/app_mention. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.commands.asking import Composed
from bot.commands.lexer import unescape_slack
from bot.incoming import Actor, Incoming, Place
from bot.messages import Dialog
from bot.surfaces.slack.dialog import composed_from, read_button, read_where

MENTION = "@opsbot"
TEXT_LIMIT = 4_000  # what a person types; Slack allows 40,000, no command needs it


class MalformedError(ValueError):
    """A signed payload without something that every payload of its kind has; the text says what."""


class TooLongError(ValueError):
    """More than any command can be; it is refused, a part of it could mean something else."""

    def __init__(self, length: int) -> None:
        super().__init__(f"That is {length} characters long, a command has at most {TEXT_LIMIT}; nothing was done.")


def _short_enough(text: str) -> str:
    if len(text) > TEXT_LIMIT:
        raise TooLongError(len(text))
    return text


@dataclass(frozen=True, slots=True)
class Pressed:
    """A pressed button: the command it stands for, and the form to ask for first when it has one."""

    incoming: Incoming
    dialog: Dialog | None


def get(body: Any, *path: str) -> str:
    """The text at a path of keys; empty when it is not there or not a text."""
    for name in path:
        body = body.get(name) if isinstance(body, dict) else None  # as JSON has it; Mapping is ten times as slow
    return body if isinstance(body, str) else ""


def _need(body: Any, *path: str) -> str:
    if value := get(body, *path):
        return value
    raise MalformedError(f"{'.'.join(path)} is missing")


def typed(text: str, bot_user: str = "") -> str:
    """What a person typed: Slack's markup of people, links and entities undone, and the bot is called by its name.

    ``<@U0BOT> restart <http://a.io|a.io> &amp; go`` -> ``@opsbot restart a.io & go``.
    """
    text = text.replace("\u00a0", " ")
    if bot_user:
        text = re.sub(rf"<@{re.escape(bot_user)}(?:\|[^<>]*)?>", MENTION, text)
    return unescape_slack(text).strip()


def team(body: Mapping[str, Any]) -> str:
    """The workspace that a payload comes from; empty when it does not say."""
    return get(body, "team_id") or get(body, "team", "id") or get(body, "user", "team_id")


def enterprise(body: Mapping[str, Any]) -> str:
    return get(body, "enterprise_id") or get(body, "enterprise", "id")


def from_slash(body: Mapping[str, Any], now: datetime) -> Incoming:
    """Raises TooLongError."""
    trigger = _need(body, "trigger_id")
    words = _short_enough(typed(get(body, "text")))
    return Incoming(
        key=f"slack:{team(body)}:cmd:{trigger}",
        actor=Actor(surface="slack", id=_need(body, "user_id")),
        place=Place(surface="slack", channel=_need(body, "channel_id"), thread=get(body, "thread_ts")),
        text=f"{_need(body, 'command')} {words}".strip(),
        received_at=now,
        response_url=get(body, "response_url"),
        trigger_id=trigger,
    )


def from_press(body: Mapping[str, Any], now: datetime) -> Pressed:
    """Raises ValueError for a button that is not ours, MalformedError for a payload that is not Slack's."""
    actions = body.get("actions")
    action = actions[0] if isinstance(actions, list) and actions else None
    user, identifier = _need(body, "user", "id"), _need(action, "action_id")
    chosen = get(action, "selected_option", "value")  # of the menu behind a row of buttons
    command, dialog = read_button(chosen or _need(action, "value"))
    incoming = Incoming(
        key=f"slack:act:{_need(action, 'action_ts')}:{user}:{identifier}",
        actor=Actor(surface="slack", id=user),
        place=_pressed_in(body),
        text=command,
        received_at=now,
        response_url=get(body, "response_url"),
        trigger_id=get(body, "trigger_id"),
    )
    return Pressed(incoming, dialog)


def _pressed_in(body: Mapping[str, Any]) -> Place:
    """Where the message with the button is: pressing it is the same as typing its command there.

    So a run that a button in the channel starts has its card in the channel, where everybody sees it. A home tab has
    the conversation with the bot in its ``private_metadata``.
    """
    container = body.get("container")
    container = container if isinstance(container, Mapping) else {}
    if is_home(body):
        return Place(surface="slack", channel=_need(body, "view", "private_metadata"))
    channel = get(container, "channel_id") or _need(body, "channel", "id")
    thread = get(container, "thread_ts") or get(body, "message", "thread_ts")
    return Place(surface="slack", channel=channel, thread=thread)


def is_home(body: Mapping[str, Any]) -> bool:
    """Whether something was pressed on somebody's home tab."""
    return get(body, "view", "type") == "home"


def from_view(body: Mapping[str, Any], now: datetime) -> tuple[Incoming, Composed]:
    """The command of a button's form. Raises ValueError for a form that is not ours."""
    view = body.get("view")
    where = read_where(_need(view, "private_metadata"))
    state = view.get("state") if isinstance(view, Mapping) else None
    values = state.get("values") if isinstance(state, Mapping) else None
    composed = composed_from(where.command, values if isinstance(values, Mapping) else {})
    return filled_in(body, composed.line, Place(surface="slack", channel=where.channel, thread=where.thread), now), (
        composed
    )


def filled_in(body: Mapping[str, Any], line: str, place: Place, now: datetime) -> Incoming:
    """A sent form as the command that it makes; sent twice it is the same command."""
    view = body.get("view")
    return Incoming(
        key=f"slack:view:{_need(view, 'id')}:{_need(view, 'hash')}",
        actor=Actor(surface="slack", id=_need(body, "user", "id")),
        place=place,
        text=line,
        received_at=now,
        trigger_id=get(body, "trigger_id"),
    )


def from_mention(body: Mapping[str, Any], now: datetime, bot_user: str) -> Incoming | None:
    """``@opsbot ack`` in a thread; None for what another bot wrote and for an edited message.

    What stands before the mention is not part of the command, and neither are the lines after it. Raises TooLongError.
    """
    event = body.get("event")
    if not isinstance(event, Mapping) or get(event, "bot_id") or event.get("bot_profile") or event.get("edited"):
        return None
    if get(event, "subtype") == "bot_message" or get(event, "user") == bot_user:
        return None
    words = typed(_need(event, "text"), bot_user)
    start = words.find(MENTION)
    return Incoming(
        key=f"slack:evt:{_need(body, 'event_id')}",
        actor=Actor(surface="slack", id=_need(event, "user")),
        place=Place(surface="slack", channel=_need(event, "channel"), thread=get(event, "thread_ts")),
        text=_short_enough(words[max(start, 0) :].partition("\n")[0].strip()),
        received_at=now,
    )


def from_direct(body: Mapping[str, Any], now: datetime, bot_user: str) -> Incoming | None:
    """What a person writes to the bot alone is a command without any mention: ``somas status``, ``/somas status``.

    None for what is not a person's own new message. Raises TooLongError.
    """
    event = body.get("event")
    if not isinstance(event, Mapping) or get(event, "channel_type") != "im" or get(event, "subtype"):
        return None
    said = typed(get(event, "text"), bot_user).partition("\n")[0].strip()
    said = said.removeprefix(MENTION).strip()
    incoming = from_mention({**body, "event": {**event, "text": said or "help"}}, now, bot_user)
    if incoming is None:
        return None
    return incoming if said.startswith("/") else incoming.model_copy(update={"text": f"{MENTION} {incoming.text}"})


def stranger(body: Mapping[str, Any]) -> bool:
    """Whether an event was caused by somebody of another organisation, in a channel that is shared with it."""
    event = body.get("event")
    home = get(event, "user_team") or get(event, "team")
    return bool(home) and home not in (team(body), enterprise(body))


def presser_is_stranger(body: Mapping[str, Any], own_team: str) -> bool:
    """The same for a pressed button or a sent form. In an enterprise people of other workspaces are no strangers."""
    home = get(body, "user", "team_id")
    return bool(home) and home != own_team and not enterprise(body)
