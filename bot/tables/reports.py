"""What the reports have told: levels now and before, silences, ticks that are done, and how far logs are read."""

from __future__ import annotations

import sqlalchemy as sa

from bot.tables.columns import Instant, metadata

reports = sa.Table(
    "opsbot_reports",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("last_tick", Instant, nullable=False),  # the latest that was dealt with
    sa.Column("memory", sa.Text, nullable=False),  # what it has told
)

report_ticks = sa.Table(
    "opsbot_report_ticks",
    metadata,
    sa.Column("key", sa.String(200), primary_key=True),  # the report and the instant for which it was scheduled
    sa.Column("done_at", Instant, nullable=False, index=True),
)

standings = sa.Table(
    "opsbot_standings",
    metadata,
    sa.Column("product", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(300), primary_key=True),  # metric:subject
    sa.Column("level", sa.String(10), nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
)

levels = sa.Table(  # every change of a level, so that it can be said since when and how often
    "opsbot_levels",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("product", sa.String(40), nullable=False),
    sa.Column("metric", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("level", sa.String(10)),  # NULL: its subject is gone
    sa.Column("shown", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False, index=True),
)

level_counts = sa.Table(  # how many subjects had which level, for the trend
    "opsbot_level_counts",
    metadata,
    sa.Column("product", sa.String(40), primary_key=True),
    sa.Column("at", Instant, primary_key=True),
    sa.Column("critical", sa.Integer, nullable=False),
    sa.Column("warning", sa.Integer, nullable=False),
    sa.Column("ok", sa.Integer, nullable=False),
)

silences = sa.Table(
    "opsbot_silences",
    metadata,
    sa.Column("key", sa.String(300), primary_key=True),  # of the command
    sa.Column("product", sa.String(40), nullable=False),
    sa.Column("metric", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("until", Instant, nullable=False, index=True),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", Instant, nullable=False),
)

marks = sa.Table(  # up to where a notifier has read each log
    "opsbot_marks",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True),
    sa.Column("source", sa.String(200), primary_key=True),
    sa.Column("mark", sa.Text, nullable=False),
)

alarms = sa.Table(  # a critical crossing pages once, however many reports tell it
    "opsbot_alarms",
    metadata,
    sa.Column("product", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(300), primary_key=True),  # metric:subject
    sa.Column("run_id", sa.String(26), nullable=False),
    sa.Column("at", Instant, nullable=False),
)
