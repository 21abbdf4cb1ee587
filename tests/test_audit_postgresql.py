"""The audit log on PostgreSQL: several writers at once, one chain; triggers that even its owner has to drop first."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from bot.audit import AuditLog
from bot.audit_command import verify_database
from bot.chain import Entry
from bot.clock import ManualClock
from bot.store import Store
from tests.postgresql import Server


async def test_the_audit_log_has_one_chain_and_only_grows(postgresql: Server) -> None:
    """Two bots' worth of writers, that wait for each other at its end; the database refuses everything but adding."""
    database = postgresql.database()
    noon = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    stores = [Store(database), Store(database)]
    try:
        await stores[0].open()
        logs = [AuditLog(store, ManualClock(noon + timedelta(days=9))) for store in stores]

        async def write(number: int) -> None:
            told = [Entry("test", noon + timedelta(minutes=number), detail={"n": number})] * 2
            await logs[number % 2].note(f"audit-test:{number}", *told)

        await asyncio.gather(*(write(number) for number in range(60)))
        head = await logs[1].head()
        assert head.number == 120
        assert (await verify_database(stores[0], [head]))[0] == 0
        for statement in (
            "UPDATE opsbot_audit SET actor = 'slack:U0BOB'",
            "DELETE FROM opsbot_audit WHERE number = 2",
            "TRUNCATE opsbot_audit",
        ):
            with pytest.raises(sa.exc.SQLAlchemyError, match="the audit log is append-only"):
                async with stores[0].write() as connection:
                    await connection.exec_driver_sql(statement)
        assert await logs[0].prune(noon + timedelta(days=5)) == 120
        code, said = await verify_database(stores[1], [])
        assert code == 0
        assert "were deleted by retention; the log says so" in said
    finally:
        for store in stores:
            await store.close()
