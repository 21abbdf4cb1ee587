"""The Slack surface as the bot sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from bot.incoming import Place
from bot.messages import Message
from bot.surfaces.delivery import Undeliverable
from bot.surfaces.port import Body
from bot.surfaces.run_links import with_run_links
from bot.surfaces.slack.blocks import SlackMessage, draw
from bot.surfaces.slack.client import SlackSurface


class SlackPort:
    """Draws blocks and posts them."""

    name = "slack"

    def __init__(self, surface: SlackSurface, people: Mapping[str, str], home: str = "") -> None:
        """``home``: where people read the GitHub repository."""
        self.surface = surface
        self.people = people
        self.home = home

    def draw(self, message: Message) -> Body:
        return asdict(draw(with_run_links(message, self.home), self.people))

    async def post(self, place: Place, body: Body, key: str, *, maybe_posted: bool) -> str:
        return await self.surface.post(
            place.channel, place.thread or None, SlackMessage(**body), key=key, look_first=maybe_posted
        )

    async def link(self, place: Place, remote_id: str) -> str:
        return await self.surface.permalink(place.channel, remote_id)

    async def update(self, place: Place, remote_id: str, body: Body) -> None:
        await self.surface.update(place.channel, remote_id, SlackMessage(**body))

    async def answer(
        self, place: Place, body: Body, key: str, *, private_to: str, response_url: str, maybe_posted: bool
    ) -> None:
        drawn = SlackMessage(**body)
        if private_to:
            await self.surface.private(place.channel, private_to, response_url, drawn, thread_ts=place.thread or None)
            return
        try:
            await self.surface.post(place.channel, place.thread or None, drawn, key=key, look_first=maybe_posted)
        except Undeliverable:
            # The bot is not in that channel; whoever asked there can still be answered.
            if not response_url:
                raise
            await self.surface.private(place.channel, "", response_url, drawn)

    async def problems(self) -> list[str]:
        return await self.surface.problems()
