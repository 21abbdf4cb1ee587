"""``GET /metrics``: what Prometheus reads."""

from __future__ import annotations

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge

from bot import store as tables
from bot.runs.paging import SEVERITIES
from bot.store import Store


class Metrics:
    """Counted as it happens, or read from the database when Prometheus asks."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.registry = CollectorRegistry()
        self.accepted = Counter(
            "opsbot_commands_accepted_total", "Commands stored", ["surface"], registry=self.registry
        )
        self._runs = Gauge("opsbot_runs", "Runs by status", ["status"], registry=self.registry)
        self._open = Gauge("opsbot_runs_open", "Runs that are not over", registry=self.registry)
        self._inbox = Gauge("opsbot_inbox_waiting", "Commands accepted and not handled yet", registry=self.registry)
        self._outbox = Gauge("opsbot_outbox_waiting", "Messages not delivered yet", registry=self.registry)

        self._escalations = Gauge(
            "opsbot_escalations_open", "Escalations that nobody has acknowledged", ["severity"], registry=self.registry
        )
        self._pages = Gauge("opsbot_pages_waiting", "Pages that have not reached their surface", registry=self.registry)
        self.alarms = Gauge(
            "opsbot_watchdog_alarms", "What keeps open escalations from going on", registry=self.registry
        )
        self.looked_at = Gauge(
            "opsbot_watchdog_last_look_timestamp_seconds", "When the watchdog looked last", registry=self.registry
        )
        self.stall = Gauge(
            "opsbot_loop_longest_stall_seconds",
            "For how long the bot answered nobody, at worst, since this was asked last",
            registry=self.registry,
        )
        self.heartbeats = Gauge("opsbot_watchdog_heartbeats", "Heartbeats that were taken", registry=self.registry)

    async def refresh(self) -> None:
        """Read the gauges."""
        counted = sa.select(tables.runs.c.status, sa.func.count().label("number")).group_by(tables.runs.c.status)
        for row in await self.store.rows(counted):
            self._runs.labels(row.status).set(row.number)
        self._open.set(await self._count(tables.runs, tables.runs.c.open))
        self._inbox.set(await self._count(tables.inbox, sa.not_(tables.inbox.c.handled)))
        self._outbox.set(await self._count(tables.outbox, tables.outbox.c.status == "waiting"))
        waiting = sa.and_(tables.outbox.c.status == "waiting", tables.outbox.c.kind == "page")
        self._pages.set(await self._count(tables.outbox, waiting))
        table = tables.escalations
        unanswered = (
            sa.select(table.c.severity, sa.func.count().label("number"))
            .where(table.c.acknowledged_at.is_(None))
            .group_by(table.c.severity)
        )
        open_ones = {row.severity: row.number for row in await self.store.rows(unanswered)}
        for severity in SEVERITIES:
            self._escalations.labels(severity).set(open_ones.get(severity, 0))

    async def _count(self, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
        rows = await self.store.rows(sa.select(sa.func.count()).select_from(table).where(where))
        return int(rows[0][0])
