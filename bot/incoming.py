"""What reaches the bot, whatever the surface: who, where, what, and the key that makes it happen once."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Surface = Literal["slack", "github"]


def reference(key: str) -> str:
    """The short id of what has this key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:8].upper()


class Actor(BaseModel):
    """The person who asked, by the id that the surface cannot give to somebody else.

    ``login`` is GitHub's user name, for the access lists of the configuration; never a display name.
    """

    model_config = ConfigDict(frozen=True)
    surface: Literal["slack", "github", "opsbot"]  # opsbot: nobody, the bot began it by itself
    id: str  # Slack: U0ALICE; GitHub: the numeric user id as text
    login: str = ""
    role: str = Field("", exclude=True, repr=False)  # in GitHub's repository, as of just now; never stored

    def __str__(self) -> str:
        return f"{self.surface}:{self.login or self.id}"


class Place(BaseModel):
    """Where it was said. Slack: channel id and, in a thread, its timestamp. GitHub: owner/name and issue number."""

    model_config = ConfigDict(frozen=True)
    surface: Surface
    channel: str
    thread: str = ""


class Incoming(BaseModel):
    """One command as it was received. ``key`` is the same for every redelivery of the same thing."""

    model_config = ConfigDict(frozen=True)
    key: str  # slack:<trigger or action or event id>, github:<repository>#<comment id>:<n>:<hash of the text>
    actor: Actor
    place: Place
    text: str  # "/somas restart project-42"; halves of a surrogate pair, which JSON can hold, are replaced
    received_at: datetime
    response_url: str = ""  # Slack: where a private answer goes
    trigger_id: str = ""  # Slack: for modals
    comment_id: int = 0  # GitHub: to react to, or to the issue's own text (see issue_body)
    first_key: str = ""  # of a command that waited in the queue: the key with which it was typed
    issue_body: bool = False  # GitHub: it stands in the issue's own text, not in a comment

    @property
    def on_github(self) -> bool:
        """Whether it stands in a text on GitHub, to which the bot reacts."""
        return bool(self.comment_id) or self.issue_body

    @property
    def reference(self) -> str:
        """A short id for people and for the log; the same for every redelivery."""
        return reference(self.key)

    @field_validator("text", mode="before")
    @classmethod
    def _storable(cls, text: object) -> object:
        if not isinstance(text, str) or text.isascii():
            return text
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
