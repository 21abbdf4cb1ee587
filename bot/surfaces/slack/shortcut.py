"""“Turn into incident note” on a message: the modal that asks for the run, and the command that attaches the message.

What was said, by whom and when travels in the modal's ``private_metadata``: the bot need not be able to read the
channel. Shape: https://docs.slack.dev/reference/interaction-payloads/shortcuts-interaction-payload. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bot.commands.lexer import quote, unescape_slack
from bot.messages import CodeBlock, Note, Paragraph, Text, When, line
from bot.surfaces.printable import cut, one_line, printable
from bot.surfaces.slack.dialog import FOREIGN, METADATA_LIMIT
from bot.surfaces.slack.elements import Drawing, Json, plain_object
from bot.surfaces.slack.forms import Offered, entered, input_block, name_menu

CALLBACK_ID = "opsbot_note"
_ID = re.compile(r"[A-Z0-9]{1,40}")
RUN, TEXT = "run", "text"
KEPT = 2_000  # characters of the message


@dataclass(frozen=True, slots=True)
class Said:
    """A message as it is attached."""

    channel: str
    thread: str  # in which it was said; its own timestamp when it began one
    ts: str
    author: str  # slack:U0ALICE, or empty
    text: str
    link: str = ""

    @property
    def at(self) -> datetime | None:
        try:
            return datetime.fromtimestamp(int(self.ts.partition(".")[0]), UTC)
        except (ValueError, OverflowError, OSError):
            return None


def said_of(body: Mapping[str, Any]) -> Said:
    """The message of a ``message_action``. Raises ValueError for a payload without one."""
    given, channel = body.get("message"), body.get("channel")
    message: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    ts, place = message.get("ts"), channel.get("id") if isinstance(channel, Mapping) else None
    if not isinstance(ts, str) or not isinstance(place, str) or not ts or not place:
        raise ValueError("it does not say which message it is")
    thread = message.get("thread_ts")
    user = message.get("user") or message.get("bot_id")
    text = message.get("text")
    return Said(
        channel=place,
        thread=thread if isinstance(thread, str) else ts,
        ts=ts,
        author=f"slack:{user}" if isinstance(user, str) and _ID.fullmatch(user) else "",
        text=printable(unescape_slack(text if isinstance(text, str) else "")).strip(),
        link=_guessed_link(body, place, ts, thread),
    )


def _guessed_link(body: Mapping[str, Any], channel: str, ts: str, thread: object) -> str:
    """The address as Slack builds it, for a channel in which the bot may not ask for it."""
    team = body.get("team")
    domain = team.get("domain") if isinstance(team, Mapping) else None
    if not isinstance(domain, str) or not domain.replace("-", "").isalnum():
        return ""
    inside = f"?thread_ts={thread}&cid={channel}" if isinstance(thread, str) and thread != ts else ""
    return f"https://{domain}.slack.com/archives/{channel}/p{ts.replace('.', '')}{inside}"


def note_view(said: Said, run: Offered | None, author: str) -> Json:
    """The modal. ``run``: in whose thread the message stands; ``author`` is the name that people read."""
    wrote = line(
        Text(f"{author or 'Somebody'} wrote"), *((Text(" on "), When(said.at, "date_time")) if said.at else ())
    )
    blocks = Drawing({}, None, KEPT).all(
        (
            Paragraph(line("This message goes into the thread of a run, and into the audit log.")),
            CodeBlock(said.text or "(a message without text)"),
            Note(wrote),
        )
    )
    text: Json = {"type": "plain_text_input", "action_id": "value", "multiline": True, "max_length": 1_000}
    blocks += [
        input_block(RUN, "Run", name_menu(run, "An open run"), optional=False),
        input_block(TEXT, "What it shows", text, optional=True),
    ]
    return {
        "type": "modal",
        "callback_id": CALLBACK_ID,
        "private_metadata": _packed(said),
        "title": plain_object("Incident note"),
        "submit": plain_object("Attach"),
        "close": plain_object("Cancel"),
        "blocks": blocks,
    }


def _packed(said: Said) -> str:
    """The message's text is cut until the whole fits."""
    for limit in (KEPT, 1_000, 400, 100, 0):
        parts = [said.channel, said.thread, said.ts, said.author, cut(said.text, limit) if limit else "", said.link]
        packed = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        if len(packed) <= METADATA_LIMIT:
            return packed
    return json.dumps([said.channel, said.thread, said.ts, "", "", ""])


def read_said(private_metadata: str) -> Said:
    """Raises ValueError for what ``note_view`` did not write."""
    try:
        parts = json.loads(private_metadata)
        said = Said(*parts)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(FOREIGN) from error
    if not all(isinstance(one, str) for one in parts):
        raise ValueError(FOREIGN)
    return said


def note_command(view: Any) -> tuple[str, Said]:
    """``/runs note <run> … --said "…"`` for a submitted modal. Raises ValueError for one that is not ours."""
    metadata = view.get("private_metadata") if isinstance(view, Mapping) else None
    said = read_said(metadata if isinstance(metadata, str) else "")
    given = entered(view)
    parts = ["/runs note", *(quote(each) for each in given.get(RUN, [])[:1])]
    if text := " ".join(given.get(TEXT, [])):
        parts.append(quote(text))
    details = {"said": said.text, "author": one_line(said.author), "link": said.link}
    details["at"] = said.at.isoformat() if said.at else ""
    parts += [f"--{name}={quote(value)}" for name, value in details.items() if value]
    return " ".join(parts), said
