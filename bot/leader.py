"""``/readyz`` of the second bot: ``standby: opsbot on web-2 (process 17) holds the lock``.

On PostgreSQL any number of bots may run on one database; one of them leads and the others wait. Who leads holds a
session lock, which the server frees when that process or its machine is gone. A leader that loses its session and does
not get the lock back stops itself: whoever has it now continues the runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from bot.errors import SettingsError
from bot.store import Store, reason

log = structlog.get_logger("opsbot")

NUMBER = 0x6F707362  # of the advisory lock: "opsb"
LOOK_EVERY = 0.5  # seconds, of who waits for the lock and of who holds it
ANSWER_WITHIN = 5.0  # seconds
GRACE = 5.0  # seconds in which a lost session may be had again
KEEPALIVES = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}

_HOLDER = sa.text(
    "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE l.locktype = 'advisory' AND l.classid = 0 AND l.objid = :number AND l.granted"
    " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Leadership:
    """The lock of a PostgreSQL database and the session that holds it."""

    def __init__(self, store: Store) -> None:
        self.where = store.where
        # A connection of its own, which notices within seconds that the network or the other side is gone.
        name = f"opsbot on {socket.gethostname()[:32]} (process {os.getpid()})"
        self._engine = create_async_engine(
            store.url.set(drivername="postgresql+psycopg"),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"application_name": name, "connect_timeout": 5, **KEEPALIVES},
        )
        self._session: AsyncConnection | None = None

    async def take(self) -> bool:
        """Whether this process leads now. Raises ``SettingsError`` when the database cannot be reached."""
        try:
            return await self._taken()
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise SettingsError(
                f"database.url: {self.where} cannot be reached: {reason(error)}. "
                'Example: url = "postgresql://opsbot@localhost/opsbot"'
            ) from error

    async def wait(self, standing_by: Callable[[str], None]) -> None:
        """Until this process leads; ``standing_by`` is told who does meanwhile."""
        told = ""
        while True:
            try:
                if await self._taken():
                    return
                holder = f"{await self._holder() or 'another opsbot'} holds the lock"
            except (sa.exc.SQLAlchemyError, OSError) as error:
                await self.release()
                holder = f"the database {self.where} cannot be reached: {reason(error)}"
            if holder != told:
                log.info("standing by", reason=holder)
                told = holder
            standing_by(holder)
            await asyncio.sleep(LOOK_EVERY)

    async def keep(self) -> str:
        """Return when the lock is lost for good: why, for the log and for the operator."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if await self._answers():
                continue
            log.error("the session that holds the lock is lost")
            if why := await self._regained():
                return why

    async def release(self) -> None:
        if self._session:
            session, self._session = self._session, None
            try:
                await session.close()
            except (sa.exc.SQLAlchemyError, OSError) as error:
                log.info("the session of the lock was gone", reason=reason(error))

    async def close(self) -> None:
        await self.release()
        await self._engine.dispose()

    async def _taken(self) -> bool:
        if self._session is None:
            async with asyncio.timeout(ANSWER_WITHIN):
                self._session = await self._engine.connect()
        return bool(await self._session.scalar(sa.select(sa.func.pg_try_advisory_lock(NUMBER))))

    async def _holder(self) -> str:
        return str(await self._session.scalar(_HOLDER, {"number": NUMBER}) or "") if self._session else ""

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return self._session is not None and await self._session.scalar(sa.select(1)) == 1
        except (sa.exc.SQLAlchemyError, OSError):
            return False

    async def _regained(self) -> str:
        """Empty when this process leads again; else why it does not."""
        why = ""
        try:
            async with asyncio.timeout(GRACE):
                while True:
                    await self.release()
                    try:
                        if await self._taken():
                            log.warning("the lock is held again")
                            return ""
                        return f"{await self._holder() or 'another opsbot'} holds the lock now"
                    except (sa.exc.SQLAlchemyError, OSError) as error:
                        why = f"the database {self.where} cannot be reached: {reason(error)}"
                    await asyncio.sleep(LOOK_EVERY)
        except TimeoutError:
            return why or f"the database {self.where} does not answer"
