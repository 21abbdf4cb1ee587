"""What people asked and what GitHub told, stored before it is acknowledged; who is answered beside a message."""

from __future__ import annotations

import sqlalchemy as sa

from bot.tables.columns import Instant, Told, metadata

inbox = sa.Table(
    "opsbot_inbox",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),
    sa.Column("incoming", Told, nullable=False),
    sa.Column("received_at", Instant, nullable=False),
    sa.Column("handled", sa.Boolean, nullable=False, default=False, index=True),
    sa.Column("outcome", Told, nullable=False, default=""),
)

repository_events = sa.Table(  # what happened on GitHub without anybody asking the bot
    "opsbot_repository_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),  # of the delivery
    sa.Column("event", Told, nullable=False),
    sa.Column("at", Instant, nullable=False, index=True),
    sqlite_autoincrement=True,  # a number is never given again: readers remember how far they have come
)

cursors = sa.Table(
    "opsbot_cursors",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

reactions = sa.Table(  # to comments on GitHub
    "opsbot_reactions",
    metadata,
    sa.Column("comment", sa.String(300), primary_key=True),  # the front of the inbox keys of its commands
    sa.Column("surface", sa.String(20), nullable=False),
    sa.Column("channel", sa.String(200), nullable=False),
    sa.Column("thread", sa.String(200), nullable=False, default=""),
    sa.Column("comment_id", sa.BigInteger, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("shown", sa.String(10), nullable=False, default=""),
    sa.Column("reaction", sa.String(40), nullable=False, default=""),  # its id on the surface
    sa.Column("settled", sa.Boolean, nullable=False, default=False, index=True),
    sa.Column("next_try_at", Instant),
)

homes = sa.Table(  # whose home tab is kept up to date
    "opsbot_homes",
    metadata,
    sa.Column("user", sa.String(40), primary_key=True),
    sa.Column("channel", sa.String(40), nullable=False),  # their conversation with the bot
    sa.Column("opened_at", Instant, nullable=False),
)
