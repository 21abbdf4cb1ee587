"""What stands on a run's card beside its own state: who waits for it, which runs repeat it, whether it is frozen."""

from __future__ import annotations

import sqlalchemy as sa

from bot import store as tables
from bot.runs.freeze import frozen
from bot.runs.locks import lock_key
from bot.runs.model import RunState
from bot.store import Store
from bot.surfaces.card import Around
from bot.surfaces.step_text import Name


async def around(store: Store, name: Name, state: RunState) -> Around:
    """Read it for one run."""
    run_id = state.plan.run_id
    repeated = await store.rows(
        sa.select(tables.retries.c.run_id).where(tables.retries.c.ancestor == run_id).order_by(tables.retries.c.run_id)
    )
    behind: list[str] = []
    cold = ""
    if state.plan.changes and not state.closed:
        queue = tables.queue
        rows = await store.rows(
            sa.select(queue.c.number, queue.c.owner, queue.c.turn)
            .where(queue.c.target == lock_key(state.plan))
            .order_by(queue.c.turn, queue.c.number)
        )
        behind = [f"{name(row.owner)} ({'queued' if row.turn else 'takes over'}, number {row.number})" for row in rows]
        watching = await store.rows(sa.select(tables.watchers.c.key).where(tables.watchers.c.run_id == run_id))
        behind += [f"{name(row.key.partition(':')[2])} (watches)" for row in watching]
        if now := await frozen(store):
            cold = f"{name(now.actor)}: {now.reason}"
    return Around(tuple(behind), tuple(row.run_id for row in repeated), cold)
