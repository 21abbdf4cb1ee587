"""What reaches the bot, whatever the surface: who, where, what, and the key that makes it happen once."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

Surface = Literal["slack", "github"]


class Actor(BaseModel):
    """The person who asked, by the id that the surface cannot give to somebody else.

    ``login`` is GitHub's user name, for the access lists of the configuration; never a display name.
    """

    model_config = ConfigDict(frozen=True)
    surface: Surface
    id: str  # Slack: U0ALICE; GitHub: the numeric user id as text
    login: str = ""

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
    key: str  # slack:<trigger or action or event id>, github:<comment id>:<line>
    actor: Actor
    place: Place
    text: str  # "/somas restart project-42"; halves of a surrogate pair, which JSON can hold, are replaced
    received_at: datetime
    response_url: str = ""  # Slack: where a private answer goes
    trigger_id: str = ""  # Slack: for modals
    comment_id: int = 0  # GitHub: to react to

    @field_validator("text", mode="before")
    @classmethod
    def _storable(cls, text: object) -> object:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(text, str) else text
