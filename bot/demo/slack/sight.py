"""What people see in the local workspace: channels, threads, what only they are told, modals, the home tab."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

from bot.demo.slack.workspace import SLACKBOT, LocalMessage, LocalView, Workspace

T = TypeVar("T")


class Sight:
    """The part of ``LocalSlack`` that looks."""

    space: Workspace

    def messages(self, channel: str, thread_ts: str | None = None, *, peek: bool = False) -> list[LocalMessage]:
        """The channel as everybody sees it, or a thread with its root first. ``peek`` leaves them unread."""
        if thread_ts is None:
            found = [one for one in self.space.posted[channel].values() if not one.in_thread or one.broadcast]
        else:
            found = self.space.thread(channel, thread_ts)
        return _looked_at(found, peek=peek)

    def ephemerals(self, user: str, channel: str, *, peek: bool = False) -> list[LocalMessage]:
        """What only this person sees in the channel and its threads."""
        found = [one for one in self.space.private if one.only_for == user and one.channel == channel]
        return _looked_at(found, peek=peek)

    def open_views(self, user: str) -> list[LocalView]:
        """The modals on the person's screen, the topmost last."""
        return list(self.space.views.get(user, []))

    def home(self, user: str) -> LocalView | None:
        """The app's home tab as this person sees it."""
        return self.space.homes.get(user)

    def unread(self) -> list[LocalMessage]:
        """Everything that the bot, or Slack itself, has said and that nobody has looked at."""
        quiet = {self.space.bot_user_id, SLACKBOT}
        return [one for one in self.space.all_messages() if not one.seen and one.user in quiet]

    def transcript(self) -> str:
        """The whole workspace as text, for the message of a failing test. Reads nothing: ``unread`` stays."""
        lines = []
        for channel in self.space.channels.values():
            lines.append(f"#{channel.name}")
            mine = [one for one in self.space.all_messages() if one.channel == channel.id]
            lines += [
                ("    | " if one.in_thread else "  ") + str(one).replace("\n", "\n      ")
                for one in sorted(mine, key=lambda m: (m.thread_ts or m.ts, m.ts))
            ]
        for user, views in self.space.views.items():
            lines += [f"open for {self.space.names[user]}: {one.shown}" for one in views]
        return "\n".join(lines)

    async def wait_for(self, predicate: Callable[[], T], timeout: float = 5) -> T:  # noqa: ASYNC109 - a deadline for tests
        """What ``predicate`` returns as soon as that is true. It is asked again after every change, not by polling.

        Raises ``TimeoutError`` with the transcript of the workspace.
        """
        deadline = time.monotonic() + timeout
        while True:
            if result := predicate():
                return result
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self.space.next_change()
            except TimeoutError:
                with contextlib.suppress(Exception):
                    if result := predicate():
                        return result
                raise TimeoutError(f"not so within {timeout} s; the workspace:\n{self.transcript()}") from None


def _looked_at(found: list[LocalMessage], *, peek: bool) -> list[LocalMessage]:
    if not peek:
        for message in found:
            message.seen = True
    return found
