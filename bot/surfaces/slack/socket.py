"""``mode = "socket"``: Slack without a public address.

The bot opens a connection to Slack with the app-level token and gets the same payloads through it; the listeners are
those of the HTTP front door. An envelope is acknowledged when its listener answers 200, that is when the command
is stored; one that is not comes again. https://docs.slack.dev/apis/events-api/using-socket-mode.
"""

from __future__ import annotations

import asyncio
import logging

from slack_bolt.adapter.socket_mode.async_handler import AsyncSocketModeHandler

from bot.surfaces.slack.app import SlackReceiver
from bot.surfaces.slack.client import SlackSurface

PATIENCE = 3.0  # seconds that the start waits for the connection


class SlackSocket:
    """One Socket Mode connection; it reconnects by itself."""

    def __init__(
        self, receiver: SlackReceiver, surface: SlackSurface, app_token: str, *, ping_interval: float = 10
    ) -> None:
        self._receiver = receiver
        self._surface = surface
        self._app_token = app_token
        self._ping_interval = ping_interval
        self._handler: AsyncSocketModeHandler | None = None
        self._connecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect. slack_sdk tries for ever; after ``PATIENCE`` the bot starts without it and ``problems`` tells."""
        logger = logging.getLogger("opsbot.slack.socket")
        logger.setLevel(logging.WARNING)  # DEBUG would log whole payloads
        logger.addFilter(_one_line)
        self._handler = AsyncSocketModeHandler(
            self._receiver.bolt,
            app_token=self._app_token,
            logger=logger,
            web_client=self._surface.client,
            ping_interval=self._ping_interval,
        )
        connecting = self._handler.connect_async()  # type: ignore[no-untyped-call]  # bolt has no annotation there
        self._connecting = asyncio.create_task(connecting, name="opsbot slack socket")
        await asyncio.wait({self._connecting}, timeout=PATIENCE)

    async def problems(self) -> list[str]:
        """For /readyz."""
        if self._handler is not None and await self._handler.client.is_connected():
            return []
        return ["Slack: the Socket Mode connection is down; it is being opened again."]

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._handler is not None:
            await self._handler.close_async()  # type: ignore[no-untyped-call]  # bolt has no annotation there


def _one_line(record: logging.LogRecord) -> bool:
    """What slack_sdk says already names the error; its traceback adds nothing for operators."""
    record.exc_info = None
    return True
