"""What has to be said, and where it was said: messages and pages, and one card per run and surface."""

from __future__ import annotations

import sqlalchemy as sa

from bot.tables.columns import Instant, Told, metadata

outbox = sa.Table(
    "opsbot_outbox",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False),  # thread, page, answer, private
    sa.Column("surface", sa.String(20), nullable=False),
    sa.Column("channel", sa.String(200), nullable=False),
    sa.Column("thread", sa.String(200), nullable=False, default=""),
    sa.Column("run_id", sa.String(26), nullable=False, default="", index=True),
    sa.Column("escalation", sa.Integer, nullable=False, default=0),
    sa.Column("body", Told, nullable=False),  # drawn for its surface
    sa.Column("address", Told, nullable=False, default="{}"),  # of a private answer
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("status", sa.String(10), nullable=False, default="waiting", index=True),  # waiting, sent, given up
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("remote_id", sa.String(200), nullable=False, default=""),
    sa.Column("problem", Told, nullable=False, default=""),
)

cards = sa.Table(
    "opsbot_cards",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("surface", sa.String(20), primary_key=True),
    sa.Column("channel", sa.String(200), nullable=False),
    sa.Column("thread", sa.String(200), nullable=False),  # where the run's messages go; the card itself, mostly
    sa.Column("remote_id", sa.String(200), nullable=False, default=""),
    sa.Column("link", sa.Text, nullable=False, default=""),  # for people
    sa.Column("version", sa.Integer, nullable=False, default=0),  # of the run that the card shows
    sa.Column("drawn_at", Instant),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("problem", Told, nullable=False, default=""),
)
