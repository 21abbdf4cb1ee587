"""The audit log: who asked for what, who approved it and what came of it; ``bot/chain.py`` says how it is chained.

An entry is added in the transaction that stores what it tells of: neither is there without the other.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.chain import GENESIS, PRUNED, Entry, Head, Linked, instant, link
from bot.clock import Clock
from bot.redaction import redact, redacted
from bot.store import Store

log = structlog.get_logger("opsbot.audit")

AT_ONCE = 1000  # rows that are read or deleted in one go

# Built once: every step of a run asks it twice.
_HEAD = sa.select(
    tables.audit_head.c.number,
    tables.audit_head.c.hash,
    sa.exists().where(tables.audit.c.key == sa.bindparam("wanted")).label("known"),
).with_for_update(of=tables.audit_head)


def _clean(entry: Entry) -> Entry:
    """Without secrets; one look at the whole of it is enough when there are none."""
    text = json.dumps(entry.detail)
    return entry if redact(text) == text else replace(entry, detail=redacted(dict(entry.detail)))


class AuditLog:
    """Adds to the chain, deletes what is old, reads it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock

    async def add(self, connection: AsyncConnection, key: str, entries: Sequence[Entry]) -> None:
        """Add entries in the caller's transaction, as its last statements; the same ``key`` is added once.

        The head stays locked until the transaction ends. Whoever locks anything behind it could wait in a circle.
        """
        if not entries:
            return
        head = await self._lock(connection, f"{key}#0")
        if head is None:
            return
        clean = [_clean(entry) for entry in entries]
        linked = link(head, clean)
        await connection.execute(
            tables.audit.insert(),
            [
                {
                    "number": each.number,
                    "key": f"{key}#{position}",
                    "at": entry.at,
                    "kind": entry.kind,
                    "actor": entry.actor,
                    "run_id": entry.run_id,
                    "body": each.body,
                    "previous": each.previous,
                    "hash": each.hash,
                }
                for position, (entry, each) in enumerate(zip(clean, linked, strict=True))
            ],
        )
        await connection.execute(tables.audit_head.update().values(number=linked[-1].number, hash=linked[-1].hash))

    async def _lock(self, connection: AsyncConnection, key: str) -> Head | None:
        """The head, locked; None when the key was added before."""
        found = (await connection.execute(_HEAD, {"wanted": key})).first()
        if found is None:
            first = self.store.insert_new(tables.audit_head).values(id=1, number=0, hash=GENESIS, pruned=0)
            await connection.execute(first)
            found = (await connection.execute(_HEAD, {"wanted": key})).one()
        return None if found.known else Head(found.number, found.hash)

    async def note(self, key: str, *entries: Entry) -> None:
        """Add entries of something that is stored nowhere else."""
        await self.store.transaction(partial(self._note, key, entries))

    async def _note(self, key: str, entries: Sequence[Entry], connection: AsyncConnection) -> None:
        await self.add(connection, key, entries)

    async def head(self) -> Head:
        rows = await self.store.rows(sa.select(tables.audit_head.c.number, tables.audit_head.c.hash))
        return Head(rows[0].number, rows[0].hash) if rows else Head(0, GENESIS)

    async def ends(self) -> tuple[Head, int]:
        """The end as it is written down, and the number of the last entry that is there; both of one moment."""
        last = sa.select(sa.func.max(tables.audit.c.number)).scalar_subquery()
        rows = await self.store.rows(
            sa.select(tables.audit_head.c.number, tables.audit_head.c.hash, last.label("last"))
        )
        if rows:
            return Head(rows[0].number, rows[0].hash), rows[0].last or 0
        found = await self.store.rows(sa.select(sa.func.max(tables.audit.c.number).label("last")))
        return Head(0, GENESIS), found[0].last or 0

    async def prune(self, before: datetime) -> int:
        """Delete the entries from before this instant; how many. The chain says what, and stays provable."""
        audit, heads = tables.audit, tables.audit_head
        async with self.store.write() as connection:
            kept = sa.select(sa.func.min(audit.c.number)).where(audit.c.at >= before)
            through = ((await connection.execute(kept)).scalar() or (await self._end(connection)) + 1) - 1
            old = audit.c.number <= through
            found = (
                await connection.execute(
                    sa.select(
                        sa.func.count(), sa.func.min(audit.c.number), sa.func.min(audit.c.at), sa.func.max(audit.c.at)
                    ).where(old)
                )
            ).one()
            if not found[0]:
                return 0
            last = (await connection.execute(sa.select(audit.c.hash).where(audit.c.number == through))).scalar_one()
            detail = {
                "from": found[1],
                "through": through,
                "count": found[0],
                "oldest": instant(found[2]),
                "newest": instant(found[3]),
                "hash": last,
            }
            await self.add(connection, f"audit:pruned:{through}", [Entry(PRUNED, self.clock.now(), detail=detail)])
            await connection.execute(heads.update().values(pruned=through))
            await connection.execute(audit.delete().where(old))
        log.info("old entries of the audit log were deleted", count=found[0], through=through)
        return int(found[0])

    async def _end(self, connection: AsyncConnection) -> int:
        return (await connection.execute(sa.select(sa.func.max(tables.audit.c.number)))).scalar() or 0

    async def chain(self) -> AsyncIterator[Linked]:
        """All of it, in the order of the numbers."""
        audit, position = tables.audit, -1
        while True:
            rows = await self.store.rows(
                sa.select(audit).where(audit.c.number > position).order_by(audit.c.number).limit(AT_ONCE)
            )
            for row in rows:
                yield Linked(
                    row.number,
                    row.previous,
                    row.hash,
                    row.body,
                    columns={"at": instant(row.at), "kind": row.kind, "actor": row.actor, "run": row.run_id},
                )
            if len(rows) < AT_ONCE:
                return
            position = rows[-1].number

    async def of_run(self, run_id: str) -> list[dict[str, Any]]:
        """The bodies of a run's entries, oldest first."""
        query = sa.select(tables.audit.c.body).where(tables.audit.c.run_id == run_id).order_by(tables.audit.c.number)
        return [json.loads(row.body) for row in await self.store.rows(query)]
