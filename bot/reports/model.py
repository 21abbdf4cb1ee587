"""``project-57: 12 open dead letters (critical: more than 10)``: what a product measures, and what a report remembers.

Pure. A product gives a ``Reading``: every number with its level and how far it can be trusted. What changed since the
last time, and who has to hear of it, is decided in ``crossings.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["ok", "warning", "critical"]
Mark = Literal["exact", "uncertain", "estimated"]
RANK: dict[Level | None, int] = {None: -1, "ok": 0, "warning": 1, "critical": 2}


class Metric(BaseModel):
    """A number that has thresholds. ``limits`` is how people read them, with where they come from."""

    model_config = ConfigDict(frozen=True)
    name: str  # as it is typed: duration, dead-letters
    title: str  # Pipeline duration
    short: str = ""  # duration; for a table that fits a phone
    limits: str  # "24 / 72 h (runbook)": over which it is a warning, over which it is critical, and who says so
    beside: bool = False  # told, but it does not make its subject count as warning or critical
    unit: str = ""
    warning: float | None = None
    critical: float | None = None


class Measured(BaseModel):
    """One number of one subject at one moment; ``level`` None: it cannot be known, or it does not apply."""

    model_config = ConfigDict(frozen=True)
    metric: str
    subject: str  # project-57, payments/worker-3, or the fleet as a whole
    level: Level | None
    shown: str  # "12 open", as people read it, with its mark
    value: float | None = None
    mark: Mark = "exact"
    source: str = ""
    remedy: str = ""  # the command that starts the runbook that fits; empty: there is none
    remedy_title: str = ""  # on its button

    @property
    def key(self) -> str:
        return f"{self.metric}:{self.subject}"


class Reading(BaseModel):
    """What a product measured at one moment. ``unread`` says why something, or all of it, is missing.

    Of thousands of numbers nearly all are ok: ``measured`` holds those that are not, those that cannot be known, and of
    the others only what is worth a picture. Whatever ``measured`` does not tell of one of the ``subjects`` is ok.
    """

    model_config = ConfigDict(frozen=True)
    at: datetime
    measured: tuple[Measured, ...] = ()
    subjects: frozenset[str] = frozenset()  # the projects, children, … that were looked at
    facts: tuple[
        tuple[str, str], ...
    ] = ()  # label and text, beside the table: "Error rate, last 24 h", "28.3 % (13 of 46)"
    source: str = ""
    unread: tuple[str, ...] = ()
    whole: bool = True  # False: not everything could be read, so what is missing is not gone


class Standing(BaseModel):
    """The level that a number has had since some moment."""

    model_config = ConfigDict(frozen=True)
    level: Level
    since: datetime
    shown: str = ""


class Crossing(BaseModel):
    """A change of level. ``before`` None: it was ok, or nobody had looked; ``after`` None: its subject is gone."""

    model_config = ConfigDict(frozen=True)
    metric: str
    subject: str
    before: Level | None
    after: Level | None
    shown: str
    since: datetime  # the level before had stood since
    remedy: str = ""
    remedy_title: str = ""

    @property
    def key(self) -> str:
        return f"{self.metric}:{self.subject}"

    @property
    def worse(self) -> bool:
        return RANK[self.after] > max(RANK[self.before], 0)


class Silence(BaseModel):
    """``/somas silence dead-letters project-57 4h being repaired``; ``*`` is every metric or every subject."""

    model_config = ConfigDict(frozen=True)
    product: str
    metric: str
    subject: str
    until: datetime
    by: str  # the actor: slack:U0ALICE
    reason: str
    since: datetime

    def covers(self, metric: str, subject: str, now: datetime) -> bool:
        return self.until > now and self.metric in ("*", metric) and self.subject in ("*", subject)


class Memory(BaseModel):
    """What one report has told, so that it tells only what is new."""

    told: dict[str, Standing] = {}
    message: str = ""  # key of its message in the outbox, the one that is edited while nothing changes
    repeats: int = 0  # how often that message has been said again, in place
    first_told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReportSource:
    """How a product is measured. ``measure`` raises ``Unavailable`` when nothing can be read at all."""

    metrics: tuple[Metric, ...]
    measure: Callable[[Any, datetime], Awaitable[Reading]]  # the first argument is the Handler

    def metric(self, name: str) -> Metric | None:
        return next((metric for metric in self.metrics if metric.name == name), None)
