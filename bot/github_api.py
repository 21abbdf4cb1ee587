"""What a product may ask of the repository's REST API: ``await github("POST", "/actions/runs/7/cancel")``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bot.messages import Message


@dataclass(frozen=True, slots=True)
class GitHubAnswer:
    """What GitHub answered, whatever the status below 500. Header names are lower case; ``data`` is decoded JSON."""

    status: int
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def said(self) -> str:
        """GitHub's own words: the message, and what it lists under ``errors``."""
        if not isinstance(self.data, dict):
            return ""
        parts = [str(self.data.get("message") or "")]
        for error in self.data.get("errors") or ():
            if isinstance(error, dict):
                parts.append(str(error.get("message") or " ".join(str(error.get(k, "")) for k in ("field", "code"))))
            else:
                parts.append(str(error))
        return " ".join(part.strip() for part in parts if part.strip())

    def refusal(self, what: str, needs: str = "") -> str:
        """A sentence for people: what was asked, what GitHub said, what can be done.

        ``needs``: the permission that the request takes, as GitHub's documentation names it; GitHub's own header wins.
        """
        told = f"GitHub answered {self.status} to {what}" + (f": {self.said.rstrip('.')}." if self.said else ".")
        match self.status:
            case 401:
                return f"{told} The bot's credentials are not accepted: renew GITHUB_TOKEN, or the app's key."
            case 403:
                needed = self.headers.get("x-accepted-github-permissions", "") or needs
                lacks = f"the permission {needed}" if needed else "a permission"
                return f"{told} The bot's token or app lacks {lacks}; an owner of the repository can grant it."
            case 404:
                hint = f" It takes the permission {needs}." if needs else ""
                return f"{told} It does not exist, or the bot may not see it.{hint}"
            case _:
                return told


class GitHubApi(Protocol):
    """The repository that the bot is configured for. ``path`` begins behind ``/repos/owner/name``.

    Writes go out one at a time, a second apart, as GitHub wants it; nothing that was sent is ever sent again by itself.
    """

    repository: str  # owner/name
    web_url: str  # where people read it: https://github.com/owner/name

    async def __call__(
        self,
        verb: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> GitHubAnswer:
        """One request. Raises ``NotNow`` for a rate limit (``after`` tells how long) and when nothing came back
        (``maybe_done``: a change may have happened), ``Unavailable`` for credentials that cannot be used.
        """
        ...

    def draw(self, message: Message) -> str:
        """A message as the text of an issue or of a comment: nothing in it notifies or formats by accident."""
        ...
