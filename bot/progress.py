"""``Reading: 3,200 of 10,000``: what people see while a command takes longer than a second; the answer replaces it."""

from __future__ import annotations

import asyncio
from types import TracebackType

import structlog

from bot.clock import Clock, first_of
from bot.incoming import Place
from bot.messages import Message, Paragraph, line
from bot.surfaces.delivery import TryLater, Undeliverable
from bot.surfaces.port import Surface

log = structlog.get_logger("opsbot.progress")

SHOWN_AFTER = 1.0  # seconds
EDITED_EVERY = {"slack": 2.0}  # GitHub limits edits to far fewer
SELDOM = 15.0


class Progress:
    """Counts what a command has done. It is called by the command, from any thread, with how many of how many.

    As a context manager it shows the count when that takes longer than a second, in a message that is edited. It never
    fails: a surface that cannot show it is left alone.
    """

    def __init__(self, clock: Clock, surface: Surface | None, place: Place, key: str) -> None:
        self.remote_id = ""  # of the message, once it was posted
        self._clock = clock
        self._surface = surface
        self._place = place
        self._key = key
        self._count = (0, 0)
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __call__(self, done: int, total: int) -> None:
        self._count = (done, total)

    async def __aenter__(self) -> Progress:
        if self._surface is not None:
            self._task = asyncio.create_task(self._show(self._surface), name="opsbot progress")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What is on its way is waited for: a message whose id nobody knows would stay for ever."""
        self._over.set()
        if self._task is not None:
            await self._task

    async def _show(self, surface: Surface) -> None:
        await first_of(self._clock.sleep(SHOWN_AFTER), self._over.wait())
        shown = (0, 0)
        while not self._over.is_set():
            count = self._count
            if count[1] and count != shown:
                shown = count
                body = surface.draw(progress_message(*count))
                try:
                    if self.remote_id:
                        await surface.update(self._place, self.remote_id, body)
                    else:
                        self.remote_id = await surface.post(
                            self._place, body, f"progress:{self._key}", maybe_posted=False
                        )
                except TryLater:
                    pass
                except Undeliverable as reason:
                    log.info("progress cannot be shown", place=self._place.channel, reason=str(reason))
                    return
            wait = EDITED_EVERY.get(surface.name, SELDOM) if self.remote_id else SHOWN_AFTER
            await first_of(self._clock.sleep(wait), self._over.wait())


def progress_message(done: int, total: int) -> Message:
    said = f"Reading: {done:,} of {total:,} ({100 * done // max(total, 1)} %)"
    return Message(said, (Paragraph(line(said)),), "running")


STOPPED = Message("Stopped reading.", (Paragraph(line("Stopped reading.")),))
