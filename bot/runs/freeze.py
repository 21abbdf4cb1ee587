"""``/runs freeze <reason>`` and ``/runs thaw``: while it is frozen, no new changing run starts. Reading goes on.

One row of the database says so, for all targets and across restarts. Runs that have begun go on, queued ones wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.store import Store

ROW = 1


@dataclass(frozen=True, slots=True)
class Frozen:
    """Who froze it (``slack:U0ALICE``), why, and when."""

    actor: str
    reason: str
    since: datetime


async def frozen(store: Store) -> Frozen | None:
    """Whether it is frozen, for people to read."""
    rows = await store.rows(sa.select(tables.freeze))
    return _read(rows[0]) if rows else None


async def still_frozen(store: Store, connection: AsyncConnection) -> Frozen | None:
    """The same within a transaction that starts a run: nobody freezes or thaws before it has ended."""
    await connection.execute(store.insert_new(tables.freeze).values(number=ROW))
    found = await connection.execute(sa.select(tables.freeze).with_for_update(read=True))
    return _read(found.one())


async def set_frozen(store: Store, connection: AsyncConnection, new: Frozen | None) -> Frozen | None:
    """Freeze, or thaw with None; what it was before. A second freeze changes nothing."""
    await connection.execute(store.insert_new(tables.freeze).values(number=ROW))
    before = _read((await connection.execute(sa.select(tables.freeze).with_for_update())).one())
    if (before is None) != (new is None):
        values = {"actor": new.actor, "reason": new.reason, "since": new.since} if new else {"since": None}
        await connection.execute(tables.freeze.update().values(values))
    return before


def _read(row: sa.Row[tuple[object, ...]]) -> Frozen | None:
    return Frozen(row.actor, row.reason, row.since) if row.since else None
