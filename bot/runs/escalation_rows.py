"""An open page and a clause that has come true, as rows of their own, written together with the state of their run.

The watchdog judges by these rows and by the outbox alone, so that it needs nothing of the run to see that it is stuck.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from bot import store as tables
from bot.runs.model import RunState
from bot.store import Store
from bot.surfaces.step_text import title_of


async def store_escalations(connection: AsyncConnection, store: Store, state: RunState, now: datetime) -> None:
    """The newest escalation (older ones are acknowledged) and the clauses that want something; in the run's write."""
    plan = state.plan
    if state.escalations and not plan.drill:
        page = state.escalations[-1]
        values = {
            "pages": page.pages,
            "paged_at": page.paged_at,
            "next_page_at": page.next_page_at,
            "acknowledged_at": page.acknowledged_at,
            "acknowledged_by": page.acknowledged_by,
        }
        table = tables.escalations
        await connection.execute(
            store.insert_new(table).values(
                run_id=plan.run_id,
                number=page.number,
                title=title_of(plan),
                severity=plan.severity,
                opened_at=page.opened_at,
                **values,
            )
        )
        key = (table.c.run_id == plan.run_id, table.c.number == page.number)
        await connection.execute(table.update().where(*key).values(**values))
    for fired in state.fired:
        if fired.pending:
            await connection.execute(
                store.insert_new(tables.clauses).values(run_id=plan.run_id, clause=fired.clause, created_at=now)
            )
