"""``/supervisor events``: looks at every configured process once a second, each on its own, and keeps what changes.

Every process has a task and a connection of its own here, so that one that hangs or is slow delays neither the looks at
the others nor a command to itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from bot.breakers import Breaker
from bot.clock import Clock
from handlers.supervisor.changes import History
from handlers.supervisor.link import LinkError
from handlers.supervisor.transport import Client, Rejected

log = structlog.get_logger("opsbot.supervisor")

RELAY_PAUSE = 5.0  # seconds; a look through a relay is a TLS session


@dataclass(slots=True)
class Watched:
    """One process that is looked at. ``seconds`` are the last round trips, ``late`` how late those looks began."""

    client: Client
    breaker: Breaker | None = None  # of the others who ask this process; an answer here closes it
    history: History = field(default_factory=History)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    late: deque[float] = field(default_factory=lambda: deque(maxlen=1000))


class Poller:
    """Looks until it is closed."""

    def __init__(
        self,
        clients: Mapping[str, Client],
        clock: Clock,
        seconds: float,
        breakers: Mapping[str, Breaker | None] | None = None,
    ) -> None:
        known = breakers or {}
        self.watched = {name: Watched(client, known.get(name)) for name, client in clients.items()}
        self.seconds = seconds
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """The looks are spread over the interval, so that they do not come all at once."""
        if self.seconds <= 0:
            return
        for number, (name, watched) in enumerate(self.watched.items()):
            offset = self.seconds * number / len(self.watched)
            self._tasks.append(asyncio.create_task(self._watch(watched, offset), name=f"opsbot polls {name}"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for watched in self.watched.values():
            await watched.client.close()

    async def _watch(self, watched: Watched, offset: float) -> None:
        pause = max(self.seconds, RELAY_PAUSE) if watched.client.untold else self.seconds
        await self._clock.sleep(offset)
        due = self._clock.now().timestamp()
        while True:
            watched.late.append(max(0.0, self._clock.now().timestamp() - due))
            try:
                await self._look(watched)
            except Exception:
                log.exception("a process cannot be looked at", target=watched.client.name)
            due += pause
            now = self._clock.now().timestamp()
            if due < now:  # a look that took longer than the interval leaves out those that it has missed
                due = now
            await self._clock.sleep(due - now)

    async def _look(self, watched: Watched) -> None:
        began = time.perf_counter()
        try:
            state = await watched.client.drivable_state()
        except (LinkError, Rejected) as error:
            watched.history.failed(error.message.removeprefix(f"{watched.client.name}: "), self._clock.now())
        else:
            watched.history.answered(state, self._clock.now())
            if watched.breaker is not None:
                watched.breaker.works("it answers again")
        watched.seconds.append(time.perf_counter() - began)
