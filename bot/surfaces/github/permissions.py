"""Who may: the role that GitHub says a person has in the repository, by numeric id, kept for at most 60 s.

An error means no role, and never is ``author_association`` asked: it says who once contributed, not who may.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from urllib.parse import quote

import structlog

from bot.clock import Clock
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.github.connection import Reply
from bot.surfaces.github.exchange import Exchange, repository_path

PERMISSION_LIFETIME = timedelta(seconds=60)
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\[bot\])?")

_log = structlog.get_logger(__name__)


class Permissions:
    """GitHub's collaborator permission API. ``problem``: why it could not answer when asked last, else empty."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self.problem = ""
        self._exchange = exchange
        self._clock = clock
        self._kept: dict[tuple[str, str, str], tuple[datetime, str]] = {}

    async def of(self, repo: str, login: str, user_id: str) -> str:
        """The person's role in the repository: ``admin``, ``maintain``, ``write``, ``triage``, ``read``, a custom role.

        ``none`` when they have none, when ``login`` belongs to another account than ``user_id`` by now, and when GitHub
        cannot say. Kept for at most 60 s.
        """
        if not _LOGIN.fullmatch(login):
            return "none"
        key, now = (repo.casefold(), login.casefold(), user_id), self._clock.now()
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < PERMISSION_LIFETIME:
            return kept[1]
        try:
            reply = await self._exchange.get(
                f"{repository_path(repo)}/collaborators/{quote(login, safe='')}/permission",
                f"{login} in {repo}",
                missing_is=404,
            )
        except (TryLater, Undeliverable) as error:
            self.problem = f"GitHub does not tell who may do what, so nobody may: {error}"
            _log.warning("github.permission.denied_on_error", login=login, error=str(error))
            return "none"
        self.problem = ""
        role = _role(reply, user_id)
        if len(self._kept) > 1000:
            self._kept = {k: v for k, v in self._kept.items() if now - v[0] < PERMISSION_LIFETIME}
        self._kept[key] = (now, role)
        return role


def _role(reply: Reply, user_id: str) -> str:
    data = reply.data
    if reply.status == 404 or not isinstance(data, dict):
        return "none"
    user = data.get("user") or {}
    if str(user.get("id", "")) != str(user_id):
        return "none"
    return str(data.get("role_name") or "none")
