"""Once a day the bot forgets what was handled long ago; when it starts the audit log says with which settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from ulid import ULID

from bot import __version__, reactions
from bot import store as tables
from bot.chain import Entry
from bot.clock import Clock
from bot.reports.runner import ReportRunner
from bot.repository_events import RepositoryEvents
from bot.runs.engine import RunEngine
from bot.settings import Settings
from bot.store import Store, dumps

log = structlog.get_logger("opsbot")

KEEP_HANDLED = timedelta(days=30)  # commands and messages; runs stay


class Housekeeper:
    """``products`` are the names of the installed ones."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        engine: RunEngine,
        reports: ReportRunner,
        repository_events: RepositoryEvents,
        products: Iterable[str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._engine = engine
        self._reports = reports
        self._repository_events = repository_events
        self._products = products
        self._scheduler: AsyncIOScheduler | None = None

    def start(self) -> None:
        """Forget once a day, at a quiet hour (UTC)."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        scheduler.add_job(self._reports.forget_old, "cron", hour=4, minute=27, misfire_grace_time=3600, coalesce=True)
        scheduler.add_job(self.forget_old, "cron", hour=4, minute=17, misfire_grace_time=3600, coalesce=True)
        scheduler.start()
        self._scheduler = scheduler

    def stop(self) -> None:
        if self._scheduler:
            self._scheduler.shutdown(wait=False)

    async def tell_audit(self) -> None:
        """With which settings the bot works from now on; a head in the log of today proves the entries before it."""
        told = self._settings.model_dump(mode="json")
        configuration = hashlib.sha256(dumps(told).encode()).hexdigest()
        access = told["access"] | {"people": told["people"]}
        detail = {
            "version": __version__,
            "settings_sha256": configuration,
            "products": sorted(self._products),
            **access,
        }
        await self._engine.audit.note(f"bot:{ULID()}", Entry("bot.started", self._clock.now(), detail=detail))
        log.info("audit log", head=str(await self._engine.audit.head()))

    async def forget_old(self) -> None:
        """Delete what was handled long ago; what is still waiting stays, however old."""
        before = self._clock.now() - KEEP_HANDLED
        async with self._store.write() as connection:
            await connection.execute(
                tables.inbox.delete().where(tables.inbox.c.handled, tables.inbox.c.received_at < before)
            )
            await connection.execute(
                tables.outbox.delete().where(tables.outbox.c.status != "waiting", tables.outbox.c.created_at < before)
            )
            await reactions.forget(connection, before)
        await self._repository_events.forget(before)
        await self._engine.forget_old(before)
        if self._settings.audit.keep_days:
            await self._engine.audit.prune(self._clock.now() - timedelta(days=self._settings.audit.keep_days))
        log.info("audit log", head=str(await self._engine.audit.head()))
