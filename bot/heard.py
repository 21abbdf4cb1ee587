"""``command.refused``: what became of one command, as the audit log tells it: who, where, what, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bot.chain import Entry
from bot.commands.grammar import Invocation, Parsed
from bot.errors import UserError
from bot.incoming import Incoming

Outcome = Literal["answered", "sent", "done", "started", "queued", "dry_run", "refused", "failed"]
"""``sent``: to a run, whose own entries tell what it did there."""
FREE_TEXT = frozenset({"reason"})  # words for people: nothing is done with them
MARK = "[redacted:"


@dataclass
class Heard:
    """Filled in while the command is handled."""

    incoming: Incoming
    outcome: Outcome = "answered"
    why: str = ""  # it was refused, or failed
    run_id: str = ""
    invocation: Invocation | None = field(default=None, repr=False)

    def understood(self, parsed: Parsed) -> None:
        if isinstance(parsed, Invocation):
            self.invocation = parsed

    def refused(self, why: str) -> None:
        self.outcome, self.why = "refused", why

    def without_secrets(self) -> None:
        """Nothing is done with what was taken out of a command. Raises ``UserError``; a reason may have lost words."""
        for name, value in self.invocation.arguments.items() if self.invocation else ():
            if MARK in str(value) and name not in FREE_TEXT:
                what = str(value).partition(MARK)[2].partition("]")[0].strip()
                raise UserError(
                    f"Nothing was done: the command held a secret ({what}). The bot took it out before it stored "
                    "anything. Give the command without it. Whoever could read your message has seen it, so replace it."
                )

    def entry(self, at: datetime) -> Entry:
        incoming, actor, place = self.incoming, self.incoming.actor, self.incoming.place
        detail: dict[str, Any] = {
            "typed": incoming.text,
            "by": {"surface": actor.surface, "id": actor.id, "login": actor.login},
            "place": {"surface": place.surface, "channel": place.channel, "thread": place.thread},
            "key": incoming.key,
            "received_at": incoming.received_at.isoformat(),
        }
        run_id = self.run_id
        if self.invocation is not None:
            arguments = {name: _plain(value) for name, value in self.invocation.arguments.items()}
            detail |= {
                "command": f"/{self.invocation.group.root} {self.invocation.command.verb}",
                "danger": self.invocation.command.danger.value,
                "arguments": arguments,
            }
            if self.invocation.group.root == "runs":
                run_id = run_id or str(arguments.get("run", ""))[:26]
        if self.why:
            detail["why"] = self.why
        return Entry(f"command.{self.outcome}", at, str(actor), run_id, detail)


def _plain(value: Any) -> Any:
    match value:
        case bool() | int() | None:
            return value
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return str(value)
