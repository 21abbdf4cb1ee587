"""A report reaches its channel: a new message when something changed, else the last one is edited.

Which message is the last one is known from the outbox: the latest of this report that was sent there. When it is gone,
deleted by somebody, the next edit becomes a new message.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from bot import store as tables
from bot.incoming import Place
from bot.store import Store
from bot.surfaces.delivery import Undeliverable
from bot.surfaces.port import Body, Surface


async def deliver_report(
    store: Store, surface: Surface, place: Place, row: sa.Row[Any], body: Body, *, maybe_posted: bool
) -> str:
    """The id of the message that now shows the report. Raises TryLater, Undeliverable."""
    address = json.loads(row.address)
    last = await _last(store, row, address["report"]) if address.get("edit") else ""
    if last:
        try:
            await surface.update(place, last, body)
        except Undeliverable:
            pass  # deleted, or no longer ours to edit
        else:
            return last
    return await surface.post(place, body, row.key, maybe_posted=maybe_posted)


async def _last(store: Store, row: sa.Row[Any], report: str) -> str:
    outbox = tables.outbox
    rows = await store.rows(
        sa.select(outbox.c.remote_id)
        .where(
            outbox.c.kind == "report",
            outbox.c.surface == row.surface,
            outbox.c.channel == row.channel,
            outbox.c.thread == row.thread,
            outbox.c.key.startswith(f"report:{report}:", autoescape=True),
            outbox.c.number < row.number,
            outbox.c.status == "sent",
            outbox.c.remote_id != "",
        )
        .order_by(outbox.c.number.desc())
        .limit(1)
    )
    return rows[0].remote_id if rows else ""


async def is_superseded(store: Store, row: sa.Row[Any]) -> bool:
    """Whether a later edit of the same report waits: what this one says would be seen for a moment, or never."""
    address = json.loads(row.address)
    if not address.get("edit"):
        return False
    outbox = tables.outbox
    later = await store.rows(
        sa.select(outbox.c.number)
        .where(
            outbox.c.kind == "report",
            outbox.c.status == "waiting",
            outbox.c.surface == row.surface,
            outbox.c.channel == row.channel,
            outbox.c.thread == row.thread,
            outbox.c.key.startswith(f"report:{address['report']}:", autoescape=True),
            outbox.c.number > row.number,
        )
        .limit(1)
    )
    return bool(later)
