"""Rows of the outbox, of the answers to commands above all. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from bot.incoming import Place
from bot.store import dumps
from bot.surfaces.port import Body

RETRY_UNDELIVERABLE_AFTER = 60.0  # seconds


def due(table: sa.Table, now: datetime) -> sa.ColumnElement[bool]:
    """Rows that were not tried yet, or that are to be tried again by now."""
    return sa.or_(table.c.next_try_at.is_(None), table.c.next_try_at <= now)


def said_row(key: str, kind: str, place: Place, body: Body, address: Mapping[str, str]) -> dict[str, Any]:
    """The outbox row of an answer to a command."""
    return {
        "key": key,
        "kind": kind,
        "surface": place.surface,
        "channel": place.channel,
        "thread": place.thread,
        "body": dumps(body),
        "address": dumps(address),
    }
