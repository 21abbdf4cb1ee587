"""What a product has to remember across restarts: which workflows it disabled, which run it follows.

``Services.memory`` of a handler: short texts by key, in the bot's database, separate for every product.
"""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa

from bot import store as tables
from bot.store import Store


class Memory(Protocol):
    """Texts by key. What is remembered is durable when ``remember`` returns."""

    async def recall(self, key: str) -> str:
        """The text, empty when there is none."""
        ...

    async def remember(self, key: str, text: str) -> None:
        """Replace the text; an empty one forgets it."""
        ...


class StoredMemory:
    """In the bot's database."""

    def __init__(self, store: Store, product: str) -> None:
        self._store = store
        self._product = product

    async def recall(self, key: str) -> str:
        table = tables.cursors
        rows = await self._store.rows(sa.select(table.c.value).where(table.c.name == self._name(key)))
        return rows[0].value if rows else ""

    async def remember(self, key: str, text: str) -> None:
        table, name = tables.cursors, self._name(key)
        async with self._store.write() as connection:
            if not text:
                await connection.execute(table.delete().where(table.c.name == name))
                return
            await connection.execute(self._store.insert_new(table).values(name=name, value=text))
            await connection.execute(table.update().where(table.c.name == name).values(value=text))

    def _name(self, key: str) -> str:
        return f"{self._product}: {key}"[:200]


class ProcessMemory:
    """For a rehearsal and for tests: as long as the process."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    async def recall(self, key: str) -> str:
        return self._texts.get(key, "")

    async def remember(self, key: str, text: str) -> None:
        self._texts[key] = text
