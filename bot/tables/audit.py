"""The audit log's chain. The database itself refuses to change an entry or to delete one that is not pruned."""

from __future__ import annotations

import sqlalchemy as sa

from bot.tables.columns import Instant, metadata

audit = sa.Table(
    "opsbot_audit",  # rows are added by ``bot/audit.py`` alone; the triggers below refuse everything else
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.String(340), nullable=False, unique=True),  # what it tells of, so that it is told once
    sa.Column("at", Instant, nullable=False, index=True),
    sa.Column("kind", sa.String(60), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False, index=True),
    sa.Column("run_id", sa.String(26), nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),  # canonical JSON, all of the above included
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

audit_head = sa.Table(
    "opsbot_audit_head",  # one row; whoever adds to the chain locks it first
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("pruned", sa.Integer, nullable=False),  # entries up to this number may be deleted, and no others
)


def _guard(statement: str, dialect: str, table: sa.Table) -> None:
    made = sa.DDL(statement)  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it
    sa.event.listen(table, "after_create", made.execute_if(dialect=dialect))


_guard(
    "CREATE TRIGGER opsbot_audit_no_update BEFORE UPDATE ON opsbot_audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "sqlite",
    audit,
)
_guard(
    "CREATE TRIGGER opsbot_audit_no_delete BEFORE DELETE ON opsbot_audit "
    "WHEN OLD.number > coalesce((SELECT pruned FROM opsbot_audit_head), 0) "
    "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END",
    "sqlite",
    audit,
)
_guard(
    "CREATE OR REPLACE FUNCTION opsbot_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF TG_OP = 'DELETE' THEN IF OLD.number <= coalesce((SELECT pruned FROM opsbot_audit_head), 0) THEN "
    "RETURN OLD; END IF; END IF; RAISE EXCEPTION 'the audit log is append-only'; END $$",
    "postgresql",
    audit,
)
_guard(
    "CREATE TRIGGER opsbot_audit_rows BEFORE UPDATE OR DELETE ON opsbot_audit "
    "FOR EACH ROW EXECUTE FUNCTION opsbot_audit_guard()",
    "postgresql",
    audit,
)
_guard(
    "CREATE TRIGGER opsbot_audit_truncate BEFORE TRUNCATE ON opsbot_audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION opsbot_audit_guard()",
    "postgresql",
    audit,
)
