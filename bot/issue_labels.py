"""``somas:needs-attention`` on an issue while somebody is paged there, and gone as soon as it is acknowledged.

The labels stand in the outbox like everything else that people see: what GitHub does not take now is done later, in
the same order. A label that another open escalation needs on the same issue stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from bot import store as tables
from bot.clock import Clock
from bot.incoming import Place
from bot.store import Store
from bot.surfaces.delivery import Undeliverable
from bot.surfaces.port import LabelsIssues, Surface

log = structlog.get_logger("opsbot.delivery")

LABELS = ("label", "unlabel")  # kinds of rows in the outbox
ACKNOWLEDGED = "acknowledged before it was set"


class IssueLabels:
    """Delivers the rows of ``LABELS``. Raises ``TryLater``; what cannot be labelled at all is told in the log."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def deliver(self, surface: Surface, row: sa.Row[Any]) -> str:
        """Set or take the labels of an escalation; why nothing had to be done, or empty."""
        if not isinstance(surface, LabelsIssues):
            return "this surface has no labels"
        return await (self._put(surface, row) if row.kind == "label" else self._take(surface, row))

    async def _put(self, surface: LabelsIssues, row: sa.Row[Any]) -> str:
        label, pointless = str(json.loads(row.body)["label"]), False

        async def wanted() -> bool:
            nonlocal pointless
            pointless = await self._acknowledged(row.run_id, row.escalation)
            return not pointless

        try:
            if await wanted():
                await surface.add_label(_place(row), label, wanted)
        except Undeliverable as error:  # the page itself has more to say about it
            log.error("an issue cannot be labelled", issue=row.thread, label=label, reason=str(error))
        return ACKNOWLEDGED if pointless else ""

    async def _take(self, surface: LabelsIssues, row: sa.Row[Any]) -> str:
        for put in await self._labels(row):
            label = str(json.loads(put.body)["label"])
            if put.status == "waiting":
                await self._give_up(put)
                if not put.attempts:
                    continue
            if await self._needed(put, label):
                continue
            try:
                await surface.remove_label(_place(put), label)
            except Undeliverable as error:
                log.error("a label cannot be removed", issue=put.thread, label=label, reason=str(error))
        return ""

    async def _labels(self, row: sa.Row[Any]) -> Sequence[sa.Row[Any]]:
        """Every label that was asked for because of this escalation."""
        outbox = tables.outbox
        return await self.store.rows(
            sa.select(outbox).where(
                outbox.c.kind == "label",
                outbox.c.run_id == row.run_id,
                outbox.c.escalation == row.escalation,
                outbox.c.surface == row.surface,
                outbox.c.status != "given up",
            )
        )

    async def _needed(self, put: sa.Row[Any], label: str) -> bool:
        """Whether another escalation that waits for its acknowledgement has set the same label on the same issue."""
        outbox, escalations = tables.outbox, tables.escalations
        others = await self.store.rows(
            sa.select(outbox.c.body)
            .join(
                escalations,
                sa.and_(escalations.c.run_id == outbox.c.run_id, escalations.c.number == outbox.c.escalation),
            )
            .where(
                outbox.c.kind == "label",
                outbox.c.surface == put.surface,
                outbox.c.channel == put.channel,
                outbox.c.thread == put.thread,
                outbox.c.status != "given up",
                outbox.c.number != put.number,
                escalations.c.acknowledged_at.is_(None),
                sa.or_(outbox.c.run_id != put.run_id, outbox.c.escalation != put.escalation),
            )
        )
        return any(json.loads(other.body)["label"] == label for other in others)

    async def _acknowledged(self, run_id: str, escalation: int) -> bool:
        escalations = tables.escalations
        rows = await self.store.rows(
            sa.select(escalations.c.acknowledged_at).where(
                escalations.c.run_id == run_id, escalations.c.number == escalation
            )
        )
        return bool(rows and rows[0].acknowledged_at)

    async def _give_up(self, row: sa.Row[Any]) -> None:
        outbox = tables.outbox
        async with self.store.write() as connection:
            await connection.execute(
                outbox.update()
                .where(outbox.c.number == row.number, outbox.c.status == "waiting")
                .values(status="given up", problem=ACKNOWLEDGED, next_try_at=None)
            )


def _place(row: sa.Row[Any]) -> Place:
    return Place(surface=row.surface, channel=row.channel, thread=row.thread)
