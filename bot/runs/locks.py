"""One changing run per target: its lock has an owner, a reason and an age, and is gone when the run has ended.

Whoever comes second learns who is there. Those who queue are served in the order in which they came; nobody overtakes
them because the lock was free for a moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.runs.model import Plan, RunState
from bot.store import Store


@dataclass(frozen=True, slots=True)
class Held:
    """Who works on a target, or, without a run, who is about to: the first of its queue."""

    run_id: str
    owner: str  # slack:U0ALICE, or a name of [people] to whom the run was handed over
    reason: str
    since: datetime
    waiting: int = 0  # so many are queued for it


def lock_key(plan: Plan) -> str:
    """What is locked. A rehearsal locks its own target, never the real one."""
    return f"drill/{plan.target.key}" if plan.drill else plan.target.key


async def take(store: Store, connection: AsyncConnection, plan: Plan, entry: int = 0) -> Held | None:
    """Take the lock of the plan's target, within the caller's transaction; or say who has it.

    ``entry`` is the number in the queue of a command whose turn it is; it leaves the queue with that.
    """
    key = lock_key(plan)
    first = await connection.execute(_line(key).limit(1))
    next_one = first.first()
    if next_one is not None and next_one.number != entry:
        return await held(connection, key)
    taken = await connection.execute(
        store.insert_new(tables.locks)
        .values(
            target=key,
            run_id=plan.run_id,
            owner=plan.person,
            reason=plan.reason or plan.command,
            since=plan.started_at,
        )
        .returning(tables.locks.c.target)
    )
    if taken.first() is None:
        return await held(connection, key)
    if entry:
        await connection.execute(tables.queue.delete().where(tables.queue.c.number == entry))
    return None


async def held(connection: AsyncConnection, key: str) -> Held | None:
    """Who has the lock of a target, or is the next to have it; None when it is free."""
    line = (await connection.execute(_line(key))).all()
    found = await connection.execute(
        sa.select(tables.locks, tables.runs.c.state)
        .join(tables.runs, tables.runs.c.id == tables.locks.c.run_id, isouter=True)
        .where(tables.locks.c.target == key)
    )
    row = found.first()
    if row is not None:
        owner = RunState.model_validate_json(row.state).owner if row.state else ""
        return Held(row.run_id, owner or row.owner, row.reason, row.since, len(line))
    if line:
        return Held("", line[0].owner, line[0].command, line[0].since, len(line))
    return None


def _line(key: str) -> sa.Select[tuple[object, ...]]:
    return (
        sa.select(tables.queue).where(tables.queue.c.target == key).order_by(tables.queue.c.turn, tables.queue.c.number)
    )
