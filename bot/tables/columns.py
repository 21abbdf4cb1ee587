"""What every table is made of: instants that sort, text without secrets, and the version of all of them."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from bot.redaction import redacted_json

metadata = sa.MetaData()


class Instant(sa.types.TypeDecorator[datetime]):
    """A UTC instant as text that sorts: SQLite has no time zones of its own."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:
        return value.astimezone(UTC).isoformat(timespec="microseconds") if value else None

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if value else None


class Told(sa.types.TypeDecorator[str]):
    """Text or JSON that somebody wrote. A known secret that got past the gates before does not get into the file."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return redacted_json(value) if value else value


schema = sa.Table("opsbot_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))
