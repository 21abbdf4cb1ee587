"""``opsbot run`` on a database that an older opsbot made: each step here brings it one version forward.

Whoever changes a table in ``bot/tables/``:

- a new table needs nothing here; ``Store.open`` makes the tables that are missing before the steps run;
- a new column or index of an existing table goes into the step of the version that is in development, with ``add``
  or ``op.create_index``; a column that may not be NULL needs a ``server_default`` there;
- the first such change after a release begins a new step and raises ``SCHEMA_VERSION``.

All steps and the new version number are one transaction: a database is wholly of the old version or of the new one.
``tests/test_migrations.py`` compares a migrated database of every earlier version with a fresh one, column by column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

Step = Callable[[Operations], None]


def migrate(connection: sa.Connection, found: int, wanted: int) -> None:
    """Bring the tables from version ``found`` to ``wanted``, in the caller's transaction."""
    operations = Operations(MigrationContext.configure(connection))
    for version in range(found + 1, wanted + 1):
        STEPS[version](operations)


def add(op: Operations, table: str, column: sa.Column[object]) -> None:
    """Add a column. A table that was made just now, in its newest form, has it already."""
    if column.name not in {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def _to_2(op: Operations) -> None:
    """Events of runs wait in a table of the bot, not in the durable engine's; a run's work ends while it waits."""


STEPS: Mapping[int, Step] = {2: _to_2}
"""By the version that the step leads to."""
