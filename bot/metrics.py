"""``GET /metrics``: what Prometheus reads."""

from __future__ import annotations

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Gauge

from bot import store as tables
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

    async def refresh(self) -> None:
        """Read the gauges."""
        counted = sa.select(tables.runs.c.status, sa.func.count().label("number")).group_by(tables.runs.c.status)
        for row in await self.store.rows(counted):
            self._runs.labels(row.status).set(row.number)
        self._open.set(await self._count(tables.runs, tables.runs.c.open))
        self._inbox.set(await self._count(tables.inbox, sa.not_(tables.inbox.c.handled)))
        self._outbox.set(await self._count(tables.outbox, tables.outbox.c.status == "waiting"))

    async def _count(self, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
        rows = await self.store.rows(sa.select(sa.func.count()).select_from(table).where(where))
        return int(rows[0][0])
