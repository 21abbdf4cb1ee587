"""What bolt asks before it dispatches, answered from what is known already: no ``auth.test`` per command."""

from __future__ import annotations

import logging
from typing import Any

from slack_bolt.authorization import AuthorizeResult
from slack_bolt.authorization.async_authorize import AsyncAuthorize

from bot.surfaces.slack.client import Identity, SlackSurface


def quiet_logger() -> logging.Logger:
    """Bolt's warnings hold parts of requests, and its INFO holds whole bodies; what matters is logged by us."""
    logger = logging.getLogger("opsbot.slack.bolt")
    logger.setLevel(logging.ERROR)
    return logger


class Known(AsyncAuthorize):
    """Bolt's question who the bot is, answered from the one ``auth.test`` of the start."""

    def __init__(self, surface: SlackSurface) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # bolt has no annotation there
        self._surface = surface

    async def __call__(self, **_: Any) -> AuthorizeResult:
        known = self._surface.identity or Identity("", "", "")
        return AuthorizeResult(
            enterprise_id=known.enterprise_id or None,
            team_id=known.team_id,
            bot_user_id=known.bot_user or None,
            bot_id=known.bot_id or None,
        )
