"""Runs: their state, what people pressed, which actions were begun, who works on which target, whom they page."""

from __future__ import annotations

import sqlalchemy as sa

from bot.tables.columns import Instant, Told, metadata

runs = sa.Table(
    "opsbot_runs",
    metadata,
    sa.Column("id", sa.String(26), primary_key=True),
    sa.Column("key", sa.String(300), nullable=False, unique=True),  # of the incoming that asked for it
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("open", sa.Boolean, nullable=False, index=True),  # the engine still has something to do for it
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("next_due", Instant, index=True),
    sa.Column("state", Told, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("continuation", sa.Integer, nullable=False, default=0),  # how often it was taken up without getting on
)

events = sa.Table(  # a run's mailbox: what people pressed, until the run has taken it in
    "opsbot_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("key", sa.String(400), nullable=False, unique=True),
    sa.Column("run_id", sa.String(26), nullable=False, index=True),
    sa.Column("event", Told, nullable=False),
    sa.Column("stored_at", Instant, nullable=False),
    sa.Column("read", sa.Boolean, nullable=False, default=False, index=True),
)

journal = sa.Table(
    "opsbot_journal",
    metadata,
    sa.Column("operation", sa.String(100), primary_key=True),
    sa.Column("begun_at", Instant, nullable=False),
    sa.Column("begun", sa.Integer, nullable=False),  # how often
    sa.Column("result", Told),
)

locks = sa.Table(
    "opsbot_locks",
    metadata,
    sa.Column("target", sa.String(300), primary_key=True),
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("reason", Told, nullable=False),
    sa.Column("since", Instant, nullable=False),
)

queue = sa.Table(
    "opsbot_queue",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("target", sa.String(300), nullable=False, index=True),  # as in locks
    sa.Column("turn", sa.Integer, nullable=False),  # 0: takes the target over, so comes before 1: queued
    sa.Column("key", sa.String(300), nullable=False, unique=True),  # of the incoming that asked for it
    sa.Column("command", Told, nullable=False),  # to be dealt with anew when its turn comes
    sa.Column("incoming", Told, nullable=False),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("cancels", sa.String(26), nullable=False, default=""),  # the run that has to go first
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    sa.Column("starting", sa.Boolean, nullable=False, default=False),  # its command is in the inbox
)

watchers = sa.Table(
    "opsbot_watchers",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),
    sa.Column("run_id", sa.String(26), nullable=False, index=True),
    sa.Column("incoming", Told, nullable=False),  # who wants to be told, and where
)

freeze = sa.Table(
    "opsbot_freeze",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),  # there is one row, for ever
    sa.Column("actor", sa.String(200), nullable=False, default=""),
    sa.Column("reason", Told, nullable=False, default=""),
    sa.Column("since", Instant),  # None: not frozen
)

retries = sa.Table(
    "opsbot_retries",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("ancestor", sa.String(26), nullable=False, index=True),
)

escalations = sa.Table(  # what the watchdog judges by; the runs have the rest
    "opsbot_escalations",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("title", Told, nullable=False),
    sa.Column("severity", sa.String(10), nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    sa.Column("pages", sa.Integer, nullable=False),
    sa.Column("paged_at", Instant),
    sa.Column("next_page_at", Instant),
    sa.Column("acknowledged_at", Instant, index=True),
    sa.Column("acknowledged_by", sa.String(200), nullable=False, default=""),
)

clauses = sa.Table(  # clauses of runbooks that have come true: something is to be fetched or filed
    "opsbot_clauses",
    metadata,
    sa.Column("run_id", sa.String(26), primary_key=True),
    sa.Column("clause", sa.Integer, primary_key=True),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("done", sa.Boolean, nullable=False, default=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_try_at", Instant),
    sa.Column("problem", Told, nullable=False, default=""),
)

durations = sa.Table(
    "opsbot_durations",  # how long steps took; outlives the runs
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("step", sa.String(300), nullable=False, index=True),
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.UniqueConstraint("step", "run_id"),
)

verifications = sa.Table(
    "opsbot_verifications",
    metadata,
    sa.Column("runbook", sa.String(200), primary_key=True),  # its id in lower case
    sa.Column("digest", sa.String(16), nullable=False),  # of what the document said
    sa.Column("verified_at", Instant, nullable=False),
    sa.Column("drifts", sa.Integer, nullable=False),
    sa.Column("findings", Told, nullable=False),
)
